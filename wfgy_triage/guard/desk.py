"""Where answers are judged: on threads of its own, bounded, beside the event loop; its rows go to the recorder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from wfgy_triage.guard.answers import MAX_BYTES
from wfgy_triage.guard.asked import Asked
from wfgy_triage.guard.checks import Guard, Verdict
from wfgy_triage.guard.judging import Judged, Passage, judge
from wfgy_triage.store.guard import GuardedAnswer

THREADS = 1
"""Judging is Python; a second thread would only take turns with the first."""
WAITING = 256
"""So many answers wait to be judged at most; the next ones are logged as not judged."""

_log = logging.getLogger(__name__)

Put = Callable[[tuple[GuardedAnswer, ...]], None]


class Tape:
    """Keeps a copy of an answer as it comes through: references to its pieces, no more than `MAX_BYTES`."""

    def __init__(self) -> None:
        self.status = 0
        self.encoding = ""
        self.streaming = False
        self.trouble = ""
        self.too_long = False
        self.handed = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._start = time.perf_counter()
        self._first: float | None = None

    def add(self, piece: bytes) -> None:
        """Keep a piece."""
        if self._first is None:
            self._first = time.perf_counter()
        self._size += len(piece)
        if self._size > MAX_BYTES:
            self.too_long = True
            self._pieces.clear()
        if not self.too_long:
            self._pieces.append(piece)

    @property
    def tail(self) -> bytes:
        """The last bytes that came."""
        return b"".join(self._pieces[-4:])[-4:]

    def passage(self) -> Passage:
        """What there is to judge."""
        now = time.perf_counter()
        first = None if self._first is None else 1000 * (self._first - self._start)
        trouble = self.trouble or ("too_long" if self.too_long else "")
        return Passage(
            tuple(self._pieces),
            self.status,
            self.encoding,
            self.streaming,
            first,
            1000 * (now - self._start),
            trouble,
        )


class Desk:
    """Judges and logs.

    Args:
        put: takes the rows (`Recorder.put`); must return at once.
        guard: the checks.
        policy: id of the policy in force.
        waiting: how many answers may wait.
    """

    def __init__(self, put: Put, guard: Guard, policy: str, waiting: int = WAITING) -> None:
        self._put = put
        self._guard = guard
        self._policy = policy
        self._limit = waiting
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="guard-judge")
        self._pending: set[asyncio.Future[Judged]] = set()

    def hand_in(self, asked: Asked, tape: Tape) -> asyncio.Future[Judged]:
        """Have an answer judged and logged; what comes back is done when it is."""
        tape.handed = True
        loop, passage = asyncio.get_running_loop(), tape.passage()
        if len(self._pending) >= self._limit:
            busy: asyncio.Future[Judged] = loop.create_future()
            busy.set_result(self._unjudged(asked, passage, "busy"))
            self._put(busy.result().rows)
            return busy
        future = loop.run_in_executor(self._pool, judge, asked, passage, self._guard, self._policy)
        self._pending.add(future)
        future.add_done_callback(lambda done: self._log(done, asked, passage))
        return future

    async def verdict(self, future: asyncio.Future[Judged], wait_s: float) -> Judged | None:
        """The judgement; None when it is not there in time (it is logged all the same)."""
        done, _ = await asyncio.wait({future}, timeout=wait_s)
        return future.result() if done and future.exception() is None else None

    async def close(self) -> None:
        """Judge what waits, then end."""
        if self._pending:
            await asyncio.wait(set(self._pending))
        self._pool.shutdown()

    def _log(self, done: asyncio.Future[Judged], asked: Asked, passage: Passage) -> None:
        self._pending.discard(done)
        if done.cancelled():
            return
        if (fault := done.exception()) is not None:
            # A fault of ours must not take an answer away: it went through, and the log says that nobody judged it.
            _log.error("an answer could not be judged: %s", type(fault).__name__)
            self._put(self._unjudged(asked, passage, "guard_error").rows)
            return
        self._put(done.result().rows)

    def _unjudged(self, asked: Asked, passage: Passage, failure: str) -> Judged:
        judged = judge(replace(asked, checked=False), replace(passage, pieces=()), self._guard, self._policy)
        verdict = Verdict.UNJUDGED if asked.checked else Verdict.UNCHECKED
        return Judged(tuple(replace(r, verdict=verdict.value, failure=failure) for r in judged.rows))
