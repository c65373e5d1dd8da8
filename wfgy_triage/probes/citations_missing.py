"""Probe "Text fluency high, citations missing": both models answer from numbered passages and have to cite them.

Every question is asked twice: for a sentence with its citation, and for a citation record in JSON (question id with
`RECORD` behind it). Answers are stored for both sides and the FP16 twin; the cited sentences of FP16 are compared
token by token; FP16 also scores EXL2's sentences (`exl2_by_fp16`), which says whether they are still fluent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wfgy_triage.engines.base import Completion, Engine, Grammar, TokenScores
from wfgy_triage.engines.grammar_builders import citation_record_grammar, cited_sentence_grammar
from wfgy_triage.measure.answers import answer_matches, coverage
from wfgy_triage.measure.citations import (
    CitationKind,
    RecordOutcome,
    citation_positions,
    classify_citations,
    classify_record,
    finishes_a_claim,
    without_citations,
)
from wfgy_triage.measure.fluency import distinct_2, repetition
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.citation_evaluation import evaluate_samples, failed, lost, right, usable
from wfgy_triage.probes.citation_samples import FLUENCY_SIDE
from wfgy_triage.probes.contracts import citation_contracts
from wfgy_triage.probes.held import hold
from wfgy_triage.probes.items import Item, conversation
from wfgy_triage.probes.localize import localize
from wfgy_triage.probes.lost import lost_answers
from wfgy_triage.probes.measuring import STAGES, Measuring
from wfgy_triage.probes.payloads import token_pieces
from wfgy_triage.probes.sampling import as_asked
from wfgy_triage.probes.subject import CONTRACTS, GRAMMAR, Subject
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.citations import (
    RECORD,
    CitationTask,
    CitationWorkload,
    load_citations,
    marked,
    record,
)

SYMPTOM = "citations_missing"
LENGTH_FACTOR, LENGTH_MARGIN = 1.5, 16
"""Answer budget: half more than the tokens of the right answer and a margin; only answers that run on reach it."""
PROBE_STAGES = {**STAGES, FLUENCY_SIDE: "Is EXL2's text still fluent?"}


class CitationsMissing:
    """The probe; holds no state between calls."""

    symptom = SYMPTOM

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of the question set and how many of its questions are used."""
        workload = _workload(settings)
        used = len(workload.tasks[: settings.questions])
        identity = {"id": workload.id, "sha256": workload.sha256, "questions": used}
        return {**identity, "level": settings.difficulty}

    def run(self, context: ProbeContext) -> None:
        """Generate on both sides and on the twin, then score; skips what is stored, stops when asked."""
        fp16, subject = context.fp16, self.subject(context)

        def annotate(item: Item, answer: tuple[int, ...], scores: TokenScores) -> dict[str, Any]:
            return {"citation": [int(x) for x in citation_positions(token_pieces(fp16, answer))]}

        measuring = Measuring(context, SYMPTOM, subject.items, PROBE_STAGES)
        measuring.run(subject.judge, annotate)
        measuring.score(FLUENCY_SIDE, "exl2", fp16)
        questions = lost(context.stored(), context.settings)
        localize(context, measuring, subject.judge, lost_answers(questions, subject.useful))
        hold(context, subject, failed(context.stored(), context.settings), right)

    def subject(self, context: ProbeContext) -> Subject:
        """The tasks, each asked for a cited sentence and for a citation record."""
        workload = _workload(context.settings)
        tasks = {t.question.id: t for t in workload.tasks[: context.settings.questions]}
        fp16, seed = context.fp16, context.settings.seed

        def judge(item: Item, completion: Completion) -> dict[str, Any]:
            task = tasks[item.question.removesuffix(RECORD)]
            if item.question.endswith(RECORD):
                return _judged_record(task, completion)
            return _judged_answer(task, completion)

        items = [_answer_item(workload, t, fp16, seed) for t in tasks.values()]
        items += [_record_item(workload, t, fp16, seed) for t in tasks.values()]

        def grammar(item: Item) -> Grammar:
            task = tasks[item.question.removesuffix(RECORD)]
            if item.question.endswith(RECORD):
                return citation_record_grammar(task.sections)
            return cited_sentence_grammar(task.supplied)

        facets = {GRAMMAR: grammar, CONTRACTS: citation_contracts(workload, fp16)}
        return Subject(SYMPTOM, as_asked(items, context), judge, usable, facets=facets)

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """See `citation_evaluation.evaluate_samples`."""
        return evaluate_samples(samples, checks, settings)


PROBE = CitationsMissing()


def _workload(settings: ProbeSettings) -> CitationWorkload:
    return load_citations(settings.workload, settings.difficulty)


def _answer_item(workload: CitationWorkload, task: CitationTask, engine: Engine, seed: int) -> Item:
    messages = workload.messages(task)
    ids = engine.encode(engine.render_chat(messages))
    gold = marked(" ".join(task.question.evidence), task.gold)
    budget, asked = _budget(engine, gold), conversation(messages)
    return Item(task.question.id, ids, budget, seed=seed, group="answer", messages=asked)


def _record_item(workload: CitationWorkload, task: CitationTask, engine: Engine, seed: int) -> Item:
    messages = workload.record_messages(task)
    ids = engine.encode(engine.render_chat(messages))
    gold = record(task.gold, task.question.section, " ".join(task.question.evidence))
    item = Item(task.question.id + RECORD, ids, _budget(engine, gold), seed=seed, group="record")
    return replace(item, compared=False, messages=conversation(messages))


def _budget(engine: Engine, gold: str) -> int:
    return int(LENGTH_FACTOR * len(engine.encode(gold))) + LENGTH_MARGIN


def _judged_answer(task: CitationTask, completion: Completion) -> dict[str, Any]:
    question, supplied, text = task.question, task.supplied, completion.text
    # Cut off within its first sentence; one that had finished a sentence ran on, and is judged as it stands.
    truncated = completion.finish_reason == "length" and not finishes_a_claim(text)
    outcome = classify_citations(text, supplied, task.gold, truncated=truncated)
    right = answer_matches(text, question.answer, question.aliases)
    cited = [supplied[i] for i in outcome.cited if i in supplied]
    return {
        "kind": str(outcome.kind),
        "truncated": truncated,
        "runs_on": completion.finish_reason == "length",
        "valid": outcome.valid,
        "present": outcome.present,
        "correct": outcome.correct,
        "cite_first": outcome.cite_first,
        "cited": list(outcome.cited),
        "dangling": list(outcome.dangling),
        "unsupported_quotes": list(outcome.unsupported_quotes),
        "gold": task.gold,
        "places": list(supplied),
        # Of an answer that was cut off only what is said is known: what is missing might still have come.
        "right": right or (None if truncated else False),
        "coverage": coverage(text, question.evidence, cited),
        "distinct_2": distinct_2(without_citations(text)),
        "repetition": repetition(without_citations(text)),
        "detail": _detail(outcome.kind, outcome.dangling, task.gold),
    }


def _judged_record(task: CitationTask, completion: Completion) -> dict[str, Any]:
    truncated = completion.finish_reason == "length"
    outcome = classify_record(completion.text, task.supplied, task.sections)
    whole = outcome.completeness == 1
    return {
        "kind": "valid"
        if whole and not outcome.dangling
        else "truncated"
        if truncated
        else "incomplete_record",
        "valid": whole and not outcome.dangling,
        "completeness": outcome.completeness,
        "missing": list(outcome.missing),
        "dangling": outcome.dangling,
        "section_matches": outcome.section_matches,
        "offsets": list(outcome.offsets) if outcome.offsets else None,
        "detail": _record_detail(outcome),
    }


def _detail(kind: CitationKind, dangling: Sequence[str], gold: str) -> str:
    return {
        CitationKind.CORRECT: "",
        CitationKind.OTHER: f"The answer is in passage {gold}.",
        CitationKind.DANGLING: f"There is no passage {', '.join(dangling)}.",
        CitationKind.MISSING: "No passage is named.",
        CitationKind.TRUNCATED: "Cut off at the length limit.",
    }[kind]


def _record_detail(outcome: RecordOutcome) -> str:
    if outcome.missing:
        return f"Missing: {', '.join(outcome.missing)}."
    if outcome.dangling:
        return "The record names a passage that was not supplied."
    return "" if outcome.offsets else "The quote does not stand in the passage word for word."
