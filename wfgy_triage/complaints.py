"""Complaints in a user's own words, and what they were matched to: plain values, no model.

A complaint is one text of at most `MAX_TEXT` characters; a file of them is JSON lines, `{"id", "text"}` each.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wfgy_triage.errors import InputError

MAX_TEXT = 2000
"""Longest complaint, in characters. The models read about the first 200 tokens of it."""

MAX_COMPLAINTS = 100_000
"""Most complaints in one file."""

NONE = "none"
"""The answer when no symptom fits."""

SHOWN = 3
SHOWN_SHARE = 0.1
"""At most so many symptoms are offered, each with at least this share; the rest is not worth a look."""

NEAREST, NEAREST_SHARE = 2, 0.05
"""Where none fits: at most so many are named as nearest, the first with at least this share, for the user to judge.
Of the held-out complaints that are wrongly answered “none” the right symptom is named for two thirds (18 of 26), and
something is named for one in seven of those that are about nothing of the kind (90 of 656)."""

Confidence = Literal["strong", "good", "weak"]
STRONG, GOOD = 0.75, 0.5

_FORM = 'Each line must be like {"id": "c1", "text": "the answers have no sources any more"}.'


@dataclass(frozen=True)
class Complaint:
    """One line of a file."""

    id: str
    text: str


@dataclass(frozen=True)
class Match:
    """What a complaint was matched to.

    Attributes:
        symptom: id of the best symptom, or `none`.
        scores: every symptom's share and that of `none`; they add up to 1, highest first. The highest decides.
    """

    symptom: str
    scores: Mapping[str, float]

    @property
    def offered(self) -> tuple[tuple[str, Confidence], ...]:
        """The symptoms worth showing, best first, with a word for how well each fits; none when none fits."""
        if self.symptom == NONE:
            return ()
        best = [(s, share) for s, share in self.scores.items() if s != NONE and share >= SHOWN_SHARE]
        return tuple((s, confidence(share)) for s, share in best[:SHOWN])

    @property
    def nearest(self) -> tuple[str, ...]:
        """Where none fits: the symptoms that come nearest, best first, if any comes near. No answer: a question."""
        near = [(s, share) for s, share in self.scores.items() if s != NONE]
        if self.symptom != NONE or not near or near[0][1] < NEAREST_SHARE:
            return ()
        return tuple(s for i, (s, share) in enumerate(near[:NEAREST]) if i == 0 or share >= NEAREST_SHARE / 2)

    def to_json(self) -> dict[str, Any]:
        """The form in which a match is written and sent."""
        return {"symptom": self.symptom, "scores": {k: round(v, 4) for k, v in self.scores.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Match:
        """Read `to_json`."""
        return cls(str(data["symptom"]), {str(k): float(v) for k, v in data["scores"].items()})


def confidence(share: float) -> Confidence:
    """A share as a word."""
    return "strong" if share >= STRONG else "good" if share >= GOOD else "weak"


def check_complaint(text: str) -> str:
    """Return the text as it is matched: white space made plain, nothing else changed.

    Raises:
        InputError: it is empty, has no letters, is too long, or has control characters or half of a character.
    """
    if len(text) > MAX_TEXT:
        raise InputError(
            f"The text has {len(text):,} characters; at most {MAX_TEXT:,} are read.",
            "Describe what goes wrong in a sentence or two, without the log.",
        )
    plain = " ".join(text.split())
    if not plain:
        raise InputError("There is no text.", "Describe in a sentence what goes wrong.")
    if _has(plain, "Cs"):
        raise InputError(
            "The text has half of a character in it, such as an emoji that was cut.",
            "Write that character again, or leave it out.",
        )
    if _has(plain, "Cc"):
        raise InputError(
            "The text has control characters in it.", "Copy the words only, without the terminal's colours."
        )
    return plain


def read_complaints(path: Path) -> tuple[Complaint, ...]:
    """Read a whole file of complaints before anything is matched, so that a bad line loses nothing.

    Raises:
        InputError: the file cannot be read, is not UTF-8, is empty, or a line is wrong; the line is named.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        wrong = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path.name}, line {wrong}: this is not UTF-8 text.", "Save the file as UTF-8."
        ) from error
    found: list[Complaint] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        complaint = _read_line(path.name, number, line)
        if complaint.id in lines:
            raise _fault(
                path.name, number, f"the id {complaint.id!r} was used in line {lines[complaint.id]}."
            )
        lines[complaint.id] = number
        found.append(complaint)
        if len(found) > MAX_COMPLAINTS:
            raise InputError(f"{path.name} has more than {MAX_COMPLAINTS:,} complaints.", "Split the file.")
    if not found:
        raise InputError(f"{path.name} has no complaints in it.", _FORM)
    return tuple(found)


def _read_line(name: str, number: int, line: str) -> Complaint:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _fault(name, number, f"this is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise _fault(name, number, "this is not a JSON object.")
    missing = [key for key in ("id", "text") if not isinstance(data.get(key), str) or not data[key]]
    if missing:
        raise _fault(name, number, f"{' and '.join(missing)} must be there, as text that is not empty.")
    if _has(data["id"], "Cs"):  # the answer names it, and could not be written
        raise _fault(name, number, f"the id {data['id'][:64]!r} has half of a character in it.")
    try:
        return Complaint(data["id"], check_complaint(data["text"]))
    except InputError as error:
        raise _fault(name, number, error.message) from error


def _has(text: str, category: str) -> bool:
    """Whether a character of a Unicode category is in a text: Cc is control, Cs half of a surrogate pair."""
    return any(unicodedata.category(c) == category for c in text)


def _fault(name: str, number: int, what: str) -> InputError:
    return InputError(f"{name}, line {number}: {what}", _FORM)
