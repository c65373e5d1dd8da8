"""Divergence metrics from stored token comparisons: KL, same first choice, perplexity; parts of an answer apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.measure.agreement import (
    AgreementReport,
    AgreementSummary,
    Estimate,
    QuestionTokens,
    mean_kl,
    summarise_agreement,
)
from wfgy_triage.probes.paired import Payload
from wfgy_triage.result import Metric, State

WHOLE = ("kld", "kld_median", "kld_p90", "kld_p99", "top1", "ppl_ratio")
"""Metrics over all tokens, in the order in which they are shown."""


@dataclass(frozen=True)
class Part:
    """Some tokens of every answer: those whose flag under `key` in the payload equals `flag`.

    `metric` is the id under which their mean KL is reported.
    """

    metric: str
    key: str
    flag: bool


@dataclass(frozen=True)
class Divergence:
    """What the token comparisons of a run say: EXL2 against FP16, and FP16 against its twin."""

    exl2: AgreementReport
    floor: AgreementReport
    metrics: tuple[Metric, ...]

    @property
    def kld(self) -> float | None:
        """Mean KL(FP16‖EXL2), nats a token; None when not measured."""
        return self.exl2.summary.kl_mean.value if self.exl2.summary else None

    @property
    def kld_floor(self) -> float | None:
        """The same between FP16 and its twin."""
        return self.floor.summary.kl_mean.value if self.floor.summary else None


def divergence(
    pair: Mapping[str, Payload],
    pair_floor: Mapping[str, Payload],
    level: float,
    parts: Sequence[Part] = (),
) -> Divergence:
    """Summarise stored comparisons; with too few tokens the metrics are NOT MEASURED and say why."""
    found, twin = (
        summarise_agreement([_tokens(p) for p in side.values()], level) for side in (pair, pair_floor)
    )
    values, noise = _estimates(found.summary), _estimates(twin.summary)
    for part in parts:
        values[part.metric], noise[part.metric] = (_part(side, part, level) for side in (pair, pair_floor))
    names = [*WHOLE[:4], *(p.metric for p in parts), *WHOLE[4:]]
    n = found.summary.questions if found.summary else 0
    metrics = tuple(
        _token_metric(name, values.get(name), noise.get(name), n, found.reason, level) for name in names
    )
    return Divergence(found, twin, metrics)


def bucket_chart(report: AgreementReport) -> list[dict[str, Any]]:
    """Mean KL by FP16's confidence, as the chart builder wants it; empty without a summary."""
    if report.summary is None:
        return []
    return [
        {
            "lo": b.low,
            "hi": b.high,
            "n": b.tokens,
            "mean": b.kl.value,
            "interval": list(b.kl.interval.bounds) if b.kl.interval else None,
        }
        for b in report.summary.buckets
        if b.kl
    ]


def _tokens(payload: Payload) -> QuestionTokens:
    return QuestionTokens(
        *(np.asarray(payload[name], np.float64) for name in QuestionTokens.__dataclass_fields__)
    )


def _part(side: Mapping[str, Payload], part: Part, level: float) -> Estimate | None:
    return mean_kl(
        [_tokens(p).select([bool(s) is part.flag for s in p[part.key]]) for p in side.values()], level
    )


def _estimates(summary: AgreementSummary | None) -> dict[str, Estimate | None]:
    """Metric id to estimate; empty without a summary."""
    if summary is None:
        return {}
    return {
        "kld": summary.kl_mean,
        "kld_median": summary.kl_median,
        "kld_p90": summary.kl_p90,
        "kld_p99": summary.kl_p99,
        "top1": summary.top1,
        "ppl_ratio": summary.ppl_ratio,
    }


def _token_metric(
    name: str, value: Estimate | None, noise: Estimate | None, n: int, reason: str, level: float
) -> Metric:
    text = load_catalog().metrics[name]
    return Metric(
        id=name,
        label=text.label,
        unit=text.unit,
        fp16=None,
        exl2=value.value if value else None,
        interval=value.interval.bounds if value and value.interval else None,
        level=level,
        n=n,
        floor=noise.value if noise else None,
        state=None if value else State.NOT_MEASURED,
        note="" if value else reason or "Too few tokens of this kind.",
    )
