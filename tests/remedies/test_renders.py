"""Rendered files are read back by what reads them in earnest."""

from __future__ import annotations

import ast
import json
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from wfgy_triage.cli import app
from wfgy_triage.errors import InputError
from wfgy_triage.remedies.facts import Facts, facts_of
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.renders import render

FACTS = Facts("models/fp16", "models/exl2", 4.2, 6)
HOSTILE = ["-rf", "a b", "it's", 'q"x', "$(touch x)", "`x`", "a\nrm -rf b", "{x}", "ü\u2028", "#"]
SCHEMA = {"type": "object", "properties": {"n": {"enum": ["no", "1e5", None, 0.1]}}, "required": ["n"]}

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def files(changes: dict, facts: Facts = FACTS) -> dict[str, str]:
    return {target: text for target, text in render(Patch(changes), facts).items() if text is not None}


@pytest.mark.parametrize(
    ("changes", "targets"),
    [
        ({"model.cache_mode": "Q8"}, {"tabbyapi", "python"}),
        ({"model.no_sdpa": True}, {"python", "shell"}),
        ({"sampler.top_p": 0.5}, {"sampler_preset", "python"}),
        ({"prompt.contract": "x"}, {"python"}),
        ({"retrieval.k": 3}, {"retrieval"}),
        ({"quantize.bpw": 5}, {"shell"}),
        ({"files.copy": ["tokenizer.json"]}, {"shell"}),
        ({"config.rope_theta": 1}, {"config_json"}),
        ({"generation_config.eos_token_id": [2]}, {"generation_config", "python"}),
        ({"pins.torch": "==2.9.0"}, {"requirements"}),
        ({"request.grammar": "x", "request.grammar_kind": "lark"}, {"python"}),
        ({"request.grammar": "x", "request.grammar_kind": "kbnf"}, {"sampler_preset"}),
        ({"quantize.head_bits": 8, "quantize.bpw": 4}, {"shell"}),
    ],
)
def test_a_target_that_cannot_express_a_patch_is_none(changes: dict, targets: set[str]):
    assert set(files(changes)) == targets


def test_every_file_that_can_hold_a_comment_says_which_version_it_fits():
    everything = {
        "model.cache_mode": "Q6", "sampler.top_k": 1, "retrieval.k": 3, "quantize.bpw": 5, "pins.torch": "==2.9.0",
    }  # fmt: skip
    for text in files(everything).values():
        assert text.splitlines()[1].startswith("# Fits ")
        assert "# Not part of this file: " in text


def test_tabbyapi():
    text = files({"model.cache_mode": "Q8", "model.max_seq_len": 5000})["tabbyapi"]
    assert yaml.safe_load(text) == {"model": {"cache_mode": "Q8", "max_seq_len": 5000}}
    assert "at least 5120" in text


@given(schema=st.dictionaries(st.text(max_size=8), plain, min_size=1, max_size=3))
def test_a_preset_keeps_every_schema(schema: dict):
    text = files({"request.json_schema": schema})["sampler_preset"]
    assert yaml.safe_load(text) == {"json_schema": {"override": schema, "force": True}}


def test_a_preset_reads_alike_under_both_versions_of_yaml():
    text = files({"request.json_schema": SCHEMA, "sampler.temperature": 1e-5})["sampler_preset"]
    # `no` and `1e5` are words only in quotes; a number with an exponent has a point in both versions.
    assert '"no"' in text
    assert '"1e5"' in text
    assert "override: 1.0e-05\n" in text


def test_a_preset_says_what_tabbyapi_does_not_force():
    assert "forces no zero or false (min_p)" in files({"sampler.min_p": 0})["sampler_preset"]
    assert "forces no zero" not in files({"sampler.min_p": 0.1})["sampler_preset"]


def test_json_is_the_whole_file_where_that_is_known():
    known = Facts("a", "b", config={"z": 1, "rope_scaling": {"type": "linear", "factor": 2}, "a": [1]})
    changes = {"config.rope_theta": 1e5, "config.rope_scaling": {"rope_type": "llama3"}, "config.a": None}
    text = files(changes, known)["config_json"]
    assert json.loads(text) == {"z": 1, "rope_scaling": {"rope_type": "llama3"}, "rope_theta": 1e5}
    assert list(json.loads(text)) == ["z", "rope_scaling", "rope_theta"]
    assert json.loads(files(changes)["config_json"])["a"] is None
    assert known.config is not None
    assert known.config["a"] == [1]


def test_requirements():
    text = files({"pins.torch": "==2.9.0", "pins.exllamav2": "@ https://host/x-0.3.2-py3-none-any.whl"})
    lines = [line for line in text["requirements"].splitlines() if not line.startswith("#")]
    assert [Requirement(line).name for line in lines] == ["torch", "exllamav2"]
    assert str(Requirement(lines[0]).specifier) == "==2.9.0"
    assert Requirement(lines[1]).url == "https://host/x-0.3.2-py3-none-any.whl"


def commands(text: str) -> list[list[str]]:
    """The words of every command, as a shell splits them."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="\n;&|")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, "#"
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("\n;&|"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def converter_options() -> set[str]:
    spec = find_spec("exllamav2")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / "conversion" / "convert_exl2.py").read_text("utf-8"))
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func).endswith("add_argument")
    ]
    return {str(ast.literal_eval(a)) for call in calls for a in call.args}


def parsed(words: list[str]) -> dict:
    assert words[:3] == ["python", "-m", "wfgy_triage"]
    command = typer.main.get_command(app)
    sub = command.commands[words[3]]  # type: ignore[attr-defined]
    return sub.make_context(words[3], words[4:]).params


def test_quantizing_again_uses_options_that_exist(tmp_path: Path):
    (tmp_path / "fp16").mkdir()
    facts = Facts(str(tmp_path / "fp16"), str(tmp_path / "exl2"), 4.2, 6)
    text = files({"quantize.head_bits": 8}, facts)["shell"]
    made, convert = commands(text)
    assert made[:2] == ["mkdir", "-p"]
    assert convert[:2] == ["python", "convert.py"]
    options = dict(zip(convert[2::2], convert[3::2], strict=True))
    assert set(options) <= converter_options()
    assert (options["-b"], options["-hb"], options["-i"]) == ("4.2", "8", facts.fp16)
    assert options["-cf"] in made
    own = parsed(shlex.split(text.splitlines()[-1].removeprefix("# ")))
    assert (own["bpw"], own["head_bits"], own["out_dir"]) == (4.2, 8, Path(options["-cf"]))
    assert own["fp16_dir"] == Path(facts.fp16)


def test_what_the_converter_cannot_do_is_done_here(tmp_path: Path):
    (tmp_path / "fp16").mkdir()
    facts = Facts(str(tmp_path / "fp16"), str(tmp_path / "exl2"), 4.2, 6)
    (high,) = commands(files({"quantize.bpw": 8.25}, facts)["shell"])
    assert parsed(high)["bpw"] == 8.25
    text = files({"quantize.protect": {"mlp 25-29": 6, "head": 8}}, facts)["shell"]
    (words,) = commands(text)
    at = words.index("--protect")
    assert words[at : at + 4] == ["--protect", "mlp 25-29=6", "--protect", "head=8"]
    assert parsed(words)["bpw"] == 4.2


def test_without_the_present_bit_rate_there_is_no_command():
    unknown = Facts("a", "b")
    assert "shell" not in files({"quantize.head_bits": 8}, unknown)
    both = files({"quantize.head_bits": 8, "files.copy": ["tokenizer.json"]}, unknown)["shell"]
    assert commands(both) == [["cp", "--", "a/tokenizer.json", "b/tokenizer.json"]]
    assert "give quantize.bpw" in both


@pytest.mark.parametrize("name", HOSTILE)
def test_folder_names_are_words_and_literals_not_code(name: str):
    facts = Facts(name, f"{name}2", 4.0, 6)
    changes = {"quantize.bpw": 5.0, "files.copy": ["tokenizer.json"], "model.cache_mode": "Q8"}
    rendered = files(changes, facts)
    found = commands(rendered["shell"])
    assert [words[0] for words in found] == ["cp", "mkdir", "python"]
    assert found[0] == ["cp", "--", f"{name}/tokenizer.json", f"{name}2/tokenizer.json"]
    assert found[2][3].removeprefix("./") == name
    tree = ast.parse(rendered["python"])
    values = [
        n.value for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name) and n.targets[0].id == "MODEL"
    ]  # fmt: skip
    assert [ast.literal_eval(v) for v in values] == [f"{name}2"]


def test_facts_of_folders(tmp_path: Path):
    config = {"quantization_config": {"quant_method": "exl2", "bits": 4.25, "head_bits": 6}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text("{")
    facts = facts_of(tmp_path / "fp16", tmp_path)
    assert (facts.bpw, facts.head_bits, facts.config, facts.generation_config) == (4.25, 6, config, None)


def test_an_environment_variable_is_set_or_taken_away():
    assert commands(files({"model.no_sdpa": True})["shell"]) == [["export", "EXLLAMA_NO_SDPA=1"]]
    assert commands(files({"model.no_sdpa": False})["shell"]) == [["unset", "EXLLAMA_NO_SDPA"]]


def test_a_patch_is_checked_before_it_is_rendered():
    with pytest.raises(InputError):
        render(Patch({"model.cache_mode": "FP8"}), FACTS)
