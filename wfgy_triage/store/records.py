"""What the store hands out: frozen records, never ORM rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class RunStatus(StrEnum):
    """Life of a run. `running` with a stale heartbeat is leased again and resumed."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


OPEN_STATUSES = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})


@dataclass(frozen=True)
class RunSpec:
    """What a user asks for. `questions` is how many of the workload's questions are used."""

    symptom: str
    pair_id: str
    questions: int = 20
    seed: int = 0
    workload_id: str = "builtin"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """One row of `runs`. Times are timezone-aware UTC. `result` is a `wfgy-triage/result-1` object at the end.

    A run that failed has one where something was measured.

    `error_message` and `error_hint` are set for FAILED runs, and may be set for CANCELLED ones.
    `timings` are seconds by stage so far, summed over every pass of a resumed run. Lists leave `result` out.
    `imported`: measured elsewhere and read from a session file. `title`, `note` and `tags` are what people wrote.
    `owner` is who started or imported it; empty where that is not known. It never leaves with an export.
    """

    id: str
    spec: RunSpec
    status: RunStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None
    cancel_requested: bool
    result: Mapping[str, Any] | None
    state: str | None
    error_message: str
    error_hint: str
    timings: Mapping[str, float] = field(default_factory=dict)
    imported: bool = False
    title: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class SampleKey:
    """Unique within a run: nothing is measured twice, a resume repeats nothing.

    `side` is `fp16`, `exl2`, `fp16_floor` (the FP16 twin), or `pair` and `pair_floor` (token-level comparisons).
    """

    probe: str
    question: str
    paraphrase: int
    seed: int
    side: str


@dataclass(frozen=True)
class Sample:
    """One finished measurement of one question on one side; `payload` is plain JSON."""

    key: SampleKey
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Event:
    """One line of a run's log. `seq` grows by one within a run.

    Kinds: `stage` {name, label, done, total}, `note` {text}, `error` {message, hint}, `status` {status},
    `context` {pair, findings, versions, workload}: what was loaded, what the doctor found, in which versions and with
    which questions it is measured (`runs/context.py`).
    """

    run_id: str
    seq: int
    at: datetime
    kind: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Share:
    """A read-only link to a run; its token is shown once, when it is made, and kept nowhere.

    Attributes:
        id: names it for revoking; opens nothing.
        run_id: what it shows.
        redacted: whether texts of questions and answers are left out.
        created_at: when it was made.
        expires_at: from when on it opens nothing.
        revoked_at: when it was taken back; None while it is not.
        made_by: who made it; empty where that is not known.
    """

    id: str
    run_id: str
    redacted: bool
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    made_by: str = ""

    def open_at(self, moment: datetime) -> bool:
        """Whether it opens at a moment."""
        return self.revoked_at is None and moment < self.expires_at
