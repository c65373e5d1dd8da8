"""What the pages know: the settings, the service they ask, the fix map, and a few read-only look-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

from wfgy_triage.access import Action
from wfgy_triage.catalog import Catalog
from wfgy_triage.complaints import Match
from wfgy_triage.errors import TriageError
from wfgy_triage.exl2.inspect import CheckpointReport, inspect_folder
from wfgy_triage.pairs import Pair, load_pairs
from wfgy_triage.report.format import duration
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.team import Team
from wfgy_triage.settings import Settings
from wfgy_triage.store.records import RunStatus
from wfgy_triage.workload.citations import RECORD, WITH_K
from wfgy_triage.workload.json_records import HARD_MARK
from wfgy_triage.workload.stored import BUILTIN, workload_path

EARLIER_RUNS = 20
"""How many finished runs an estimate looks back on."""
TRIALS_TIMING = "measure_trials"
"""Name of the seconds that trying changes took, in a run's timings."""


@dataclass(frozen=True)
class PageContext:
    """Passed to every page; holds no state of a visitor.

    Attributes:
        settings: where the pairs file is.
        service: the only way to runs; it answers from the store, never from a model.
        catalog: the fix map.
        probed: ids of the symptoms that can be measured.
        question_texts: the texts of a symptom's questions by id, of a user's question file where one is given.
        match: ranks the symptoms for a complaint; answered by a process of its own.
        team: who may come in.
    """

    settings: Settings
    service: TriageService
    catalog: Catalog
    probed: frozenset[str]
    question_texts: Callable[[str, Path | None], Mapping[str, str]]
    match: Callable[[str], Match]
    team: Team = Team()

    def may_with(self, run_id: str, action: Action) -> bool:
        """Whether the visitor may do something with a run; what the page hides the store refuses as well."""
        return self.service.may(action) or self.service.may(action, self.service.get(run_id).owner)

    def pairs(self) -> dict[str, Pair]:
        """The registered pairs, read anew: the demo's siblings appear while the page is open."""
        return load_pairs(self.settings)

    def texts(self, symptom: str, workload_id: str = BUILTIN) -> Mapping[str, str]:
        """Question texts of a symptom; empty for one that has no probe or whose question set is gone."""
        if symptom not in self.probed:
            return {}
        try:
            return self.question_texts(symptom, workload_path(self.settings.home, symptom, workload_id))
        except TriageError:
            return {}

    def available(self, symptom: str, workload_id: str = BUILTIN) -> int | None:
        """How many questions there are to ask; None where that is not known here."""
        asked = [
            q
            for q in self.texts(symptom, workload_id or BUILTIN)
            if not any(mark in q for mark in (RECORD, WITH_K, HARD_MARK))
        ]
        return len(asked) or None

    def symptom_title(self, symptom: str) -> str:
        """The plain title of a symptom, or the id of one that the fix map no longer has."""
        found = self.catalog.symptoms.get(symptom)
        return found.title if found else symptom

    def asks_questions(self, symptom: str) -> bool:
        """Whether a run of this symptom asks the models questions (the doctor asks none)."""
        found = self.catalog.symptoms.get(symptom)
        return found is None or found.asks_questions

    def pair_name(self, pair_id: str) -> str:
        """The name of a pair; its id when it is no longer registered or the pairs file is broken."""
        try:
            pair = self.pairs().get(pair_id)
        except TriageError:
            return pair_id
        return pair.name if pair else pair_id

    def estimate(self, symptom: str, pair_ids: Iterable[str], questions: int) -> str | None:
        """About how long measuring takes, from finished runs of the same symptom on these pairs; None without any.

        Trying changes is left out: whether there is anything to try is not known before.
        """
        done = RunStatus.DONE
        spent = [
            (r.timings.get("total", 0.0) - r.timings.get(TRIALS_TIMING, 0.0), r.spec.questions)
            for pair_id in pair_ids
            for r in self.service.list(limit=EARLIER_RUNS, symptom=symptom, status=done, pair_id=pair_id)
            if not r.imported  # measured on another machine
        ]
        seconds = [total / asked for total, asked in spent if total > 0]
        return duration(median(seconds) * questions) if seconds else None


def inspect_cached(folder: Path) -> CheckpointReport | TriageError:
    """Report on a model folder; read again only when its configuration file changes.

    A folder that cannot be read gives its error, so that one bad pair does not take the list away.
    """
    config = folder / "config.json"
    return _inspect(folder, config.stat().st_mtime_ns if config.is_file() else 0)


@lru_cache(maxsize=64)
def _inspect(folder: Path, stamp: int) -> CheckpointReport | TriageError:
    try:
        return inspect_folder(folder)
    except TriageError as error:
        return error
