"""Part `example` of `make gpu-check`: the printed example is what runs, and a wrong answer of it is seen."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.gpu_check import __main__ as gpu_check
from benchmarks.gpu_check import example
from benchmarks.gpu_check.part import ON_CPU, REFERENCE, Bench
from tests.engines import fake_exllamav2 as fake
from tests.engines.conftest import build_model, save_tokenizer
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.loading import open_engine

ASKED: list[dict[str, Any]] = []


class Tokenizer(fake.ExLlamaV2Tokenizer):
    """With the one end token that the library has."""

    @property
    def eos_token_id(self) -> int:
        return int(self.inner.eos_token_id)


def generator_of(instead: str) -> type:
    """The library's generator as the example calls it; it reads this text in the prompt's place."""

    class Generator:
        def __init__(self, *, model, cache, tokenizer, paged):
            assert not paged
            assert cache.max_seq_len % 256 == 0
            self.model, self.tokenizer, self.warm = model, tokenizer, False

        def warmup(self):
            self.warm = True

        @torch.inference_mode()
        def generate(self, prompt, max_new_tokens, stop_conditions, **settings):
            assert self.warm
            ASKED.append({"prompt": prompt, "max_new_tokens": max_new_tokens, **settings})
            ids = self.tokenizer.inner.encode(instead or prompt, add_special_tokens=False)
            first = len(ids)
            while len(ids) < first + max_new_tokens:
                token = int(self.model._inner(torch.tensor([ids])).logits[0, -1].argmax())
                if token in stop_conditions:
                    break
                ids.append(token)
            return self.tokenizer.inner.decode(ids[first:], skip_special_tokens=True)

    return Generator


def ran(monkeypatch: pytest.MonkeyPatch, folder, instead: str = ""):
    """The part's outcome, with stand-ins of the library."""
    library, generator = ModuleType("exllamav2"), ModuleType("exllamav2.generator")
    names = {name: value for name, value in vars(fake).items() if name.startswith("ExLlamaV2")}
    library.__dict__.update(names | {"ExLlamaV2Tokenizer": Tokenizer})
    generator.__dict__.update(
        ExLlamaV2DynamicGenerator=generator_of(instead), ExLlamaV2Sampler=fake.ExLlamaV2Sampler
    )
    monkeypatch.setitem(sys.modules, "exllamav2", library)
    monkeypatch.setitem(sys.modules, "exllamav2.generator", generator)
    monkeypatch.setattr(example, "REFERENCE", replace(REFERENCE, device="cpu"))
    ASKED.clear()
    return example.run(Bench(folder, (folder,), folder, True))


@pytest.fixture(scope="module")
def letters(fp16, tmp_path_factory: pytest.TempPathFactory):
    """A random model that says letters, so that its text is its tokens."""
    folder = tmp_path_factory.mktemp("letters") / "fp16"
    model, tokenizer = (
        build_model(model_type="llama", tie_word_embeddings=False),
        AutoTokenizer.from_pretrained(fp16),
    )
    kept = tokenizer.encode("abcdefghijklmnopqrstuvwxyz", add_special_tokens=False)
    with torch.no_grad():
        model.lm_head.weight[[i for i in range(model.config.vocab_size) if i not in kept]] = 0
    model.half().save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def test_the_part_is_one_of_the_check_and_runs_without_a_gpu_too():
    assert gpu_check.PARTS["example"] == "example"
    assert "example" in gpu_check.WITHOUT_GPU


@pytest.mark.parametrize(("on_cpu", "most"), [("", 128), ("1", example.TOKENS_ON_CPU)])
def test_the_printed_example_passes_where_it_answers_as_the_weights_do(monkeypatch, letters, on_cpu, most):
    monkeypatch.setenv(ON_CPU, on_cpu)
    found = ran(monkeypatch, letters)
    assert found.state == "PASS", found.said
    (row,), (asked,) = found.rows, ASKED
    own = AutoModelForCausalLM.from_pretrained(letters, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(letters)
    framed = f"<s>user: {example.PROMPT}</s><s>assistant:"
    ids = tokenizer(framed, return_tensors="pt", add_special_tokens=False).input_ids
    made = own.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False)
    assert row["answer"] == tokenizer.decode(made[0, ids.shape[1] :])
    assert row["answer"].isalpha()
    assert (asked["prompt"], asked["max_new_tokens"], len(row["gaps"])) == (framed, most, most)
    assert (asked["encode_special_tokens"], asked["add_bos"]) == (True, False)


def test_a_prompt_read_without_its_template_is_a_failure(monkeypatch, letters):
    monkeypatch.setenv(ON_CPU, "1")
    found = ran(monkeypatch, letters, instead=example.PROMPT)
    assert found.state == "FAIL"
    assert "allowed 0.25" in found.said


def test_an_answer_that_stops_where_no_end_is_likely_has_a_gap_there(letters):
    reference = open_engine(letters, side="exl2")
    ids = reference.encode(reference.render_chat([{"role": "user", "content": example.PROMPT}]))
    (whole,) = reference.generate([GenerationRequest("a", ids, 12)])
    assert example.gaps_of(reference, example.PROMPT, whole.text, 12) == [0.0] * 12
    gaps = example.gaps_of(reference, example.PROMPT, whole.text[:5], 12)
    assert gaps[:5] == [0.0] * 5
    assert gaps[5] > example.GAP
    assert example.gaps_of(reference, example.PROMPT, "", 12)[0] > example.GAP
    reference.close()
