"""The smallest model folders that the page can describe: an FP16 one and its 6-bit EXL2 copy."""

from __future__ import annotations

from pathlib import Path

from tests.exl2.builders import tiny_tensors, write_folder
from wfgy_triage.exl2.convert import quantize_folder


def write_pair_folders(home: Path) -> tuple[Path, Path]:
    fp16, exl2 = home / "models" / "fp16", home / "models" / "exl2"
    if not exl2.exists():
        write_folder(fp16, tiny_tensors())
        quantize_folder(fp16, exl2, bpw=6.5, method="rtn")
    return fp16, exl2
