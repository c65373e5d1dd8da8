"""What goes wrong on the command line: no error ends like a FAIL, and no result is lost for want of a file."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.browser.scripted import ScriptedWorker
from tests.commands import Here
from tests.rights import ordinary_user
from wfgy_triage.doctor.finding import Finding, Outcome
from wfgy_triage.errors import InputError
from wfgy_triage.runs import doctor, headless
from wfgy_triage.settings import REPO_ROOT, load_settings

FULL = "/dev/full"
"""Can be opened, and nothing can be written to it: a full disk."""
PROBE = ("probe", "json_breaks", "--pair", "demo")
SHOW = ("sessions", "show", "nope")
GATE = ("gate", "--pair", "demo")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[ScriptedWorker]:
    scripted = ScriptedWorker(
        load_settings(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'triage.db'}")
    )
    yield scripted
    scripted.database.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an ordinary user could reach (pytest's own belong to one user)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def measures(monkeypatch: pytest.MonkeyPatch, outcome: object) -> None:
    """Let a run end with this record, or with this exception."""

    def run(*_: object, **__: object) -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(headless, "run_headless", run)


@pytest.mark.parametrize(
    ("error", "said", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "with /data/x: No space", "Make room"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "denied", "WFGY_TRIAGE_HOME"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "refused", "Check the network"),
        (OSError("no [/] server."), "error: no [/] server.", "please report it"),
    ],
)
def test_what_the_system_refuses_is_a_sentence_with_exit_code_two(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str, hint: str
):
    measures(monkeypatch, error)
    outcome = here(tmp_path, *PROBE)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert hint in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("error", [ValueError("[/] of x"), MemoryError(), KeyError("x")])
def test_a_fault_of_the_program_is_no_fail(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    measures(monkeypatch, error)
    outcome = here(tmp_path, *PROBE)
    assert outcome.returncode == 2
    assert "Traceback" in outcome.stderr
    assert ", in probe" in outcome.stderr
    assert f"does not expect ({type(error).__name__})" in outcome.stderr
    assert "Please report it with the lines above." in outcome.stderr


@pytest.mark.parametrize(("ending", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_run_that_is_stopped_ends_as_it_was_told_to(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch, ending: BaseException, code: int
):
    measures(monkeypatch, ending)
    assert here(tmp_path, *PROBE).returncode == code


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (PROBE, "--json"),
        (PROBE, "--junit"),
        (GATE, "--json"),
        (SHOW, "--json"),
        (SHOW, "--junit"),
        (("doctor",), "--json"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path,
    open_folder: Path,
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    option: str,
):
    measures(monkeypatch, InputError("Measured."))
    monkeypatch.setattr(doctor, "run_doctor", lambda *_: pytest.fail("The doctor has looked."))
    folder = here(tmp_path, *command, option, str(open_folder))
    assert (folder.returncode, "is a directory" in folder.stderr) == (2, True)
    nowhere = here(tmp_path, *command, option, str(open_folder / "none" / "r"))
    assert (nowhere.returncode, "Create it first" in nowhere.stderr) == (2, True)

    file = open_folder / "r"
    file.write_text("mine")
    file.chmod(0o444)
    open_folder.chmod(0o555)
    with ordinary_user():
        old = here(tmp_path, *command, option, str(file))
        new = here(tmp_path, *command, option, str(open_folder / "new"))
    open_folder.chmod(0o777)
    assert (old.returncode, new.returncode) == (2, 2)
    assert "this file may not be changed by this user" in old.stderr
    assert f"the folder {open_folder} may not be changed by this user" in new.stderr
    assert f"or choose another {option} file." in old.stderr
    assert file.read_text() == "mine"


def test_asking_whether_a_file_can_be_written_changes_nothing(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
):
    measures(monkeypatch, InputError("Measured."))
    old, new = tmp_path / "old.json", tmp_path / "new.xml"
    old.write_text("mine")
    outcome = here(tmp_path, *PROBE, "--json", str(old), "--junit", str(new))
    assert "Measured." in outcome.stderr
    assert old.read_text() == "mine"
    assert not new.exists()


@pytest.mark.parametrize("command", [PROBE, GATE])
def test_a_disk_that_is_full_after_the_run_costs_no_result(
    tmp_path: Path,
    here: Here,
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
):
    run_id = worker.finished_run()
    measures(monkeypatch, worker.runs.get(run_id))
    junit = tmp_path / "junit.xml"
    outcome = here(tmp_path, *command, "--json", FULL, "--junit", str(junit))
    assert outcome.returncode == 2
    assert "EXL2 breaks the schema in 6 of 20 answers" in outcome.stdout
    assert f"{FULL} could not be written: No space left on device." in outcome.stderr
    assert f"sessions show {run_id} --json FILE" in outcome.stderr
    assert ElementTree.parse(junit).find("testsuite") is not None  # noqa: S314 - written here

    other = here(tmp_path, *command, "--junit", FULL, "--json", str(tmp_path / "r.json"))
    assert other.returncode == 2
    assert f"sessions show {run_id} --junit FILE" in other.stderr
    assert json.loads((tmp_path / "r.json").read_text())["run_id"] == run_id


def test_what_the_hint_names_writes_the_files_after_all(
    tmp_path: Path, here: Here, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
):
    run_id = worker.finished_run()
    record = worker.runs.get(run_id)
    measures(monkeypatch, record)
    files = [tmp_path / name for name in ("a.json", "a.xml", "b.json", "b.xml")]
    assert here(tmp_path, *PROBE, "--json", str(files[0]), "--junit", str(files[1])).returncode == 1
    again = here(tmp_path, "sessions", "show", run_id, "--json", str(files[2]), "--junit", str(files[3]))
    assert again.returncode == 1
    first, second, third, fourth = (f.read_bytes() for f in files)
    assert (first, second) == (third, fourth)
    assert json.loads(first) == record.result


def test_a_run_without_a_result_still_has_its_junit_file(
    tmp_path: Path, here: Here, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.fail(run_id, "The file [/] is broken.", "Copy it again.")
    measures(monkeypatch, worker.runs.get(run_id))
    outcome = here(tmp_path, *PROBE, "--junit", str(tmp_path / "junit.xml"), "--json", str(tmp_path / "r"))
    assert outcome.returncode == 2
    assert "The file [/] is broken. Copy it again." in outcome.stderr
    assert ElementTree.parse(tmp_path / "junit.xml").find("testsuite/testcase/error") is not None  # noqa: S314
    assert not (tmp_path / "r").exists()


def test_the_doctor_shows_what_it_found_before_it_fails_to_write_it(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
):
    found = [Finding("python", "environment", Outcome.FAIL, "Python is new enough.", "3.2", "It is not.")]
    monkeypatch.setattr(doctor, "run_doctor", lambda *_: found)
    file = tmp_path / "d.json"
    assert here(tmp_path, "doctor", "--json", str(file)).returncode == 1
    assert json.loads(file.read_text())["findings"][0]["seen"] == "3.2"
    outcome = here(tmp_path, "doctor", "--json", FULL)
    assert outcome.returncode == 2
    assert "Python is new enough." in outcome.stdout
    assert "could not be written: No space left on device. Nothing of it is kept" in outcome.stderr


@pytest.mark.parametrize("command", ["probe", "gate"])
def test_the_help_says_what_a_seed_changes(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch, command: str
):
    monkeypatch.setenv("COLUMNS", "200")
    shown = " ".join(here(tmp_path, command, "--help").stdout.replace("│", " ").split())
    assert "Greedy questions do not depend on it." in shown
    assert "--fix-seconds" in shown


def test_a_reader_that_has_gone_is_no_fail():
    """As `... | head` does: what is measured is neither PASS nor FAIL by that."""
    command = [sys.executable, "-m", "wfgy_triage", "symptoms"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPO_ROOT
    ) as process:
        process.stdout.close()
        assert process.wait(60) == 2
