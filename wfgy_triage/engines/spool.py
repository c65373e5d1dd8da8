"""Logits of one engine on disk, to be compared with those of another that is loaded after it.

They are kept as the engine gave them, in 32 bits, so that a comparison has the same numbers as one in lockstep. The
file has no name: however the process ends, the space is free again.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch

from wfgy_triage.engines.base import LogitChunk, ScoreRequest
from wfgy_triage.errors import PrerequisiteError

LEFT_FREE = 1 << 30
"""Bytes of the disk that are left to others. A choice."""
MOST_BYTES = 16 << 30
"""Bytes that are taken at most; more is compared in several goes. A choice: about 27,000 words with a vocabulary of
150,000 tokens."""
_WIDTH = torch.float32.itemsize
_GB = 1e9
_HINT = "Free some space on the disk of the home folder, then resume this session: what was measured is kept."


@dataclass(frozen=True)
class _Place:
    """Where a chunk lies, and what it was."""

    id: str
    start: int
    rows: int
    vocab: int
    device: torch.device


class Spool:
    """Chunks of logits in a file, in the order in which they came; as a `with` block, gives the space back.

    Args:
        folder: is made where it is not there yet.

    Raises:
        PrerequisiteError: no file can be made there.
    """

    def __init__(self, folder: Path) -> None:
        self._places: list[_Place] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        except OSError as error:
            raise _problem(error) from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        # What did not fit on a full disk cannot be written by closing either.
        with suppress(OSError):
            self._file.close()

    def add(self, chunk: LogitChunk) -> None:
        """Keep a chunk.

        Raises:
            PrerequisiteError: the disk is full or cannot be written.
        """
        rows = chunk.logits.to("cpu", torch.float32).contiguous()
        try:
            self._file.write(rows.numpy().data.cast("B"))
            self._file.flush()
        except OSError as error:
            raise _problem(error) from error
        count, vocab = rows.shape
        self._places.append(_Place(chunk.id, chunk.start, count, vocab, chunk.logits.device))

    def chunks(self) -> Iterator[LogitChunk]:
        """What was kept, as it came, on the device that it came from; one chunk in memory at a time.

        Raises:
            PrerequisiteError: the disk cannot be read.
        """
        at = 0
        for place in self._places:
            rows = torch.empty(place.rows, place.vocab, dtype=torch.float32)
            buffer = rows.numpy().data.cast("B")
            try:
                self._file.seek(at)
                if self._file.readinto(buffer) != len(buffer):
                    raise OSError(errno.EIO, "it ends too early")
            except OSError as error:
                raise _problem(error) from error
            at += len(buffer)
            yield LogitChunk(place.id, place.start, rows.to(place.device))


def in_goes(
    groups: Sequence[Sequence[ScoreRequest]], vocab_size: int, folder: Path
) -> list[list[list[ScoreRequest]]]:
    """Cut groups of requests into as few goes as the disk allows, each of one group or several, in order.

    Args:
        groups: sequences to score.
        vocab_size: numbers of a scored position.
        folder: where they are kept; it need not be there yet.

    Raises:
        PrerequisiteError: the disk has no room for one of them.
    """
    free = shutil.disk_usage(next(f for f in (folder, *folder.absolute().parents) if f.exists())).free
    room = min(free - LEFT_FREE, MOST_BYTES)
    goes: list[list[list[ScoreRequest]]] = []
    taken, last = room, -1
    for number, request in ((n, request) for n, group in enumerate(groups) for request in group):
        size = (len(request.token_ids) - request.first) * vocab_size * _WIDTH
        if size > free - LEFT_FREE:
            raise PrerequisiteError(
                f"The disk has no room for what one model computed, until the other one has been compared with it:"
                f" about {(size + LEFT_FREE) / _GB:.1f} GB are needed, {free / _GB:.1f} GB are free.",
                _HINT,
            )
        if taken + size > room:
            goes.append([])
            taken, last = 0, -1
        if number != last:
            goes[-1].append([])
            last = number
        goes[-1][-1].append(request)
        taken += size
    return goes


def _problem(error: OSError) -> PrerequisiteError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return PrerequisiteError(
            "The disk is full: what one model computed cannot be kept for the comparison with the other.",
            _HINT,
        )
    return PrerequisiteError(
        "What one model computed cannot be kept for the comparison with the other:"
        f" {error.strerror or error}.",
        "Check that the home folder is writable, then resume this session: what was measured is kept.",
    )
