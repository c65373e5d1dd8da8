"""Teacher forcing: logits of given sequences chunk by chunk, and pooled hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from wfgy_triage.engines.base import LogitChunk, ScoreRequest
from wfgy_triage.engines.batching import MIN_SHARED, by_length, micro_batches, shared_prefix
from wfgy_triage.engines.interrupting import until_broken_off
from wfgy_triage.engines.prompts import batches, compute, remember
from wfgy_triage.engines.requests import check_layers, check_scoring
from wfgy_triage.engines.runner import QUERY_TOKENS, ModelRunner
from wfgy_triage.engines.storage import PrefixKV

# Sequences whose hidden states are held at a time.
BLOCK_SEQUENCES = 16
# Rows of one embedding pass: passages are short, and nothing of them is kept but a mean.
EMBED_ROWS = 32


def forced_logits(
    runner: ModelRunner,
    requests: Sequence[ScoreRequest],
    chunk: int,
    max_context: int,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[LogitChunk]:
    """Yield logits of the scored positions; see `Engine.logits`.

    Args:
        runner: the model.
        requests: sequences to score.
        chunk: most positions in one chunk.
        max_context: most tokens in one sequence.
        should_stop: ends it early, also within a long sequence.

    Raises:
        InputError: a sequence cannot be scored; raised before anything is computed.
    """
    check_scoring(requests, chunk, runner.vocab_size, max_context)
    return until_broken_off(_stream(runner, requests, chunk, should_stop or (lambda: False)))


def _stream(
    runner: ModelRunner, requests: Sequence[ScoreRequest], chunk: int, should_stop: Callable[[], bool]
) -> Iterator[LogitChunk]:
    shared = _scorable_prefix(requests)
    with torch.inference_mode():
        beginning = requests[0].token_ids[:shared] if shared else ()
        prefix = runner.prefix(beginning, should_stop=should_stop)
    for begin in range(0, len(requests), BLOCK_SEQUENCES):
        block = requests[begin : begin + BLOCK_SEQUENCES]
        with torch.inference_mode():
            states = _block_states(runner, block, prefix, should_stop)
        if states is None:
            return
        for request, hidden in zip(block, states, strict=True):
            for offset in range(0, len(hidden), chunk):
                if should_stop():
                    return
                with torch.inference_mode():
                    logits = runner.logits(hidden[offset : offset + chunk]).float()
                yield LogitChunk(request.id, request.first + offset, logits)


def _scorable_prefix(requests: Sequence[ScoreRequest]) -> int:
    """Tokens shared by all sequences whose own hidden states nobody asks for."""
    shared = shared_prefix([r.token_ids for r in requests])
    limit = min((r.first - 1 for r in requests), default=0)
    length = min(shared, limit)
    return length if length >= MIN_SHARED else 0


def _block_states(
    runner: ModelRunner,
    block: Sequence[ScoreRequest],
    prefix: PrefixKV | None,
    should_stop: Callable[[], bool],
) -> list[torch.Tensor] | None:
    """Hidden states (positions, hidden) that predict the scored positions, a sequence each; None when stopped."""
    shared = prefix.length if prefix else 0
    # The last token predicts nothing that is scored.
    rows = [r.token_ids[:-1] for r in block]
    order = by_length([len(r) for r in rows])
    ordered = [rows[i] for i in order]
    scored = [len(block[i].token_ids) - block[i].first for i in order]
    states: dict[int, torch.Tensor] = {}
    for begin, end in batches(runner.memory, ordered, scored, shared):
        if should_stop():
            return None
        wanted = scored[begin:end]
        hidden, cache = compute(runner, runner.memory, ordered[begin:end], wanted, prefix, should_stop)
        prompts = [block[i].token_ids[: block[i].first] for i in order[begin:end]]
        remember(runner.memory, prompts, cache, prefix)
        for row, (index, count) in enumerate(zip(order[begin:end], wanted, strict=True)):
            states[index] = hidden[row, -count:].clone()
    return [states[i] for i in range(len(block))]


@torch.inference_mode()
def pooled_states(
    runner: ModelRunner, sequences: Sequence[tuple[int, ...]], layers: Sequence[int]
) -> torch.Tensor:
    """Mean over tokens of the hidden states after blocks, shape (layers, sequences, hidden), float32.

    Args:
        runner: the model.
        sequences: token ids, none empty.
        layers: each 0 (the embedding) up to the number of layers (the normalized last state); one pass gives all.

    Raises:
        InputError: there is no such layer.
    """
    last = runner.kv_shape.layers
    check_layers(layers, last)
    lengths = [len(s) for s in sequences]
    order = by_length(lengths)
    pooled = torch.zeros(len(layers), len(sequences), runner.hidden_size)
    for begin, end in micro_batches([lengths[i] for i in order], QUERY_TOKENS, EMBED_ROWS):
        batch = order[begin:end]
        states = runner.states_after([sequences[i] for i in batch], layers)
        for place, layer in enumerate(layers):
            for row, index in enumerate(batch):
                pooled[place, index] = states[layer][row, -lengths[index] :].float().mean(0)
    return pooled
