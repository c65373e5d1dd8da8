"""What stands in for a model that could not be loaded: it can do nothing, and says why when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from wfgy_triage.engines.base import (
    Capabilities,
    Completion,
    EngineInfo,
    GenerationRequest,
    LogitChunk,
    ScoreRequest,
)
from wfgy_triage.errors import ProbeError

if TYPE_CHECKING:
    import numpy as np


class AbsentEngine:
    """An `Engine` without a model; see `wfgy_triage.engines.base.Engine`. Every call raises ProbeError."""

    def __init__(self) -> None:
        self.info = EngineInfo("none", "", "", "none", "none", "reproducible", True, 0, 0, 0)
        self.capabilities = Capabilities(generate=False, score=False, embed=False, grammar=False)

    def encode(self, text: str) -> tuple[int, ...]:
        """Not possible."""
        raise self._error()

    def decode(self, token_ids: Sequence[int]) -> str:
        """Not possible."""
        raise self._error()

    def render_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Not possible."""
        raise self._error()

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Not possible."""
        raise self._error()

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """Not possible."""
        raise self._error()

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """Not possible."""
        raise self._error()

    def close(self) -> None:
        """Nothing to give back."""

    def _error(self) -> ProbeError:
        return ProbeError("The model is not loaded.", "Correct what the doctor's list names as failed.")
