"""What a checkpoint holds: bits per layer, rates, size, and what looks odd. Torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from wfgy_triage.exl2.gptq_layout import GptqLayout
from wfgy_triage.exl2.layout import LinearLayout
from wfgy_triage.exl2.modules import HEAD, FolderContents, Kind, module_order, read_folder

_BPW_TOLERANCE = 0.1


@dataclass(frozen=True)
class LayerBits:
    """One quantized linear.

    Attributes:
        key: module name.
        in_features: input width.
        out_features: output width, padding excluded.
        bits: `(bit width, rows)` from the most precise rows to the least.
        bpw: stored bits per weight, everything included.
        group_size: rows that share a scale (the largest group).
    """

    key: str
    in_features: int
    out_features: int
    bits: tuple[tuple[int, int], ...]
    bpw: float
    group_size: int


@dataclass(frozen=True)
class CheckpointReport:
    """What `inspect` prints.

    Attributes:
        kind: `exl2`, `gptq` or `fp16`.
        architecture: first entry of `architectures`.
        decoder_bpw: stored bits per weight over the linears of the decoder blocks.
        head_bpw: the same for a head stored on its own; None when it is the tied embedding.
        head_bits: the library's head option that the head matches; 16 for a plain head.
        total_bytes: all safetensors files together.
        layers: quantized linears in model order.
        anomalies: plain sentences on what a loader may stumble over.
    """

    kind: Kind
    architecture: str
    decoder_bpw: float
    head_bpw: float | None
    head_bits: int
    total_bytes: int
    layers: tuple[LayerBits, ...]
    anomalies: tuple[str, ...]


def inspect_folder(folder: Path) -> CheckpointReport:
    """Check a folder completely and describe it.

    Raises:
        PrerequisiteError: when the folder cannot be used; names file and tensor.
    """
    return report_contents(read_folder(folder))


def report_contents(contents: FolderContents) -> CheckpointReport:
    """Describe a folder that has passed its checks."""
    linears: dict[str, LinearLayout | GptqLayout] = {**contents.exl2, **contents.gptq}
    layers = tuple(_layer_bits(linears[key]) for key in sorted(linears, key=module_order))
    head = next((layer for layer in layers if layer.key == HEAD), None)
    head_bpw = head.bpw if head else (16.0 if f"{HEAD}.weight" in contents.tensors else None)
    decoder_bpw = _decoder_bpw(contents, layers)
    files = {meta.file for meta in contents.tensors.values()}
    architectures = contents.config.get("architectures") or ["unknown"]
    return CheckpointReport(
        kind=contents.kind,
        architecture=str(architectures[0]),
        decoder_bpw=decoder_bpw,
        head_bpw=head_bpw,
        head_bits=_head_bits(head),
        total_bytes=sum(file.stat().st_size for file in files),
        layers=layers,
        anomalies=tuple(_anomalies(contents, decoder_bpw)),
    )


def _layer_bits(layout: LinearLayout | GptqLayout) -> LayerBits:
    if isinstance(layout, GptqLayout):
        bits: tuple[tuple[int, int], ...] = ((4, layout.in_features),)
        group_size = layout.group_size
    else:
        widths = list(dict.fromkeys(g.bits for g in layout.groups))
        bits = tuple((w, sum(g.rows for g in layout.groups if g.bits == w)) for w in widths)
        group_size = max(g.rows for g in layout.groups)
    return LayerBits(layout.key, layout.in_features, layout.out_features, bits, layout.bpw, group_size)


def _decoder_bpw(contents: FolderContents, layers: tuple[LayerBits, ...]) -> float:
    """Weighted over quantized linears and any linear of a block left as plain numbers."""
    bits = weights = 0.0
    for layer in layers:
        if layer.key != HEAD:
            size = layer.in_features * layer.out_features
            bits, weights = bits + layer.bpw * size, weights + size
    for name in contents.plain:
        meta = contents.tensors[name]
        if name.startswith("model.layers.") and len(meta.shape) == 2:
            bits, weights = bits + meta.nbytes * 8, weights + math.prod(meta.shape)
    return bits / weights if weights else 16.0


def _head_bits(head: LayerBits | None) -> int:
    if head is None:
        return 16
    # The least precise rows are the largest share of every head option, and give it its name.
    return head.bits[-1][0]


def _anomalies(contents: FolderContents, decoder_bpw: float) -> list[str]:
    config, folder = contents.config, contents.folder
    notes: list[str] = []
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and rope.get("rope_theta") and "rope_theta" not in config:
        notes.append("config.json has no top-level rope_theta: exllamav2 would silently use 10000.")
    if not (folder / "tokenizer.json").is_file():
        notes.append("tokenizer.json is missing: exllamav2 0.3.1 and later need it.")
    block = config.get("quantization_config")
    if contents.kind == "exl2" and not isinstance(block, dict):
        notes.append("config.json has no quantization_config: other tools will not see that this is EXL2.")
    declared = block.get("bits") if isinstance(block, dict) else None
    off_rate = isinstance(declared, int | float) and abs(declared - decoder_bpw) > _BPW_TOLERANCE
    if contents.kind == "exl2" and off_rate:
        notes.append(f"config.json declares {declared} bits per weight; the tensors hold {decoder_bpw:.2f}.")
    if contents.kind == "fp16" and isinstance(block, dict):
        notes.append("config.json has a quantization_config, but no tensor is quantized.")
    if any(
        m.dtype == "F32" for n, m in contents.tensors.items() if n in contents.plain and len(m.shape) == 2
    ):
        notes.append("Some matrices are stored in 32 bits: exllamav2 rounds them to 16.")
    quantized = {*contents.exl2, *contents.gptq}
    left = [n for n in contents.plain if n.startswith("model.layers.") and n.endswith("_proj.weight")]
    if quantized and left:
        notes.append(f"{len(left)} linears of the decoder are not quantized, {left[0]} for one.")
    return notes
