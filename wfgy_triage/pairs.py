"""The admin's list of model pairs: users choose an id, never a path."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.settings import Settings

NO_FOLDER = Path("no-folder")
"""The EXL2 folder of a pair whose EXL2 side is only known as a running server."""
_SERVERS = {"fp16": "baseline_server", "exl2": "server"}
"""Side to the engine setting that names its server."""
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
ID_HINT = "Ids use letters, digits, '-' and '_', at most 64."


@dataclass(frozen=True)
class Pair:
    """A FP16 folder and the EXL2 folder made from it; a side may be a running server instead.

    Attributes:
        id: what users and the command line name it by.
        name: shown on the page.
        fp16: transformers folder with safetensors.
        exl2: EXL2 (or GPTQ) folder; `NO_FOLDER` where a server is asked and nothing else is known.
        note: what must be said wherever a number of this pair is shown.
        engine: optional engine settings.

    Raises:
        InputError: an id that no result could carry: better now than when a run has ended.
    """

    id: str
    name: str
    fp16: Path
    exl2: Path
    note: str = ""
    engine: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the id."""
        if not ID_PATTERN.fullmatch(self.id):
            raise InputError(f"{self.id!r} cannot name a pair.", ID_HINT)

    @property
    def ready(self) -> bool:
        """Whether both folders are there (the demo's siblings appear one after the other)."""
        return all((f / "config.json").is_file() for f in (self.fp16, self.exl2) if f != NO_FOLDER)

    @property
    def served(self) -> frozenset[str]:
        """The sides that are asked on a server: `fp16`, `exl2`. A served FP16 side's folder gives the tokenizer."""
        return frozenset(side for side, name in _SERVERS.items() if name in self.engine)

    @property
    def folders_known(self) -> bool:
        """Whether both sides have a folder with weights, so that the two can be compared."""
        return not self.served or all(any(folder.glob("*.safetensors")) for folder in (self.fp16, self.exl2))


def load_pairs(settings: Settings) -> dict[str, Pair]:
    """Read the pairs file, in its order; a missing file is an empty list.

    Raises:
        InputError: when the file does not parse or an entry is malformed; names the entry.
    """
    path = settings.pairs_file
    if not path.is_file():
        return {}
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    # RecursionError: lists in lists, hundreds deep.
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"The pairs file {path.name} is not valid YAML: {error}", "Correct it or delete it."
        ) from error
    except OSError as error:
        raise InputError(
            f"The pairs file {path.name} cannot be read: {error.strerror}.", "Check who may read it."
        ) from error
    entries = data.get("pairs") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise InputError(
            f"The pairs file {path.name} has no list named 'pairs'.", "See docs/pairs.md for the format."
        )
    pairs: dict[str, Pair] = {}
    for number, entry in enumerate(entries, 1):
        pair = _pair(entry, number, path)
        if pair.id in pairs:
            # Whoever chooses the id would measure other folders than those that they see first.
            raise InputError(
                f"Entry {number} of {path.name} has an id again: {pair.id!r}.", "Give it another id."
            )
        pairs[pair.id] = pair
    return pairs


def get_pair(settings: Settings, pair_id: str) -> Pair:
    """Return a registered pair that is ready to load.

    Raises:
        InputError: unknown id (the known ones are named).
        PrerequisiteError: known, but its folders are not there (yet).
    """
    pairs = load_pairs(settings)
    if pair_id not in pairs:
        known = ", ".join(pairs) or "none; run 'python -m wfgy_triage demo' to prepare the demo pair"
        raise InputError(f"There is no model pair with the id {pair_id!r}.", f"Registered pairs: {known}.")
    pair = pairs[pair_id]
    if not pair.ready:
        raise PrerequisiteError(
            f"The pair {pair_id!r} is registered, but its model folders are not complete.",
            "If it is a demo pair, 'python -m wfgy_triage demo' prepares it; else check the paths in the pairs file.",
        )
    return pair


def register_pairs(settings: Settings, new: list[Pair]) -> None:
    """Add or replace pairs by id, keeping the others; the file is replaced atomically."""
    pairs = load_pairs(settings)
    pairs.update({p.id: p for p in new})
    data = {"pairs": [_entry(p) for p in pairs.values()]}
    path = settings.pairs_file
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as handle:
        yaml.safe_dump(data, handle, sort_keys=False, allow_unicode=True)
    # Others may serve what one account registers: the scratch file is its owner's alone.
    Path(handle.name).chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644)
    os.replace(handle.name, path)


def files_signature(pair: Pair) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of every file of both folders: changes when one is replaced."""
    folders = [f for f in (pair.fp16, pair.exl2) if f.is_dir()]
    files = sorted(p for folder in folders for p in folder.iterdir() if p.is_file())
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)


def _pair(entry: Any, number: int, path: Path) -> Pair:
    where = f"Entry {number} of {path.name}"
    if not isinstance(entry, dict):
        raise InputError(f"{where} is not a mapping.", "Each entry needs id, fp16 and exl2.")
    engine = entry.get("engine") or {}
    if not isinstance(engine, dict):
        raise InputError(
            f"{where} has an engine block that is no mapping.", "See docs/pairs.md for its settings."
        )
    asked = "server" in engine and "exl2" not in entry
    missing = [
        k for k in ("id", "fp16", "exl2") if not isinstance(entry.get(k), str) and not (asked and k == "exl2")
    ]
    if missing:
        raise InputError(
            f"{where} lacks {', '.join(missing)}.",
            "Each entry needs id, fp16 and exl2; a `server:` in its engine block can stand for exl2.",
        )
    if not ID_PATTERN.fullmatch(entry["id"]):
        raise InputError(f"{where} has the id {entry['id']!r}.", ID_HINT)
    base = path.parent
    return Pair(
        id=entry["id"],
        name=str(entry.get("name") or entry["id"]),
        fp16=_folder(base, entry["fp16"], where),
        exl2=NO_FOLDER if asked else _folder(base, entry["exl2"], where),
        note=str(entry.get("note") or ""),
        engine=dict(engine),
    )


def _folder(base: Path, text: str, where: str) -> Path:
    try:
        return (base / Path(text).expanduser()).resolve()
    # A home folder of nobody (`~name`), a NUL, links that lead in a circle.
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"{where} names a folder that cannot be found: {text!r}.",
            "Write its whole path, or one that starts at the pairs file.",
        ) from error


def _entry(pair: Pair) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": pair.id, "name": pair.name, "fp16": str(pair.fp16), "exl2": str(pair.exl2)}
    if pair.exl2 == NO_FOLDER:
        del entry["exl2"]
    if pair.note:
        entry["note"] = pair.note
    if pair.engine:
        entry["engine"] = dict(pair.engine)
    return entry
