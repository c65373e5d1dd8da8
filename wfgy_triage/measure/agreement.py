"""How alike two models' next-token distributions are, from teacher-forced scores of the same tokens.

KL is KL(FP16‖EXL2): the reference first. Intervals treat the question as the unit, because the tokens of one answer
depend on each other. Under 100 tokens, or with any value that is not finite, nothing is reported but the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wfgy_triage.measure.statistics import Interval, quantile_intervals, ratio_interval

METRIC_VERSION = 1
"""Raised whenever answers or token scores of the same models come out differently: older cached ones end there."""
MIN_TOKENS = 100
BUCKET_EDGES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Bounds of the FP16-confidence buckets: closed below, open above, the last one closed."""

Floats = NDArray[np.float64]


class TokenArrays(Protocol):
    """Per-token comparison of two models on one question; arrays of shape (tokens,)."""

    @property
    def kl(self) -> NDArray[Any]:
        """KL(reference‖candidate), nats."""

    @property
    def ref_top_p(self) -> NDArray[Any]:
        """The reference's largest probability."""

    @property
    def same_top(self) -> NDArray[Any]:
        """1 where both models' most likely token is the same."""

    @property
    def ref_logprob(self) -> NDArray[Any]:
        """Reference log-probability of the actual token, nats."""

    @property
    def cand_logprob(self) -> NDArray[Any]:
        """Candidate log-probability of the actual token, nats."""


@dataclass(frozen=True)
class QuestionTokens:
    """The arrays of `TokenArrays` as float64, all of one length."""

    kl: Floats
    ref_top_p: Floats
    same_top: Floats
    ref_logprob: Floats
    cand_logprob: Floats

    @classmethod
    def of(cls, scores: TokenArrays) -> QuestionTokens:
        """Copy the arrays of any object that has them.

        Raises:
            ValueError: the arrays differ in length.
        """
        arrays = [np.asarray(getattr(scores, name), np.float64) for name in cls.__dataclass_fields__]
        if len({a.shape for a in arrays}) != 1 or arrays[0].ndim != 1:
            raise ValueError("the token arrays differ in length")
        return cls(*arrays)

    def select(self, mask: ArrayLike) -> QuestionTokens:
        """Only the tokens where `mask` (shape (tokens,)) is true."""
        keep = np.asarray(mask, dtype=bool)
        if keep.shape != self.kl.shape:
            raise ValueError("the mask does not fit the tokens")
        return QuestionTokens(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    @property
    def non_finite(self) -> int:
        """How many tokens have a value that is not finite."""
        arrays = np.stack([getattr(self, name) for name in self.__dataclass_fields__])
        return int((~np.isfinite(arrays)).any(axis=0).sum())


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; the interval is None when fewer than two questions carry it."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class BucketSummary:
    """Tokens where FP16's confidence lies in [low, high) (the last bucket: [low, high]).

    `kl` (mean, nats) and `top1` (share) are None for an empty bucket.
    """

    low: float
    high: float
    tokens: int
    questions: int
    kl: Estimate | None
    top1: Estimate | None


@dataclass(frozen=True)
class AgreementSummary:
    """What the tokens of all questions say together. KL in nats, perplexities per token."""

    questions: int
    tokens: int
    kl_mean: Estimate
    kl_median: Estimate
    kl_p90: Estimate
    kl_p99: Estimate
    top1: Estimate
    ppl_reference: float
    ppl_candidate: float
    ppl_ratio: Estimate
    buckets: tuple[BucketSummary, ...]


@dataclass(frozen=True)
class AgreementReport:
    """A summary, or the reason why there is none (`reason` is empty exactly when there is a summary)."""

    summary: AgreementSummary | None
    reason: str
    tokens: int
    non_finite: int


def summarise_agreement(scores: Sequence[TokenArrays], level: float = 0.95) -> AgreementReport:
    """Summarise the scores of several questions; their order does not matter.

    Args:
        scores: one item a question; items without tokens are left out.
        level: two-sided confidence level of the intervals.
    """
    questions = [QuestionTokens.of(item) for item in scores]
    questions = [q for q in questions if q.kl.size]
    tokens = sum(q.kl.size for q in questions)
    bad = sum(q.non_finite for q in questions)
    if bad:
        return AgreementReport(
            None, f"{bad} of {tokens} tokens have scores that are not finite.", tokens, bad
        )
    if tokens < MIN_TOKENS:
        reason = f"{tokens} tokens; at least {MIN_TOKENS} are needed for token statistics."
        return AgreementReport(None, reason, tokens, 0)
    return AgreementReport(_summary(questions, tokens, level), "", tokens, 0)


def mean_kl(scores: Sequence[TokenArrays], level: float = 0.95) -> Estimate | None:
    """Mean KL over all tokens given; None under the minimum of tokens or with a value that is not finite."""
    questions = [q for q in map(QuestionTokens.of, scores) if q.kl.size]
    if sum(q.kl.size for q in questions) < MIN_TOKENS or any(q.non_finite for q in questions):
        return None
    return _token_mean([q.kl for q in questions], level, lowest=0.0)


def _summary(questions: Sequence[QuestionTokens], tokens: int, level: float) -> AgreementSummary:
    quantiles = quantile_intervals([q.kl for q in questions], (0.5, 0.9, 0.99), level)
    several = len(questions) > 1
    median, p90, p99 = (Estimate(value, span if several else None) for value, span in quantiles)
    log_ratio = _token_mean([q.ref_logprob - q.cand_logprob for q in questions], level)
    ratio_span = log_ratio.interval and Interval(
        _exp(log_ratio.interval.low), _exp(log_ratio.interval.high), level, log_ratio.interval.method
    )
    return AgreementSummary(
        questions=len(questions),
        tokens=tokens,
        kl_mean=_token_mean([q.kl for q in questions], level, lowest=0.0),
        kl_median=median,
        kl_p90=p90,
        kl_p99=p99,
        top1=_token_mean([q.same_top for q in questions], level, 0.0, 1.0),
        ppl_reference=_exp(-sum(float(q.ref_logprob.sum()) for q in questions) / tokens),
        ppl_candidate=_exp(-sum(float(q.cand_logprob.sum()) for q in questions) / tokens),
        ppl_ratio=Estimate(_exp(log_ratio.value), ratio_span),
        buckets=tuple(
            _bucket(questions, low, high, level)
            for low, high in zip(BUCKET_EDGES[:-1], BUCKET_EDGES[1:], strict=True)
        ),
    )


def _bucket(questions: Sequence[QuestionTokens], low: float, high: float, level: float) -> BucketSummary:
    last = high == BUCKET_EDGES[-1]
    inside = [q.select((q.ref_top_p >= low) & ((q.ref_top_p < high) | last)) for q in questions]
    inside = [q for q in inside if q.kl.size]
    tokens = sum(q.kl.size for q in inside)
    if not tokens:
        return BucketSummary(low, high, 0, 0, None, None)
    kl = _token_mean([q.kl for q in inside], level, lowest=0.0)
    top1 = _token_mean([q.same_top for q in inside], level, 0.0, 1.0)
    return BucketSummary(low, high, tokens, len(inside), kl, top1)


def _exp(value: float) -> float:
    """Exponential that stays a number: two wildly different questions can give an astronomic bound."""
    return math.exp(min(value, 700.0))


def _token_mean(
    values: Sequence[Floats], level: float, lowest: float = -math.inf, highest: float = math.inf
) -> Estimate:
    """Mean over all tokens, question as the unit; the interval is cut to what the quantity can be."""
    sums = np.array([v.sum() for v in values])
    sizes = np.array([v.size for v in values], dtype=np.float64)
    value = float(sums.sum() / sizes.sum())
    if len(values) < 2:
        return Estimate(value, None)
    found = ratio_interval(sums, sizes, level)
    # A KL may be a rounding error below zero; the interval still has to hold the value.
    low, high = min(max(found.low, lowest), value), max(min(found.high, highest), value)
    return Estimate(value, Interval(low, high, level, found.method))
