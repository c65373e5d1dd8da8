"""What a run found, as it is stored: verdict, recommendation, and the comparison with the run that it repeats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wfgy_triage.catalog import load_catalog, validate_result
from wfgy_triage.doctor.summary import as_chart
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.base import Evaluation, Probe, ProbeSettings
from wfgy_triage.result import Result
from wfgy_triage.runs.context import RunContext
from wfgy_triage.runs.recheck import compared_with
from wfgy_triage.runs.reuse import reused_counts
from wfgy_triage.runs.trial_options import earlier_run
from wfgy_triage.runs.trials import recommendation
from wfgy_triage.store.records import RunRecord
from wfgy_triage.store.runs import RunRepository


@dataclass(frozen=True)
class Ending:
    """What is known of a run when its verdict is worked out.

    Attributes:
        record: the run.
        settings: of its probe.
        evaluation: of its samples.
        context: what it was measured with.
        pair: the folders; None where the run ends without having looked at them.
        failure: what ended it, where it failed.
    """

    record: RunRecord
    settings: ProbeSettings
    evaluation: Evaluation
    context: RunContext
    pair: Pair | None
    failure: str = ""


def result_of(
    ending: Ending, probe: Probe, repo: RunRepository, seconds: Callable[[], Mapping[str, float]]
) -> dict[str, Any]:
    """The `wfgy-triage/result-1` object of a run, validated.

    Args:
        ending: what is known of it.
        probe: whose run it was.
        repo: holds its samples.
        seconds: gives the seconds spent so far, by stage.
    """
    record, settings, samples = ending.record, ending.settings, repo.samples(ending.record.id)
    fix = None
    if ending.pair is not None:
        fix = recommendation(probe, samples, settings, ending.evaluation, ending.pair)
    found = replace(_measured(ending, probe, repo), recommendation=fix, timings=seconds())
    if earlier := earlier_run(record.spec.options):
        found = replace(found, recheck=compared_with(repo, earlier, found, samples, probe, settings))
    result = found.to_json()
    validate_result(result)
    return result


def _measured(ending: Ending, probe: Probe, repo: RunRepository) -> Result:
    """The result without what follows from it."""
    record, spec, evaluation = ending.record, ending.record.spec, ending.evaluation
    return Result(
        run_id=record.id,
        created_at=record.created_at.isoformat(),
        symptom=spec.symptom,
        state=evaluation.state,
        headline=_headline(ending),
        page_rule=evaluation.page_rule,
        pair=ending.context.pair,
        workload=probe.workload_info(ending.settings),
        settings={
            "questions": spec.questions,
            "seed": spec.seed,
            "level": ending.settings.level,
            # Once more, under a name that no option of a probe has: some have a `level` of their own.
            "interval_level": ending.settings.level,
            "workload_id": spec.workload_id,
            **spec.options,
        },
        metrics=evaluation.metrics,
        diagnosis=evaluation.diagnosis,
        modules=load_catalog().symptom_modules(spec.symptom),
        recommendation=None,
        timings={},
        versions=ending.context.said_versions(),
        charts={"doctor": as_chart(ending.context.findings), **evaluation.charts},
        reused=reused_counts(repo.events(record.id)),
    )


def _headline(ending: Ending) -> str:
    """The verdict in a sentence; wherever a result is shown it says that the run failed, and why."""
    said = ending.evaluation.headline
    if not ending.failure:
        return said
    return f"This run could not finish: {ending.failure} What was measured before that says: {said}"
