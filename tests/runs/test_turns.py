"""Who takes which run next: by device, by age, and without one run keeping another device idle."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.runs.run_fakes import SYMPTOM, register_pair, spec, wait_for
from wfgy_triage.errors import InputError
from wfgy_triage.pairs import load_pairs, register_pairs
from wfgy_triage.runs.lane import make_lane
from wfgy_triage.runs.turns import EVERYTHING, Share, Turns, share_of
from wfgy_triage.store.records import RunSpec, RunStatus
from wfgy_triage.store.workers import WorkerRepository

LANES = ("cuda:0", "cuda:1", "cpu")


@pytest.fixture
def queue(settings, repo):
    """Queues a run on a pair that computes on these devices; the id of the run."""

    def add(device: str, baseline: str | None = None) -> str:
        pair_id = f"{device}-{baseline}".replace(":", "")
        if pair_id not in load_pairs(settings):
            pair = register_pair(settings, pair_id)
            block = {"device": device, "backend": "reference"}
            engine = block if baseline is None else {**block, "baseline_device": baseline}
            register_pairs(settings, [type(pair)(pair.id, pair.name, pair.fp16, pair.exl2, engine=engine)])
        return repo.create(RunSpec(SYMPTOM, pair_id, questions=1)).id

    return add


@pytest.fixture
def take(settings, repo):
    """What the worker of a device takes next, which it then works on until the test ends; None for nothing."""
    with ExitStack() as working:

        def next_of(device: str = "", lanes: tuple[str, ...] = ()) -> str | None:
            turn = working.enter_context(Turns(repo, settings, share_of(device, lanes), 60).next())
            return turn.record.id if turn else None

        yield next_of


def test_one_worker_takes_everything_the_oldest_first(queue, take, repo):
    first, second = queue("cuda:1"), queue("cpu")
    assert take() == first
    assert take() == second
    assert take() is None


def test_each_worker_takes_its_own_and_none_waits_for_another_device(queue, take):
    runs = [queue("cuda:0"), queue("cuda:0"), queue("cuda:1"), queue("cpu")]
    assert take("cuda:0", LANES) == runs[0]
    assert take("cuda:0", LANES) is None
    assert take("cuda:1", LANES) == runs[2]
    assert take("cpu", LANES) == runs[3]


def test_what_nobody_is_named_for_goes_to_the_first_worker_and_to_it_alone(queue, take):
    run = queue("cuda:7")
    assert take("cuda:1", LANES) is None
    assert take("cpu", LANES) is None
    assert take("cuda:0", LANES) == run


def test_a_worker_for_all_gpus_takes_those_without_one(queue, take):
    lanes = ("cpu", "cuda", "cuda:1")
    run = queue("cuda:3")
    assert [take(name, lanes) for name in ("cpu", "cuda:1")] == [None, None]
    assert take("cuda", lanes) == run
    assert Share("cuda", lanes).serves("cuda")
    assert not Share("cuda", lanes).serves("cuda:1")
    assert not Share("cuda", lanes).serves("cpu")


@pytest.mark.parametrize("main", ["cpu", "cuda", "cuda:0", "cuda:1", "cuda:5"])
@pytest.mark.parametrize("lanes", [(), ("cpu",), LANES, ("cuda", "cpu"), ("cuda:1", "cuda")])
def test_every_run_is_for_exactly_one_worker(main, lanes):
    assert [Share(name, lanes).serves(main) for name in lanes or ("",)].count(True) == 1


def test_a_run_on_two_devices_takes_both_and_waits_for_both(queue, take, settings):
    wide = queue("cuda:0", baseline="cuda:1")
    queue("cuda:1")
    with make_lane(settings.home, ("cuda:1",)).try_hold():
        assert take("cuda:0", LANES) is None
    assert take("cuda:1", LANES) is None, "the older run needs this device"
    assert take("cuda:0", LANES) == wide
    assert make_lane(settings.home, ("cuda:1",)).taken()
    assert take("cuda:1", LANES) is None


def test_a_run_that_waits_keeps_no_other_device_idle(queue, take, settings):
    queue("cuda:0", baseline="cuda:1")
    free = queue("cpu")
    with make_lane(settings.home, ("cuda:1",)).try_hold():
        assert take("cpu", LANES) == free
        assert take() is None


def test_a_device_that_a_command_waits_for_is_left_to_it(queue, take, settings):
    run = queue("cuda:0")
    with make_lane(settings.home, ("cuda:0",)).try_want() as wanted:
        assert wanted
        assert take() is None
    assert take() == run


def test_a_run_of_a_dead_holder_of_the_same_devices_is_taken_over_at_once(queue, take, settings, repo):
    run = queue("cuda:0")
    dead, elsewhere = make_lane(settings.home, ("cuda:0",)), make_lane(settings.home, ("cpu",))
    assert repo.lease(dead.new_worker_id(), 60, run_id=run).id == run
    with dead.try_hold():
        assert take() is None, "its holder lives"
    assert take() == run
    other = queue("cuda:1")
    repo.lease(elsewhere.new_worker_id(), 60, run_id=other)
    assert take() is None, "who works on it holds other devices, and has just given a sign of life"


def test_a_run_whose_pair_is_gone_still_comes_to_its_turn(queue, take, settings, repo):
    gone = repo.create(RunSpec(SYMPTOM, "gone", questions=1)).id
    register_pair(settings, "wrong")
    data = settings.pairs_file.read_text().replace("id: wrong", "id: wrong\n  engine: {device: moon}")
    settings.pairs_file.write_text(data)
    wrong = repo.create(RunSpec(SYMPTOM, "wrong", questions=1)).id
    assert take("cuda:0", LANES) is None
    assert take("cpu", LANES) == gone
    assert Turns(repo, settings, Share("cpu", LANES), 60).waits(("cpu",))
    settings.pairs_file.write_text("pairs: [")
    assert repo.get(wrong).status is RunStatus.QUEUED
    assert Turns(repo, settings, EVERYTHING, 60).waits(())


def test_a_run_whose_pair_is_not_here_is_left_to_another_machine_and_keeps_no_device(queue, repo, settings):
    there = [True]
    turns = Turns(repo, settings, EVERYTHING, 60, lambda: there[0])
    register_pair(settings, "later")
    (settings.home / "later" / "exl2" / "config.json").unlink()
    gone, later = (repo.create(RunSpec(SYMPTOM, name, questions=1)).id for name in ("gone", "later"))
    assert not turns.waits(("cpu",))
    assert worked_on(turns, repo) is None
    mine = queue("cpu")
    assert worked_on(turns, repo) == mine
    (settings.home / "later" / "exl2" / "config.json").write_text("{}")
    assert worked_on(turns, repo) == later
    assert worked_on(turns, repo) is None
    there[0] = False
    assert worked_on(turns, repo) == gone


def worked_on(turns, repo):
    """What is taken next, and ended."""
    with turns.next() as turn:
        if turn is None:
            return None
        repo.finish(turn.record.id, turn.worker_id, RunStatus.FAILED)
        return turn.record.id


def test_a_run_that_is_to_stop_is_ended_by_whoever_comes_first(repo, settings):
    run = repo.create(RunSpec(SYMPTOM, "gone", questions=1), worker_id="w.1").id
    repo.request_cancel(run)
    repo.release(run, "w.1")
    with Turns(repo, settings, EVERYTHING, 60, lambda: True).next() as turn:
        assert turn.record.id == run


def test_a_worker_leaves_a_pair_that_it_lacks_to_one_that_lives_elsewhere(home):
    workers = WorkerRepository(home.database)
    workers.beat("elsewhere.1")
    run = home.repo.create(RunSpec(SYMPTOM, "gone", questions=1))
    home.start_worker()
    other = home.repo.create(spec(1))
    wait_for(lambda: home.ended(other.id))
    assert home.repo.get(run.id).status is RunStatus.QUEUED
    workers.remove("elsewhere.1")
    assert wait_for(lambda: home.ended(run.id)).status is RunStatus.FAILED, (
        "its own sign of life does not count"
    )


def test_what_waits_is_what_is_for_this_worker_or_needs_its_devices(queue, settings, repo):
    turns = Turns(repo, settings, Share("cpu", LANES), 60)
    assert not turns.waits(("cpu",))
    queue("cuda:1")
    assert not turns.waits(("cpu",))
    queue("cuda:0", baseline="cpu")
    assert turns.waits(("cpu",))
    assert not turns.waits(())


def test_only_workers_that_are_named_start():
    assert share_of("", ()) == EVERYTHING
    assert (share_of("cuda:1", LANES).name, EVERYTHING.name) == ("worker-cuda-1", "worker")
    assert [share_of(name, LANES).is_first for name in LANES] == [True, False, False]
    for device, lanes in (("cuda:5", LANES), ("cpu", ()), ("", LANES)):
        with pytest.raises(InputError, match="No worker is to be started"):
            share_of(device, lanes)
