"""The part of a run after a FAIL: changes are tried on the loaded models, and one is recommended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.engines import check_first_answer
from wfgy_triage.doctor.finding import Finding, prevents_loading
from wfgy_triage.doctor.loading import not_loaded
from wfgy_triage.engines.base import Engine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.base import Evaluation, Probe, ProbeContext, ProbeSettings
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.remedies.facts import facts_of
from wfgy_triage.remedies.outcome import read_trials, recommend
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.renders import render
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import State
from wfgy_triage.runs.trial_options import TrialOptions
from wfgy_triage.store.records import Sample


class Workshop:
    """Opens other folders in place of a pair's EXL2 side.

    Args:
        pair: the pair of the run.
        fp16: its loaded FP16 engine; None where the pair could not be loaded.
        open_engine: loads one side.
        check_folders: the doctor's first part.
        check_engines: and its second.
        folder: where made folders are kept.
    """

    def __init__(
        self,
        pair: Pair,
        fp16: Engine | None,
        open_engine: Callable[..., Engine],
        check_folders: Callable[[Pair, Callable[[int, int], None]], tuple[Finding, ...]],
        check_engines: Callable[[Engine, Engine], tuple[Finding, ...]],
        folder: Path,
    ) -> None:
        self._pair, self._fp16, self._open_engine = pair, fp16, open_engine
        self._check_folders, self._check_engines = check_folders, check_engines
        self.shop = Shop(self._open_exl2, self._examine, folder)

    def _open_exl2(self, folder: Path) -> Engine:
        device = str(self._pair.engine.get("device", "cpu"))
        return self._open_engine(folder, side="exl2", share_with=self._fp16, device=device)

    def _examine(self, folder: Path) -> Sequence[Finding]:
        found = self._check_folders(replace(self._pair, exl2=folder), lambda done, total: None)
        if prevents_loading(found):
            return found + not_loaded()
        with ExitStack() as opened:
            try:
                fp16 = self._fp16
                if fp16 is None:
                    fp16 = self._open_engine(self._pair.fp16, side="fp16")
                    opened.callback(fp16.close)
                exl2 = self._open_exl2(folder)
                opened.callback(exl2.close)
            except PrerequisiteError as error:
                return found + not_loaded(error)
            return (*found, *self._check_engines(fp16, exl2), check_first_answer(exl2))


def try_changes(
    probe: Probe, context: ProbeContext, evaluation: Evaluation, pair: Pair, shop: Shop, options: TrialOptions
) -> None:
    """Try the remedies of the named cause after a FAIL; stores what it finds."""
    subject = probe.subject(context) if evaluation.state is State.FAIL and options.wanted else None
    if subject is None or context.should_stop():
        return
    case = Case(context, subject, pair, evaluation.diagnosis, shop)

    def more(questions: int) -> Case:
        larger = replace(context, settings=replace(context.settings, questions=questions))
        return replace(case, context=larger, subject=probe.subject(larger) or subject)

    remedies = [get_remedy(r) for r in load_catalog().causes[evaluation.diagnosis.cause].remedies]
    TrialSearch(case, probe, remedies, Budget(options.seconds), more).run()


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
    facts = replace(facts_of(pair.fp16, pair.exl2), fp16=pair.fp16.name, exl2=pair.exl2.name)
    return {**found, "renders": render(Patch(found["patch"]), facts) if found["patch"] else {}}
