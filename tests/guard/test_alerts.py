"""Alerts: one line in the log, a post with pauses between tries, and addresses that are refused."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime

import httpx
import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.guard.alerts import TRIES, WebhookAlerts, checked_webhook, event_of
from wfgy_triage.guard.server import checked_upstream
from wfgy_triage.guard.states import gate_states
from wfgy_triage.guard.watched import load_watched
from wfgy_triage.store.guard import GuardedAnswer

STATE = gate_states(
    [GuardedAnswer(datetime.now(UTC), "m", "chat", "json", "failed", schema_ok=False, text="secret")] * 20,
    load_watched(),
)[0]
EVENT = event_of(STATE, "left")


def hook(answers, **more):
    """A webhook whose server gives these statuses; the posts, and a signal for the last one."""
    posts, done = [], threading.Event()

    def handle(request):
        posts.append(json.loads(request.content))
        if len(posts) >= len(answers):
            done.set()
        answer = answers[len(posts) - 1]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"location": "http://127.0.0.1:9/"})

    alerts = WebhookAlerts("http://hook/x", httpx.MockTransport(handle), **more)
    return alerts, posts, done


def test_a_change_is_posted_and_logged_in_one_line(caplog):
    alerts, posts, done = hook([200])
    with caplog.at_level(logging.WARNING):
        alerts.tell(EVENT, STATE)
    assert done.wait(10)
    alerts.stop()
    (line,) = [r.message for r in caplog.records if r.message.startswith("guard-alert ")]
    assert json.loads(line.removeprefix("guard-alert ")) == posts[0]
    assert posts[0]["gate"] == "json_schema_valid"
    assert posts[0]["value"] == 0.0
    assert "secret" not in line


def test_a_failed_post_is_tried_again_and_a_redirect_is_not_followed():
    alerts, posts, done = hook([500, httpx.ConnectError("no"), 302, 200], first_pause_s=0.01)
    alerts.tell(EVENT, STATE)
    assert done.wait(10)
    alerts.stop()
    assert len(posts) == 4


def test_it_gives_up_in_the_end(caplog):
    alerts, posts, done = hook([500] * TRIES, first_pause_s=0.001)
    alerts.tell(EVENT, STATE)
    assert done.wait(10)
    alerts.stop()
    assert len(posts) == TRIES
    assert "did not take an alert" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "file:///etc/passwd",
        "http://",
        "https://u:p@host/",
        "x",
        # What only the client that asks would refuse, in the middle of an alert or of a request.
        "http://host:80o0/x",
        "http://host:99999/x",
        "http://[::1/x",
        "http://a b/x",
    ],
)
def test_addresses_are_checked(url):
    with pytest.raises(InputError):
        checked_webhook(url)
    with pytest.raises(InputError):
        checked_upstream(url)


def test_the_upstream_may_end_in_v1():
    for url in ("http://h:5000", "http://h:5000/", "http://h:5000/v1", "http://h:5000/v1/"):
        assert checked_upstream(url) == "http://h:5000"
    assert checked_upstream("https://h/llm/v1") == "https://h/llm"
    with pytest.raises(InputError):
        checked_upstream("http://h/v1?x=1")
