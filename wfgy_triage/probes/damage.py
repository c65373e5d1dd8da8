"""What the localization of a run found, read from its samples: what each thing that was exchanged brings back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wfgy_triage.engines.putback import ALL, HEAD
from wfgy_triage.localized import AnswersBack, Damage, PartDamage
from wfgy_triage.probes.lost import CACHE, ENGINE, LEFT_OUT, PART, PARTS, SAMPLER, Lost
from wfgy_triage.probes.paired import Payload
from wfgy_triage.probes.sampling import sampling_used
from wfgy_triage.store.records import Sample

WHOLE_KINDS = {
    ALL: "All weights",
    HEAD: "Output head",
    "attn": "Attention, all blocks",
    "mlp": "MLP, all blocks",
}


def damage(samples: Sequence[Sample], pair: Mapping[str, Payload], lost: Lost) -> Damage | None:
    """What the localization of a run found; None where it was not made.

    Args:
        samples: everything stored for the run.
        pair: comparison of the EXL2 side, by question; empty where the run makes none of its own.
        lost: what EXL2 loses.
    """
    reasons = {s.key.side: str(s.payload["reason"]) for s in samples if s.key.side.startswith(LEFT_OUT)}
    no_engine, no_parts = (reasons.get(LEFT_OUT + name, "") for name in (ENGINE, PARTS))
    sampler = lost.back(samples, SAMPLER)
    whole, questions, parts = _parts(samples, pair, lost)
    found = Damage(
        whole,
        questions,
        parts,
        cache=lost.back(samples, CACHE),
        engine=None if no_engine else lost.back(samples, ENGINE),
        engine_left_out=no_engine,
        sampler=sampler,
        sampling=sampling_used(samples, "exl2").words if sampler else "",
        parts_left_out=no_parts,
    )
    return None if found == Damage(0.0, 0, ()) else found


def _parts(
    samples: Sequence[Sample], pair: Mapping[str, Payload], lost: Lost
) -> tuple[float, int, tuple[PartDamage, ...]]:
    """The drift as it is, on how many questions it was measured, and what each part leaves of it."""
    compared: dict[str, dict[str, Payload]] = {}
    for sample in samples:
        if sample.key.side.startswith(PART):
            part = sample.key.side.removeprefix(PART)
            compared.setdefault(part, {})[sample.key.question] = sample.payload
    # With no part back: in the engine in which parts were put back, where the run has not compared that anyway.
    as_it_is = compared.pop(ENGINE, None) or pair
    scored = [q for q in as_it_is if compared and all(q in found for found in compared.values())]
    if not scored:
        return 0.0, 0, ()
    backs: dict[str, AnswersBack | None] = {part: lost.back(samples, part) for part in compared}
    parts = tuple(
        PartDamage(
            part,
            part_label(part),
            _mean_kl([found[q] for q in scored]),
            back.restored if (back := backs[part]) else None,
            back.asked if back else 0,
        )
        for part, found in sorted(compared.items())
    )
    return _mean_kl([as_it_is[q] for q in scored]), len(scored), parts


def part_label(part_id: str) -> str:
    """The words for a part, blocks counted from 1: `attn 0-5` is "Attention, blocks 1 to 6"."""
    kind, _, span = part_id.partition(" ")
    if not span:
        return WHOLE_KINDS.get(kind, kind)
    first, last = (int(block) + 1 for block in span.split("-"))
    blocks = f"block {first}" if first == last else f"blocks {first} to {last}"
    return f"{'Attention' if kind == 'attn' else 'MLP'}, {blocks}"


def _mean_kl(payloads: Sequence[Payload]) -> float:
    """Mean over all tokens, nats."""
    return float(np.mean(np.concatenate([np.asarray(p["kl"], np.float64) for p in payloads])))
