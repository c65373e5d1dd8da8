"""Plain words for the stable ids that results and samples carry. An id without an entry is shown as it is."""

from __future__ import annotations

from wfgy_triage.checks import load_checks

CHECKS = {
    "baseline_passes": "FP16 itself passes",
    "above_noise": "The difference is larger than the noise",
    "token_divergence": "Word probabilities moved by more than the noise",
}

ANSWER_CLASSES = {
    "valid": "Valid",
    "schema_mismatch": "JSON, but not the schema",
    "trailing_text": "Text after the JSON",
    "leading_text": "Text before the JSON",
    "code_fence": "Wrapped in a code fence",
    "malformed": "Not JSON",
    "empty": "Empty",
    "truncated": "Cut off",
}


def check_words(check: str) -> str:
    """The statement that a check of the isolation ladder tests."""
    known = load_checks().get(check)
    return known.title if known else CHECKS.get(check, _plain(check))


def class_words(kind: str) -> str:
    """The class of an answer."""
    return ANSWER_CLASSES.get(kind, _plain(kind))


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().capitalize() if "_" in name else name
