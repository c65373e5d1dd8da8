"""The engine on transformers' model classes: the FP16 baseline, and whatever else is loaded into such a class."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from wfgy_triage.engine_settings import CacheKind
from wfgy_triage.engines.base import (
    Capabilities,
    Completion,
    EngineInfo,
    GenerationRequest,
    LogitChunk,
    ScoreRequest,
)
from wfgy_triage.engines.cache_rounding import cache_rounding, times_rounded
from wfgy_triage.engines.decoding import Decoder
from wfgy_triage.engines.decoding_options import DecodingOptions
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
        cache: what keys and values go through between tokens; anything but `FP16` rounds them as exllamav2 does.

    Raises:
        PrerequisiteError: that rounding cannot be followed for this model.
    """

    def __init__(
        self,
        runner: ModelRunner,
        tokenizer: Any,
        info: EngineInfo,
        eos_ids: frozenset[int],
        cache: CacheKind = "FP16",
    ) -> None:
        shape = runner.kv_shape
        times = times_rounded(shape.heads, shape.head_dim)
        super().__init__(tokenizer, _with_cache(info, cache, times), eos_ids)
        self.capabilities = Capabilities(speed_tells=_speed_tells(info))
        self._runner: ModelRunner | None = runner
        self._plain = info
        rounding = cache_rounding(cache, shape.heads, shape.head_dim)
        # What lies between two steps of a rounding falls with the last bit of a sum, so ties cannot be settled.
        settle = info.mode == "reproducible" and rounding is None
        self._options = DecodingOptions(name=info.engine, settle_ties=settle, rounding=rounding)

    def with_cache(self, cache: CacheKind) -> TransformersEngine:
        """The same loaded model with another cache. Closing it, or this one, leaves the other as it is.

        Raises:
            PrerequisiteError: that rounding cannot be followed for this model.
        """
        return TransformersEngine(self.runner, self._tokenizer, self._plain, self._end, cache)

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

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """Teacher-forced logits; see the protocol."""
        return forced_logits(self.runner, requests, chunk, self.info.max_context, should_stop)

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """Mean-pooled hidden states; see the protocol.

        Raises:
            InputError: an empty text, one longer than the context, or no such layer.
        """
        sequences = [self.encode(t) for t in texts]
        check_texts(sequences, self.info.max_context)
        return pooled_states(self.runner, sequences, layers).numpy()

    def close(self) -> None:
        """Give the memory back; see the protocol."""
        self._runner = self._compiler = None
        gc.collect()
        if self.info.device.startswith("cuda"):
            torch.cuda.empty_cache()


def _speed_tells(info: EngineInfo) -> bool:
    """Whether a model runs as it would be deployed: its own weights, not decoded ones, in 16-bit numbers on a GPU."""
    own_weights, on_gpu = info.engine == "transformers", info.device.startswith("cuda")
    return own_weights and on_gpu and info.compute_dtype in ("bfloat16", "float16")


def _with_cache(info: EngineInfo, cache: CacheKind, times: int) -> EngineInfo:
    """What is loaded, as it is with a cache that the library rounds a token in so many times."""
    if cache == "FP16":
        return info
    note = (
        f"Keys and values are rounded as a {cache} cache of exllamav2 rounds them, once the pass that computed them "
        "has ended. Scores of given texts and embeddings read no cache; text may change with the composition of a "
        "batch."
    )
    notes = [*info.notes, note]
    if times > 1:
        notes.append(
            f"exllamav2 rounds a token of this model up to {times} times, as its neighbours follow, and here it is "
            f"rounded once: the library's own {cache} cache loses more than is seen here."
        )
    return replace(info, cache=cache, deterministic=False, notes=tuple(notes))
