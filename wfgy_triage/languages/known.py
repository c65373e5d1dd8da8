"""Which languages there are, their dictionaries in `assets/texts`, and which one a reader wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from wfgy_triage.errors import InputError
from wfgy_triage.settings import REPO_ROOT

ENGLISH = "en"
"""What everything is written in; it has no dictionary."""
TEXTS = REPO_ROOT / "assets" / "texts"
_QUALITY = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Words:
    """What a language has besides its dictionary.

    Attributes:
        name: what the language calls itself.
        html: its name in documents.
        stop: ends a sentence.
        colon: stands before what is explained.
        comma: stands between parts.
        open: begins an aside.
        close: ends it.
        date: writes a date from day, month (1 to 12) and year.
    """

    name: str
    html: str
    stop: str
    colon: str
    comma: str
    open: str
    close: str
    date: Callable[[str, int, str], str]


LANGUAGES: Mapping[str, Words] = {
    "zh": Words(
        "中文", "zh-Hans", "。", "：", "，", "（", "）", lambda day, month, year: f"{year}年{month}月{day}日"
    ),
}
"""By the names of the folders in `assets/texts`; the script has the same ones."""
NAMES: Mapping[str, str] = {ENGLISH: "English", **{code: words.name for code, words in LANGUAGES.items()}}
"""All languages, English first, as each calls itself."""


@cache
def dictionary(language: str) -> Mapping[str, str]:
    """Return English to that language; a text that stays as it is stands for itself.

    Args:
        language: one of `LANGUAGES`.
    """
    found: dict[str, str] = {}
    for path in sorted((TEXTS / language).glob("*.yaml")):
        texts = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
        found |= {english: english if other is None else other for english, other in texts.items()}
    return found


def checked(language: str) -> str:
    """Return the name of a language that is known.

    Raises:
        InputError: there is no such language.
    """
    if language not in NAMES:
        raise InputError(f"There is no language {language[:40]!r}.", f"Languages: {', '.join(NAMES)}.")
    return language


def preferred(accept_language: str) -> str:
    """Return the language that a browser asks for.

    Args:
        accept_language: the header of that name: the known language that it wants most, the first of equals; English
            where it names none.
    """
    wanted: list[tuple[float, str]] = []
    for part in accept_language.split(","):
        tag, parameters, weight = part.partition(";")
        quality = _QUALITY.fullmatch(weight)
        if parameters and quality is None:
            continue
        wanted.append((float(quality[1]) if quality else 1.0, tag.strip().partition("-")[0].lower()))
    known = [(weight, code) for weight, code in wanted if weight and code in NAMES]
    return max(known, key=lambda one: one[0], default=(1.0, ENGLISH))[1]
