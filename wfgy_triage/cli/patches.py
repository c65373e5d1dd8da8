"""The command that writes a change as files, or as a diff of a user's own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from wfgy_triage.cli.shared import app, out
from wfgy_triage.errors import InputError
from wfgy_triage.remedies.facts import Facts, facts_of
from wfgy_triage.remedies.patch import Patch, explain
from wfgy_triage.remedies.renders import render
from wfgy_triage.remedies.user_files import EDITABLE, against, target_of
from wfgy_triage.remedies.vocabulary import load_vocabulary

Folder = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Model folder.")]


@app.command()
def patch(
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="What to change.")],
    target: Annotated[str | None, typer.Option(help="Only this kind of file.")] = None,
    users_file: Annotated[
        Path | None,
        typer.Option(
            "--against", exists=True, dir_okay=False, help="Show the change as a diff of this file."
        ),
    ] = None,
    fp16: Folder = None,
    exl2: Folder = None,
) -> None:
    """Write a change as configuration files, or as a diff of your own file. Nothing is changed on disk."""
    wanted = Patch(dict(_assignment(text) for text in changes))
    if users_file is not None:
        chosen = target or _target_of(users_file)
        _plain(against(wanted, chosen, users_file.read_bytes(), users_file.name))
        return
    if target is not None:
        load_vocabulary().targets[target]  # an unknown one is an error
    facts = facts_of(fp16 or Path("FP16_FOLDER"), exl2 or Path("EXL2_FOLDER"))
    _show(wanted, facts, target)


def _show(wanted: Patch, facts: Facts, target: str | None) -> None:
    files = {t: text for t, text in render(wanted, facts).items() if text and target in (None, t)}
    if not files:
        which = f"The target {target} cannot" if target else "No kind of file can"
        hint = "Without --target every kind that can is shown."
        if any(key.startswith("quantize.") for key in wanted.changes):
            hint = "Quantizing again needs to know the bits per weight: give --exl2 or quantize.bpw as well."
        raise InputError(f"{which} express this change.", hint)
    if target is not None:
        _plain(files[target])
        return
    for change in explain(wanted):
        out.print(f"{change.key}: {change.says}", markup=False, highlight=False, soft_wrap=True)
        out.print(f"  {change.meaning}", style="dim", markup=False, highlight=False, soft_wrap=True)
    for name, text in files.items():
        out.rule(f"{name}: {load_vocabulary().targets[name].file}", align="left")
        _plain(text)


def _plain(text: str) -> None:
    """Text as it is, to be piped into a file or `git apply`."""
    typer.echo(text, nl=False)


def _target_of(file: Path) -> str:
    target = target_of(file.name)
    if target is None:
        raise InputError(
            f"It is not clear what kind of file {file.name} is.",
            f"Say it with --target: {', '.join(EDITABLE)}.",
        )
    return target


def _assignment(text: str) -> tuple[str, Any]:
    """`KEY=VALUE`, the value as JSON; where that is not meant, the text itself."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"{text!r} is not KEY=VALUE.", "Write for example model.cache_mode=Q8.")
    if load_vocabulary().key(key).value.get("type") == "string":
        return key, value
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value
