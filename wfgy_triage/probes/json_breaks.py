"""Probe "JSON breaks frequently": both models extract the same records; the FP16 answers are then scored on both.

Five kinds of samples are stored a question: the answer of each side (`fp16`, `exl2`), the answer of an FP16 twin
that differs only in how it computes (`fp16_floor`, the noise floor of every rate), and the token-by-token comparison
on the FP16 answer (`pair`, and `pair_floor` for the twin).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, ScoreRequest, TokenScores
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.measure.json_validity import classify_json, structural_positions
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.json_evaluation import evaluate_samples
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample, SampleKey
from wfgy_triage.workload import JsonWorkload, RecordQuestion, load_json_workload

SYMPTOM = "json_breaks"
BLOCK = 40
"""Questions per round: FP16 answers, then EXL2 answers, so that the page shows both sides early."""
LENGTH_FACTOR, LENGTH_MARGIN = 2.0, 32
"""Answer budget: twice the tokens of the right answer and a margin; only runaway answers reach it."""
STAGES = {
    "fp16": "FP16 answers",
    "exl2": "EXL2 answers",
    "fp16_floor": "FP16 again, for the noise floor",
    "pair": "Word-by-word comparison",
    "pair_floor": "Noise of that comparison",
}


class JsonBreaks:
    """The probe; holds no state between calls."""

    symptom = SYMPTOM

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of the question set and how many of its questions are used."""
        workload = load_json_workload()
        used = len(workload.questions[: settings.questions])
        return {"id": workload.id, "sha256": workload.sha256, "questions": used}

    def run(self, context: ProbeContext) -> None:
        """Generate on both sides and on the twin, then score; skips what is stored, stops when asked."""
        workload = load_json_workload()
        questions = workload.questions[: context.settings.questions]
        measuring = _Measuring(context, workload, questions)
        for start in range(0, len(questions), BLOCK):
            block = questions[start : start + BLOCK]
            measuring.answer("fp16", context.fp16, block)
            measuring.answer("exl2", context.exl2, block)
        if context.should_stop() or not measuring.missing("fp16_floor", "pair", "pair_floor"):
            return
        measuring.compare("pair", context.exl2)
        if measuring.missing("fp16_floor", "pair_floor") and not context.should_stop():
            twin = context.open_floor()
            measuring.answer("fp16_floor", twin, questions)
            measuring.compare("pair_floor", twin)

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """See `json_evaluation.evaluate_samples`."""
        return evaluate_samples(samples, checks, settings)


PROBE = JsonBreaks()


@dataclass(frozen=True)
class _Prompt:
    ids: tuple[int, ...]
    max_new_tokens: int


class _Measuring:
    """One pass over the questions of a run."""

    def __init__(
        self, context: ProbeContext, workload: JsonWorkload, questions: Sequence[RecordQuestion]
    ) -> None:
        self._context = context
        self._workload = workload
        self._questions = questions
        self._by_id = {q.id: q for q in questions}
        self._prompts = {q.id: self._prompt(q) for q in questions}
        self._done = set(context.done)

    @property
    def classes(self) -> list[list[RecordQuestion]]:
        """The questions class by class: prompts of a class share their examples, which scoring then reads once."""
        ordered = sorted(self._questions, key=lambda q: q.record_class)
        return [list(group) for _, group in groupby(ordered, key=lambda q: q.record_class)]

    def missing(self, *sides: str) -> bool:
        """Whether any question lacks a sample on one of these sides."""
        return any(self._key(q.id, side) not in self._done for side in sides for q in self._questions)

    def answer(self, side: str, engine: Engine, questions: Sequence[RecordQuestion]) -> None:
        """Generate and store the answers of one side that are not stored yet."""
        todo = [q for q in questions if self._key(q.id, side) not in self._done]
        if not todo or self._context.should_stop():
            return
        self._report(side)
        requests = [
            GenerationRequest(
                id=q.id,
                prompt_ids=self._prompts[q.id].ids,
                max_new_tokens=self._prompts[q.id].max_new_tokens,
                seed=self._context.settings.seed,
            )
            for q in todo
        ]
        for completion in engine.generate(requests, self._context.should_stop):
            if completion.finish_reason != "cancelled":
                self._store(side, completion.id, self._judged(completion))

    def compare(self, side: str, candidate: Engine) -> None:
        """Score the FP16 answers on both models, token by token, and store the comparison."""
        answers = {
            s.key.question: tuple(s.payload["token_ids"])
            for s in self._context.stored()
            if s.key.side == "fp16"
        }
        for block in self.classes:
            todo = [
                ScoreRequest(q.id, self._prompts[q.id].ids + answers[q.id], len(self._prompts[q.id].ids))
                for q in block
                if answers.get(q.id) and self._key(q.id, side) not in self._done
            ]
            if not todo or self._context.should_stop():
                continue
            self._report(side)
            for scores in score_pair(self._context.fp16, candidate, todo):
                self._store(side, scores.id, self._compared(scores, answers[scores.id]))

    def _prompt(self, question: RecordQuestion) -> _Prompt:
        engine = self._context.fp16
        ids = engine.encode(engine.render_chat(self._workload.messages(question)))
        gold = engine.encode(self._workload.gold_text(question))
        return _Prompt(ids, int(LENGTH_FACTOR * len(gold)) + LENGTH_MARGIN)

    def _judged(self, completion: Completion) -> dict[str, Any]:
        question = self._by_id[completion.id]
        outcome = classify_json(
            completion.text,
            self._workload.classes[question.record_class].schema,
            truncated=completion.finish_reason == "length",
            expected=question.record,
        )
        return {
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "tokens": len(completion.token_ids),
            "token_ids": list(completion.token_ids),
            "mean_logprob": _mean(completion.logprobs),
            "kind": str(outcome.kind),
            "parse_valid": outcome.parse_valid,
            "schema_valid": outcome.schema_valid,
            "truncated": outcome.truncated,
            "never_parses": outcome.never_parses,
            "never_fits": outcome.never_fits,
            "trailing_text": outcome.trailing_text,
            "missing_keys": list(outcome.missing_keys),
            "extra_keys": list(outcome.extra_keys),
            "type_drift": list(outcome.type_drift),
            "enum_drift": list(outcome.enum_drift),
            "value_matches": outcome.value_matches,
            "detail": outcome.detail,
            "class": question.record_class,
        }

    def _compared(self, scores: TokenScores, answer: tuple[int, ...]) -> dict[str, Any]:
        return {
            "kl": _rounded(scores.kl),
            "ref_top_p": _rounded(scores.ref_top_p),
            "same_top": [int(x) for x in scores.same_top],
            "ref_logprob": _rounded(scores.ref_logprob),
            "cand_logprob": _rounded(scores.cand_logprob),
            "structural": [int(x) for x in structural_positions(_pieces(self._context.fp16, answer))],
        }

    def _store(self, side: str, question: str, payload: dict[str, Any]) -> None:
        key = self._key(question, side)
        self._context.save([Sample(key, payload)])
        self._done.add(key)
        self._report(side)

    def _report(self, side: str) -> None:
        done = sum(self._key(q.id, side) in self._done for q in self._questions)
        self._context.progress(side, STAGES[side], done, len(self._questions))

    def _key(self, question: str, side: str) -> SampleKey:
        return SampleKey(SYMPTOM, question, 0, self._context.settings.seed, side)


def _pieces(engine: Engine, token_ids: tuple[int, ...]) -> list[str]:
    """The text that each token adds; a token that only begins a multi-byte character adds none yet."""
    pieces, shown = [], ""
    for end in range(1, len(token_ids) + 1):
        text = engine.decode(token_ids[:end])
        text = shown if text.endswith("\ufffd") else text
        pieces.append(text[len(shown) :])
        shown = text
    return pieces


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None


def _rounded(values: Iterable[float]) -> list[float]:
    """Six decimals: far below any noise floor, and a fifth of the space of full floats in the store."""
    return [round(float(v), 6) for v in values]
