"""Plain words for the stable ids that results and samples carry. An id without an entry is shown as it is."""

from __future__ import annotations

CHECKS = {
    "same_token_ids": "Same text gives the same token ids",
    "same_chat_template": "Same chat template",
    "same_special_tokens": "Same start and end tokens",
    "same_rope": "Same position settings",
    "checkpoint_intact": "The checkpoint is intact",
    "same_base_model": "Both come from the same base model",
    "causal_attention": "Later words cannot change earlier ones",
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

FIT_WORDS = {"strong": "fits well", "good": "probably this", "weak": "perhaps"}
"""How well a symptom fits a complaint (`complaints.Confidence`), as people say it."""

NO_FIT = "None of the symptoms fits these words."
NO_FIT_NEXT = (
    "Say it in other words: what did you expect, and what came instead? If you only want to be sure that the model "
    "is good enough, use the acceptance gate; if it does not start or load, the deployment check."
)


def check_words(check: str) -> str:
    """The statement that a check of the isolation ladder tests."""
    return CHECKS.get(check, _plain(check))


def class_words(kind: str) -> str:
    """The class of an answer."""
    return ANSWER_CLASSES.get(kind, _plain(kind))


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().capitalize() if "_" in name else name
