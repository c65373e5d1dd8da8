"""The `engine:` block of a pair: what it means, and what is refused."""

from __future__ import annotations

import pytest

from wfgy_triage.engine_settings import EngineSettings, engine_settings
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import InputError


def test_an_empty_block_is_the_reference_on_the_processor():
    settings = engine_settings({}, "p")
    assert settings == EngineSettings()
    assert not settings.uses_library("exl2")
    assert not settings.uses_library("fp16")


@pytest.mark.parametrize(
    ("block", "exl2", "fp16"),
    [
        ({"device": "cuda"}, True, False),
        ({"device": "cuda:1", "backend": "reference"}, False, False),
        ({"backend": "exllamav2", "cache": "Q8"}, True, False),
        ({"baseline": "exllamav2", "backend": "reference"}, False, True),
        ({"device": "cpu", "backend": "auto"}, False, False),
    ],
)
def test_what_runs_in_the_library(block, exl2, fp16):
    settings = engine_settings(block, "p")
    assert (settings.uses_library("exl2"), settings.uses_library("fp16")) == (exl2, fp16)


def test_the_library_means_a_gpu():
    assert engine_settings({"backend": "exllamav2"}, "p").device == "cuda"
    assert engine_settings({"baseline": "exllamav2", "device": "cuda:3"}, "p").device == "cuda:3"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"gpu_split": "auto"}, "gpu_split"),
        ({"backend": "vllm"}, "backend: 'vllm'"),
        ({"cache": "Q5"}, "FP16, Q8, Q6, Q4"),
        ({"loading": "later"}, "auto, together, in_turn"),
        ({"cache": ["Q8"]}, "cache"),
        ({"device": "gpu"}, "cuda:N"),
        ({"device": 0}, "device"),
        ({"device": "cuda:01"}, "the device 'cuda:01'"),
        ({"device": None}, "the device None"),
        ({"baseline_device": "gpu1"}, "the baseline_device 'gpu1'"),
        ({"baseline_device": 1}, "the baseline_device 1"),
        ({"baseline_server": {"url": "http://x/v1"}, "baseline_device": "cpu"}, "Leave baseline_device out"),
        (
            {"device": "cuda", "baseline": "exllamav2", "baseline_device": "cpu"},
            "'cpu'; it computes on a GPU",
        ),
        ({"context": 100}, "context 100"),
        ({"context": "8k"}, "number of tokens"),
        ({"context": True}, "number of tokens"),
        ({"device": "cpu", "backend": "exllamav2"}, "on a GPU only"),
        ({"device": "cpu", "baseline": "exllamav2"}, "on a GPU only"),
    ],
)
def test_wrong_settings_are_named_with_their_pair(block, said):
    with pytest.raises(InputError, match=said) as refused:
        engine_settings(block, "my-pair")
    assert "'my-pair'" in refused.value.message
    assert refused.value.hint


def library_is(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setattr("wfgy_triage.engine_settings.find_spec", lambda name: object() if installed else None)


@pytest.mark.parametrize(
    ("block", "fp16", "exl2", "devices", "main"),
    [
        ({}, ("cpu",), ("cpu",), ("cpu",), "cpu"),
        ({"device": "cuda:1"}, ("cuda:1",), ("cuda:1",), ("cuda:1",), "cuda:1"),
        ({"device": "cuda:1", "baseline_device": "cpu"}, ("cpu",), ("cuda:1",), ("cpu", "cuda:1"), "cuda:1"),
        (
            {"device": "cuda:2", "baseline_device": "cuda:0"},
            ("cuda:0",),
            ("cuda:2",),
            ("cuda:0", "cuda:2"),
            "cuda:2",
        ),
        # transformers takes the first GPU, the library every one.
        (
            {"device": "cuda"},
            ("cuda:0",),
            ("cuda:0", "cuda:1", "cuda:2"),
            ("cuda:0", "cuda:1", "cuda:2"),
            "cuda",
        ),
        ({"device": "cuda", "backend": "reference"}, ("cuda:0",), ("cuda:0",), ("cuda:0",), "cuda:0"),
        (
            {"device": "cuda:1", "baseline": "exllamav2", "baseline_device": "cuda"},
            ("cuda:0", "cuda:1", "cuda:2"),
            ("cuda:1",),
            ("cuda:0", "cuda:1", "cuda:2"),
            "cuda:1",
        ),
        (
            {"server": {"url": "http://x/v1"}, "baseline_device": "cuda:1"},
            ("cuda:1",),
            (),
            ("cuda:1",),
            "cuda:1",
        ),
        (
            {"server": {"url": "http://x/v1"}, "baseline_server": {"url": "http://y/v1"}},
            (),
            (),
            ("cpu",),
            "cpu",
        ),
    ],
)
def test_where_each_side_goes_on_a_machine_with_three_gpus(block, fp16, exl2, devices, main, monkeypatch):
    library_is(monkeypatch, True)
    settings = engine_settings(block, "p")
    assert (settings.places("fp16", lambda: 3), settings.places("exl2", lambda: 3)) == (fp16, exl2)
    assert (settings.devices(lambda: 3), settings.main_device(lambda: 3)) == (devices, main)


def test_devices_are_ordered_by_their_number_and_the_processor_comes_first():
    settings = engine_settings({"device": "cuda:10", "baseline_device": "cuda:9"}, "p")
    assert settings.devices(lambda: 12) == ("cuda:9", "cuda:10")


def test_every_visible_gpu_is_asked_for_only_where_it_matters_and_none_is_still_a_lane(monkeypatch):
    library_is(monkeypatch, True)

    def unasked() -> int:
        raise AssertionError("nobody needs to know")

    assert engine_settings({"device": "cuda:3"}, "p").devices(unasked) == ("cuda:3",)
    assert engine_settings({"device": "cuda"}, "p").devices(lambda: 0) == ("cuda:0",)
    library_is(monkeypatch, False)
    assert engine_settings({"device": "cuda"}, "p").devices(unasked) == ("cuda:0",)


def opened_on(monkeypatch: pytest.MonkeyPatch, block: dict) -> dict[str, str]:
    """The device that each side is opened on, by the engine that opens it."""
    seen: dict[str, str] = {}

    def stand_in(name: str):
        def open_side(*args, device: str = "", settings: EngineSettings | None = None, **how):
            seen[f"{how.get('side', name)} {name}"] = settings.device if settings else device

        return open_side

    monkeypatch.setattr("wfgy_triage.engines.fp16.open_fp16", stand_in("transformers"))
    monkeypatch.setattr("wfgy_triage.engines.exl2_reference.open_exl2_reference", stand_in("reference"))
    monkeypatch.setattr("wfgy_triage.engines.exllamav2_loading.open_exllamav2", stand_in("library"))
    settings = engine_settings(block, "p")
    for side in ("fp16", "exl2"):
        open_engine("folder", side=side, settings=settings)
    return seen


def test_each_side_is_opened_on_its_own_device(monkeypatch):
    block = {"device": "cuda:1", "backend": "exllamav2", "baseline_device": "cpu"}
    assert opened_on(monkeypatch, block) == {"transformers transformers": "cpu", "exl2 library": "cuda:1"}
    block = {"device": "cuda:1", "baseline": "exllamav2", "backend": "exllamav2", "baseline_device": "cuda:0"}
    assert opened_on(monkeypatch, block) == {"fp16 library": "cuda:0", "exl2 library": "cuda:1"}
    block = {"device": "cuda:1", "backend": "reference"}
    assert opened_on(monkeypatch, block) == {
        "transformers transformers": "cuda:1",
        "reference reference": "cuda:1",
    }
