"""Known faults of a model pair, as data and small functions: `broken_copy` makes a copy that has exactly one.

Copies are hard links; a fault writes a new file where it changes one, so the healthy pair stays as it is. To add a
fault, write a function that takes the copied FP16 and EXL2 folders, and add a line to `FAULTS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from wfgy_triage.exl2.headers import folder_tensors
from wfgy_triage.pairs import Pair

Break = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Fault:
    """One way to break a healthy pair.

    Attributes:
        id: stable name.
        says: what is done, in words.
        cause: the cause that a diagnosis must name (`fixmap/causes.yaml`).
        breaks: does it, given the copied FP16 and EXL2 folders.
    """

    id: str
    says: str
    cause: str
    breaks: Break


def broken_copy(pair: Pair, fault: Fault, target: Path) -> Pair:
    """Copy a pair into `target/fp16` and `target/exl2` by hard links and break it.

    Raises:
        OSError: the target is on another file system, or already there.
    """
    fp16, exl2 = target / "fp16", target / "exl2"
    for source, folder in ((pair.fp16, fp16), (pair.exl2, exl2)):
        folder.mkdir(parents=True)
        for path in source.iterdir():
            if path.is_file():
                os.link(path.resolve(), folder / path.name)
    fault.breaks(fp16, exl2)
    return replace(pair, id=f"{pair.id}-{fault.id}"[:64], fp16=fp16, exl2=exl2)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file of a copy; the healthy file is not touched."""
    data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    change(data)
    write(path, json.dumps(data).encode())


def write(path: Path, content: bytes) -> None:
    """Put a new file in the place of a link."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def own_file(path: Path) -> Path:
    """Turn a link into a file of its own."""
    write(path, path.read_bytes())
    return path


def edit_tensor(folder: Path, name: str, change: Callable[[np.ndarray], object]) -> None:
    """Change the numbers of one tensor in place, in a file of the copy's own."""
    meta = folder_tensors(folder)[name]
    kinds: Mapping[str, str] = {"F16": "<f2", "I32": "<i4", "I16": "<i2", "F32": "<f4", "BF16": "<u2"}
    path = own_file(meta.file)
    values = np.memmap(path, dtype=kinds[meta.dtype], mode="r+", offset=meta.offset, shape=meta.shape)
    change(values)
    values.flush()


def remove_tensors(folder: Path, gone: Callable[[str], bool]) -> None:
    """Leave tensors out of the files of a copy."""
    for path in sorted(folder.glob("*.safetensors")):
        tensors = {n: t for n, t in load_file(path).items() if not gone(n)}
        path.unlink()
        save_file(tensors, path)


def middle_matrix(folder: Path, part: str) -> str:
    """Name of a tensor of the middle quantized matrix of the decoder, such as its `q_scale_max`."""
    names = sorted(
        n for n in folder_tensors(folder) if n.startswith("model.layers.") and n.endswith(f"proj.{part}")
    )
    return names[len(names) // 2]


def _template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    stored = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    return str(stored)


def tokens_shifted(fp16: Path, exl2: Path) -> None:
    """Ordinary tokens get each other's ids."""

    def shift(data: dict[str, Any]) -> None:
        special = {t["content"] for t in data.get("added_tokens", ())}
        vocab = data["model"]["vocab"]
        names = [n for n in vocab if n not in special]
        ids = [vocab[n] for n in names]
        vocab.update(zip(names, ids[1:] + ids[:1], strict=True))

    edit_json(exl2 / "tokenizer.json", shift)


def tokenizer_gone(fp16: Path, exl2: Path) -> None:
    """tokenizer.json is not there."""
    (exl2 / "tokenizer.json").unlink()


def special_tokens_gone(fp16: Path, exl2: Path) -> None:
    """Markers are no single tokens any more."""
    edit_json(exl2 / "tokenizer.json", lambda d: d.update(added_tokens=[], post_processor=None))


def template_other(fp16: Path, exl2: Path) -> None:
    """Another frame around messages."""
    write(
        exl2 / "chat_template.jinja",
        b"{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}",
    )


def template_gone(fp16: Path, exl2: Path) -> None:
    """No template at all."""
    (exl2 / "chat_template.jinja").unlink(missing_ok=True)
    edit_json(exl2 / "tokenizer_config.json", lambda d: d.pop("chat_template", None))


def template_without_answer(fp16: Path, exl2: Path) -> None:
    """The template does not open the assistant's turn."""
    text = "{% set add_generation_prompt = false %}" + _template(exl2)
    write(exl2 / "chat_template.jinja", text.encode())


def start_token_doubled(fp16: Path, exl2: Path) -> None:
    """The tokenizer adds a start token to a conversation that begins with one (both templates put it there)."""
    config = json.loads((exl2 / "tokenizer_config.json").read_text(encoding="utf-8"))
    start = config["bos_token"]
    start = start["content"] if isinstance(start, dict) else start
    for folder in (fp16, exl2):
        text = _template(folder)
        # Where the template writes the token itself, it is left as it is.
        if start not in text[:400]:
            write(folder / "chat_template.jinja", ("{{ bos_token }}" + text).encode())

    def add_start(data: dict[str, Any]) -> None:
        number = next(t["id"] for t in data["added_tokens"] if t["content"] == start)
        text = {"Sequence": {"id": "A", "type_id": 0}}
        marker = {"SpecialToken": {"id": start, "type_id": 0}}
        data["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [marker, text],
            "pair": [marker, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {start: {"id": start, "ids": [number], "tokens": [start]}},
        }

    edit_json(exl2 / "tokenizer.json", add_start)


def end_list_cut(fp16: Path, exl2: Path) -> None:
    """FP16 ends answers at two tokens, EXL2 at the first of them."""
    first = json.loads((exl2 / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    first = first[0] if isinstance(first, list) else first
    edit_json(fp16 / "generation_config.json", lambda d: d.update(eos_token_id=[first, 0]))
    edit_json(exl2 / "generation_config.json", lambda d: d.update(eos_token_id=first))


def rope_missing(fp16: Path, exl2: Path) -> None:
    """No top-level rope_theta: the library falls back to 10000."""
    edit_json(exl2 / "config.json", lambda d: d.pop("rope_theta", None))


def rope_wrong(fp16: Path, exl2: Path) -> None:
    """Another base of the rotary encoding."""

    def change(data: dict[str, Any]) -> None:
        data["rope_theta"] = 10 * float(data.get("rope_theta") or 10000.0)
        data["rope_parameters"] = {"rope_type": "default", "rope_theta": data["rope_theta"]}

    edit_json(exl2 / "config.json", change)


def rope_scaled(fp16: Path, exl2: Path) -> None:
    """Linear scaling that the baseline does not have."""
    scaling = {"rope_type": "linear", "factor": 2.0}
    edit_json(exl2 / "config.json", lambda d: d.update(rope_scaling=scaling))


def tie_flag_wrong(fp16: Path, exl2: Path) -> None:
    """config.json says the head is stored on its own, and it is not."""
    edit_json(exl2 / "config.json", lambda d: d.update(tie_word_embeddings=False))
    remove_tensors(exl2, lambda name: name.startswith("lm_head."))


def context_small(fp16: Path, exl2: Path) -> None:
    """A shorter context than the baseline's."""
    edit_json(exl2 / "config.json", lambda d: d.update(max_position_embeddings=64))


def activation_other(fp16: Path, exl2: Path) -> None:
    """Another activation function."""
    edit_json(exl2 / "config.json", lambda d: d.update(hidden_act="gelu"))


def vocabulary_other(fp16: Path, exl2: Path) -> None:
    """Another size of vocabulary."""
    edit_json(exl2 / "config.json", lambda d: d.update(vocab_size=d["vocab_size"] + 8))


def layers_other(fp16: Path, exl2: Path) -> None:
    """Another number of layers."""
    edit_json(exl2 / "config.json", lambda d: d.update(num_hidden_layers=d["num_hidden_layers"] - 1))


def config_cut(fp16: Path, exl2: Path) -> None:
    """config.json ends in the middle."""
    write(exl2 / "config.json", (exl2 / "config.json").read_bytes()[:120])


def code_inside(fp16: Path, exl2: Path) -> None:
    """Program code in the folder."""
    write(exl2 / "modeling_custom.py", b"print('never run')\n")


def permutation_scrambled(fp16: Path, exl2: Path) -> None:
    """The row order of one matrix is lost."""
    edit_tensor(exl2, middle_matrix(exl2, "q_invperm"), lambda v: np.random.default_rng(0).shuffle(v))


def scales_halved(fp16: Path, exl2: Path) -> None:
    """All scales of one matrix are half of what they should be."""
    edit_tensor(exl2, middle_matrix(exl2, "q_scale_max"), lambda v: np.multiply(v, 0.5, out=v))


def group_scale_off(fp16: Path, exl2: Path) -> None:
    """One row group of one matrix is four times too large."""

    def change(values: np.ndarray) -> None:
        values[-1] *= 4

    edit_tensor(exl2, middle_matrix(exl2, "q_scale_max"), change)


def group_scale_nan(fp16: Path, exl2: Path) -> None:
    """One scale is not a number."""
    edit_tensor(exl2, middle_matrix(exl2, "q_scale_max"), lambda v: v.__setitem__(0, np.nan))


def norm_nan(fp16: Path, exl2: Path) -> None:
    """One number of a normalisation is not a number."""
    edit_tensor(exl2, "model.norm.weight", lambda v: v.__setitem__(3, np.nan))


def foreign_weights(fp16: Path, exl2: Path) -> None:
    """Every quantized matrix holds other numbers, as those of another model would."""
    path = next(iter(folder_tensors(exl2).values())).file
    own_file(path)
    draw = np.random.default_rng(1)
    for name, meta in folder_tensors(exl2).items():
        if name.endswith(".q_weight"):
            values = np.memmap(meta.file, dtype="<i4", mode="r+", offset=meta.offset, shape=meta.shape)
            values[:] = draw.integers(-(2**31), 2**31, size=meta.shape, dtype=np.int64).astype(np.int32)
            values.flush()


def shard_truncated(fp16: Path, exl2: Path) -> None:
    """The download of the weights stopped early."""
    path = sorted(exl2.glob("*.safetensors"))[-1]
    write(path, path.read_bytes()[:-1000])


def shard_missing(fp16: Path, exl2: Path) -> None:
    """The index names a file that is not there."""
    weights = {name: meta.file.name for name, meta in folder_tensors(exl2).items()}
    weights["model.layers.0.extra.weight"] = "output-00002-of-00002.safetensors"
    write(exl2 / "model.safetensors.index.json", json.dumps({"weight_map": weights}).encode())


def matrix_missing(fp16: Path, exl2: Path) -> None:
    """One matrix of a block is not stored."""
    key = middle_matrix(exl2, "q_weight").removesuffix("q_weight")
    remove_tensors(exl2, lambda name: name.startswith(key))


def group_illegal(fp16: Path, exl2: Path) -> None:
    """A row group claims seven bits."""
    edit_tensor(exl2, middle_matrix(exl2, "q_groups"), lambda v: v.__setitem__(0, 7))


FAULTS: tuple[Fault, ...] = tuple(
    Fault(function.__name__, (function.__doc__ or "").strip(), cause, function)
    for function, cause in (
        (tokens_shifted, "tokenizer_mismatch"),
        (tokenizer_gone, "tokenizer_mismatch"),
        (special_tokens_gone, "special_tokens_mismatch"),
        (template_other, "chat_template_mismatch"),
        (template_gone, "chat_template_mismatch"),
        (template_without_answer, "chat_template_mismatch"),
        (start_token_doubled, "special_tokens_mismatch"),
        (end_list_cut, "special_tokens_mismatch"),
        (rope_missing, "rope_mismatch"),
        (rope_wrong, "rope_mismatch"),
        (rope_scaled, "rope_mismatch"),
        (tie_flag_wrong, "config_mismatch"),
        (context_small, "context_overflow"),
        (activation_other, "config_mismatch"),
        (vocabulary_other, "checkpoint_mismatch"),
        (layers_other, "checkpoint_mismatch"),
        (config_cut, "model_not_loadable"),
        (code_inside, "model_not_loadable"),
        (permutation_scrambled, "checkpoint_corrupt"),
        (scales_halved, "checkpoint_corrupt"),
        (group_scale_off, "checkpoint_corrupt"),
        (group_scale_nan, "checkpoint_corrupt"),
        (norm_nan, "checkpoint_corrupt"),
        (foreign_weights, "checkpoint_mismatch"),
        (shard_truncated, "checkpoint_corrupt"),
        (shard_missing, "checkpoint_corrupt"),
        (matrix_missing, "checkpoint_corrupt"),
        (group_illegal, "checkpoint_corrupt"),
    )
)
