"""Re-quantized siblings, made when a trial asks for them and kept by what they were made from.

An entry is a complete model folder named by a hash, and beside it a record of how it was made. The record is written
last: a folder without one, or with other weights than it says, is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout

from wfgy_triage import __version__
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import folder_tensors, weights_fingerprint
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.recipe import Recipe, read_recipe
from wfgy_triage.remedies.recipes import estimated_bytes, starts_from_sibling

if TYPE_CHECKING:
    from wfgy_triage.exl2.convert import QuantizeReport

VERSION = 1
"""Raised when the quantizer gives other weights: older siblings are then not found."""
LIMIT_BYTES = 16 * 2**30
"""What all kept siblings may take; those used longest ago go first."""
SPARE_BYTES = 64 * 2**20
"""Left free on the disk beside a new sibling."""

Progress = Callable[[int, int, str], None]

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


class _Stopped(Exception):  # noqa: N818 - a request of the user, not an error
    """Ends the work from inside its progress callback."""


class Siblings:
    """Makes re-quantized siblings of a model and keeps them.

    Args:
        cache_dir: where they are kept, with the statistics that they share.
        limit_bytes: what they may take together; the one in use stays even if it is larger.
        calibration_rows: fewer token rows than the calibration text has, for speed; `Made` says how many were used.
    """

    def __init__(
        self, cache_dir: Path, limit_bytes: int = LIMIT_BYTES, calibration_rows: int | None = None
    ) -> None:
        self._dir, self._limit, self._rows = Path(cache_dir), limit_bytes, calibration_rows
        self._in_use: set[str] = set()

    def make(
        self,
        fp16_dir: Path,
        exl2_dir: Path,
        recipe: Recipe,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Path | None:
        """The folder of a sibling, made now unless it is kept from before.

        Where the recipe only adds bits to what `exl2_dir` has, the rest is copied from there byte for byte;
        otherwise all is quantized from `fp16_dir`.

        Args:
            fp16_dir: the FP16 side.
            exl2_dir: the EXL2 side in use.
            recipe: how to make it.
            progress: called with (done, total, label) before each linear.
            should_stop: asked before each linear.

        Returns:
            the folder; None where `should_stop` ended the work, and then nothing is left of it.

        Raises:
            InputError: a recipe that cannot be met or brings nothing.
            PrerequisiteError: folders that cannot be used, too little disk space or memory.
        """
        stop = should_stop or (lambda: False)

        def tell(done: int, total: int, label: str) -> None:
            if stop():
                raise _Stopped
            if progress is not None:
                progress(done, total, label)

        key = self._key(fp16_dir, exl2_dir, recipe)
        if self._usable(key):
            return self._use(key)
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            with self._alone(tell):
                if not self._usable(key):
                    self._build(key, fp16_dir, exl2_dir, recipe, tell)
        except _Stopped:
            return None
        return self._use(key)

    def made(self, folder: Path) -> Made:
        """How a folder that `make` returned was made."""
        return Made.from_json(json.loads(_record(folder).read_text(encoding="utf-8")))

    def _key(self, fp16_dir: Path, exl2_dir: Path, recipe: Recipe) -> str:
        from wfgy_triage.exl2.walker import standard_calibration

        copied = starts_from_sibling(recipe, read_recipe(read_folder(exl2_dir)))
        # json keeps the order of the parts, which plays no role.
        facts = {**asdict(recipe), "protect": sorted(recipe.protect.items())}
        digest = hashlib.sha256(json.dumps([VERSION, __version__, self._rows, copied, facts]).encode())
        for folder in (fp16_dir, exl2_dir) if copied else (fp16_dir,):
            digest.update(_content(folder).encode())
        for passage in standard_calibration():
            digest.update(f"{passage.rows}/{passage.text}".encode())
        return digest.hexdigest()[:40]

    def _usable(self, key: str) -> bool:
        """Whether an entry is there and whole: every header, size, group and scale, and a sample of every tensor."""
        folder = self._dir / key
        try:
            made = self.made(folder)
            read_folder(folder)
            whole = weights_fingerprint(folder) == made.fingerprint
        except FileNotFoundError:
            return False
        except (PrerequisiteError, OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            _log.warning("the kept sibling %s is damaged and is made again", key)
        return whole

    def _use(self, key: str) -> Path:
        self._in_use.add(key)
        os.utime(_record(self._dir / key))  # what is used last is dropped last
        return self._dir / key

    @contextmanager
    def _alone(self, tell: Progress) -> Iterator[None]:
        """One maker at a time: two would only slow each other down."""
        lock = FileLock(self._dir / ".lock")
        while True:
            try:
                lock.acquire(timeout=0.5)
                break
            except Timeout:
                tell(0, 1, "waiting for another run that is quantizing")
        try:
            yield
        finally:
            lock.release()

    def _build(self, key: str, fp16_dir: Path, exl2_dir: Path, recipe: Recipe, tell: Progress) -> None:
        contents = read_folder(exl2_dir)
        now = read_recipe(contents)
        copied = starts_from_sibling(recipe, now)
        self._sweep(key)
        self._make_room(estimated_bytes(contents, recipe))
        folder = self._dir / key
        tell(0, 1, "loading the FP16 model")
        report = self._quantize(fp16_dir, exl2_dir, folder, recipe, now if copied else None, tell)
        made = Made(
            recipe=replace(recipe, protect=dict(recipe.protect)),
            linears=len(report.presets),
            copied_rest=copied,
            decoder_bpw=report.decoder_bpw,
            head_bits=report.head_bits,
            calibration_rows=report.calibration.rows,
            seconds=report.seconds,
            size_bytes=_weight_bytes(folder),
            fingerprint=weights_fingerprint(folder),
        )
        part = _record(folder).with_suffix(".part")
        part.write_text(json.dumps(asdict(made)), encoding="utf-8")
        os.replace(part, _record(folder))

    def _quantize(
        self, fp16_dir: Path, exl2_dir: Path, out: Path, recipe: Recipe, now: Recipe | None, tell: Progress
    ) -> QuantizeReport:
        """Make the folder: from the sibling where `now` says what that has, as a whole without it."""
        from wfgy_triage.engines.calibration import TransformersWalker
        from wfgy_triage.exl2.convert import quantize_folder
        from wfgy_triage.exl2.partial import requantize_folder

        # Rounding to nearest keeps the sibling's order of features, so a part of it needs no model that runs.
        walker = None
        if now is None or recipe.method == "gptq":
            _require_memory(fp16_dir)
            walker = TransformersWalker(fp16_dir)
        common: dict[str, Any] = {
            "method": recipe.method,
            "calibration_rows": self._rows,
            "walker": walker,
            "statistics": self._dir,
            "progress": tell,
        }
        if now is None:
            return quantize_folder(
                fp16_dir, out, bpw=recipe.bpw, head_bits=recipe.head_bits, protect=recipe.protect, **common
            )
        new = {part: bpw for part, bpw in recipe.protect.items() if now.protect.get(part) != bpw}
        head = recipe.head_bits if recipe.head_bits > now.head_bits else None
        return requantize_folder(fp16_dir, exl2_dir, out, protect=new, head_bits=head, **common)

    def _sweep(self, key: str) -> None:
        """Remove what a killed maker left, and a damaged entry of this name; called with the lock held."""
        for leftover in [*self._dir.glob(".*.part-*"), self._dir / key]:
            shutil.rmtree(leftover, ignore_errors=True)
        for orphan in self._dir.iterdir():
            if orphan.is_dir() and not _record(orphan).exists():
                shutil.rmtree(orphan, ignore_errors=True)

    def _make_room(self, needed: int) -> None:
        """Drop what was used longest ago until the new sibling fits the limit and the disk.

        Raises:
            PrerequisiteError: the disk is too full even so.
        """
        records = sorted(self._records(), key=lambda path: path.stat().st_mtime)
        total = sum(_weight_bytes(path.with_suffix("")) for path in records)
        for record in records:
            if total + needed <= self._limit and self._free() >= needed + SPARE_BYTES:
                break
            if record.stem in self._in_use:
                continue
            total -= _weight_bytes(record.with_suffix(""))
            record.unlink(missing_ok=True)
            shutil.rmtree(record.with_suffix(""), ignore_errors=True)
        free = self._free()
        if free < needed + SPARE_BYTES:
            raise PrerequisiteError(
                f"A re-quantized copy needs {needed + SPARE_BYTES:,} bytes under {self._dir}; {free:,} are available.",
                "Free some space, or set WFGY_TRIAGE_HOME to another disk. What was measured is kept.",
            )

    def _records(self) -> list[Path]:
        return [path for path in self._dir.glob("*.json") if path.with_suffix("").is_dir()]

    def _free(self) -> int:
        return shutil.disk_usage(self._dir).free


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _content(folder: Path) -> str:
    """What the numbers of a folder depend on: a sample of every tensor and the files' date, and all small files."""
    files = {meta.file for meta in folder_tensors(folder).values()}
    digest = hashlib.sha256(weights_fingerprint(folder).encode())
    digest.update(str(max(path.stat().st_mtime_ns for path in files)).encode())
    for path in sorted(folder.iterdir()):
        if path.is_file() and path not in files and not path.name.startswith("."):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _require_memory(fp16_dir: Path) -> None:
    """Refuse before the machine runs out: calibration holds the FP16 model in 32 bits.

    Raises:
        PrerequisiteError: too little memory is available.
    """
    needed = 2 * _weight_bytes(fp16_dir) + 2**29
    available = psutil.virtual_memory().available
    if available < needed:
        raise PrerequisiteError(
            f"Quantizing again needs about {needed:,} bytes of memory; {available:,} are available.",
            "Close other programs, or quantize on a larger machine with the command `wfgy-triage quantize`.",
        )
