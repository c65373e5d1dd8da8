"""Texts for tests of languages: what the program says, filled and joined in many ways, and what nobody wrote for it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from wfgy_triage.languages.known import dictionary

FILLED = (
    "3", "0.25", "19 of 20 answers", "EXL2", "FP16", "the folder", "config.json", "Answers that fit the schema",
    "26 Nov 2026, 08:04 UTC", "Nora's (second) model", "s", "model.safetensors, config.json", "PASSED",
    "Lost. And found", "(not verified)", "\u0394S", "a b c", "",
)  # fmt: skip
JOINTS = (" ", ". ", " \N{MIDDLE DOT} ", "; ", ": ", ", ", " \N{RIGHTWARDS ARROW} ")
STRANGE = (
    "Nora wrote this long before the page existed", "  Continue  ", "\n Continue\t\n", "CONTINUE", "(Continue)",
    "Continue.", "Continue:", "continue…", "1 Mai 2026", "31 Feb 2026", "7 Jan 2026", "Xx. Yy. Continue",
    "\u0130stanbul", "\u017ftop", "\u212aeep", "stra\xdfe 3", "\U0001f600 Continue \U0001f600", "\ufeffContinue\u3000",
    "\x1cContinue", "\x85Continue", "a" * 3001, "Continue. " * 200, "Xx yy. " * 300, "of the. and is: a, b; " * 90,
    "Continue " + "\U0001f600" * 1497, "{0} of {1}", "$& $1 \\1", "constructor", "toString", "__proto__",
    "a\u2028b of c",
)  # fmt: skip


def texts(count: int = 2500) -> Iterator[str]:
    """Every text of the dictionary with something in its slots, then `count` made of two to five of them."""
    chance = random.Random(26)
    every = list(dictionary("zh"))
    yield from STRANGE
    for english in every:
        yield filled(english, chance)
    for _ in range(count):
        pieces = [filled(chance.choice(every), chance) for _ in range(chance.randint(2, 5))]
        text = pieces[0]
        for piece in pieces[1:]:
            text += chance.choice(JOINTS) + piece
        yield text


def filled(english: str, chance: random.Random) -> str:
    return re.sub(r"\{\d+\}", lambda _: chance.choice(FILLED), english)
