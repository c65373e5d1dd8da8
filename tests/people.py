"""People for tests: cheap password hashes, and sessions that belong to somebody."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.browser.scripted import ScriptedWorker
from wfgy_triage import passwords
from wfgy_triage.access import Actor, Role
from wfgy_triage.store.guarded import GuardedRuns
from wfgy_triage.store.records import RunSpec

MAKER, READER = Actor("maker", Role.OPERATOR), Actor("reader", Role.OPERATOR)
VIEWER, ADMIN = Actor("vera", Role.VIEWER), Actor("chief", Role.ADMIN)
TEAM = (MAKER, READER, VIEWER, ADMIN)
PASSWORD = "correct horse battery"  # noqa: S105 - of people who do not exist


def cheap_hash(password: str = PASSWORD) -> str:
    """A hash of the least cost that is accepted."""
    before = passwords._N, passwords._P
    passwords._N, passwords._P = 2**14, 1
    try:
        return passwords.hashed(password)
    finally:
        passwords._N, passwords._P = before


def write_team(path: Path, people: tuple[Actor, ...] = TEAM, password: str = PASSWORD) -> Path:
    """The file of users: everybody with the same password."""
    stored = cheap_hash(password)
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"name": a.name, "role": str(a.role), "password": stored} for a in people]
    path.write_text(yaml.safe_dump({"users": entries}))
    return path


def finished_session(worker: ScriptedWorker, owner: Actor) -> str:
    """A whole session that somebody started."""
    run_id = queued_session(worker, owner)
    worker.lease(run_id)
    worker.answers(run_id, 20, ("fp16", "exl2", "fp16_floor", "pair"))
    worker.finish(run_id)
    return run_id


def queued_session(worker: ScriptedWorker, owner: Actor) -> str:
    """A session that somebody started and nobody has begun."""
    return GuardedRuns(worker.database, owner).create(RunSpec("json_breaks", "demo")).id
