"""Token-by-token comparison of engines on the same sequences, in lockstep and without ever holding all logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from wfgy_triage.engines.base import Engine, LogitChunk, ScoreRequest, TokenScores
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
    for candidate in candidates:
        if reference.info.vocab_size != candidate.info.vocab_size:
            raise InputError(
                f"The vocabularies differ: {reference.info.vocab_size} tokens in {reference.info.engine},"
                f" {candidate.info.vocab_size} in {candidate.info.engine}.",
                "Both folders must be of the same model, with the same tokenizer.",
            )
    # Asked for here, so that a request that cannot be scored is refused before the first result.
    streams = [engine.logits(requests, chunk) for engine in (reference, *candidates)]
    names = tuple(engine.info.engine for engine in (reference, *candidates))
    return _lockstep(zip(*streams, strict=True), requests, names)


def score_text(
    engine: Engine, requests: Sequence[ScoreRequest], chunk: int = 128
) -> Iterator[tuple[str, list[float]]]:
    """Natural-log probability of every scored token under one engine; one list a sequence, in the order given.

    Raises:
        InputError: a sequence cannot be scored.
        ProbeError: the engine gave logits that are not finite numbers.
    """
    chunks = engine.logits(requests, chunk)
    for request in requests:
        found: list[float] = []
        while request.first + len(found) < len(request.token_ids):
            found += _token_logprobs(next(chunks), request, engine.info.engine)
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
            reference, *others = next(chunks)
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
