"""What a probe found by asking again with one thing exchanged: rungs 7 to 11 of the isolation ladder."""

from __future__ import annotations

from dataclasses import dataclass

KL, ORDER = "kl", "order"
"""What drift is measured by: probabilities of words, or the order in which passages are found."""


@dataclass(frozen=True)
class PartDamage:
    """What putting FP16 weights back into one part of the EXL2 model does (rung 8).

    Attributes:
        id: `all`, `head`, `attn 0-5`, `mlp 0-5`.
        label: the same in words.
        left: drift from FP16 with the part back, in the measure of its `Damage`; small means that the part caused it.
        restored: lost questions that are answered well again; None when none were asked.
        asked: lost questions that were asked again.
    """

    id: str
    label: str
    left: float
    restored: int | None
    asked: int


@dataclass(frozen=True)
class AnswersBack:
    """What lost questions show that are asked again with one thing exchanged: engine (rung 7), cache (9), sampler (10).

    Attributes:
        restored: lost questions that are answered well again.
        asked: lost questions that were asked again, at least one.
    """

    restored: int
    asked: int

    @property
    def share(self) -> float:
        """Share of the lost answers that come back."""
        return self.restored / self.asked


@dataclass(frozen=True)
class Damage:
    """The localization of a failure.

    Attributes:
        drift: of the EXL2 weights as they are, in `measure`; in the reference engine where parts were put back in that.
        questions: whose answers it was measured on.
        parts: what each part put back leaves of it; empty where none was.
        cache: lost questions with a cache that rounds nothing; None where it rounds nothing, or cannot be exchanged.
        engine: lost questions asked of the same EXL2 weights in the reference engine; None where these were not asked.
        engine_left_out: why they were not, where they should have been.
        sampler: lost questions with neutral sampling settings; None where EXL2 was asked with these anyway.
        sampling: EXL2's own sampling settings in words, where `sampler` is given.
        parts_left_out: why no weights were put back, where they could have been.
        measure: `KL`: mean KL(FP16‖EXL2) of the words, nats; `ORDER`: mean 1 − Spearman's ρ of the passages' scores.
    """

    drift: float
    questions: int
    parts: tuple[PartDamage, ...]
    cache: AnswersBack | None = None
    engine: AnswersBack | None = None
    engine_left_out: str = ""
    sampler: AnswersBack | None = None
    sampling: str = ""
    parts_left_out: str = ""
    measure: str = KL

    def share(self, part: PartDamage) -> float:
        """Share of the drift that goes away with the part back; below 0 where it grows."""
        return 1 - part.left / self.drift if self.drift > 0 else 0.0

    @property
    def everything(self) -> PartDamage | None:
        """All weights put back; None where that was not measured."""
        return next((p for p in self.parts if p.id == "all"), None)

    @property
    def worst(self) -> PartDamage | None:
        """The single part that causes most."""
        single = [p for p in self.parts if p.id != "all"]
        return min(single, key=lambda p: p.left, default=None)


@dataclass(frozen=True)
class HeldAnswers:
    """Failed questions of FP16 that were `asked` again in one way, at least one (rung 11).

    `formed`: answered now in the form that is asked for; `right`: of these, rightly.
    """

    right: int
    formed: int
    asked: int

    @property
    def share(self) -> float:
        """Share of the failed questions that are answered rightly now."""
        return self.right / self.asked


@dataclass(frozen=True)
class Held:
    """FP16 held to the form of its answers, where it misses the gate itself (rung 11); None where it was not.

    `lock`: by the schema or the citation grammar; `frame`: by the best of the stricter prompt frames. Where that should
    have been asked and was not, `lock_left_out` and `frame_left_out` say why.
    """

    lock: HeldAnswers | None = None
    frame: HeldAnswers | None = None
    lock_left_out: str = ""
    frame_left_out: str = ""
