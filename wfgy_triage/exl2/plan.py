"""Which preset each linear of a folder gets: the rate for the whole, and rates of its own for protected parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.exl2.allocation import Linear, Sensitivity, allocate, rate
from wfgy_triage.exl2.modules import DECODER_LINEARS, EMBEDDING, HEAD, FolderContents, module_order
from wfgy_triage.exl2.parts import rates_by_linear
from wfgy_triage.exl2.presets import HEAD_PRESETS, Preset
from wfgy_triage.exl2.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """What is written for a model.

    Attributes:
        presets: by linear, the head included.
        decoder_bpw: stored bits per weight over all decoder linears, protected ones included.
        rest_bpw: the same over those that are not protected; equal to `decoder_bpw` where none is.
        head_bpw: stored bits per weight of the head.
    """

    presets: Mapping[str, Preset]
    decoder_bpw: float
    rest_bpw: float
    head_bpw: float


def plan_presets(source: FolderContents, recipe: Recipe, sensitivity: Mapping[str, Sensitivity]) -> Plan:
    """Choose presets for a whole FP16 folder: the rest meets the recipe's rate, every protected rate meets its own.

    Raises:
        InputError: a rate that cannot be met, or a part that is not there.
        PrerequisiteError: a decoder of another layout.
    """
    linears = decoder_linears(source)
    rates = rates_by_linear(recipe.protect, [x.key for x in linears])
    rest = [x for x in linears if x.key not in rates]
    choice = allocate_at({**{x.key: recipe.bpw for x in rest}, **rates}, linears, sensitivity)
    presets = {**choice, HEAD: HEAD_PRESETS[recipe.head_bits]}
    decoder = rate(linears, choice)
    return Plan(
        presets,
        decoder_bpw=decoder,
        rest_bpw=rate(rest, choice) if rest else decoder,
        head_bpw=rate([head_linear(source)], presets),
    )


def allocate_at(
    rates: Mapping[str, float], linears: Sequence[Linear], sensitivity: Mapping[str, Sensitivity]
) -> dict[str, Preset]:
    """Presets for the linears that have a rate; those with one rate share its budget.

    Raises:
        InputError: a rate that cannot be met.
    """
    known = [replace(x, sensitivity=sensitivity.get(x.key, x.sensitivity)) for x in linears if x.key in rates]
    choice: dict[str, Preset] = {}
    for bpw in sorted(set(rates.values())):
        choice.update(allocate([x for x in known if rates[x.key] == bpw], bpw))
    return {x.key: choice[x.key] for x in known}


def decoder_linears(source: FolderContents) -> list[Linear]:
    """The decoder's linears of an FP16 folder, in model order.

    Raises:
        InputError: the folder is quantized.
        PrerequisiteError: a layout that cannot be quantized here.
    """
    if source.kind != "fp16":
        raise InputError(
            f"{source.folder.name} is already quantized.", "Give the original FP16 folder, or dequantize."
        )
    linears = []
    for name in source.plain:
        module = name.removesuffix(".weight")
        if module != name and module_order(module)[1] in DECODER_LINEARS:
            rows, columns = source.tensors[name].shape
            linears.append(Linear(module, columns, rows))
    if {module_order(linear.key)[1] for linear in linears} != set(DECODER_LINEARS):
        raise PrerequisiteError(
            f"{source.folder.name} has no decoder of a layout that can be quantized here.",
            "Llama-like models (Llama, Mistral, Qwen) can; use the library's own converter for others.",
        )
    return sorted(linears, key=lambda linear: module_order(linear.key))


def head_linear(source: FolderContents) -> Linear:
    """The head, which may be the embedding."""
    shape = source.tensors[weight_name(source, HEAD)].shape
    return Linear(HEAD, shape[1], shape[0])


def weight_name(source: FolderContents, key: str) -> str:
    """The tensor that holds the weight of a linear in an FP16 folder."""
    name = f"{key}.weight"
    return EMBEDDING if key == HEAD and name not in source.plain else name
