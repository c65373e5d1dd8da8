"""A healthy tiny pair, made once, and copies of it that a test may break."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults import Fault, broken_copy
from tests.engines.conftest import FAMILIES, build_model, save_tokenizer
from wfgy_triage.doctor.finding import Finding, Outcome
from wfgy_triage.doctor.folders import check_folders
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.pairs import Pair

ROPE = {"rope_type": "default", "rope_theta": 5e4}
HEALTHY = Fault("healthy", "nothing", "nothing_found", lambda fp16, exl2: None)


def save_fp16(folder: Path, seed: int) -> Path:
    """A random Llama with a byte tokenizer; every byte is a token, `<s>` and `</s>` are markers."""
    settings = {**FAMILIES["llama"], "rope_parameters": ROPE}
    build_model(seed=seed, **settings).half().save_pretrained(folder)
    save_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": ROPE["rope_theta"]}))
    return folder


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """FP16 and its 6-bit copy."""
    base = tmp_path_factory.mktemp("doctor")
    fp16 = save_fp16(base / "fp16", seed=0)
    quantize_folder(fp16, base / "exl2", bpw=6.0, method="rtn")
    return Pair("tiny", "Tiny", fp16, base / "exl2")


@pytest.fixture
def copy_with(healthy: Pair, tmp_path: Path) -> Callable[..., Pair]:
    """Make a broken copy: `copy_with(fault)` or `copy_with(lambda fp16, exl2: ...)`."""

    made: list[object] = []

    def make(fault: Fault | Callable[[Path, Path], object]) -> Pair:
        if not isinstance(fault, Fault):
            made.append(fault)
            fault = Fault(f"own-{len(made)}", "", "", lambda fp16, exl2, breaks=fault: breaks(fp16, exl2))
        return broken_copy(healthy, fault, tmp_path / fault.id)

    return make


def outcomes(findings: tuple[Finding, ...]) -> dict[str, Outcome]:
    return {f.check: f.state for f in findings}


def failed(findings: tuple[Finding, ...]) -> list[str]:
    return [f.check for f in findings if f.state is Outcome.FAIL]


def by_check(pair: Pair) -> dict[str, Finding]:
    return {f.check: f for f in check_folders(pair)}


@pytest.fixture(autouse=True)
def no_builds_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports look for builds of the extension, and remove locks that were left behind: not those of who runs this."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))


@pytest.fixture
def fake_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a package named exllamav2 with this source first on the path of other processes."""

    def make(source: str) -> None:
        package = tmp_path / "path" / "exllamav2"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))

    return make
