"""Model cache, provenance, stopwatch and run log, each through its public door."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.exl2.builders import tiny_tensors, write_folder
from tests.runs.run_fakes import FakeEngine, make_settings, register_pair, spec
from wfgy_triage.errors import InputError, PrerequisiteError, ProbeError
from wfgy_triage.pairs import Pair
from wfgy_triage.runs import progress, provenance
from wfgy_triage.runs.models import ModelCache
from wfgy_triage.runs.progress import RunLog, Stopwatch
from wfgy_triage.store.database import open_database
from wfgy_triage.store.runs import RunRepository


class Opener:
    """Opens fake engines and remembers how it was asked."""

    def __init__(self):
        self.opened, self.closed, self.calls = [], [], []
        self.broken = False

    def __call__(self, folder, **how):
        self.calls.append((folder.name, how))
        if self.broken and how["side"] == "exl2":
            raise PrerequisiteError("broken", "mend it")
        return FakeEngine(how["side"], how.get("mode", "reproducible"), self.opened, self.closed)


@pytest.fixture
def pair(tmp_path):
    return register_pair(make_settings(tmp_path))


def test_the_last_pair_stays_warm_until_another_one_or_changed_files(pair, tmp_path):
    opener = Opener()
    cache = ModelCache(opener)
    assert cache.pair_id is None
    loaded = cache.acquire(pair)
    assert cache.acquire(pair) is loaded
    assert opener.opened == ["fp16-reproducible", "exl2-reproducible"]
    assert opener.calls[1][1]["share_with"] is loaded.fp16
    assert cache.floor() is cache.floor()
    assert opener.opened[2:] == ["fp16-fast"]
    (pair.exl2 / "config.json").write_text('{"requantized": true}')
    assert cache.acquire(pair) is not loaded
    assert sorted(opener.closed) == ["exl2-reproducible", "fp16-fast", "fp16-reproducible"]
    other = register_pair(make_settings(tmp_path), "other")
    cache.acquire(other)
    assert cache.pair_id == "other"
    cache.close()
    assert cache.pair_id is None
    assert len(opener.opened) == len(opener.closed)


def test_nothing_stays_loaded_when_one_side_fails(pair):
    opener = Opener()
    opener.broken = True
    cache = ModelCache(opener)
    with pytest.raises(PrerequisiteError, match="broken"):
        cache.acquire(pair)
    assert opener.opened == opener.closed == ["fp16-reproducible"]
    assert cache.pair_id is None


def test_engine_settings_of_a_pair_are_used_or_refused(pair):
    opener = Opener()
    ModelCache(opener).acquire(dataclasses.replace(pair, engine={"device": "cuda"}))
    assert {how["settings"].device for _, how in opener.calls} == {"cuda"}
    with pytest.raises(InputError, match="gpu_split"):
        ModelCache(opener).acquire(dataclasses.replace(pair, engine={"gpu_split": "auto"}))


def test_provenance_of_real_folders(tmp_path):
    one = write_folder(tmp_path / "one", tiny_tensors())
    two = write_folder(tmp_path / "two", tiny_tensors(), shards=2)
    (one / "chat_template.jinja").write_text("{{ messages }}")
    (two / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    pair = Pair("p", "Pair", one, two, note="a note")
    described = provenance.describe_pair(pair)
    fp16, other = described["fp16"], described["exl2"]
    assert (described["id"], described["note"], fp16["folder"]) == ("p", "a note", "one")
    assert (fp16["kind"], fp16["architecture"], fp16["decoder_bpw"]) == ("fp16", "LlamaForCausalLM", 16.0)
    assert fp16["total_bytes"] == (one / "model.safetensors").stat().st_size
    assert fp16["template_sha256"] == other["template_sha256"], "one template, kept in two ways"
    assert fp16["tokenizer_sha256"] == other["tokenizer_sha256"]
    assert fp16["weights_sha256"] != other["weights_sha256"], "the files differ"


@pytest.mark.parametrize("what", ["weights", "config", "tokenizer", "template"])
def test_any_replaced_part_of_a_model_is_noticed(what, tmp_path):
    folder = write_folder(tmp_path / "m", tiny_tensors())
    pair = Pair("p", "Pair", folder, folder)
    before = provenance.describe_pair(pair)
    provenance.refuse_changed_models(before, provenance.describe_pair(pair))
    if what == "weights":
        write_folder(folder, tiny_tensors(seed=1))
    elif what == "tokenizer":
        (folder / "tokenizer.json").write_text('{"changed": true}')
    elif what == "config":
        (folder / "generation_config.json").write_text('{"eos_token_id": 5}')
    else:
        (folder / "chat_template.jinja").write_text("new")
    with pytest.raises(ProbeError, match=f"{what}_sha256"):
        provenance.refuse_changed_models(before, provenance.describe_pair(pair))


def test_a_run_that_began_before_configurations_were_hashed_goes_on(tmp_path):
    folder = write_folder(tmp_path / "m", tiny_tensors())
    described = provenance.describe_pair(Pair("p", "Pair", folder, folder))
    before = {**described, **{s: {**described[s]} for s in ("fp16", "exl2")}}
    for side in ("fp16", "exl2"):
        del before[side]["config_sha256"]
    provenance.refuse_changed_models(before, described)


def test_what_numbers_depend_on_is_the_content_of_a_folder_and_not_its_place(tmp_path):
    one = write_folder(tmp_path / "one", tiny_tensors())
    (one / "tokenizer_config.json").write_text("{}")
    two = Path(shutil.copytree(one, tmp_path / "two"))
    described = provenance.describe_pair(Pair("p", "Pair", one, two))
    facts = provenance.number_facts(described["fp16"])
    assert facts == provenance.number_facts(described["exl2"])
    assert None not in {**facts["model"], **facts["versions"]}.values()


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"]
)
def test_numbers_depend_on_the_small_files_too(name, tmp_path):
    folder = write_folder(tmp_path / "m", tiny_tensors())
    before = _facts(folder)
    file = folder / name
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**content, "eos_token_id": [1, 2]}))
    assert _facts(folder) != before


def test_a_weight_that_no_fingerprint_samples_is_noticed_by_its_date(tmp_path):
    tensors = tiny_tensors()
    folder = write_folder(tmp_path / "m", tensors)
    file = folder / "model.safetensors"
    before, moment = _facts(folder), file.stat().st_mtime
    tensors["model.embed_tokens.weight"][-1, -1] += 1
    write_folder(folder, tensors)
    os.utime(file, (moment, moment + 1))
    assert _facts(folder)["model"]["weights_sha256"] == before["model"]["weights_sha256"]
    assert _facts(folder) != before


def _facts(folder):
    return provenance.number_facts(provenance.describe_pair(Pair("p", "Pair", folder, folder))["fp16"])


def test_versions_are_texts_and_leave_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(provenance, "_PACKAGES", ("numpy", "no-such-package"))
    assert set(provenance.versions()) == {"wfgy-triage", "metrics", "python", "numpy"}


def test_a_stopwatch_counts_each_second_once(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    watch = Stopwatch({"load": 10.0, "total": 10.0})
    clock[0] += 5  # before the first stage: nobody's time
    watch.enter("load")
    clock[0] += 2
    watch.enter("measure_fp16")
    clock[0] += 3
    watch.enter("measure_fp16")
    clock[0] += 1
    assert watch.seconds() == {"load": 12.0, "measure_fp16": 4.0, "total": 16.0}
    assert watch.seconds() == {"load": 12.0, "measure_fp16": 4.0, "total": 16.0}


def test_progress_lines_are_thinned_but_never_the_first_or_last(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "STAGE_EVENT_S", 1e9)
    database = open_database(f"sqlite:///{tmp_path / 'x.db'}")
    repo = RunRepository(database)
    run = repo.create(spec(), worker_id="w.1")
    log = RunLog(repo, run.id, "w.1")
    for stage in ("a", "b"):
        for done in range(0, 6):
            log.stage(stage, "Label", done, 5)
    lines = [e.payload for e in repo.events(run.id) if e.kind == "stage"]
    assert [(p["name"], p["done"]) for p in lines] == [("a", 0), ("a", 5), ("b", 0), ("b", 5)]
    monkeypatch.setattr(progress, "STAGE_EVENT_S", 0.0)
    for done in range(3):
        log.stage("c", "Label", done, 5)
    assert len(repo.events(run.id)) == 2 + 4 + 3
    database.close()
