"""The door of a served application, over HTTP: who gets in, and how."""

from __future__ import annotations

import re

import pytest

from tests.people import ADMIN, MAKER, finished_session, queued_session
from tests.ui.people.desk import HEADLINE, HTML, Browser, everything
from wfgy_triage.runs.service import TriageService

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
    run_id = finished_session(worker, MAKER)
    _, token = TriageService(shared.settings, actor=ADMIN).share(run_id, 7)
    shared = client.get(f"/s/{token}")
    assert shared.status_code == 200
    assert HEADLINE in shared.text
    assert client.get("/healthz").text == "ok"
    assert client.get("/templates/questions.csv").status_code == 200
    assert client.get("/texts/translate.js").status_code == 200
    assert client.get("/s/" + "A" * 43).status_code == 404
    page = client.get("/sign-in")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert client.cookies == {}


def test_signing_in_leads_back_and_signing_out_closes(browser):
    client = browser()
    answer = client.sign_in("Maker", next="/runs?by=maker&page=2")
    assert answer.status_code == 303
    assert answer.headers["location"] == "./runs?by=maker&page=2"
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
    answer = Browser(shared.app, base_url="https://triage.example").sign_in("maker")
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "next",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "/a\r\nb", "x", "/\u2028"],
)
def test_signing_in_leads_nowhere_else(browser, next):
    assert browser().sign_in("maker", next=next).headers["location"] == "./"
    assert "evil" not in browser().get("/sign-in", params={"next": next}).text


@pytest.mark.parametrize(
    "values", [{"name": "maker", "password": "wrong"}, {"name": "nobody"}, {}, {"name": '"><b>x'}]
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
        client.sign_in("maker", "not the password")
    assert "Too many wrong passwords" in client.sign_in("maker").text
    assert client.get("/config").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "../../x", "%00"])
def test_a_made_up_cookie_opens_nothing(browser, token):
    for name in ("wfgy-session", "wfgy-visitor", "access-token", "session"):
        assert browser().get("/config", cookies={name: token}).status_code == 401


def test_another_sites_page_cannot_use_a_visitors_cookie(browser, worker):
    client = browser(MAKER)
    run_id = queued_session(worker, MAKER)
    before = everything(worker)
    for site in ("cross-site", "same-site"):
        client.headers["sec-fetch-site"] = site
        assert client.event("stop", run_id).status_code == 403
        assert client.post("/sign-out").status_code == 403
        assert client.sign_in("reader").status_code == 403
    assert everything(worker) == before
    client.headers["sec-fetch-site"] = "same-origin"
    assert client.event("stop", run_id).status_code == 200
    assert everything(worker) != before
