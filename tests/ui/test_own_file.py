"""Step 5: a recommended change in a visitor's own file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.browser.scripted import ScriptedWorker
from tests.browser.scripted_trials import NONE_HELPED, run_with_trials, trial
from tests.ui.conftest import Stage
from wfgy_triage.remedies.user_files import LARGEST

CONFIG = (
    b"# mine\r\nnetwork:\r\n  host: 0.0.0.0   # all\r\n"
    b"model:\r\n  max_seq_len: 4096\r\n  cache_mode:  FP16 # small\r\n"
)
REQUIREMENTS = "torch\nexllamav2==0.2.9  # pinned\nrich"


@pytest.fixture
def run(stage: Stage) -> Callable[..., str]:
    worker = ScriptedWorker(stage.context.settings)

    def recommended(patch: dict[str, Any]) -> str:
        verified = trial(0, "schema_lock", "A change", "verified", 0.995, n=200, patch=patch)
        return run_with_trials(worker, (verified,))

    recommended.worker = worker  # type: ignore[attr-defined]
    return recommended


def downloads(html: str) -> dict[str, bytes]:
    """What the links in the block would save, by file name."""
    found = {}
    for part in html.split('<a download="')[1:]:
        name, rest = part.split('"', 1)
        address = rest.split('href="', 1)[1].split('"', 1)[0]
        found[name] = unquote_to_bytes(address.split(",", 1)[1])
    return found


def test_only_the_value_changes_and_the_diff_applies(stage: Stage, run, sent, tmp_path: Path):
    run_id = run({"model.cache_mode": "Q8"})
    path = sent("config.yml", CONFIG)
    shown = stage.call("change_own_file", run_id, "name", path).said("own_file_shown")
    files = downloads(shown)
    assert files["config.yml"] == CONFIG.replace(b"cache_mode:  FP16 #", b"cache_mode:  Q8 #")
    assert "<ins>+  cache_mode:  Q8 # small" in shown
    (tmp_path / "config.yml").write_bytes(CONFIG)
    subprocess.run(["patch", "-p1", "--binary"], cwd=tmp_path, input=files["config.yml.diff"], check=True)
    assert (tmp_path / "config.yml").read_bytes() == files["config.yml"]


def test_nothing_of_the_file_is_kept(stage: Stage, run, sent):
    run_id = run({"model.cache_mode": "Q8"})
    for name, data in (("config.yml", CONFIG), ("config.yml", b"a: [1"), ("x.bin", b"secret-secret")):
        path = Path(sent(name, data))
        stage.call("change_own_file", run_id, "name", str(path))
        assert not path.exists()
        assert not path.parent.exists()
    assert not [
        f
        for f in stage.context.settings.home.rglob("*")
        if f.is_file() and b"secret-secret" in f.read_bytes()
    ]


@pytest.mark.parametrize(
    ("name", "data", "kind", "message", "hint"),
    [
        ("config.yml", b"a: [1, 2", "name", "Line ", "valid YAML"),
        ("config.yml", b"model: \xff\xfe", "name", "not UTF-8", "Save it as UTF-8."),
        ("notes.md", b"model: {}", "name", "does not say what kind of file", "Choose its kind above"),
        ("config.json", b"{}", "name", "cannot hold this change", "TabbyAPI"),
        ("config.yml", CONFIG, "../../etc", "kind of file is not known", "TabbyAPI"),
        ("config.yml", CONFIG, "python", "kind of file is not known", "TabbyAPI"),
        ("config.yml", b"#" * (LARGEST + 1), "name", "bytes are too many", "1,000,000"),
    ],
)
def test_what_cannot_be_done_is_said_where_the_file_was_given(
    stage: Stage, run, sent, name: str, data: bytes, kind: str, message: str, hint: str
):
    run_id = run({"model.cache_mode": "Q8"})
    shown = stage.call("change_own_file", run_id, kind, sent(name, data)).said("own_file_shown")
    assert 'role="alert"' in shown
    assert message in shown
    assert hint in shown


def test_the_kind_can_be_chosen_where_the_name_does_not_say(stage: Stage, run, sent):
    run_id = run({"pins.exllamav2": "==0.3.2"})
    path = sent("deploy.lock", REQUIREMENTS)
    shown = stage.call("change_own_file", run_id, "requirements", path).said("own_file_shown")
    assert downloads(shown)["deploy.lock"] == REQUIREMENTS.replace("0.2.9", "0.3.2").encode()


def test_a_file_that_already_says_so(stage: Stage, run, sent):
    run_id = run({"model.cache_mode": "Q8"})
    path = sent("config.yml", "model:\n  cache_mode: Q8\n")
    shown = stage.call("change_own_file", run_id, "name", path).said("own_file_shown")
    assert "already says so" in shown
    assert downloads(shown) == {}


def test_what_a_file_cannot_hold_is_named(stage: Stage, run, sent):
    run_id = run({"model.cache_mode": "Q8", "sampler.temperature": 0.2})
    shown = stage.call("change_own_file", run_id, "name", sent("config.yml", CONFIG)).said("own_file_shown")
    assert "Not possible in this file" in shown
    assert "0.2" in shown.split("Not possible")[1]


def test_a_name_is_text_and_never_markup(stage: Stage, run, sent):
    run_id = run({"model.cache_mode": "Q8"})
    for data in (CONFIG, b"model:\n  cache_mode: Q8\n", b"a: ["):
        path = sent("<img src=x>.yml", data)
        shown = stage.call("change_own_file", run_id, "tabbyapi", path).said("own_file_shown")
        assert "<img" not in shown


@pytest.mark.parametrize(
    ("patch", "visible"),
    [({"model.cache_mode": "Q8"}, True), ({"quantize.bpw": 6.0}, False), ({"gone.key": 1}, False)],
)
def test_the_block_is_there_where_a_file_of_the_visitor_can_hold_the_change(
    stage: Stage, run, patch: dict[str, Any], visible: bool
):
    run_id = run(patch)
    stage.call("show_end", run_id, run_id, "4")
    assert stage.said("own_file")["visible"] is visible
    assert stage.said("own_file_shown") == ""
    assert ("config.yml" in stage.said("own_file_kinds")) is visible


def test_without_a_recommendation_there_is_no_block(stage: Stage, run, sent):
    for run_id in (run.worker.finished_run(), run_with_trials(run.worker, NONE_HELPED)):
        assert stage.call("show_end", run_id, run_id, "4").said("own_file")["visible"] is False
        shown = stage.call("change_own_file", run_id, "name", sent("config.yml", CONFIG)).said(
            "own_file_shown"
        )
        assert "nothing to change" in shown
