"""The same checkpoint made once more: for one that is damaged, of another model, or unfit to be loaded.

Nothing of the folder in use is relied on but the bits per weight that it states; all weights come from the FP16 side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from wfgy_triage.errors import TriageError
from wfgy_triage.exl2.headers import read_json
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.presets import HEAD_PRESETS
from wfgy_triage.exl2.recipe import Recipe, read_recipe
from wfgy_triage.remedies.asking import STAGE
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError
from wfgy_triage.remedies.requantize import Siblings

AGAIN = "quantize_again"
HIGHEST = 8.0
"""Bits per weight that can be written; a folder may state a little more."""
DEFAULT_HEAD = 6
"""The library's default head option."""
UNKNOWN = (
    "The folder no longer says at how many bits per weight it was made. Make it again with the command "
    "'python -m wfgy_triage quantize', at a rate of your choice."
)


class QuantizeAgain:
    """Quantize the FP16 model anew, at the rate that the folder states."""

    id = AGAIN

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """One: the same bits per weight, head and protected parts."""
        recipe = stated_recipe(case.pair.exl2)
        patch: dict[str, Any] = {"quantize.bpw": recipe.bpw, "quantize.head_bits": recipe.head_bits}
        if recipe.protect:
            patch["quantize.protect"] = dict(recipe.protect)
        seconds = _siblings(case).seconds(case.pair.fp16, None, recipe)
        label = f"Quantize the FP16 model again at the same {recipe.bpw:g} bits per weight"
        return [Candidate(f"{self.id} {recipe.bpw:g}", self.id, label, patch, seconds)]

    @contextmanager
    def patched(self, case: Case, candidate: Candidate) -> Iterator[Path]:
        """The new folder, made or found."""

        def progress(done: int, total: int, label: str) -> None:
            case.context.progress(STAGE, candidate.label, done, total)

        recipe = _recipe(candidate)
        stop = case.context.should_stop
        folder = _siblings(case).make(case.pair.fp16, None, recipe, progress, stop)
        if folder is None:
            raise NotApplicableError("Stopped while it was being made.")
        yield folder

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """That folder, loaded."""
        with self.patched(case, candidate) as folder:
            made = _siblings(case).made(folder)
            note = f"{made.decoder_bpw:.2f} bits per weight, head {made.head_bits}; made in {made.seconds:.0f} s."
            with closing(case.shop.open_exl2(folder)) as engine:
                yield Change(engine, note=note)


def stated_recipe(folder: Path) -> Recipe:
    """At what rate a folder says that it was made; its tensors are asked only for what the configuration leaves out.

    Always by the method that keeps closest to FP16 (GPTQ), which is also what the command takes without one.

    Raises:
        NotApplicableError: it does not say.
    """
    stated, stored = _stated(folder), _stored(folder)
    bits = _number(stated.get("rest_bits", stated.get("bits"))) or (stored.bpw if stored else None)
    head = _number(stated.get("head_bits")) or (stored.head_bits if stored else DEFAULT_HEAD)
    if bits is None:
        raise NotApplicableError(UNKNOWN)
    protect = stated.get("protect")
    parts = {str(k): _number(v) for k, v in protect.items()} if isinstance(protect, dict) else {}
    return Recipe(
        bpw=min(bits, HIGHEST),
        head_bits=int(head) if head in HEAD_PRESETS else max(HEAD_PRESETS),
        protect={part: rate for part, rate in parts.items() if rate is not None},
    )


def _stated(folder: Path) -> Mapping[str, Any]:
    try:
        found = read_json(folder / "config.json").get("quantization_config")
    except TriageError:
        return {}
    return found if isinstance(found, dict) else {}


def _stored(folder: Path) -> Recipe | None:
    try:
        return read_recipe(read_folder(folder))
    except TriageError:
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _recipe(candidate: Candidate) -> Recipe:
    patch = candidate.patch
    protect = dict(patch.get("quantize.protect", {}))
    return Recipe(float(patch["quantize.bpw"]), int(patch["quantize.head_bits"]), protect)


def _siblings(case: Case) -> Siblings:
    return Siblings(case.shop.folder / "siblings", statistics=case.shop.statistics)


REMEDIES = {AGAIN: QuantizeAgain()}
