"""The generation loop: ends, limits, refusals, long answers, and letting go."""

from __future__ import annotations

import math

import pytest
import torch

from tests.engines.conftest import own_model
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.decoding import Decoder, DecodingOptions
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import InputError, ProbeError


def prompt(n: int, seed: int = 0) -> tuple[int, ...]:
    return tuple((13 * i + 7 * seed) % 256 for i in range(n))


def reference_tokens(folder, ids, count):
    """Greedy tokens with the end token ignored, from the model class itself."""
    model = own_model(folder)
    ids = list(ids)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1, :258].argmax()))
    return ids[-count:]


def test_logprobs_are_those_of_the_model(engine, make_folder):
    [answer] = engine.generate([GenerationRequest("a", prompt(9), 6, temperature=1.5, seed=4)])
    model = own_model(make_folder("llama"))
    ids = [*prompt(9), *answer.token_ids]
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0, :, :258].double().log_softmax(-1)
    expected = [float(logs[8 + i, t]) for i, t in enumerate(answer.token_ids)]
    assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_an_end_token_ends_the_answer_and_is_left_out(engine, make_folder):
    """Any id can be named an end token in generation_config.json; a list counts as a whole."""
    folder = make_folder("llama")
    tokens = reference_tokens(folder, prompt(9), 12)
    end = tokens[5]
    decoder = Decoder(engine.runner, engine.decode, frozenset({end, 3}), 512, DecodingOptions("x", True))
    [answer] = decoder.run([GenerationRequest("a", prompt(9), 12)])
    assert answer.finish_reason == "stop"
    assert list(answer.token_ids) == tokens[: tokens.index(end)]
    assert end not in answer.token_ids


def test_end_ids_come_from_all_three_places(make_folder, tmp_path):
    for path in make_folder("llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 9]}')
    engine = open_engine(tmp_path, side="fp16")
    assert engine.end_ids == frozenset({5, 9, 257})


def test_reaching_the_limit_is_told(engine):
    [answer] = engine.generate([GenerationRequest("a", prompt(5), 7)])
    assert (answer.finish_reason, len(answer.token_ids), len(answer.logprobs)) == ("length", 7, 7)


def test_stop_string_cuts_the_text_and_keeps_the_tokens(engine):
    [free] = engine.generate([GenerationRequest("a", prompt(9), 30)])
    stop = free.text[8:10]
    [cut] = engine.generate([GenerationRequest("a", prompt(9), 30, stop_strings=("\0never", stop))])
    assert cut.finish_reason == "stop_string"
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.token_ids == free.token_ids[: len(cut.token_ids)]
    assert stop in engine.decode(cut.token_ids)


def test_long_answers_outgrow_the_first_storage(engine, make_folder):
    requests = [GenerationRequest("a", prompt(20), 150), GenerationRequest("b", prompt(6, 3), 150)]
    answers = {c.id: c for c in engine.generate(requests)}
    for request in requests:
        expected = reference_tokens(make_folder("llama"), request.prompt_ids, 150)
        got = answers[request.id]
        whole = [*got.token_ids] if got.finish_reason == "length" else [*got.token_ids, 257]
        assert whole == expected[: len(whole)]


def test_a_small_storage_budget_gives_the_same_answers(engine):
    requests = [GenerationRequest(str(i), prompt(5 + i, i), 10) for i in range(9)]
    options = DecodingOptions("x", True, kv_budget_bytes=2 * 25 * engine.runner.kv_shape.bytes_per_token)
    decoder = Decoder(engine.runner, engine.decode, frozenset({257}), 512, options)
    assert {c.id: c.token_ids for c in decoder.run(requests)} == {
        c.id: c.token_ids for c in engine.generate(requests)
    }


def test_shorter_answers_come_first(engine):
    requests = [GenerationRequest(str(n), prompt(12, n), n) for n in (9, 3, 6)]
    order = [c.id for c in engine.generate(requests) if c.finish_reason == "length"]
    assert order == sorted(order)


def test_should_stop_is_honoured_within_one_step(engine):
    calls = []

    def should_stop() -> bool:
        calls.append(1)
        return len(calls) > 4

    requests = [GenerationRequest(str(i), prompt(6, i), 100) for i in range(3)]
    assert list(engine.generate(requests, should_stop)) == []
    assert len(calls) <= 6


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GenerationRequest("long", prompt(500), 13), "513 tokens"),
        (GenerationRequest("empty", (), 5), "no tokens"),
        (GenerationRequest("none", prompt(5), 0), "no new tokens"),
        (GenerationRequest("id", (1, 258), 5), "outside the vocabulary"),
        (GenerationRequest("t", prompt(5), 5, temperature=-0.1), "temperature"),
        (GenerationRequest("p", prompt(5), 5, top_p=0.0), "top_p"),
        (GenerationRequest("good", prompt(9), 5), "same id"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(engine, request_, message):
    good = GenerationRequest("good", prompt(5), 3)
    with pytest.raises(InputError, match=message):
        engine.generate([good, request_])


def test_nothing_asked_nothing_done(engine):
    assert list(engine.generate([])) == []


def test_logits_that_are_not_numbers_are_reported(make_folder):
    engine = open_engine(make_folder("llama"), side="fp16")
    engine.runner.base.norm.weight.data[3] = math.nan
    with pytest.raises(ProbeError, match="engine transformers gave logits that are not finite"):
        list(engine.generate([GenerationRequest("a", prompt(5), 3)]))


def test_a_closed_engine_says_so(make_folder):
    engine = open_engine(make_folder("llama"), side="fp16")
    engine.close()
    with pytest.raises(ProbeError, match="closed"):
        engine.generate([GenerationRequest("a", prompt(5), 3)])


def test_text_and_ids(engine):
    ids = engine.encode("<s>Añb</s>")
    assert ids[0] == 256
    assert ids[-1] == 257
    assert len(ids) == 6
    assert engine.decode(ids) == "Añb"
    chat = engine.render_chat([{"role": "user", "content": "Hi"}])
    assert chat == "<s>user: Hi</s><s>assistant:"
