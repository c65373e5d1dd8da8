"""What the schema lock does to a model: form, values, length and time of the same questions with and without it.

Records are asked with each spacing of the grammar, cited sentences and citation records with theirs. All arms run in
one process on one loaded engine; the time is of the whole batch, the median of the repeats, arms in turn. Processor
time says more where other programs run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch
from wfgy_triage.demo import SIBLINGS, exl2_folder
from wfgy_triage.engines.base import Completion, GenerationRequest, Grammar
from wfgy_triage.engines.exl2_reference import open_exl2_reference
from wfgy_triage.engines.grammar_builders import (
    citation_record_grammar,
    cited_sentence_grammar,
    record_grammar,
)
from wfgy_triage.measure.citations import classify_citations, classify_record
from wfgy_triage.measure.json_validity import classify_json
from wfgy_triage.settings import load_settings
from wfgy_triage.workload.citations import load_citations, marked, record
from wfgy_triage.workload.corpus import sentences as sentences_of
from wfgy_triage.workload.json_records import load_json_workload


@dataclass(frozen=True)
class Arm:
    """One way to ask: requests, and for each answer whether its form and its content are right."""

    name: str
    requests: list[GenerationRequest]
    judge: Callable[[int, Completion], tuple[bool | None, bool | None]]


def run(fast: bool = False, exl2: Path | None = None, repeats: int = 3, only: str = "") -> dict[str, Any]:
    """Measure and print; see the module. The default model is the demo's with the fewest bits.

    `only` keeps the arms whose name begins with it.
    """
    sibling = next(s for s in SIBLINGS if s.pair_id == "demo-3bpw")
    folder = exl2 or exl2_folder(load_settings(), sibling)
    engine = open_exl2_reference(folder)
    count = 5 if fast else 20
    arms = [*_record_arms(engine, count), *_citation_arms(engine, count)]
    arms = [arm for arm in arms if arm.name.startswith(only)]
    # Everything that is made once is made before the clock runs.
    for arm in arms:
        list(engine.generate([replace(r, max_new_tokens=1) for r in arm.requests[:2]]))
    walls: dict[str, list[float]] = {arm.name: [] for arm in arms}
    busy: dict[str, list[float]] = {arm.name: [] for arm in arms}
    answers: dict[str, dict[str, Completion]] = {}
    for _ in range(1 if fast else repeats):
        for arm in arms:
            engine.forget_prompts()  # arms ask the same ones
            begin = time.process_time()
            with Stopwatch() as watch:
                answers[arm.name] = {c.id: c for c in engine.generate(arm.requests)}
            walls[arm.name].append(watch.seconds)
            busy[arm.name].append(time.process_time() - begin)
            measured = _summary(arm, answers[arm.name], walls[arm.name], busy[arm.name])
            print(f"{arm.name}: {measured}, foreign {watch.foreign}", flush=True)
    engine.close()
    print(f"\n{folder.name}, {count} questions\n")
    print("| arm | form right | content right | cut off | tokens an answer | seconds | of processor |")
    print("|---|---|---|---|---|---|---|")
    results = {}
    for arm in arms:
        results[arm.name] = row = _summary(arm, answers[arm.name], walls[arm.name], busy[arm.name])
        print(f"| {arm.name} | {' | '.join(str(v) for v in row.values())} |")
    return results


def _summary(
    arm: Arm, answers: dict[str, Completion], walls: list[float], busy: list[float]
) -> dict[str, Any]:
    ordered = [answers[r.id] for r in arm.requests]
    judged = [arm.judge(i, c) for i, c in enumerate(ordered)]
    return {
        "form": f"{sum(form is True for form, _ in judged)} of {len(judged)}",
        "content": f"{sum(right is True for _, right in judged)} of {len(judged)}",
        "cut_off": sum(c.finish_reason == "length" for c in ordered),
        "tokens": round(sum(len(c.token_ids) for c in ordered) / len(ordered), 1),
        "seconds": round(statistics.median(walls), 2),
        "cpu_seconds": round(statistics.median(busy), 2),
    }


def _record_arms(engine: Any, count: int) -> list[Arm]:
    workload = load_json_workload()
    questions = workload.questions[:count]
    requests = []
    for q in questions:
        ids = engine.encode(engine.render_chat(workload.messages(q)))
        # The budget of the probe.
        requests.append(GenerationRequest(q.id, ids, 2 * len(engine.encode(workload.gold_text(q))) + 32))
    schemas = [workload.classes[q.record_class].schema for q in questions]

    def judge(number: int, answer: Completion) -> tuple[bool | None, bool | None]:
        outcome = classify_json(
            answer.text,
            schemas[number],
            truncated=answer.finish_reason == "length",
            expected=questions[number].record,
        )
        return outcome.schema_valid, outcome.value_matches

    arms = [Arm("records, no lock", requests, judge)]
    for spacing in ("spaced", "any", "compact"):
        grammars = [record_grammar(s, spacing) for s in schemas]
        arms.append(Arm(f"records, {spacing}", _bound(requests, grammars), judge))
    return arms


def _citation_arms(engine: Any, count: int) -> list[Arm]:
    workload = load_citations()
    tasks = workload.tasks[:count]
    sentences: list[GenerationRequest] = []
    records: list[GenerationRequest] = []
    for t in tasks:
        evidence = " ".join(t.question.evidence)
        for into, messages, gold in (
            (sentences, workload.messages(t), marked(evidence, t.gold)),
            (records, workload.record_messages(t), record(t.gold, t.question.section, evidence)),
        ):
            ids = engine.encode(engine.render_chat(messages))
            budget = int(1.5 * len(engine.encode(gold))) + 16
            into.append(GenerationRequest(t.question.id, ids, budget))

    def judge_sentence(number: int, answer: Completion) -> tuple[bool | None, bool | None]:
        task, truncated = tasks[number], answer.finish_reason == "length"
        outcome = classify_citations(answer.text, task.supplied, task.gold, truncated=truncated)
        return outcome.valid, outcome.correct

    def judge_record(number: int, answer: Completion) -> tuple[bool | None, bool | None]:
        task = tasks[number]
        outcome = classify_record(answer.text, task.supplied, task.sections)
        return outcome.completeness == 1 and not outcome.dangling, outcome.offsets is not None

    return [
        Arm("cited sentences, no lock", sentences, judge_sentence),
        Arm(
            "cited sentences, lock",
            _bound(sentences, [cited_sentence_grammar(t.supplied) for t in tasks]),
            judge_sentence,
        ),
        Arm("citation records, no lock", records, judge_record),
        Arm(
            "citation records, lock",
            _bound(records, [citation_record_grammar(t.sections) for t in tasks]),
            judge_record,
        ),
        Arm(
            "citation records, lock with quotes",
            _bound(
                records,
                [
                    citation_record_grammar(
                        t.sections, quotes={s.id: sentences_of(s.text) for s in t.snippets}
                    )
                    for t in tasks
                ],
            ),
            judge_record,
        ),
    ]


def _bound(requests: list[GenerationRequest], grammars: list[Grammar]) -> list[GenerationRequest]:
    return [replace(r, grammar=g) for r, g in zip(requests, grammars, strict=True)]
