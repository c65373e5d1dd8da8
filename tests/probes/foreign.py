"""Two sides in different engines, as exllamav2 beside transformers: what the doctor says of them, and a stand-in."""

from __future__ import annotations

from typing import Any

from wfgy_triage.diagnosis import ONLY_WEIGHTS
from wfgy_triage.doctor.finding import warned
from wfgy_triage.engines.base import Engine

DIFFERENT = (warned(ONLY_WEIGHTS, "The two sides run in different engines."),)


class Foreign:
    """A model behind another engine's class: it answers and scores, and gives its weights to nobody."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)
