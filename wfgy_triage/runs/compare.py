"""Metrics of two sessions paired question by question.

Evaluating takes the probe, and probes bring model libraries along; so the page has it done by a process of its own
(`pair_elsewhere`) and keeps what it said: finished sessions do not change.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from functools import lru_cache

from wfgy_triage.report.compare import Pairing, why_unpaired
from wfgy_triage.report.export.session import Session
from wfgy_triage.result import Effect
from wfgy_triage.runs.sessions import MISSHAPEN
from wfgy_triage.runs.supervisor import child_environment
from wfgy_triage.runs.trial_options import split_options
from wfgy_triage.settings import Settings

PATIENCE_S = 120.0
"""Loading the libraries takes seconds, on a machine that measures some tens of them."""
KEPT = 256
_FAILED = "What is stored of these sessions could not be evaluated again."
_one_at_a_time = threading.Lock()
_places = threading.BoundedSemaphore(4)
"""For the one at work and those that wait for it: threads that wait are threads that the page lacks."""
_log = logging.getLogger(__name__)


def pair_here(first: Session, second: Session) -> Pairing:
    """Pair the metrics of EXL2 on the questions that both sessions asked. Imports the probe."""
    if reason := why_unpaired(first, second):
        return Pairing(reason=reason)
    from wfgy_triage.probes.base import ProbeSettings
    from wfgy_triage.probes.registry import get_probe
    from wfgy_triage.remedies.effect import effect_of
    from wfgy_triage.remedies.reading import paired_runs

    spec = second.record.spec
    settings = ProbeSettings(spec.questions, spec.seed, options=split_options(spec.options)[0])
    try:
        metrics = paired_runs(first.samples, second.samples, get_probe(spec.symptom), settings).metrics
    except MISSHAPEN:  # imported, and not as a probe stores it
        return Pairing(reason=_FAILED)
    effects = tuple(e for m in metrics if (e := effect_of(m)) is not None)
    return Pairing(effects, "" if effects else _FAILED)


def pair_elsewhere(settings: Settings, first: Session, second: Session) -> Pairing:
    """The same in a process of its own; known answers come at once. Sessions must be finished."""
    if reason := why_unpaired(first, second):
        return Pairing(reason=reason)
    if not _places.acquire(blocking=False):
        return Pairing(reason="Several comparisons are being worked out. Open this one again in a moment.")
    try:
        return _asked(settings, *((s.record.id, str(s.record.finished_at)) for s in (first, second)))
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        _log.warning("two sessions could not be paired: %s", error)
        return Pairing(reason="They could not be paired now. Open the comparison again to try it once more.")
    finally:
        _places.release()


@lru_cache(maxsize=KEPT)
def _asked(settings: Settings, first: tuple[str, str], second: tuple[str, str]) -> Pairing:
    """The answer of the process; both sessions by their ids and when they ended. Failures are not kept."""
    command = [sys.executable, "-m", "wfgy_triage", "paired", first[0], second[0]]
    with _one_at_a_time:
        done = subprocess.run(  # noqa: S603 - our own program; both ids are of sessions in the store
            command, capture_output=True, timeout=PATIENCE_S, check=True, env=child_environment(settings)
        )
    found = json.loads(done.stdout)
    return Pairing(tuple(Effect.from_json(m) for m in found["metrics"]), str(found["reason"]))
