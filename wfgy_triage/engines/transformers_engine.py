"""The engine on transformers' model classes: the FP16 baseline, and whatever else is loaded into such a class."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

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
from wfgy_triage.engines.decoding import Decoder, DecodingOptions
from wfgy_triage.engines.forced import forced_logits, pooled_states
from wfgy_triage.engines.requests import check_texts
from wfgy_triage.engines.runner import ModelRunner
from wfgy_triage.engines.tokens import TokenizerSide
from wfgy_triage.errors import ProbeError


class TransformersEngine(TokenizerSide):
    """An `Engine` around a `ModelRunner` and its tokenizer; see `wfgy_triage.engines.base.Engine`.

    Args:
        runner: the prepared model.
        tokenizer: its tokenizer.
        info: what is loaded.
        eos_ids: any of these ends an answer.
    """

    def __init__(
        self, runner: ModelRunner, tokenizer: Any, info: EngineInfo, eos_ids: frozenset[int]
    ) -> None:
        super().__init__(tokenizer, info, eos_ids)
        self.capabilities = Capabilities()
        self._runner: ModelRunner | None = runner
        self._options = DecodingOptions(name=info.engine, settle_ties=info.mode == "reproducible")

    @property
    def runner(self) -> ModelRunner:
        """The loaded model.

        Raises:
            ProbeError: the engine is closed.
        """
        if self._runner is None:
            raise ProbeError("The engine is closed.", "Open the model again.")
        return self._runner

    def set_prefix_sharing(self, on: bool) -> None:
        """Whether answering computes what prompts share once, in one call or in several (on at first)."""
        self._options = replace(self._options, share_prefix=on)

    def forget_prompts(self) -> None:
        """Drop what earlier calls computed of prompts, so that the next call can be timed."""
        self.runner.memory.forget()

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`; see the protocol."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Complete the requests; see the protocol."""
        decoder = Decoder(
            self.runner, self.decode, self._end, self.info.max_context, self._options, self._grammars
        )
        return decoder.run(requests, should_stop)

    def logits(self, requests: Sequence[ScoreRequest], chunk: int = 128) -> Iterator[LogitChunk]:
        """Teacher-forced logits; see the protocol."""
        return forced_logits(self.runner, requests, chunk, self.info.max_context)

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """Mean-pooled hidden states; see the protocol.

        Raises:
            InputError: an empty text, one longer than the context, or no such layer.
        """
        sequences = [self.encode(t) for t in texts]
        check_texts(sequences, self.info.max_context)
        return pooled_states(self.runner, sequences, layers).numpy()

    def close(self) -> None:
        """Give the memory back; the engine is unusable afterwards."""
        self._runner = self._compiler = None
        gc.collect()
        if self.info.device.startswith("cuda"):
            torch.cuda.empty_cache()
