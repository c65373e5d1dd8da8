"""Token-by-token comparison of engines on the same sequences, without ever holding all logits.

Engines that are loaded at the same time go in lockstep, chunk by chunk. Where they take turns, the baseline reads all
sequences first, and what it computed lies on disk until the others have been compared with it: the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch

from wfgy_triage.engines.base import Engine, LogitChunk, ScoreRequest, TokenScores
from wfgy_triage.engines.in_turn import TurnEngine
from wfgy_triage.engines.requests import check_scoring
from wfgy_triage.engines.spool import Spool, in_goes
from wfgy_triage.errors import InputError, ProbeError

# Rows compared at a time: their float64 copies stay within the processor's caches.
_BLOCK_ROWS = 8


@dataclass
class _Columns:
    """Per-position results of one sequence, piece by piece."""

    kl: list[torch.Tensor] = field(default_factory=list)
    ref_top_p: list[torch.Tensor] = field(default_factory=list)
    same_top: list[torch.Tensor] = field(default_factory=list)
    ref_logprob: list[torch.Tensor] = field(default_factory=list)
    cand_logprob: list[torch.Tensor] = field(default_factory=list)
    ref_entropy: list[torch.Tensor] = field(default_factory=list)
    cand_entropy: list[torch.Tensor] = field(default_factory=list)

    def finish(self, request_id: str) -> TokenScores:
        """Join the pieces."""

        def joined(pieces: list[torch.Tensor]) -> np.ndarray:
            return torch.cat(pieces).cpu().numpy()

        return TokenScores(
            request_id,
            joined(self.kl),
            joined(self.ref_top_p),
            joined(self.same_top),
            joined(self.ref_logprob),
            joined(self.cand_logprob),
            joined(self.ref_entropy),
            joined(self.cand_entropy),
        )


def score_pair(
    reference: Engine, candidate: Engine, requests: Sequence[ScoreRequest], chunk: int = 128
) -> Iterator[TokenScores]:
    """Compare two engines by teacher forcing; yields one result a sequence, in the order given.

    Args:
        reference: the baseline; KL is taken from it to the candidate.
        candidate: the engine under test.
        requests: sequences and the first position to score in each; ids must differ.
        chunk: positions whose logits are held at a time, on each side.

    Raises:
        InputError: a sequence cannot be scored, or the two vocabularies differ.
        ProbeError: an engine gave logits that are not finite numbers; names the engine and the sequence.
    """
    return (scores for (scores,) in score_many(reference, [candidate], requests, chunk))


def score_many(
    reference: Engine, candidates: Sequence[Engine], requests: Sequence[ScoreRequest], chunk: int = 128
) -> Iterator[tuple[TokenScores, ...]]:
    """Compare several engines with one baseline, which reads every sequence once; see `score_pair`.

    Yields, for each sequence in the order given, the comparison with each candidate.
    """
    return _together(score_each(reference, candidates, [requests], chunk), len(candidates))


def score_each(
    reference: Engine,
    candidates: Sequence[Engine],
    groups: Sequence[Sequence[ScoreRequest]],
    chunk: int = 128,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, TokenScores]]:
    """The same, each comparison as soon as it is made, with the number of its candidate; see `score_pair`.

    In lockstep the candidates come in order for one sequence after the other; in turn, all sequences of the last
    candidate first, so that the first one stays loaded.

    Args:
        reference: the baseline.
        candidates: the engines under test.
        groups: sequences and the first position to score in each, in groups that an engine reads in one call: those
            that begin alike; ids must differ.
        chunk: positions whose logits are held at a time, on each side.
        should_stop: ends it early, also within a long sequence; once true, it stays so.

    Raises:
        PrerequisiteError: engines take turns, and the disk has no room for what the baseline computes.
    """
    for candidate in candidates:
        if reference.info.vocab_size != candidate.info.vocab_size:
            raise InputError(
                f"The vocabularies differ: {reference.info.vocab_size} tokens in {reference.info.engine},"
                f" {candidate.info.vocab_size} in {candidate.info.engine}.",
                "Both folders must be of the same model, with the same tokenizer.",
            )
    engines = (reference, *candidates)
    if isinstance(reference, TurnEngine) and any(c.capabilities.in_turn for c in candidates):
        for info in (engine.info for engine in engines):
            check_scoring(list(chain(*groups)), chunk, info.vocab_size, info.max_context)
        return _in_turn(reference, candidates, groups, chunk, should_stop)
    streams = ([engine.logits(group, chunk, should_stop) for engine in engines] for group in groups)
    # Asked for here, so that a request that cannot be scored is refused before the first result.
    begun = [next(streams)] if groups else []
    names = tuple(engine.info.engine for engine in engines)
    found = (
        _lockstep(_side_by_side(of_group, should_stop), group, names)
        for of_group, group in zip(chain(begun, streams), groups, strict=True)
    )
    return (numbered for scores in chain.from_iterable(found) for numbered in enumerate(scores))


def _together(found: Iterator[tuple[int, TokenScores]], count: int) -> Iterator[tuple[TokenScores, ...]]:
    """The comparisons of a sequence in one, once all are there."""
    waiting: dict[str, dict[int, TokenScores]] = {}
    for number, scores in found:
        of_sequence = waiting.setdefault(scores.id, {})
        of_sequence[number] = scores
        if len(of_sequence) == count:
            complete = waiting.pop(scores.id)
            yield tuple(complete[n] for n in range(count))


def _in_turn(
    reference: TurnEngine,
    candidates: Sequence[Engine],
    groups: Sequence[Sequence[ScoreRequest]],
    chunk: int,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[int, TokenScores]]:
    """Several goes where the disk is small; each is read by the baseline first, and then by the candidates."""
    folder = reference.turns.spool
    for go in in_goes(groups, reference.info.vocab_size, folder):
        with Spool(folder) as spool:
            for piece in chain.from_iterable(reference.logits(group, chunk, should_stop) for group in go):
                spool.add(piece)
            if should_stop():
                return
            for number, candidate in reversed(list(enumerate(candidates))):
                names, kept = (reference.info.engine, candidate.info.engine), spool.chunks()
                for group in go:
                    streams = [kept, candidate.logits(group, chunk, should_stop)]
                    for (scores,) in _lockstep(_side_by_side(streams, should_stop), group, names):
                        yield number, scores
                if should_stop():
                    return


def _side_by_side(
    streams: Sequence[Iterator[LogitChunk]], should_stop: Callable[[], bool]
) -> Iterator[tuple[LogitChunk, ...]]:
    """The next chunk of every stream at a time. When asked to stop, they end at different places, and this with them.

    Raises:
        ProbeError: a stream ended before its sequences did.
    """
    while True:
        found = tuple(piece for stream in streams if (piece := next(stream, None)) is not None)
        if len(found) == len(streams):
            yield found
        elif should_stop():
            return
        else:
            raise ProbeError(
                "An engine ended before it had read every sequence.",
                "This is a fault of an engine; please report it.",
            )


def score_text(
    engine: Engine,
    requests: Sequence[ScoreRequest],
    chunk: int = 128,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, list[float]]]:
    """Natural-log probability of every scored token under one engine; one list a sequence, in the order given.

    Ends early after `should_stop()` is true.

    Raises:
        InputError: a sequence cannot be scored.
        ProbeError: the engine gave logits that are not finite numbers.
    """
    chunks = _side_by_side([engine.logits(requests, chunk, should_stop)], should_stop)
    for request in requests:
        found: list[float] = []
        while request.first + len(found) < len(request.token_ids):
            if (piece := next(chunks, None)) is None:
                return
            found += _token_logprobs(piece[0], request, engine.info.engine)
        yield request.id, found


@torch.inference_mode()
def _token_logprobs(piece: LogitChunk, request: ScoreRequest, name: str) -> list[float]:
    targets = torch.tensor(request.token_ids[piece.start : piece.start + len(piece.logits)])
    targets = targets.to(piece.logits.device)
    found: list[float] = []
    for begin in range(0, len(targets), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        logs = _log_probabilities(piece.logits[rows], name, request.id)
        found += logs.gather(1, targets[rows, None])[:, 0].tolist()
    return found


def _lockstep(
    chunks: Iterator[tuple[LogitChunk, ...]], requests: Sequence[ScoreRequest], names: tuple[str, ...]
) -> Iterator[tuple[TokenScores, ...]]:
    for request in requests:
        columns = [_Columns() for _ in names[1:]]
        position = request.first
        while position < len(request.token_ids):
            if (pieces := next(chunks, None)) is None:
                return
            reference, *others = pieces
            for name, found in zip(names, (reference, *others), strict=True):
                if (found.id, found.start) != (request.id, position):
                    raise ProbeError(
                        f"The engines {names[0]} and {name} cut the sequence {request.id!r} differently.",
                        "This is a fault of an engine; please report it.",
                    )
            targets = torch.tensor(request.token_ids[position : position + len(reference.logits)])
            _compare_chunk(reference.logits, [o.logits for o in others], targets, columns, names, request.id)
            position += len(reference.logits)
        yield tuple(column.finish(request.id) for column in columns)


@torch.inference_mode()
def _compare_chunk(
    reference: torch.Tensor,
    candidates: Sequence[torch.Tensor],
    targets: torch.Tensor,
    columns: Sequence[_Columns],
    names: Sequence[str],
    request_id: str,
) -> None:
    """Add the comparison of logits (positions, vocab) with each candidate's to its columns.

    Args:
        reference: the baseline's logits; what is needed of them is worked out once for all candidates.
        candidates: logits of the same positions.
        targets: the actual tokens (positions,).
        columns: one a candidate.
        names: of the engines, the baseline first.
        request_id: the sequence, for messages.
    """
    targets = targets.to(reference.device)
    for begin in range(0, len(targets), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        baseline = _Baseline(_log_probabilities(reference[rows], names[0], request_id), targets[rows, None])
        for name, candidate, column in zip(names[1:], candidates, columns, strict=True):
            logits = candidate[rows].to(reference.device)
            baseline.compare(_log_probabilities(logits, name, request_id), column)


class _Baseline:
    """Some rows of the baseline's log-probabilities (rows, vocab), and everything of them that comparing asks for."""

    def __init__(self, logs: torch.Tensor, index: torch.Tensor) -> None:
        top, self._token = logs.max(dim=-1)
        self._logs, self._index, self._chances = logs, index, logs.exp()
        self._top_p, self._logprob = top.exp(), logs.gather(1, index)[:, 0]
        self._entropy = (self._chances * logs).sum(dim=-1).neg_()

    def compare(self, logs: torch.Tensor, column: _Columns) -> None:
        """Add a candidate's comparison to its columns."""
        column.same_top.append((self._token == logs.argmax(dim=-1)).double())
        column.ref_top_p.append(self._top_p)
        column.ref_logprob.append(self._logprob)
        column.cand_logprob.append(logs.gather(1, self._index)[:, 0])
        # Rounding may leave -1e-17 where the two are equal; a divergence is never negative.
        column.kl.append((self._logs - logs).mul_(self._chances).sum(dim=-1).clamp_(min=0.0))
        column.ref_entropy.append(self._entropy)
        column.cand_entropy.append(logs.exp().mul_(logs).sum(dim=-1).neg_())


def _log_probabilities(logits: torch.Tensor, name: str, request_id: str) -> torch.Tensor:
    """Natural-log probabilities (rows, vocab) in float64."""
    logs = logits.double().log_softmax(dim=-1)
    # One NaN or infinity anywhere in a row makes its extreme, and so this sum, not finite.
    if not bool(torch.isfinite(logs.amin(dim=-1) + logs.amax(dim=-1)).all()):
        raise ProbeError(
            f"The engine {name} gave logits that are not finite numbers for {request_id!r}.",
            "Check the model folder with 'python -m wfgy_triage inspect'; its weights may be damaged.",
        )
    return logs
