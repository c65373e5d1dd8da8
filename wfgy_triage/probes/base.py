"""What every probe is: a plan over questions, a measuring pass that can be resumed, a pure evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wfgy_triage.doctor.finding import Finding
from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.suggested import SidesSampling
from wfgy_triage.probes.reuse import Reuse
from wfgy_triage.result import Check, Diagnosis, Metric, State
from wfgy_triage.store.records import Sample, SampleKey

if TYPE_CHECKING:
    from wfgy_triage.probes.subject import Subject

STANDARD = "standard"
"""The level of the built-in questions that is asked without the option `level`."""


@dataclass(frozen=True)
class ProbeSettings:
    """What a run may vary.

    Attributes:
        questions: how many of the workload.
        seed: base seed of every request.
        level: two-sided level of the intervals.
        options: what only some probes know.
        workload: file of a user's question set; None for the built-in one.
    """

    questions: int = 20
    seed: int = 0
    level: float = 0.95
    options: Mapping[str, Any] = field(default_factory=dict)
    workload: Path | None = None

    @property
    def difficulty(self) -> str:
        """How hard the questions are: the option `level` of the probes that have it; nothing to do with intervals."""
        return str(self.options.get("level") or STANDARD)


@dataclass(frozen=True)
class ProbeContext:
    """What a probe works with while it measures.

    Attributes:
        fp16: the baseline engine (reproducible mode).
        exl2: the EXL2 engine (reproducible mode).
        open_floor: opens the FP16 twin used for the noise floor (other compute dtype or batch shape); gives an engine
            that can do nothing where there is no room for it.
        settings: the user's choices.
        done: keys already stored by an earlier, interrupted pass; they are skipped.
        stored: everything stored so far, `save`d samples of this pass included.
        save: stores finished samples; returns after they are committed.
        progress: `(stage, label, done, total)` for the page.
        should_stop: true once the user asked to stop.
        cache: folder for what may be kept between runs; None keeps nothing.
        models: hash of weights and tokenizer by side (`fp16`, `exl2`), for naming what is kept.
        findings: what the doctor found on the folders and the loaded models before this run.
        reuse: FP16 answers of earlier runs; None measures everything.
        ahead: measure only what later runs may take from this one (`reuse.REUSED`).
        open_decoded: opens the EXL2 side's weights in the reference engine, for whoever closes it; None where nothing
            can be loaded.
        suggested: reads the sampling settings that the folders suggest; None where there are no folders to read.
    """

    fp16: Engine
    exl2: Engine
    open_floor: Callable[[], Engine]
    settings: ProbeSettings
    done: frozenset[SampleKey]
    stored: Callable[[], Sequence[Sample]]
    save: Callable[[Sequence[Sample]], None]
    progress: Callable[[str, str, int, int], None]
    should_stop: Callable[[], bool]
    cache: Path | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    reuse: Reuse | None = None
    ahead: bool = False
    open_decoded: Callable[[], Engine] | None = None
    suggested: Callable[[], SidesSampling] | None = None


@dataclass(frozen=True)
class Evaluation:
    """What the stored samples say; a pure function of them (and of the pre-checks)."""

    state: State
    headline: str
    page_rule: str
    metrics: tuple[Metric, ...]
    diagnosis: Diagnosis
    charts: Mapping[str, Any]


class Probe(Protocol):
    """One symptom made executable."""

    symptom: str

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """`{"id", "sha256", "questions"}` of the question set in use."""
        ...

    def run(self, context: ProbeContext) -> None:
        """Measure everything not in `context.done`; returns early, cleanly, when asked to stop.

        A probe whose symptom asks no questions is also run when the models could not be loaded; the engines then
        have no capabilities.
        """
        ...

    def subject(self, context: ProbeContext) -> Subject | None:
        """What changes are tried on after a FAIL; None where this probe offers nothing to try them on."""
        ...

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """Metrics, verdict and diagnosis from stored samples; too few give INCONCLUSIVE or NOT MEASURED."""
        ...
