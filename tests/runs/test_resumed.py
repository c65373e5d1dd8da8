"""A run that goes on: what it measured keeps its verdict, and is not mixed with what was measured otherwise."""

from __future__ import annotations

import pytest

from tests.runs.run_fakes import SIDES, FakeProbe, bench_of, run_once, spec
from tests.runs.test_execute import after
from tests.runs.test_execute_findings import broken_folders
from tests.runs.test_reuse_runs import Engines
from wfgy_triage.catalog import load_catalog, validate_result
from wfgy_triage.cli.shared import EXIT_ERROR, finish
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.report.export.formats import export
from wfgy_triage.report.trend import METRICS
from wfgy_triage.runs import provenance
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.sessions import read_session
from wfgy_triage.store.records import RunStatus

VERSIONS = {"wfgy-triage": "1", METRICS: "1", "torch": "2.4"}


@pytest.fixture
def half(settings, repo):
    """Leases a run, measures a part of it, and puts it back; its id."""

    def begin(questions=5, stop=None, **options):
        record = repo.create(spec(questions), worker_id="w.1")
        bench = bench_of(settings, repo, should_stop=stop or after(6), **options)
        ended = execute_run(record, bench)
        assert ended == RunStatus.QUEUED
        assert repo.samples(record.id)
        return record.id

    return begin


@pytest.fixture
def go_on(settings, repo):
    """A later pass over the run; the record as it ends."""

    def again(run_id, **options):
        if repo.get(run_id).status != RunStatus.QUEUED:
            repo.requeue(run_id)
        execute_run(repo.lease("w.2", 60, run_id=run_id), bench_of(settings, repo, "w.2", **options))
        return repo.get(run_id)

    return again


def away(folder, **how):
    raise PrerequisiteError("The server does not answer.", "Start it.", "server_unreachable")


def notes(repo, run_id):
    return [e.payload["text"] for e in repo.events(run_id) if e.kind == "note"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"open_engine": away}, "The server does not answer."),
        ({"check_folders": broken_folders}, "cannot be loaded now: output.safetensors is truncated."),
    ],
)
def test_what_was_measured_does_not_end_because_a_model_does_not_load_later(repo, half, go_on, changes, said):
    run_id = half()
    failed = go_on(run_id, **changes)
    assert failed.status == RunStatus.FAILED
    assert said in failed.error_message
    assert failed.error_hint
    assert failed.state != "NOT MEASURED"
    ended = go_on(run_id)
    assert (ended.status, ended.state) == (RunStatus.DONE, "PASS")
    assert len(repo.samples(run_id)) == 5 * len(SIDES)


def test_a_pair_that_never_loaded_ends_as_such_on_a_later_pass_too(settings, repo, half, go_on):
    parts = {"get_probe": lambda s: PROBE, "check_folders": broken_folders, "open_engine": Engines()}
    run_id = half(4, lambda: any(repo.samples(r.id) for r in repo.list()), **parts)
    assert {s.key.side for s in repo.samples(run_id)} == {"trial"}
    ended = go_on(run_id, **parts)
    assert (ended.status, ended.state) == (RunStatus.DONE, "NOT MEASURED"), ended.error_message


def test_a_stop_before_the_models_were_loaded_ends_the_run_without_loading_them(settings, repo, go_on):
    record = repo.create(spec(5), worker_id="w.1")
    repo.request_cancel(record.id)
    opened = []
    assert execute_run(record, bench_of(settings, repo, opened=opened)) == RunStatus.CANCELLED
    assert (repo.get(record.id).result, opened) == (None, [])
    assert go_on(record.id).status == RunStatus.DONE


def test_a_run_that_fails_says_so_with_what_it_measured_wherever_it_is_shown(settings, repo, capsys):
    _, record = run_once(settings, repo, spec(4, fail_at=2))
    assert record.status == RunStatus.FAILED
    validate_result(record.result)
    assert record.state == record.result["state"] == "INCONCLUSIVE"
    assert record.result["headline"].startswith("This run could not finish: The engine gave numbers")
    assert record.result["headline"].endswith("2 samples")
    session = read_session(settings, repo, record.id)
    for name in ("html", "markdown", "json"):
        written = export(session, name, load_catalog()).text
        assert "This run could not finish: The engine gave numbers" in written
    junit = settings.home / "junit.xml"
    assert finish(record, None, junit) == EXIT_ERROR
    said = capsys.readouterr()
    assert "The engine gave numbers" in said.err
    assert "2 samples" in said.out
    assert 'errors="1"' in junit.read_text()


def test_a_resumed_run_that_fails_keeps_a_verdict_on_all_that_was_measured(settings, repo, half, go_on):
    run_id = half()
    repo.request_cancel(run_id)
    stopped = go_on(run_id)
    assert stopped.status == RunStatus.CANCELLED
    first = len(repo.samples(run_id))
    repo.requeue(run_id)
    assert (repo.get(run_id).result, repo.get(run_id).state) == (None, None), "no verdict while it is open"

    class FailsLater(FakeProbe):
        def _measure(self, context, key, number):
            super()._measure(context, key, number)
            raise InputError("It went wrong.", "Try it again.")

    failed = go_on(run_id, get_probe=lambda s: FailsLater(settings.home))
    assert failed.status == RunStatus.FAILED
    assert failed.result["headline"].endswith(f"{first + 1} samples")
    assert "It went wrong." in failed.result["headline"]
    ended = go_on(run_id)
    assert (ended.status, ended.state) == (RunStatus.DONE, "PASS")
    assert "It went wrong." not in ended.result["headline"]


def test_where_nothing_can_be_evaluated_the_verdict_of_before_stays(settings, repo, half, go_on):
    run_id = half()
    repo.request_cancel(run_id)
    stopped = go_on(run_id)

    class Broken(FakeProbe):
        def evaluate(self, samples, checks, settings):
            raise ZeroDivisionError

    failed = go_on(run_id, get_probe=lambda s: Broken(settings.home))
    assert (failed.status, failed.result, failed.state) == (RunStatus.FAILED, stopped.result, stopped.state)


def test_a_run_that_is_given_up_keeps_the_verdict_of_before(repo, half, go_on):
    run_id = half()
    repo.request_cancel(run_id)
    stopped = go_on(run_id)
    repo.requeue(run_id)
    while repo.get(run_id).status != RunStatus.FAILED:
        repo.lease("w.3", -1)
    assert (repo.get(run_id).result, repo.get(run_id).state) == (stopped.result, stopped.state)
    repo.requeue(run_id)
    assert repo.get(run_id).result is None


def test_answers_to_other_questions_are_not_mixed_into_a_run(repo, half, go_on, settings):
    class Others(FakeProbe):
        def workload_info(self, settings):
            return {**super().workload_info(settings), "sha256": "1" * 64}

    run_id = half()
    failed = go_on(run_id, get_probe=lambda s: Others(settings.home))
    assert failed.status == RunStatus.FAILED
    assert failed.error_message.startswith("The questions of this run were changed")
    assert go_on(run_id).status == RunStatus.DONE


def test_numbers_that_are_measured_otherwise_are_not_mixed_into_a_run(half, go_on, monkeypatch):
    monkeypatch.setattr(provenance, "versions", lambda: VERSIONS)
    run_id = half()
    monkeypatch.setattr(provenance, "versions", lambda: {**VERSIONS, METRICS: "2"})
    failed = go_on(run_id)
    assert failed.status == RunStatus.FAILED
    assert failed.error_message.startswith("This version of the program measures otherwise")


def test_other_versions_go_on_and_the_run_names_both(repo, half, go_on, monkeypatch):
    monkeypatch.setattr(provenance, "versions", lambda: VERSIONS)
    run_id = half()
    monkeypatch.setattr(provenance, "versions", lambda: {**VERSIONS, "torch": "2.5", "exllamav2": "0.3"})
    ended = go_on(run_id)
    assert ended.status == RunStatus.DONE
    assert ended.result["versions"] == {**VERSIONS, "torch": "2.4, then 2.5", "exllamav2": "0.3"}
    changed = [note for note in notes(repo, run_id) if "other versions" in note]
    assert len(changed) == 1
    assert "torch 2.5 (before: 2.4), exllamav2 0.3 (before: none)" in changed[0]


def test_a_run_that_began_before_versions_were_written_down_goes_on(repo, half, go_on):
    run_id = half()
    said = repo.last_event(run_id, "context").payload
    repo.add_event(run_id, "context", {"pair": said["pair"], "findings": said["findings"]})
    ended = go_on(run_id)
    assert ended.status == RunStatus.DONE
    assert ended.result["versions"] == provenance.versions()
    assert not [note for note in notes(repo, run_id) if "other versions" in note]
