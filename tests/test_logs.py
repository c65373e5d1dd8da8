"""The log: one line an event, as text or JSON, with the run's id and without texts, passwords and tokens."""

from __future__ import annotations

import io
import json
import logging

import pytest

from wfgy_triage import logs
from wfgy_triage.errors import ProbeError
from wfgy_triage.hosting import Hosting
from wfgy_triage.store.descriptions import described
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.runs import RunRepository

SECRET = "correct-horse-battery"  # noqa: S105 - of no service
QUESTION = "How old was the patient Sample?"


@pytest.fixture
def written(request):
    """A logger that writes as the program does, and what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(getattr(request, "param", Hosting(log_form="json")), "worker"))
    package = logging.getLogger("wfgy_triage")
    before = package.level
    package.addHandler(handler)
    package.setLevel("DEBUG")
    yield stream
    package.setLevel(before)
    package.removeHandler(handler)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_and_about_which_run(written):
    with logs.about_run("run-1"):
        logging.getLogger("wfgy_triage.runs.worker").info("run %s: begins", "run-1")
    logging.getLogger("wfgy_triage.runs.worker").warning("idle\nagain")
    first, second = lines(written)
    assert first["run"] == "run-1"
    assert (first["level"], first["process"], first["logger"]) == (
        "info",
        "worker",
        "wfgy_triage.runs.worker",
    )
    assert first["message"] == "run run-1: begins"
    assert first["at"].endswith("+00:00")
    assert "run" not in second


def test_every_event_of_a_run_is_one_line_and_holds_none_of_its_texts(settings, written):
    from wfgy_triage.store.database import open_database

    database = open_database(settings.database_url)
    repo = RunRepository(database)
    run = repo.create(RunSpec("json_breaks", "demo", options={"schema": QUESTION}), worker_id="w.1")
    repo.add_samples(run.id, [Sample(SampleKey("p", QUESTION, 0, 0, "fp16"), {"text": QUESTION})], "w.1")
    repo.add_event(run.id, "stage", {"name": "fp16", "label": QUESTION, "done": 1, "total": 2}, "w.1")
    repo.add_event(run.id, "note", {"text": QUESTION}, "w.1")
    repo.add_event(run.id, "context", {"pair": {"name": QUESTION}, "findings": []}, "w.1")
    repo.describe(run.id, described(QUESTION, QUESTION, ""))
    repo.finish(run.id, "w.1", RunStatus.FAILED, error_message=QUESTION, error_hint=QUESTION)
    told = [line for line in lines(written) if "event" in line]
    assert [(t["event"], t["run"]) for t in told] == [(e.kind, run.id) for e in repo.events(run.id)]
    assert [t["seq"] for t in told] == [e.seq for e in repo.events(run.id)]
    assert [t["status"] for t in told if t["event"] == "status"] == ["queued", "running", "failed"]
    assert next(t for t in told if t["event"] == "stage")["level"] == "debug"
    assert "Sample" not in written.getvalue()
    database.close()


def test_an_event_that_was_not_stored_is_not_logged(settings, written):
    from wfgy_triage.store.database import open_database
    from wfgy_triage.store.rows import append_event

    database = open_database(settings.database_url)
    run = RunRepository(database).create(RunSpec("json_breaks", "demo"))
    written.truncate(0)
    with pytest.raises(ZeroDivisionError), database.write() as session:  # noqa: PT012
        append_event(session, run.id, "note", {"text": "never"})
        raise ZeroDivisionError
    assert written.getvalue() == ""
    database.close()


@pytest.mark.parametrize(
    "written", [Hosting(), Hosting(log_form="json")], indirect=True, ids=["text", "json"]
)
@pytest.mark.parametrize(
    "line",
    [
        f"cannot reach postgresql://triage:{SECRET}@db/triage",
        f"GET /s/{'A1-_' * 11}".replace("A1-_" * 11, ("A1-_" * 11)[:43]),
        f"authorization: Bearer {SECRET}",
        f"the token={SECRET}",
        f"environment {SECRET}",
    ],
)
def test_secrets_are_taken_out_of_every_line(written, line, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", SECRET)
    logging.getLogger("wfgy_triage.x").warning("%s", line)
    text = written.getvalue()
    assert SECRET not in text
    assert "A1-_A1-_" not in text
    assert logs.HIDDEN in text


@pytest.mark.parametrize(
    "written", [Hosting(), Hosting(log_form="json")], indirect=True, ids=["text", "json"]
)
def test_an_exception_is_logged_with_its_place_and_without_what_it_quotes(written):
    try:
        try:
            {}[QUESTION]
        except KeyError as error:
            raise ValueError(QUESTION) from error
    except ValueError:
        logging.getLogger("wfgy_triage.x").exception("run %s met an unexpected error", "r1")
    text = written.getvalue()
    assert "Sample" not in text
    assert "ValueError" in text
    assert "KeyError" in text
    assert "test_logs.py" in text


def test_an_error_that_is_written_for_people_keeps_its_words_and_debug_keeps_all(written):
    form = logs.formatter(Hosting(log_level="debug"), "web")
    usual = logs.formatter(Hosting(), "web")
    for error, words in (
        (ProbeError("Numbers are not finite.", "Look."), True),
        (ValueError(QUESTION), False),
    ):
        assert str(error) in form.formatException((type(error), error, None))
        assert (str(error) in usual.formatException((type(error), error, None))) == words


def test_a_process_writes_nothing_but_such_lines(monkeypatch, capsys):
    monkeypatch.setenv("WFGY_TRIAGE_LOG", "json")
    monkeypatch.setenv("WFGY_TRIAGE_LOG_LEVEL", "warning")
    root, package = logging.getLogger(), logging.getLogger("wfgy_triage")
    handlers, levels = root.handlers[:], (root.level, package.level)
    try:
        logs.begin("web")
        logging.getLogger("some.library").error("from a library")
        logging.getLogger("wfgy_triage.x").info("not important enough")
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        package.setLevel(levels[1])
        logging.captureWarnings(False)
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == [
        "from a library"
    ]
