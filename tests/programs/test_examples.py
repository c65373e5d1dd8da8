"""The examples for CI: a workflow and a git hook whose commands are those of the command line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from wfgy_triage.cli import app
from wfgy_triage.settings import REPO_ROOT

EXAMPLES = REPO_ROOT / "docs" / "examples"
WORKFLOW = yaml.safe_load((EXAMPLES / "triage-gate.yml").read_text(encoding="utf-8"))
HOOK = EXAMPLES / "pre-push.sh"
GUIDE = (REPO_ROOT / "docs" / "programs.md").read_text(encoding="utf-8")


def steps() -> list[dict[str, Any]]:
    return WORKFLOW["jobs"]["gate"]["steps"]


def commands(text: str) -> list[list[str]]:
    """The calls of the program in a piece of shell, as words."""
    joined = re.sub(r"\\\n\s*", " ", text)
    joined = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", joined)  # the values without variables
    found = re.findall(r"python -m wfgy_triage (.*?)(?:\|\||>>|$|;)", joined, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


def every_command() -> list[list[str]]:
    texts = [str(step.get("run", "")) for step in steps()] + [HOOK.read_text(encoding="utf-8")]
    texts += re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    return [words for text in texts for words in commands(text)]


def test_there_are_commands_to_check():
    assert [c[0] for c in every_command()].count("probe") >= 3


@pytest.mark.parametrize("words", every_command(), ids=lambda words: " ".join(words[:2]))
def test_every_option_is_one_of_the_command_line(words: list[str]):
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    # Parsing alone: nothing is run.
    context = command.make_context("test", rest, resilient_parsing=False)
    assert context.params


def test_the_workflow_installs_keeps_measures_and_reports():
    uses = [step["uses"].partition("@")[0] for step in steps() if "uses" in step]
    assert uses == [
        "actions/checkout",
        "actions/setup-python",
        "actions/cache",
        "actions/upload-artifact",
    ]
    cache = next(s for s in steps() if s.get("uses", "").startswith("actions/cache"))
    assert cache["with"]["path"].endswith("/models")
    measured = next(s for s in steps() if s.get("id") == "measure")["run"]
    kept = next(s for s in steps() if s.get("uses", "").startswith("actions/upload"))
    assert kept["if"] == "always()"
    assert "--junit out/junit.xml" in measured
    assert "--out out/report.html" in "".join(str(s.get("run", "")) for s in steps())
    assert kept["with"]["path"] == "triage/out"
    assert WORKFLOW["permissions"] == {"contents": "read"}


def decided(code: int) -> int:
    """What the workflow's last step makes of an exit code."""
    script = steps()[-1]["run"].replace("${{ steps.measure.outputs.code }}", str(code))
    return subprocess.run(["sh", "-c", script], capture_output=True, check=False).returncode


@pytest.mark.parametrize(("code", "let_through"), [(0, True), (1, False), (2, False), (3, True), (4, True)])
def test_what_is_let_through(tmp_path: Path, code: int, let_through: bool):
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit {code}\n')
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PAIR": "mine"}
    hook = subprocess.run(["sh", str(HOOK)], env=environment, capture_output=True, check=False)
    assert (hook.returncode == 0) == let_through
    assert "--pair mine" in (tmp_path / "asked").read_text()
    assert (decided(code) == 0) == let_through
