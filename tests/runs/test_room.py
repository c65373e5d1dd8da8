"""Whether a pair fits: what is said before it is loaded, and what is refused, with what would help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.footprint import WORKING_BYTES, Need
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.runs import room
from wfgy_triage.runs.models import Room
from wfgy_triage.runs.room import Shortage, shortage, state_room
from wfgy_triage.server_settings import ServerSettings

GB = 10**9
W = WORKING_BYTES
PAIR = Pair("p", "P", "fp16", "exl2")
GPU = EngineSettings("cuda:0", "exllamav2")
GIVEN = {"fp16": 28, "exl2": 5, "twin": 14}


@pytest.fixture(autouse=True)
def models(monkeypatch):
    """A machine with two GPUs, and models of these sizes in GB: FP16 in 32 bits, EXL2, FP16 in 16 bits."""
    sizes = dict(GIVEN)
    devices = {"count": 2}

    def needs_of(pair, settings, twin, loaded=False):
        baseline = settings.places("fp16", lambda: devices["count"])
        found = []
        if baseline and not loaded:
            found.append(Need("FP16", baseline, sizes["fp16"] * GB))
        if settings.server is None and not loaded:
            found.append(Need("EXL2", settings.places("exl2", lambda: devices["count"]), sizes["exl2"] * GB))
        if baseline and twin:
            found.append(Need("FP16 for the noise", baseline, sizes["twin"] * GB, "cpu" not in baseline))
        return tuple(found)

    monkeypatch.setattr(room, "needs_of", needs_of)
    monkeypatch.setattr(room, "gpu_count", lambda: devices["count"])
    monkeypatch.setattr(
        room, "is_there", lambda device: device == "cpu" or int(device[5:]) < devices["count"]
    )
    return sizes | {"devices": devices}


def found(settings=GPU, twin=True, loaded=False, times=False, **free) -> Room:
    there = {name.replace("_", ":"): amount * GB for name, amount in free.items()}

    def amount(device: str) -> int:
        return int(there[device])

    return state_room(PAIR, settings, twin, loaded, free=amount, patience_s=0, elsewhere=amount, times=times)


def stated(settings=GPU, twin=True, loaded=False, **free) -> str:
    return found(settings, twin, loaded, **free).text


def refused(settings=GPU, **free) -> PrerequisiteError:
    with pytest.raises(PrerequisiteError) as caught:
        stated(settings, **free)
    return caught.value


def test_what_fits_is_said_with_its_numbers():
    assert stated(cuda_0=80) == (
        "Both models stay loaded for the whole run. GPU memory (cuda:0): about 47.5 GB needed, 80.0 GB free."
    )
    assert stated(EngineSettings("cuda:0", baseline_device="cpu"), cuda_0=22, cpu=64) == (
        "Both models stay loaded for the whole run. Main memory: about 42.5 GB needed, 64.0 GB free."
        " GPU memory (cuda:0): about 5.5 GB needed, 22.0 GB free."
    )


def test_a_side_on_a_server_and_models_that_are_loaded_are_said_too():
    server = ServerSettings("http://localhost:1/v1")
    said = stated(EngineSettings("cuda:0", server=server), cuda_0=80)
    assert said.startswith("The model that is loaded here stays loaded")
    assert "42.5 GB needed" in said
    for loading in ("auto", "in_turn", "together"):
        both = EngineSettings(server=server, baseline_server=server, loading=loading)
        assert found(both) == Room(), "nothing is loaded here"
    assert stated(loaded=True, twin=False) == ""
    assert stated(loaded=True, cuda_0=20) == (
        "The models are still loaded. GPU memory (cuda:0): about 14.5 GB needed, 20.0 GB free."
    )


def test_without_room_for_fp16_a_second_time_on_a_gpu_models_take_turns_for_the_noise_floor():
    assert found(cuda_0=40) == Room(
        "There is no room for FP16 a second time, which the noise floor takes, so the models of this pair take turns."
        " With `loading: together` in its engine block they stay loaded, and the noise floor is NOT MEASURED. One is"
        " loaded at a time, and what FP16 computed is kept on disk until EXL2 has been compared with it. Loading takes"
        " its time, and the answers are not timed. GPU memory (cuda:0): about 28.5 GB needed, 40.0 GB free.",
        in_turn=True,
    )
    assert found(cuda_0=48) == Room(stated(cuda_0=48)), "there is room for all"
    assert not found(twin=False, cuda_0=40).in_turn, "this run measures no floor"
    assert found(loaded=True, cuda_0=4) == Room(in_turn=True), "said once what is loaded has gone"
    server = ServerSettings("http://localhost:1/v1")
    assert found(EngineSettings("cuda:0", server=server), cuda_0=40).in_turn


def test_without_room_for_fp16_a_second_time_a_pair_that_stays_together_says_what_is_lost():
    together = replace(GPU, loading="together")
    said = stated(together, cuda_0=40)
    assert "about 33.5 GB needed, 40.0 GB free" in said
    assert said.endswith("then the noise floor is NOT MEASURED.")
    assert stated(together, loaded=True, cuda_0=4) == (
        "The models are still loaded. FP16 may find no room there a second time; then the noise floor is NOT"
        " MEASURED."
    )


def test_models_whose_times_are_judged_stay_together_where_turns_would_lose_them():
    library = EngineSettings("cuda:0", "exllamav2", "exllamav2")
    room = found(library, times=True, cuda_0=40)
    assert not room.in_turn
    assert room.text.endswith(
        "then the noise floor is NOT MEASURED. Taking turns would measure it, but not the time that EXL2 saves, which"
        " this run judges."
    )
    assert found(library, cuda_0=40).in_turn, "no rule on times"
    # FP16 in 32-bit numbers is timed as that second model, for which there is no room: nothing is lost by turns.
    assert found(GPU, times=True, cuda_0=40).in_turn
    apart = replace(library, baseline_device="cuda:1")
    assert found(apart, times=True, cuda_0=40, cuda_1=40).in_turn, "times on two devices are not compared"
    assert found(library, times=True, cuda_0=30).in_turn, "both sides do not fit"


def test_what_does_not_fit_is_refused_with_the_setting_that_helps():
    found = refused(cuda_0=24, cuda_1=8, cpu=64)
    assert found.cause == "gpu_memory"
    assert "GPU memory (cuda:0): about 28.5 GB needed, 24.0 GB free." in found.message
    assert "FP16 28.0 GB, EXL2 5.0 GB, FP16 for the noise 14.0 GB" in found.message
    assert "Set `baseline_device: cpu`" in found.hint
    assert "takes much longer" in found.hint


def test_another_gpu_is_better_than_the_processor():
    found = refused(cuda_0=24, cuda_1=48, cpu=64)
    assert "Set `baseline_device: cuda:1`" in found.hint
    assert "longer" not in found.hint
    # Without the twin it fits as well: they take turns for its floor.
    assert "cuda:1" in refused(cuda_0=24, cuda_1=30, cpu=64).hint


def test_a_setting_is_named_only_where_it_would_do():
    together = replace(GPU, loading="together")
    for settings, free in (
        (together, {"cuda_0": 24, "cuda_1": 8, "cpu": 40}),
        (GPU, {"cuda_0": 24, "cuda_1": 8, "cpu": 28}),
        (GPU, {"cuda_0": 4, "cuda_1": 8, "cpu": 64}),
    ):
        hint = refused(settings, **free).hint
        assert "baseline_device" not in hint
        assert "cache: Q8" in hint


def test_a_baseline_in_exllamav2_is_not_sent_to_the_processor():
    both = EngineSettings("cuda:0", "exllamav2", "exllamav2")
    assert "baseline_device" not in refused(both, cuda_0=24, cuda_1=8, cpu=640).hint
    assert "baseline_device: cuda:1" in refused(both, cuda_0=24, cuda_1=48, cpu=640).hint


def test_on_the_processor_the_twin_counts_and_another_device_may_help():
    found = refused(EngineSettings(loading="together"), cpu=40, cuda_0=8, cuda_1=80)
    assert found.cause == "main_memory"
    assert "Main memory: about 47.5 GB needed, 40.0 GB free." in found.message
    assert "baseline_device: cuda:1" in found.hint


def test_what_fits_one_at_a_time_takes_turns_and_says_so():
    room = found(EngineSettings(), cpu=40)
    assert room == Room(
        "The models of this pair do not all fit at the same time, so they take turns. One is loaded at a time, and what"
        " FP16 computed is kept on disk until EXL2 has been compared with it. Loading takes its time, and the answers"
        " are not timed. Main memory: about 28.5 GB needed, 40.0 GB free.",
        in_turn=True,
    )
    assert found(cuda_0=30).in_turn
    apart = EngineSettings("cuda:0", baseline_device="cpu")
    assert found(apart, cpu=40, cuda_0=8).text.endswith(
        "Main memory: about 28.5 GB needed, 40.0 GB free. GPU memory (cuda:0): about 5.5 GB needed, 8.0 GB free."
    )
    assert not found(EngineSettings(), cpu=48).in_turn


def test_a_pair_may_ask_for_turns_or_against_them():
    turns, together = replace(GPU, loading="in_turn"), replace(GPU, loading="together")
    room = found(turns, cuda_0=80)
    assert room.in_turn
    assert room.text.startswith("The models of this pair take turns, as its engine block says.")
    assert room.text.endswith("GPU memory (cuda:0): about 28.5 GB needed, 80.0 GB free.")
    assert not found(together, cuda_0=34).in_turn
    error = refused(together, cuda_0=30, cuda_1=8, cpu=8)
    assert "have to be loaded at the same time" in error.message
    assert "set `loading: in_turn` there" in error.hint


def test_what_does_not_fit_alone_is_refused_whatever_is_asked():
    for loading in ("auto", "in_turn", "together"):
        error = refused(replace(GPU, loading=loading), cuda_0=20, cuda_1=8, cpu=8)
        assert error.message.startswith("A model of this pair does not fit into memory, not even alone.")
        assert "about 28.5 GB needed, 20.0 GB free" in error.message
        assert "in_turn" not in error.hint
    # EXL2 alone is too large for its GPU, and FP16's place has nothing to do with it.
    error = refused(EngineSettings("cuda:0", "exllamav2", baseline_device="cpu"), cuda_0=4, cuda_1=8, cpu=64)
    assert "GPU memory (cuda:0): about 5.5 GB needed, 4.0 GB free." in error.message


def test_another_place_is_named_where_the_models_could_take_turns_with_it():
    assert "Set `baseline_device: cpu`" in refused(cuda_0=24, cuda_1=8, cpu=40).hint


def test_a_pair_that_is_loaded_makes_way_for_turns_where_the_twin_has_no_room():
    assert found(EngineSettings(), loaded=True, cpu=4) == Room(in_turn=True)
    with pytest.raises(PrerequisiteError, match="at the same time"):
        found(EngineSettings(loading="together"), loaded=True, cpu=4, cuda_0=8, cuda_1=8)


def test_a_reserve_is_kept_on_every_gpu_that_takes_part():
    need = Need("EXL2", ("cuda:0", "cuda:1"), 20 * GB, reserve=2 * GB)
    assert shortage([need], {"cuda:0": 12 * GB + W, "cuda:1": 12 * GB + W}) is None
    assert shortage([need], {"cuda:0": 12 * GB + W, "cuda:1": 12 * GB + W - 1}).needed == 24 * GB + 2 * W
    # What fits on the first alone leaves the second as it is.
    rest = Need("FP16", ("cuda:1",), 12 * GB)
    assert shortage([need, rest], {"cuda:0": 22 * GB + W, "cuda:1": 12 * GB + W}) is None


def test_the_library_fills_one_gpu_after_the_other_behind_what_is_there():
    needs = [Need("FP16", ("cuda:0",), 10 * GB), Need("EXL2", ("cuda:0", "cuda:1"), 20 * GB)]
    assert shortage(needs, {"cuda:0": 16 * GB, "cuda:1": 16 * GB}) is None
    short = shortage(needs, {"cuda:0": 16 * GB, "cuda:1": 14 * GB})
    assert short == Shortage(needs[1], 30 * GB + 2 * W, 30 * GB)
    twin = Need("FP16 for the noise", ("cuda:0",), 5 * GB, spare=True)
    assert shortage([*needs, twin], {"cuda:0": 16 * GB, "cuda:1": 60 * GB}).need is twin, (
        "EXL2 has filled the first"
    )


def test_a_device_that_is_full_already_is_no_credit():
    needs = [Need("EXL2", ("cuda:0", "cuda:1"), GB)]
    assert shortage(needs, {"cuda:0": 0, "cuda:1": GB + W}) is None
    assert shortage(needs, {"cuda:0": 0, "cuda:1": GB + W - 1}).needed == GB + 2 * W


def test_a_gpu_that_is_not_there_is_left_to_whoever_opens_the_model(models):
    models["devices"]["count"] = 0
    assert stated() == ""


def test_others_are_given_time_to_let_go(monkeypatch):
    amounts = iter([8 * GB, 8 * GB, 80 * GB])
    waited = []
    monkeypatch.setattr(room.time, "sleep", waited.append)
    said = state_room(PAIR, GPU, True, free=lambda device: next(amounts), patience_s=60)
    assert "80.0 GB free" in said.text
    assert not said.in_turn
    assert len(waited) == 2
    # For FP16 a second time as well, unless the run would do without it.
    amounts, waited[:] = iter([40 * GB, 80 * GB]), []
    assert not state_room(PAIR, GPU, True, free=lambda device: next(amounts), patience_s=60).in_turn
    assert len(waited) == 1
    together = replace(GPU, loading="together")
    state_room(PAIR, together, True, free=lambda device: 40 * GB, patience_s=60)
    assert len(waited) == 1


def test_a_gpu_that_is_only_a_way_out_is_asked_about_and_left_alone():
    asked = []

    def free(device: str) -> int:
        asked.append(device)
        return 20 * GB

    with pytest.raises(PrerequisiteError) as caught:
        state_room(
            PAIR, replace(GPU, loading="together"), True, free=free, patience_s=0, elsewhere=lambda d: 90 * GB
        )
    assert "baseline_device: cuda:1" in caught.value.hint
    assert set(asked) == {"cuda:0"}
