"""Lines for a pip requirements file."""

from __future__ import annotations

from wfgy_triage.remedies.edits.requirements_text import written
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Share
from wfgy_triage.remedies.renders.header import header


def pins(share: Share) -> dict[str, str]:
    """Version specifier or address by package."""
    return {package: str(spec) for package, spec in share.named().items()}


def lines(share: Share, facts: Facts) -> str:
    """The pins, one a line."""
    return header(share) + "".join(f"{written(p, s)}\n" for p, s in pins(share).items())
