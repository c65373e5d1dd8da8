"""Files that a visitor has sent: read once, within a limit, and taken off the disk again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wfgy_triage.errors import InputError
from wfgy_triage.workload.passages import MAX_UPLOAD_BYTES
from wfgy_triage.workload.upload_formats import UploadedFile

MAX_UPLOAD = MAX_UPLOAD_BYTES
"""Bytes of the largest file that the server accepts at all; what is not passages or an index may be far smaller."""


def receive(paths: str | Sequence[str] | None, limit: int) -> list[UploadedFile]:
    """Read what an upload button has put on the disk, and delete it there.

    Args:
        paths: as the button gives them: where Gradio keeps what was sent; it has checked that they lie there.
        limit: bytes that all of them may have together; more is not read.

    Raises:
        InputError: none, too large, or no longer there.
    """
    files = [Path(p) for p in ([paths] if isinstance(paths, str) else paths or ())]
    if not files:
        raise InputError("No file was given.", "Choose one.")
    try:
        size = sum(f.stat().st_size for f in files)
        if size > limit:
            what = files[0].name if len(files) == 1 else f"{len(files)} files"
            raise InputError(
                f"{what}: {size:,} bytes are too many.", f"At most {limit:,} bytes are read here."
            )
        return [UploadedFile(f.name, f.read_bytes()) for f in files]
    except OSError as error:
        raise InputError("The file is no longer there.", "Choose it again.") from error
    finally:
        for file in files:
            with suppress(OSError):
                file.unlink()
                file.parent.rmdir()
