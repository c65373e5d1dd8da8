"""The rules of the house: floors, what may be imported where, what must never appear."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wfgy_triage"


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()


def test_floors_hold():
    outcome = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:]


@pytest.mark.parametrize(
    "module",
    [
        "wfgy_triage",
        "wfgy_triage.cli",
        "wfgy_triage.runs.service",
        "wfgy_triage.exl2.inspect",
        "wfgy_triage.ui.app",
    ],
)
def test_web_and_command_line_import_no_torch(module: str):
    heavy = run_python(
        f"import sys, {module}; print([m for m in ('torch', 'transformers', 'exllamav2') if m in sys.modules])"
    )
    assert heavy == "[]"


@pytest.mark.parametrize(
    "forbidden",
    [r"torch\.load\(", r"(?m)^\s*(import|from) pickle", r"trust_remote_code=True", r"\beval\(", r"joblib"],
)
def test_nothing_that_runs_foreign_code(forbidden: str):
    # `model.eval()` is a method; the builtin would run text.
    pattern = re.compile(forbidden if "eval" not in forbidden else r"(?<![.\w])eval\(")
    hits = [str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*.py") if pattern.search(p.read_text("utf-8"))]
    assert hits == []


def test_gradio_is_imported_in_the_page_only():
    pattern = re.compile(r"^\s*(import|from) gradio", re.MULTILINE)
    users = {
        p.relative_to(PACKAGE).parts[0] for p in PACKAGE.rglob("*.py") if pattern.search(p.read_text("utf-8"))
    }
    assert users == {"ui"}


def variables_of(*paths: Path) -> set[str]:
    pattern = re.compile(r"\b(?:WFGY_TRIAGE_[A-Z0-9_]+|DATABASE_URL)\b")
    return {name for path in paths for name in pattern.findall(path.read_text("utf-8"))}


def test_every_setting_is_documented_and_every_documented_one_exists():
    private = {"WFGY_TRIAGE_SUPERVISOR"}  # set by the app for its own worker
    read = variables_of(*PACKAGE.rglob("*.py"), ROOT / "app.py") - private
    tests = {"WFGY_TRIAGE_NO_BROWSER", "WFGY_TRIAGE_NO_POSTGRES"}
    table = re.findall(r"(?m)^\| `[^|]*\|", (ROOT / "docs/hosting.md").read_text("utf-8"))
    documented = set(re.findall(r"`(WFGY_TRIAGE_[A-Z0-9_]+|DATABASE_URL)(?:=[^`]*)?`", "".join(table)))
    assert documented - tests == read
    assert tests <= documented
    known = read | tests
    files = [ROOT / name for name in ("README.md", "Dockerfile", "compose.yaml")]
    assert variables_of(*files, *(ROOT / "docs").glob("*.md")) <= known
