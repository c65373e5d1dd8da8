"""What a trial showed, and which change is recommended. `reading.py` makes trials from what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.finding import DOCTOR_SIDE
from wfgy_triage.remedies.effect import effect_json, primary_json, rule_json
from wfgy_triage.remedies.told import TrialFacts
from wfgy_triage.result import Effect, Metric, State

Status = Literal[
    "verified",
    "better",
    "promising",
    "loads",
    "unclear",
    "worse",
    "broke",
    "hopeless",
    "skipped",
    "unfinished",
]
WORDS: Mapping[Status, str] = {
    "verified": "Verified: the re-check passed",
    "better": "Better, measured in the same way; the re-check did not pass",
    "promising": "Meets the gate on these questions; not verified",
    "loads": "The model can be loaded with it; the re-check did not pass",
    "unclear": "No clear effect",
    "worse": "Worse",
    "broke": "Better on this metric, but it breaks another",
    "hopeless": "Given up early: it does not bring the lost answers back",
    "skipped": "Not tried",
    "unfinished": "Not finished",
}


@dataclass(frozen=True)
class Trial:
    """What a trial showed.

    One that was given up early or stopped has no values: it asked the lost questions first, so what it would show is
    of a picked sample. `primary` is the metric that failed, with the change in place; `rules` are all that decide.
    Where several failed, `primary` and `effect` are of one that got better, else of the first; `effects` has all of
    them by id. `before` are the metrics that decide as they were without the change, by id. `baseline` is what the
    change does to FP16 on the same metric, where it was tried on both sides.
    """

    facts: TrialFacts
    status: Status
    state: State | None = None
    primary: Metric | None = None
    effect: Effect | None = None
    guards: tuple[Effect, ...] = ()
    questions: int = 0
    rules: tuple[Metric, ...] = ()
    effects: Mapping[str, Effect] = field(default_factory=dict)
    before: Mapping[str, Metric] = field(default_factory=dict)
    baseline: Effect | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as the result carries it."""
        f = self.facts
        return {
            "id": f.id,
            "remedy": f.remedy,
            "label": f.label,
            "patch": dict(f.patch),
            "status": self.status,
            "words": WORDS[self.status],
            "state": str(self.state) if self.state else None,
            "reason": f.reason,
            "note": f.note,
            "primary": primary_json(self.primary),
            "effect": effect_json(self.effect),
            "baseline": effect_json(self.baseline),
            "guards": [effect_json(g) for g in self.guards],
            "rules": [rule_json(m, self.before.get(m.id), self.effects.get(m.id)) for m in self.rules],
            "questions": self.questions,
            "lost": f.lost,
            "restored": f.restored,
            "seconds": f.seconds,
        }


def recommend(trials: Sequence[Trial], before: State) -> dict[str, Any] | None:
    """The recommendation of a run: the verified change, else the best honest improvement, else that none helped.

    Returns:
        The object of the result without its `renders`; None where nothing was tried.
    """
    if not trials:
        return None
    chosen = recommended(trials)
    facts = chosen.facts if chosen else None
    return {
        "remedy": facts.remedy if facts else None,
        "candidate": facts.id if facts else None,
        "label": facts.label if facts else "",
        "patch": dict(facts.patch) if facts else {},
        "state_before": str(before),
        "state_after": str(chosen.state) if chosen and chosen.state else None,
        "verified": chosen is not None and chosen.status == "verified",
        "summary": " ".join((_summary(chosen, trials), *_told_of_fp16(chosen))),
        "seconds": round(sum(t.facts.seconds for t in trials), 1),
        "trials": [t.to_json() for t in trials],
    }


def _told_of_fp16(chosen: Trial | None) -> tuple[str, ...]:
    """What a change does to FP16, where it was tried on both sides: whether it is the task that it makes easier."""
    found = chosen.baseline if chosen is not None else None
    if found is None:
        return ()
    if found.better is None:
        return ("On FP16 it has no clear effect.",)
    gains = "FP16 gains by it as well, so it makes the task easier and mends nothing that quantization broke."
    return (gains if found.better else "FP16 gets worse with it.",)


def recommended(trials: Sequence[Trial]) -> Trial | None:
    """The trial whose change a run recommends; None where nothing helped measurably."""
    return next((t for t in trials if t.status == "verified"), None) or _best(trials)


def _best(trials: Sequence[Trial]) -> Trial | None:
    for status in ("better", "promising"):
        found = [t for t in trials if t.status == status and t.effect is not None]
        if found:
            return max(found, key=_worth)
    return next((t for t in trials if t.status == "loads"), None)


def _worth(trial: Trial) -> tuple[int, float]:
    """How many of the failed rules hold with a change; and how far the one that is shown moved."""
    held = sum(m.id in trial.effects and m.state is State.PASS for m in trial.rules)
    return held, abs(trial.effect.difference or 0.0) if trial.effect else 0.0


def _why_only_promising(trial: Trial) -> str:
    """What keeps a change that meets the gate from being verified: too few questions, or some without a judgement."""
    if any(m.state is State.INCONCLUSIVE and m.more_questions is None for m in trial.rules):
        return "these questions meet the gate with it, but that is not verified."
    return "these questions meet the gate with it, but they are too few to verify that."


def _held(trial: Trial) -> str:
    """Which of the rules that a change was tried for hold with it, which still fail, and what is not known with it."""
    titles = load_catalog().metrics

    def named(state: State, among: Sequence[str]) -> str:
        return ", ".join(titles[m.id].label for m in trial.rules if m.state is state and m.id in among)

    every = [m.id for m in trial.rules]
    failing, unknown = named(State.FAIL, every), named(State.NOT_MEASURED, every)
    return " ".join(
        (
            f"What it was tried for holds: {named(State.PASS, trial.facts.rules)}.",
            *((f"Still failing: {failing}.",) if failing else ()),
            *((f"Not measured with it: {unknown}.",) if unknown else ()),
        )
    )


def _summary(chosen: Trial | None, trials: Sequence[Trial]) -> str:
    tried = [t for t in trials if t.status != "skipped"]
    if chosen is not None and chosen.status == "verified":
        if chosen.state is State.PASS:
            return f"{chosen.facts.label}: tried on these models, and the re-check passed."
        return f"{chosen.facts.label}: tried on these models. {_held(chosen)}"
    if chosen is not None and chosen.facts.loads:
        after = f"The re-check says {chosen.state}." if chosen.state else ""
        return f"{chosen.facts.label}: with it the model can be loaded. {after} {chosen.facts.reason}".strip()
    if chosen is not None and chosen.facts.deployed == DOCTOR_SIDE:
        return f"{chosen.facts.label}: fewer checks fail with it, but not all pass. {chosen.facts.reason}"
    if chosen is not None:
        found = (
            "measurably better on the same questions, but the re-check did not pass."
            if chosen.status == "better"
            else _why_only_promising(chosen)
        )
        return f"{chosen.facts.label}: {found} {chosen.facts.reason}".strip()
    if not tried:
        return "No change could be tried on this pair."
    none = (
        "The one change that was tried did not help measurably."
        if len(tried) == 1
        else f"None of the {len(tried)} changes that were tried helped measurably."
    )
    return " ".join((none, *_closest(trials)))


def closest(trials: Sequence[Trial]) -> Trial | None:
    """Of what had no clear effect: that which brought back most of the lost answers, and more than half of them.

    Of equals the one with most right answers over all questions of the run, one that could not be judged not counted
    among them; then the cheaper.
    """
    back = [t for t in trials if t.status == "unclear" and 2 * t.facts.restored > t.facts.lost]
    return max(back, key=lambda t: (t.facts.restored / t.facts.lost, _right(t.primary)), default=None)


def _right(after: Metric | None) -> float:
    """The deciding metric with a change, summed over the questions that could be judged; larger is better."""
    if after is None or after.exl2 is None:
        return float("-inf")
    total = after.exl2 * after.n
    return total if load_catalog().metrics[after.id].direction == "higher" else -total


def _closest(trials: Sequence[Trial]) -> tuple[str, ...]:
    """What to know of it: too few questions were asked to tell it from chance."""
    found = closest(trials)
    if found is None:
        return ()
    return (
        f"Closest was “{found.facts.label}”. {found.facts.came_back}, which so few questions do not tell from"
        " chance. A run with more questions would.",
    )
