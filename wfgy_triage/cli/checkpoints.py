"""Commands on model folders: write, read back and inspect EXL2 checkpoints."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from wfgy_triage.cli.shared import app, out, progress_bars
from wfgy_triage.errors import InputError
from wfgy_triage.exl2.parts import parse_protection
from wfgy_triage.settings import load_settings


class Method(StrEnum):
    """How `quantize` rounds."""

    gptq = "gptq"
    rtn = "rtn"


FolderIn = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Model folder to read.")]
FolderOut = Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.")]


@app.command()
def quantize(
    fp16_dir: FolderIn,
    out_dir: FolderOut,
    bpw: Annotated[
        float | None, typer.Option(min=2.2, max=8.5, help="Bits per weight of the decoder layers.")
    ] = None,
    head_bits: Annotated[
        int | None, typer.Option(help="Bits of the output head: 2, 3, 4, 5, 6 or 8.", show_default="6")
    ] = None,
    protect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART=BPW",
            help="Give a part a rate of its own: 'mlp 25-29=6', 'attn=5', 'head=8' or a module name. Repeat for more.",
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="An EXL2 folder of the same model: only the parts with more bits are made again, the rest is copied.",
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="gptq is better, rtn (round to nearest) faster.")
    ] = Method.gptq,
    calibration: Annotated[list[Path] | None, typer.Option(help="UTF-8 text files to calibrate on.")] = None,
) -> None:
    """Write an EXL2 checkpoint on the CPU, as a whole (--bpw) or from one that is there (--start-from)."""
    from wfgy_triage.engines.calibration import TransformersWalker
    from wfgy_triage.exl2.convert import quantize_folder
    from wfgy_triage.exl2.partial import requantize_folder

    if (bpw is None) == (start_from is None):
        raise InputError(
            "The command needs a rate for the whole model, or a folder to start from.",
            "Give either --bpw or --start-from.",
        )
    protection = parse_protection(protect or ())
    with progress_bars() as report:
        common: dict[str, Any] = {
            "protect": protection,
            "method": method.value,
            "calibration_files": calibration or None,
            "walker": TransformersWalker(fp16_dir),
            "statistics": load_settings().home / "statistics",
            "progress": lambda done, total, label: report(label, done / max(total, 1)),
        }
        if start_from is not None:
            outcome = requantize_folder(fp16_dir, start_from, out_dir, head_bits=head_bits, **common)
        else:
            outcome = quantize_folder(fp16_dir, out_dir, bpw=bpw or 0.0, head_bits=head_bits or 6, **common)
    out.print(f"Wrote {out_dir}: {outcome.decoder_bpw:.2f} bits per weight in {outcome.seconds:.0f} s.")


@app.command()
def dequantize(exl2_dir: FolderIn, out_dir: FolderOut) -> None:
    """Turn an EXL2 checkpoint back into an ordinary FP16 folder."""
    from wfgy_triage.exl2.dequantize import dequantize_folder

    with progress_bars() as report:
        dequantize_folder(
            exl2_dir, out_dir, progress=lambda done, total, label: report(label, done / max(total, 1))
        )
    out.print(f"Wrote {out_dir}.")


@app.command()
def inspect(folder: FolderIn) -> None:
    """Show bits per layer, size and anomalies of a checkpoint. The exit code is 1 when there are anomalies."""
    from wfgy_triage.exl2.inspect import inspect_folder
    from wfgy_triage.report.terminal import show_inspection

    report = inspect_folder(folder)
    show_inspection(out, report)
    raise typer.Exit(1 if report.anomalies else 0)
