"""Which re-quantized siblings are worth trying, and how large each would be. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wfgy_triage.exl2.modules import HEAD, FolderContents, read_folder
from wfgy_triage.exl2.parts import ALL, HEADS, KINDS, rates_by_linear
from wfgy_triage.exl2.plan import decoder_linears, head_linear, plan_presets
from wfgy_triage.exl2.presets import HEAD_PRESETS
from wfgy_triage.exl2.recipe import Recipe, read_recipe

RAISE_HEAD, PROTECT, RAISE = "raise_head_bits", "protect_blocks", "raise_bpw"
"""Ids of the remedies, as in `fixmap/remedies.yaml`."""

RATES = (3.0, 3.5, 4.2, 5.0, 6.0, 8.0)
"""Rates for the whole decoder that are tried, in bits per weight."""
PROTECTED_RATES = (4.2, 6.0, 8.1)
"""Rates that are tried for a part; 8.1 is all that the format can give."""
HEADS_TRIED = (6, 8)
SMALLEST_STEP = 0.4
"""A rate that lies closer above the current one is no trial of its own."""
MOST_PARTS = 3
"""So many of the most damaging parts are protected together at most."""


@dataclass(frozen=True)
class Candidate:
    """A sibling to try.

    Attributes:
        remedy: id of the remedy that it is a form of.
        recipe: how it is made.
        size_bytes: estimate of its weight files.
        more_bytes: the same less those of the sibling in use.
    """

    remedy: str
    recipe: Recipe
    size_bytes: int
    more_bytes: int


def next_recipes(exl2_dir: Path, parts: Sequence[str] = ()) -> dict[str, tuple[Candidate, ...]]:
    """What can be tried from an EXL2 folder, for each remedy the smallest file first.

    Args:
        exl2_dir: the sibling in use.
        parts: ids of its parts that do damage, the worst first (`mlp 25-29`); without any nothing is protected.

    Returns:
        candidates by remedy id; empty where the sibling already has what the remedy offers.

    Raises:
        InputError: the folder is not EXL2, or has no such part.
        PrerequisiteError: it cannot be used.
    """
    contents = read_folder(Path(exl2_dir))
    now = read_recipe(contents)
    head = now.head_bits if now.head_bits in HEAD_PRESETS else max(HEAD_PRESETS)
    recipes = {
        RAISE_HEAD: [replace(now, head_bits=bits) for bits in HEADS_TRIED if bits > now.head_bits],
        PROTECT: list(_protected(now, [p for p in parts if p not in {ALL, *HEADS}])),
        RAISE: [replace(now, bpw=bpw, head_bits=head) for bpw in RATES if bpw >= now.bpw + SMALLEST_STEP],
    }
    return {remedy: _by_size(contents, now, remedy, found) for remedy, found in recipes.items()}


def starts_from_sibling(recipe: Recipe, now: Recipe) -> bool:
    """Whether a recipe keeps what the sibling has and only adds to it, so that the rest can be copied."""
    kept = all(recipe.protect.get(part, 0) >= bpw for part, bpw in now.protect.items())
    return (
        kept and recipe.bpw == now.bpw and recipe.method == now.method and recipe.head_bits >= now.head_bits
    )


def estimated_bytes(contents: FolderContents, recipe: Recipe) -> int:
    """Size of the weight files of a sibling made by a recipe.

    Args:
        contents: the sibling in use.
        recipe: how the new one is made.

    Raises:
        InputError: a part of the recipe is not there.
    """
    now = read_recipe(contents)
    copied = starts_from_sibling(recipe, now)
    rates = rates_by_linear(recipe.protect, [key for key in contents.exl2 if key != HEAD])
    bits = sum(meta.nbytes for meta in contents.tensors.values()) * 8.0
    for key, layout in contents.exl2.items():
        size = layout.in_features * layout.out_features
        old = layout.bpw * size
        if key == HEAD:
            preset = HEAD_PRESETS.get(recipe.head_bits)
            same = preset is None or recipe.head_bits == now.head_bits
            new = (
                old
                if same or preset is None
                else preset.storage_bits(layout.in_features, layout.out_features)
            )
        else:
            new = rates.get(key, recipe.bpw) * size
            if copied:
                new = max(old, new) if key in rates else old
        bits += new - old
    return round(bits / 8)


def whole_bytes(fp16: FolderContents, recipe: Recipe) -> int:
    """Size of the weight files of a folder that is made from FP16 alone.

    Args:
        fp16: the FP16 folder.
        recipe: how the new one is made.

    Raises:
        InputError: a rate that cannot be met, or a part that is not there.
        PrerequisiteError: a decoder of another layout.
    """
    plan, head = plan_presets(fp16, recipe, {}), head_linear(fp16)
    bits = sum(meta.nbytes for meta in fp16.tensors.values()) * 8
    for linear in (*decoder_linears(fp16), head):
        stored = fp16.tensors.get(f"{linear.key}.weight")  # a tied head has none of its own
        bits += plan.presets[linear.key].storage_bits(linear.in_features, linear.out_features)
        bits -= 0 if stored is None else stored.nbytes * 8
    return round(bits / 8)


def weights_made(contents: FolderContents, recipe: Recipe) -> int:
    """How many weights have to be quantized for a sibling; those that are copied do not count."""
    now = read_recipe(contents)
    keys = [key for key in contents.exl2 if key != HEAD]
    made = set(keys)
    if starts_from_sibling(recipe, now):
        fresh = {part: bpw for part, bpw in recipe.protect.items() if now.protect.get(part) != bpw}
        made = set(rates_by_linear(fresh, keys))
    if HEAD in contents.exl2 and recipe.head_bits != now.head_bits:
        made.add(HEAD)
    return sum(contents.exl2[key].in_features * contents.exl2[key].out_features for key in made)


def _protected(now: Recipe, parts: Sequence[str]) -> Iterable[Recipe]:
    """The worst parts, one to three of them, and all blocks of the worst part's kind: damage is often spread out."""
    groups = [tuple(parts[:count]) for count in range(1, min(MOST_PARTS, len(parts)) + 1)]
    groups += [(kind,) for part in parts[:1] if (kind := part.split()[0]) in KINDS]
    for group in groups:
        for bpw in PROTECTED_RATES:
            if bpw >= now.bpw + SMALLEST_STEP:
                yield replace(now, protect={**now.protect, **dict.fromkeys(group, bpw)})


def _by_size(
    contents: FolderContents, now: Recipe, remedy: str, recipes: Iterable[Recipe]
) -> tuple[Candidate, ...]:
    current = estimated_bytes(contents, now)
    sized = [(estimated_bytes(contents, recipe), recipe) for recipe in recipes]
    grown = sorted((x for x in sized if x[0] > current), key=lambda x: x[0])
    return tuple(Candidate(remedy, recipe, size, size - current) for size, recipe in grown)
