"""Penalties and cut-offs on the choice of a token: transformers' own processors, in the order in which it applies them.

The draw stays the seeded one of `sampling.py`: processors say which tokens may be drawn and with what weight, and the
noise of the request's own seed decides. So the same settings and seed mean the same on every engine of this program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from wfgy_triage.engines.base import NEUTRAL, GenerationRequest
from wfgy_triage.engines.sampling import Choice, best_of, greedy, uniform_noise
from wfgy_triage.errors import InputError

_EDGE = 1e-3
"""Two tokens on either side of the top-k limit that are closer than this (in logits) may be told apart by rounding."""
_SLACK = 1e-5
"""How much a probability at the edge of a cut-off may be off by rounding."""


def refuse_server_settings(requests: Sequence[GenerationRequest]) -> None:
    """Refuse requests that leave sampling to a server, for engines that are none.

    Raises:
        InputError: names the request.
    """
    for request in requests:
        if request.sampler.server_own:
            raise InputError(
                f"Request {request.id!r} leaves the sampling to a server, and none is asked.",
                "Give the settings, or neutral ones.",
            )


def choose(logits: torch.Tensor, request: GenerationRequest, answer: Sequence[int]) -> Choice:
    """Choose the next token with a request's penalties and cut-offs.

    Args:
        logits: (vocab,), natural scale, minus infinity where a grammar bars; left as they were.
        request: whose sampler is not neutral.
        answer: its tokens so far; as many as there are decide which noise is drawn.
    """
    scores = _penalised(logits.detach().cpu().double()[None], request, answer)
    if request.temperature == 0:
        return greedy(scores.clone())[0]
    scores = TemperatureLogitsWarper(float(request.temperature))(_NO_IDS, scores)
    kept, clear = _likeliest(scores, request)
    scaled = scores[0].numpy()
    uniform = uniform_noise(request.seed, len(answer), len(scaled))

    def drawn(shift: float) -> Choice:
        return best_of(_cut(scores, kept, request, shift), scaled, uniform, request.temperature)

    exact = drawn(0.0)
    settled = clear and drawn(-_SLACK).token == drawn(_SLACK).token == exact.token
    return exact if settled else replace(exact, gap=0.0)


_NO_IDS = torch.zeros((1, 0), dtype=torch.long)
"""For processors that look at no token of the text."""


def _penalised(scores: torch.Tensor, request: GenerationRequest, answer: Sequence[int]) -> torch.Tensor:
    penalty = request.sampler.repetition_penalty
    if penalty == NEUTRAL.repetition_penalty:
        return scores
    ids = torch.tensor([[*request.prompt_ids, *answer]])
    found: torch.Tensor = RepetitionPenaltyLogitsProcessor(float(penalty))(ids, scores)
    return found


def _likeliest(scores: torch.Tensor, request: GenerationRequest) -> tuple[torch.Tensor, bool]:
    """Ids of the tokens that top-k keeps, and whether rounding has no part in which they are."""
    top_k, count = request.sampler.top_k, scores.shape[1]
    if not 0 < top_k < count:
        return torch.isfinite(scores[0]).nonzero()[:, 0], True
    edge = scores[0].topk(top_k + 1).values[-2:]
    clear = not bool((edge[0] - edge[1]) * request.temperature < _EDGE)
    limited = TopKLogitsWarper(top_k)(_NO_IDS, scores)
    return torch.isfinite(limited[0]).nonzero()[:, 0], clear


def _cut(scores: torch.Tensor, kept: torch.Tensor, request: GenerationRequest, shift: float) -> np.ndarray:
    """Ids of the tokens that the cut-offs by probability leave; a `shift` above 0 leaves a little more, below less."""
    sampler, warpers = request.sampler, LogitsProcessorList()
    if request.top_p < 1:
        warpers.append(TopPLogitsWarper(min(1.0, max(0.0, request.top_p + shift))))
    if sampler.min_p > 0:
        warpers.append(MinPLogitsWarper(min(1.0, sampler.min_p * (1 - shift))))
    if sampler.typical_p < 1:
        warpers.append(TypicalLogitsWarper(min(1 - _SLACK / 2, max(_SLACK / 2, sampler.typical_p + shift))))
    # What top-k has dropped has no probability, so the others need not see it.
    left = warpers(_NO_IDS, scores[:, kept])[0]
    found: np.ndarray = kept[torch.isfinite(left)].numpy()
    return found
