"""A change made in the file that somebody already has: as the whole new text, or as a unified diff of it.

Only what the patch says changes; comments, order, spacing and keys that are not known here stay as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

from wfgy_triage.errors import InputError
from wfgy_triage.remedies.edits.json_text import edit_json
from wfgy_triage.remedies.edits.requirements_text import edit_requirements
from wfgy_triage.remedies.edits.yaml_text import edit_yaml
from wfgy_triage.remedies.patch import Patch, Share, share_of
from wfgy_triage.remedies.renders import json_files, requirements, yaml_files

LARGEST = 1_000_000
"""Bytes. Configuration files are some kilobytes; anything larger is another file."""
_MARK = "\ufeff"

_EDITORS: dict[str, Callable[[str, Share], str]] = {
    "tabbyapi": lambda text, share: edit_yaml(text, yaml_files.tabbyapi_edits(share)),
    "sampler_preset": lambda text, share: edit_yaml(text, yaml_files.preset_edits(share)),
    "config_json": lambda text, share: edit_json(text, json_files.edits(share)),
    "generation_config": lambda text, share: edit_json(text, json_files.edits(share)),
    "requirements": lambda text, share: edit_requirements(text, requirements.pins(share)),
}
EDITABLE = tuple(_EDITORS)
"""Targets that are files a user may already have."""
_BY_NAME = {
    "config.json": "config_json",
    "generation_config.json": "generation_config",
    "config.yml": "tabbyapi",
    "config.yaml": "tabbyapi",
}


def target_of(name: str) -> str | None:
    """The target that a file is by its name; None where the name does not say."""
    lower = name.lower()
    if lower in _BY_NAME:
        return _BY_NAME[lower]
    if lower.endswith(".txt"):
        return "requirements"
    return "sampler_preset" if lower.endswith((".yml", ".yaml")) else None


def against(patch: Patch, target: str, users_text: str | bytes, name: str = "") -> str:
    """A unified diff of a user's file with the change made; empty where the file already says so.

    Args:
        patch: the change.
        target: id of a target in `EDITABLE`.
        users_text: the file as the user gave it.
        name: what the diff calls the file; the target's usual name without it.

    Raises:
        InputError: see `changed`.
    """
    new = changed(patch, target, users_text)
    return "".join(_diff(_decoded(users_text), new, name or share_of(patch, target).target.file))


def changed(patch: Patch, target: str, users_text: str | bytes) -> str:
    """A user's file with the change made.

    Args:
        patch: the change.
        target: id of a target in `EDITABLE`.
        users_text: the file as the user gave it.

    Raises:
        InputError: a target without such files or one that cannot express the patch; a file that is too large, not
            UTF-8, does not parse, gives a key twice, or cannot be changed in that place alone; says which line and
            what to do.
    """
    share = share_of(patch, target)
    if target not in _EDITORS:
        raise InputError(
            f"The change cannot be made in a file of the kind {share.target.title!r}.",
            f"Files that can be changed: {', '.join(EDITABLE)}.",
        )
    if not share.values:
        able = [t for t in EDITABLE if share_of(patch, t).values]
        raise InputError(
            f"{share.target.file} cannot express this change ({', '.join(patch.changes)}).",
            f"Kinds of file that can: {', '.join(able) or 'none that you could have'}.",
        )
    text = _decoded(users_text)
    mark = _MARK if text.startswith(_MARK) else ""
    return mark + _EDITORS[target](text.removeprefix(_MARK), share)


def _decoded(data: str | bytes) -> str:
    try:
        raw = data.encode("utf-8") if isinstance(data, str) else data
        if len(raw) > LARGEST:
            raise InputError(
                f"The file has {len(raw):,} bytes; configuration files of at most {LARGEST:,} are read.",
                "Choose the configuration file itself.",
            )
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"Line {line}: the file is not UTF-8 text.", "Save it as UTF-8.") from error
    except UnicodeEncodeError as error:
        raise InputError("The file is not UTF-8 text.", "Save it as UTF-8.") from error


def _diff(old: str, new: str, name: str) -> Iterator[str]:
    """Lines of a unified diff that `patch` and `git apply` accept."""
    lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{name}", f"b/{name}")
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    """Lines with their ends. `str.splitlines` also breaks at characters that are no line ends in a file."""
    parts = [f"{part}\n" for part in text.split("\n")]
    parts[-1] = parts[-1].removesuffix("\n")
    return parts if parts[-1] else parts[:-1]
