"""Some linears of an EXL2 sibling quantized again from FP16; every other tensor stays as it is, byte for byte.

The calibration text runs through the sibling, so the new linears are fitted to the inputs that they really get there;
the linears after them are not fitted to the change. That is what makes it one change and not two.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.exl2.allocation import Linear, Sensitivity
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.convert import QuantizeReport, announcer, calibration_of, check_method
from wfgy_triage.exl2.job import Job, Progress
from wfgy_triage.exl2.modules import DECODER_LINEARS, HEAD, QUANTIZED_PARTS, FolderContents, module_order
from wfgy_triage.exl2.parts import blocks_only, protected_head, rates_by_linear
from wfgy_triage.exl2.plan import allocate_at, decoder_linears, head_linear
from wfgy_triage.exl2.presets import HEAD_PRESETS, Preset
from wfgy_triage.exl2.recipe import Method, Recipe, partial_config, read_recipe
from wfgy_triage.exl2.sensitivity import sensitivities
from wfgy_triage.exl2.walker import LayerWalker, calibration_tokens, some_rows
from wfgy_triage.exl2.writer import copy_side_files, new_folder, save_tensors, write_json


def requantize_folder(
    fp16_dir: Path,
    exl2_dir: Path,
    out_dir: Path,
    *,
    protect: Mapping[str, float] | None = None,
    head_bits: int | None = None,
    method: Method = "gptq",
    calibration_files: Sequence[Path] | None = None,
    calibration_rows: int | None = None,
    walker: LayerWalker | None = None,
    statistics: Path | None = None,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Write a copy of an EXL2 folder in which some parts have more bits.

    A linear of a protected part that already has at least the bits that it would get stays as it is, so the part's
    rate can end up above the one asked for, never the sibling below its old one.

    Args:
        fp16_dir: the FP16 side.
        exl2_dir: the sibling to start from.
        out_dir: new folder; written completely or not at all.
        protect: bits per weight by part, see `parts.part_linears`.
        head_bits: head option; that of the sibling without it.
        method: `gptq` needs a walker over `fp16_dir`; `rtn` keeps the feature order of the sibling and needs none.
        calibration_files: UTF-8 text; the library's standard mix without them.
        calibration_rows: fewer token rows for GPTQ than the text has, for speed; the folder says how many were used.
        walker: its weights are replaced: use it once.
        statistics: folder in which sensitivities are kept for the next sibling.
        progress: told before each linear, unchanged ones included; what it raises stops the work.

    Raises:
        InputError: a part that is not there, a rate that is no gain, a sibling that is not EXL2.
        PrerequisiteError: folders that are no siblings or cannot be used, missing calibration text, a full disk.
    """
    started = time.perf_counter()
    check_method(method, walker)
    with (
        Checkpoint.open(Path(fp16_dir)) as source,
        Checkpoint.open(Path(exl2_dir)) as sibling,
        new_folder(Path(out_dir)) as folder,
    ):
        old = read_recipe(sibling.contents)
        want = Recipe(old.bpw, protected_head(protect or {}, head_bits or 0), protect or {}, method)
        chosen = linears_that_gain(source.contents, sibling.contents, want, {})
        check_siblings(source, sibling)
        tokens = calibration_tokens(walker, calibration_files) if walker else None
        if walker is not None and tokens is not None and set(chosen) != {HEAD}:
            announce = announcer(progress, _passes(source.contents, chosen))
            found = sensitivities(walker, tokens, source.contents.folder, statistics, announce)
            chosen = linears_that_gain(source.contents, sibling.contents, want, found)
        passes = _passes(source.contents, chosen) if walker else None
        job = Job(
            source, chosen, method, progress, lambda key, weight: _weight_of(sibling, key, weight), passes
        )
        if walker is not None and tokens is not None:
            tokens = some_rows(tokens, calibration_rows)
            job.walk(walker, tokens)
        job.round_unmet(lambda key, features: _order_of(sibling, key, features))
        save_tensors(folder, "output", _with_changes(sibling, job.tensors))
        copy_side_files(sibling.contents.folder, folder)
        rates = _Rates.of(source.contents, sibling.contents, chosen)
        calibration = calibration_of(tokens, calibration_files)
        made = replace(
            want,
            head_bits=want.head_bits if HEAD in chosen else old.head_bits,
            protect={**old.protect, **blocks_only(want.protect)},
        )
        write_json(folder / "config.json", partial_config(sibling.config, made, rates.decoder, calibration))
        job.report_done()
    return QuantizeReport(
        folder=Path(out_dir),
        method=method,
        decoder_bpw=rates.decoder,
        head_bpw=rates.head,
        head_bits=made.head_bits,
        presets={key: preset.name for key, preset in chosen.items()},
        calibration=calibration,
        seconds=time.perf_counter() - started,
    )


def linears_that_gain(
    source: FolderContents,
    sibling: FolderContents,
    want: Recipe,
    sensitivity: Mapping[str, Sensitivity],
) -> dict[str, Preset]:
    """The linears that are to get more bits than they have, and their presets.

    Args:
        source: the FP16 folder.
        sibling: the EXL2 folder.
        want: parts and head option; its rate for the rest plays no role.
        sensitivity: decides who gets what within a part.

    Raises:
        InputError: none gains, a part is not there, or there is no such head option.
    """
    linears = decoder_linears(source)
    choice = allocate_at(rates_by_linear(want.protect, [x.key for x in linears]), linears, sensitivity)
    if want.head_bits:
        if want.head_bits not in HEAD_PRESETS:
            raise InputError(f"There is no {want.head_bits}-bit head.", "Choose 2, 3, 4, 5, 6 or 8.")
        linears.append(head_linear(source))
        choice[HEAD] = HEAD_PRESETS[want.head_bits]
    gain = {
        x.key: choice[x.key]
        for x in linears
        if x.key in choice
        and choice[x.key].storage_bits(x.in_features, x.out_features) > stored_bits(sibling, x)
    }
    if not gain:
        raise InputError(
            f"{sibling.folder.name} already has the bits asked for.",
            "Ask for a higher rate, or another part.",
        )
    return gain


def stored_bits(sibling: FolderContents, linear: Linear) -> float:
    """Bits that a linear takes in the sibling; 16 a weight where it is not quantized."""
    layout = sibling.exl2.get(linear.key)
    return (layout.bpw if layout else 16.0) * linear.size


def check_siblings(source: Checkpoint, sibling: Checkpoint) -> None:
    """Refuse folders that are not one model: new linears must fit what surrounds them.

    Raises:
        PrerequisiteError: a linear has another shape, or a tensor that both store as plain numbers differs (norms:
            by more than the library rounds them).
    """
    linears = {x.key: x for x in decoder_linears(source.contents)}
    for key, layout in sibling.contents.exl2.items():
        linear = head_linear(source.contents) if key == HEAD else linears.get(key)
        if linear is None or (layout.in_features, layout.out_features) != (
            linear.in_features,
            linear.out_features,
        ):
            raise _no_siblings(source, sibling, key)
    for name in set(sibling.plain_names()) & set(source.plain_names()):
        ours, theirs = (side.plain(name).to(torch.float16) for side in (source, sibling))
        if not (_same_norm(ours, theirs) if name.endswith("norm.weight") else torch.equal(ours, theirs)):
            raise _no_siblings(source, sibling, name)


def _same_norm(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Equal up to one rounding at w + 1: the library's converter writes Gemma's norms as fp16(w + 1) - 1."""
    step = torch.finfo(torch.float16).eps * (1 + ours.float().abs())
    return ours.shape == theirs.shape and bool(((ours.float() - theirs.float()).abs() <= step).all())


def _no_siblings(source: Checkpoint, sibling: Checkpoint, name: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"{sibling.contents.folder.name} was not made from {source.contents.folder.name}: {name} differs.",
        "Give the FP16 folder that this EXL2 folder was quantized from.",
    )


@dataclass(frozen=True)
class _Rates:
    decoder: float
    head: float | None

    @classmethod
    def of(cls, source: FolderContents, sibling: FolderContents, chosen: Mapping[str, Preset]) -> _Rates:
        def bits(linear: Linear) -> float:
            preset = chosen.get(linear.key)
            if preset is None:
                return stored_bits(sibling, linear)
            return preset.storage_bits(linear.in_features, linear.out_features)

        linears, head = decoder_linears(source), head_linear(source)
        stored = HEAD in chosen or HEAD in sibling.exl2
        return cls(
            sum(map(bits, linears)) / sum(x.size for x in linears), bits(head) / head.size if stored else None
        )


def _passes(source: FolderContents, chosen: Mapping[str, Preset]) -> int:
    """How many linears a walk passes until it has met the last chosen one."""
    if HEAD in chosen:
        return len(decoder_linears(source)) + 1
    place = (module_order(key) for key in chosen)
    return max(block * len(DECODER_LINEARS) + DECODER_LINEARS.index(name) for block, name in place) + 1


def _weight_of(sibling: Checkpoint, key: str, weight: torch.Tensor) -> torch.Tensor:
    """The sibling's weight of a linear; the FP16 one where it is not quantized there."""
    return sibling.decode(key) if key in sibling.contents.exl2 else weight


def _order_of(sibling: Checkpoint, key: str, features: int) -> torch.Tensor:
    """The order in which the sibling stores the features of a linear."""
    if key not in sibling.contents.exl2:
        return torch.arange(features)
    return torch.argsort(torch.from_numpy(sibling.row_order(key)))


def _with_changes(sibling: Checkpoint, new: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tensors of the sibling in their order, the new linears in place of the old."""
    replaced = {name.rsplit(".", 1)[0] for name in new}
    tensors = {}
    for name in sibling.contents.tensors:
        module, _, part = name.rpartition(".")
        if module in replaced and part in QUANTIZED_PARTS:
            continue
        tensors[name] = sibling.stored(name)
    return {**tensors, **new}
