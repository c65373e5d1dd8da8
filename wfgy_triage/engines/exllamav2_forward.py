"""Teacher forcing and hidden states in exllamav2, a piece of a sequence at a time through a cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from wfgy_triage.engines.base import LogitChunk, ScoreRequest
from wfgy_triage.engines.batching import shared_prefix
from wfgy_triage.engines.exllamav2_library import stream_kept
from wfgy_triage.engines.requests import check_layers, check_scoring

PROMPT_CHUNK = 512
"""Tokens of a prompt that are read in one step, which cannot be stopped; for answers as for scores."""
EMBED_TOKENS = 256
"""Tokens of a text in one pass; the head may be computed for all of them."""


class ForwardPasses:
    """Passes over given token ids on a loaded model.

    The generator's own cache is left alone. What is scored attends to earlier pieces as they lie in the cache, so a
    quantized cache shows in the scores as it does in answers.

    Args:
        model: the loaded `ExLlamaV2`.
        make_cache: gives an empty cache for so many tokens.
        exact_cache: it keeps keys and values as they are, so that a beginning may be used again.
        vocab_size: token ids that mean something; logits above are cut off.
        max_context: most tokens in one sequence.
    """

    def __init__(
        self,
        model: Any,
        make_cache: Callable[[int], Any],
        exact_cache: bool,
        vocab_size: int,
        max_context: int,
    ) -> None:
        self._model, self._make_cache, self._exact = model, make_cache, exact_cache
        self._vocab_size, self._max_context = vocab_size, max_context

    def logits(
        self, requests: Sequence[ScoreRequest], chunk: int, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[LogitChunk]:
        """Yield logits of the scored positions; see `Engine.logits`.

        Raises:
            InputError: a sequence cannot be scored; raised before anything is computed.
        """
        check_scoring(requests, chunk, self._vocab_size, self._max_context)
        return self._stream(requests, chunk, should_stop or (lambda: False))

    def _stream(
        self, requests: Sequence[ScoreRequest], chunk: int, should_stop: Callable[[], bool]
    ) -> Iterator[LogitChunk]:
        if not requests:
            return
        cache = self._make_cache(max(len(r.token_ids) for r in requests))
        held: tuple[int, ...] = ()
        for request in requests:
            # The last token predicts nothing that is scored; the row before the first scored one is the first needed.
            ids, row = torch.tensor([request.token_ids[:-1]], dtype=torch.long), request.first - 1
            begin = min(shared_prefix([held, request.token_ids[:-1]]), row) if self._exact else 0
            cache.current_seq_len = begin
            for start in range(begin, row, PROMPT_CHUNK):
                if should_stop():
                    return
                with stream_kept():
                    part = ids[:, start : min(start + PROMPT_CHUNK, row)]
                    self._model.forward(part, cache, preprocess_only=True)
            for start in range(row, ids.shape[1], chunk):
                if should_stop():
                    return
                with stream_kept():
                    out = self._model.forward(ids[:, start : start + chunk], cache)
                    logits = out[0, :, : self._vocab_size].float()
                yield LogitChunk(request.id, start + 1, logits)
            held = request.token_ids[:-1]

    def pooled(self, sequences: Sequence[tuple[int, ...]], layers: Sequence[int]) -> np.ndarray:
        """Mean over tokens of the hidden states after blocks, shape (layers, sequences, hidden), float32.

        Args:
            sequences: token ids, none empty.
            layers: each 0 (the embedding) up to the number of blocks (the normalized last state).

        Raises:
            InputError: there is no such layer.
        """
        config = self._model.config
        check_layers(layers, config.num_hidden_layers)
        places = self._places()
        pooled = np.zeros((len(layers), len(sequences), config.hidden_size), dtype=np.float32)
        if not sequences or not layers:
            return pooled
        cache = self._make_cache(max(len(s) for s in sequences))
        # The head comes after every state but the last one, so it is computed for that alone.
        without_head = config.num_hidden_layers not in layers
        for number, sequence in enumerate(sequences):
            cache.current_seq_len = 0
            ids = torch.tensor([sequence], dtype=torch.long)
            for begin in range(0, len(sequence), EMBED_TOKENS):
                with stream_kept():
                    found = self._model.forward_chunk(
                        ids[:, begin : begin + EMBED_TOKENS],
                        cache,
                        preprocess_only=without_head,
                        extract_state_indices=sorted({places[layer] for layer in layers}),
                    )
                    for at, layer in enumerate(layers):
                        states = found["states"][places[layer]][0].float()
                        pooled[at, number] += states.sum(0).cpu().numpy()
            pooled[:, number] /= len(sequence)
        return pooled

    def _places(self) -> dict[int, int]:
        """For every layer, the number of the module whose input its state is."""
        places: dict[int, int] = {}
        for number, module in enumerate(self._model.modules):
            layer = getattr(module, "layer_idx", None)
            if layer is not None:
                places.setdefault(layer, number)
        places[self._model.config.num_hidden_layers] = self._model.head_layer_idx
        return places
