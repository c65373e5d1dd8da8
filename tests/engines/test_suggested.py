"""Sampling settings of a folder: read as transformers reads them, drawn as transformers weighs them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import GenerationConfig

from tests.engines.conftest import own_model
from wfgy_triage.engines.base import Engine, GenerationRequest, Grammar, Sampler
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.suggested import GREEDY, SERVER_OWN, Sampling, suggested, suggested_by
from wfgy_triage.engines.warping import choose
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.pairs import NO_FOLDER, Pair

PROMPT = tuple(range(60, 90))
DRAWS = 3000
SUGGESTIONS: list[dict[str, Any]] = [
    {"do_sample": True, "temperature": 3.0},  # transformers keeps the 50 likeliest where nothing is said
    {"do_sample": True, "temperature": 2.0, "top_k": 0, "top_p": 0.9},
    {"do_sample": True, "temperature": 2.5, "top_k": 0, "min_p": 0.2, "repetition_penalty": 1.5},
    {"do_sample": True, "temperature": 2.5, "top_k": 30, "top_p": 0.95, "typical_p": 0.7},
]


def in_transformers(folder: Path, data: dict[str, Any], tmp_path: Path, tokens: int, **how: Any) -> Any:
    """What its own `generate` makes of the file: tokens and processed scores."""
    (tmp_path / "generation_config.json").write_text(json.dumps(data), encoding="utf-8")
    model = own_model(folder)
    model.generation_config = GenerationConfig.from_pretrained(tmp_path)
    return model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=tokens,
        output_scores=True,
        return_dict_in_generate=True,
        **how,
    )


@pytest.mark.parametrize("data", SUGGESTIONS, ids=json.dumps)
def test_draws_follow_the_distribution_that_transformers_draws_from(data, make_folder, tmp_path):
    folder = make_folder("llama")
    scores = in_transformers(folder, data, tmp_path, 1).scores[0][0].double()
    with torch.no_grad():
        logits = own_model(folder)(torch.tensor([PROMPT])).logits[0, -1]
    own = suggested(data, "EXL2")
    asked = [
        GenerationRequest(
            "q", PROMPT, 1, temperature=own.temperature, top_p=own.top_p, seed=seed, sampler=own.sampler
        )
        for seed in range(DRAWS)
    ]
    counts = Counter(choose(logits, request, ()).token for request in asked)
    expected = (scores.softmax(-1) * DRAWS).numpy()
    assert {t for t, n in counts.items() if n} <= set(np.flatnonzero(expected).tolist())
    often = np.flatnonzero(expected >= 8)
    assert len(often) >= 3
    seen = np.array([counts[t] for t in often] + [DRAWS - sum(counts[t] for t in often)], dtype=float)
    wanted = np.append(expected[often], DRAWS - expected[often].sum())
    kept = wanted > 1e-6
    # Fixed seeds: this cannot flicker.
    assert chisquare(seen[kept], wanted[kept]).pvalue > 0.01


@pytest.mark.parametrize("penalty", [1.0, 1.3, 2.0])
def test_a_penalty_holds_for_greedy_answers_as_in_transformers(penalty, engine, make_folder, tmp_path):
    data = {"repetition_penalty": penalty, "eos_token_id": 257}
    # Rows of the model that no token of its tokenizer has; the engine leaves them out.
    unused = list(range(engine.info.vocab_size, 272))
    found = in_transformers(make_folder("llama"), data, tmp_path, 24, suppress_tokens=unused)
    theirs = found.sequences[0, len(PROMPT) :].tolist()
    own = suggested(data, "FP16")
    assert own.temperature == 0
    (mine,) = engine.generate([GenerationRequest("q", PROMPT, 24, sampler=own.sampler)])
    assert list(mine.token_ids) == [t for t in theirs if t != 257]
    # Probabilities are those of the model itself, before the penalty.
    with torch.no_grad():
        logits = own_model(make_folder("llama"))(torch.tensor([PROMPT])).logits[0, -1]
    known = logits[: engine.info.vocab_size].log_softmax(-1)
    assert mine.logprobs[0] == pytest.approx(float(known[mine.token_ids[0]]), abs=1e-4)


@pytest.mark.parametrize("setting", [{"epsilon_cutoff": 0.3}, {"eta_cutoff": 0.3}, {"top_h": 0.1}], ids=str)
def test_what_acts_on_drawn_words_alone_does_nothing_in_transformers_otherwise(
    setting, make_folder, tmp_path
):
    folder = make_folder("llama")
    with torch.no_grad():
        logits = own_model(folder)(torch.tensor([PROMPT])).logits[0, -1]
    plain = in_transformers(folder, setting, tmp_path, 1).scores[0][0]
    torch.testing.assert_close(plain, logits)
    drawn = in_transformers(folder, {"do_sample": True, "top_k": 0, **setting}, tmp_path, 1).scores[0][0]
    assert torch.isneginf(drawn).any()
    assert suggested(setting, "EXL2") == GREEDY


def test_a_draw_does_not_depend_on_what_is_asked_beside_it(engine: Engine):
    how = {"temperature": 1.8, "top_p": 0.9, "sampler": Sampler(top_k=40, repetition_penalty=1.2)}
    asked = [
        GenerationRequest(str(n), tuple(range(50 + n, 80 + 2 * n)), 16, seed=n, **how)  # type: ignore[arg-type]
        for n in range(6)
    ]
    together = {c.id: c for c in engine.generate(asked)}
    for request in asked:
        (alone,) = engine.generate([request])
        assert alone.token_ids == together[request.id].token_ids
    assert len({c.token_ids for c in together.values()}) > 1


def test_a_grammar_holds_whatever_is_penalised(engine: Engine):
    how = {"temperature": 2.0, "sampler": Sampler(top_k=3, repetition_penalty=3.0)}
    for seed in range(5):
        (answer,) = engine.generate(
            [GenerationRequest("q", PROMPT, 8, seed=seed, grammar=Grammar("regex", "[0-9]{4}"), **how)]  # type: ignore[arg-type]
        )
        assert answer.text.isdigit()
        assert len(answer.text) == 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "the likeliest word each time"),
        # Without do_sample nothing but the penalty has an effect, whatever else the file says.
        ({"temperature": 0.7, "top_p": 0.5}, "the likeliest word each time"),
        (
            {"do_sample": False, "repetition_penalty": 1.1},
            "the likeliest word each time, repetition_penalty 1.1",
        ),
        ({"epsilon_cutoff": 0.01, "eta_cutoff": 0.002, "top_h": 0.4}, "the likeliest word each time"),
        ({"do_sample": False, "eta_cutoff": 0.002}, "the likeliest word each time"),
        ({"do_sample": True}, "temperature 1, top_k 50"),
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
            "temperature 0.6, top_p 0.95, top_k 20",
        ),
        ({"do_sample": True, "top_k": 0, "no_repeat_ngram_size": 0, "max_length": 20}, "temperature 1"),
    ],
)
def test_what_a_file_suggests_in_words(data, words):
    found = suggested(data, "EXL2")
    assert found.words == words
    assert Sampling.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"do_sample": True, "no_repeat_ngram_size": 3}, "no_repeat_ngram_size 3"),
        ({"num_beams": 4}, "num_beams 4"),
        ({"do_sample": True, "presence_penalty": 0.5}, "presence_penalty 0.5"),
        ({"do_sample": True, "epsilon_cutoff": 0.01}, "epsilon_cutoff 0.01"),
        ({"do_sample": True, "eta_cutoff": 0.002}, "eta_cutoff 0.002"),
        ({"do_sample": True, "top_h": 0.4}, "top_h 0.4"),
        # These act on the likeliest word too.
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size 3"),
        ({"bad_words_ids": [[3]]}, "bad_words_ids [[3]]"),
        ({"do_sample": True, "a_new_sampler": 1}, "a_new_sampler 1"),
        ({"do_sample": True, "temperature": 0}, "temperature 0"),
        ({"do_sample": True, "top_p": 1.5}, "top_p 1.5"),
        ({"do_sample": True, "top_k": "50"}, 'top_k "50"'),
        ({"repetition_penalty": 0}, "repetition_penalty 0"),
    ],
)
def test_what_cannot_be_followed_is_named_and_never_left_out(data, named):
    with pytest.raises(PrerequisiteError, match="EXL2") as refused:
        suggested(data, "EXL2")
    assert named in refused.value.message
    assert "neutral" in refused.value.hint


def test_every_side_of_a_pair_has_its_own(make_folder, tmp_path):
    fp16, exl2 = make_folder("llama"), tmp_path / "exl2"
    shutil.copytree(fp16, exl2)
    (exl2 / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.9}', encoding="utf-8")
    found = suggested_by(Pair("p", "P", fp16, exl2))
    assert found.fp16 == GREEDY
    assert found.exl2 == Sampling(0.9, sampler=Sampler(top_k=50))
    served = Pair("p", "P", fp16, NO_FOLDER, engine={"server": {"url": "http://127.0.0.1:1"}})
    assert suggested_by(served).exl2 == SERVER_OWN
    (exl2 / "generation_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(PrerequisiteError, match=r"generation_config.json of the EXL2 folder cannot be read"):
        suggested_by(Pair("p", "P", fp16, exl2))


def test_settings_that_are_left_to_a_server_need_one(make_folder):
    engine = open_engine(make_folder("llama"), side="fp16")
    with pytest.raises(InputError, match="none is asked"):
        engine.generate([GenerationRequest("q", PROMPT, 2, sampler=SERVER_OWN.sampler)])


@pytest.mark.parametrize(
    "sampler",
    [Sampler(top_k=-1), Sampler(min_p=1.5), Sampler(typical_p=0.0), Sampler(repetition_penalty=0.0)],
)
def test_impossible_settings_are_refused_before_anything_is_computed(sampler, engine: Engine):
    with pytest.raises(InputError, match="'q'"):
        engine.generate([GenerationRequest("q", PROMPT, 2, sampler=sampler)])
