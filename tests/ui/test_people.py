"""The door of a served application, over HTTP: who gets in, and that nobody gets at what is not theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.browser.conftest import write_default_pairs
from tests.browser.scripted import ScriptedWorker
from tests.people import ADMIN, KIM, LEE, PASSWORD, VIEWER, finished_session, queued_session, write_team
from wfgy_triage.access import Actor, Role
from wfgy_triage.report.export.formats import FORMATS
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.team import Mode, Team, load_team
from wfgy_triage.settings import REPO_ROOT, Settings, load_settings
from wfgy_triage.store.audit import AuditRepository
from wfgy_triage.store.records import RunStatus
from wfgy_triage.ui.app import build_app
from wfgy_triage.users import UsersFile

HTML = {"accept": "text/html"}
START = ("json_breaks", "demo", 20, "", "yes", 0, "")
"""What the page sends to start a run."""
HEADLINE = "EXL2 breaks the schema in 6 of 20 answers"


class Browser(TestClient):
    """A browser without a page: it keeps cookies and sends the page's events as the page does."""

    def sign_in(self, name: str, password: str = PASSWORD, next: str = "") -> Any:
        form = {"name": name, "password": password, "next": next}
        return self.post("/sign-in", data=form, follow_redirects=False)

    @cached_property
    def functions(self) -> dict[str, int]:
        """Handlers by name, as the page numbers them."""
        return {d["api_name"]: d["id"] for d in self.get("/config").json()["dependencies"]}

    def event(self, name: str, *values: Any, query: dict[str, str] | None = None) -> Any:
        """Send an event straight to its handler, with the parameters of the page's address."""
        return self.post(
            "/gradio_api/run/predict",
            params=query,
            json={"fn_index": self.functions[name], "data": list(values), "session_hash": "x"},
        )

    def notice(self, name: str, *values: Any) -> str:
        """What the page says after an event."""
        answer = self.event(name, *values)
        assert answer.status_code == 200, answer.text
        (told,) = (d for d in answer.json()["data"] if isinstance(d, str) and "callout" in d and "alert" in d)
        return str(told)


class Desk(NamedTuple):
    """A served team: the application, and the store behind it."""

    settings: Settings
    worker: ScriptedWorker
    team: Team
    app: FastAPI


@contextmanager
def served(settings: Settings, team: Team | None = None) -> Iterator[Desk]:
    """The application of a team: by default that of the four, with passwords."""
    if team is None:
        write_team(settings.home / "users.yaml")
        team = load_team(settings, {})
    write_default_pairs(settings)
    worker, service = ScriptedWorker(settings), TriageService(settings)
    yield Desk(settings, worker, team, build_app(settings, service, team=team))
    worker.database.close()
    service.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One application for all tests that leave nothing behind for the others."""
    home = tmp_path_factory.mktemp("shared")
    settings = load_settings(
        home=home, pairs_file=home / "pairs.yaml", database_url=f"sqlite:///{home / 'triage.db'}"
    )
    with served(settings) as desk:
        yield desk


@pytest.fixture
def worker(shared: Desk) -> ScriptedWorker:
    shared.worker.end_everything()
    return shared.worker


@pytest.fixture
def alone(settings: Settings) -> Iterator[Desk]:
    """An application for one test."""
    with served(settings) as desk:
        yield desk


def signed_in(app: FastAPI, actor: Actor) -> Browser:
    client = Browser(app)
    assert client.sign_in(actor.name).status_code == 303
    return client


@pytest.fixture
def browser(shared: Desk) -> Callable[..., Browser]:
    """Gives a browser that is signed in; without an actor one that is not."""
    return lambda actor=None: signed_in(shared.app, actor) if actor else Browser(shared.app)


def everything(worker: ScriptedWorker) -> str:
    """All that is stored but signing in and out."""
    tables = ("runs", "events", "samples", "shares", "audit")
    with worker.database.read() as session:
        rows = [session.execute(sa.text(f"SELECT * FROM {t}")).all() for t in tables]  # noqa: S608
    rows[-1] = [row for row in rows[-1] if not row.action.startswith("sign-")]
    return repr(rows)


CLOSED = ("/", "/runs", "/runs?audit=1", "/config", "/gradio_api/info", "/gradio_api/startup-events", "/theme.css",
          "/gradio_api/heartbeat/x", "/gradio_api/user", "/manifest.json", "/sessions/x/export/html", "/assets/x.js",
          "/s/a/b", "/s/", "/templates/../config", "/templates/a/b", "//config", "/sign-in/", "/healthz/", "/login",
          "/nothing", "/gradio_api/file=/etc/passwd", "/monitoring")  # fmt: skip


@pytest.mark.parametrize("path", CLOSED)
def test_without_a_role_nothing_answers_and_a_browser_is_led_to_the_sign_in(browser, path):
    client = browser()
    assert client.get(path, follow_redirects=False).status_code == 401
    led = client.get(path, headers=HTML, follow_redirects=False)
    assert led.status_code == 303
    assert re.fullmatch(r"(\.\./)*sign-in(\?next=.*)?", led.headers["location"])
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, path, headers=HTML, follow_redirects=False).status_code == 401


@pytest.mark.parametrize(
    "path", ["/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/cancel",
             "/gradio_api/reset", "/gradio_api/call/start", "/sign-out/"]
)  # fmt: skip
def test_without_a_role_no_event_arrives(browser, path):
    assert browser().post(path, json={}).status_code == 401


def test_what_is_public(browser, shared, worker):
    client = browser()
    run_id = finished_session(worker, KIM)
    _, token = TriageService(shared.settings, actor=ADMIN).share(run_id, 7)
    shared = client.get(f"/s/{token}")
    assert shared.status_code == 200
    assert HEADLINE in shared.text
    assert client.get("/healthz").text == "ok"
    assert client.get("/templates/questions.csv").status_code == 200
    assert client.get("/s/" + "A" * 43).status_code == 404
    page = client.get("/sign-in")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert client.cookies == {}


def test_signing_in_leads_back_and_signing_out_closes(browser):
    client = browser()
    answer = client.sign_in("Kim", next="/runs?by=kim&page=2")
    assert answer.status_code == 303
    assert answer.headers["location"] == "./runs?by=kim&page=2"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    assert client.get("/").status_code == client.get("/runs").status_code == 200
    stolen = dict(client.cookies)
    assert client.post("/sign-out", follow_redirects=False).status_code == 303
    assert client.get("/config").status_code == 401
    assert browser().get("/config", cookies=stolen).status_code == 401, "it is over on the server as well"


def test_over_https_the_cookie_is_for_https(shared):
    answer = Browser(shared.app, base_url="https://triage.example").sign_in("kim")
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "next",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "/a\r\nb", "x", "/\u2028"],
)
def test_signing_in_leads_nowhere_else(browser, next):
    assert browser().sign_in("kim", next=next).headers["location"] == "./"
    assert "evil" not in browser().get("/sign-in", params={"next": next}).text


@pytest.mark.parametrize(
    "values", [{"name": "kim", "password": "wrong"}, {"name": "nobody"}, {}, {"name": '"><b>x'}]
)
def test_a_wrong_password_is_said_and_opens_nothing(browser, values):
    client = browser()
    answer = client.post("/sign-in", data=values)
    assert answer.status_code == 401
    assert "Name or password is wrong" in answer.text
    assert "<b>x" not in answer.text
    assert "set-cookie" not in answer.headers
    assert client.get("/config").status_code == 401


def test_a_form_that_is_too_long_or_no_form_is_not_read(browser):
    for body in (b"name=" + b"x" * 20_000, b"\xff\xfe", b"&".join(b"a=1" for _ in range(50))):
        assert browser().post("/sign-in", content=body).status_code == 400


def test_guesses_are_held_off_over_http(alone):
    client = Browser(alone.app)
    for _ in range(5):
        client.sign_in("kim", "not the password")
    assert "Too many wrong passwords" in client.sign_in("kim").text
    assert client.get("/config").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "../../x", "%00"])
def test_a_made_up_cookie_opens_nothing(browser, token):
    for name in ("wfgy-session", "wfgy-visitor", "access-token", "session"):
        assert browser().get("/config", cookies={name: token}).status_code == 401


def test_another_sites_page_cannot_use_a_visitors_cookie(browser, worker):
    client = browser(KIM)
    run_id = queued_session(worker, KIM)
    before = everything(worker)
    for site in ("cross-site", "same-site"):
        client.headers["sec-fetch-site"] = site
        assert client.event("stop", run_id).status_code == 403
        assert client.post("/sign-out").status_code == 403
        assert client.sign_in("lee").status_code == 403
    assert everything(worker) == before
    client.headers["sec-fetch-site"] = "same-origin"
    assert client.event("stop", run_id).status_code == 200
    assert everything(worker) != before


OTHERS = {
    "describe": lambda run, link: (run, "mine now", "tag", "note"),
    "make_link": lambda run, link: (run, "7", False),
    "take_back": lambda run, link: (run, link),
    "delete_session": lambda run, link: (run,),
    "resume": lambda run, link: (run,),
    "stop": lambda run, link: (run,),
}


@pytest.mark.parametrize("actor", [LEE, VIEWER])
@pytest.mark.parametrize("event", OTHERS)
def test_what_is_somebody_elses_cannot_be_changed_by_sending_its_id(browser, shared, worker, event, actor):
    run_id = queued_session(worker, KIM) if event == "stop" else finished_session(worker, KIM)
    share, _ = TriageService(shared.settings, actor=KIM).share(run_id, 7) if event != "stop" else (None, "")
    client = browser(actor)
    before = everything(worker)
    said = client.notice(event, *OTHERS[event](run_id, share.id if share else ""))
    assert "belongs to kim" in said or "the role operator" in said
    assert everything(worker) == before


@pytest.mark.parametrize("event", [e for e in OTHERS if e != "resume"])
def test_the_owner_can_and_so_can_an_admin(browser, shared, worker, event):
    for actor in (KIM, ADMIN):
        run_id = queued_session(worker, KIM) if event == "stop" else finished_session(worker, KIM)
        share, _ = (
            TriageService(shared.settings, actor=KIM).share(run_id, 7) if event != "stop" else (None, "")
        )
        before = everything(worker)
        answer = browser(actor).event(event, *OTHERS[event](run_id, share.id if share else ""))
        assert answer.status_code == 200
        assert "callout tone-bad" not in answer.text
        assert everything(worker) != before
        if event == "stop":
            assert worker.runs.get(run_id).status is RunStatus.CANCELLED


def test_a_viewer_starts_nothing_and_brings_nothing(browser, shared, worker):
    run_id = finished_session(worker, KIM)
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
    answer = browser(KIM).event("start", *START)
    assert answer.status_code == 200
    assert [r.owner for r in worker.runs.list(status=RunStatus.QUEUED)] == ["kim"]


@pytest.mark.parametrize("form", FORMATS)
def test_exports_are_for_those_with_a_role_and_are_written_down(browser, worker, form):
    run_id = finished_session(worker, KIM)
    path = f"/sessions/{run_id}/export/{form}"
    assert browser().get(path).status_code == 401
    assert browser(VIEWER).get(f"{path}?redact=1").status_code == 200
    (entry,) = AuditRepository(worker.database).last(1)
    assert (entry.who, entry.role, entry.target) == ("vera", "viewer", run_id)
    assert entry.details == {"format": form, "redacted": True}


def test_the_audit_trail_is_for_admins(browser, worker):
    finished_session(worker, KIM)

    def seen(actor: Actor) -> str:
        return str(browser(actor).event("show", query={"audit": "1"}).text)

    assert "the role admin" in seen(KIM)
    assert "the role admin" in seen(VIEWER)
    assert "json_breaks" in seen(ADMIN)
    assert "json_breaks" not in seen(LEE)


def test_the_session_says_whose_it_is_and_offers_what_one_may(browser, worker):
    run_id = finished_session(worker, KIM)

    def loaded(actor: Actor) -> str:
        return str(browser(actor).event("load", query={"run": run_id}).text)

    assert "Started by <b>kim</b> (you)" in loaded(KIM)
    assert "Started by <b>kim</b>." in loaded(VIEWER)


def test_a_list_of_users_that_breaks_lets_nobody_in_and_what_is_public_stays(alone):
    client = signed_in(alone.app, KIM)
    assert alone.team.users is not None
    alone.team.users.path.write_text("users: [")
    assert client.get("/config").status_code == 503
    assert client.get("/", headers=HTML).status_code == 503
    assert client.get("/healthz").status_code == 200


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
    assert client.sign_in("kim").status_code == 303
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


def signs_in_there(client: Browser) -> Any:
    return client.get("/login/huggingface?_target_url=/config", headers=HTML)


def test_an_account_signs_in_with_its_role(hugging_face, settings):
    users = UsersFile(write_team(settings.home / "users.yaml", (KIM,)))
    client = hugging_face("Kim", Team(Mode.HUGGING_FACE, users=users))
    assert client.get("/config").status_code == 401
    assert "./login/huggingface" in client.get("/sign-in").text
    assert client.sign_in("kim").status_code == 400, "passwords do not count here"
    assert signs_in_there(client).status_code == 200
    service = TriageService(settings)
    client.event("start", *START)
    assert [r.owner for r in service.list()] == ["kim"]
    assert "You are signed in as kim" in client.get("/sign-in").text
    client.post("/sign-out")
    assert client.get("/config").status_code == 401
    assert [(e.who, e.action) for e in service.audit()] == [("kim", "start"), ("kim", "sign-in")]
    service.close()


def test_an_account_that_is_not_listed_gets_in_only_where_that_is_said(hugging_face, settings):
    users = UsersFile(write_team(settings.home / "users.yaml", (KIM,)))
    client = hugging_face("mallory", Team(Mode.HUGGING_FACE, users=users))
    assert "mallory has no role here" in signs_in_there(client).text
    assert client.get("/config").status_code == 401
    everybody = hugging_face("mallory", Team(Mode.HUGGING_FACE))
    assert signs_in_there(everybody).status_code == 200
    assert everybody.get("/config").status_code == 200


def test_a_session_cookie_that_somebody_made_up_is_no_account(hugging_face):
    client = hugging_face("kim", Team(Mode.HUGGING_FACE))
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
