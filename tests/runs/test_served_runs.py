"""Whole runs on a pair whose sides are servers: from the pairs file to the stored result, and what is tried then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from tests.engines.conftest import save_tokenizer
from tests.engines.stub_server import Stub, says, serving
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import NO_FOLDER, Pair, register_pairs
from wfgy_triage.remedies.registry import Untriable
from wfgy_triage.remedies.served import no_other_folder, remedy_for
from wfgy_triage.result import State
from wfgy_triage.runs.headless import run_headless
from wfgy_triage.runs.provenance import refuse_changed_servers
from wfgy_triage.settings import Settings
from wfgy_triage.store.records import RunRecord, RunSpec, RunStatus
from wfgy_triage.workload.json_records import load_json_workload

KEY = "sk-very-secret-4711"
QUESTIONS = 8


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Stub, Stub]]:
    with serving(Stub()) as fp16, serving(Stub()) as exl2:
        yield fp16, exl2


@pytest.fixture
def stubs(running: tuple[Stub, Stub], monkeypatch: pytest.MonkeyPatch) -> tuple[Stub, Stub]:
    monkeypatch.setenv("TABBY_API_KEY", KEY)
    for stub in running:
        stub.reset()
        stub.key = KEY
        stub.models = {"data": [{"id": "m-exl2", "owned_by": "tabbyAPI"}]}
        stub.loaded = {"id": "m-exl2", "parameters": {"max_seq_len": 100_000, "cache_mode": "Q4"}}
    return running


def register(settings: Settings, stubs: tuple[Stub, Stub]) -> Pair:
    """FP16 is known by its tokenizer alone, EXL2 not at all."""
    folder = settings.home / "tokenizer"
    folder.mkdir(parents=True)
    save_tokenizer(folder)
    (folder / "config.json").write_text('{"max_position_embeddings": 100000}')
    servers = [{"url": s.url, "key": "TABBY_API_KEY", "retries": 0} for s in stubs]
    engine = {"baseline_server": servers[0], "server": servers[1]}
    pair = Pair("tabby", "Behind servers", folder, NO_FOLDER, engine=engine)
    register_pairs(settings, [pair])
    return pair


def golds(folder: Path) -> dict[str, str]:
    from transformers import AutoTokenizer

    workload, tokenizer = load_json_workload(), AutoTokenizer.from_pretrained(folder)
    return {
        tokenizer.apply_chat_template(
            workload.messages(q), tokenize=False, add_generation_prompt=True
        ): workload.gold_text(q)
        for q in workload.questions
    }


def run(settings: Settings, symptom: str = "json_breaks", **options: Any) -> RunRecord:
    return run_headless(settings, RunSpec(symptom, "tabby", questions=QUESTIONS, seed=1, options=options))


def test_a_failing_server_is_measured_and_the_schema_option_is_tried_on_it(settings, stubs, caplog):
    pair = register(settings, stubs)
    right = golds(pair.fp16)
    stubs[0].otherwise = lambda body: says(right.get(body["prompt"], "hello"))(body)

    def broken(body: dict[str, Any]) -> Response:
        text = right.get(body["prompt"], "hello")
        return says(text if "json_schema" in body else text.replace("}", "", 1))(body)

    stubs[1].otherwise = broken
    record = run(settings)
    assert (record.status, record.state) == (RunStatus.DONE, State.FAIL), record.error_message
    result = record.result
    assert result is not None
    assert result["diagnosis"]["cause"] == "unknown"
    tried = result["recommendation"]
    assert tried["remedy"] == "schema_lock"
    assert any("json_schema" in body for body in stubs[1].bodies)
    assert "no-folder" not in json.dumps(tried)
    side = result["pair"]["exl2"]
    assert (side["kind"], side["served_model"], side["weights_sha256"]) == ("server", "m-exl2", None)
    assert any("cache is Q4" in note for note in side["engine_notes"])
    kept = json.dumps(result) + (settings.home / "logs" / "headless.log").read_text() + caplog.text
    assert KEY not in kept
    assert not any(stub.url in kept for stub in stubs)


def test_a_server_that_ignores_the_schema_option_is_not_said_to_be_helped_or_past_help(settings, stubs):
    pair = register(settings, stubs)
    right = golds(pair.fp16)
    stubs[0].otherwise = lambda body: says(right.get(body["prompt"], "hello"))(body)
    stubs[1].otherwise = lambda body: says(right.get(body["prompt"], "hello").replace(":", "=", 1))(body)
    record = run(settings)
    assert (record.status, record.state) == (RunStatus.DONE, State.FAIL), record.error_message
    assert record.result is not None
    trials = {t["remedy"]: t for t in record.result["recommendation"]["trials"]}
    assert trials["schema_lock"]["status"] == "skipped"
    assert "ignores the option" in trials["schema_lock"]["reason"]


def test_folders_that_are_not_known_are_not_said_to_be_fine(settings, stubs):
    register(settings, stubs)
    record = run(settings, "deploy_mismatch")
    assert record.state == State.NOT_MEASURED
    assert record.result is not None
    findings = record.result["charts"]["doctor"]
    folders = [f for f in findings if f["group"] == "folders"]
    assert {f["state"] for f in folders} == {"SKIPPED"}
    assert "asked on a server" in folders[0]["seen"]
    assert record.result["diagnosis"]["ruled_out"] == []


def test_a_server_that_refuses_the_key_ends_the_run_with_the_cause(settings, stubs, monkeypatch):
    register(settings, stubs)
    monkeypatch.setenv("TABBY_API_KEY", "sk-wrong-0815")
    record = run(settings)
    assert (record.status, record.state) == (RunStatus.DONE, State.NOT_MEASURED)
    assert record.result is not None
    assert record.result["diagnosis"]["cause"] == "server_unreachable"
    text = json.dumps(record.result)
    assert "TABBY_API_KEY" in text
    assert "sk-wrong-0815" not in text


def test_another_model_on_the_server_is_not_mixed_into_a_resumed_run():
    before = {"fp16": {}, "exl2": {"served_model": "one"}}
    refuse_changed_servers(before, before)
    with pytest.raises(Exception, match="another model loaded"):
        refuse_changed_servers(before, {"fp16": {}, "exl2": {"served_model": "two"}})


def test_only_changes_of_the_request_are_tried_on_a_server(tmp_path):
    served = Pair("p", "P", tmp_path, NO_FOLDER, engine={"server": {"url": "http://h/v1"}})
    assert not isinstance(remedy_for("citation_contract", served), Untriable)
    assert isinstance(remedy_for("raise_bpw", served), Untriable)
    assert not isinstance(remedy_for("raise_bpw", replace(served, engine={})), Untriable)
    with pytest.raises(PrerequisiteError, match="no other folder can be tried"):
        no_other_folder(served)
