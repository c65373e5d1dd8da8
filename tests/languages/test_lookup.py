"""The dictionary on the server: what is found, what stays, and that no text takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.languages.samples import texts
from wfgy_triage.errors import InputError
from wfgy_triage.languages.known import NAMES, checked, preferred
from wfgy_triage.languages.lookup import MOST_LOOKUPS, lookup
from wfgy_triage.languages.patterns import fold, pattern

ZH = lookup("zh")
SENTENCES = {
    "Continue": "继续",
    " Continue\n": " 继续\n",
    "19 questions": "19 个问题",
    "1 warning": "1 项警告",
    "EXL2 breaks the schema in 3 of 20 answers; FP16 in 0.": "20 个回答中，EXL2 有 3 个不符合模式；FP16 有 0 个。",
    "Stopped after 3 s of work. What was measured is kept.": "用时 3 s 后停止。已测量的内容都保留着。",
    "26 Nov 2026, 08:04 UTC": "2026年11月26日 08:04 UTC",
    "2 checks failed. First named: config.json does not belong to these weights.":
        "2 项检查未通过，首先是：config.json 与这些权重不匹配。",
    "Nora wrote this long before the page existed": "Nora wrote this long before the page existed",
    "SmolLM2-135M-Instruct": "SmolLM2-135M-Instruct",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize(("english", "chinese"), SENTENCES.items())
def test_what_is_known_is_said_and_what_is_not_stays(english: str, chinese: str):
    assert ZH.translated(english) == chinese


def reference(english: str) -> re.Pattern[str]:
    """The expression that the script in the browser makes of a sentence with slots."""
    pieces = re.split(r"((?:\{\d+\})+)", english)
    source = "".join(
        re.escape(piece) if i % 2 == 0 else "(.+?)" if i == 1 and english.startswith("{") else "(.*?)"
        for i, piece in enumerate(pieces)
    )
    return re.compile(source, re.DOTALL | re.IGNORECASE | re.ASCII)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["{0}", "{1}", "{2}", "a", "B", " ", "ab", "."]), min_size=1, max_size=8),
    st.text(alphabet="aAbB .", max_size=24),
)
def test_slots_hold_what_the_script_s_expressions_find(pieces: list[str], text: str):
    english = "{0}" + "".join(pieces) if "{0}" not in pieces else "".join(pieces)
    found = reference(english).fullmatch(text)
    assert pattern(english, "").values(text, fold(text)) == (list(found.groups()) if found else None)


def test_a_pattern_is_found_by_its_word_wherever_it_stands():
    for found in ZH.candidates(fold("EXL2 breaks the schema in 3 of 20 answers; FP16 in 0.")):
        if found.word:
            assert found.word in "EXL2 BREAKS THE SCHEMA IN 3 OF 20 ANSWERS; FP16 IN 0."
    for english, other in (("{0} of {1}", "{1}/{0}"), ("Ab{0} c", "{0}")):
        made = pattern(english, other)
        text = english.replace("{0}", "xOFx").replace("{1}", "of")
        assert made.values(text, fold(text)) is not None
        assert made.word in ("", *re.findall("[A-Z]+", fold(text)))


def test_no_text_asks_the_dictionary_without_end():
    """What one text may ask is bounded; one that wants more stays as it is, whole."""
    for text in ("Xx yy. " * 400, "of the. and is: a, b; " * 130, "a. b of c, d: " * 200):
        said, asked = ZH.counted(text)
        assert asked <= MOST_LOOKUPS
        assert said == text
    assert max(ZH.counted(text)[1] for text in texts(0) if len(text) < 600) < MOST_LOOKUPS / 2


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_an_answer(text: str):
    assert isinstance(ZH.translated(text), str)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("de-DE,de;q=0.9,zh;q=0.5,en;q=0.3", "zh"),
        ("en;q=0.3, zh;q=0.7", "zh"),
        ("zh;q=0, en;q=0.1", "en"),
        ("ZH-hant-TW", "zh"),
        ("fr, *;q=0.5", "en"),
        ("zh;q=high, en;q=0.2", "en"),
        ("zh ; q=1.000", "zh"),
        ("en, zh", "en"),
        ("zhx, ;;,,q=1", "en"),
    ],
)
def test_a_browser_gets_the_language_that_it_wants_most(header: str, language: str):
    assert preferred(header) == language


def test_a_language_that_is_not_there_is_named_with_those_that_are():
    assert [checked(language) for language in NAMES] == list(NAMES)
    with pytest.raises(InputError, match="no language 'fr'") as caught:
        checked("fr")
    assert "en, zh" in caught.value.hint
