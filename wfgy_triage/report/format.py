"""Numbers and states in plain words. Every renderer formats through here, so units never disagree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from wfgy_triage.report.icons import icon
from wfgy_triage.result import Gate, State
from wfgy_triage.store.records import RunStatus

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EM DASH}"
ARROW = "\N{RIGHTWARDS ARROW}"
OPERATORS = {">=": "\N{GREATER-THAN OR EQUAL TO}", "<=": "\N{LESS-THAN OR EQUAL TO}"}

BARE = frozenset({"", "count", "distance", "correlation", "score"})
"""Units without a name of their own: the metric's name says what the number is."""
OF_A_CHANGE = {"loss": " lost", "gain": " gained"}
"""What a gate says that is held against the difference of both sides, and not against EXL2's own value."""
_TYPED_MINUS = re.compile(r"(?<=[( ])-(?=\d)")
_UNIT = re.compile(r"[\w %/.,()\N{MIDDLE DOT}-]{1,40}")


@dataclass(frozen=True)
class Look:
    """How a state is shown: never by colour alone.

    Attributes:
        word: what is written.
        tone: `ok`, `bad`, `warn`, `mute` or `live`; picks the colours in `assets/theme/app.css`.
        icon: name of the icon.
    """

    word: str
    tone: str
    icon: str


STATE_LOOKS = {
    State.PASS: Look("Pass", "ok", "check"),
    State.FAIL: Look("Fail", "bad", "cross"),
    State.INCONCLUSIVE: Look("Inconclusive", "warn", "question"),
    State.NOT_MEASURED: Look("Not measured", "mute", "dash"),
}

STATUS_LOOKS = {
    RunStatus.QUEUED: Look("Waiting", "mute", "clock"),
    RunStatus.RUNNING: Look("Measuring", "live", "pulse"),
    RunStatus.DONE: Look("Finished", "ok", "check"),
    RunStatus.CANCELLED: Look("Stopped", "mute", "stop"),
    RunStatus.FAILED: Look("Could not finish", "bad", "warning"),
}


def chip(look: Look) -> str:
    """Return the small badge of a state: icon, word and colour."""
    return f'<span class="chip tone-{look.tone}">{icon(look.icon)}<span>{escape(look.word)}</span></span>'


def state_chip(state: State | None) -> str:
    """Return the badge of a verdict state; a descriptive metric without a gate gets a dash."""
    return chip(STATE_LOOKS[state]) if state else '<span class="dim">no gate</span>'


def number(value: float, digits: int = 3) -> str:
    """Write a number with `digits` significant digits and a true minus sign, never in exponent form."""
    if value != value:
        return MISSING
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 10 ** (digits - 1):
        text = f"{magnitude:,.0f}"
    else:
        text = f"{magnitude:.{digits}g}"
        if "e" in text:
            text = f"{magnitude:.6f}".rstrip("0").rstrip(".")
    return f"{MINUS}{text}" if value < 0 and text != "0" else text


def percent(share: float) -> str:
    """Write a share as a percentage without its sign: one decimal, two digits below one per cent."""
    scaled = round(share * 100, 1)
    return number(scaled, 4) if abs(scaled) >= 1 else number(share * 100, 2)


def quantity(value: float | None, unit: str) -> str:
    """Write a value with its unit; shares become percent. None is a dash (not measured)."""
    if value is None:
        return MISSING
    if unit == "share":
        return f"{percent(value)} %"
    if unit == "ratio":
        return f"{number(value)} \N{MULTIPLICATION SIGN}"
    return f"{number(value)} {unit_words(unit)}".strip()


def unit_words(unit: str) -> str:
    """A unit as it may stand in any output; one that says nothing or is not a few plain words is left out.

    Units of imported results are foreign text, and this is the one place through which all of them pass.
    """
    return unit if unit not in BARE and _UNIT.fullmatch(unit) else ""


def difference(value: float | None, unit: str) -> str:
    """Write a signed difference; shares become percentage points ("pts")."""
    if value is None:
        return MISSING
    text, word = (percent(value), "pts") if unit == "share" else (number(value), unit_words(unit))
    sign = "+" if value > 0 and text != "0" else ""
    return f"{sign}{text} {word}".strip()


def interval(bounds: tuple[float, float] | None, unit: str) -> str:
    """Write `(lo, hi)` as "lo to hi" in the unit's scale, without repeating the unit; None is empty."""
    if bounds is None:
        return ""
    write = percent if unit == "share" else number
    return f"{write(bounds[0])} to {write(bounds[1])}"


def shift(effect: Mapping[str, Any] | None) -> str:
    """Write a metric before and after a change, as "50 % \N{RIGHTWARDS ARROW} 95 %"."""
    if effect is None:
        return MISSING
    unit = str(effect["unit"])
    return f"{quantity(effect['before'], unit)} {ARROW} {quantity(effect['after'], unit)}"


def spread(effect: Mapping[str, Any]) -> str:
    """Write the difference with its interval and level; where there is no interval, say so."""
    unit = str(effect["unit"])
    text = difference(effect["difference"], unit)
    if not effect["interval"]:
        return f"{text}, without an interval" if effect["difference"] is not None else ""
    level = f"{100 * effect['level']:.4g} %"
    return f"{text} ({interval(tuple(effect['interval']), unit)}; {level} interval)"


def gate_text(gate: Gate | None, unit: str) -> str:
    """Write a gate as "\N{GREATER-THAN OR EQUAL TO} 98 %", one on a loss as "\N{LESS-THAN OR EQUAL TO} 2 pts lost".

    None is a dash.
    """
    if gate is None:
        return MISSING
    word = OF_A_CHANGE.get(gate.applies_to)
    bound = difference(gate.value, unit).lstrip("+") + word if word else quantity(gate.value, unit)
    return f"{OPERATORS.get(gate.op, gate.op)} {bound}"


def typeset(sentence: str) -> str:
    """Return a stored sentence with the comparison signs and the minus that numbers have everywhere else."""
    for typed, sign in OPERATORS.items():
        sentence = sentence.replace(typed, sign)
    return _TYPED_MINUS.sub(MINUS, sentence)


def duration(seconds: float) -> str:
    """Write a duration for people, at least one second: "40 seconds", "3 minutes", "1 h 20 min"."""
    if seconds < 90:
        whole = max(1, round(seconds))
        return f"{whole} second{'s' if whole > 1 else ''}"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} minutes"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(at: datetime | None) -> str:
    """Write a time of the store (aware, UTC) as "23 Nov 2026, 07:41 UTC"; None is a dash."""
    return f"{at.day} {at:%b %Y, %H:%M} UTC" if at else MISSING


def size(n_bytes: float) -> str:
    """Write a size in bytes as MB or GB (powers of ten)."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
