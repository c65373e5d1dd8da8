"""The part of a run after a FAIL, or where FP16 fails too: changes are tried on the loaded models, one recommended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import CHECK_CAUSES, OK, ONE_PART
from wfgy_triage.doctor.engines import check_first_answer
from wfgy_triage.doctor.finding import Finding, prevents_loading
from wfgy_triage.doctor.loading import not_loaded
from wfgy_triage.engine_settings import EngineSettings, engine_settings
from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.device_faults import DEVICE_CAUSES
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.guide import load_guide
from wfgy_triage.pairs import NO_FOLDER, Pair, load_pairs
from wfgy_triage.probes.base import Evaluation, Probe, ProbeContext, ProbeSettings
from wfgy_triage.probes.subject import Subject
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.remedies.facts import facts_of
from wfgy_triage.remedies.outcome import recommend
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.recipes import PROTECT, RAISE
from wfgy_triage.remedies.registry import triable
from wfgy_triage.remedies.renders import render
from wfgy_triage.remedies.served import no_other_folder, remedy_for
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import Diagnosis, State
from wfgy_triage.runs.trial_options import TrialOptions
from wfgy_triage.settings import Settings
from wfgy_triage.store.records import Sample

_log = logging.getLogger(__name__)


class Workshop:
    """Opens other folders in place of a pair's EXL2 side; as a `with` block, closes the FP16 side that it opened.

    Args:
        pair: the pair of the run.
        fp16: its loaded FP16 engine; None where the pair could not be loaded: it is then opened when it is needed.
        open_engine: loads one side.
        check_folders: the doctor's first part.
        check_engines: and its second.
        settings: of this program; made folders and the quantizer's statistics are kept in its home, and its list of
            pairs says which other folders of the model there are.
    """

    def __init__(
        self,
        pair: Pair,
        fp16: Engine | None,
        open_engine: Callable[..., Engine],
        check_folders: Callable[[Pair, Callable[[int, int], None]], tuple[Finding, ...]],
        check_engines: Callable[[Engine, Engine], tuple[Finding, ...]],
        settings: Settings,
    ) -> None:
        self._pair, self._fp16, self._open_engine = pair, fp16, open_engine
        self._check_folders, self._check_engines = check_folders, check_engines
        home = settings.home
        self.shop = Shop(
            self._open_exl2,
            self._examine,
            home / "changed",
            home / "statistics",
            _siblings(pair, settings),
        )
        self._opened = ExitStack()

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    @property
    def fp16(self) -> Engine:
        """The FP16 side.

        Raises:
            PrerequisiteError: it cannot be loaded.
        """
        if self._fp16 is None:
            self._fp16 = self._open_engine(self._pair.fp16, side="fp16", settings=self._engine_settings)
            self._opened.callback(self._fp16.close)
        return self._fp16

    @property
    def _engine_settings(self) -> EngineSettings:
        return engine_settings(self._pair.engine, self._pair.id)

    def _open_exl2(self, folder: Path, **changed: Any) -> Engine:
        no_other_folder(self._pair)
        settings = replace(self._engine_settings, **changed)
        return self._open_engine(folder, side="exl2", share_with=self._fp16, settings=settings)

    def _examine(self, folder: Path) -> Sequence[Finding]:
        found = self._check_folders(replace(self._pair, exl2=folder), lambda done, total: None)
        if prevents_loading(found):
            return found + not_loaded()
        with ExitStack() as opened:
            try:
                fp16, exl2 = self.fp16, self._open_exl2(folder)
                opened.callback(exl2.close)
            except PrerequisiteError as error:
                return found + not_loaded(error)
            return (*found, *self._check_engines(fp16, exl2), check_first_answer(exl2))


def _siblings(pair: Pair, settings: Settings) -> tuple[Path, ...]:
    """EXL2 folders that the list of pairs has for the same FP16 folder."""
    try:
        pairs = load_pairs(settings).values()
    except InputError as error:
        # The list was damaged after this run began; it is only a shortcut here.
        _log.warning("the list of pairs cannot be read: %s", error)
        return ()
    fp16, own = pair.fp16.resolve(), pair.exl2.resolve()
    ready = [p for p in pairs if p.ready and p.exl2 != NO_FOLDER]
    others = [p.exl2 for p in ready if p.fp16.resolve() == fp16 and p.exl2.resolve() != own]
    return tuple(dict.fromkeys(others))


def try_changes(
    probe: Probe, context: ProbeContext, evaluation: Evaluation, pair: Pair, shop: Shop, options: TrialOptions
) -> None:
    """Try the remedies of the named cause after a FAIL; stores what it finds.

    Where FP16 fails too and the gate is on the loss against it (`both_sides` of the cause), after INCONCLUSIVE as well,
    and on both sides.
    """
    cause = load_catalog().causes[evaluation.diagnosis.cause]
    both = probe.symptom in cause.both_sides
    due = (State.FAIL, State.INCONCLUSIVE) if both else (State.FAIL,)
    subject = probe.subject(context) if evaluation.state in due and options.wanted else None
    if subject is not None and not context.should_stop():
        missed = [m.id for m in evaluation.metrics if m.primary and m.state is State.FAIL]
        remedies = to_try(probe.symptom, evaluation.diagnosis, missed)
        subject = subject.failing() if both else subject
        case = Case(context, subject, pair, evaluation.diagnosis, shop, both_sides=both)
        _search(probe, case, remedies, options)


def to_try(symptom: str, diagnosis: Diagnosis, missed: Collection[str]) -> tuple[str, ...]:
    """Ids of the remedies to try, in order.

    On the short way of the page ("Fix in 60 seconds") its own modules for what was missed come before the remedies of
    the cause, except where a check has named the cause: then there is nothing to guess. Of the two that make a new
    checkpoint, more bits in one part come first only where one part was shown to do most of the damage. What the fix
    map keeps to other symptoms is left out.
    """
    guide, named = load_guide(), load_catalog().causes[diagnosis.cause].remedies
    if PROTECT in named and RAISE in named and not _one_part(diagnosis):
        named = tuple(r for r in named if r != PROTECT)
        after = named.index(RAISE) + 1
        named = (*named[:after], PROTECT, *named[after:])
    modules = guide.remedies(missed) if symptom == guide.symptom else ()
    checked = diagnosis.cause in CHECK_CAUSES.values()
    order = dict.fromkeys((*named, *modules) if checked else (*modules, *named))
    return load_catalog().kept(order, symptom)


def _one_part(diagnosis: Diagnosis) -> bool:
    return any(c.check == ONE_PART and c.result == OK for c in diagnosis.evidence)


def try_to_load(
    probe: Probe,
    context: ProbeContext,
    evaluation: Evaluation,
    pair: Pair,
    workshop: Workshop,
    options: TrialOptions,
) -> None:
    """Try what makes a pair loadable that is not, and put the run's questions to it then; stores what it finds.

    Args:
        probe: of a symptom that asks questions.
        context: its engines are absent.
        evaluation: that of a pair which cannot be loaded.
        pair: the folders.
        workshop: opens the FP16 side.
        options: what the user asked for.
    """
    remedies = load_catalog().remedies_for(evaluation.diagnosis.cause, probe.symptom)
    # A change of files, a re-quantization least of all, gives a machine no more memory and no other GPU.
    in_the_machine = any(f.cause in DEVICE_CAUSES for f in context.findings)
    if not options.wanted or context.should_stop() or in_the_machine:
        return
    # Without anything to try, or without a baseline, no question is asked: the doctor alone looks at changes.
    subject: Subject | None = Subject(probe.symptom)
    if set(remedies) & set(triable()):
        try:
            context = replace(context, fp16=workshop.fp16)
            subject = probe.subject(context)
        except PrerequisiteError as error:
            _log.info("no question is asked, since FP16 does not load: %s", error)
    if subject is not None:
        case = Case(context, subject, pair, evaluation.diagnosis, workshop.shop, loaded=False)
        _search(probe, case, remedies, options)


def _search(probe: Probe, case: Case, remedies: Sequence[str], options: TrialOptions) -> None:
    def more(questions: int) -> Case:
        context = case.context
        larger = replace(context, settings=replace(context.settings, questions=questions))
        return replace(case, context=larger, subject=probe.subject(larger) or case.subject)

    tried = [remedy_for(r, case.pair) for r in remedies]
    TrialSearch(case, probe, tried, Budget(options.seconds), more).run()


def recommendation(
    probe: Probe, samples: Sequence[Sample], settings: ProbeSettings, before: Evaluation, pair: Pair
) -> dict[str, Any] | None:
    """The result's recommendation from what is stored; None where nothing was tried.

    The files are written for folders by name, not by path: a result is shown to people who have no business with the
    paths of the machine that it was measured on.
    """
    found = recommend(read_trials(samples, probe, settings), before.state)
    if found is None:
        return None
    exl2 = "your-exl2-folder" if pair.exl2 == NO_FOLDER else pair.exl2.name
    facts = replace(facts_of(pair.fp16, pair.exl2), fp16=pair.fp16.name, exl2=exl2)
    return {**found, "renders": render(Patch(found["patch"]), facts) if found["patch"] else {}}
