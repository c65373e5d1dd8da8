"""From stored samples of the chain probe to metrics, verdict and cause. A pure function of them.

The chain is the unit of every interval. What decides is the loss in right steps, FP16 minus EXL2, chain by chain. A
gate on a loss says nothing where FP16 has nothing to lose, so FP16's own chains are held against the gate on stable
steps; where they miss it, a small loss is no PASS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import diagnose_mean
from wfgy_triage.evidence import MeanEvidence
from wfgy_triage.measure.chain import parts
from wfgy_triage.measure.statistics import Interval, mean_interval
from wfgy_triage.measure.survival import Lifetime, Survival, kaplan_meier, restricted_median
from wfgy_triage.probes import chain_samples as read
from wfgy_triage.probes.base import Evaluation
from wfgy_triage.probes.chain_charts import chart_data
from wfgy_triage.probes.chart_data import damage_chart
from wfgy_triage.probes.damage import damage
from wfgy_triage.probes.lost import lost_answers
from wfgy_triage.probes.paired import (
    Numbers,
    PerSide,
    Sides,
    distance_metric,
    gate_of,
    judge_numbers,
    literal_rule,
    mean_metric,
    missing_metric,
    rate_metric,
)
from wfgy_triage.probes.sampling import with_sampling
from wfgy_triage.probes.served import again_shift, with_server_facts
from wfgy_triage.probes.token_metrics import Divergence, divergence
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import Judgement, judge_interval, not_measured

PRIMARY, STABLE = "chain_step_accuracy", "chain_stable_steps"
PART_METRICS = ("chain_accuracy_early", "chain_accuracy_middle", "chain_accuracy_late")
"""One for each of `measure.chain.RANGES`."""
CERTAIN_LEVEL = 0.99
"""Level of the interval that has to exclude zero before a cause is called certain."""
LOCALIZED_CHAINS = 4
"""Chains that rung 8 continues again with FP16 weights put back; every one costs as much as a long answer."""


def evaluate_chains(
    samples: Sequence[Sample], checks: Sequence[Check], level: float, horizon: int
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    sides = Sides.of(samples)
    tokens = divergence(sides.pair, sides.pair_floor, level)
    accuracy = read.numbers(sides, read.accuracy())
    stable, baseline = _stable_metric(sides, horizon, level)
    primary = _primary(sides, accuracy, baseline, level)
    metrics = (
        primary,
        *_part_metrics(sides, horizon, level),
        stable,
        _apart_metric(sides, horizon, level),
        mean_metric("chain_consistency", read.numbers(sides, lambda a: a["consistent"]), level),
        mean_metric("chain_repetition", read.numbers(sides, lambda a: a["repeats"]), level),
        rate_metric("truncated_rate", sides.each(lambda a: bool(a["truncated"])), level),
        *_distance_metrics(sides, level),
        *tokens.metrics,
        *_trend_metrics(sides, horizon, level),
    )
    evidence = chain_evidence(primary, baseline.state, accuracy, tokens)
    evidence = replace(evidence, again=again_shift(samples, read.accuracy()))
    gone = lost_answers(lost_chains(samples, level, horizon), read.useful)
    found = damage(samples, sides.pair, gone)
    return Evaluation(
        state=primary.state or State.NOT_MEASURED,
        headline=_headline(primary, stable, horizon),
        page_rule=literal_rule(primary),
        metrics=with_server_facts(metrics, samples, level),
        diagnosis=diagnose_mean(evidence, with_sampling(checks, samples), found),
        charts=chart_data(sides, tokens, level, horizon) | damage_chart(found),
    )


def chain_evidence(
    primary: Metric, baseline: State, accuracy: Numbers, tokens: Divergence | None
) -> MeanEvidence:
    """Evidence for the ladder: the loss in right steps, chain by chain."""
    losses = _losses(accuracy)
    low, high = primary.interval or (math.nan, math.nan)
    certain = mean_interval(losses, CERTAIN_LEVEL).bounds if len(losses) > 1 else None
    return MeanEvidence(
        state=primary.state or State.NOT_MEASURED,
        baseline_state=baseline,
        questions=len(losses),
        loss=float(np.mean(losses)) if losses else None,
        interval=(-high, -low) if primary.interval else None,
        certain_interval=certain,
        floor=primary.floor,
        kld=tokens.kld if tokens else None,
        kld_floor=tokens.kld_floor if tokens else None,
    )


def lost_chains(samples: Sequence[Sample], level: float, horizon: int) -> tuple[str, ...]:
    """A few chains that FP16 gets right to the end and EXL2 does not; empty unless EXL2 loses more than noise does.

    The shortest ones in tokens: each is continued again several times.
    """
    sides = Sides.of(samples)
    accuracy = read.numbers(sides, read.accuracy())
    _, baseline = _stable_metric(sides, horizon, level)
    primary = _primary(sides, accuracy, baseline, level)
    evidence = chain_evidence(primary, baseline.state, accuracy, None)
    if not replace(evidence, again=again_shift(samples, read.accuracy())).evidence().above_noise:
        return ()
    lost = [q for q in sides.both if read.useful(sides.fp16[q]) and not read.useful(sides.exl2[q])]
    return tuple(sorted(lost, key=lambda q: (sides.fp16[q]["tokens"], q))[:LOCALIZED_CHAINS])


def _losses(accuracy: Numbers) -> list[float]:
    return [accuracy.fp16[q] - accuracy.exl2[q] for q in accuracy.both]


def _primary(sides: Sides, accuracy: Numbers, baseline: Judgement, level: float) -> Metric:
    metric = mean_metric(PRIMARY, accuracy, level, primary=True)
    gate = gate_of(PRIMARY)
    if gate is None:
        return metric
    losses = _losses(accuracy)
    judged = judge_numbers(losses, gate, level)
    state, note = judged.state, judged.note
    unknown = len(sides.both) - len(losses)
    if unknown and state in (State.PASS, State.FAIL):
        extremes = {judge_numbers([*losses, *[loss] * unknown], gate, level).state for loss in (-1.0, 1.0)}
        state = state if extremes == {state} else State.INCONCLUSIVE
    if unknown:
        note = f"{unknown} of {len(sides.both)} chains were cut off before any error; they count as either outcome."
    if state is State.PASS and baseline.state is State.FAIL:
        state = State.INCONCLUSIVE
        note = "FP16 leaves the path early itself, so a small loss against it says little. Use easier chains."
    more = judged.more_questions if state is State.INCONCLUSIVE and not unknown else None
    return replace(metric, state=state, note=note, more_questions=more)


def _part_metrics(sides: Sides, horizon: int, level: float) -> list[Metric]:
    ranges = parts(horizon)
    return [
        mean_metric(name, read.numbers(sides, read.accuracy(first, last)), level)
        for name, (first, last) in zip(PART_METRICS, ranges, strict=False)
    ]


def _stable_metric(sides: Sides, horizon: int, level: float) -> tuple[Metric, Judgement]:
    """Steps until the first error, and how FP16 alone stands against the same gate."""
    both = sides.both
    of_fp16, of_exl2 = ([read.until_error(side[q]) for q in both] for side in (sides.fp16, sides.exl2))
    of_twin = [read.until_error(answer) for answer in sides.floor.values()]
    found, baseline = (_judged_median(lives, horizon, level) for lives in (of_exl2, of_fp16))
    text, gate = load_catalog().metrics[STABLE], gate_of(STABLE)
    fp16, exl2, twin = (_median(lives, horizon, level) for lives in (of_fp16, of_exl2, of_twin))
    interval = found.interval.bounds if found.interval else None
    open_end = (
        ""
        if exl2 is None or exl2 < horizon
        else f"{horizon} means: not within the {horizon} steps asked for."
    )
    metric = Metric(
        id=STABLE,
        label=text.label,
        unit=text.unit,
        fp16=fp16,
        exl2=exl2,
        interval=interval,
        gated_interval=interval,
        level=level,
        n=len(both),
        floor=twin,
        gate=gate.gate() if gate else None,
        state=found.state,
        note=" ".join(filter(None, (open_end, found.note))),
    )
    return metric, baseline


def _judged_median(lives: Sequence[Lifetime], horizon: int, level: float) -> Judgement:
    curve, gate = kaplan_meier(lives, horizon, level), gate_of(STABLE)
    if curve is None or gate is None:
        return not_measured("No chain was continued on both sides.")
    _, bounds = restricted_median(curve, horizon)
    return judge_interval(Interval(*bounds, level, "Kaplan-Meier, log-log"), curve.chains, gate.gate())


def _median(lives: Sequence[Lifetime], horizon: int, level: float) -> float | None:
    curve = kaplan_meier(lives, horizon, level)
    return restricted_median(curve, horizon)[0] if curve else None


def _apart_metric(sides: Sides, horizon: int, level: float) -> Metric:
    """How long EXL2 says the same as FP16, beside how long the FP16 twin does."""
    name = "chain_divergence_step"
    curve = kaplan_meier(read.until_apart(sides.fp16, sides.exl2), horizon, level)
    if curve is None:
        return missing_metric(name, "No chain was continued on both sides.", level)
    twin = _median(read.until_apart(sides.fp16, sides.floor), horizon, level)
    value, bounds = restricted_median(curve, horizon)
    text = load_catalog().metrics[name]
    return Metric(
        id=name,
        label=text.label,
        unit=text.unit,
        fp16=None,
        exl2=value,
        interval=bounds,
        level=level,
        n=curve.chains,
        floor=twin,
        note=_apart_note(curve, horizon),
    )


def _apart_note(curve: Survival, horizon: int) -> str:
    together = curve.chains - curve.events
    return f"{together} of {curve.chains} chains state the same as FP16 in all {horizon} steps."


def _distance_metrics(sides: Sides, level: float) -> list[Metric]:
    names = {"chain_ds": read.mean_distance, "e_resonance_slope": read.resonance_slope}
    reason = read.missing_distances(sides)
    if reason:
        return [missing_metric(name, reason, level) for name in names]
    return [mean_metric(name, read.numbers(sides, reading), level) for name, reading in names.items()]


def _trend_metrics(sides: Sides, horizon: int, level: float) -> list[Metric]:
    slopes, floor = (read.token_slopes(side, "kl", horizon) for side in (sides.pair, sides.pair_floor))
    entropies = read.settled(
        PerSide(
            {q: read.token_mean("ref_entropy")(p) for q, p in sides.pair.items()},
            {q: read.token_mean("cand_entropy")(p) for q, p in sides.pair.items()},
            {q: read.token_mean("cand_entropy")(p) for q, p in sides.pair_floor.items()},
        )
    )
    few = "No chain was compared over enough steps."
    return [
        distance_metric("chain_kl_slope", slopes, floor, level)
        if slopes
        else missing_metric("chain_kl_slope", few, level),
        mean_metric("chain_entropy", entropies, level)
        if entropies.both
        else missing_metric("chain_entropy", few, level),
    ]


def _headline(primary: Metric, stable: Metric, horizon: int) -> str:
    """One sentence with the shares; the reason or the next step where there is no clear verdict."""
    if primary.state is State.NOT_MEASURED or primary.exl2 is None or primary.fp16 is None:
        return f"Not measured: {primary.note}"
    text = (
        f"Over {horizon} steps EXL2 gets {100 * primary.exl2:.0f} % of the steps right, FP16"
        f" {100 * primary.fp16:.0f} %."
    )
    if stable.exl2 is not None and stable.exl2 < horizon:
        text += f" Half of EXL2's chains go wrong within {stable.exl2 + 1:.0f} steps."
    if primary.state is State.INCONCLUSIVE:
        return f"{text} No clear verdict: {primary.note[:1].lower()}{primary.note[1:]}"
    return text
