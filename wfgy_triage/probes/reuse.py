"""FP16 answers and scores that an earlier run measured with the same model, prompts and settings, used again.

Only the FP16 side comes from a cache; whatever an EXL2 model takes part in is always measured. Kept is what the
engine gave (text, tokens, scores), never what a probe made of it: judging happens anew in every run. The key of a row
is a hash over everything its numbers depend on, so that a change of any of it means measuring again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any, Protocol, TypeVar, get_args

import numpy as np

from wfgy_triage.engines.base import (
    NEUTRAL,
    Completion,
    EngineInfo,
    FinishReason,
    GenerationRequest,
    ScoreRequest,
    TokenScores,
)
from wfgy_triage.measure.agreement import METRIC_VERSION

REUSED: Mapping[str, str] = {
    "fp16": "FP16 answers",
    "fp16_floor": "answers of FP16 against itself, for the noise floor",
    "pair_floor": "comparisons of FP16 with itself, for the noise floor",
    "fp16_runs": "FP16 runs with other wordings and seeds",
    "fp16_floor_runs": "FP16 runs of the same kind against itself, for the noise floor",
    "fp16_k5": "FP16 answers with 5 passages",
    "fp16_k10": "FP16 answers with 10 passages",
    "fp16_k20": "FP16 answers with 20 passages",
    "fp16_more": "FP16 answers to further questions",
    "fp16_more_runs": "FP16 runs of further questions",
    "held:schema_lock": "FP16 answers held to their form",
    "held:citation_contract:first": "FP16 answers in a stricter prompt frame",
    "held:citation_contract:reminded": "FP16 answers in a stricter prompt frame with a reminder",
}
"""Sides of a run that may come from an earlier one, and what they are called."""
_KEPT_AS = {"fp16_more": "fp16", "fp16_more_runs": "fp16_runs"}
"""Sides that ask the same engine in the same way as another, and share its rows."""
_ENDS = frozenset(get_args(FinishReason)) - {"cancelled"}
_COLUMNS = tuple(name for name in TokenScores.__dataclass_fields__ if name != "id")
_Found = TypeVar("_Found")

_log = logging.getLogger(__name__)


class Cache(Protocol):
    """Rows of plain JSON by key. No method raises: a cache that fails is an empty one."""

    def get_many(self, keys: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
        """The rows that are there."""
        ...

    def put_many(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep rows for later."""
        ...


class Reuse:
    """The cache as one run sees it.

    Args:
        cache: where rows are kept.
        facts: what the FP16 model consists of and what computes, as plain JSON; part of every key.
        tell: told `(side, reused, of)` after measurements of a side were taken from the cache.
    """

    def __init__(self, cache: Cache, facts: Mapping[str, Any], tell: Callable[[str, int, int], None]) -> None:
        self._cache, self._facts, self.tell = cache, facts, tell

    def answers(
        self, side: str, engine: EngineInfo, requests: Iterable[GenerationRequest]
    ) -> dict[str, Completion]:
        """The answers of a side that are known, by the id of the request."""
        keys = {r.id: self._answer_key(side, engine, r) for r in requests}
        rows = self._cache.get_many(set(keys.values()))
        return _readable(keys, rows, _completion)

    def keep_answers(
        self, side: str, engine: EngineInfo, answered: Sequence[tuple[GenerationRequest, Completion]]
    ) -> None:
        """Keep finished answers; those that were cut off by a stop are not."""
        self._put(
            (self._answer_key(side, engine, request), _answer_row(completion))
            for request, completion in answered
            if completion.finish_reason in _ENDS
        )

    def comparisons(
        self, reference: EngineInfo, candidate: EngineInfo, requests: Iterable[ScoreRequest]
    ) -> dict[str, TokenScores]:
        """The comparisons of two FP16 engines that are known, by the id of the request."""
        wanted = {r.id: r for r in requests}
        keys = {name: self._comparison_key(reference, candidate, r) for name, r in wanted.items()}
        rows = self._cache.get_many(set(keys.values()))
        return _readable(keys, rows, lambda name, row: _scores(wanted[name], row))

    def keep_comparisons(
        self,
        reference: EngineInfo,
        candidate: EngineInfo,
        scored: Sequence[tuple[ScoreRequest, TokenScores]],
    ) -> None:
        """Keep comparisons of two FP16 engines."""
        self._put(
            (self._comparison_key(reference, candidate, request), _scores_row(scores))
            for request, scores in scored
        )

    def _put(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
        if kept := dict(rows):
            self._cache.put_many(kept)

    def _answer_key(self, side: str, engine: EngineInfo, request: GenerationRequest) -> str:
        # With the side: the noise floor must come from the twin, however alike the two engines describe themselves.
        # Absent rather than null without a grammar or sampler: answers kept before there were any stay known.
        bound: dict[str, Any] = {}
        if request.grammar:
            bound = {"grammar": asdict(request.grammar), "grammar_library": version("llguidance")}
        if request.sampler != NEUTRAL:
            bound["sampler"] = asdict(request.sampler)
        return self._key(
            f"answer {_KEPT_AS.get(side, side)}",
            engine=_engine_facts(engine),
            prompt=request.prompt_ids,
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            # No greedy answer depends on the seed: all are kept under 0, and found whatever the run's is.
            seed=request.seed if request.temperature > 0 else 0,
            stop_strings=request.stop_strings,
            **bound,
        )

    def _comparison_key(self, reference: EngineInfo, candidate: EngineInfo, request: ScoreRequest) -> str:
        return self._key(
            "comparison",
            reference=_engine_facts(reference),
            candidate=_engine_facts(candidate),
            tokens=request.token_ids,
            first=request.first,
        )

    def _key(self, kind: str, **ingredients: Any) -> str:
        named = {"kind": kind, "metric_version": METRIC_VERSION, "facts": self._facts, **ingredients}
        text = json.dumps(named, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def settled_answer(completion: Completion) -> Completion:
    """The answer with numbers as they are kept, so that a measured one and a kept one cannot be told apart."""
    numbers = tuple(rounded(completion.logprobs))
    return replace(completion, token_ids=tuple(completion.token_ids), logprobs=numbers)


def settled_scores(scores: TokenScores) -> TokenScores:
    """The same for a comparison."""
    return TokenScores(scores.id, *(np.array(rounded(getattr(scores, name))) for name in _COLUMNS))


def rounded(values: Iterable[float]) -> list[float]:
    """Six decimals: far below any noise floor, and a fifth of the space of full floats in the store."""
    return [round(float(v), 6) for v in values]


def _engine_facts(info: EngineInfo) -> dict[str, Any]:
    """What of an engine moves numbers; not which of several equal devices it runs on."""
    return {
        "engine": info.engine,
        "engine_version": info.engine_version,
        "device": info.device.partition(":")[0],
        "compute_dtype": info.compute_dtype,
        "mode": info.mode,
        "vocab_size": info.vocab_size,
        "notes": info.notes,
    }


def _readable(
    keys: Mapping[str, str],
    rows: Mapping[str, Mapping[str, Any]],
    read: Callable[[str, Mapping[str, Any]], _Found],
) -> dict[str, _Found]:
    """What the rows hold, by request; rows that do not have the right form are logged and left out."""
    found = {}
    for name, key in keys.items():
        if key not in rows:
            continue
        try:
            found[name] = read(name, rows[key])
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("the cached row %s is of the wrong form (%s); it is measured anew", key, error)
    return found


def _answer_row(completion: Completion) -> dict[str, Any]:
    return {
        "text": completion.text,
        "token_ids": list(completion.token_ids),
        "logprobs": rounded(completion.logprobs),
        "finish_reason": completion.finish_reason,
    }


def _completion(request_id: str, row: Mapping[str, Any]) -> Completion:
    text, ends = row["text"], row["finish_reason"]
    ids, logprobs = tuple(row["token_ids"]), tuple(_numbers(row["logprobs"]).tolist())
    if not isinstance(text, str) or ends not in _ENDS or len(ids) != len(logprobs):
        raise ValueError("not an answer")
    if not all(type(i) is int and i >= 0 for i in ids):
        raise ValueError("not token ids")
    return Completion(request_id, text, ids, logprobs, ends)


def _scores_row(scores: TokenScores) -> dict[str, Any]:
    return {name: rounded(getattr(scores, name)) for name in _COLUMNS}


def _scores(request: ScoreRequest, row: Mapping[str, Any]) -> TokenScores:
    columns = [_numbers(row[name]) for name in _COLUMNS]
    if {c.size for c in columns} != {len(request.token_ids) - request.first}:
        raise ValueError("not a number a token")
    return TokenScores(request.id, *columns)


def _numbers(values: Any) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("not a list of finite numbers")
    return array
