"""Nobody gets at what is not theirs, whatever they send."""

from __future__ import annotations

import pytest

from tests.people import ADMIN, MAKER, READER, VIEWER, finished_session, queued_session
from tests.ui.people.desk import START, everything
from wfgy_triage.access import Action, Actor
from wfgy_triage.report.export.formats import FORMATS
from wfgy_triage.runs.service import TriageService
from wfgy_triage.store import audit
from wfgy_triage.store.audit import AuditRepository
from wfgy_triage.store.records import RunStatus
from wfgy_triage.ui.people.audit import DID

OTHERS = {
    "describe": lambda run, link: (run, "mine now", "tag", "note"),
    "make_link": lambda run, link: (run, "7", False),
    "take_back": lambda run, link: (run, link),
    "delete_session": lambda run, link: (run,),
    "resume": lambda run, link: (run,),
    "stop": lambda run, link: (run,),
}


@pytest.mark.parametrize("actor", [READER, VIEWER])
@pytest.mark.parametrize("event", OTHERS)
def test_what_is_somebody_elses_cannot_be_changed_by_sending_its_id(browser, shared, worker, event, actor):
    run_id = queued_session(worker, MAKER) if event == "stop" else finished_session(worker, MAKER)
    share, _ = TriageService(shared.settings, actor=MAKER).share(run_id, 7) if event != "stop" else (None, "")
    client = browser(actor)
    before = everything(worker)
    said = client.notice(event, *OTHERS[event](run_id, share.id if share else ""))
    assert "belongs to maker" in said or "the role operator" in said
    assert everything(worker) == before


@pytest.mark.parametrize("event", [e for e in OTHERS if e != "resume"])
def test_the_owner_can_and_so_can_an_admin(browser, shared, worker, event):
    for actor in (MAKER, ADMIN):
        run_id = queued_session(worker, MAKER) if event == "stop" else finished_session(worker, MAKER)
        share, _ = (
            TriageService(shared.settings, actor=MAKER).share(run_id, 7) if event != "stop" else (None, "")
        )
        before = everything(worker)
        answer = browser(actor).event(event, *OTHERS[event](run_id, share.id if share else ""))
        assert answer.status_code == 200
        assert "callout tone-bad" not in answer.text
        assert everything(worker) != before
        if event == "stop":
            assert worker.runs.get(run_id).status is RunStatus.CANCELLED


def test_a_viewer_starts_nothing_and_brings_nothing(browser, shared, worker):
    run_id = finished_session(worker, MAKER)
    client = browser(VIEWER)
    before = everything(worker)
    choices = START[:5]
    assert "the role operator" in client.notice("start", *START)
    assert "the role operator" in client.notice("check_again", run_id)
    sent = client.post(
        "/gradio_api/upload", files={"files": ("questions.csv", b"id,question\n1,x\n")}
    ).json()[0]
    client.event("upload", *choices, [{"path": sent, "meta": {"_type": "gradio.FileData"}}])
    assert everything(worker) == before
    assert not list((shared.settings.home / "workloads").glob("*"))


def test_an_operator_starts_a_run_of_their_own(browser, worker):
    answer = browser(MAKER).event("start", *START)
    assert answer.status_code == 200
    assert [r.owner for r in worker.runs.list(status=RunStatus.QUEUED)] == ["maker"]


@pytest.mark.parametrize("form", FORMATS)
def test_exports_are_for_those_with_a_role_and_are_written_down(browser, worker, form):
    run_id = finished_session(worker, MAKER)
    path = f"/sessions/{run_id}/export/{form}"
    assert browser().get(path).status_code == 401
    assert browser(VIEWER).get(f"{path}?redact=1").status_code == 200
    (entry,) = AuditRepository(worker.database).last(1)
    assert (entry.who, entry.role, entry.target) == ("vera", "viewer", run_id)
    assert entry.details == {"format": form, "redacted": True, "language": "en"}


def test_the_audit_trail_is_for_admins(browser, worker):
    run_id = finished_session(worker, MAKER)

    def seen(actor: Actor) -> str:
        return str(browser(actor).event("show", query={"audit": "1"}).text)

    assert "the role admin" in seen(MAKER)
    assert "the role admin" in seen(VIEWER)
    assert "json_breaks" in seen(ADMIN)
    assert "json_breaks" not in seen(READER)
    assert ">Started</td>" in seen(ADMIN)
    assert f"./?run={run_id}" in seen(ADMIN)


def test_everything_that_the_trail_records_has_words():
    codes = {str(value) for name, value in vars(audit).items() if name.startswith(("SIGN_", "USER_"))}
    # Looking is not written down.
    acts = {str(a) for a in Action} - {Action.READ, Action.AUDIT}
    assert codes | acts == {str(code) for code in DID}


def test_the_session_says_whose_it_is_and_offers_what_one_may(browser, worker):
    run_id = finished_session(worker, MAKER)

    def loaded(actor: Actor) -> str:
        return str(browser(actor).event("load", query={"run": run_id}).text).replace('\\"', '"')

    assert 'Started by <b translate="no">maker</b> (you)' in loaded(MAKER)
    assert 'Started by <b translate="no">maker</b>.' in loaded(VIEWER)
