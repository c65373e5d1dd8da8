"""What one check found. The words are the fix map's (`fixmap/checks.yaml`); what was seen comes from the check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from wfgy_triage.checks import Group, load_checks
from wfgy_triage.diagnosis import FAULT, OK, UNKNOWN
from wfgy_triage.result import Check


class Outcome(StrEnum):
    """How a check ended. SKIPPED says nothing either way; it never counts as passed."""

    PASS = "PASS"  # noqa: S105 - an outcome, not a secret
    WARN = "WARN"
    FAIL = "FAIL"
    SKIPPED = "SKIPPED"


DOCTOR_SIDE = "doctor"
"""Side of the samples that hold findings instead of answers."""

_RESULTS = {Outcome.PASS: OK, Outcome.FAIL: FAULT, Outcome.WARN: UNKNOWN, Outcome.SKIPPED: UNKNOWN}


@dataclass(frozen=True)
class Patch:
    """An exact change.

    Attributes:
        target: where it belongs: a file name, `requirements.txt`, `environment` or `server`.
        values: dotted key to value, where the target has keys; empty for a line.
        text: what to copy.
    """

    target: str
    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's list.

    Attributes:
        check: id of `fixmap/checks.yaml`.
        group: `environment`, `folders` or `engines`.
        state: how it ended.
        title: the statement that was checked.
        seen: what was seen, with values.
        means: what that means, in plain words.
        do: what to do; empty where nothing is.
        patch: the exact pin line or configuration change, where there is one.
        cause: for FAIL, an id of `fixmap/causes.yaml`; else None.
    """

    check: str
    group: Group
    state: Outcome
    title: str
    seen: str
    means: str
    do: str = ""
    patch: Patch | None = None
    cause: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The plain form in which results and samples carry it."""
        data = asdict(self)
        if self.patch is not None:
            data["patch"] = {**data["patch"], "values": dict(self.patch.values)}
        return {**data, "state": str(self.state)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """The inverse of `to_json`."""
        patch = Patch(**data["patch"]) if data.get("patch") else None
        return cls(**{**data, "state": Outcome(data["state"]), "patch": patch})

    def evidence(self) -> Check:
        """The form in which a diagnosis carries it: a warning or a skipped check decides nothing."""
        return Check(self.check, _RESULTS[self.state], self.seen)


def finding(
    check: str,
    state: Outcome,
    seen: str,
    *,
    patch: Patch | None = None,
    cause: str | None = None,
    means: str | None = None,
    do: str | None = None,
) -> Finding:
    """Make a finding with the words that the fix map has for this outcome.

    Args:
        check: id of the check.
        state: how it ended.
        seen: what was seen.
        patch: the exact change, if there is one.
        cause: instead of the check's own, where what was seen says more.
        means: instead of the check's own words.
        do: instead of the check's own words.
    """
    text = load_checks()[check]
    key = state.lower()
    return Finding(
        check=check,
        group=text.group,
        state=state,
        title=text.title,
        seen=seen,
        means=text.means.get(key, "") if means is None else means,
        do=text.do.get(key, "") if do is None else do,
        patch=patch,
        cause=(cause or text.cause) if state is Outcome.FAIL else None,
    )


def passed(check: str, seen: str) -> Finding:
    """A check that passed."""
    return finding(check, Outcome.PASS, seen)


def failed(check: str, seen: str, patch: Patch | None = None) -> Finding:
    """A check that failed."""
    return finding(check, Outcome.FAIL, seen, patch=patch)


def warned(check: str, seen: str, patch: Patch | None = None) -> Finding:
    """A check that found something to know about, which is no failure."""
    return finding(check, Outcome.WARN, seen, patch=patch)


def skipped(check: str, why: str) -> Finding:
    """A check that could not be made, and why."""
    return finding(check, Outcome.SKIPPED, why)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of the ladder, whatever the order in which they were made."""
    place = {check: index for index, check in enumerate(load_checks())}
    return tuple(sorted(findings, key=lambda f: place.get(f.check, len(place))))


def failures(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The failed checks, in the order of the ladder."""
    return tuple(f for f in in_order(findings) if f.state is Outcome.FAIL)


def prevents_loading(findings: Iterable[Finding]) -> bool:
    """Whether a failed check means that the models are not even loaded."""
    checks = load_checks()
    return any(f.state is Outcome.FAIL and checks[f.check].fatal for f in findings)


def is_loaded(findings: Iterable[Finding]) -> bool:
    """Whether nothing says that the models are not there."""
    return all(f.state is Outcome.PASS for f in findings if f.check == "models_load")


def evidence_of(findings: Sequence[Finding]) -> tuple[Check, ...]:
    """The rungs that these findings are for every measurement on the pair, in the order of the ladder."""
    checks = load_checks()
    return tuple(f.evidence() for f in in_order(findings) if checks[f.check].ladder)


def unchecked(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Ids of the essential checks that were skipped or not made."""
    made = {f.check for f in findings if f.state is not Outcome.SKIPPED}
    return tuple(c.id for c in load_checks().values() if c.essential and c.id not in made)
