"""The page's handlers without a browser: a page that is built and never served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from tests.browser.conftest import write_default_pairs
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import Match
from wfgy_triage.probes.registry import available_symptoms
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import Settings
from wfgy_triage.ui.app import build_app
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.handlers import TriageHandlers
from wfgy_triage.ui.pages.triage import build_triage_page
from wfgy_triage.workload.texts import question_texts


class Stage:
    """The handlers, and what they last said of a component."""

    def __init__(self, settings: Settings, service: TriageService) -> None:
        self.context = PageContext(
            settings,
            service,
            load_catalog(),
            frozenset(available_symptoms()),
            question_texts,
            lambda text: Match("none", {}),
        )
        with gr.Blocks() as blocks:
            self.parts = build_triage_page(self.context)
        self.events = [e for e in blocks.fns.values() if e.fn is not None]
        self.handlers = TriageHandlers(self.context, self.parts)
        self.updates: dict[Any, Any] = {}

    def call(self, name: str, *args: Any) -> Stage:
        """Call a handler; what it says has to be among what each of its events may change."""
        self.updates = getattr(self.handlers, name)(*args)
        for event in self.events:
            assert event.name != name or self.updates.keys() <= set(event.outputs)
        return self

    def said(self, part: str) -> Any:
        """The new value of a component; of one that was updated, its properties."""
        new = self.updates.get(getattr(self.parts, part))
        return new.constructor_args if isinstance(new, gr.blocks.Block) else new


@pytest.fixture
def stage(settings: Settings) -> Iterator[Stage]:
    write_default_pairs(settings)
    service = TriageService(settings)
    yield Stage(settings, service)
    service.close()


@pytest.fixture
def sent(tmp_path: Path) -> Callable[..., str]:
    """Puts a file where an upload would lie, and gives its path."""
    folder = tmp_path / "sent"

    def put(name: str, data: bytes | str) -> str:
        path = folder / str(len(list(folder.glob("*")))) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    return put


@pytest.fixture
def worker(settings: Settings) -> Iterator[ScriptedWorker]:
    settings.home.mkdir(parents=True, exist_ok=True)
    scripted = ScriptedWorker(settings)
    yield scripted
    scripted.database.close()


@pytest.fixture
def service(settings: Settings) -> Iterator[TriageService]:
    opened = TriageService(settings)
    yield opened
    opened.close()


@pytest.fixture
def client(settings: Settings, service: TriageService) -> TestClient:
    return TestClient(build_app(settings, service))
