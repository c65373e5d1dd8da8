"""One folder of a pair as the checks see it: parsed files and stored tensors, or why they cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wfgy_triage.errors import TriageError
from wfgy_triage.exl2.headers import check_folder_safe
from wfgy_triage.exl2.modules import FolderContents, read_folder


@dataclass(frozen=True)
class JsonFile:
    """A JSON object of a folder; `problem` says why it cannot be read, `present` whether it is there at all."""

    data: Mapping[str, Any]
    present: bool
    problem: str = ""


class Side:
    """One folder. Everything is read on first use and once; a problem is kept as words, never raised.

    Args:
        name: `FP16` or `EXL2`, for the texts.
        folder: the folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    @cached_property
    def config_file(self) -> JsonFile:
        """config.json."""
        return read_json_file(self.folder / "config.json")

    @cached_property
    def generation_file(self) -> JsonFile:
        """generation_config.json."""
        return read_json_file(self.folder / "generation_config.json")

    @cached_property
    def tokenizer_config_file(self) -> JsonFile:
        """tokenizer_config.json."""
        return read_json_file(self.folder / "tokenizer_config.json")

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration; empty where it cannot be read."""
        return self.config_file.data

    @property
    def readable(self) -> bool:
        """Whether config.json holds a configuration."""
        return self.config_file.present and not self.config_file.problem

    @cached_property
    def refusal(self) -> str:
        """Why the folder is not opened at all (code, pickles, links); empty where it may be."""
        try:
            check_folder_safe(self.folder)
        except TriageError as error:
            # A configuration that is no JSON has a check of its own.
            return "" if self._json_problems else str(error)
        return ""

    @cached_property
    def contents(self) -> FolderContents | str:
        """The stored tensors, or what is wrong with them."""
        try:
            return read_folder(self.folder)
        except TriageError as error:
            return error.message

    @property
    def _json_problems(self) -> bool:
        return bool(self.config_file.problem or self.tokenizer_config_file.problem)


def read_json_file(path: Path) -> JsonFile:
    """Read a JSON object; problems become words."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return JsonFile({}, False)
    except (OSError, ValueError, RecursionError) as error:
        return JsonFile({}, True, f"{path.name} is not readable JSON: {str(error)[:200]}")
    if not isinstance(data, dict):
        return JsonFile({}, True, f"{path.name} does not hold a JSON object.")
    return JsonFile(data, True)
