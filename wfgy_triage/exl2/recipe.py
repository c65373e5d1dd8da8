"""What an EXL2 folder is made with, as its config.json says it: read and written. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wfgy_triage import __version__
from wfgy_triage.errors import InputError
from wfgy_triage.exl2.inspect import report_contents
from wfgy_triage.exl2.modules import FolderContents
from wfgy_triage.exl2.positions import top_level

Method = Literal["gptq", "rtn"]
FORMAT_VERSION = "0.3.2"
"""The library version whose format is written."""


@dataclass(frozen=True)
class Recipe:
    """How a model is quantized.

    Attributes:
        bpw: bits per weight of the decoder's linears outside protected parts.
        head_bits: the library's head option; 16 for a head that is not quantized.
        protect: bits per weight of parts that have a rate of their own, see `parts.part_linears`.
        method: `gptq` or `rtn`.
    """

    bpw: float
    head_bits: int = 6
    protect: Mapping[str, float] = field(default_factory=dict)
    method: Method = "gptq"


@dataclass(frozen=True)
class Calibration:
    """What the calibration saw: token rows, tokens in a row, and the names of the texts. All zero without any."""

    rows: int = 0
    length: int = 0
    dataset: str = "(default)"

    def as_json(self) -> dict[str, Any]:
        """The form in config.json."""
        return {"rows": self.rows, "length": self.length, "dataset": self.dataset}


def read_recipe(contents: FolderContents) -> Recipe:
    """How a folder was made: the head from its tensors, the rest from config.json where that says it.

    The library's own converter names no method; it rounds with error feedback, as GPTQ does. A folder that was
    calibrated on nothing is taken as rounded to nearest.

    Raises:
        InputError: the folder is not EXL2.
    """
    if contents.kind != "exl2":
        raise InputError(f"{contents.folder.name} is not EXL2.", "Give the quantized folder of the pair.")
    found = contents.config.get("quantization_config")
    block: Mapping[str, Any] = found if isinstance(found, dict) else {}
    report = report_contents(contents)
    calibration = block.get("calibration")
    uncalibrated = isinstance(calibration, dict) and calibration.get("rows") == 0
    method: Method = "rtn" if block.get("method", "rtn" if uncalibrated else "gptq") == "rtn" else "gptq"
    protect = block.get("protect")
    rest = block.get("rest_bits", block.get("bits"))
    return Recipe(
        bpw=float(rest) if isinstance(rest, int | float) else round(report.decoder_bpw, 2),
        head_bits=report.head_bits,
        protect={str(k): float(v) for k, v in protect.items()} if isinstance(protect, dict) else {},
        method=method,
    )


def whole_config(
    config: Mapping[str, Any], recipe: Recipe, decoder_bpw: float, calibration: Calibration
) -> dict[str, Any]:
    """The config.json of a folder quantized as a whole.

    Args:
        config: that of the FP16 folder.
        recipe: how; its `bpw` is what the rest really takes.
        decoder_bpw: what all decoder linears take.
        calibration: on what.
    """
    out = dict(config)
    # exllamav2 reads position settings at the top level only, and takes its own values where they are not there.
    out |= {key: value for key, value in top_level(config).items() if config.get(key) is None}
    out["quantization_config"] = {
        "quant_method": "exl2",
        "version": FORMAT_VERSION,
        **_rates(recipe, decoder_bpw),
        "method": recipe.method,
        "calibration": calibration.as_json(),
        "quantizer": _QUANTIZER,
    }
    return out


def partial_config(
    config: Mapping[str, Any], recipe: Recipe, decoder_bpw: float, calibration: Calibration
) -> dict[str, Any]:
    """The config.json of a sibling of which some linears were quantized again; what it says of the others stays.

    Args:
        config: that of the sibling.
        recipe: how the new folder is made up; its method is that of the linears made again.
        decoder_bpw: what all decoder linears take now.
        calibration: on what the new linears were calibrated.
    """
    found = config.get("quantization_config")
    block = dict(found) if isinstance(found, dict) else {"quant_method": "exl2", "version": FORMAT_VERSION}
    block.update(_rates(recipe, decoder_bpw))
    block["requantized"] = {
        "method": recipe.method, "calibration": calibration.as_json(), "quantizer": _QUANTIZER
    }  # fmt: skip
    return {**config, "quantization_config": block}


_QUANTIZER = f"wfgy-triage {__version__}"


def _rates(recipe: Recipe, decoder_bpw: float) -> dict[str, Any]:
    rates: dict[str, Any] = {"bits": round(decoder_bpw, 2), "head_bits": recipe.head_bits}
    if recipe.protect:
        rates |= {"rest_bits": round(recipe.bpw, 2), "protect": dict(recipe.protect)}
    return rates
