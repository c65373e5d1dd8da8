"""Probe "Fix in 60 seconds": the drift of the answers, and whether they hold when more passages are put in.

Every question is asked with a few numbered passages, as the citation probe asks it, and the first half of them again
with 5, 10 and 20 (question id with `WITH_K` and the number behind it). All answers of a side are stored under that
side, so that a change is tried on the whole of it. ΔS to the reference answer is measured while an answer is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wfgy_triage.engines.base import Completion, Grammar
from wfgy_triage.engines.grammar_builders import cited_sentence_grammar
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.measure.citations import without_citations
from wfgy_triage.measure.tension import K_SWEEP
from wfgy_triage.probes.acceptance import Encoder, answer_item, distance, judged
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.contracts import citation_contracts
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.localize import localize
from wfgy_triage.probes.measuring import STAGES, Measuring
from wfgy_triage.probes.sixty_evaluation import OF_SWEEP, evaluate_samples, lost
from wfgy_triage.probes.subject import Subject
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.citations import WITH_K, CitationWorkload, load_citations, load_sweep

SYMPTOM = "sixty_seconds"
LEAST_SWEPT = 5
"""Questions that are asked with more passages at least: fewer give no verdict."""
SWEEP_STAGES = {"fp16": "FP16 with 5, 10 and 20 passages", "exl2": "EXL2 with 5, 10 and 20 passages"}


class SixtySeconds:
    """The probe.

    Args:
        load_encoder: loads the sentence model that measures distances; it is loaded once and kept.
    """

    symptom = SYMPTOM

    def __init__(self, load_encoder: Callable[[], Encoder] = lambda: load_sentence_encoder()) -> None:
        self._load_encoder = load_encoder
        self._encoder: Encoder | None = None

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of the question set and how many of its questions are used."""
        workload = load_citations(settings.workload, settings.difficulty)
        used = len(workload.tasks[: settings.questions])
        identity = {"id": workload.id, "sha256": workload.sha256, "questions": used}
        return {**identity, "level": settings.difficulty}

    def run(self, context: ProbeContext) -> None:
        """Both sides and the twin with few passages, both sides with more, then what is lost; skips what is stored."""
        subject = self.subject(context)
        # The larger numbers of passages decide here, so that they have to fit as well.
        Measuring(context, SYMPTOM, subject.items).refuse_too_long()
        first = Measuring(context, SYMPTOM, [i for i in subject.items if i.compared], STAGES)
        first.answer("fp16", context.fp16, subject.judge)
        first.answer("exl2", context.exl2, subject.judge)
        first.repeat(subject.judge)
        # The noise floor of the drift. Word-by-word comparisons are left to the other probes: this one is to be short.
        if first.missing("fp16_floor") and not context.should_stop():
            first.answer("fp16_floor", context.open_floor(), subject.judge)

        def progress(stage: str, label: str, done: int, total: int) -> None:
            # The same sides as above, but a step of its own: the page gives each step its seconds.
            context.progress(f"{stage}_k", label, done, total)

        swept = [i for i in subject.items if not i.compared]
        sweep = Measuring(replace(context, progress=progress), SYMPTOM, swept, SWEEP_STAGES)
        for side, engine in (("fp16", context.fp16), ("exl2", context.exl2)):
            sweep.answer(side, engine, subject.judge)
        gone = lost(context.stored(), context.settings)

        def with_more(questions: Sequence[str]) -> list[Item]:
            return [i for i in subject.items if i.question.partition(WITH_K)[0] in questions]

        localize(context, first, subject.judge, gone, with_more if gone.rule == OF_SWEEP else None)

    def subject(self, context: ProbeContext) -> Subject:
        """The tasks with few passages, and with each number of the sweep."""
        workload = _workload(context.settings)
        tasks = {t.question.id: t for t in workload.tasks}
        fp16, seed = context.fp16, context.settings.seed

        def judge(item: Item, completion: Completion) -> dict[str, Any]:
            task = tasks[item.question]
            payload = judged(task, completion)
            if WITH_K in item.question:
                return payload
            return {**payload, "ds": self._distance(completion.text, task.question.answer)}

        def grammar(item: Item) -> Grammar:
            return cited_sentence_grammar(tasks[item.question].supplied)

        items = [
            replace(answer_item(workload, t, fp16, seed), compared=WITH_K not in t.question.id)
            for t in workload.tasks
        ]
        facets = {"grammar": grammar, "contracts": citation_contracts(workload, fp16)}
        # Every answer is of use here: what fails is drift and stability, so no answer counts as lost.
        return Subject(SYMPTOM, tuple(items), judge, lambda answer: True, facets=facets)

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """See `sixty_evaluation.evaluate_samples`."""
        return evaluate_samples(samples, checks, settings)

    def _distance(self, answer: str, gold: str) -> float:
        """ΔS of an answer to the reference answer; citation marks say nothing about meaning."""
        if self._encoder is None:
            self._encoder = self._load_encoder()
        said, reference = self._encoder.encode([without_citations(answer), gold])
        return distance(said, reference)


PROBE = SixtySeconds()


def _workload(settings: ProbeSettings) -> CitationWorkload:
    """The first tasks with few passages, then the first half of them with each number of the sweep."""
    base = load_citations(settings.workload, settings.difficulty)
    tasks = list(base.tasks[: settings.questions])
    asked = len(tasks)
    swept = max(LEAST_SWEPT, asked // 2)
    for k in K_SWEEP:
        for task in load_sweep(k, settings.workload, settings.difficulty).tasks[: min(swept, asked)]:
            named = replace(task.question, id=f"{task.question.id}{WITH_K}{k}")
            tasks.append(replace(task, question=named))
    return replace(base, tasks=tuple(tasks))
