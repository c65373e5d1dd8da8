"""Without a password: visitors, one's own machine, accounts of Hugging Face; and a list of users that breaks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from tests.people import MAKER, write_team
from tests.ui.people.desk import HTML, START, Browser, served, signed_in
from wfgy_triage.access import Role
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.team import Mode, Team, load_team
from wfgy_triage.settings import REPO_ROOT, Settings
from wfgy_triage.store.records import RunStatus
from wfgy_triage.ui.app import build_app
from wfgy_triage.users import UsersFile


def test_a_list_of_users_that_breaks_lets_nobody_in_and_what_is_public_stays(alone):
    client = signed_in(alone.app, MAKER)
    assert alone.team.users is not None
    alone.team.users.path.write_text("users: [")
    assert client.get("/config").status_code == 503
    assert client.get("/", headers=HTML).status_code == 503
    assert client.get("/healthz").status_code == 200
    # Who comes without a cookie gets the form, and is told when they send it.
    told = Browser(alone.app).sign_in("maker")
    assert told.status_code == 503
    assert "Nobody can sign in right now" in told.text


def test_visitors_have_sessions_of_their_own(settings):
    with served(settings, Team(Mode.VISITORS, Role.OPERATOR)) as (_, worker, _, app):
        one, other = Browser(app), Browser(app)
        assert one.event("start", *START).status_code == 200
        (record,) = worker.runs.list()
        assert re.fullmatch(r"visitor [0-9a-f]{16}", record.owner)
        assert "belongs to visitor" in other.notice("stop", record.id)
        for made_up in (record.owner.removeprefix("visitor "), "x" * 43):
            thief = Browser(app, cookies={"wfgy-visitor": made_up})
            assert "belongs to visitor" in thief.notice("stop", record.id)
        assert worker.runs.get(record.id).status is RunStatus.QUEUED
        one.event("stop", record.id)
        assert worker.runs.get(record.id).status is RunStatus.CANCELLED


def test_who_is_not_signed_in_may_look_where_that_is_wanted(alone):
    app = build_app(
        alone.settings, TriageService(alone.settings), team=replace(alone.team, anonymous=Role.VIEWER)
    )
    client = Browser(app)
    assert "the role operator" in client.notice("start", *START)
    assert alone.worker.runs.count() == 0
    assert 'href="./sign-in"' in client.event("whoever").text.replace("\\", "")
    assert client.get("/sign-in").status_code == 200
    assert client.sign_in("maker").status_code == 303
    assert client.event("start", *START).status_code == 200
    assert alone.worker.runs.count() == 1


def test_on_a_space_cookies_are_made_for_the_frame(settings, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/triage")
    with served(settings, Team(Mode.VISITORS, Role.VIEWER)) as desk:
        cookie = Browser(desk.app, base_url="https://x.hf.space").get("/").headers["set-cookie"]
    assert "SameSite=None; Secure; Partitioned" in cookie


def test_without_users_the_page_is_open_as_local(settings):
    with served(settings, load_team(settings, {})) as desk:
        client = Browser(desk.app)
        assert client.event("start", *START).status_code == 200
        assert [r.owner for r in desk.worker.runs.list()] == ["local"]
        assert client.get("/sign-in").status_code == 404
        assert "set-cookie" not in client.get("/").headers
        assert "whoever" not in client.functions


def test_a_page_that_is_open_to_a_network_says_so(settings, caplog):
    with served(settings, Team(exposed=True)) as desk:
        assert any("Nobody has to sign in" in record.message for record in caplog.records)
        assert "Nobody has to sign in here" in Browser(desk.app).event("whoever").text


@pytest.fixture
def hugging_face(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Browser]]:
    """Gives a browser on an application with Gradio's own stand-in for Hugging Face, where an account is known."""
    import gradio.oauth

    monkeypatch.delenv("SYSTEM", raising=False)
    monkeypatch.setattr(gradio.oauth, "get_token", lambda: "hf_stand_in")

    def make(name: str, team: Team) -> Browser:
        account = {"type": "user", "fullname": "A Person", "name": name, "avatarUrl": ""}
        monkeypatch.setattr(gradio.oauth, "whoami", lambda: account)
        desk = opened.enter_context(served(settings, team))
        return Browser(desk.app, base_url="https://triage.example")

    with ExitStack() as opened:
        yield make


def words(answer: Any) -> str:
    return re.sub(r"<[^>]*>", "", answer.text)


def signs_in_there(client: Browser) -> Any:
    return client.get("/login/huggingface?_target_url=/config", headers=HTML)


def test_an_account_signs_in_with_its_role(hugging_face, settings):
    users = UsersFile(write_team(settings.home / "users.yaml", (MAKER,)))
    client = hugging_face("Maker", Team(Mode.HUGGING_FACE, users=users))
    assert client.get("/config").status_code == 401
    assert "./login/huggingface" in client.get("/sign-in").text
    assert client.sign_in("maker").status_code == 400, "passwords do not count here"
    assert signs_in_there(client).status_code == 200
    service = TriageService(settings)
    client.event("start", *START)
    assert [r.owner for r in service.list()] == ["maker"]
    assert "You are signed in as maker" in words(client.get("/sign-in"))
    client.post("/sign-out")
    assert client.get("/config").status_code == 401
    assert [(e.who, e.action) for e in service.audit()] == [("maker", "start"), ("maker", "sign-in")]
    service.close()


def test_an_account_that_is_not_listed_gets_in_only_where_that_is_said(hugging_face, settings):
    users = UsersFile(write_team(settings.home / "users.yaml", (MAKER,)))
    client = hugging_face("mallory", Team(Mode.HUGGING_FACE, users=users))
    assert "mallory has no role here" in words(signs_in_there(client))
    assert client.get("/config").status_code == 401
    everybody = hugging_face("mallory", Team(Mode.HUGGING_FACE))
    assert signs_in_there(everybody).status_code == 200
    assert everybody.get("/config").status_code == 200


def test_the_owner_of_a_space_sees_the_audit_trail_and_others_do_not(hugging_face, settings):
    team = load_team(
        settings,
        {
            "SPACE_ID": "Chief/triage",
            "SYSTEM": "spaces",
            "OAUTH_CLIENT_ID": "id",
            "WFGY_TRIAGE_ADMINS": "vera",
        },
    )
    for account, role in (("chief", "admin"), ("Vera", "admin"), ("maker", "operator")):
        client = hugging_face(account, team)
        assert signs_in_there(client).status_code == 200
        assert f"Your role is {role}" in client.get("/sign-in").text
        assert ("?audit=1" in client.event("whoever").text) is (role == "admin")


def test_a_session_cookie_that_somebody_made_up_is_no_account(hugging_face):
    client = hugging_face("maker", Team(Mode.HUGGING_FACE))
    signs_in_there(client)
    real = client.cookies["session"]
    body, _, signature = real.partition(".")
    for forged in (body, f"{body}.{'x' * len(signature)}", f"x{real}", ""):
        other = Browser(client.app, base_url="https://triage.example", cookies={"session": forged})
        assert other.get("/config").status_code == 401


def test_on_a_space_the_real_addresses_of_hugging_face_are_served(settings):
    code = (
        "from fastapi.testclient import TestClient\n"
        "from wfgy_triage.runs.service import TriageService\n"
        "from wfgy_triage.settings import load_settings\n"
        "from wfgy_triage.ui.app import build_app\n"
        "settings = load_settings()\n"
        "app = build_app(settings, TriageService(settings))\n"
        "client = TestClient(app, base_url='https://x.hf.space')\n"
        "print(client.get('/').status_code, 'login/huggingface' in client.get('/sign-in').text,\n"
        "      any(getattr(r, 'path', '') == '/login/callback' for r in app.routes),\n"
        "      client.get('/config').status_code, client.get('/healthz').text)\n"
    )
    environment = {
        **os.environ,
        "WFGY_TRIAGE_HOME": str(settings.home),
        "SPACE_ID": "someone/triage",
        "SYSTEM": "spaces",
        "OAUTH_CLIENT_ID": "id",
        "OAUTH_CLIENT_SECRET": "secret",
        "OAUTH_SCOPES": "openid profile",
        "OPENID_PROVIDER_URL": "https://huggingface.invalid",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["401", "True", "True", "401", "ok"]
