"""Tokens of programs: made, listed, found, taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfgy_triage.access import Actor, Role
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.runs.tokens import TokenList, new_token


def test_a_token_is_found_and_only_its_hash_is_listed():
    token, entry = new_token("ci", Role.OPERATOR)
    assert token not in entry
    tokens = TokenList(entry)
    assert tokens.required
    assert tokens.find(token) == Actor("ci", Role.OPERATOR)
    for other in ("", token[:-1], token + "x", entry, "\udc80"):
        assert tokens.find(other) is None


def test_several_in_the_variable():
    (first, a), (second, b) = new_token("a", Role.VIEWER), new_token("b", Role.OPERATOR)
    tokens = TokenList(f"{a}, {b}")
    assert [tokens.find(t) for t in (first, second)] == [Actor("a", Role.VIEWER), Actor("b", Role.OPERATOR)]


def test_two_tokens_are_never_alike():
    assert len({new_token("a", Role.VIEWER)[0] for _ in range(200)}) == 200


def test_a_file_is_read_again_when_it_changes(tmp_path: Path):
    file = tmp_path / "tokens.txt"
    token, entry = new_token("ci", Role.VIEWER)
    file.write_text("# none yet\n")
    tokens = TokenList(str(file))
    assert tokens.required
    assert tokens.find(token) is None
    file.write_text(f"{entry}  # since today\n")
    assert tokens.find(token) == Actor("ci", Role.VIEWER)
    file.write_text("not an entry\n")
    assert tokens.find(token) is None
    file.unlink()
    assert tokens.find(token) is None
    file.write_text(entry)
    assert tokens.find(token) == Actor("ci", Role.VIEWER)


def test_no_tokens():
    tokens = TokenList("  ")
    assert not tokens.required
    assert tokens.find("wfgy_anything") is None


def test_a_token_in_the_place_of_its_hash_is_not_repeated(tmp_path: Path):
    token, _ = new_token("ci", Role.VIEWER)
    (tmp_path / "tokens.txt").write_text(f"\nci viewer {token}\n")
    with pytest.raises(InputError, match="Entry 2 of tokens.txt") as caught:
        TokenList(str(tmp_path / "tokens.txt"))
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("ci admin sha256:" + "0" * 64, "unknown role"),
        ("ci viewer sha256:" + "0" * 63, "not of the form"),
        ("a b viewer sha256:" + "0" * 64, "not of the form"),
        ("../x viewer sha256:" + "0" * 64, "not of the form"),
        (f"ci viewer sha256:{'0' * 64},ci operator sha256:{'1' * 64}", "two tokens with the name 'ci'"),
    ],
)
def test_malformed_entries(entry: str, said: str):
    with pytest.raises(InputError, match=said):
        TokenList(entry)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        TokenList(str(tmp_path / "nowhere.txt"))


@pytest.mark.parametrize(
    ("name", "role"), [("a b", Role.VIEWER), ("", Role.VIEWER), ("ci", "root"), ("x" * 65, Role.VIEWER)]
)
def test_what_no_token_is_made_for(name: str, role: str):
    with pytest.raises(InputError):
        new_token(name, role)
