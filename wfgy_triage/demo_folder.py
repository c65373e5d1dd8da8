"""What transformers leaves out of the demo's folders, when it writes them from a GGUF file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wfgy_triage.packaged import staging


def complete(folder: Path) -> None:
    """What transformers leaves out of the demo's FP16 folder."""
    split_digits(folder)
    # exllamav2 reads rope_theta at the top level only and silently takes 10000 without it.
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config["_name_or_path"] = "SmolLM2-135M-Instruct (dequantized from Q4_1)"
    config.pop("_model_name_or_path", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def split_digits(folder: Path) -> None:
    """Let a demo folder's tokenizer take digits one by one, as the model's own does; nothing to do where it does.

    Transformers reads words and merges from a GGUF file and not how texts are split before (`tokenizer.ggml.pre`, here
    `smollm`): without this, spaces and line breaks in front of a digit get other ids than the model was trained on.
    Folders that were made before this was known are completed in place.
    """
    tokenizer = tokenizer_to_split(folder)
    if tokenizer is None:
        return
    path = folder / "tokenizer.json"
    digits = {"type": "Digits", "individual_digits": True}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, tokenizer["pre_tokenizer"]]}
    text = json.dumps(tokenizer, ensure_ascii=False, indent=2)
    with staging(folder) as scratch:
        (scratch / path.name).write_text(text, encoding="utf-8")
        os.replace(scratch / path.name, path)


def tokenizer_to_split(folder: Path) -> dict[str, Any] | None:
    """The tokenizer of a folder where it does not take digits one by one; None too where it is not there, or damaged.

    Then loading it, or the doctor, says so.
    """
    try:
        tokenizer: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return tokenizer if tokenizer["pre_tokenizer"]["type"] == "ByteLevel" else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
