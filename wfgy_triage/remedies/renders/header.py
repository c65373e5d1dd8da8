"""The comment at the top of a rendered file: what it does, what it fits, what it leaves out."""

from __future__ import annotations

from collections.abc import Iterable

from wfgy_triage.remedies.patch import Share


def header(share: Share, notes: Iterable[str] = ()) -> str:
    """Comment lines that begin with `#`, each on one line, with a line end after the last."""
    lines = [f"{share.target.title} ({share.target.file}). {' '.join(share.says.values())}"]
    lines.append(f"Fits {share.target.fits}.")
    lines += notes
    if share.left_out:
        lines.append(f"Not part of this file: {', '.join(share.left_out)}.")
    return "".join(f"# {line}\n" for line in lines)
