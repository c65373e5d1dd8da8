"""The doctor's knowledge as frozen records: what is checked, which wheels exist, what error texts mean.

`fixmap/checks.yaml` and `fixmap/versions.yaml` hold it; this file gives it types and checks that every cause named
there is one of the fix map. It decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from wfgy_triage.catalog import FIXMAP, Table, load_catalog
from wfgy_triage.fixmap_files import FixmapFile, read_fixmap_file

Group = Literal["environment", "folders", "engines"]


@dataclass(frozen=True)
class CheckText:
    """One check of the doctor, in words.

    Attributes:
        id: stable name, part of the result format.
        group: where it is made.
        title: the statement that is checked.
        cause: what a failure names; None where a failure is not possible.
        ladder: whether the outcome is evidence for every measurement on the pair.
        essential: without it "nothing is wrong" may not be said.
        fatal: after a failure the models are not loaded.
        means: by outcome (`pass`, `warn`, `fail`, `skipped`), what it means.
        do: by outcome, what to do.
    """

    id: str
    group: Group
    title: str
    cause: str | None
    ladder: bool
    essential: bool
    fatal: bool
    means: Mapping[str, str]
    do: Mapping[str, str]


@dataclass(frozen=True)
class WheelRow:
    """Prebuilt wheels of one release for one PyTorch: CUDA as `128`, Python as `311`.

    Attributes:
        release: of exllamav2.
        torch: the PyTorch that they were built for.
        cuda: the CUDA versions.
        python: the Python versions.
        lacking: by platform (`win32`), the Python versions that have none there.
    """

    release: str
    torch: str
    cuda: tuple[str, ...]
    python: tuple[str, ...]
    lacking: Mapping[str, tuple[str, ...]]

    def has(self, cuda: str, python: str, platform: str) -> bool:
        """Whether there is a wheel for a CUDA, a Python and a platform."""
        return cuda in self.cuda and python in self.python and python not in self.lacking.get(platform, ())


@dataclass(frozen=True)
class ArchitectureRow:
    """Compute capabilities that the wheels of these CUDA versions have code for."""

    cuda: tuple[str, ...]
    oldest: float
    newest: float


@dataclass(frozen=True)
class Signature:
    """An error text by its pattern: the cause, what it says in plain words, what to do, the exact line if any."""

    id: str
    pattern: re.Pattern[str]
    cause: str
    says: str
    do: str
    line: str = ""


@dataclass(frozen=True)
class Versions:
    """What `fixmap/versions.yaml` holds. Versions are `major.minor.patch`."""

    release: str
    wheel_url: str
    platforms: Mapping[str, str]
    wheels: tuple[WheelRow, ...]
    architectures: tuple[ArchitectureRow, ...]
    flash_attention: str
    flash_attention_capability: float
    unmasked_sdpa: tuple[str, str]
    signatures: tuple[Signature, ...]

    def wheel_row(self, torch: str, release: str | None = None) -> WheelRow | None:
        """The wheels for a PyTorch (`2.9.1` uses those of `2.9.0`); of the newest release unless one is named."""
        wanted = torch.split(".")[:2]
        rows = [w for w in self.wheels if w.release == (release or self.release)]
        return next((w for w in rows if w.torch.split(".")[:2] == wanted), None)

    def classify(self, text: str) -> Signature | None:
        """The first signature found in an error text."""
        return next((s for s in self.signatures if s.pattern.search(text)), None)


@lru_cache(maxsize=4)
def load_checks(folder: Path = FIXMAP) -> Table[CheckText]:
    """Read and validate `checks.yaml`, in the order of the ladder; cached per folder.

    Raises:
        PrerequisiteError: the file is missing or wrong; names file and line.
    """
    file = read_fixmap_file(folder, "checks")
    records = file.data["checks"]
    seen: set[str] = set()
    for index, record in enumerate(records):
        if record["id"] in seen:
            raise file.fault(("checks", index, "id"), f"the id {record['id']!r} is given twice.")
        seen.add(record["id"])
        _check_cause(file, folder, ("checks", index), record["cause"])
        if ("fail" in record["means"]) != (record["cause"] is not None):
            raise file.fault(
                ("checks", index, "cause"), "a check that can fail names a cause, no other does."
            )
        if set(record["means"]) - {"pass"} != set(record["do"]):
            raise file.fault(("checks", index, "do"), "every outcome but pass says what to do, and no other.")
    return Table("check", (CheckText(**record) for record in records))


@lru_cache(maxsize=4)
def load_versions(folder: Path = FIXMAP) -> Versions:
    """Read and validate `versions.yaml`; cached per folder.

    Raises:
        PrerequisiteError: the file is missing or wrong; names file and line.
    """
    file = read_fixmap_file(folder, "versions")
    data = file.data
    return Versions(
        release=data["release"],
        wheel_url=data["wheel_url"],
        platforms=data["platforms"],
        wheels=tuple(
            WheelRow(
                w["release"],
                w["torch"],
                tuple(w["cuda"]),
                tuple(w["python"]),
                {platform: tuple(pythons) for platform, pythons in w.get("lacking", {}).items()},
            )
            for w in data["wheels"]
        ),
        architectures=tuple(
            ArchitectureRow(tuple(a["cuda"]), a["oldest"], a["newest"]) for a in data["architectures"]
        ),
        flash_attention=data["flash_attention"]["minimum"],
        flash_attention_capability=data["flash_attention"]["compute_capability"],
        unmasked_sdpa=(data["unmasked_sdpa"]["first"], data["unmasked_sdpa"]["last"]),
        signatures=tuple(_signatures(file, folder)),
    )


def _signatures(file: FixmapFile, folder: Path) -> list[Signature]:
    found = []
    for index, record in enumerate(file.data["signatures"]):
        _check_cause(file, folder, ("signatures", index), record["cause"])
        try:
            pattern = re.compile(record["pattern"], re.DOTALL | re.IGNORECASE)
        except re.error as error:
            raise file.fault(
                ("signatures", index, "pattern"), f"not a regular expression: {error}."
            ) from error
        found.append(Signature(**{**record, "pattern": pattern}))
    return found


def _check_cause(file: FixmapFile, folder: Path, path: tuple[str, int], cause: str | None) -> None:
    if cause is not None and cause not in load_catalog(folder).causes:
        raise file.fault((*path, "cause"), f"cause names {cause!r}, which is not in causes.yaml.")
