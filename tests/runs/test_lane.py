"""Locks of devices: one holder each, several at once or none, given back whatever happens."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from tests.runs.run_fakes import make_settings, register_pair, wait_for
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.runs.lane import hold_device, lane_of, make_lane, try_be_worker

CPU, ONE, TWO = ("cpu",), ("cuda:0",), ("cuda:1",)


def test_each_device_has_one_holder_and_devices_do_not_wait_for_each_other(tmp_path):
    one, two = make_lane(tmp_path, ONE), make_lane(tmp_path, TWO)
    with one.try_hold() as first, two.try_hold() as second, make_lane(tmp_path, ONE).try_hold() as third:
        assert (first, second, third) == (True, True, False)
        assert (one.taken(), two.taken(), make_lane(tmp_path, CPU).taken()) == (True, True, False)
    assert not one.taken()


def test_several_devices_are_held_all_or_none(tmp_path):
    both, one, two = (make_lane(tmp_path, d) for d in ((*ONE, *TWO), ONE, TWO))
    with two.try_hold(), both.try_hold() as held:
        assert not held
        assert not one.taken(), "a part that does not suffice is given back"
    with both.try_hold() as held:
        assert held
        assert one.taken()
        assert two.taken()


def test_names_tell_lanes_homes_and_nothing_else_apart(tmp_path):
    names = {make_lane(h, d).name for h in (tmp_path, tmp_path / "x") for d in (CPU, ONE, (*CPU, *ONE))}
    assert len(names) == 6
    assert make_lane(tmp_path, ONE).name == make_lane(tmp_path, ONE).name
    ids = {make_lane(tmp_path, ONE).new_worker_id() for _ in range(3)}
    assert len(ids) == 3
    assert all(i.startswith(f"{make_lane(tmp_path, ONE).name}.") for i in ids)


def test_homes_of_one_path_on_hosts_of_one_name_have_other_lanes(tmp_path):
    home = tmp_path / "home"
    first = set(names_of(home, processes=4))
    assert len(first) == 1, "whoever comes first, all of a home have one name"
    assert set(names_of(home)) == first
    home.rename(tmp_path / "elsewhere")
    assert not set(names_of(home)) & first
    (home / "lane-id").write_text("")
    assert len(set(names_of(home, processes=2))) == 1


def names_of(home, processes=1):
    """The lane's name as processes see it that start at the same time."""
    code = (
        "import sys; from pathlib import Path; from wfgy_triage.runs.lane import make_lane\n"
        "print(make_lane(Path(sys.argv[1]), ('cpu',)).name)"
    )
    command = [sys.executable, "-c", code, str(home)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [process.communicate(timeout=60)[0].strip() for process in running]


def test_the_lane_of_a_pair_is_that_of_its_devices(tmp_path):
    settings = make_settings(tmp_path)
    pair = register_pair(settings)
    assert lane_of(settings) == lane_of(settings, pair) == make_lane(tmp_path, CPU)
    block = {"device": "cuda:1", "baseline_device": "cpu"}
    assert lane_of(settings, replace(pair, engine=block)).devices == ("cpu", "cuda:1")
    with pytest.raises(InputError, match="gpu_split"):
        lane_of(settings, replace(pair, engine={"gpu_split": "auto"}))


def test_every_gpu_is_as_many_as_pytorch_sees(tmp_path, monkeypatch):
    monkeypatch.setattr("wfgy_triage.engines.devices.gpu_count", lambda: 3)
    settings = make_settings(tmp_path)
    pair = replace(register_pair(settings), engine={"device": "cuda", "backend": "exllamav2"})
    assert lane_of(settings, pair).devices == ("cuda:0", "cuda:1", "cuda:2")


def test_whoever_waits_for_several_gets_them_when_the_last_is_free(tmp_path):
    both, two = make_lane(tmp_path, (*ONE, *TWO)), make_lane(tmp_path, TWO)
    told, got = [], []

    def wait() -> None:
        with hold_device(both, lambda: told.append(True)):
            got.append((make_lane(tmp_path, ONE).taken(), two.taken()))

    with two.try_hold():
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: told and make_lane(tmp_path, ONE).wanted() and two.wanted())
        assert not make_lane(tmp_path, ONE).taken()
        assert got == []
    waiting.join(30)
    assert got == [(True, True)]
    assert told == [True]
    assert not both.wanted()


def test_a_wish_is_made_as_soon_as_nobody_else_has_it(tmp_path):
    lane, told = make_lane(tmp_path, ONE), []
    with lane.try_hold():
        with lane.try_want() as looked:
            assert looked
            waiting = threading.Thread(target=lambda: _hold(lane, told))
            waiting.start()
            wait_for(lambda: told)
        wait_for(lane.wanted)
    waiting.join(30)
    assert not waiting.is_alive()


def _hold(lane, told) -> None:
    with hold_device(lane, lambda: told.append(True)):
        pass


def test_a_killed_holder_leaves_nothing_behind(tmp_path):
    lane = make_lane(tmp_path, (*ONE, *TWO))
    code = (
        "import sys, time; from pathlib import Path; from wfgy_triage.runs.lane import make_lane\n"
        "with make_lane(Path(sys.argv[1]), ('cuda:0', 'cuda:1')).try_hold() as held:\n"
        "    print(held, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"True"
        assert lane.taken()
        other.kill()
    assert not lane.taken()


def test_one_worker_of_a_name(tmp_path):
    with try_be_worker(tmp_path, "worker-cpu") as first, try_be_worker(tmp_path, "worker-cpu") as second:
        assert (first, second) == (True, False)
        with try_be_worker(tmp_path, "worker-cuda-0") as other:
            assert other


def test_a_home_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PrerequisiteError, match="cannot be written") as caught:
        lane_of(make_settings(tmp_path / "file" / "home"))
    assert "WFGY_TRIAGE_HOME" in caught.value.hint
    with (
        pytest.raises(PrerequisiteError, match="cannot be written"),
        make_lane(tmp_path / "file", CPU).try_hold(),
    ):
        pass
