"""The command line as a user meets it: one process a call, exit codes and sentences."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = "assets/templates/questions.md"


def call(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "WFGY_TRIAGE_HOME": str(home), "COLUMNS": "200", "TERM": "dumb"}
    for name in ("DATABASE_URL", "WFGY_TRIAGE_PAIRS"):
        env.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "wfgy_triage", *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=ROOT,
        check=False,
    )


def test_symptoms_lists_all_five_of_the_page(tmp_path: Path):
    outcome = call(tmp_path, "symptoms")
    assert outcome.returncode == 0
    for symptom in ("citations_missing", "wrong_snippet", "json_breaks", "long_chain", "deploy_mismatch"):
        assert symptom in outcome.stdout
    assert "JSON breaks frequently  (live probe)" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["probe"], "Missing argument"),
        (["probe", "json_breaks"], "Give --pair ID, or both --fp16 DIR and --exl2 DIR."),
        (["probe", "json_breaks", "--pair", "nope"], "There is no model pair with the id 'nope'"),
        (["probe", "nope", "--pair", "demo"], "There is no symptom with the id 'nope'"),
        (["probe", "long_chain", "--pair", "demo"], "this version has no probe for it"),
        (["probe", "json_breaks", "--pair", "demo", "--questions", "0"], "Invalid value"),
        (["probe", "json_breaks", "--pair", "demo", "--json", "/nowhere/r.json"], "does not exist"),
        (["probe", "json_breaks", "--pair", "demo", "--workload", "/nowhere/q.csv"], "cannot be read"),
        (["probe", "json_breaks", "--pair", "demo", "--workload", "Makefile"], "use .jsonl, .csv or .md"),
        (
            ["probe", "json_breaks", "--pair", "demo", "--workload", "assets/templates/questions.md"],
            "needs JSON records",
        ),
        (["inspect", "/nowhere"], "does not exist"),
        (["demo", "--pair", "nope"], "There is no demo pair 'nope'"),
        (["sessions", "show", "nope"], "There is no session with the id 'nope'"),
        (["quantize", ".", "out", "--bpw", "1"], "Invalid value"),
    ],
)
def test_mistakes_are_sentences_with_exit_code_two(tmp_path: Path, arguments: list[str], said: str):
    outcome = call(tmp_path, *arguments)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_no_sessions_yet(tmp_path: Path):
    outcome = call(tmp_path, "sessions", "list")
    assert (outcome.returncode, outcome.stdout.strip()) == (0, "No sessions are recorded yet.")


def test_a_damaged_database_is_explained_and_kept(tmp_path: Path):
    database = tmp_path / "triage.db"
    database.write_bytes(b"this is not a database" * 100)
    before = database.read_bytes()
    outcome = call(tmp_path, "sessions", "list")
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
    assert "triage.db" in outcome.stderr
    assert database.read_bytes() == before


def test_a_port_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WFGY_TRIAGE_PORT", "http")
    outcome = call(tmp_path, "sessions", "list")
    assert outcome.returncode == 2
    assert "WFGY_TRIAGE_PORT" in outcome.stderr
