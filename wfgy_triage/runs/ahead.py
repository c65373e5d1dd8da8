"""What runs ask FP16, measured ahead: while nothing else is to do, so that the first runs need not wait for it.

Only sides that runs take from each other are measured (`probes/reuse.py`), with the settings a run has by default, and
only on the demo pair, whose size is known. Whatever waits comes first: a queued run, a run of the command line, the end
of the process. What was finished by then is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence

from wfgy_triage.catalog import load_catalog
from wfgy_triage.demo import SIBLINGS, demo_ready
from wfgy_triage.engine_settings import CPU
from wfgy_triage.engines.device_faults import device_fault
from wfgy_triage.errors import TriageError
from wfgy_triage.pairs import Pair, load_pairs
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.runs import provenance
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.lane import lane_of
from wfgy_triage.runs.reuse import reuse_of
from wfgy_triage.settings import Settings, embedding_folder
from wfgy_triage.store.records import Sample

ASK_EVERY_S = 0.5
"""How often a model that computes looks whether something waits."""
REST_S = 5.0
"""Between two tries: whoever starts one run after the other is not to find the models busy in between."""

_log = logging.getLogger(__name__)


class Ahead:
    """Measures FP16 for one symptom after the other; each symptom of a model once.

    Args:
        bench: what to work with; without a cache nothing is measured.
        waits: whether something else is to be done.
        choose: the pair, None while there is none.
        symptoms: whose questions are asked; all that ask any unless given.
    """

    def __init__(
        self,
        bench: Bench,
        waits: Callable[[], bool],
        choose: Callable[[Settings], Pair | None],
        symptoms: Sequence[str] | None = None,
    ) -> None:
        asking = [s.id for s in load_catalog().symptoms.values() if s.asks_questions]
        self._bench, self._choose = bench, choose
        self._left = list(asking if symptoms is None else symptoms)
        self._next = time.monotonic()
        self._waits = _every(ASK_EVERY_S, lambda: bench.should_stop() or waits())

    @property
    def due(self) -> bool:
        """Whether there is anything to measure now."""
        return bool(self._left) and self._bench.open_cache is not None and time.monotonic() >= self._next

    def step(self) -> None:
        """Measure for one symptom, if nothing waits; a fault ends this for the process, and harms no run."""
        if not self.due or self._waits():
            return
        try:
            pair = self._choose(self._bench.settings)
            if pair is not None and self._measured(pair, self._left[0]):
                self._left.pop(0)
        # Nobody asked for this, so nobody is told but the log: the run that needs the model says what is wrong.
        except Exception as error:
            self._left.clear()
            if (fault := device_fault(error)) is not None:
                self._bench.models.abandon(lost=fault.stopped)
            _log.warning("nothing is measured ahead: %s", error, exc_info=not isinstance(error, TriageError))
        self._next = time.monotonic() + REST_S

    def _measured(self, pair: Pair, symptom: str) -> bool:
        """Measure what is not known yet; False when something else came first."""
        bench = self._bench
        assert bench.open_cache is not None  # noqa: S101 - `step` has looked
        cache = bench.open_cache()
        described = bench.tools.describe_pair(pair)
        probe = bench.tools.get_probe(symptom)
        settings = ProbeSettings()
        asked = {"ahead": symptom, "workload": probe.workload_info(settings)}
        facts = {**provenance.number_facts(described["fp16"]), **asked}
        mark = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        if cache.get_many([mark]):
            return True
        loaded = bench.models.acquire(
            pair, room=lambda s, there: bench.tools.state_room(pair, s, True, there)
        )
        reuse = reuse_of(cache, described, loaded.fp16.info, lambda kind, payload: None)
        if reuse is None:
            return True  # its answers could not be used by a run
        samples: list[Sample] = []
        stop = _lasting(self._waits)
        probe.run(
            ProbeContext(
                fp16=loaded.fp16,
                exl2=loaded.exl2,
                open_floor=bench.models.floor,
                settings=settings,
                done=frozenset(),
                stored=lambda: samples,
                save=samples.extend,
                progress=lambda stage, label, done, total: None,
                should_stop=stop,
                cache=embedding_folder(bench.settings),
                models=provenance.model_hashes(described),
                reuse=reuse,
                ahead=True,
            )
        )
        if samples:
            _log.info(
                "FP16 of the pair %s was asked ahead for %s: %d samples", pair.id, symptom, len(samples)
            )
        if stop():
            return False
        cache.put_many({mark: {"ahead": symptom}})
        return True


def whole_demo(settings: Settings) -> Pair | None:
    """The first demo pair, once all of them are prepared: preparing them needs the processor itself.

    None where somebody has put it on another device, which whoever asks ahead does not hold.
    """
    if not all(demo_ready(settings, sibling.pair_id) for sibling in SIBLINGS):
        return None
    pair = load_pairs(settings)[SIBLINGS[0].pair_id]
    return pair if lane_of(settings, pair).devices == (CPU,) else None


def _lasting(ask: Callable[[], bool]) -> Callable[[], bool]:
    """The same question; a yes stays, since what was broken off for it is not whole when nothing waits any more."""
    said = False

    def answered() -> bool:
        nonlocal said
        said = said or ask()
        return said

    return answered


def _every(seconds: float, ask: Callable[[], bool]) -> Callable[[], bool]:
    """Ask at most so often; a yes stays for as long."""
    last, answer = -seconds, False

    def answered() -> bool:
        nonlocal last, answer
        if time.monotonic() - last >= seconds:
            last, answer = time.monotonic(), ask()
        return answer

    return answered
