"""Other checkpoints of the same model: more bits for the head, for the parts that do the damage, or for all weights.

Each is made on the spot from the FP16 side and kept, so that a second run finds it. A change that only adds bits copies
everything else from the folder in use, byte for byte.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wfgy_triage.engines.in_turn import make_room
from wfgy_triage.errors import TriageError
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.recipe import Recipe, read_recipe
from wfgy_triage.localized import Damage
from wfgy_triage.probes.damage import damage, part_label
from wfgy_triage.probes.lost import Lost
from wfgy_triage.probes.paired import Sides
from wfgy_triage.remedies import recipes
from wfgy_triage.remedies.asking import STAGE
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError
from wfgy_triage.remedies.requantize import Siblings

_log = logging.getLogger(__name__)
SMALLEST_STEP = 1.0
"""Bits per weight between two rates that are tried: each trial costs time."""
PROTECTED_RATE = 6.0
"""Rate of protected parts that is tried; fewer bits would make more trials, more would hardly help."""
TRIAL_ROWS = 4
"""Token rows on which the new linears of a copied sibling are calibrated: drift as on all 16 rows to three digits, in a
fifth of the time (docs/remedies.md). A whole new checkpoint is calibrated on all."""
RATE_BELOW = 0.1
"""A registered folder stands for a rate that it misses by no more bits per weight than this."""
DOES_DAMAGE = 0.1
"""A part is protected only where putting it back ends at least this share of the drift."""


class Requantize:
    """One of the three remedies that make another checkpoint."""

    def __init__(self, remedy_id: str) -> None:
        self.id = remedy_id

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """The smallest file first."""
        parts = _damaging(case) if self.id == recipes.PROTECT else ()
        if self.id == recipes.PROTECT and not parts:
            raise NotApplicableError(
                "Putting weights back did not show a part that does more damage than the rest."
            )
        found = recipes.next_recipes(case.pair.exl2, parts)[self.id]
        if not found:
            raise NotApplicableError("The quantized model has that many bits already.")
        chosen = _spread([c.recipe for c in found]) if self.id == recipes.RAISE else [c.recipe for c in found]
        if self.id == recipes.PROTECT:
            # The worst part, and all blocks of its kind: what lies between costs a trial each and brings little.
            chosen = [r for r in chosen if list(r.protect.values()) == [PROTECTED_RATE]]
        if self.id == recipes.RAISE:
            ready = _registered(case)
            chosen = [next((r for r, _ in ready if _serves(r, wanted)), wanted) for wanted in chosen]
        return [self._timed(self._candidate(r), case) for r in chosen]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The sibling, made or found, beside the loaded pair."""
        context, siblings, recipe = case.context, self._siblings(case), _recipe(case, candidate)
        if (registered := self._ready(case, recipe)) is not None:
            note = f"Tried on the registered folder {registered.name}; nothing had to be made."
            with closing(case.shop.open_exl2(registered)) as engine:
                yield Change(engine, note=note)
            return

        def progress(done: int, total: int, label: str) -> None:
            context.progress(STAGE, f"Quantizing again: {candidate.label}", done, total)

        make_room(context.exl2)  # making one may take a model of its own
        folder = siblings.make(case.pair.fp16, case.pair.exl2, recipe, progress, context.should_stop)
        if folder is None:
            raise NotApplicableError("Stopped while it was being made.")
        made = siblings.made(folder)
        note = (
            f"{made.decoder_bpw:.2f} bits per weight, head {made.head_bits}; "
            f"calibrated on {made.calibration_rows} rows, made in {made.seconds:.0f} s."
        )
        with closing(case.shop.open_exl2(folder)) as engine:
            yield Change(engine, note=note)

    def _siblings(self, case: Case) -> Siblings:
        rows = None if self.id == recipes.RAISE else TRIAL_ROWS
        return Siblings(case.shop.folder / "siblings", calibration_rows=rows, statistics=case.shop.statistics)

    def _ready(self, case: Case, recipe: Recipe) -> Path | None:
        """A registered folder made like this."""
        same = [f for r, f in _registered(case) if (r.bpw, r.head_bits) == (recipe.bpw, recipe.head_bits)]
        return next(iter(same), None) if self.id == recipes.RAISE else None

    def _timed(self, candidate: Candidate, case: Case) -> Candidate:
        """The candidate with the least time that making its folder takes."""
        recipe = _recipe(case, candidate)
        if self._ready(case, recipe) is not None:
            return candidate
        seconds = self._siblings(case).seconds(case.pair.fp16, case.pair.exl2, recipe)
        return replace(candidate, seconds=seconds)

    def _candidate(self, recipe: Recipe) -> Candidate:
        patch: dict[str, Any] = {"quantize.bpw": recipe.bpw, "quantize.head_bits": recipe.head_bits}
        if self.id == recipes.RAISE_HEAD:
            name, label = f"{recipe.head_bits}", f"{recipe.head_bits} bits for the output head"
        elif self.id == recipes.PROTECT:
            parts = "+".join(recipe.protect)
            name = f"{parts} {PROTECTED_RATE:g}"
            label = f"{PROTECTED_RATE:g} bits for {_listed(recipe.protect)}"
            patch["quantize.protect"] = dict(recipe.protect)
        else:
            name, label = f"{recipe.bpw:g}", f"Quantize again at {recipe.bpw:g} bits per weight"
        return Candidate(f"{self.id} {name}", self.id, label, patch)


def _recipe(case: Case, candidate: Candidate) -> Recipe:
    """The recipe of a candidate: that of the folder in use, with what the patch says."""
    patch = candidate.patch
    return replace(
        read_recipe(read_folder(case.pair.exl2)),
        bpw=float(patch["quantize.bpw"]),
        head_bits=int(patch["quantize.head_bits"]),
        protect=dict(patch.get("quantize.protect", {})),
    )


def _registered(case: Case) -> list[tuple[Recipe, Path]]:
    """Folders of this model that are there already, and how they were made; what cannot be read is left out."""
    found = []
    for folder in case.shop.siblings:
        try:
            found.append((read_recipe(read_folder(folder)), folder))
        except TriageError as error:
            _log.info("a registered folder is not tried: %s", error)
    return [(recipe, folder) for recipe, folder in found if not recipe.protect]


def _serves(ready: Recipe, wanted: Recipe) -> bool:
    """Whether a folder that is there answers the question for which another would be made."""
    near = -RATE_BELOW <= ready.bpw - wanted.bpw < SMALLEST_STEP
    return near and ready.head_bits >= wanted.head_bits


def _spread(found: Sequence[Recipe]) -> list[Recipe]:
    """Rates at least a step apart, from the lowest."""
    chosen: list[Recipe] = []
    for recipe in sorted(found, key=lambda r: r.bpw):
        if not chosen or recipe.bpw >= chosen[-1].bpw + SMALLEST_STEP:
            chosen.append(recipe)
    return chosen


def _damaging(case: Case) -> tuple[str, ...]:
    """Parts that do damage, the worst first, as rung 8 of the ladder measured it."""
    samples = case.context.stored()
    read = case.subject.damage
    # Which parts do damage shows in what is left of the drift alone.
    found: Damage | None = read(samples) if read else damage(samples, Sides.of(samples).pair, Lost())
    if found is None:
        return ()
    single = [p for p in found.parts if p.id not in ("all", "head") and found.share(p) >= DOES_DAMAGE]
    return tuple(p.id for p in sorted(single, key=lambda p: p.left))


def _listed(protect: Mapping[str, float]) -> str:
    labels = [part_label(p) for p in protect]
    return f"{', '.join(labels[:-1])} and {labels[-1]}" if len(labels) > 1 else labels[0]


REMEDIES = {r: Requantize(r) for r in (recipes.RAISE_HEAD, recipes.PROTECT, recipes.RAISE)}
