"""What is stored of an answer and of a comparison, and the text behind its tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wfgy_triage.engines.base import Completion, Engine, TokenScores
from wfgy_triage.measure.fluency import mean_logprob
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.reuse import rounded

Annotate = Callable[[Item, tuple[int, ...], TokenScores], Mapping[str, Any]]
"""What a probe adds to the comparison of an answer's tokens: lists of one entry a token, say."""


def answer_payload(completion: Completion, served: bool = False) -> dict[str, Any]:
    """What is stored of every answer, whatever the probe; of one from a server also the times."""
    ids, times = completion.token_ids, completion.timing
    told: dict[str, Any] = {}
    if served:
        seconds = (times.first, times.further) if times else (None, None)
        told = {"served": True, "seconds_to_first": seconds[0], "seconds_a_token": seconds[1]}
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "truncated": completion.finish_reason == "length",
        # A server gives no ids; how many tokens an answer has it may count or not.
        "tokens": completion.counted if served else len(ids),
        "token_ids": list(ids),
        "mean_logprob": mean_logprob(rounded(completion.logprobs)),
        **told,
    }


def comparison_payload(
    item: Item, answer: tuple[int, ...], scores: TokenScores, annotate: Annotate | None
) -> dict[str, Any]:
    """What is stored of every comparison: one number a token, and what the probe adds."""
    more = annotate(item, answer, scores) if annotate else {}
    return {
        "kl": rounded(scores.kl),
        "ref_top_p": rounded(scores.ref_top_p),
        "same_top": [int(x) for x in scores.same_top],
        "ref_logprob": rounded(scores.ref_logprob),
        "cand_logprob": rounded(scores.cand_logprob),
        **more,
    }


def token_pieces(engine: Engine, token_ids: Sequence[int]) -> list[str]:
    """The text that each token adds; a token that only begins a multi-byte character adds none yet."""
    pieces, shown = [], ""
    for end in range(1, len(token_ids) + 1):
        text = engine.decode(token_ids[:end])
        text = shown if text.endswith("\ufffd") else text
        pieces.append(text[len(shown) :])
        shown = text
    return pieces
