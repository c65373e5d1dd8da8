"""The command line as a user meets it: exit codes and sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import Here, call
from wfgy_triage import demo
from wfgy_triage.cli import app
from wfgy_triage.errors import InputError
from wfgy_triage.runs import headless
from wfgy_triage.settings import CACHE_ROWS, Settings, load_settings
from wfgy_triage.store.records import RunSpec

QUESTIONS = "assets/templates/questions.md"


def test_symptoms_lists_all_five_of_the_page(tmp_path: Path):
    outcome = call(tmp_path, "symptoms")
    assert outcome.returncode == 0
    for symptom in ("citations_missing", "wrong_snippet", "json_breaks", "long_chain", "deploy_mismatch"):
        assert symptom in outcome.stdout
    assert "JSON breaks frequently  (live probe)" in outcome.stdout
    assert "Deployment mismatch  (live probe)" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["probe"], "Missing argument"),
        (["probe", "json_breaks"], "Give --pair ID, or both --fp16 DIR and --exl2 DIR."),
        (["probe", "json_breaks", "--pair", "nope"], "There is no model pair with the id 'nope'"),
        (["probe", "nope", "--pair", "demo"], "There is no symptom with the id 'nope'"),
        (["probe", "nope"], "There is no symptom with the id 'nope'"),
        (["probe", "json_breaks", "--pair", "demo", "--questions", "0"], "Invalid value"),
        (["probe", "json_breaks", "--pair", "demo", "--json", "/nowhere/r.json"], "does not exist"),
        (["probe", "json_breaks", "--pair", "demo", "--workload", "/nowhere/q.csv"], "cannot be read"),
        (["probe", "json_breaks", "--pair", "demo", "--workload", "Makefile"], "use .jsonl, .csv or .md"),
        (
            ["probe", "json_breaks", "--pair", "demo", "--workload", "assets/templates/questions.md"],
            "needs JSON records",
        ),
        (
            ["probe", "json_breaks", "--pair", "nope", "--no-cache"],
            "There is no model pair with the id 'nope'",
        ),
        (["gate", "--pair", "nope"], "There is no model pair with the id 'nope'"),
        (["inspect", "/nowhere"], "does not exist"),
        (["doctor", "--fp16", "."], "Give --pair ID, or both --fp16 DIR and --exl2 DIR."),
        (["doctor", "--fp16", "/nowhere", "--exl2", "."], "does not exist"),
        (["doctor", "--fp16", "docs", "--exl2", "docs"], "holds no model: no config.json"),
        (["probe", "json_breaks", "--fp16", "docs", "--exl2", "docs"], "Give another --fp16 folder."),
        (["doctor", "--pair", "nope"], "There is no model pair with the id 'nope'"),
        (["doctor", "--json", "/nowhere/d.json"], "does not exist"),
        (["match"], "Say what to match."),
        (["match", "JSON breaks", "--file", "in.jsonl"], "Say what to match."),
        (["match", " "], "There is no text."),
        (["match", "x" * 2001], "at most 2,000 are read"),
        (["match", "--file", "/nowhere.jsonl"], "cannot be read"),
        (["demo", "--pair", "nope"], "There is no demo pair 'nope'"),
        (["sessions", "show", "nope"], "There is no session with the id 'nope'"),
        (["quantize", ".", "out", "--bpw", "1"], "Invalid value"),
        (["quantize", ".", "out"], "Give either --bpw or --start-from."),
        (["quantize", ".", "out", "--bpw", "4", "--start-from", "."], "Give either --bpw or --start-from."),
        (["quantize", ".", "out", "--bpw", "4", "--protect", "mlp"], "'mlp' is not PART=BPW."),
    ],
)
def test_mistakes_are_sentences_with_exit_code_two(
    tmp_path: Path, here: Here, arguments: list[str], said: str
):
    outcome = here(tmp_path, *arguments)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_no_sessions_yet(tmp_path: Path, here: Here):
    outcome = here(tmp_path, "sessions", "list")
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


def test_a_port_that_is_no_number(tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WFGY_TRIAGE_PORT", "http")
    outcome = here(tmp_path, "sessions", "list")
    assert outcome.returncode == 2
    assert "WFGY_TRIAGE_PORT" in outcome.stderr


def test_the_doctor_of_this_machine_and_of_a_folder_that_is_no_model(tmp_path: Path, here: Here):
    alone = call(tmp_path, "doctor", "--json", str(tmp_path / "here.json"))
    found = json.loads((tmp_path / "here.json").read_text())
    assert found["schema"] == "wfgy-triage/doctor-1"
    assert {f["group"] for f in found["findings"]} == {"environment"}
    assert alone.returncode == (1 if found["state"] == "FAIL" else 0)
    assert "This machine" in alone.stdout
    for side in ("fp16", "exl2"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "tokenizer.json").write_text("{}", encoding="utf-8")
    folders = ["--fp16", str(tmp_path / "fp16"), "--exl2", str(tmp_path / "exl2")]
    outcome = here(tmp_path, "doctor", *folders, "--json", str(tmp_path / "both.json"))
    assert outcome.returncode == 1
    assert "has no config.json" in outcome.stdout
    both = json.loads((tmp_path / "both.json").read_text())
    assert {f["group"] for f in both["findings"]} == {"environment", "folders", "engines"}
    assert both["state"] == "FAIL"


def test_a_folder_above_the_models_is_refused_with_what_is_in_it(tmp_path: Path, here: Here):
    for name in ("exl2", "fp16"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}", encoding="utf-8")
    models = str(tmp_path / "models")
    outcome = here(tmp_path, "doctor", "--fp16", f"{models}/fp16", "--exl2", models)
    assert outcome.returncode == 2
    assert f"{models} holds no model" in outcome.stderr
    assert "One of these may be meant: exl2, fp16." in outcome.stderr


@pytest.mark.parametrize(
    ("variable", "options", "rows"),
    [
        (None, (), CACHE_ROWS),
        ("50", (), 50),
        ("0", (), 0),
        ("50", ("--no-cache",), 0),
        ("many", ("--no-cache",), 0),
    ],
)
def test_the_cache_is_bounded_by_the_variable_and_turned_off_by_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, options: tuple[str, ...], rows: int
):
    given: list[Settings] = []

    def run(settings: Settings, *_: object, **__: object) -> None:
        given.append(settings)
        raise InputError("Enough.")

    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path))
    monkeypatch.delenv("WFGY_TRIAGE_CACHE_ROWS", raising=False)
    if variable is not None:
        monkeypatch.setenv("WFGY_TRIAGE_CACHE_ROWS", variable)
    monkeypatch.setattr(headless, "run_headless", run)
    with pytest.raises(InputError, match="Enough"):
        app(["probe", "json_breaks", "--pair", "demo", *options], standalone_mode=False)
    assert [s.cache_rows for s in given] == [rows]


@pytest.mark.parametrize("rows", ["many", "-1", "1.5", "\N{SUPERSCRIPT TWO}"])
def test_a_number_of_cached_rows_that_is_none(monkeypatch: pytest.MonkeyPatch, rows: str):
    monkeypatch.setenv("WFGY_TRIAGE_CACHE_ROWS", rows)
    with pytest.raises(InputError, match="not a whole number") as caught:
        load_settings()
    assert "WFGY_TRIAGE_CACHE_ROWS" in caught.value.hint


@pytest.mark.parametrize("command", [("probe", "json_breaks"), ("gate",)])
@pytest.mark.parametrize(
    ("given", "options"),
    [
        ((), {}),
        (("--no-fix",), {"fix": "no"}),
        (("--fix-seconds", "60"), {"fix_seconds": "60"}),
        (("--fix-seconds", "60", "--no-fix"), {"fix": "no"}),
        (("--fix-seconds", "0"), {"fix_seconds": "0"}),
    ],
)
def test_trying_changes_can_be_bounded_and_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    given: tuple[str, ...],
    options: dict[str, str],
):
    assert asked(tmp_path, monkeypatch, *command, *given).options == options


def test_settings_of_a_probe_stand_beside_those_of_the_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given = ("--fix-seconds", "60", "--option", "k=10")
    assert asked(tmp_path, monkeypatch, "probe", "json_breaks", *given).options == {
        "fix_seconds": "60",
        "k": "10",
    }


def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> RunSpec:
    """What a command asks to be measured on the demo pair."""
    specs: list[RunSpec] = []

    def run(_: Settings, spec: RunSpec, *__: object, **___: object) -> None:
        specs.append(spec)
        raise InputError("Enough.")

    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path))
    monkeypatch.setattr(headless, "run_headless", run)
    with pytest.raises(InputError, match="Enough"):
        app([*arguments, "--pair", "demo"], standalone_mode=False)
    (spec,) = specs
    return spec


@pytest.mark.parametrize(
    ("options", "done", "said"),
    [
        ([], ["pairs ()"], "demo, demo-6bpw, demo-3bpw, the model that reads complaints."),
        (["--pair", "demo-6bpw"], ["pairs ('demo-6bpw',)"], "models: demo-6bpw."),
        (["--free-text"], ["reader"], "models: the model that reads complaints."),
        (
            ["--free-text", "--pair", "demo"],
            ["pairs ('demo',)", "reader"],
            "models: demo, the model that reads complaints.",
        ),
    ],
)
def test_the_demo_prepares_what_is_asked_for_and_says_what_is_ready(
    here: Here,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    done: list[str],
    said: str,
):
    made: list[str] = []
    monkeypatch.setattr(demo, "prepare_reader", lambda settings, progress: made.append("reader"))
    monkeypatch.setattr(demo, "prepare_demo", lambda settings, progress, only: made.append(f"pairs {only}"))
    outcome = here(tmp_path, "demo", *options)
    assert (outcome.returncode, made) == (0, done)
    assert said in outcome.stdout
