"""What every remedy is: candidates for a case, and for each candidate the one thing that changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from wfgy_triage.doctor.finding import Finding
from wfgy_triage.engines.base import Engine
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.subject import Subject
from wfgy_triage.result import Diagnosis


class NotApplicableError(Exception):
    """A remedy cannot be tried on this case; the message is the reason, for people."""


@dataclass(frozen=True)
class Candidate:
    """One change to try.

    Attributes:
        id: unique within a run and the same in every pass, at most 48 characters: `raise_bpw 4.2`.
        remedy: id of the fix map.
        label: the change in a few words.
        patch: the change in the keys of `fixmap/targets.yaml`.
        seconds: it takes at least about so long before its first question can be asked.
    """

    id: str
    remedy: str
    label: str
    patch: Mapping[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True)
class Change:
    """EXL2 with a change in place.

    Attributes:
        engine: who answers; the run's own EXL2 engine where only the question changes.
        restate: how an item is asked now. Question, paraphrase and seed stay, so answers can be paired.
        note: what has to be said of how the change was made (fewer calibration rows, say).
    """

    engine: Engine
    restate: Callable[[Item], Item] = lambda item: item
    note: str = ""


@dataclass(frozen=True)
class Shop:
    """How a trial gets at other models than the loaded ones.

    Attributes:
        open_exl2: loads another EXL2 folder beside the loaded pair, or the pair's own with other engine settings
            (`attention="causal"`); the caller closes it.
        examine: the doctor's findings on the pair with this folder as its EXL2 side, models loaded for it.
        folder: where re-quantized and patched folders are kept between runs.
        statistics: where the quantizer keeps its statistics of FP16 models; None keeps none.
        siblings: EXL2 folders that are registered for the same FP16 folder, without the pair's own.
    """

    open_exl2: Callable[..., Engine]
    examine: Callable[[Path], Sequence[Finding]]
    folder: Path
    statistics: Path | None = None
    siblings: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Case:
    """A failed run, as remedies see it.

    Attributes:
        context: its engines, store and settings.
        subject: what its probe asked.
        pair: the folders.
        diagnosis: the named cause.
        shop: other models.
        loaded: whether the pair could be loaded; if not, only FP16 is there, and nothing was asked.
        both_sides: whether changes are put in place on FP16 too, which fails as well: EXL2 with a change is then held
            against FP16 with it.
    """

    context: ProbeContext
    subject: Subject
    pair: Pair
    diagnosis: Diagnosis
    shop: Shop
    loaded: bool = True
    both_sides: bool = False

    def on_fp16(self) -> Case:
        """The same with FP16 in EXL2's place, for a change of how questions are asked or answered."""
        return replace(self, context=replace(self.context, exl2=self.context.fp16))


class Remedy(Protocol):
    """One kind of change."""

    id: str

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """The changes to try, the cheapest first.

        Raises:
            NotApplicableError: this remedy cannot be tried here; the message says why.
        """
        ...

    def apply(self, case: Case, candidate: Candidate) -> AbstractContextManager[Change]:
        """Put the change in place for the time of a trial.

        Raises:
            TriageError: it cannot be done (disk full, a file that cannot be read); the trial is given up.
        """
        ...


@runtime_checkable
class FolderRemedy(Remedy, Protocol):
    """A change of files in the EXL2 folder, which can also be tried on a pair that asks no questions."""

    def patched(self, case: Case, candidate: Candidate) -> AbstractContextManager[Path]:
        """A folder like the pair's EXL2 folder with the change in it."""
        ...
