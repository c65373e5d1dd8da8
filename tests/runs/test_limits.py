"""How many runs may wait: what the environment says, and that the service asks the store for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.people import ADMIN, MAKER, READER
from tests.runs.run_fakes import SYMPTOM
from wfgy_triage.errors import InputError
from wfgy_triage.runs.limits import USUAL_EACH, QueueLimits, load_limits
from wfgy_triage.runs.service import TriageService
from wfgy_triage.store.records import RunSpec

SPEC = RunSpec(SYMPTOM, "tiny")


@pytest.fixture
def serve(settings):
    """Begins to serve, as a process does when it is started."""
    services = []

    def begin(actor=MAKER):
        services.append(TriageService(settings, symptoms=lambda: (SYMPTOM,), actor=actor))
        return services[-1]

    yield begin
    for service in services:
        service.close()


def test_limits_come_from_the_environment():
    assert load_limits({}) == QueueLimits(20, 5)
    given = {"WFGY_TRIAGE_MAX_QUEUED": "7", "WFGY_TRIAGE_MAX_QUEUED_EACH": "2"}
    assert load_limits(given) == QueueLimits(7, 2)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "٣", "100000"])
def test_a_limit_that_is_none(value: str):
    with pytest.raises(InputError, match="WFGY_TRIAGE_MAX_QUEUED"):
        load_limits({"WFGY_TRIAGE_MAX_QUEUED": value})


def test_a_restart_forgets_nobodys_runs(serve):
    before = serve()
    first, *_ = [before.start(SPEC) for _ in range(USUAL_EACH)]
    before.close()
    after = serve()
    with pytest.raises(InputError, match=f"{USUAL_EACH} of your runs are waiting"):
        after.start(SPEC)
    after.acting(READER).start(SPEC)
    after.acting(ADMIN).start(SPEC)
    after.cancel(first)
    after.start(SPEC)


def test_stopped_runs_that_go_on_wait_like_others(serve):
    service = serve()
    stopped = service.start(SPEC)
    service.cancel(stopped)
    waiting = [service.start(SPEC) for _ in range(USUAL_EACH)]
    with pytest.raises(InputError, match=f"{USUAL_EACH} of your runs are waiting"):
        service.resume(stopped)
    service.cancel(waiting[0])
    service.resume(stopped)


def test_two_processes_share_the_limit(serve):
    services = [serve(), serve()]

    def start(number):
        try:
            return services[number % 2].start(SPEC)
        except InputError:
            return None

    with ThreadPoolExecutor(10) as pool:
        made = [found for found in pool.map(start, range(10)) if found]
    assert len(made) == services[0].count() == USUAL_EACH
