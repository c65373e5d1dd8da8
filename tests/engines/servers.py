"""A real server process for as long as a test needs it, and what a run against one has to show."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from wfgy_triage.result import State
from wfgy_triage.settings import Settings
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunRecord, RunStatus
from wfgy_triage.store.runs import RunRepository

STARTS_WITHIN_S = 240


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], health: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a server until the end of the block; it begins when `health` answers with 200."""
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=log.open("w"), stderr=subprocess.STDOUT
    )
    try:
        _wait(process, health, log)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    for _ in range(STARTS_WITHIN_S * 5):
        if process.poll() is not None:
            pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
        try:
            if httpx.get(health, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the server does not answer: {log.read_text()[-2000:]}")


def assert_measured_alike(record: RunRecord, settings: Settings) -> None:
    """The same weights on a server and here: the same answers, so the same rates; what a server cannot give is said."""
    assert record.status is RunStatus.DONE, record.error_message
    assert record.result is not None
    by_id = {m["id"]: m for m in record.result["metrics"]}
    # A random model ends no answer, so none of its rates can be judged: its words are what tells.
    assert by_id["truncated_rate"]["exl2"] == by_id["truncated_rate"]["fp16"] is not None
    assert by_id["schema_valid_rate"]["exl2"] == by_id["schema_valid_rate"]["fp16"]
    assert by_id["kld"]["state"] == State.NOT_MEASURED
    assert by_id["server_repeat_rate"]["exl2"] == 0.0
    database = open_database(settings.database_url)
    samples = RunRepository(database).samples(record.id)
    database.close()
    texts: dict[str, list[str]] = {}
    for sample in samples:
        if sample.key.side in ("fp16", "exl2"):
            texts.setdefault(sample.key.question, []).append(sample.payload["text"].rstrip("\ufffd"))
    assert len(texts) == record.spec.questions
    for here, there in texts.values():
        assert here == there
        assert here
