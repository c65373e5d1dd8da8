"""Folders that can be made again, kept by name: whole or not at all, the longest unused dropped first.

An entry is a complete model folder, and beside it a record of how it was made. The record is written last: a folder
without one, or with other weights than it says, counts as absent.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import weights_fingerprint
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.recipe import Recipe

KEY_LENGTH = 40
"""Hex digits in the name of an entry."""
SPARE_BYTES = 64 * 2**20
"""Left free on the disk beside a new folder."""

_NAMES = re.compile(rf"^\.?([0-9a-f]{{{KEY_LENGTH}}})(\.part-\w+)?$")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """How a kept sibling was made.

    Attributes:
        recipe: as asked for.
        linears: how many linears were quantized; the others were copied from the sibling it started from.
        copied_rest: whether there were others.
        decoder_bpw: stored bits per weight of its decoder.
        head_bits: its head option.
        calibration_rows: token rows that it was calibrated on; 0 without calibration.
        seconds: what making it took.
        size_bytes: its weight files.
        fingerprint: of its weights.
    """

    recipe: Recipe
    linears: int
    copied_rest: bool
    decoder_bpw: float
    head_bits: int
    calibration_rows: int
    seconds: float
    size_bytes: int
    fingerprint: str

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Made:
        """Read a record.

        Raises:
            KeyError, TypeError: it is not one.
        """
        return cls(**{**data, "recipe": Recipe(**data["recipe"])})


class KeptFolders:
    """The entries of a cache folder. Whoever writes there holds a lock of its own.

    Args:
        folder: where they lie.
        limit_bytes: what their weights may take together; those handed out stay even beyond it.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self._limit = folder, limit_bytes
        self._in_use: set[str] = set()

    def usable(self, key: str) -> bool:
        """Whether an entry is there and whole: every header, size, group and scale, and a sample of every tensor."""
        folder = self.folder / key
        try:
            made = read_made(folder)
            read_folder(folder)
            whole = weights_fingerprint(folder) == made.fingerprint
        except FileNotFoundError:
            return False
        except (PrerequisiteError, OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            _log.warning("the kept sibling %s is damaged and is made again", key)
        return whole

    def use(self, key: str) -> Path:
        """Hand an entry out; it is dropped last, and never by this object."""
        self._in_use.add(key)
        os.utime(_record(self.folder / key))
        return self.folder / key

    def record(self, key: str, made: Made) -> None:
        """Declare a folder complete."""
        part = self.folder / f"{key}.part"
        part.write_text(json.dumps(asdict(made)), encoding="utf-8")
        os.replace(part, _record(self.folder / key))

    def sweep(self, key: str) -> None:
        """Remove what a killed maker left, and a damaged entry of this name, before it is made again."""
        shutil.rmtree(self.folder / key, ignore_errors=True)
        for path in list(self.folder.iterdir()):
            # Only names that are made here: the folder could hold anything else.
            name = _NAMES.match(path.name)
            if name and path.is_dir() and (name[2] or not _record(path).exists()):
                shutil.rmtree(path, ignore_errors=True)

    def make_room(self, needed: int) -> None:
        """Drop what was used longest ago until the new sibling fits the limit and the disk.

        Raises:
            PrerequisiteError: the disk is too full even so.
        """
        records = sorted(self._records(), key=lambda path: path.stat().st_mtime)
        total = sum(weight_bytes(path.with_suffix("")) for path in records)
        for record in records:
            if total + needed <= self._limit and self._free() >= needed + SPARE_BYTES:
                break
            if record.stem in self._in_use:
                continue
            total -= weight_bytes(record.with_suffix(""))
            record.unlink(missing_ok=True)
            shutil.rmtree(record.with_suffix(""), ignore_errors=True)
        free = self._free()
        if free < needed + SPARE_BYTES:
            raise PrerequisiteError(
                f"A re-quantized copy needs {needed + SPARE_BYTES:,} bytes under {self.folder}; "
                f"{free:,} are available.",
                "Free some space, or set WFGY_TRIAGE_HOME to another disk. What was measured is kept.",
            )

    def _records(self) -> list[Path]:
        return [path for path in self.folder.glob("*.json") if path.with_suffix("").is_dir()]

    def _free(self) -> int:
        return shutil.disk_usage(self.folder).free


def read_made(folder: Path) -> Made:
    """How a kept folder was made.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is no record, or it is damaged.
    """
    return Made.from_json(json.loads(_record(folder).read_text(encoding="utf-8")))


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def weight_bytes(folder: Path) -> int:
    """Size of the weight files of a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
