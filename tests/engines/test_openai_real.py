"""A real server that installs from a package, `transformers serve`, in its own process with a tiny random model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.servers import assert_measured_alike, free_port, running
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.pairs import NO_FOLDER, Pair
from wfgy_triage.runs.headless import run_headless
from wfgy_triage.runs.server_check import check_servers
from wfgy_triage.server_settings import ServerSettings
from wfgy_triage.store.records import RunSpec

PROMPTS = ("The cat", "3.14 and 2.71", "Größe 🙂", "<s>user: hi</s><s>assistant:")


@pytest.fixture(scope="module")
def served(
    make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Address of the server, and the folder whose model it has loaded."""
    # No rows of the head above the last token: what is computed here never chooses them, a server may.
    folder = make_folder("llama", max_position_embeddings=16384, vocab_size=258)
    home = tmp_path_factory.mktemp("hub")
    (home / "hub").mkdir()
    port = free_port()
    code = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", code, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--device", "cpu", "--dtype", "float32"]
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with running(command, f"http://127.0.0.1:{port}/health", home / "log", environment):
        yield f"http://127.0.0.1:{port}/v1", folder


def settings_of(served: tuple[str, Path], **more: Any) -> ServerSettings:
    return ServerSettings(served[0], **{"model": str(served[1]), "concurrency": 2, **more})


def test_greedy_text_over_http_is_what_the_loaded_model_writes(served):
    here = open_engine(served[1], side="fp16")
    there = open_engine(
        served[1], side="exl2", share_with=here, settings=EngineSettings(server=settings_of(served))
    )
    requests = [GenerationRequest(t, here.encode(t), 24, seed=5) for t in PROMPTS]
    ours = {c.id: c for c in here.generate(requests)}
    theirs = {c.id: c for c in there.generate(requests)}
    assert set(theirs) == set(ours)
    for name, found in theirs.items():
        assert found.text.rstrip("\ufffd") == ours[name].text.rstrip("\ufffd")
        assert (found.finish_reason, found.token_ids) == (ours[name].finish_reason, ())
        # The server counts the end token as one of its own.
        assert found.counted is not None
        assert found.counted - len(ours[name].token_ids) in (0, 1)


def test_the_chat_endpoint_frames_the_conversation_itself(served):
    here = open_engine(served[1], side="fp16")
    there = open_engine(
        served[1],
        side="exl2",
        share_with=here,
        settings=EngineSettings(server=settings_of(served, endpoint="chat")),
    )
    messages = (("user", "hi"),)
    ids = here.encode(here.render_chat([{"role": "user", "content": "hi"}]))
    asked = [GenerationRequest("q", ids, 16, messages=messages)]
    (ours,), (theirs,) = list(here.generate(asked)), list(there.generate(asked))
    assert theirs.text.rstrip("\ufffd") == ours.text.rstrip("\ufffd")


def test_a_pair_is_checked_in_plain_words(served):
    pair = pair_of(served)
    (found,) = check_servers(pair)
    assert (found.side, found.answers) == ("EXL2", True)
    assert any("answered a short question" in line for line in found.lines)
    assert any("not known to be offered" in line for line in found.lines)
    said = " ".join(found.lines)
    # It draws only where the model's own generation_config.json asks for it, whatever the temperature of a request.
    assert "the same text with two different seeds at temperature 1.5, as if it drew nothing" in said
    assert "cuts long prompts" not in said, "it counts as the tokenizer here does"


def test_a_local_fp16_is_measured_against_a_served_exl2_and_the_result_holds_no_address(
    served, settings, monkeypatch
):
    monkeypatch.setenv("SERVED_KEY", "sk-very-secret-4711")
    record = run_headless(
        settings,
        RunSpec("json_breaks", "served", questions=2, seed=1),
        pair=pair_of(served, key="SERVED_KEY"),
    )
    assert_measured_alike(record, settings)
    assert record.result is not None
    assert record.result["pair"]["exl2"]["engine"] == "openai"
    assert record.result["pair"]["exl2"]["weights_sha256"] is None
    text = json.dumps(record.result) + (settings.home / "logs" / "headless.log").read_text()
    assert "sk-very-secret-4711" not in text
    assert served[0] not in text


def pair_of(served: tuple[str, Path], **more: Any) -> Pair:
    block = {"url": served[0], "model": str(served[1]), "concurrency": 2, **more}
    return Pair("served", "Served", served[1], NO_FOLDER, engine={"server": block})
