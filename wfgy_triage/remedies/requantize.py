"""Re-quantized siblings, made when a trial asks for them and kept by what they were made from.

What is kept is named by a hash over all that it depends on; `kept.py` holds the entries.
"""

from __future__ import annotations

import hashlib
import json
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
from wfgy_triage.exl2.modules import FolderContents, read_folder
from wfgy_triage.exl2.plan import decoder_linears, head_linear
from wfgy_triage.exl2.recipe import Recipe, read_recipe
from wfgy_triage.remedies.kept import KEY_LENGTH, KeptFolders, Made, read_made, weight_bytes
from wfgy_triage.remedies.recipes import estimated_bytes, starts_from_sibling, weights_made, whole_bytes

if TYPE_CHECKING:
    from wfgy_triage.exl2.convert import QuantizeReport

VERSION = 1
"""Raised when the quantizer gives other weights: older siblings are then not found."""
LIMIT_BYTES = 16 * 2**30
"""What all kept siblings may take; those used longest ago go first."""

SECONDS_A_MILLION = 0.3
"""Least seconds for a million weights on all calibration rows, two cores (45 s for the demo model's 134 million).
Larger layers need more, so this is a lower bound; it keeps a run from beginning what takes an hour."""
FEWER_ROWS = 0.4
"""Its share on a quarter of the rows."""

Progress = Callable[[int, int, str], None]


class _Stopped(Exception):  # noqa: N818 - a request of the user, not an error
    """Ends the work from inside its progress callback."""


class Siblings:
    """Makes re-quantized siblings of a model and keeps them.

    Args:
        cache_dir: where they are kept.
        limit_bytes: what they may take together; the one in use stays even if it is larger.
        calibration_rows: fewer token rows than the calibration text has, for speed; `Made` says how many were used.
        statistics: where the statistics lie that siblings share; in `cache_dir` without it.
    """

    def __init__(
        self,
        cache_dir: Path,
        limit_bytes: int = LIMIT_BYTES,
        calibration_rows: int | None = None,
        statistics: Path | None = None,
    ) -> None:
        self._dir, self._rows = Path(cache_dir), calibration_rows
        self._statistics = statistics or self._dir
        self._kept = KeptFolders(self._dir, limit_bytes)

    def make(
        self,
        fp16_dir: Path,
        exl2_dir: Path | None,
        recipe: Recipe,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Path | None:
        """The folder of a sibling, made now unless it is kept from before.

        Where the recipe only adds bits to what `exl2_dir` has, the rest is copied from there byte for byte;
        otherwise all is quantized from `fp16_dir`.

        Args:
            fp16_dir: the FP16 side.
            exl2_dir: the EXL2 side in use; None where it is not to be relied on: then it is not looked at.
            recipe: how to make it.
            progress: called with (done, total, label) before each linear.
            should_stop: asked before each linear.

        Returns:
            the folder; None where `should_stop` ended the work, and then nothing is left of it.

        Raises:
            InputError: a recipe that cannot be met or brings nothing.
            PrerequisiteError: folders that cannot be used, too little disk space or memory.
        """
        from wfgy_triage.exl2.writer import disk_problem

        stop = should_stop or (lambda: False)

        def tell(done: int, total: int, label: str) -> None:
            if stop():
                raise _Stopped
            if progress is not None:
                progress(done, total, label)

        order = _Order.of(fp16_dir, exl2_dir, recipe)
        key = order.key(self._rows)
        if self._kept.usable(key):
            return self._kept.use(key)
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            with self._alone(tell):
                if not self._kept.usable(key):
                    self._build(key, order, tell)
        except _Stopped:
            return None
        except OSError as error:
            raise disk_problem(error, f"The re-quantized model in {self._dir.name}") from error
        return self._kept.use(key)

    def seconds(self, fp16_dir: Path, exl2_dir: Path | None, recipe: Recipe) -> float:
        """At least about how long `make` takes; 0 for a sibling that is kept from before.

        Raises:
            InputError: the recipe names a part that is not there, or a rate that cannot be met.
            PrerequisiteError: a folder that cannot be used.
        """
        order = _Order.of(fp16_dir, exl2_dir, recipe)
        if self._kept.usable(order.key(self._rows)):
            return 0.0
        share = 1.0 if self._rows is None else FEWER_ROWS
        return order.weights / 1e6 * SECONDS_A_MILLION * share

    def made(self, folder: Path) -> Made:
        """How a folder that `make` returned was made."""
        return read_made(folder)

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

    def _build(self, key: str, order: _Order, tell: Progress) -> None:
        self._kept.sweep(key)
        self._kept.make_room(order.size_bytes)
        folder = self._dir / key
        report = self._quantize(order, folder, tell)
        made = Made(
            recipe=order.recipe,
            linears=len(report.presets),
            copied_rest=order.copied,
            decoder_bpw=report.decoder_bpw,
            head_bits=report.head_bits,
            calibration_rows=report.calibration.rows,
            seconds=report.seconds,
            size_bytes=weight_bytes(folder),
            fingerprint=weights_fingerprint(folder),
        )
        self._kept.record(key, made)

    def _quantize(self, order: _Order, out: Path, tell: Progress) -> QuantizeReport:
        """Make the folder: from the sibling where the rest is copied, else as a whole."""
        from wfgy_triage.engines.calibration import TransformersWalker
        from wfgy_triage.exl2.convert import quantize_folder
        from wfgy_triage.exl2.partial import requantize_folder

        recipe, now = order.recipe, order.now
        walker = None
        if order.calibrated:
            _require_memory(order.fp16_dir)
            tell(0, 1, "loading the FP16 model")
            walker = TransformersWalker(order.fp16_dir)
        common: dict[str, Any] = {
            "method": recipe.method,
            "calibration_rows": self._rows,
            "walker": walker,
            "statistics": self._statistics,
            "progress": tell,
        }
        if not order.copied or now is None or order.exl2_dir is None:
            rates: dict[str, Any] = {
                "bpw": recipe.bpw,
                "head_bits": recipe.head_bits,
                "protect": recipe.protect,
            }
            return quantize_folder(order.fp16_dir, out, **rates, **common)
        new = {part: bpw for part, bpw in recipe.protect.items() if now.protect.get(part) != bpw}
        head = recipe.head_bits if recipe.head_bits > now.head_bits else None
        return requantize_folder(order.fp16_dir, order.exl2_dir, out, protect=new, head_bits=head, **common)


@dataclass(frozen=True)
class _Order:
    """A sibling to make: from which folders, how, and what the one in use was made with.

    Without a sibling in use, `contents` are those of the FP16 folder and `now` is None.
    """

    fp16_dir: Path
    exl2_dir: Path | None
    recipe: Recipe
    contents: FolderContents
    now: Recipe | None

    @classmethod
    def of(cls, fp16_dir: Path, exl2_dir: Path | None, recipe: Recipe) -> _Order:
        contents = read_folder(Path(exl2_dir or fp16_dir))
        kept = replace(recipe, protect=dict(recipe.protect))
        return cls(Path(fp16_dir), exl2_dir, kept, contents, read_recipe(contents) if exl2_dir else None)

    @property
    def copied(self) -> bool:
        """Whether the rest is copied from the sibling in use."""
        return self.now is not None and starts_from_sibling(self.recipe, self.now)

    @property
    def size_bytes(self) -> int:
        """About the size of its weight files."""
        if self.now is None:
            return whole_bytes(self.contents, self.recipe)
        return estimated_bytes(self.contents, self.recipe)

    @property
    def weights(self) -> int:
        """How many weights have to be quantized."""
        if self.now is None:
            return sum(
                linear.size for linear in (*decoder_linears(self.contents), head_linear(self.contents))
            )
        return weights_made(self.contents, self.recipe)

    @property
    def calibrated(self) -> bool:
        """Whether a model has to run: a part that is rounded to nearest keeps the sibling's order of features."""
        return not self.copied or self.recipe.method == "gptq"

    def key(self, rows: int | None) -> str:
        """A hash over all that the result depends on."""
        from wfgy_triage.exl2.walker import standard_calibration

        facts = {**asdict(self.recipe), "protect": sorted(self.recipe.protect.items())}
        digest = hashlib.sha256(json.dumps([VERSION, __version__, self.copied, facts]).encode())
        for folder in (self.fp16_dir, self.exl2_dir if self.copied else None):
            if folder is not None:
                digest.update(_content(folder).encode())
        if self.calibrated:
            digest.update(f"{rows}".encode())
            for passage in standard_calibration():
                digest.update(f"{passage.rows}/{passage.text}".encode())
        return digest.hexdigest()[:KEY_LENGTH]


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
    needed = 2 * weight_bytes(fp16_dir) + 2**29
    available = psutil.virtual_memory().available
    if available < needed:
        raise PrerequisiteError(
            f"Quantizing again needs about {needed:,} bytes of memory; {available:,} are available.",
            "Close other programs, or quantize on a larger machine with the command `python -m wfgy_triage quantize`.",
        )
