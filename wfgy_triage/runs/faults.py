"""Where the device of a run fails: what is said, and what the run does without."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wfgy_triage.engines.absent import AbsentEngine
from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.device_faults import GPU_MEMORY, MAIN_MEMORY, DeviceFault
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.runs.progress import RunLog

NO_FLOOR = (
    "The noise floor is NOT MEASURED: the GPU has no room for FP16 a second time. The run goes on; what is above the "
    "noise is told from chance alone."
)

_log = logging.getLogger(__name__)


class Twin:
    """Opens FP16 a second time, for the noise floor of one pass over a run.

    Args:
        open_floor: loads it, or gives the one that is loaded.
        log: of the run; told once where there is no room for it.
    """

    def __init__(self, open_floor: Callable[[], Engine], log: RunLog) -> None:
        self._open_floor, self._log = open_floor, log
        self._no_room = False

    def open(self) -> Engine:
        """The twin; an engine that can do nothing where the GPU has no room for it.

        Raises:
            TriageError: it cannot be loaded for another reason.
        """
        if not self._no_room:
            try:
                return self._open_floor()
            except PrerequisiteError as error:
                if error.cause != GPU_MEMORY:
                    raise
                self._no_room = True
                _log.warning("the run goes on without its noise floor: %s", error)
                self._log.write("note", {"text": f"{NO_FLOOR} {error.hint}"})
        return AbsentEngine()


def plain_words(fault: DeviceFault | None, log_name: str) -> tuple[str, str]:
    """What ended a run, and what to do.

    Args:
        fault: what happened to its device; None for an error of another kind.
        log_name: the file under `logs/` of the home folder that has the details.
    """
    if fault is None:
        return (
            "The measurement stopped because of a fault in this program. What was measured before is kept.",
            f"Resume this session to try again. Details are in logs/{log_name} in the program's home folder.",
        )
    if fault.kind == MAIN_MEMORY:
        return (
            "Memory ran out during the measurement. What was measured before is kept.",
            "Close other programs or use a smaller model pair, then resume this session.",
        )
    if fault.kind == GPU_MEMORY:
        return (
            "The GPU's memory ran out during the measurement. What was measured before is kept.",
            "Close other programs on the GPU, then resume this session. If it happens again, start a new one with a "
            "smaller `context`, `cache: Q8` or another `device` in the pair's engine block.",
        )
    return (
        f"The GPU or its driver stopped. What was measured before is kept. It says: {fault.said}",
        "Resume this session: a process that starts anew goes on with it. If the GPU stops again, reset it or restart "
        "the machine, and look into the system's log for what its driver says.",
    )
