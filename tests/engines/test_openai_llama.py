"""llama.cpp's own server, in its own process, with the same tiny random weights as the engine beside it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from tests.engines import llama_server
from tests.engines.gguf_model import write_gguf
from tests.engines.servers import assert_measured_alike, free_port, running
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.base import Engine, GenerationRequest, Grammar
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.pairs import NO_FOLDER, Pair
from wfgy_triage.runs.headless import run_headless
from wfgy_triage.runs.server_check import check_servers
from wfgy_triage.server_settings import ServerSettings
from wfgy_triage.store.records import RunSpec

CONTEXT, SLOTS = 8192, 2
PROMPTS = ("The cat", "3.14 and 2.71", "Größe 🙂", "<s>user: hi</s><s>assistant:")
BOOLEAN = Grammar(
    "json_schema",
    json.dumps(
        {
            "type": "object",
            "properties": {"a": {"type": "boolean"}},
            "required": ["a"],
            "additionalProperties": False,
        }
    ),
)


@pytest.fixture(scope="module")
def served(
    make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Address of the server, and the folder whose weights it has loaded."""
    home = tmp_path_factory.mktemp("llama.cpp")
    # More positions than a slot has: what the server says of itself is the limit then. No rows above the last token.
    folder = legible(make_folder("llama", max_position_embeddings=16384, vocab_size=258), home / "folder")
    write_gguf(folder, home / "tiny.gguf")
    port = free_port()
    arguments = (str(home / "tiny.gguf"), str(port), str(CONTEXT), str(SLOTS))
    command = [sys.executable, llama_server.__file__, *arguments]
    with running(command, f"http://127.0.0.1:{port}/health", home / "log"):
        yield f"http://127.0.0.1:{port}/v1", folder


def legible(folder: Path, copy: Path) -> Path:
    """A copy whose model writes ASCII only: what a server does with half characters is its own affair."""
    shutil.copytree(folder, copy)
    vocab = json.loads((copy / "tokenizer.json").read_text())["model"]["vocab"]
    silent = [i for text, i in vocab.items() if not text.isascii()]
    weights = load_file(copy / "model.safetensors")
    weights["model.embed_tokens.weight"][silent] = 0
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


@pytest.fixture(scope="module")
def here(served: tuple[str, Path]) -> Iterator[Engine]:
    with closing(open_engine(served[1], side="fp16")) as engine:
        yield engine


def there(served: tuple[str, Path], here: Engine, **more: Any) -> Engine:
    settings = EngineSettings(server=ServerSettings(served[0], concurrency=2, **more))
    return open_engine(served[1], side="exl2", share_with=here, settings=settings)


@pytest.mark.parametrize("token_ids", [None, False])
def test_greedy_answers_are_those_of_the_same_weights_here(served, here, token_ids):
    engine = there(served, here, token_ids=token_ids)
    requests = [GenerationRequest(t, here.encode(t), 24, seed=5) for t in PROMPTS]
    ours = {c.id: c for c in here.generate(requests)}
    theirs = {c.id: c for c in engine.generate(requests)}
    assert set(theirs) == set(ours)
    for name, found in theirs.items():
        assert ours[name].text.isascii()
        assert found.text == ours[name].text
        assert found.finish_reason == ours[name].finish_reason
        assert found.counted is not None
        assert found.counted - len(ours[name].token_ids) in (0, 1)  # the server counts the end token
        length = len(ours[name].logprobs)
        assert length > 10
        assert found.logprobs[:length] == pytest.approx(ours[name].logprobs, abs=2e-3)
    said = " ".join(engine.info.notes)
    assert "no log-probabilities" not in said
    assert ("as token ids" in said) is (token_ids is None)


def test_it_tells_what_it_is_and_how_long_a_text_may_be(served, here):
    engine = there(served, here)
    assert "llama.cpp" in engine.info.engine_version
    assert engine.info.max_context == CONTEXT
    texts = ["a", "Größe 🙂", "<s>user: hi</s>"]
    assert engine.server_token_ids(texts) == [here.encode(t) for t in texts]  # type: ignore[attr-defined]


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_an_answer_is_held_to_a_json_schema(served, here, endpoint):
    engine = there(served, here, endpoint=endpoint)
    assert engine.capabilities.grammar
    ids = here.encode(here.render_chat([{"role": "user", "content": "hi"}]))
    asked = {"prompt_ids": ids, "max_new_tokens": 200, "messages": (("user", "hi"),)}
    (free,) = engine.generate([GenerationRequest("free", **asked)])
    (held,) = engine.generate([GenerationRequest("held", **asked, grammar=BOOLEAN)])
    assert json.loads(held.text) in ({"a": True}, {"a": False})
    assert not free.text.lstrip().startswith("{"), "a server that ignored the schema would pass unseen"


def test_a_seed_gives_the_same_answer_again_and_another_gives_another(served, here):
    engine = there(served, here)
    ids = here.encode("The cat")

    def draw(seed: int) -> str:
        (found,) = engine.generate([GenerationRequest("q", ids, 24, temperature=1.5, seed=seed)])
        return found.text

    assert draw(3) == draw(3)
    assert len({draw(seed) for seed in range(4)}) > 1
    said = " ".join(engine.info.notes)
    assert "with one seed at temperature 1.5, the server drew the same text." in said


@pytest.mark.parametrize("settings", [{}, {"token_ids": False}, {"endpoint": "chat"}])
def test_its_count_of_a_prompt_includes_what_it_remembers_of_it(served, here, settings):
    engine = there(served, here, **settings)
    assert "cuts long prompts" not in " ".join(engine.info.notes)
    ids = here.encode(here.render_chat([{"role": "user", "content": "hi " * 100}]))
    asked = GenerationRequest("q", ids, 4, messages=(("user", "hi " * 100),))
    for _ in range(2):  # an answer to a prompt that was cut is an error
        assert [c.id for c in engine.generate([asked])] == ["q"]


def test_an_answer_ends_at_a_stop_string(served, here):
    ids = here.encode("The cat")
    (whole,) = here.generate([GenerationRequest("q", ids, 24)])
    stop = whole.text[8:10]
    assert len(stop) == 2
    asked = GenerationRequest("q", ids, 24, stop_strings=(stop,))
    (ours,), (theirs,) = here.generate([asked]), there(served, here).generate([asked])
    assert theirs.text == ours.text
    assert theirs.finish_reason in ("stop", "stop_string"), "the API has one word for both"


def test_a_prompt_beyond_a_slot_is_refused_before_it_is_asked(served, here):
    from wfgy_triage.errors import InputError

    engine = there(served, here)
    with pytest.raises(InputError, match="context"):
        list(engine.generate([GenerationRequest("long", here.encode("x" * (CONTEXT + 1)), 8)]))


def test_the_pair_is_checked_in_plain_words(served):
    (found,) = check_servers(pair_of(served))
    assert found.answers
    said = " ".join(found.lines)
    assert "is llama.cpp" in said
    assert "Same token ids: pass" in said
    assert "JSON schema: offered" in said
    assert f"up to {CONTEXT:,} tokens" in said


def test_a_run_measures_fp16_here_against_the_server(served, settings):
    record = run_headless(
        settings, RunSpec("json_breaks", "served", questions=2, seed=1), pair=pair_of(served)
    )
    assert_measured_alike(record, settings)


def pair_of(served: tuple[str, Path]) -> Pair:
    block = {"url": served[0], "concurrency": 2}
    return Pair("served", "Served", served[1], NO_FOLDER, engine={"server": block})
