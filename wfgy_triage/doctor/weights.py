"""Rung 3: is the checkpoint intact, finite, and a rounded copy of this FP16 model? One matrix at a time in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from wfgy_triage.doctor.finding import Finding, failed, passed, skipped, warned
from wfgy_triage.doctor.kept import Kept
from wfgy_triage.doctor.layer_errors import LayerReport, judge_layers
from wfgy_triage.doctor.matrices import compare, matrix_pairs, shape_fault
from wfgy_triage.doctor.patches import json_patch
from wfgy_triage.doctor.side import Side
from wfgy_triage.errors import TriageError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.headers import folder_tensors
from wfgy_triage.exl2.inspect import report_contents
from wfgy_triage.exl2.joined import taken_apart
from wfgy_triage.exl2.modules import HEAD, FolderContents, tied_head

FP16_MAX = 65504.0
"""Largest number that FP16 holds; the library casts BF16 and FP32 tensors to it."""
COMPUTED = ("rotary_emb.inv_freq", ".masked_bias", ".attn.bias")
"""Endings of tensors that older checkpoints carry and models compute themselves."""
Progress = Callable[[int, int], None]
_compared: Kept[tuple[list[Finding], int]] = Kept(8)
"""What the stored numbers of two sets of files say, and how many matrices that took."""


def check_weights(fp16: Side, exl2: Side, progress: Progress) -> list[Finding]:
    """All checks of the stored tensors.

    Args:
        fp16: the baseline folder.
        exl2: the quantized folder.
        progress: told how many of how many matrices are compared.
    """
    usable = _usable(fp16, exl2)
    ours, theirs = fp16.contents, exl2.contents
    found = [usable, _intact(fp16, exl2), _tie(fp16, exl2)]
    if isinstance(theirs, str) or isinstance(ours, str):
        side, why = ("EXL2", theirs) if isinstance(theirs, str) else ("FP16", ours)
        rest = (
            "weight_types", "quantization_block", "baseline_unquantized", "finite_weights", "same_base_model",
            "even_layers",
        )  # fmt: skip
        return [*found, *(skipped(check, f"{side}: {why}") for check in rest)]
    found += [_types(theirs), _block(theirs), _baseline(ours)]
    values, count = _compared.get(_files_of(ours, theirs), lambda: _values(ours, theirs, progress))
    if count:
        progress(count, count)
    return [*found, *values]


def _usable(fp16: Side, exl2: Side) -> Finding:
    refused = [f"{s.name}: {s.refusal}" for s in (fp16, exl2) if s.refusal]
    if refused:
        return failed("folder_usable", " ".join(refused))
    return passed("folder_usable", "Both folders hold configuration, tokenizer and safetensors only.")


def _intact(fp16: Side, exl2: Side) -> Finding:
    for side in (exl2, fp16):
        if side.refusal or not side.readable:
            return skipped("checkpoint_intact", f"{side.name}: the folder is not opened.")
    for side in (exl2, fp16):
        if isinstance(side.contents, str):
            return failed("checkpoint_intact", f"{side.name}: {side.contents}")
    theirs = _modules(exl2.contents)
    ours = taken_apart(_modules(fp16.contents), theirs)
    # A tied head may be left out or stored on its own.
    missing = sorted(n for n in ours - theirs if n != HEAD)
    extra = sorted(n for n in theirs - ours if n != HEAD)
    if missing:
        return failed("checkpoint_intact", f"EXL2 lacks {_listed(missing)}, which FP16 has.")
    if extra:
        return warned("checkpoint_intact", f"EXL2 has {_listed(extra)}, which FP16 does not have.")
    kind = exl2.contents
    count = len(kind.exl2) + len(kind.gptq) if isinstance(kind, FolderContents) else 0
    return passed(
        "checkpoint_intact", f"All tensors are there; {count} quantized matrices have legal groups."
    )


def _modules(contents: FolderContents | str) -> set[str]:
    """Names of all stored weights: `x` for a linear `x` in any form, tensors of norms and biases by full name."""
    if isinstance(contents, str):
        return set()
    with Checkpoint(contents) as checkpoint:
        plain = {n for n in checkpoint.plain_names() if not n.endswith(COMPUTED)}
    return {n.removesuffix(".weight") for n in plain} | set(contents.exl2) | set(contents.gptq)


def _tie(fp16: Side, exl2: Side) -> Finding:
    tensors = [_stored_names(side) for side in (fp16, exl2)]
    if not (fp16.readable and exl2.readable) or any(t is None for t in tensors):
        return skipped("same_tie", "A config.json or the tensor names cannot be read.")
    own = [any(n.startswith(f"{HEAD}.") for n in t or ()) for t in tensors]
    ties = [tied_head(s.config) for s in (fp16, exl2)]
    shared = not own[0] if ties[0] is None else ties[0]
    patch = json_patch("config.json", {"tie_word_embeddings": shared})
    if ties[1] is False and not own[1]:
        return failed(
            "same_tie",
            "EXL2's config.json says that the output head is stored on its own, but there is none "
            f"(FP16 {'shares it with the embedding' if shared else 'has one'}).",
            patch,
        )
    if not shared and own[0] and not own[1]:
        return failed(
            "same_tie", "FP16 has an output head of its own; EXL2 uses the embedding instead.", patch
        )
    if None not in ties and ties[0] != ties[1]:
        return warned("same_tie", f"tie_word_embeddings: FP16 {ties[0]}, EXL2 {ties[1]}.", patch)
    where = "stored on its own" if own[1] else "the embedding"
    return passed("same_tie", f"The EXL2 output head is {where}; the flags agree.")


def _stored_names(side: Side) -> set[str] | None:
    """Tensor names, also of a folder that fails its checks as long as the files' headers can be read."""
    if isinstance(side.contents, FolderContents):
        return set(side.contents.tensors)
    try:
        return set(folder_tensors(side.folder)) if not side.refusal else None
    except TriageError:
        return None


def _types(theirs: FolderContents) -> Finding:
    large = [
        n for n in theirs.plain if theirs.tensors[n].dtype == "F32" and len(theirs.tensors[n].shape) == 2
    ]
    if large:
        return warned(
            "weight_types", f"EXL2 stores {_listed(large)} in 32 bits; the library rounds them to 16."
        )
    kinds = sorted({theirs.tensors[n].dtype for n in theirs.plain})
    return passed(
        "weight_types", f"Tensors that are not quantized are stored as {', '.join(kinds) or 'nothing'}."
    )


def _block(theirs: FolderContents) -> Finding:
    notes = [n for n in report_contents(theirs).anomalies if "quantization_config" in n or "declares" in n]
    if notes:
        return warned("quantization_block", " ".join(notes))
    return passed("quantization_block", "The block agrees with the tensors.")


def _baseline(ours: FolderContents) -> Finding:
    if ours.kind != "fp16":
        return failed("baseline_unquantized", f"The FP16 folder holds {ours.kind.upper()} weights.")
    return passed("baseline_unquantized", "The FP16 folder holds ordinary weights.")


def _files_of(*sides: FolderContents) -> tuple[tuple[tuple[int, int, int, int], ...], ...]:
    """Identity, size and time of the files with the tensors, wherever links to them lie."""
    stats = ([path.stat() for path in sorted({m.file for m in s.tensors.values()})] for s in sides)
    return tuple(tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in side) for side in stats)


def _values(ours: FolderContents, theirs: FolderContents, progress: Progress) -> tuple[list[Finding], int]:
    with Checkpoint(ours) as baseline, Checkpoint(theirs) as quantized:
        strange = [*_not_finite("FP16", baseline), *_not_finite("EXL2", quantized)]
        finite = (
            failed("finite_weights", f"{' '.join(strange[:3])}")
            if strange
            else passed("finite_weights", "No NaN and no infinity in any tensor of either side.")
        )
        if ours.kind != "fp16":
            why = "The baseline is quantized itself."
            return [finite, *(skipped(c, why) for c in ("same_base_model", "even_layers"))], 0
        pairs = list(matrix_pairs(baseline, quantized))
        shapes = shape_fault(pairs, ours, theirs)
        if shapes or not pairs:
            why = "The matrices do not have the same shapes." if shapes else "No matrix has a counterpart."
            base = failed("same_base_model", shapes) if shapes else skipped("same_base_model", why)
            return [finite, base, skipped("even_layers", why)], 0
        errors = []
        for number, pair in enumerate(pairs):
            progress(number, len(pairs))
            errors.append(compare(baseline, quantized, pair))
    return [finite, *_layer_findings(judge_layers(errors), len(errors))], len(pairs)


def _not_finite(side: str, checkpoint: Checkpoint) -> Iterator[str]:
    """Tensors with NaN, infinity or numbers beyond FP16, in words."""
    for name in checkpoint.plain_names():
        tensor = checkpoint.plain(name)
        largest = float(tensor.abs().max()) if tensor.numel() else 0.0  # NaN wins over every number
        if not np.isfinite(largest):
            bad = int((~torch.isfinite(tensor)).sum())
            yield f"{side}: {name} holds {bad} of {tensor.numel()} numbers that are NaN or infinite."
        elif largest > FP16_MAX and side == "EXL2":
            yield f"{side}: {name} reaches {largest:.3g}, which FP16 cannot hold; the library makes it infinite."


def _layer_findings(report: LayerReport, count: int) -> list[Finding]:
    worst = report.largest
    if report.other_model:
        seen = (
            f"{worst.key} and most of the {count} matrices do not resemble the FP16 ones (typical relative error "
            f"{report.median:.2f}; unrelated matrices are near 1.4)."
        )
        return [failed("same_base_model", seen), skipped("even_layers", "The two are not the same model.")]
    seen = f"{count} decoded matrices compared: typical relative error {report.median:.3f}."
    base = passed("same_base_model", seen)
    if report.elsewhere is not None:
        seen += f" That is {report.elsewhere:.1f} times what the bits explain."
        base = warned("same_base_model", seen)
    if not report.damaged:
        told = f"The largest relative error is {worst.error:.3f}, in {worst.key} at {worst.bits:.1f} bits."
        return [base, passed("even_layers", told)]
    told = "; ".join(f"{d.key}: {d.looks}" for d in report.damaged[:3])
    more = f"; and {len(report.damaged) - 3} more" if len(report.damaged) > 3 else ""
    return [base, failed("even_layers", f"{told}{more}.")]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
