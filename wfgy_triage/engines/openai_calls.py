"""Many requests to a server at a time, behind an ordinary iterator: an event loop in a thread of its own.

The loop runs on while the caller judges and stores, so that the times at which words arrive are true.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from wfgy_triage.engines.openai_client import ServerClient
from wfgy_triage.engines.openai_faults import UNREACHABLE, ServerFault
from wfgy_triage.errors import PrerequisiteError

POLL_S = 0.1
"""How often a request to stop is looked for."""
Asked = TypeVar("Asked")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Called(Generic[Asked, Found]):
    """One request and what came of it: `found`, or the `fault` that is left after all tries."""

    asked: Asked
    found: Found | None
    fault: ServerFault | None = None


def run_once(work: Coroutine[Any, Any, Found], what: str) -> Found:
    """Run one conversation with a server to its end.

    Args:
        work: the conversation.
        what: what it is for, as the beginning of the message.

    Raises:
        PrerequisiteError: the server does not answer as needed, in words, with the fix map's cause.
    """
    try:
        # In a thread of its own: the caller's may have a loop already.
        with ThreadPoolExecutor(1, "model server") as thread:
            return thread.submit(asyncio.run, work).result()
    except ServerFault as fault:
        raise PrerequisiteError(f"{what} {fault.message}", fault.hint, UNREACHABLE) from fault


def run_calls(
    make_client: Callable[[], ServerClient],
    asked: Sequence[Asked],
    call: Callable[[ServerClient, Asked], Awaitable[Found]],
    at_a_time: int,
    should_stop: Callable[[], bool],
) -> Iterator[Called[Asked, Found]]:
    """Make calls, so many at a time, and yield each as it ends. After `should_stop()` the others are hung up on.

    A fault that concerns the whole server ends the calls that are left; the last one yielded has it.

    Args:
        make_client: makes the client, within the loop.
        asked: what to ask, in this order.
        call: one request, with its own further tries.
        at_a_time: calls that run beside each other.
        should_stop: asked several times a second.
    """
    results: queue.Queue[Called[Asked, Found] | None] = queue.Queue()
    work = _Cancellable(_all(make_client, asked, call, at_a_time, results.put))
    with ThreadPoolExecutor(1, "model server") as thread:
        running = thread.submit(lambda: asyncio.run(work.run()))
        running.add_done_callback(lambda _: results.put(None))
        try:
            while not should_stop():
                try:
                    result = results.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if result is None:
                    running.result()
                    return
                yield result
                if result.fault is not None and result.fault.whole:
                    return
        finally:
            work.cancel()


async def _all(
    make_client: Callable[[], ServerClient],
    asked: Sequence[Asked],
    call: Callable[[ServerClient, Asked], Awaitable[Found]],
    at_a_time: int,
    put: Callable[[Called[Asked, Found]], None],
) -> None:
    waiting = iter(asked)

    async def work(client: ServerClient) -> None:
        for one in waiting:
            try:
                put(Called(one, await call(client, one)))
            except ServerFault as fault:
                put(Called(one, None, fault))
                if fault.whole:
                    return

    async with make_client() as client, asyncio.TaskGroup() as group:
        for _ in range(min(at_a_time, len(asked))):
            group.create_task(work(client))


class _Cancellable:
    """A piece of work in an event loop that another thread can end."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    async def run(self) -> None:
        """Do the work, unless it was cancelled before."""
        with self._lock:
            if self._cancelled:
                self._work.close()
                return
            self._task = asyncio.current_task()
        with suppress(asyncio.CancelledError):
            await self._work

    def cancel(self) -> None:
        """Cancel what still runs; its connections are closed by that."""
        with self._lock:
            self._cancelled = True
            if self._task is not None:
                with suppress(RuntimeError):  # the loop has ended
                    self._task.get_loop().call_soon_threadsafe(self._task.cancel)
