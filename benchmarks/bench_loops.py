"""What segments, rollbacks and re-anchoring do to long chains: right steps before and after, on the same chains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Stopwatch, model_folders
from benchmarks.trial_bench import case_of
from wfgy_triage.engines.base import Completion, Engine
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.measure.statistics import mean_interval
from wfgy_triage.measure.tension import RISK, context_distance
from wfgy_triage.probes.long_chain import PROBE
from wfgy_triage.remedies.base import Candidate, Case
from wfgy_triage.remedies.chain_loops import ChainDraft, chains_of
from wfgy_triage.remedies.loops import Draft
from wfgy_triage.remedies.reanchor import EVERY
from wfgy_triage.remedies.registry import get_remedy


def run(fast: bool = False, exl2: Path | None = None) -> dict[str, Any]:
    """Write the first chains of the set in each way and count right steps."""
    engine = open_engine(model_folders(None, exl2)[1], side="exl2")
    case = case_of(PROBE, engine, 4 if fast else 8)
    print(f"{'':<40}{'right steps':>12}{'difference, 95 %':>26}{'whole':>8}{'seconds':>9}")
    before, answers = _measured("as it is", case, engine, None)
    rows, distances = [before], _distances(case, answers)
    looks = f"ΔS of {EVERY} steps to the beginning: {len(distances)} looks"
    print(
        f"{looks}, largest {max(distances, default=0):.2f}, {sum(d > RISK for d in distances)} above {RISK}"
    )
    for name in ("rebirth", "reanchor", "segment_chain"):
        remedy = get_remedy(name)
        # Re-anchoring asks a run for its lost chains; here it is put in place whether any has drifted or not.
        always = (Candidate(name, name, "Repeat the task where it drifts", {}),)
        for candidate in always if name == "reanchor" else remedy.candidates(case):
            with remedy.apply(case, candidate) as change:
                rows.append(_measured(candidate.label, case, change.engine, before)[0])
    return {"rows": rows, "distances": distances}


def _measured(
    label: str, case: Case, engine: Engine, before: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Completion]]:
    items = case.subject.items
    with Stopwatch() as watch:
        answers = {c.id: c for c in engine.generate([i.request for i in items])}
    judged = [case.subject.judge(i, answers[i.request_id])["right"] for i in items]
    shares = [float(np.mean([r is True for r in right])) for right in judged]
    row: dict[str, Any] = {
        "change": label,
        "chains": len(shares),
        "right_steps": float(np.mean(shares)),
        "whole": sum(s == 1.0 for s in shares),
        "seconds": round(watch.seconds, 1),
        "foreign": watch.foreign,
        "shares": shares,
    }
    between = ""
    if before is not None:
        differences = np.subtract(shares, before["shares"])
        interval = mean_interval(differences)
        row |= {"difference": float(differences.mean()), "interval": [interval.low, interval.high]}
        between = f"{row['difference']:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
    print(
        f"{label:<40}{row['right_steps']:>12.3f}{between:>26}{row['whole']:>5}/{len(shares)}{row['seconds']:>9}",
        flush=True,
    )
    return row, answers


def _distances(case: Case, answers: Mapping[str, Completion]) -> list[float]:
    """ΔS of every ten steps to the beginning of their chain."""
    looks = []
    for item in case.subject.items:
        chain = chains_of(case)[item.question]
        lines = ChainDraft(chain, item.request, Draft(answers[item.request_id].text)).lines
        looks += [
            (chain.prompt, "".join(lines[i : i + EVERY])) for i in range(0, len(lines) - EVERY + 1, EVERY)
        ]
    if not looks:
        return []
    rows = load_sentence_encoder().encode([t for look in looks for t in look])
    return [context_distance(a, b[None]) for a, b in zip(rows[::2], rows[1::2], strict=True)]
