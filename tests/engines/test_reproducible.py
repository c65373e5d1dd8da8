"""In the reproducible mode an answer does not depend on what else is in the batch."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from wfgy_triage.engines.base import GenerationRequest, Grammar, ScoreRequest
from wfgy_triage.engines.decoding import NEAR_TIE
from wfgy_triage.engines.grammar_builders import cited_sentence_grammar, record_grammar
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.sampling import Choice, greedy

FEW_SHOT = (
    'Extract a JSON record.\nText: The copper kettle from Porto costs 34 euro.\nJSON: {"item": "copper kettle", '
    '"price": 34, "city": "Porto"}\nText: In Lagos they sell a folding chair for 51 euro.\nJSON: {"item": '
    '"folding chair", "price": 51, "city": "Lagos"}\nText: '
)
ITEMS = ["desk lamp", "very old wool blanket", "spade", "tea tray", "brass clock with a bell"]
CITIES = ["Oslo", "Lima", "Cairo", "Kyoto", "Graz", "Accra", "Rio de Janeiro"]


def few_shot_requests(engine, count: int, **settings) -> list[GenerationRequest]:
    """Prompts that share their examples and end in a record of their own."""
    texts = [
        f"The {ITEMS[i % 5]} costs {20 + i} euro{' and is to be had' if i % 3 else ''} in {CITIES[i % 7]}.\nJSON:"
        for i in range(count)
    ]
    return [GenerationRequest(f"r{i}", engine.encode(FEW_SHOT + t), **settings) for i, t in enumerate(texts)]


def answers(engine, requests):
    """Ids, texts and finish reasons by request id."""
    return {c.id: (c.token_ids, c.text, c.finish_reason) for c in engine.generate(requests)}


def check_composition(engine, requests, alone: int) -> None:
    """One at a time, 20, all, shuffled, without sharing: the same answers."""
    whole = answers(engine, requests)
    assert len(whole) == len(requests)
    assert answers(engine, sorted(requests, key=lambda r: r.id[::-1])) == whole
    for begin in range(0, len(requests), 20):
        part = requests[begin : begin + 20]
        assert answers(engine, part) == {r.id: whole[r.id] for r in part}
    for request in requests[:alone]:
        assert answers(engine, [request]) == {request.id: whole[request.id]}
    engine.set_prefix_sharing(False)
    try:
        assert answers(engine, requests) == whole
    finally:
        engine.set_prefix_sharing(True)


@pytest.mark.parametrize("temperature", [0.0, 1.3])
@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_composition_of_the_batch(make_folder, family, temperature):
    engine = open_engine(make_folder(family), side="fp16")
    settings = {"max_new_tokens": 24, "temperature": temperature, "top_p": 0.9, "stop_strings": ("e",)}
    requests = few_shot_requests(engine, 60, **settings)
    requests = [dataclasses.replace(r, seed=i, max_new_tokens=8 + i % 17) for i, r in enumerate(requests)]
    check_composition(engine, requests, alone=12)


def test_one_prompt_under_several_seeds(engine):
    """Equal prompts are computed once: every draw is still the one that it is alone."""
    asked = few_shot_requests(engine, 7, max_new_tokens=14, temperature=1.3)
    requests = [dataclasses.replace(r, id=f"{r.id}-{seed}", seed=seed) for r in asked for seed in range(3)]
    requests += [dataclasses.replace(r, id=f"{r.id}-short", max_new_tokens=5) for r in asked[:2]]
    check_composition(engine, requests, alone=6)
    assert len({c.token_ids for c in engine.generate(requests)}) > 15  # the seeds matter


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_families_of_prompts_in_one_batch(make_folder, family):
    engine = open_engine(make_folder(family), side="fp16")
    requests = [
        GenerationRequest(
            f"{r.id}-{kind}",
            engine.encode(f"{kind}: {engine.decode(r.prompt_ids)}"),
            max_new_tokens=12 + 9 * (i % 3),
        )
        for kind in ("orders", "tickets", "recipes")
        for i, r in enumerate(few_shot_requests(engine, 7, max_new_tokens=1))
    ]
    check_composition(engine, requests, alone=6)


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_families_behind_a_common_beginning(make_folder, family):
    engine = open_engine(make_folder(family), side="fp16")
    beginning = "One set of rules is shared by all of these families of prompts. "
    requests = [
        GenerationRequest(
            f"{r.id}-{kind}",
            engine.encode(f"{beginning}{kind * 10}{engine.decode(r.prompt_ids)}"),
            max_new_tokens=9 + 5 * (i % 3),
        )
        for kind, rows in (("orders", 5), ("tickets", 1), ("recipes", 4))
        for i, r in enumerate(few_shot_requests(engine, rows, max_new_tokens=1))
    ]
    check_composition(engine, requests, alone=4)


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_rows_with_grammars_in_one_batch_with_rows_without(engine, temperature):
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "price": {"type": "integer", "maximum": 400},
        },
        "required": ["name", "price"],
        "additionalProperties": False,
    }
    grammars = [
        record_grammar(schema),
        None,
        cited_sentence_grammar(["S1", "S2"], 20),
        Grammar("regex", "[ab]{4,9}"),
    ]
    requests = few_shot_requests(engine, 24, temperature=temperature, top_p=0.9, max_new_tokens=40)
    requests = [dataclasses.replace(r, seed=i, grammar=grammars[i % 4]) for i, r in enumerate(requests)]
    check_composition(engine, requests, alone=8)


@pytest.mark.demo
def test_composition_of_the_batch_on_the_demo_model(demo_pair):
    engine = open_engine(demo_pair["fp16"], side="fp16")
    check_composition(engine, few_shot_requests(engine, 24, max_new_tokens=8), alone=2)
    engine.close()


@pytest.mark.demo
def test_the_demo_model_answers_as_transformers_generate(demo_pair):
    from tests.engines.conftest import own_model

    engine, reference = open_engine(demo_pair["fp16"], side="fp16"), own_model(demo_pair["fp16"])
    requests = few_shot_requests(engine, 4, max_new_tokens=24)
    ours = {c.id: c.token_ids for c in engine.generate(requests)}
    for request in requests:
        output = reference.generate(torch.tensor([request.prompt_ids]), max_new_tokens=24, do_sample=False)
        expected = [t for t in output[0, len(request.prompt_ids) :].tolist() if t != 2]
        assert ours[request.id] == tuple(expected)
    engine.close()


def test_rounding_stays_far_below_the_near_tie_margin(make_folder):
    engine = open_engine(make_folder("llama"), side="fp16")
    sequences = [r.prompt_ids for r in few_shot_requests(engine, 24, max_new_tokens=1)]
    together = [ScoreRequest(str(i), s, len(s) - 4) for i, s in enumerate(sequences)]
    worst = 0.0
    for request, chunk in zip(together, list(engine.logits(together)), strict=True):
        [alone] = engine.logits([request])
        worst = max(worst, float((alone.logits - chunk.logits).abs().max()))
    assert worst < NEAR_TIE / 10


def test_an_exact_tie_is_settled_alike(make_folder, tmp_path):
    """A head with every row twice: each step is a tie between two tokens, the hardest case there is."""
    source = make_folder("llama", tie_word_embeddings=False)
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(source / "model.safetensors")
    head = tensors["lm_head.weight"]
    tensors["lm_head.weight"] = torch.cat([head[:128], head[:128], head[256:]])
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    engine = open_engine(tmp_path, side="fp16")
    requests = few_shot_requests(engine, 12, max_new_tokens=6)
    # A grammar may allow both tokens of a tie, or one of them.
    grammars = (None, Grammar("regex", "(?s:.){3,9}"), Grammar("regex", "[ -~]{3,9}"))
    requests = [dataclasses.replace(r, grammar=grammars[i % 3]) for i, r in enumerate(requests)]
    check_composition(engine, requests, alone=4)


def test_greedy_gap_is_the_distance_to_the_second_best():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 4.5, -1.0]])
    kept = logits.clone()
    assert greedy(logits) == [Choice(1, 2.0), Choice(0, 0.5)]
    assert torch.equal(logits, kept)
