"""One lane a device: file locks under the home folder that let one process at a time use a device.

`lane-DEVICE.lock` is held by whoever works on a run that uses the device: a worker, or the command line's own headless
run. A run on several devices takes all of their locks, always in the same order and never waiting with some of them in
hand, so that no two wait for each other. `wanted-DEVICE.lock` is held by a command that waits for it. The operating
system drops all of them when their holder dies, however it dies.

`lane-id` tells homes apart that have the same path on hosts of the same name, as containers have: a random text, made
once.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from wfgy_triage.engine_settings import CPU, engine_settings
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.settings import Settings

_LANE_POLL_S = 0.05
_HOME_ID = "lane-id"


@dataclass(frozen=True)
class Lane:
    """The lane of some devices on one host, for one home folder.

    Attributes:
        home: the folder that holds the locks.
        name: starts the ids of all who work on a run of this lane.
        devices: `cpu` and `cuda:N`, in the order in which all processes take them.
    """

    home: Path
    name: str
    devices: tuple[str, ...]

    def new_worker_id(self) -> str:
        """An id for one lease of one process, unique over restarts (process ids come back)."""
        return f"{self.name}.{os.getpid()}.{secrets.token_hex(4)}"

    @contextmanager
    def try_hold(self) -> Iterator[bool]:
        """Hold the devices for the block; False, without waiting and with none held, when another process has one."""
        with _try_locks(self._files("lane")) as held:
            yield held

    @contextmanager
    def try_want(self) -> Iterator[bool]:
        """Let others know for the block that the devices are wanted; False when another process already does."""
        with _try_locks(self._files("wanted")) as held:
            yield held

    def wanted(self) -> bool:
        """Whether a process waits for one of the devices."""
        with self.try_want() as free:
            return not free

    def taken(self) -> bool:
        """Whether another process, or somebody else in this one, holds one of the devices."""
        with self.try_hold() as free:
            return not free

    def _files(self, kind: str) -> list[Path]:
        return [self.home / f"{kind}-{device.replace(':', '-')}.lock" for device in self.devices]


def lane_of(settings: Settings, pair: Pair | None = None) -> Lane:
    """The lane of the devices that a pair computes on; without a pair that of the processor.

    Raises:
        InputError: the pair's engine settings are wrong.
        PrerequisiteError: the home folder cannot be created.
    """
    devices = engine_settings(pair.engine, pair.id).devices(visible_gpus) if pair is not None else (CPU,)
    return make_lane(prepared_home(settings), devices)


def make_lane(home: Path, devices: tuple[str, ...]) -> Lane:
    """The lane of some devices.

    Raises:
        PrerequisiteError: the home folder cannot be written.
    """
    seed = f"{socket.gethostname()}\0{_home_id(home)}\0{home}\0{' '.join(devices)}".encode()
    return Lane(home, hashlib.sha256(seed).hexdigest()[:12], devices)


@cache
def _home_id(home: Path) -> str:
    """The text that this home has and no other; read once, since lanes are asked for again and again.

    Whoever comes first makes it, under a lock and by renaming: nobody reads half of it, whoever dies meanwhile.
    """
    file = home / _HOME_ID
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not _read(file):
            with FileLock(home / f"{_HOME_ID}.lock"):
                if not _read(file):
                    part = home / f"{_HOME_ID}.part"
                    part.write_text(secrets.token_hex(16))
                    os.replace(part, file)
        return _read(file)
    except OSError as error:
        raise _not_writable(home) from error


def _read(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else ""


def prepared_home(settings: Settings) -> Path:
    """The home folder, which is created together with its `logs/`.

    Raises:
        PrerequisiteError: it cannot be.
    """
    try:
        (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(settings.home) from error
    return settings.home


def visible_gpus() -> int:
    """How many GPUs PyTorch sees; imports it, so only processes that measure ask."""
    from wfgy_triage.engines.devices import gpu_count

    return gpu_count()


@contextmanager
def hold_device(lane: Lane, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the devices for the block, waiting as long as it takes; `waits` is told once when that is so."""
    told = False
    with ExitStack() as wish:
        wished = False
        while True:
            with lane.try_hold() as held:
                if held:
                    wish.close()
                    yield
                    return
            if not told:
                waits()
            told = True
            if not wished:
                # Tried again each time: somebody who only looked whether it is wanted may have been in the way.
                with ExitStack() as attempt:
                    wished = attempt.enter_context(lane.try_want())
                    if wished:
                        wish.push(attempt.pop_all())
            time.sleep(_LANE_POLL_S)


@contextmanager
def try_be_worker(home: Path, name: str) -> Iterator[bool]:
    """Be the worker of this name and home for the block; False, without waiting, when there is one."""
    with _try_locks([home / f"{name}.lock"]) as held:
        yield held


@contextmanager
def _try_locks(paths: Iterable[Path]) -> Iterator[bool]:
    with ExitStack() as held:
        for path in paths:
            lock = FileLock(path, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                held.close()
                break
            except OSError as error:
                raise _not_writable(path.parent) from error
            held.callback(lock.release)
        else:
            yield True
            return
        yield False


def _not_writable(home: Path) -> PrerequisiteError:
    return PrerequisiteError(
        f"The folder {home} cannot be written.", "Set WFGY_TRIAGE_HOME to a folder that is writable."
    )
