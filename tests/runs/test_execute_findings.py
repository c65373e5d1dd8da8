"""What a run makes of findings about the models' folders and the machine."""

from __future__ import annotations

import pytest

from tests.runs.run_fakes import run_once, spec
from wfgy_triage.catalog import validate_result
from wfgy_triage.doctor.finding import failed
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.probes.unmeasured import unmeasured
from wfgy_triage.result import Result, State
from wfgy_triage.store.records import RunSpec, RunStatus


def broken_folders(pair, progress):
    return (
        failed("same_rope", "rope differs"),
        failed("checkpoint_intact", "output.safetensors is truncated."),
    )


def no_class(folder, **options):
    raise PrerequisiteError("transformers has no model class for this.", "Check config.json.")


@pytest.mark.parametrize(
    ("changes", "cause", "said"),
    [
        ({"check_folders": broken_folders}, "rope_mismatch", "rope differs"),
        ({"open_engine": no_class}, "model_not_loadable", "transformers has no model class for this."),
    ],
)
def test_a_pair_that_cannot_be_loaded_ends_with_a_result(settings, repo, changes, cause, said):
    opened = []
    status, record = run_once(settings, repo, spec(4), opened=opened, **changes)
    assert status == record.status == RunStatus.DONE
    validate_result(record.result)
    result = Result.from_json(record.result)
    assert (result.state, record.state) == (State.NOT_MEASURED, "NOT MEASURED")
    assert result.headline.startswith("Not measured")
    assert result.diagnosis.cause == cause
    assert said in [c.detail for c in result.diagnosis.evidence if c.result == "fault"]
    assert [m.note for m in result.metrics] == [said]
    assert [row["check"] for row in result.charts["doctor"] if row["state"] == "FAIL"]
    assert "exl2-reproducible" not in opened
    # No answer of any kind; at most the reasons why no change was tried.
    assert {s.key.side for s in repo.samples(record.id)} <= {"trial"}


def test_findings_that_are_not_fatal_let_the_run_go_on(settings, repo):
    def halved(pair, progress):
        return (failed("even_layers", "model.layers.3 is damaged"),)

    _, record = run_once(settings, repo, spec(2), check_folders=halved)
    assert record.state == "PASS"
    assert record.result["diagnosis"]["evidence"] == [
        {"check": "even_layers", "result": "fault", "detail": "model.layers.3 is damaged"}
    ]


class NoteTaker:
    """A probe that only says whether it was run, and with what."""

    symptom = "deploy_mismatch"

    def __init__(self):
        self.seen = []

    def workload_info(self, settings):
        return {"id": "doctor", "sha256": "0" * 64, "questions": 0}

    def run(self, context):
        self.seen.append((context.findings, context.exl2.capabilities.generate))

    def evaluate(self, samples, checks, settings):
        return unmeasured("deploy_mismatch", self.seen[0][0])


def test_a_symptom_without_questions_is_run_without_models_too(settings, repo):
    probe = NoteTaker()
    run_spec = RunSpec("deploy_mismatch", "tiny")
    status, _ = run_once(
        settings, repo, run_spec, get_probe=lambda symptom: probe, check_folders=broken_folders
    )
    assert status == RunStatus.DONE
    findings, generates = probe.seen[0]
    assert [f.check for f in findings if f.state == "FAIL"] == ["same_rope", "checkpoint_intact"]
    assert not generates


def test_memory_that_runs_out_while_loading_is_still_a_failure_to_resume(settings, repo):
    def no_room(folder, **options):
        raise MemoryError

    status, record = run_once(settings, repo, spec(1), open_engine=no_room)
    assert status == record.status == RunStatus.FAILED
    assert repo.requeue(record.id).status == RunStatus.QUEUED
