"""An engine whose answers are scripted; tokens are characters, probabilities are made up but consistent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from wfgy_triage.engines.base import (
    Capabilities,
    Completion,
    EngineInfo,
    GenerationRequest,
    LogitChunk,
    ScoreRequest,
)

VOCAB = 0x250


class ScriptedEngine:
    """Answers by question id; `bias` shifts its logits away from the neutral engine's."""

    capabilities = Capabilities()

    def __init__(self, answers: Mapping[str, str], bias: float = 0.0) -> None:
        self.info = EngineInfo(
            "scripted", "1", "Scripted", "cpu", "float32", "reproducible", True, 0, VOCAB, 100_000
        )
        self.answers = answers
        self.bias = bias
        self.asked: list[str] = []

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(min(ord(c), VOCAB - 1) for c in text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in token_ids)

    def render_chat(self, messages: Sequence[dict[str, str]]) -> str:
        return "\n".join(f"{m['role']}: {m['content']}" for m in messages)

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        for request in requests:
            if should_stop is not None and should_stop():
                return
            question = request.id.partition("/")[0]
            self.asked.append(question)
            ids = self.encode(self.answers[question])
            cut = len(ids) > request.max_new_tokens
            ids = ids[: request.max_new_tokens]
            yield Completion(
                request.id, self.decode(ids), ids, (-0.1,) * len(ids), "length" if cut else "stop"
            )

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        for request in requests:
            for start in range(request.first, len(request.token_ids), chunk):
                ids = request.token_ids[start : start + chunk]
                logits = torch.zeros(len(ids), VOCAB)
                logits[torch.arange(len(ids)), torch.tensor(ids)] = 5.0 - self.bias
                yield LogitChunk(request.id, start, logits)

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        return np.zeros((len(layers), len(texts), 4), np.float32)

    def close(self) -> None:
        self.asked.clear()
