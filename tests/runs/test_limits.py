"""How many runs may wait."""

from __future__ import annotations

import threading
from itertools import count

import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.runs.limits import QueueLimits, StartLedger, load_limits


class Queue:
    """Runs that wait."""

    def __init__(self, each: int) -> None:
        self.waiting: set[str] = set()
        self.numbers = count()
        self.ledger = StartLedger(QueueLimits(each=each), lambda: frozenset(self.waiting))

    def start(self, who: str) -> str:
        with self.ledger.turn(who) as started:
            run_id = str(next(self.numbers))
            self.waiting.add(run_id)
            started(run_id)
        return run_id


def test_each_has_a_limit_of_their_own():
    queue = Queue(each=2)
    first = queue.start("ada")
    queue.start("ada")
    with pytest.raises(InputError, match="2 of your runs are waiting"):
        queue.start("ada")
    queue.start("ben")
    queue.waiting.remove(first)
    queue.start("ada")


def test_nobody_in_particular_has_none():
    queue = Queue(each=1)
    for _ in range(5):
        queue.start("")


def test_a_start_that_failed_does_not_count():
    queue = Queue(each=1)
    with pytest.raises(ValueError, match="full"), queue.ledger.turn("ada"):
        raise ValueError("full")
    queue.start("ada")


def test_requests_at_once_cannot_both_be_the_last():
    queue, refused = Queue(each=4), []

    def start() -> None:
        try:
            queue.start("ada")
        except InputError:
            refused.append(1)

    threads = [threading.Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(queue.waiting), len(refused)) == (4, 12)


def test_limits_come_from_the_environment():
    assert load_limits({}) == QueueLimits(20, 5)
    given = {"WFGY_TRIAGE_MAX_QUEUED": "7", "WFGY_TRIAGE_MAX_QUEUED_EACH": "2"}
    assert load_limits(given) == QueueLimits(7, 2)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "٣", "100000"])
def test_a_limit_that_is_none(value: str):
    with pytest.raises(InputError, match="WFGY_TRIAGE_MAX_QUEUED"):
        load_limits({"WFGY_TRIAGE_MAX_QUEUED": value})
