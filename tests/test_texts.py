"""The dictionaries of `assets/texts` against the words that the program really says."""

from __future__ import annotations

import re

import pytest
import yaml

from tools.texts import EXTRA, TEXTS, all_said, parts, translated
from wfgy_triage.languages.known import LANGUAGES, dictionary

SLOT = re.compile(r"\{\d+\}")


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    return dict(all_said())


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_page_says_is_translated_and_nothing_else(language: str, said: dict[str, str]):
    known = translated(language)
    hint = "; run `python tools/texts.py` (docs/languages.md)"
    assert not (missing := sorted(said.keys() - known.keys())), f"not translated{hint}: {missing[:5]}"
    assert not (left := sorted(known.keys() - said.keys())), f"not said any more{hint}: {left[:5]}"


@pytest.mark.parametrize("path", sorted(TEXTS.glob("*/*.yaml")), ids=lambda p: p.stem)
def test_a_translation_keeps_every_slot_and_says_something(path):
    texts = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert texts
    for english, other in texts.items():
        if other is not None:
            assert other.strip(), english
            assert sorted(SLOT.findall(other)) == sorted(SLOT.findall(english)), english


def test_no_text_is_translated_twice():
    for language in LANGUAGES:
        found: dict[str, str] = {}
        for path in sorted((TEXTS / language).glob("*.yaml")):
            for english, other in yaml.safe_load(path.read_text(encoding="utf-8")).items():
                assert english not in found or path.name == EXTRA, english
                found[english] = other


def test_the_dictionary_has_what_the_files_have_and_keeps_what_stays():
    served = dictionary("zh")
    assert served["Continue"] == "继续"
    stays = [text for text, other in translated("zh").items() if other is None]
    assert stays
    assert all(served[text] == text for text in stays)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<h3>What is left</h3><p>No metric differs.</p>", ["What is left", "No metric differs."]),
        ('<button aria-label="Copy it now">Copy</button>', ["Copy it now", "Copy"]),
        ("ask “Answer using WFGY + <your question>”", ["ask “Answer using WFGY + <your question>”"]),
        ("\x00 of \x00 answers", ["{0} of {1} answers"]),
        ("SELECT a FROM b", []),
        ("fp16_floor", []),
        ("const a = b => b", []),
    ],
)
def test_words_are_found_in_markup_and_code_is_not_taken_for_words(text: str, found: list[str]):
    assert list(parts(text)) == found
