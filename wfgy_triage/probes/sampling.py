"""The option `sampling` of probes that ask questions greedily: neutral on both sides, or as each side suggests.

Neutral is what a comparison of weights needs. With `suggested` each side is asked as its own folder suggests, or as its
server draws by itself, so that a deployment which breaks for its settings alone is seen. The settings stand beside
every answer; what they are is read from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wfgy_triage.diagnosis import OK, SAME_SAMPLING, UNKNOWN
from wfgy_triage.engines.suggested import GREEDY, Sampling
from wfgy_triage.errors import ProbeError
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.items import Item
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample

OPTION, NEUTRAL, SUGGESTED = "sampling", "neutral", "suggested"


def is_suggested(settings: ProbeSettings) -> bool:
    """Whether a run asks each side with settings of its own."""
    return str(settings.options.get(OPTION) or NEUTRAL) == SUGGESTED


def as_asked(items: Sequence[Item], context: ProbeContext) -> tuple[Item, ...]:
    """The items as the option wants them to be asked.

    Raises:
        PrerequisiteError: a folder suggests what cannot be followed here.
        ProbeError: there is no folder to read.
    """
    if not is_suggested(context.settings):
        return tuple(items)
    if context.suggested is None:
        raise ProbeError(
            "The folders that suggest sampling settings are not known here.", "Ask with neutral settings."
        )
    sampling = context.suggested()
    return tuple(replace(item, sampling=sampling) for item in items)


def sampling_used(samples: Sequence[Sample], side: str) -> Sampling:
    """The settings with which a side was asked; those of older runs, which stored none, were neutral."""
    told = next((s.payload.get("sampling") for s in samples if s.key.side == side), None)
    return Sampling.from_json(told) if told else GREEDY


def with_sampling(checks: Sequence[Check], samples: Sequence[Sample]) -> tuple[Check, ...]:
    """The checks of a run and, where not both sides were asked neutrally, whether they were asked alike, and how."""
    fp16, exl2 = (sampling_used(samples, side) for side in ("fp16", "exl2"))
    if fp16 == exl2 == GREEDY:
        return tuple(checks)
    # Two servers may be set up in different ways, which cannot be seen from here.
    alike = fp16 == exl2 and not exl2.sampler.server_own
    detail = f"Sampling as each side suggests. FP16: {fp16.words}. EXL2: {exl2.words}."
    return (*checks, Check(SAME_SAMPLING, OK if alike else UNKNOWN, detail))
