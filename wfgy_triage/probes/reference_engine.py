"""The EXL2 weights in the engine of the FP16 side: when asking them there tells more, and why it cannot be done."""

from __future__ import annotations

from collections.abc import Callable

from wfgy_triage.diagnosis import ONLY_WEIGHTS
from wfgy_triage.doctor.finding import Outcome
from wfgy_triage.engine_settings import CPU
from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.device_faults import GPU_MEMORY, MAIN_MEMORY, device_fault
from wfgy_triage.engines.devices import free_bytes
from wfgy_triage.engines.footprint import WORKING_BYTES
from wfgy_triage.engines.in_turn import engine_behind, make_room
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.probes.base import ProbeContext

NO_ROOM = "The memory does not hold these weights a second time."
NO_ROOM_HINT = "Use a machine with more memory, or a smaller `context` in the pair's engine block."


def reference_opener(context: ProbeContext) -> Callable[[], Engine] | None:
    """Opens the EXL2 weights in the reference engine; None where that would not tell the engine from the weights.

    It does where both sides are loaded here, in different engines, and EXL2's is another one than the reference. The
    opener raises PrerequisiteError where the weights cannot be loaded.
    """
    open_decoded, exl2 = context.open_decoded, engine_behind(context.exl2)
    differ = any(f.check == ONLY_WEIGHTS and f.state is Outcome.WARN for f in context.findings)
    served = context.fp16.capabilities.served or context.exl2.capabilities.served
    if open_decoded is None or not differ or served or isinstance(exl2, TransformersEngine):
        return None

    def checked() -> Engine:
        make_room(context.fp16)
        # A GPU says that it is full; a machine whose memory is full ends programs without a word.
        info = context.fp16.info
        if info.device == CPU and free_bytes(CPU) < info.memory_bytes + WORKING_BYTES:
            raise PrerequisiteError(NO_ROOM, NO_ROOM_HINT)
        return open_decoded()

    return checked


def why_not(error: Exception) -> str | None:
    """Why the weights cannot be asked there, in words; None for an error that is none of the weights or of memory."""
    if isinstance(error, PrerequisiteError):
        return str(error)
    fault = device_fault(error)
    full = fault is not None and fault.kind in (GPU_MEMORY, MAIN_MEMORY)
    return f"{NO_ROOM} {NO_ROOM_HINT}" if full else None
