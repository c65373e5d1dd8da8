"""Every event of the page names what it may change: enough for what its handler says, and little where it is often."""

from __future__ import annotations

import pytest

from tests.browser.scripted import ScriptedWorker
from tests.ui.conftest import Stage

CHOICES = ("json_breaks", "demo", 20, "", "auto")
OFTEN = (
    "choose_symptom",
    "choose_suggestion",
    "find_symptom",
    "models",
    "poll",
    "choose_answer",
    "go_to_fix",
)
GONE = "00000000000000000a"


@pytest.fixture
def worker(settings):
    worker = ScriptedWorker(settings)
    yield worker
    worker.database.close()


def test_every_handler_of_the_page_is_an_event(stage: Stage):
    assert {"load", "poll", "show_end", *OFTEN} <= {event.name for event in stage.events}


@pytest.mark.parametrize("name", OFTEN)
def test_what_happens_often_touches_little(stage: Stage, name: str):
    outputs = [len(event.outputs) for event in stage.events if event.name == name]
    assert outputs
    assert max(outputs) <= 16


@pytest.mark.parametrize("symptom", ["json_breaks", "deploy_mismatch", "sixty_seconds", "nonsense", ""])
def test_choices_stay_within_what_they_touch(stage: Stage, symptom: str):
    stage.call("choose_symptom", symptom).call("choose_suggestion", symptom).call("find_symptom", "words")
    for name in ("go_to_models", "models", "builtin_questions"):
        stage.call(name, symptom, *CHOICES[1:])
    stage.call("show_options", symptom)


def test_files_that_cannot_be_used_stay_within_what_they_touch(stage: Stage, sent):
    for name, file in (("upload", [sent("a.jsonl", "{")]), ("upload_passages", sent("b.jsonl", "{"))):
        assert "role" in str(stage.call(name, *CHOICES, file).said("upload_note"))
    stage.call("upload_index", *CHOICES, sent("c.faiss", b"nothing"))


def test_a_run_from_its_start_to_its_end(stage: Stage, worker: ScriptedWorker):
    run_id = worker.queue()
    assert stage.call("poll", run_id, "").said("run_timer")["active"]
    worker.lease(run_id)
    worker.answers(run_id, 20)
    assert stage.parts.ended not in stage.call("poll", run_id, "").updates
    stage.call("stop", run_id)
    worker.finish(run_id)
    assert stage.call("poll", run_id, "").said("ended") == run_id
    assert not stage.said("run_timer")["active"]
    # The verdict is opened only for who is still at step 3, and only for the run that is on the page.
    assert stage.call("show_end", run_id, run_id, "3").said("walk")["selected"] == 4
    assert stage.parts.walk not in stage.call("show_end", run_id, run_id, "5").updates
    for ended, shown in (("", run_id), (run_id, GONE)):
        assert stage.parts.verdict not in stage.call("show_end", ended, shown, "3").updates
    stage.call("choose_answer", run_id, worker.key(3)).call("go_to_fix")
    stage.call("describe", run_id, "name", "tag", "note").call("add_comment", run_id, "", "words")
    stage.call("make_link", run_id, "7", False).call("take_back", run_id, "")
    stage.call("with_more", run_id).call("change_settings", run_id).call("check_again", run_id)
    stage.call("ask_delete").call("keep_session").call("delete_session", run_id).call("another_symptom")


def test_a_start_stays_within_what_it_touches(stage: Stage):
    assert stage.call("start", *CHOICES, 0, "").said("run_id")
    assert "role=" in stage.call("start", "json_breaks", "gone", 20, "", "auto", 0, "").said("notice")


def test_a_stopped_run_that_goes_on_can_end_again(stage: Stage, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.lease(run_id)
    stage.call("stop", run_id)
    worker.runs.finish(run_id, "scripted.1", "cancelled")
    assert stage.call("poll", run_id, "").said("ended") == run_id
    assert stage.call("resume", run_id).said("ended") == ""


def test_a_run_that_is_gone_is_said_where_it_happens(stage: Stage):
    for name, args in (
        ("poll", (GONE, "")),
        ("show_end", (GONE, GONE, "3")),
        ("stop", (GONE,)),
        ("resume", (GONE,)),
    ):
        assert "role=" in stage.call(name, *args).said("notice")
    stage.call("choose_answer", GONE, "x").call("describe", GONE, "", "", "").call(
        "make_link", GONE, "7", True
    )
    assert not stage.call("poll", "", "").said("run_timer")["active"]


def test_a_new_sessions_verdict_shows_nothing_that_was_written_about_the_one_before(
    stage: Stage, worker: ScriptedWorker
):
    first, second = worker.queue(), worker.queue()
    for run_id in (first, second):
        worker.lease(run_id)
        worker.answers(run_id, 20)
        worker.finish(run_id)
    stage.call("show_end", first, first, "3").call("describe", first, "the first", "tag", "note")
    assert stage.call("make_link", first, "7", False).said("share_path")
    stage.call("show_end", second, second, "3")
    assert (stage.said("share_path"), stage.said("share_link")) == ("", "")
    assert [stage.said(f"describe_{part}")["value"] for part in ("title", "tags", "note")] == ["", "", ""]


def test_a_run_that_ended_before_it_was_stopped_shows_its_end(stage: Stage, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answers(run_id, 20)
    worker.finish(run_id)
    assert stage.call("stop", run_id).said("ended") == run_id


def test_a_look_that_failed_is_said_until_one_succeeds(stage: Stage, worker: ScriptedWorker):
    said = stage.call("poll", GONE, "").said("notice")
    assert "role=" in said
    run_id = worker.queue()
    assert stage.call("poll", run_id, said).said("notice") == ""
    # What another button said stays.
    assert stage.parts.notice not in stage.call("poll", run_id, "<p>There is no text.</p>").updates
