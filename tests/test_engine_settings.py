"""The `engine:` block of a pair: what it means, and what is refused."""

from __future__ import annotations

import pytest

from wfgy_triage.engine_settings import EngineSettings, engine_settings
from wfgy_triage.engines.loading import uses_library
from wfgy_triage.errors import InputError


def test_an_empty_block_is_the_reference_on_the_processor():
    settings = engine_settings({}, "p")
    assert settings == EngineSettings()
    assert not uses_library(settings, "exl2")
    assert not uses_library(settings, "fp16")


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
    assert (uses_library(settings, "exl2"), uses_library(settings, "fp16")) == (exl2, fp16)


def test_the_library_means_a_gpu():
    assert engine_settings({"backend": "exllamav2"}, "p").device == "cuda"
    assert engine_settings({"baseline": "exllamav2", "device": "cuda:3"}, "p").device == "cuda:3"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"gpu_split": "auto"}, "gpu_split"),
        ({"backend": "vllm"}, "backend: 'vllm'"),
        ({"cache": "Q5"}, "FP16, Q8, Q6, Q4"),
        ({"cache": ["Q8"]}, "cache"),
        ({"device": "gpu"}, "cuda:N"),
        ({"device": 0}, "device"),
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
