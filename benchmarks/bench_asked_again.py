"""What remembering prompts saves: the same work on an engine that has forgotten them, and on one that has not.

The questions of the acceptance list, three numbered passages each. Three things that a run does: ask once more (what
a trial does), ask in other words under seeds after a greedy answer (λ_observe), and score answers that were just given.
Both arms use shared beginnings within a call; only what an earlier call computed differs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch, opened_pair
from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, ScoreRequest
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.probes.acceptance import TEMPERATURE, answer_item
from wfgy_triage.probes.acceptance_samples import SEEDS
from wfgy_triage.workload.citations import load_citations

QUESTIONS, REPEATS = 20, 3


def run(
    fast: bool = False, fp16: Path | None = None, exl2: Path | None = None, repeats: int = REPEATS
) -> dict[str, Any]:
    """Measure and print; see the module.

    Args:
        fast: four questions, once.
        fp16: the baseline; the demo's without it.
        exl2: the quantized side; the demo's without it.
        repeats: how often each arm is timed.

    Raises:
        PrerequisiteError: no models, or an engine that remembers nothing.
    """
    reference, candidate = opened_pair(fp16, exl2)
    if not isinstance(reference, TransformersEngine) or not isinstance(candidate, TransformersEngine):
        raise PrerequisiteError(
            "These engines remember no prompts.", "Name folders for the reference engine."
        )
    greedy, worded = requests(reference, 4 if fast else QUESTIONS)
    said = {c.id: c for c in reference.generate(greedy)}
    scored = [ScoreRequest(r.id, r.prompt_ids + said[r.id].token_ids, len(r.prompt_ids)) for r in greedy]
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "asked once more": (len(greedy), lambda: list(reference.generate(greedy))),
        f"other words, {SEEDS} seeds at {TEMPERATURE:g}": (
            len(worded),
            lambda: list(reference.generate(worded)),
        ),
        "answers scored on both": (len(scored), lambda: list(score_pair(reference, candidate, scored))),
    }
    rows = [
        _timed(name, count, work, (reference, candidate), greedy, 1 if fast else repeats)
        for name, (count, work) in works.items()
    ]
    same = _texts(reference.generate(greedy)) == _texts(said.values())
    print(f"\n{len(greedy)} questions; medians of {1 if fast else repeats}\n")
    print("| work | prompts | forgotten, s | remembered, s | faster | foreign |\n|---|---|---|---|---|---|")
    for row in rows:
        faster = row["forgotten_s"] / row["remembered_s"]
        print(
            f"| {row['work']} | {row['prompts']} | {row['forgotten_s']:.1f} | {row['remembered_s']:.1f} "
            f"| {faster:.2f} × | {row['foreign']} |"
        )
    print(f"\ngreedy answers the same either way: {same}")
    return {"rows": rows, "same_answers": same, "repeats": repeats}


def requests(engine: Engine, questions: int) -> tuple[list[GenerationRequest], list[GenerationRequest]]:
    """The greedy requests of the first questions, and those of every wording under every seed."""
    workload, greedy, worded = load_citations(), [], []
    for task in workload.tasks[:questions]:
        greedy.append(answer_item(workload, task, engine, seed=0).request)
        for number in range(len(task.question.paraphrases)):
            item = answer_item(workload, task.worded(number), engine, seed=0)
            item = replace(item, paraphrase=number, temperature=TEMPERATURE)
            worded += [replace(item, seed=seed).request for seed in range(SEEDS)]
    return greedy, worded


def _timed(
    name: str,
    count: int,
    work: Callable[[], object],
    engines: Sequence[TransformersEngine],
    greedy: Sequence[GenerationRequest],
    repeats: int,
) -> dict[str, Any]:
    seconds: dict[bool, list[float]] = {True: [], False: []}
    foreign: list[float] = []
    for _ in range(repeats):
        for remembered in (False, True):
            for engine in engines:
                engine.forget_prompts()
                if remembered:
                    list(engine.generate(greedy))
            with Stopwatch() as watch:
                work()
            seconds[remembered].append(watch.seconds)
            foreign.append(watch.foreign or 0.0)
    return {
        "work": name,
        "prompts": count,
        "forgotten_s": statistics.median(seconds[False]),
        "remembered_s": statistics.median(seconds[True]),
        "foreign": max(foreign),
    }


def _texts(answers: Iterable[Completion]) -> dict[str, str]:
    return {c.id: c.text for c in answers}
