"""The vocabulary of a patch: what is allowed, what is refused, and what is said about it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from wfgy_triage.catalog import FIXMAP
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.remedies.patch import Patch, explain, share_of
from wfgy_triage.remedies.vocabulary import load_vocabulary


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "changes nothing"),
        ({"sampler.heat": 1}, "'sampler.heat'"),
        ({"config": 1}, "'config'"),
        ({"config.": 1}, "'config.'"),
        ({"config.a b": 1}, "'config.a b'"),
        ({"pins.": "==1"}, "'pins.'"),
        ({"pins.-r": "==1"}, "'pins.-r'"),
        ({"sampler.temperature": "hot"}, "sampler.temperature"),
        ({"sampler.temperature": True}, "sampler.temperature"),
        ({"sampler.temperature": -0.1}, "sampler.temperature"),
        ({"sampler.temperature": float("nan")}, "sampler.temperature"),
        ({"sampler.top_k": 1.5}, "sampler.top_k"),
        ({"model.cache_mode": "Q5"}, "model.cache_mode"),
        ({"model.no_sdpa": 1}, "model.no_sdpa"),
        ({"quantize.head_bits": 7}, "quantize.head_bits"),
        ({"quantize.protect": {"mlp; rm": 6}}, "quantize.protect"),
        ({"quantize.protect": {"mlp": 16}}, "quantize.protect"),
        ({"files.copy": ["../secret"]}, "files.copy"),
        ({"files.copy": ["-rf"]}, "files.copy"),
        ({"files.copy": "tokenizer.json"}, "files.copy"),
        ({"request.json_schema": "{}"}, "request.json_schema"),
        ({"request.json_schema": {"a": object()}}, "request.json_schema"),
        ({"request.grammar": "[0-9]+"}, "request.grammar needs request.grammar_kind"),
        ({"request.grammar_kind": "regex"}, "request.grammar_kind needs request.grammar"),
        ({"chain.segment_steps": 5, "chain.anchor_every": 5}, "cannot be set together"),
        ({"config.a": {}, "config.a.b": 1}, "config.a and config.a.b"),
        ({"pins.torch": "2.9.0"}, "pins.torch"),
        ({"pins.torch": "==2.9.0\nevil"}, "pins.torch"),
        ({"pins.torch": "=2.9"}, "pins.torch"),
    ],
)
def test_what_is_refused_names_the_key(changes: dict, said: str):
    with pytest.raises(InputError) as caught:
        Patch(changes)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_patch_is_plain_checked_and_its_own():
    given = {
        "config.rope_scaling": {"factor": 2.0},
        "sampler.top_k": 4.0,
        "pins.ruamel": "==1",
        "pins.ruamel.yaml": ">=1",
    }
    patch = Patch(given)
    given["config.rope_scaling"]["factor"] = 3.0
    assert patch.changes["config.rope_scaling"] == {"factor": 2.0}
    assert type(patch.changes["sampler.top_k"]) is int
    assert Patch(patch.changes) == patch
    with pytest.raises(dataclasses.FrozenInstanceError):
        patch.changes = {}  # type: ignore[misc]


def test_every_change_is_explained_with_its_value():
    patch = Patch({"model.cache_mode": "Q8", "config.rope_theta": 100000, "retrieval.k": 10})
    told = {e.key: e for e in explain(patch)}
    assert list(told) == list(patch.changes)
    assert told["model.cache_mode"].says == "The KV cache is stored as Q8."
    assert told["config.rope_theta"].says == "rope_theta is set to 100000."
    assert told["model.cache_mode"].targets == ("tabbyapi", "python")
    assert all(e.meaning.endswith(".") for e in told.values())


def test_an_explanation_is_one_line_whatever_the_value():
    patch = Patch({"prompt.contract": "first\n$(rm)\u2028# last" + "x" * 500})
    says = explain(patch)[0].says
    assert says.isprintable()
    assert len(says) < 250


def test_a_target_tells_what_it_leaves_out():
    patch = Patch({"model.cache_mode": "Q8", "quantize.bpw": 5.0})
    assert share_of(patch, "tabbyapi").left_out == ("quantize.bpw",)
    assert share_of(patch, "shell").left_out == ("model.cache_mode",)
    with pytest.raises(InputError, match="no target with the id 'excel'"):
        share_of(patch, "excel")


def test_a_grammar_goes_only_where_its_notation_is_read():
    readers = {"regex": {"sampler_preset", "python"}, "kbnf": {"sampler_preset"}, "lark": {"python"}}
    for kind, there in readers.items():
        patch = Patch({"request.grammar": "x", "request.grammar_kind": kind})
        assert set(explain(patch)[0].targets) == there
        assert share_of(patch, "python").left_out == (() if "python" in there else ("request.grammar",))


def test_every_key_but_a_companion_can_be_written_somewhere():
    vocabulary = load_vocabulary()
    homeless = [k.id for k in vocabulary.keys.values() if not k.places and not k.companion]
    assert homeless == []
    used = {p.target for k in vocabulary.keys.values() for p in k.places}
    assert used == set(vocabulary.targets)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  - id: retrieval.k\n", "  - id: retrieval.index\n", "given twice"),
        ("{target: tabbyapi, at: model.cache_mode}", "{target: tabby, at: model.cache_mode}", "'tabby'"),
        ("requires: [request.grammar_kind]", "requires: [request.kind]", "'request.kind'"),
        ("value: {type: boolean}", "value: {type: truth}", "value"),
        ("pattern: '^config", "note: '^config", "'note'"),
        ("  - id: config.*", "  - id: config.any", "family"),
    ],
)  # fmt: skip
def test_faults_of_the_file_name_file_and_line(tmp_path: Path, old: str, new: str, said: str):
    folder = Path(shutil.copytree(FIXMAP, tmp_path / "fixmap"))
    text = (folder / "targets.yaml").read_text("utf-8")
    assert old in text
    (folder / "targets.yaml").write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(PrerequisiteError, match=r"fixmap/targets\.yaml line \d+") as caught:
        load_vocabulary(folder)
    assert said in caught.value.message
