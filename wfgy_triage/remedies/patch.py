"""A change as a typed patch: dotted keys of a fixed vocabulary and their values.

A patch is what a trial has changed and what a recommendation says. This file checks it, puts it into words, and says
which part of it a target can express; `renders` writes the files, `user_files` changes a user's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from wfgy_triage.errors import InputError
from wfgy_triage.remedies.vocabulary import CONFIG, Target, load_vocabulary

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
"""What a value may be."""

_SHOWN = 120


@dataclass(frozen=True)
class Patch:
    """What is changed: `changes` by dotted key, checked and in plain form.

    Raises:
        InputError: no change at all, an unknown key, a value that its key does not allow, or keys that do not go
            together; the message names the key.
    """

    changes: Mapping[str, JSON]

    def __post_init__(self) -> None:
        vocabulary = load_vocabulary()
        if not self.changes:
            raise InputError("The patch changes nothing.", "Give at least one key and its value.")
        plain = {key: vocabulary.checked(key, value) for key, value in self.changes.items()}
        for key in plain:
            record = vocabulary.key(key)
            for other in record.requires:
                if other not in plain:
                    raise InputError(f"{key} needs {other} beside it.", vocabulary.key(other).meaning)
            for other in record.excludes:
                if other in plain:
                    raise InputError(f"{key} and {other} cannot be set together.", "Leave one of them out.")
            inner = next((o for o in plain if key.startswith(CONFIG) and o.startswith(f"{key}.")), None)
            if inner is not None:
                raise InputError(f"{key} and {inner} set the same value.", "Leave one of them out.")
        object.__setattr__(self, "changes", plain)


@dataclass(frozen=True)
class Explanation:
    """One change in plain words.

    Attributes:
        key: its dotted key.
        says: what is changed, in one sentence with the value.
        meaning: what the setting is.
        targets: ids of the targets that can express it in this patch.
    """

    key: str
    says: str
    meaning: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """The part of a patch that one target can express.

    Attributes:
        target: the target.
        values: by dotted key.
        at: by dotted key, the target's own name of it.
        says: by dotted key, the change in words.
        left_out: the keys that this target cannot express.
    """

    target: Target
    values: Mapping[str, JSON]
    at: Mapping[str, str]
    says: Mapping[str, str]
    left_out: tuple[str, ...]

    def named(self) -> dict[str, JSON]:
        """The values by the target's own names."""
        return {self.at[key]: value for key, value in self.values.items()}


def explain(patch: Patch) -> tuple[Explanation, ...]:
    """What each change of a patch means, in the order of the patch."""
    vocabulary = load_vocabulary()
    shares = [share_of(patch, target) for target in vocabulary.targets]
    return tuple(
        Explanation(
            key,
            _says(key, value),
            vocabulary.key(key).meaning,
            tuple(s.target.id for s in shares if key in s.values),
        )
        for key, value in patch.changes.items()
    )


def share_of(patch: Patch, target: str) -> Share:
    """What a target can express of a patch, and what it cannot.

    Raises:
        InputError: an unknown target.
    """
    vocabulary = load_vocabulary()
    record = vocabulary.targets[target]
    at: dict[str, str] = {}
    left_out = []
    for key in patch.changes:
        known = vocabulary.key(key)
        fitting = (
            p.at for p in known.places
            if p.target == target and all(patch.changes.get(k) == v for k, v in p.when.items())
        )  # fmt: skip
        place = next(fitting, None)
        if place is not None:
            at[key] = place or key.partition(".")[2]
        elif not known.companion:
            left_out.append(key)
    values = {key: patch.changes[key] for key in at}
    return Share(record, values, at, {k: _says(k, v) for k, v in values.items()}, tuple(left_out))


def _says(key: str, value: JSON) -> str:
    """The sentence of a change. Always one line: it also stands in comments of rendered files."""
    text = value if isinstance(value, str) else json.dumps(value)
    shown = "".join(c if c.isprintable() else " " for c in text)
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 1] + "…"
    template = load_vocabulary().key(key).says
    return template.replace("{key}", key.partition(".")[2]).replace("{value}", shown)
