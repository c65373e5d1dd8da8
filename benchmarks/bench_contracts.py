"""What a contract does to cited answers on the same questions, and what BBAM's literal formula does to their logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy

from benchmarks import model_folders
from benchmarks.trial_bench import asked, case_of, heading, rates_of
from wfgy_triage.engines.base import Completion, Engine
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.measure.modulation import (
    GAMMA_PAPER,
    GAMMA_TXT_OS,
    attention_modulation,
    equivalent_temperature,
)
from wfgy_triage.probes.citations_missing import PROBE
from wfgy_triage.probes.items import Item
from wfgy_triage.remedies.registry import get_remedy


def run(fast: bool = False, exl2: Path | None = None) -> dict[str, Any]:
    """Ask the first questions in each frame; citation records are left out."""
    engine = open_engine(model_folders(None, exl2)[1], side="exl2")
    case = case_of(PROBE, engine, 4 if fast else 20)
    items = [i for i in case.subject.items if i.compared]
    heading()
    answers, seconds = asked(engine, items)
    rows, remedy = (
        [rates_of("as it is", case, items, answers, None, seconds)],
        get_remedy("citation_contract"),
    )
    formula = _formula(engine, items, answers)
    for candidate in remedy.candidates(case):
        with remedy.apply(case, candidate) as change:
            framed, seconds = asked(change.engine, [change.restate(i) for i in items])
            rows.append(rates_of(candidate.label, case, items, framed, rows[0], seconds))
    return {"rows": rows, "formula": formula}


def _formula(engine: Engine, items: Sequence[Item], answers: Mapping[str, Completion]) -> dict[str, Any]:
    """Standard deviation of the vocabulary's logits along the answers, and what the formula makes of it."""
    sigmas: list[float] = []
    entropies: dict[float, list[float]] = {0.0: [], GAMMA_PAPER: [], GAMMA_TXT_OS: []}
    scored = [i.scoring(answers[i.request_id].token_ids) for i in items[:5]]
    for chunk in engine.logits(scored):
        for row in chunk.logits.double().numpy():
            sigmas.append(float(row.std()))
            for gamma, found in entropies.items():
                found.append(float(entropy(softmax(attention_modulation(row, gamma)))))
    sigma = float(np.mean(sigmas))
    print(f"sigma of the logits {sigma:.2f} over {len(sigmas)} tokens")
    for gamma, found in entropies.items():
        heat = equivalent_temperature(sigma, gamma)
        print(f"gamma {gamma}: temperature {heat:.2f}, mean entropy {np.mean(found):.2f} nats")
    means = {str(g): float(np.mean(v)) for g, v in entropies.items()}
    return {"sigma": sigma, "tokens": len(sigmas), "entropy": means}
