"""Probe "Core acceptance": the page's whole list on one pair, from answers to questions with numbered passages.

Sides that are stored: `fp16`, `exl2`, `fp16_floor` (greedy answers to the first wording, as the citation probe asks),
`pair`, `pair_floor` (tokens of the FP16 answers); `fp16_runs`, `exl2_runs`, `fp16_floor_runs` (three wordings under two
seeds at a low temperature, for λ_observe); `fp16_k5`, `exl2_k5`, ... (the first questions with more passages, the k
sweep); `distance` (ΔS between the answers of two sides); `timed` (see `latency.py`). A greedy answer carries its own ΔS
to the reference answer, from a sentence model that both sides share.

A change is tried on what the failed rules need: the greedy answers, and the λ runs only where that rule failed. The
k sweep decides nothing, and no change makes answers faster, so neither is asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.engines.base import Completion, Engine, Grammar
from wfgy_triage.engines.grammar_builders import cited_sentence_grammar
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.measure.answers import answer_matches, coverage
from wfgy_triage.measure.citations import classify_citations, finishes_a_claim, without_citations
from wfgy_triage.measure.stability import claim_of
from wfgy_triage.probes.acceptance_evaluation import evaluate_samples, lost
from wfgy_triage.probes.acceptance_rules import OF_ANSWERS, OF_RUNS, failed_rules, lost_on
from wfgy_triage.probes.acceptance_samples import (
    DISTANCE,
    K_SWEEP,
    SEEDS,
    SWEEP_QUESTIONS,
    sweep_side,
)
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.contracts import citation_contracts
from wfgy_triage.probes.items import RUNS, Item, arm_side, conversation
from wfgy_triage.probes.latency import TIMED, Clock, time_answers
from wfgy_triage.probes.localize import localize
from wfgy_triage.probes.measuring import STAGES, Judge, Measuring, in_rounds
from wfgy_triage.probes.subject import Subject
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample, SampleKey
from wfgy_triage.workload.citations import (
    CitationTask,
    CitationWorkload,
    load_citations,
    load_sweep,
    marked,
)
from wfgy_triage.workload.upload_questions import WORDINGS

SYMPTOM = "acceptance_gate"
TEMPERATURE = 0.3
"""λ_observe: at a temperature that lets a seed matter and keeps a decided model where it is."""
LENGTH_FACTOR, LENGTH_MARGIN = 2.0, 16
"""Answer budget: twice the tokens of the right answer and a margin; only runaway answers reach it."""
COMPARED = 10
"""Questions whose tokens are compared, and which the twin answers: evidence beside the rules, for which a few hundred
tokens are enough."""
PROBE_STAGES = {
    **STAGES,
    "fp16_runs": "FP16: other wordings and seeds (λ)",
    "exl2_runs": "EXL2: other wordings and seeds (λ)",
    "fp16_floor_runs": "FP16 again, other wordings and seeds: the noise of λ",
    **{sweep_side("fp16", k): f"FP16 with {k} passages" for k in K_SWEEP},
    **{sweep_side("exl2", k): f"EXL2 with {k} passages" for k in K_SWEEP},
    TIMED: "Time for each word, FP16 and EXL2 in turn",
}


class Encoder(Protocol):
    """Gives unit vectors of texts."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dimensions) for n texts."""
        ...


class Acceptance:
    """The probe; of its calls it keeps the sentence model alone.

    Args:
        load_encoder: loads the sentence model that measures distances; it is loaded once and kept.
        compared: questions whose tokens are compared, and which the twin answers.
        sweep: numbers of passages of the k sweep.
        clock: seconds, what answers are timed with.
    """

    symptom = SYMPTOM

    def __init__(
        self,
        load_encoder: Callable[[], Encoder] = lambda: load_sentence_encoder(),
        compared: int = COMPARED,
        sweep: Sequence[int] = K_SWEEP,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._load_encoder, self._compared, self._k_sweep = load_encoder, compared, tuple(sweep)
        self._clock = clock
        self._loaded: Encoder | None = None

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of the question set and how many of its questions are used."""
        workload, tasks = _tasks(settings)
        identity = {"id": workload.id, "sha256": workload.sha256, "questions": len(tasks)}
        return {**identity, "level": settings.difficulty}

    def run(self, context: ProbeContext) -> None:
        """Everything in order; skips what is stored, stops when asked."""
        workload, tasks = _tasks(context.settings)
        seed, fp16 = context.settings.seed, context.fp16
        judge = self._judge(tasks)
        items = [answer_item(workload, t, fp16, seed) for t in tasks.values()]
        items = [replace(item, compared=n < self._compared) for n, item in enumerate(items)]
        greedy = Measuring(context, SYMPTOM, items, PROBE_STAGES)
        greedy.run(judge)
        runs = {q: found for q, t in tasks.items() if (found := _runs(workload, t, fp16, seed))}
        self._lambda_runs(context, runs, judge)
        for side, k in in_rounds(context, self._k_sweep):
            self._sweep(context, side, k, list(tasks)[:SWEEP_QUESTIONS])
        self._distances(context, tasks)
        time_answers(context, SYMPTOM, items, PROBE_STAGES[TIMED], self._clock)
        gone = lost(context.stored(), context.settings)
        # λ is about the runs of a question: they are what has to come back.
        again = (lambda questions: list(chain(*(runs.get(q, ()) for q in questions)))) if gone.arm else None
        localize(context, greedy, judge, gone, again)

    def subject(self, context: ProbeContext) -> Subject | None:
        """What the failed rules need; None where what fails is a rule that no change can be tried for.

        Where nothing was measured (a pair that could not be loaded) it is the greedy answers.
        """
        failed = failed_rules(context.stored(), context.settings.level)
        metrics = load_catalog().metrics
        rules = tuple(r for r in failed if not metrics[r].untried) if failed else OF_ANSWERS
        if not rules:
            return None
        workload, tasks = _tasks(context.settings)
        fp16, seed = context.fp16, context.settings.seed
        items = [answer_item(workload, t, fp16, seed) for t in tasks.values()]
        if OF_RUNS in rules:
            items += [i for t in tasks.values() for i in _runs(workload, t, fp16, seed)]

        def grammar(item: Item) -> Grammar:
            return cited_sentence_grammar(tasks[item.question].supplied)

        return Subject(
            SYMPTOM,
            tuple(items),
            self._judge(tasks),
            rules=rules,
            lost_on=lambda samples, side: lost_on(samples, side, rules),
            facets={"grammar": grammar, "contracts": citation_contracts(workload, fp16)},
        )

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """See `acceptance_evaluation.evaluate_samples`."""
        return evaluate_samples(samples, checks, settings)

    def _lambda_runs(self, context: ProbeContext, runs: Mapping[str, Sequence[Item]], judge: Judge) -> None:
        """Every wording under every seed on both sides, and of the first questions on the twin."""
        several = Measuring(context, SYMPTOM, list(chain(*runs.values())), PROBE_STAGES)
        for side, engine in (("fp16", context.fp16), ("exl2", context.exl2)):
            several.answer(arm_side(side, RUNS), engine, judge)
        again = list(chain(*list(runs.values())[: self._compared]))
        floor, side = Measuring(context, SYMPTOM, again, PROBE_STAGES), arm_side("fp16_floor", RUNS)
        if floor.missing(side) and not context.should_stop():
            floor.answer(side, context.open_floor(), judge)

    def _sweep(
        self, context: ProbeContext, side: tuple[str, Engine], k: int, questions: Sequence[str]
    ) -> None:
        workload = load_sweep(k, context.settings.workload, context.settings.difficulty)
        tasks = {t.question.id: t for t in workload.tasks if t.question.id in questions}
        items = [answer_item(workload, t, context.fp16, context.settings.seed) for t in tasks.values()]
        measuring = Measuring(context, SYMPTOM, items, PROBE_STAGES)
        name, engine = side
        measuring.answer(sweep_side(name, k), engine, lambda i, c: judged(tasks[i.question], c))

    def _judge(self, tasks: Mapping[str, CitationTask]) -> Judge:
        """What is stored of an answer; of a greedy one also its ΔS to the reference answer."""

        def judge(item: Item, completion: Completion) -> dict[str, Any]:
            task = tasks[item.question]
            payload = judged(task, completion)
            if item.arm:
                return payload
            texts = [without_citations(completion.text), task.question.answer]
            said, reference = self._encoder.encode(texts).astype(np.float64)
            return {**payload, "ds": distance(said, reference)}

        return judge

    @property
    def _encoder(self) -> Encoder:
        if self._loaded is None:
            self._loaded = self._load_encoder()
        return self._loaded

    def _distances(self, context: ProbeContext, tasks: Mapping[str, CitationTask]) -> None:
        """Store ΔS between the answers of every question."""
        answers: dict[str, dict[str, str]] = {}
        for sample in context.stored():
            if sample.key.side in ("fp16", "exl2", "fp16_floor") and sample.key.question in tasks:
                answers.setdefault(sample.key.question, {})[sample.key.side] = sample.payload["text"]
        keys = {q: SampleKey(SYMPTOM, q, 0, context.settings.seed, DISTANCE) for q in tasks}
        todo = [q for q, a in answers.items() if {"fp16", "exl2"} <= set(a) and keys[q] not in context.done]
        if not todo or context.should_stop():
            return
        label = "Distances in meaning (ΔS)"
        context.progress(DISTANCE, label, 0, len(tasks))
        for question, payload in self.distances({q: answers[q] for q in todo}).items():
            context.save([Sample(keys[question], payload)])
        context.progress(DISTANCE, label, len(tasks), len(tasks))

    def distances(self, answers: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, float]]:
        """ΔS between the answers to each question, as it is stored.

        Args:
            answers: by question the texts of `fp16`, `exl2` and, where the twin was asked, `fp16_floor`.
        """
        said = {q: {side: without_citations(text) for side, text in a.items()} for q, a in answers.items()}
        texts = [t for sides in said.values() for t in sides.values()]
        vectors = iter(self._encoder.encode(texts).astype(np.float64))
        found = {}
        for question, sides in said.items():
            by_side = {side: next(vectors) for side in sides}
            found[question] = {"cross": distance(by_side["fp16"], by_side["exl2"])}
            if "fp16_floor" in by_side:
                found[question]["cross_floor"] = distance(by_side["fp16"], by_side["fp16_floor"])
        return found


PROBE = Acceptance()


def _tasks(settings: ProbeSettings) -> tuple[CitationWorkload, dict[str, CitationTask]]:
    """The question set, and the tasks that a run uses of it."""
    workload = load_citations(settings.workload, settings.difficulty)
    return workload, {t.question.id: t for t in workload.tasks[: settings.questions]}


def judged(task: CitationTask, completion: Completion) -> dict[str, Any]:
    """What is stored of an answer: right or not, evidence covered, claim and sources for λ."""
    question, supplied, text = task.question, task.supplied, completion.text
    # Cut off within its first sentence; one that had finished a sentence ran on, and is judged as it stands.
    truncated = completion.finish_reason == "length" and not finishes_a_claim(text)
    outcome = classify_citations(text, supplied, task.gold, truncated=truncated)
    right = answer_matches(text, question.answer, question.aliases)
    cited = [i for i in outcome.cited if i in supplied]
    return {
        "kind": "right" if right else "truncated" if truncated else "wrong",
        "truncated": truncated,
        "valid": right,
        # Of an answer that was cut off only what is said is known: the right words might still have come.
        "right": right or (None if truncated else False),
        "coverage": coverage(text, question.evidence, [supplied[i] for i in cited]),
        "claim": list(claim_of(text, question.answer, question.aliases)),
        # Sections, not marks: with other passages the same section has another number.
        "sources": sorted({task.sections[i] for i in cited}),
        "detail": "" if right else f"The right answer is: {question.answer}.",
    }


def answer_item(workload: CitationWorkload, task: CitationTask, engine: Engine, seed: int) -> Item:
    """A task as it is asked, with the budget of its answer."""
    messages = workload.messages(task)
    ids = engine.encode(engine.render_chat(messages))
    gold = engine.encode(marked(" ".join(task.question.evidence), task.gold))
    budget = int(LENGTH_FACTOR * len(gold)) + LENGTH_MARGIN
    asked = conversation(messages)
    return Item(task.question.id, ids, budget, seed=seed, group="answer", messages=asked)


def _runs(workload: CitationWorkload, task: CitationTask, engine: Engine, seed: int) -> list[Item]:
    """The wordings of a question under every seed; none where it has too few of them for λ."""
    found: list[Item] = []
    if len(task.question.paraphrases) < WORDINGS:
        return found
    for number in range(WORDINGS):
        item = answer_item(workload, task.worded(number), engine, seed)
        item = replace(item, paraphrase=number, temperature=TEMPERATURE, arm=RUNS)
        found += [replace(item, seed=seed + s) for s in range(SEEDS)]
    return found


def distance(left: np.ndarray, right: np.ndarray) -> float:
    """ΔS of two unit vectors (dimensions,): 1 − cosine, in [0, 2]."""
    return round(float(min(2.0, max(0.0, 1.0 - left @ right))), 6)
