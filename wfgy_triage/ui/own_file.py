"""Step 5: the recommended change made in a file that the visitor has; as a difference and as the whole new file.

The file is read, answered and forgotten: nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wfgy_triage.errors import InputError, TriageError
from wfgy_triage.remedies.patch import Patch, explain, share_of
from wfgy_triage.remedies.user_files import EDITABLE, LARGEST, against, changed, target_of
from wfgy_triage.remedies.vocabulary import Target, load_vocabulary
from wfgy_triage.report.files import Kind, file_panel
from wfgy_triage.report.icons import icon
from wfgy_triage.result import Result
from wfgy_triage.ui.received import receive

BY_NAME = "name"
"""The choice that leaves it to the file's name what kind of file it is."""
OWN_FILE_HEAD = (
    '<h3>In your own file</h3><p class="dim">Give the file you use today and see this change in it. Comments, order '
    "and everything else stay exactly as they are. The file is read once and not kept.</p>"
)
DIFF, WHOLE = "own-diff", "own-whole"


def own_file_kinds(result: Result | None) -> tuple[Target, ...]:
    """The kinds of files that a visitor may have and that can express the recommended change; none without one."""
    patch = _patch(result)
    return _able(patch) if patch is not None else ()


def kind_field() -> str:
    """Return the choice of the kind of file."""
    titles = {t: load_vocabulary().targets[t].title for t in EDITABLE}
    options = "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>'
        for value, text in {BY_NAME: "As its name says", **titles}.items()
    )
    return (
        '<div class="field"><label for="own-kind-field">Kind of file</label>'
        f'<select id="own-kind-field" autocomplete="off">{options}</select></div>'
    )


def kinds_line(kinds: Sequence[Target]) -> str:
    """Return which files of the visitor can hold the recommended change."""
    files = ", ".join(f"<code>{escape(k.file.rsplit('/', 1)[-1])}</code> ({escape(k.title)})" for k in kinds)
    return f'<p class="small">Files that can hold this change: {files}</p>' if kinds else ""


def in_own_file(result: Result | None, kind: str, paths: str | Sequence[str] | None) -> str:
    """Return the change in a visitor's file.

    Args:
        result: the run whose recommendation is meant.
        kind: id of a target, or `BY_NAME`.
        paths: the file that was sent.

    Raises:
        InputError: no recommendation, an unknown kind, or a file in which the change cannot be made; says which line.
    """
    files = receive(paths, LARGEST)
    patch = _patch(result)
    if patch is None or len(files) != 1:
        raise InputError(
            "There is nothing to change in a file.", "Choose one file, in a run that recommends a change."
        )
    name, data = files[0].name, files[0].data
    target = _chosen(patch, kind, name)
    new = changed(patch, target.id, data)
    difference = against(patch, target.id, data, name)
    left = "".join(
        f"<li>{escape(e.says)}</li>" for e in explain(patch) if e.key in share_of(patch, target.id).left_out
    )
    rest = '<p class="dim small">Not possible in this file, so set it elsewhere:</p>'
    note = f'{rest}<ul class="plain small">{left}</ul>' if left else ""
    if not difference:
        return (
            f'<p class="callout tone-ok" role="status">{icon("check")}<span><b>{escape(name)} already says so.</b> '
            f"Nothing in it has to change.</span></p>{note}"
        )
    tabs = "".join(
        f'<label class="pill"><input type="radio" name="own-tab" data-tab value="{value}"{checked}><span>{text}</span>'
        "</label>"
        for value, text, checked in ((DIFF, "What changes", " checked"), (WHOLE, "The whole new file", ""))
    )
    return (
        f'<section role="status" aria-label="The change in {escape(name)}">'
        f'<fieldset class="pills"><legend class="sr">What to see</legend>{tabs}</fieldset>'
        f"{file_panel(Kind(DIFF, 'What changes', f'{name}.diff', target.fits), difference, True)}"
        f"{file_panel(Kind(WHOLE, 'The whole new file', name, target.fits), new, False)}{note}</section>"
    )


def _chosen(patch: Patch, kind: str, name: str) -> Target:
    able = _able(patch)
    titles = ", ".join(k.title for k in able) or "none that you could have"
    if kind == BY_NAME:
        kind = target_of(name) or ""
        if not kind:
            raise InputError(
                f"The name {name} does not say what kind of file it is.",
                "Choose its kind above and give the file again.",
            )
    if kind not in EDITABLE:
        raise InputError(
            "That kind of file is not known.", f"Kinds of file that can hold the change: {titles}."
        )
    target = load_vocabulary().targets[kind]
    if target not in able:
        raise InputError(
            f"{name} was read as {target.title}, which cannot hold this change.",
            f"Kinds of file that can: {titles}. If it is one of these, choose its kind above and give the file again.",
        )
    return target


def _able(patch: Patch) -> tuple[Target, ...]:
    targets = load_vocabulary().targets
    return tuple(targets[t] for t in EDITABLE if share_of(patch, t).values)


def _patch(result: Result | None) -> Patch | None:
    """The recommended change; None without one, and for one in words that the vocabulary no longer has."""
    fix = (result.recommendation if result else None) or {}
    changes: Mapping[str, Any] = fix.get("patch") or {}
    if not fix.get("candidate") or not changes:
        return None
    try:
        return Patch(changes)
    except TriageError:
        return None
