"""Plain words for the stable ids that results and samples carry. An id without an entry is shown as it is."""

from __future__ import annotations

from wfgy_triage.checks import load_checks

CHECKS = {
    "baseline_passes": "FP16 itself passes",
    "above_noise": "The difference is larger than the noise",
    "same_place": "The right passage stands where it does with FP16",
    "same_ranking": "Both sides order the passages alike",
    "index_from_serving_model": "The stored vectors come from the model that asks",
    "vectors_normalised": "The stored vectors have length one",
    "vectors_in_place": "Each stored vector belongs to the passage beside it",
    "normalising_restores": "Scaling the vectors to length one brings the passages back",
    "rebuilding_restores": "Rebuilding the index with EXL2 brings the passages back",
    "independent_restores": "An independent embedder brings the passages back",
    "few_duplicates": "Few near-duplicates in the index",
    "fluency_holds": "The text stays fluent",
    "token_divergence": "Word probabilities moved by more than the noise",
    "same_sampling_used": "Both sides were asked with the same sampling settings",
    "sampler_put_back": "Answers stay lost with neutral sampling settings",
    "cache_put_back": "Answers stay lost when the cache rounds nothing",
    "engine_exchanged": "Answers stay lost when the same weights run in the reference engine",
    "all_weights_back": "With all FP16 weights put back, the drift ends",
    "one_part_is_to_blame": "One part of the model causes most of it",
    "held_to_the_form": "FP16 fails even when it is held to the form of its answers",
    "asked_in_a_frame": "FP16 fails even in a stricter prompt frame",
}

ANSWER_CLASSES = {
    "right": "Right",
    "wrong": "Wrong",
    "valid": "Valid",
    "schema_mismatch": "JSON, but not the schema",
    "trailing_text": "Text after the JSON",
    "leading_text": "Text before the JSON",
    "code_fence": "Wrapped in a code fence",
    "malformed": "Not JSON",
    "empty": "Empty",
    "cites_right_passage": "Cites the right passage",
    "cites_other_passage": "Cites another passage",
    "cites_unknown_passage": "Cites what was not supplied",
    "no_citation": "Cites nothing",
    "incomplete_record": "Fields are missing",
    "quote_elsewhere": "Quotes what is not there",
    "wrong_section": "Names another section",
    "truncated": "Cut off",
    "passage_found": "The right passage is there",
    "passage_missed": "The right passage is not there",
    "chain_right": "Right to the end",
    "chain_slip": "One slip, then consistent",
    "chain_collapse": "Lost the thread",
    "chain_stopped": "Stopped too early",
}

FIT_WORDS = {"strong": "fits well", "good": "probably this", "weak": "perhaps"}
"""How well a symptom fits a complaint (`complaints.Confidence`), as people say it."""

NO_FIT = "None of the symptoms fits these words."
NEAREST_FIT = "Nearest to them – choose one only if it is what you see"
NO_FIT_NEXT = (
    "Say it in other words: what did you expect, and what came instead? If you only want to be sure that the model "
    "is good enough, use the acceptance gate; if it does not start or load, the deployment check."
)


def check_words(check: str) -> str:
    """The statement that a check of the isolation ladder tests."""
    known = load_checks().get(check)
    return known.title if known else CHECKS.get(check, _plain(check))


def class_words(kind: str) -> str:
    """The class of an answer."""
    return ANSWER_CLASSES.get(kind, _plain(kind))


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().capitalize() if "_" in name else name
