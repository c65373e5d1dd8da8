"""A recommended change as the files that people edit: one tab a kind of file, to copy or to download."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from wfgy_triage.report.icons import icon
from wfgy_triage.result import Result

DIFF_MARKS = ("--- ", "+++ ", "@@ ")


@dataclass(frozen=True)
class Kind:
    """A kind of file that a change can be written as.

    Attributes:
        id: key in `recommendation.renders`.
        title: what it is, in words.
        file: its usual name.
        fits: the version whose names are used; empty where it is not known.
    """

    id: str
    title: str
    file: str
    fits: str = ""


def files_card(result: Result, kinds: Iterable[Kind]) -> str:
    """Return the recommended change in every file that can express it; the bare setting where none can.

    Args:
        result: the stored result.
        kinds: what is known of each kind of file, in the order of the tabs; one that is not among them is shown
            under its id.
    """
    fix = result.recommendation
    if fix is None or not fix.get("candidate"):
        return ""
    texts = {k: str(v) for k, v in (fix.get("renders") or {}).items() if v}
    known = {k.id: k for k in kinds}
    order = [k for k in known if k in texts] + [k for k in texts if k not in known]
    shown: list[tuple[Kind, str]] = [(known.get(k) or Kind(k, k, f"{k}.txt"), texts[k]) for k in order]
    if not shown:
        return _bare(fix.get("patch") or {})
    tabs = "".join(
        f'<label class="pill"><input type="radio" name="file-tab" data-tab value="{escape(kind.id)}"'
        f"{' checked' if i == 0 else ''}><span>{escape(kind.title)}</span></label>"
        for i, (kind, _) in enumerate(shown)
    )
    panels = "".join(file_panel(kind, text, i == 0) for i, (kind, text) in enumerate(shown))
    return (
        '<section class="card files"><h3>The change, ready to use</h3>'
        '<p class="dim">Pick the file that you edit. Everything you have beside it stays as it is.</p>'
        f'<fieldset class="pills"><legend class="sr">Which file</legend>{tabs}</fieldset>{panels}</section>'
    )


def file_panel(kind: Kind, text: str, first: bool) -> str:
    """Return one file to read, copy and download; hidden unless it is the first of its tabs."""
    name = kind.file.rsplit("/", 1)[-1]
    fits = f'<p class="dim small">Fits {escape(kind.fits)}.</p>' if kind.fits else ""
    return (
        f'<div class="file" data-tab-panel="{escape(kind.id)}"{"" if first else " hidden"}>'
        f'<div class="file-head"><b>{escape(kind.file)}</b>{fits}<span class="file-actions">'
        f'<a download="{escape(name)}" href="{_address(text)}">{icon("download")}Download</a>'
        f'<button type="button" data-copy aria-label="Copy {escape(kind.file)}">Copy</button></span></div>'
        f'<pre tabindex="0" aria-label="{escape(kind.title)}">\n{_lines(text)}</pre></div>'
    )


def _bare(patch: Mapping[str, Any]) -> str:
    if not patch:
        return ""
    text = json.dumps(dict(patch), indent=2, ensure_ascii=False, default=str)
    return (
        '<section class="card files"><h3>The change</h3>'
        '<p class="dim">None of the known kinds of files can express it; this is the setting itself.</p>'
        '<div class="file"><div class="file-head"><b>Setting</b><span class="file-actions">'
        '<button type="button" data-copy aria-label="Copy the setting">Copy</button></span></div>'
        f'<pre tabindex="0" aria-label="The setting">{escape(text)}</pre></div></section>'
    )


def _address(text: str) -> str:
    """The text as an address of its own, so that downloading it asks no server."""
    return f"data:text/plain;charset=utf-8,{quote(text)}"


def _lines(text: str) -> str:
    """The text, escaped; the lines of a unified diff carry their colour."""
    lines = text.splitlines(keepends=True)
    if not any(line.startswith("@@ ") for line in lines):
        return escape(text)
    return "".join(_diff_line(line) for line in lines)


def _diff_line(line: str) -> str:
    if line.startswith(DIFF_MARKS):
        return f'<span class="diff-mark">{escape(line)}</span>'
    tag = {"+": "ins", "-": "del"}.get(line[:1])
    return f"<{tag}>{escape(line)}</{tag}>" if tag else escape(line)
