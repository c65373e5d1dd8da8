"""A folder that is the EXL2 folder with some files changed: everything else in it is a link.

The user's folder is read and never written to. Weights are not copied, so a change of a configuration costs kilobytes.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import check_folder_safe, links_into, read_json
from wfgy_triage.exl2.writer import disk_problem
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.edits.edit import Edit
from wfgy_triage.remedies.edits.json_text import dumped, merged

COPY = "files.copy"
PLACES: Mapping[str, str] = {"config.json": "config.", "generation_config.json": "generation_config."}
"""File to the beginning of the keys of a patch that set values in it."""
_PREFIX = "overlay-"
_LEFT_OVER_SECONDS = 86_400.0


@contextmanager
def overlay(source: Path, changed: Mapping[str, bytes], shelf: Path) -> Iterator[Path]:
    """A temporary folder like `source` with other contents for some files; gone after the block.

    Args:
        source: the EXL2 folder.
        changed: new content by file name; the files need not be there.
        shelf: where the folder is made.

    Raises:
        PrerequisiteError: the disk is full or not writable, or `source` is refused (code, pickles, foreign links).
    """
    folder: Path | None = None
    try:
        try:
            folder = _new_folder(shelf)
            _fill(folder, source, changed)
        except OSError as error:
            raise disk_problem(error, f"The changed copy of {source.name}") from error
        with links_into(folder, source):
            yield folder
    finally:
        if folder is not None:
            # Links are removed, not what they lead to.
            shutil.rmtree(folder, ignore_errors=True)


def changed_files(pair: Pair, patch: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of the EXL2 folder that a patch changes, as they are afterwards.

    Args:
        pair: the two folders.
        patch: keys of `fixmap/targets.yaml`: `files.copy`, `config.*`, `generation_config.*`; others change no file.

    Raises:
        PrerequisiteError: a file cannot be read, or holds no JSON object; names it.
    """
    names = patch.get(COPY, ())
    if names:
        check_folder_safe(pair.fp16)
    found = {name: _read(pair.fp16 / name) for name in names}
    for file, prefix in PLACES.items():
        values = {k.removeprefix(prefix): v for k, v in patch.items() if k.startswith(prefix)}
        if values:
            folder = pair.fp16 if file in found else pair.exl2
            data = read_json(folder / file) if (folder / file).exists() else {}
            found[file] = dumped(with_values(data, values)).encode()
    return found


def with_values(data: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with values set by dotted key; None takes a key away, an object replaces the old one whole."""
    return merged(dict(data), [Edit(tuple(key.split(".")), value) for key, value in values.items()])


def _new_folder(shelf: Path) -> Path:
    shelf.mkdir(parents=True, exist_ok=True)
    # A process that was killed could not clean up after itself.
    for left in shelf.glob(f"{_PREFIX}*"):
        if time.time() - left.stat().st_mtime > _LEFT_OVER_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=shelf))


def _fill(folder: Path, source: Path, changed: Mapping[str, bytes]) -> None:
    origin = source.resolve()
    for path in sorted(origin.iterdir()):
        if path.is_file() and path.name not in changed:
            (folder / path.name).symlink_to(path)
    for name, content in changed.items():
        (folder / name).write_bytes(content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PrerequisiteError(
            f"{path.name} of the FP16 folder cannot be read: {error.strerror or error}.",
            "Check the file and its permissions.",
        ) from error
