"""The settings that probes have beside questions and seed: `fixmap/options.yaml` as frozen records.

Says which settings a symptom has and whether a value is possible. The probes, the command line and the page ask here,
so that a bad value meets the same words everywhere, before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wfgy_triage.catalog import FIXMAP, load_catalog
from wfgy_triage.errors import InputError
from wfgy_triage.fixmap_files import FixmapFile, read_fixmap_file

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Choice:
    """A word that an option may have as its value, and what it means."""

    value: str
    label: str


@dataclass(frozen=True)
class Option:
    """One setting of a symptom's probe.

    Attributes:
        symptom: id of the symptom.
        name: as in `--option name=value`.
        label: its name for people.
        info: what it does, in a sentence or two.
        usual: the value without it; empty where the probe decides.
        unset: what the probe then does.
        choices: words that it may be.
        whole: the smallest and the largest whole number that it may be; None where it is no number.
        file: names a file; a path on the command line, an upload on the page.
    """

    symptom: str
    name: str
    label: str
    info: str
    usual: str = ""
    unset: str = ""
    choices: tuple[Choice, ...] = ()
    whole: tuple[int, int] | None = None
    file: bool = False

    def checked(self, value: Any) -> str | int:
        """The value in its plain form: a word of `choices`, a whole number, or a path.

        Raises:
            InputError: it is not possible; says what is.
        """
        text = str(value).strip()
        if self.file:
            return text
        if any(text == choice.value for choice in self.choices):
            return text
        # Digits of other scripts and underscores would be numbers to `int`, but not to anybody who reads them.
        digits = text.removeprefix("-")
        if self.whole is not None and digits.isascii() and digits.isdigit() and len(digits) <= 9:
            low, high = self.whole
            if low <= int(text) <= high:
                return int(text)
        raise InputError(f"{self.name} cannot be {text[:SHOWN_CHARACTERS]!r}.", f"Give {self._possible()}.")

    def _possible(self) -> str:
        words = [choice.value for choice in self.choices]
        if self.whole is not None:
            words.append(f"a whole number from {self.whole[0]:,} to {self.whole[1]:,}")
        *first, last = words
        return f"{', '.join(first)} or {last}" if first else last


@lru_cache(maxsize=4)
def load_options(folder: Path = FIXMAP) -> tuple[Option, ...]:
    """Read and validate `options.yaml`, in the order in which they are shown; cached per folder.

    Raises:
        PrerequisiteError: the file is missing or wrong; names file and line.
    """
    file = read_fixmap_file(folder, "options")
    known = load_catalog(folder).symptoms
    found: list[Option] = []
    for index, record in enumerate(file.data["options"]):
        spot = ("options", index)
        option = _option(record)
        if option.symptom not in known:
            raise file.fault(
                (*spot, "symptom"), f"{option.symptom!r} is not the id of a symptom in symptoms.yaml."
            )
        if any((o.symptom, o.name) == (option.symptom, option.name) for o in found):
            raise file.fault((*spot, "name"), f"{option.symptom} has the option {option.name!r} twice.")
        _check_usual(file, (*spot, "usual"), option)
        found.append(option)
    return tuple(found)


def options_of(symptom: str) -> tuple[Option, ...]:
    """The settings that a symptom's probe has; none for an unknown symptom."""
    return tuple(option for option in load_options() if option.symptom == symptom)


def option_values(symptom: str, given: Mapping[str, Any]) -> dict[str, str | int]:
    """Every setting of a symptom: as given, else its usual value; empty text where the probe decides.

    Args:
        symptom: its id.
        given: values by name, as text or number.

    Raises:
        InputError: a name that this symptom does not have, or a value that is not possible.
    """
    options = options_of(symptom)
    names = [option.name for option in options]
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        hint = f"Settings: {', '.join(names)}." if names else "This symptom has no settings of its own."
        raise InputError(f"There is no setting {unknown[:SHOWN_CHARACTERS]!r}.", hint)
    return {
        o.name: o.checked(given[o.name]) if given.get(o.name) not in (None, "") else _usual(o)
        for o in options
    }


def _usual(option: Option) -> str | int:
    return option.checked(option.usual) if option.usual else ""


def _option(record: Mapping[str, Any]) -> Option:
    choices = tuple(Choice(**choice) for choice in record.get("choices", ()))
    whole = tuple(record["whole"]) if "whole" in record else None
    return Option(**{**record, "choices": choices, "whole": whole})


def _check_usual(file: FixmapFile, spot: tuple[str | int, ...], option: Option) -> None:
    try:
        _usual(option)
    except InputError as error:
        raise file.fault(spot, f"usual is not possible: {error.message}") from error
