"""Waiting for a real server process."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx
import pytest

STARTS_WITHIN_S = 240


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return when `url` answers with 200; fail with the end of the log where the process ends, or never does."""
    for _ in range(STARTS_WITHIN_S * 5):
        if process.poll() is not None:
            pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the server does not answer: {log.read_text()[-2000:]}")
