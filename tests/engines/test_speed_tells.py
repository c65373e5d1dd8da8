"""Of which engines on transformers the time says something: own weights, in 16-bit numbers, on a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.transformers_engine import TransformersEngine


def test_on_a_cpu_the_time_of_no_engine_tells(engine, make_folder):
    fast = open_engine(make_folder("llama"), side="fp16", mode="fast")
    assert not engine.capabilities.speed_tells
    assert not fast.capabilities.speed_tells
    fast.close()


@pytest.mark.parametrize(
    ("facts", "tells"),
    [
        (("transformers", "cuda:0", "bfloat16"), True),
        (("transformers", "cuda", "float16"), True),
        # Twice the bytes of the FP16 model: any EXL2 model would look fast beside it.
        (("transformers", "cuda:0", "float32"), False),
        # Decoded weights are no faster than FP16's.
        (("exl2_reference", "cuda:0", "bfloat16"), False),
        (("transformers", "cpu", "bfloat16"), False),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_on_a_gpu_it_tells_where_the_model_runs_as_deployed(engine, facts, tells):
    names = dict(zip(("engine", "device", "compute_dtype"), facts, strict=True))
    made = TransformersEngine(engine.runner, engine.tokenizer, replace(engine.info, **names), engine.end_ids)
    assert made.capabilities.speed_tells is tells
