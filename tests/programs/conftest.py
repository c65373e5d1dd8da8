"""A served app that answers programs, with a token of each role; a scripted worker plays the models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.conftest import Served, serve
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.access import Role
from wfgy_triage.runs.tokens import new_token

CALLS = [
    "list_symptoms",
    "list_pairs",
    "match_complaint",
    "start_probe",
    "get_result",
    "cancel_run",
]


@dataclass(frozen=True)
class Door:
    """Where programs ask, and with what."""

    served: Served
    tokens: Path
    operator: str
    viewer: str

    @property
    def api(self) -> str:
        return f"{self.served.url}/api"

    @property
    def mcp(self) -> str:
        return f"{self.served.url}/api/mcp"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    home = tmp_path_factory.mktemp("programs")
    operator, first = new_token("ci", Role.OPERATOR)
    viewer, second = new_token("dashboard", Role.VIEWER)
    tokens = home / "tokens.txt"
    tokens.write_text(f"# who may ask\n{first}\n{second}\n")
    more = {"WFGY_TRIAGE_API": "1", "WFGY_TRIAGE_API_TOKENS": str(tokens), "WFGY_TRIAGE_MAX_QUEUED_EACH": "3"}
    with serve(home, **more) as served:
        yield Door(served, tokens, operator, viewer)


@pytest.fixture
def worker(door: Door) -> Iterator[ScriptedWorker]:
    scripted = ScriptedWorker(door.served.settings)
    scripted.alive()
    yield scripted
    scripted.end_everything()
    scripted.database.close()
