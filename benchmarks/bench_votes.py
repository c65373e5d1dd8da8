"""Two ways of electing one of several answers, on the same paths: by majority, and by softmax(-ΔS) to the question."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch, model_folders
from benchmarks.trial_bench import asked, case_of, heading, rates_of
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.measure.citations import without_citations
from wfgy_triage.measure.fluency import mean_logprob
from wfgy_triage.measure.tension import context_distance
from wfgy_triage.measure.voting import elect, path_weights
from wfgy_triage.probes.citations_missing import PROBE
from wfgy_triage.remedies.alternate_paths import TEMPERATURE
from wfgy_triage.workload.citations import load_citations

PATHS = 5


def run(fast: bool = False, exl2: Path | None = None) -> dict[str, Any]:
    """Elect the same paths by majority, and by softmax(-ΔS) to the question."""
    engine = open_engine(model_folders(None, exl2)[1], side="exl2")
    case = case_of(PROBE, engine, 2 if fast else 12)
    items = [i for i in case.subject.items if i.compared]
    heading()
    first, seconds = asked(engine, items)
    before = rates_of("as it is", case, items, first, None, seconds)
    requests = [
        replace(i.request, id=f"{i.request_id}#{n}", temperature=TEMPERATURE, seed=i.seed + n)
        for i in items
        for n in range(1, PATHS)
    ]
    with Stopwatch() as watch:
        drawn = {c.id: c for c in engine.generate(requests)}
    questions = {t.question.id: t.question.text for t in load_citations().tasks}
    encoder, majority, nearest = load_sentence_encoder(), {}, {}
    for item in items:
        name = item.request_id
        paths = [first[name], *(drawn[f"{name}#{n}"] for n in range(1, PATHS))]
        likely = [-math.inf if (m := mean_logprob(p.logprobs)) is None else m for p in paths]
        texts = [p.text for p in paths]
        anchor, *rows = encoder.encode([questions[item.question], *map(without_citations, texts)])
        weights = path_weights([context_distance(anchor, r[None]) for r in rows])
        majority[name] = paths[elect(texts, [1.0] * PATHS, likely)]
        nearest[name] = paths[elect(texts, list(weights), likely)]
    rows = [
        before,
        rates_of(f"{PATHS} paths, majority", case, items, majority, before, watch.seconds),
        rates_of(f"{PATHS} paths, softmax(-ΔS) to the question", case, items, nearest, before, watch.seconds),
    ]
    differ = sum(majority[i.request_id].text != nearest[i.request_id].text for i in items)
    print(f"the two votes elect different texts for {differ} of {len(items)} questions")
    return {"rows": rows, "differ": differ}
