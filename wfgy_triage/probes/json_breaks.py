"""Probe "JSON breaks frequently": both models extract the same records; the FP16 answers are then scored on both.

Five kinds of samples are stored a question: the answer of each side (`fp16`, `exl2`), the answer of an FP16 twin
that differs only in how it computes (`fp16_floor`, the noise floor of every rate), and the token-by-token comparison
on the FP16 answer (`pair`, and `pair_floor` for the twin).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.engines.base import Completion, Engine, Grammar, TokenScores
from wfgy_triage.engines.grammar_builders import record_grammar
from wfgy_triage.measure.json_validity import classify_json, structural_positions
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.contracts import json_contracts
from wfgy_triage.probes.held import hold
from wfgy_triage.probes.items import Item, conversation
from wfgy_triage.probes.json_evaluation import evaluate_samples, failed, lost
from wfgy_triage.probes.json_plan import records_info, records_of
from wfgy_triage.probes.json_samples import right, usable
from wfgy_triage.probes.localize import localize
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.probes.payloads import token_pieces
from wfgy_triage.probes.sampling import as_asked
from wfgy_triage.probes.subject import CONTRACTS, GRAMMAR, Subject
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.json_records import JsonWorkload, RecordQuestion

SYMPTOM = "json_breaks"
LENGTH_FACTOR, LENGTH_MARGIN = 2.0, 32
"""Answer budget: twice the tokens of the right answer and a margin; only runaway answers reach it."""


class JsonBreaks:
    """The probe; holds no state between calls."""

    symptom = SYMPTOM

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of the question set and how many of its questions are used."""
        return records_info(settings)

    def run(self, context: ProbeContext) -> None:
        """Generate on both sides and on the twin, then score; skips what is stored, stops when asked."""
        fp16, subject = context.fp16, self.subject(context)

        def annotate(item: Item, answer: tuple[int, ...], scores: TokenScores) -> dict[str, Any]:
            return {"structural": [int(x) for x in structural_positions(token_pieces(fp16, answer))]}

        measuring = Measuring(context, SYMPTOM, subject.items)
        measuring.run(subject.judge, annotate)
        localize(context, measuring, subject.judge, lost(context.stored(), context.settings))
        hold(context, subject, failed(context.stored(), context.settings), right)

    def subject(self, context: ProbeContext) -> Subject:
        """The records asked for, and what fits their schemas."""
        workload = records_of(context.settings)
        questions = {q.id: q for q in workload.questions[: context.settings.questions]}

        def judge(item: Item, completion: Completion) -> dict[str, Any]:
            return _judged(workload, questions[item.question], completion)

        items = (_item(workload, q, context.fp16, context.settings.seed) for q in questions.values())

        def grammar(item: Item) -> Grammar:
            return record_grammar(workload.classes[questions[item.question].record_class].schema)

        facets = {GRAMMAR: grammar, CONTRACTS: json_contracts(workload, context.fp16)}
        return Subject(SYMPTOM, as_asked(tuple(items), context), judge, usable, facets=facets)

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """See `json_evaluation.evaluate_samples`."""
        return evaluate_samples(samples, checks, settings)


PROBE = JsonBreaks()


def _item(workload: JsonWorkload, question: RecordQuestion, engine: Engine, seed: int) -> Item:
    messages = workload.messages(question)
    ids = engine.encode(engine.render_chat(messages))
    gold = engine.encode(workload.gold_text(question))
    budget = int(LENGTH_FACTOR * len(gold)) + LENGTH_MARGIN
    asked = conversation(messages)
    return Item(question.id, ids, budget, seed=seed, group=question.record_class, messages=asked)


def _judged(workload: JsonWorkload, question: RecordQuestion, completion: Completion) -> dict[str, Any]:
    outcome = classify_json(
        completion.text,
        workload.classes[question.record_class].schema,
        truncated=completion.finish_reason == "length",
        expected=question.record,
    )
    return {
        "kind": str(outcome.kind),
        "valid": outcome.schema_valid,
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
