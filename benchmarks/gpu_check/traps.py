"""Part `traps`: the known traps of the library are seen where they are set up, and not where they are not."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace

from benchmarks.faults import Fault, broken_copy, rope_missing
from benchmarks.gpu_check.agreement import summary, windows
from benchmarks.gpu_check.part import REAL, Bench, Outcome, passed_if
from wfgy_triage.doctor.finding import Outcome as Found
from wfgy_triage.doctor.folders import check_folders
from wfgy_triage.engine_settings import Attention
from wfgy_triage.engines.causality import future_effect, sees_the_future
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.exl2.headers import read_json
from wfgy_triage.exl2.positions import LIBRARY_THETA, rope_theta
from wfgy_triage.pairs import Pair


def run(bench: Bench) -> Outcome:
    """Each trap set and not set; NOT MEASURED where one of them cannot be set up with this model."""
    rows = [*prefill(bench), *positions(bench)]
    made = [r for r in rows if r["seen"] is not None]
    bad = [str(r["trap"]) for r in made if r["seen"] != r["expected"]]
    said = f"{len(made) - len(bad)} of {len(made)} cases as expected."
    if bad:
        return passed_if(False, f"{said} Not: {', '.join(bad)}.", rows)
    open_cases = [f"{r['trap']}: NOT MEASURED, {r['why']}." for r in rows if r["seen"] is None]
    if open_cases:
        return Outcome("NOT MEASURED", f"{said} {' '.join(open_cases)}", rows)
    return passed_if(True, said, rows)


def prefill(bench: Bench) -> list[dict[str, object]]:
    """Prompts read without a causal mask: PyTorch's attention as the library calls it.

    `run_part` hides the other back ends from this part's process.
    """
    rows: list[dict[str, object]] = []
    cases: tuple[tuple[Attention, bool], ...] = (("causal", False), ("installed", True))
    for attention, expected in cases:
        settings = replace(REAL, attention=attention)
        with closing(open_engine(bench.exl2[0], side="exl2", settings=settings)) as engine:
            effect = future_effect(engine)
            rows.append(
                {
                    "trap": f"prefill without a causal mask, attention: {attention}",
                    "seen": sees_the_future(engine, effect),
                    "expected": expected,
                    "effect": effect,
                    "engine": engine.info.engine_version,
                }
            )
    return rows


def positions(bench: Bench) -> list[dict[str, object]]:
    """rope_theta is not at the top level of config.json: the doctor names it, and the logits are others."""
    healthy = Pair("gpu-check", "gpu-check", bench.fp16, bench.exl2[0])
    if rope_theta(read_json(bench.exl2[0] / "config.json")) in (None, LIBRARY_THETA):
        why = f"since this model's base is the library's own, {LIBRARY_THETA:g}, and is read right without an entry"
        return [{"trap": "rope_theta missing", "seen": None, "expected": True, "why": why}]
    # Copies are hard links, which need one file system.
    source = Pair("gpu-check", "gpu-check", bench.work / "own" / "fp16", bench.work / "own" / "exl2")
    shutil.copytree(bench.fp16, source.fp16)
    shutil.copytree(bench.exl2[0], source.exl2)
    broken = broken_copy(source, Fault("rope", "", "rope_mismatch", rope_missing), bench.work / "rope")
    rows: list[dict[str, object]] = []
    for name, pair, expected in (("healthy", healthy, False), ("missing", broken, True)):
        found = {f.check: f for f in check_folders(pair, lambda done, total: None)}
        seen = found["same_rope"].state is Found.FAIL
        rows.append({"trap": f"rope_theta {name}", "seen": seen, "expected": expected})
    with (
        closing(open_engine(healthy.exl2, side="exl2", settings=REAL)) as right,
        closing(open_engine(broken.exl2, side="exl2", settings=REAL)) as wrong,
    ):
        apart = summary(list(score_pair(right, wrong, windows(right, 2))))
        own = summary(list(score_pair(right, right, windows(right, 2))))
        read = float(wrong.loaded.model.config.rotary_embedding_base)  # type: ignore[attr-defined]
    rows.append(
        {
            "trap": "rope_theta missing moves the logits",
            "seen": read == LIBRARY_THETA and apart["mean_kl"] > 10 * own["mean_kl"],
            "expected": True,
            "read": read,
            "mean_kl": apart["mean_kl"],
            "mean_kl_of_itself": own["mean_kl"],
        }
    )
    return rows
