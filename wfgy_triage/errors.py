"""The errors a user may see: what happened, and what to do about it."""

from __future__ import annotations


class TriageError(Exception):
    """A failure with a plain explanation and a next step.

    Args:
        message: what happened and what it means, in one or two sentences.
        hint: what the user can do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class PrerequisiteError(TriageError):
    """Something that must be there before a measurement is missing or broken (a file, a tensor, a package).

    Args:
        message: see `TriageError`.
        hint: see `TriageError`.
        cause: id of the fix map's cause, where the error itself says it.
    """

    def __init__(self, message: str, hint: str = "", cause: str | None = None) -> None:
        super().__init__(message, hint)
        self.cause = cause


class InputError(TriageError):
    """What the user gave cannot be used (an unknown id, a malformed file, a value out of range)."""


class ProbeError(TriageError):
    """A measurement stopped; what was measured before it is kept."""


class AccessDenied(TriageError):
    """Somebody asked for what their role or the session's owner does not allow; nothing was changed."""
