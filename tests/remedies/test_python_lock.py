"""The lock of the rendered script, with the real grammar library and a stand-in for exllamav2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers

from tests.remedies import library_sources as library
from tests.remedies.test_python_script import SCHEMA, Machine, run  # noqa: F401 - a fixture
from wfgy_triage.remedies.facts import Facts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with a tokenizer of single characters; tokens 2 and 3 end an answer."""
    pieces = ["<s>", "<pad>", "</s>", "<end>", *(chr(i) for i in range(33, 127))]
    made = tokenizers.Tokenizer(tokenizers.models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(pieces[:4])
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def lock_of(machine: Machine) -> Any:
    (lock,) = machine.told("generate")[0]["filters"]
    return lock


@pytest.mark.parametrize(
    ("changes", "answer", "refused"),
    [
        ({"request.json_schema": {**SCHEMA, "required": ["a"]}}, '{"a":"x"}', "[b}"),
        ({"request.grammar": "[0-9]{2}x", "request.grammar_kind": "regex"}, "12x", "x"),
        ({"request.grammar": 'start: "a" b\nb: "b" | "c"', "request.grammar_kind": "lark"}, "ac", "b"),
    ],
)
def test_only_valid_answers_get_through(run, folder: Path, changes: dict, answer: str, refused: str):  # noqa: F811
    machine, _ = run(changes, ["x"], Facts("fp16", str(folder), 4.2, 6))
    lock = lock_of(machine)
    number = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id
    for _ in range(2):  # it is begun anew for every answer
        lock.begin("")
        assert not {number(c) for c in refused} & set(lock.next()[0])
        for letter in answer:
            allowed, ends = lock.next()
            assert number(letter) in allowed
            assert not {2, 3} & {*allowed, *ends}
            lock.feed(number(letter))
        assert set(lock.next()[0]) == {2, 3}
        lock.feed(2)


def test_a_grammar_that_cannot_be_kept_is_an_error_and_not_an_open_lock(run, folder: Path):  # noqa: F811
    facts = Facts("fp16", str(folder), 4.2, 6)
    machine, _ = run({"request.grammar": "(", "request.grammar_kind": "regex"}, ["x"], facts)
    with pytest.raises(ValueError, match="regex"):
        lock_of(machine).begin("")


def test_the_library_calls_what_the_lock_defines():
    base = library.class_of("generator/filters/base.py", "ExLlamaV2Filter")
    assert {"begin", "feed", "next"} <= library.fields(base)
    assert library.parameters(base, "begin") == {"prefix_str"}
    assert library.parameters(base, "feed") == {"token"}
