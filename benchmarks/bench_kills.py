"""SIGKILL at random moments: is anything lost, repeated or doubled?

A run is measured by the real worker loop on the real store; probe and engines are the small ones of the tests, so that
a trial takes seconds. In each trial the worker, or the process that supervises it, is killed once at a random moment
between its start and the end of the run, and what comes after has to finish the run. The result must equal that of
an undisturbed run sample by sample, the log must have no gap, the file must be sound.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.runs.run_fakes import make_settings, register_pair, spec
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunRecord, RunStatus, Sample
from wfgy_triage.store.runs import RunRepository

TRIALS, QUESTIONS, PAUSE = 100, 8, 0.05
VICTIMS = ("worker", "web")
LIMIT_S = 120.0
PARTS = ("state", "metrics", "diagnosis", "charts", "headline")


@dataclass(frozen=True)
class Ended:
    """A run that has ended, as it is stored."""

    record: RunRecord
    samples: list[Sample]
    seconds: float


class Home:
    """A home folder, its store, and the process that stands for the web process."""

    def __init__(self, path: Path) -> None:
        self.path, settings = path, make_settings(path)
        register_pair(settings)
        self.database = open_database(settings.database_url)
        self.runs = RunRepository(self.database)
        self.web: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start supervisor and worker."""
        with (self.path / "web.log").open("ab") as log:
            self.web = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "tests.runs.fake_web", str(self.path)],
                cwd=REPO_ROOT,
                env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
                stdout=log,
                stderr=log,
            )

    def worker(self) -> psutil.Process | None:
        """The worker, while there is one."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.web.pid if self.web else 0).children():
                return child
        return None

    def kill(self, victim: str) -> None:
        """Send SIGKILL; whoever is killed without the other leaves it running, as in life."""
        target = self.web.pid if victim == "web" and self.web else None
        if victim == "worker" and (found := self.worker()) is not None:
            target = found.pid
        if target is not None:
            with suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)
        if victim == "web" and self.web is not None:
            self.web.wait(30)
            self.start()

    def close(self) -> None:
        """End everything."""
        children = [c for c in [self.worker()] if c is not None]
        if self.web is not None:
            self.web.kill()
            self.web.wait(30)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        self.database.close()

    def end_of(self, run_id: str) -> Ended:
        """Wait for the end of a run."""
        began = time.monotonic()
        record = _wait(lambda: self._ended(run_id))
        return Ended(record, list(self.runs.samples(run_id)), time.monotonic() - began)

    def _ended(self, run_id: str) -> RunRecord | None:
        record = self.runs.get(run_id)
        return None if record.status in (RunStatus.QUEUED, RunStatus.RUNNING) else record


def run(fast: bool = False, repeats: int = TRIALS) -> dict[str, Any]:
    """Kill, let it go on, compare; see the module.

    Args:
        fast: four trials.
        repeats: how many trials.
    """
    chance = random.Random(0)  # noqa: S311 - repeatable, not secret
    whole = _trial(None, 0.0)
    print(f"undisturbed: {whole.seconds:.1f} s, {len(whole.samples)} samples\n")
    rows = []
    for number in range(4 if fast else repeats):
        victim, moment = VICTIMS[number % 2], chance.uniform(0.0, whole.seconds * 1.05)
        rows.append({"victim": victim, "at_s": round(moment, 2), "faults": _judge(victim, moment, whole)})
        if rows[-1]["faults"]:
            print(f"{number}: {rows[-1]}", flush=True)
    found = {v: [r for r in rows if r["victim"] == v] for v in VICTIMS}
    print("| killed | times | same result | lost, repeated or doubled |\n|---|---|---|---|")
    for victim, tried in found.items():
        bad = sum(bool(r["faults"]) for r in tried)
        print(f"| {victim} | {len(tried)} | {len(tried) - bad} | {bad} |")
    return {"undisturbed_s": round(whole.seconds, 2), "rows": rows}


def _judge(victim: str, moment: float, whole: Ended) -> list[str]:
    faults: list[str] = []
    ended = _trial(victim, moment, faults)
    if ended.record.status is not RunStatus.DONE:
        return [*faults, f"{ended.record.status}: {ended.record.error_message}"]
    if ended.samples != whole.samples:
        faults.append(f"{len(ended.samples)} samples instead of {len(whole.samples)}, or others")
    left, right = (dict(r.record.result or {}) for r in (ended, whole))
    faults += [f"{part} differs" for part in PARTS if left.get(part) != right.get(part)]
    return faults


def _trial(victim: str | None, moment: float, faults: list[str] | None = None) -> Ended:
    """One run in a home of its own, with at most one kill."""
    with tempfile.TemporaryDirectory() as base:
        home = Home(Path(base))
        try:
            run_id = home.runs.create(spec(QUESTIONS, pause=PAUSE)).id
            home.start()
            stored: set[tuple[str, str]] = set()
            asked = 0
            if victim is not None:
                time.sleep(moment)
                home.kill(victim)
                stored = {(s.key.question, s.key.side) for s in home.runs.samples(run_id)}
                asked = len(_measured(home.path))
            ended = home.end_of(run_id)
            if faults is not None:
                faults += _checked(home, run_id, stored, asked, victim)
            return ended
        finally:
            home.close()


def _checked(
    home: Home, run_id: str, stored: set[tuple[str, str]], asked: int, victim: str | None
) -> list[str]:
    """What is wrong in the store afterwards; what was stored at the kill must not be asked again."""
    found = []
    if victim == "worker" and stored & set(_measured(home.path)[asked:]):
        found.append("a stored question was measured again")
    sequence = [e.seq for e in home.runs.events(run_id)]
    if sequence != list(range(1, len(sequence) + 1)):
        found.append("the log has a gap")
    with closing(sqlite3.connect(home.path / "triage.db")) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            found.append("the file is damaged")
    return found


def _measured(home: Path) -> list[tuple[str, str]]:
    log = home / "measured.log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [(question, side) for question, side in (line.split() for line in lines)]


def _wait(condition: Callable[[], RunRecord | None]) -> RunRecord:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if (found := condition()) is not None:
            return found
        time.sleep(0.05)
    raise TimeoutError(json.dumps({"not_ended_after_s": LIMIT_S}))
