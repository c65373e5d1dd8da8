"""Whether an engine's predictions depend on what comes later: the self-check before anything is compared."""

from __future__ import annotations

import torch

from wfgy_triage.engines.base import Engine, ScoreRequest

TOLERANCE = {"float32": 5e-4}
COARSE_TOLERANCE = 1e-2
"""Largest change of a logit, relative to the largest, that is still rounding, by what is computed in: 16-bit products
are coarser. A missing causal mask moves logits by a large part of their size."""
_TEXT = "The causality check reads one short sentence twice."


def future_effect(engine: Engine) -> float:
    """Largest relative change of any logit before a token that is replaced; not a number where a logit is none.

    The replaced token is the last but one: an engine need not compute the last token of a sequence, since it predicts
    nothing that is scored. Replacing that one would change nothing even without a causal mask.
    """
    ids = engine.encode(_TEXT)
    rows = []
    for replaced in (ids[-1], ids[0]):
        request = ScoreRequest("causality", (*ids[:-1], replaced, ids[-1]), 1)
        logits = torch.cat([chunk.logits.clone() for chunk in engine.logits([request])])
        rows.append(logits[: len(ids) - 1].float())
    scale = max(1.0, float(rows[0].abs().max()))
    return float((rows[0] - rows[1]).abs().max()) / scale


def sees_the_future(engine: Engine, effect: float) -> bool:
    """Whether an effect found by `future_effect` is more than rounding; one that is no number counts."""
    return not effect <= TOLERANCE.get(engine.info.compute_dtype, COARSE_TOLERANCE)
