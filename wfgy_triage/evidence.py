"""What a probe found, in the form in which the isolation ladder reads it: numbers, no text that a model wrote."""

from __future__ import annotations

from dataclasses import dataclass

from wfgy_triage.result import State

SIGNIFICANT = 0.05
CERTAIN = 0.01
ROUNDING = 1e-9
"""An interval that ends here or below ends at zero: the rest is what adding floats leaves."""


@dataclass(frozen=True)
class Evidence:
    """What a probe found on its primary metric, whatever its kind.

    Attributes:
        state: verdict of the EXL2 side against the gate.
        baseline_state: verdict of the FP16 side against the same gate; NOT MEASURED where a gate on the loss says
            nothing about FP16 alone.
        measured: whether both sides answered at least one question.
        worse: whether the EXL2 side is the worse one on this sample.
        above_noise: whether it is worse beyond chance, and by more than FP16 differs from itself, where that is known.
        floor_known: whether it was measured how much the same model differs from itself.
        certain: whether chance is all but excluded (p at most 0.01, or an interval of that level) and the floor known.
        noise_detail: the numbers behind it, in one sentence.
        kld: mean KL(FP16‖EXL2) in nats; None when not measured.
        kld_floor: the same between FP16 and its twin.
        more_questions: how many further ones would tell the loss from chance, if it stays; None when not known.
        elsewhere: where the rule that failed does not show the loss beyond noise: why another rule is looked at, which,
            and its numbers.
        moved: by how much answers moved on average, toward the reference answer or away from it, where the gate is on
            that; None elsewhere.
    """

    state: State
    baseline_state: State
    measured: bool
    worse: bool
    above_noise: bool
    floor_known: bool
    certain: bool
    noise_detail: str
    kld: float | None
    kld_floor: float | None
    more_questions: int | None = None
    elsewhere: str = ""
    moved: float | None = None

    @property
    def kld_above_floor(self) -> bool:
        """Whether the tokens themselves say that the sides differ."""
        return self.kld is not None and self.kld_floor is not None and self.kld > self.kld_floor


@dataclass(frozen=True)
class RateEvidence:
    """What a paired pass/fail probe found on its primary metric.

    Attributes:
        state: verdict of the EXL2 side against the gate.
        baseline_state: verdict of the FP16 side against the same gate.
        pairs: questions answered on both sides.
        lost: questions where FP16 gives a usable answer and EXL2 does not.
        won: the reverse.
        p_value: exact McNemar p-value of lost against won, two-sided; None without pairs.
        interval: interval of the paired difference in the rate, EXL2 minus FP16, at 95 %, or wider for several rules;
            None without pairs.
        floor_flips: questions whose outcome differs between the FP16 side and its twin; None when not measured.
        kld: mean KL(FP16||EXL2) in nats; None when not measured.
        kld_floor: the same between FP16 and its twin.
        again_flips: questions whose outcome differs between two times that EXL2 was asked; None where once.
        rules: how many rules are looked at together; chance has to be excluded for that many.
        floor_pairs: questions that the twin answered, of which these flips are; None: as many as `pairs`.
        again_pairs: the same of EXL2's second answers.
    """

    state: State
    baseline_state: State
    pairs: int
    lost: int
    won: int
    p_value: float | None
    interval: tuple[float, float] | None
    floor_flips: int | None
    kld: float | None
    kld_floor: float | None
    again_flips: int | None = None
    rules: int = 1
    floor_pairs: int | None = None
    again_pairs: int | None = None

    @property
    def flips(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """How many of how many questions change in the same model: FP16 and its twin, EXL2 asked twice."""
        found = ((self.floor_flips, self.floor_pairs), (self.again_flips, self.again_pairs))
        fp16, exl2 = (None if n is None else (n, self.pairs if of is None else of) for n, of in found)
        return fp16, exl2

    def evidence(self) -> Evidence:
        """The form that the ladder reads."""
        real = above_noise(self)
        known = self.floor_flips is not None or self.again_flips is not None
        return Evidence(
            state=self.state,
            baseline_state=self.baseline_state,
            measured=self.p_value is not None,
            worse=self.lost > self.won,
            above_noise=real,
            floor_known=known,
            certain=known and self.p_value is not None and self.p_value <= CERTAIN / self.rules,
            noise_detail=_rate_words(self, real),
            kld=self.kld,
            kld_floor=self.kld_floor,
        )


def above_noise(e: RateEvidence) -> bool:
    """Whether EXL2 loses more than chance explains, and changes more than FP16 does against itself.

    How much more is told by shares: the twin, and EXL2 asked again, may have answered the first questions alone. The
    changes of those questions only would be fewer numbers, and miss more.

    Fewer than six one-sided changes can never reach p = 0.05 in the exact test. Where EXL2 is outside the gate, the
    paired interval lies below zero and every token says the same (divergence above its floor), that is enough.
    """
    if e.p_value is None or e.lost <= e.won:
        return False
    changes = e.lost + e.won
    # Shares multiplied out, so that no rounding can decide.
    if any(changes * found[1] <= found[0] * e.pairs for found in e.flips if found is not None):
        return False
    if e.p_value <= SIGNIFICANT / e.rules:
        return True
    tokens_agree = e.kld is not None and e.kld_floor is not None and e.kld > e.kld_floor
    return e.state is State.FAIL and e.interval is not None and e.interval[1] < 0 and tokens_agree


def _rate_words(e: RateEvidence, real: bool) -> str:
    if e.p_value is None:
        return ""
    fp16, exl2 = e.flips
    flips = (
        "how often FP16 changes against itself was not measured"
        if fp16 is None
        else f"FP16 against itself changes {fp16[0]} of {fp16[1]}"
    )
    if exl2 is not None:
        flips += f", EXL2 against itself {exl2[0]} of {exl2[1]}"
    detail = (
        f"Of {e.pairs} questions EXL2 loses {e.lost} usable answers and wins {e.won} against FP16 "
        f"(exact McNemar p = {e.p_value:.2g}); {flips}."
    )
    if e.p_value > SIGNIFICANT / e.rules and real and e.interval is not None:
        low, high = (100 * bound for bound in e.interval)
        detail += (
            f" Few changes for that test alone, but the paired difference ({low:.0f} to {high:.0f} points) lies below "
            "zero and the word-by-word comparison says the same."
        )
    return detail


@dataclass(frozen=True)
class MeanEvidence:
    """What a probe found whose primary metric is a mean over questions, larger being better.

    Attributes:
        state: verdict on the primary metric.
        baseline_state: verdict of the FP16 side against the same gate; NOT MEASURED for a gate on the loss.
        questions: questions measured on both sides.
        loss: mean of FP16 − EXL2 over questions; None without any.
        interval: 95 % interval of the loss; None under two questions.
        certain_interval: the same at 99 %.
        floor: by how much FP16 and its twin differ, |mean difference| or the larger mean |difference| of the probe;
            None when not measured.
        kld: mean KL(FP16‖EXL2) in nats; None when not measured.
        kld_floor: the same between FP16 and its twin.
        again: the same between two times that EXL2 was asked; None where it was asked once.
        more_questions: how many further ones would tell the loss from chance, if it stays; None when not known.
    """

    state: State
    baseline_state: State
    questions: int
    loss: float | None
    interval: tuple[float, float] | None
    certain_interval: tuple[float, float] | None
    floor: float | None
    kld: float | None
    kld_floor: float | None
    again: float | None = None
    more_questions: int | None = None

    def evidence(self) -> Evidence:
        """The form that the ladder reads."""
        loss = self.loss or 0.0
        beyond_chance = self.interval is not None and self.interval[0] > ROUNDING
        floors = [f for f in (self.floor, self.again) if f is not None]
        beyond_floor = all(loss > f for f in floors)
        spread = "" if self.interval is None else f" ({self.interval[0]:.3g} to {self.interval[1]:.3g})"
        twin = (
            "how much FP16 differs from itself was not measured"
            if self.floor is None
            else f"FP16 against itself differs by {self.floor:.3g}"
        )
        if self.again is not None:
            twin += f", EXL2 against itself by {self.again:.3g}"
        return Evidence(
            state=self.state,
            baseline_state=self.baseline_state,
            measured=self.loss is not None,
            worse=loss > 0,
            above_noise=beyond_chance and beyond_floor,
            floor_known=bool(floors),
            certain=bool(floors)
            and self.certain_interval is not None
            and self.certain_interval[0] > ROUNDING
            and beyond_floor,
            noise_detail=f"Over {self.questions} questions EXL2 loses {loss:.3g} on average{spread}; {twin}.",
            kld=self.kld,
            kld_floor=self.kld_floor,
            more_questions=self.more_questions if beyond_floor else None,
        )
