"""A served team, and browsers that ask it over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.browser.conftest import write_default_pairs
from tests.browser.scripted import ScriptedWorker
from tests.people import PASSWORD, write_team
from wfgy_triage.access import Actor
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.team import Team, load_team
from wfgy_triage.settings import Settings
from wfgy_triage.ui.app import build_app

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


def signed_in(app: FastAPI, actor: Actor) -> Browser:
    client = Browser(app)
    assert client.sign_in(actor.name).status_code == 303
    return client


def everything(worker: ScriptedWorker) -> str:
    """All that is stored but signing in and out."""
    tables = ("runs", "events", "samples", "shares", "audit")
    with worker.database.read() as session:
        rows = [session.execute(sa.text(f"SELECT * FROM {t}")).all() for t in tables]  # noqa: S608
    rows[-1] = [row for row in rows[-1] if not row.action.startswith("sign-")]
    return repr(rows)
