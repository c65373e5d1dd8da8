"""Whether both folders suggest the same sampling settings.

A difference is told and accuses nobody: few programs follow the file, and a run asks with neutral settings unless it is
told otherwise.
"""

from __future__ import annotations

from wfgy_triage.doctor.finding import Finding, passed, skipped, warned
from wfgy_triage.doctor.side import Side
from wfgy_triage.engines.suggested import Sampling, not_followed, suggested
from wfgy_triage.errors import PrerequisiteError

CHECK = "same_sampling"


def check_sampling(fp16: Side, exl2: Side) -> Finding:
    """Compare what the two generation_config.json say of sampling, as transformers reads them."""
    if problem := next(
        (f"{s.name}: {s.generation_file.problem}" for s in (fp16, exl2) if s.generation_file.problem), ""
    ):
        return skipped(CHECK, problem)
    raw = [
        {key: s.generation_file.data[key] for key in not_followed(s.generation_file.data)}
        for s in (fp16, exl2)
    ]
    if raw[0] != raw[1]:
        return warned(
            CHECK,
            f"generation_config.json sets beside the usual settings: FP16 {_shown(raw[0])}; EXL2 {_shown(raw[1])}.",
        )
    try:
        ours, theirs = (_followed(s) for s in (fp16, exl2))
    except PrerequisiteError as error:
        return warned(CHECK, error.message)
    if ours != theirs:
        return warned(CHECK, f"generation_config.json suggests: FP16 {ours.words}; EXL2 {theirs.words}.")
    return passed(CHECK, f"generation_config.json of both folders suggests: {ours.words}.")


def _followed(side: Side) -> Sampling:
    """The settings that are followed; those that are not are the same on both sides here."""
    data = side.generation_file.data
    left = not_followed(data)
    return suggested({k: v for k, v in data.items() if k not in left}, side.name)


def _shown(settings: dict[str, object]) -> str:
    return ", ".join(f"{key} {str(value)[:60]}" for key, value in settings.items()) or "nothing"
