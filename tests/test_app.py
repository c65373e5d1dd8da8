"""`python app.py` is the command `serve`, with its options and its words for what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.commands import ROOT


@pytest.mark.parametrize(
    ("options", "space", "said"),
    [
        (["--prot", "1"], "", "No such option: --prot"),
        (["--port", "99999"], "", "'99999' is not a number between 0 and 65535"),
        (["--port", "99999"], "someone/triage", "'99999' is not a number between 0 and 65535"),
    ],
)
def test_options_are_read_and_never_passed_over(tmp_path, options, space, said):
    environment = {**os.environ, "WFGY_TRIAGE_HOME": str(tmp_path), "SPACE_ID": space}
    outcome = subprocess.run(
        [sys.executable, "app.py", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 2
    assert said in outcome.stderr
