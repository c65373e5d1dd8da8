"""From an EXL2 or GPTQ folder back to an ordinary FP16 transformers folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wfgy_triage.errors import InputError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.modules import HEAD
from wfgy_triage.exl2.writer import copy_side_files, new_folder, save_tensors, write_json


@dataclass(frozen=True)
class DequantizeReport:
    """What was written: the folder, how many linears were decoded, whether the head got its own weight."""

    folder: Path
    decoded: int
    separate_head: bool


def dequantize_folder(
    exl2_dir: Path, out_dir: Path, progress: Callable[[int, int, str], None] | None = None
) -> DequantizeReport:
    """Write the decoded weights as a folder that transformers loads like any other.

    A head that is quantized on its own becomes `lm_head.weight`, and the embedding is no longer tied to it.

    Args:
        exl2_dir: EXL2 or 4-bit GPTQ folder.
        out_dir: new folder; written completely or not at all.
        progress: called with (done, total, label) before each linear and at the end.

    Raises:
        InputError: the folder is not quantized, or the output exists.
        PrerequisiteError: a folder that cannot be used, or a full disk.
    """
    with Checkpoint.open(Path(exl2_dir)) as source:
        keys = source.quantized_keys()
        if not keys:
            raise InputError(f"{Path(exl2_dir).name} is not quantized.", "Give an EXL2 or GPTQ folder.")
        with new_folder(Path(out_dir)) as folder:
            tensors = {name: source.plain(name) for name in source.plain_names()}
            for done, key in enumerate(keys):
                if progress is not None:
                    progress(done, len(keys), key)
                tensors[f"{key}.weight"] = source.decode(key)
            save_tensors(folder, "model", dict(sorted(tensors.items())))
            copy_side_files(source.contents.folder, folder)
            config = {k: v for k, v in source.config.items() if k != "quantization_config"}
            if HEAD in keys:
                config["tie_word_embeddings"] = False
            config["dtype"] = "float16"
            write_json(folder / "config.json", config)
        if progress is not None:
            progress(len(keys), len(keys), "done")
    return DequantizeReport(Path(out_dir), len(keys), HEAD in keys)
