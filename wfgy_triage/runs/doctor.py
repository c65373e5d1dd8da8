"""The doctor from the command line: environment always, folders and loaded models where a pair is given."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from wfgy_triage.doctor.environment import check_environment
from wfgy_triage.doctor.finding import Finding, in_order, prevents_loading
from wfgy_triage.doctor.loading import not_loaded
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.runs.lane import Lane, hold_device
from wfgy_triage.runs.models import ModelCache
from wfgy_triage.runs.tools import RunTools, default_tools

Report = Callable[[str, float], None]


def run_doctor(
    lane: Lane, pair: Pair | None, report: Report, make_tools: Callable[[], RunTools] = default_tools
) -> tuple[Finding, ...]:
    """Make every check that can be made here, in the order of the list.

    Args:
        lane: of the pair's devices; the models are loaded when no run uses them.
        pair: the folders; None checks the environment alone.
        report: told `(step, share)`.
        make_tools: gives what the checks are done with.
    """
    report("This machine", 0.0)
    found = check_environment()
    report("This machine", 1.0)
    if pair is None:
        return found
    tools = make_tools()
    found += tools.check_folders(pair, lambda done, total: report("The two folders", done / max(total, 1)))
    if prevents_loading(found):
        return in_order((*found, *not_loaded()))
    # Torch comes with it; whoever only checks this machine does not wait for that.
    from wfgy_triage.doctor.engines import check_first_answer

    report("The loaded models", 0.0)
    with hold_device(lane), closing(ModelCache(tools.open_engine)) as models:
        try:
            loaded = models.acquire(pair, room=lambda s, loaded: tools.state_room(pair, s, False, loaded))
        except PrerequisiteError as error:
            return in_order((*found, *not_loaded(error)))
        found += (*tools.check_engines(loaded.fp16, loaded.exl2), check_first_answer(loaded.exl2))
    report("The loaded models", 1.0)
    return in_order(found)
