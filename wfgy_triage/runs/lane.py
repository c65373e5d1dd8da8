"""One lane a device: file locks under the home folder that let one process at a time use the models.

Three locks: `worker.lock` is held by the worker process for its whole life (a second stands by), `lane.lock` by
whoever works on a run: the worker, or the command line's own headless run, and `wanted.lock` by one that waits for
it. The operating system drops them when their holder dies, however it dies.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.settings import Settings

_LANE_POLL_S = 0.05


@dataclass(frozen=True)
class Lane:
    """The lane of one home folder on one host. `name` starts the ids of all its workers."""

    home: Path
    name: str

    def new_worker_id(self) -> str:
        """An id for one process, unique over restarts (process ids come back)."""
        return f"{self.name}.{os.getpid()}.{secrets.token_hex(4)}"

    @contextmanager
    def try_hold(self) -> Iterator[bool]:
        """Hold the device for the block; False, without waiting, when another process has it."""
        with _try_lock(self.home / "lane.lock") as held:
            yield held

    @contextmanager
    def try_want(self) -> Iterator[bool]:
        """Let others know for the block that the device is wanted; False when another process already does."""
        with _try_lock(self.home / "wanted.lock") as held:
            yield held

    def wanted(self) -> bool:
        """Whether a process waits for the device."""
        with self.try_want() as free:
            return not free

    @contextmanager
    def try_be_worker(self) -> Iterator[bool]:
        """Be the worker of this home for the block; False, without waiting, when there is one."""
        with _try_lock(self.home / "worker.lock") as held:
            yield held


def lane_of(settings: Settings) -> Lane:
    """The lane of the settings' home folder, which is created together with its `logs/`.

    Raises:
        PrerequisiteError: the folder cannot be created.
    """
    try:
        (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(settings.home) from error
    seed = f"{socket.gethostname()}\0{settings.home}".encode()
    return Lane(settings.home, hashlib.sha256(seed).hexdigest()[:12])


@contextmanager
def hold_device(lane: Lane, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the device for the block, waiting for it as long as it takes; `waits` is told once when that is so."""
    told = False
    with ExitStack() as wish:
        while True:
            with lane.try_hold() as held:
                if held:
                    wish.close()
                    yield
                    return
            if not told:
                waits()
                wish.enter_context(lane.try_want())
            told = True
            time.sleep(_LANE_POLL_S)


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise _not_writable(path.parent) from error
    try:
        yield True
    finally:
        lock.release()


def _not_writable(home: Path) -> PrerequisiteError:
    return PrerequisiteError(
        f"The folder {home} cannot be written.", "Set WFGY_TRIAGE_HOME to a folder that is writable."
    )
