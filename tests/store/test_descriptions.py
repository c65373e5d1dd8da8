"""What people write about sessions: kept as typed within limits, and found again by any of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.errors import InputError
from wfgy_triage.store.descriptions import (
    LONGEST_NOTE,
    LONGEST_TITLE,
    MOST_TAGS,
    described,
    joined,
    parted,
)
from wfgy_triage.store.records import RunSpec


@pytest.fixture
def runs(repo):
    return repo


def test_name_notes_and_tags_come_back_as_they_were_typed(runs):
    run_id = runs.create(RunSpec("json_breaks", "demo")).id
    runs.describe(run_id, described("  After the\nupdate ", "line one\nline two\n", "Prod, llama-3.1  PROD"))
    found = runs.get(run_id)
    assert (found.title, found.note, found.tags) == (
        "After the update",
        "line one\nline two",
        ("prod", "llama-3.1"),
    )
    runs.describe(run_id, described("", "", ""))
    assert (runs.get(run_id).title, runs.get(run_id).tags) == ("", ())


@pytest.mark.parametrize(
    ("title", "note", "tags", "message"),
    [
        ("x" * (LONGEST_TITLE + 1), "", "", "The name has 121"),
        ("", "x" * (LONGEST_NOTE + 1), "", "The note has 4,001"),
        ("", "", "a" * 31, "A tag has 31"),
        ("", "", " ".join(f"t{i}" for i in range(MOST_TAGS + 1)), "11 tags"),
        ("", "", "a <b>", "cannot be a tag"),
        ("", "", "a%b", "cannot be a tag"),
    ],
)
def test_what_is_too_much_or_no_tag_is_refused(title, note, tags, message):
    with pytest.raises(InputError, match=message):
        described(title, note, tags)


@given(st.lists(st.from_regex(r"[a-z0-9._-]{1,30}", fullmatch=True), max_size=MOST_TAGS, unique=True))
def test_tags_in_one_column_come_apart_again(tags):
    assert parted(joined(tags)) == tuple(tags)
    assert described("", "", ", ".join(tags)).tags == tuple(tags)


def test_sessions_are_found_by_any_text_of_theirs_and_by_whole_tags(runs):
    first, second = (runs.create(RunSpec("json_breaks", pair)).id for pair in ("demo", "other_pair"))
    runs.describe(first, described("Nightly 100%", "cache was Q4", "prod nightly"))
    runs.describe(second, described("Trial", "", "production"))

    def found(**wanted: str) -> set[str]:
        return {r.id for r in runs.list(**wanted)}

    assert found(text="nightly") == {first}
    assert found(text="Q4") == {first}
    assert found(text="OTHER_pair") == {second}
    assert found(text="prod") == {first, second}
    assert found(tag="prod") == {first}
    assert found(tag="Production") == {second}
    assert found(text=first) == {first}
    # Nothing in a search is a wildcard.
    assert found(text="100%") == {first}
    assert found(text="%") == {first}
    assert found(text="_") == found(text="json_breaks") == {first, second}
    assert found(tag="%") == set()
    assert found(text="' OR 1=1 --") == set()


def test_letters_of_every_alphabet_are_found_whatever_their_case(runs):
    run_id = runs.create(RunSpec("json_breaks", "demo")).id
    runs.describe(run_id, described("Prüfung ÜBER Nacht", "ответы", ""))
    for wanted in ("über nacht", "PRÜFUNG", "ОТВЕТЫ"):
        assert [r.id for r in runs.list(text=wanted)] == [run_id], wanted


def test_describing_what_is_not_there_is_said(runs):
    with pytest.raises(InputError, match="no session"):
        runs.describe("nothing", described("a", "", ""))
