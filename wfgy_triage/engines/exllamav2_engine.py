"""The engine on exllamav2 itself: the EXL2 side as it is deployed, or an FP16 folder in the same engine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from wfgy_triage.engines.exllamav2_forward import ForwardPasses
from wfgy_triage.engines.exllamav2_generation import AnswerLoop, JobContext
from wfgy_triage.engines.exllamav2_library import Library
from wfgy_triage.engines.requests import check_texts
from wfgy_triage.engines.tokens import TokenizerSide
from wfgy_triage.errors import ProbeError


@dataclass
class LoadedModel:
    """What is loaded on the GPU.

    Attributes:
        library: the imported library.
        model: `ExLlamaV2`.
        cache: the generator's cache.
        generator: `ExLlamaV2DynamicGenerator`.
        tokenizer: `ExLlamaV2Tokenizer`.
        make_cache: gives another empty cache of the same kind for so many tokens.
        exact_cache: caches keep keys and values as they are.
        exchange: gives the same model with a cache of another kind, and a generator on it.
    """

    library: Library
    model: Any
    cache: Any
    generator: Any
    tokenizer: Any
    make_cache: Callable[[int], Any]
    exact_cache: bool
    exchange: Callable[[CacheKind], LoadedModel]


class ExLlamaV2Engine(TokenizerSide):
    """An `Engine` around the library; see `wfgy_triage.engines.base.Engine`.

    Text becomes token ids by the library's own tokenizer, as in a server; ids become text by transformers', as on the
    baseline, so that equal ids are equal text.

    Args:
        loaded: the model and its generator.
        tokenizer: the folder's tokenizer in transformers.
        info: what is loaded.
        end_ids: any of these ends an answer.
        owner: whether closing unloads the model.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Any,
        info: EngineInfo,
        end_ids: frozenset[int],
        owner: bool = True,
    ) -> None:
        super().__init__(tokenizer, info, end_ids)
        self._owner = owner
        self.capabilities = Capabilities(speed_tells=True)
        self._loaded: LoadedModel | None = loaded
        self._own_tokenizer = loaded.tokenizer  # holds no weights, and outlives them
        self._answers: AnswerLoop | None = AnswerLoop(
            JobContext(
                library=loaded.library,
                model=loaded.model,
                tokenizer=loaded.tokenizer,
                generator=loaded.generator,
                decode=self.decode,
                end_ids=end_ids,
                vocab_size=info.vocab_size,
                max_context=info.max_context,
                grammars=self._grammars,
            )
        )

    @property
    def loaded(self) -> LoadedModel:
        """The loaded model.

        Raises:
            ProbeError: the engine is closed.
        """
        if self._loaded is None:
            raise ProbeError("The engine is closed.", "Open the model again.")
        return self._loaded

    def with_cache(self, cache: CacheKind) -> ExLlamaV2Engine:
        """The same loaded model with another cache beside its own, which takes GPU memory until it is closed.

        Raises:
            PrerequisiteError: there is no room for it.
        """
        version = self.info.engine_version.replace(f"{self.info.cache} cache", f"{cache} cache")
        info = replace(self.info, cache=cache, engine_version=version)
        loaded = self.loaded.exchange(cache)
        return ExLlamaV2Engine(loaded, self._tokenizer, info, self._end, owner=False)

    def forget_prompts(self) -> None:
        """Drop what earlier calls computed of prompts, so that the next call can be timed; no call may be running."""
        self.loaded.generator.reset_page_table()

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text` by the library's tokenizer; see the protocol."""
        if not text:
            return ()
        ids = self._own_tokenizer.encode(text, add_bos=False, add_eos=False, encode_special_tokens=True)
        return tuple(ids[0].tolist())

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Complete the requests; see the protocol."""
        if self._answers is None:
            raise ProbeError("The engine is closed.", "Open the model again.")
        return self._answers.run(requests, should_stop)

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """Teacher-forced logits; see the protocol."""
        return self._passes().logits(requests, chunk, should_stop)

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """Mean-pooled hidden states; see the protocol.

        Raises:
            InputError: an empty text, one longer than the context, or no such layer.
        """
        sequences = [self.encode(t) for t in texts]
        check_texts(sequences, self.info.max_context)
        return self._passes().pooled(sequences, layers)

    def close(self) -> None:
        """Give the memory back; see the protocol."""
        loaded, self._loaded, self._answers, self._compiler = self._loaded, None, None, None
        if loaded is None:
            return
        end_threads(loaded.generator)
        if self._owner:
            loaded.model.unload()
        del loaded
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _passes(self) -> ForwardPasses:
        loaded = self.loaded
        return ForwardPasses(
            loaded.model,
            loaded.make_cache,
            loaded.exact_cache,
            self.info.vocab_size,
            self.info.max_context,
        )


def end_threads(generator: Any) -> None:
    """End the threads of a generator."""
    for name in ("sampling_pool", "filter_pool"):
        pool = getattr(generator, name, None)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
