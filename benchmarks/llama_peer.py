"""llama.cpp as a peer of the generation benchmark: its own batched benchmark on a GGUF file of the same model.

It is not installed by this project: build `llama-batched-bench`, and give it and a GGUF file of the model on the
command line. It computes random tokens of the mean length of our prompts, and its own clock leaves loading out.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from wfgy_triage.errors import PrerequisiteError

MICRO_BATCH = 512


@dataclass(frozen=True)
class LlamaBench:
    """The program, the model, and whether all rows share their whole prompt.

    Attributes:
        program: `llama-batched-bench`.
        model: a GGUF file.
        new_tokens: that every row gets.
        shared: one prompt for all rows, computed once. That is less work than the other arms have, whose prompts share
            their examples and go on differently: an upper bound of what sharing can give.
    """

    program: Path
    model: Path
    new_tokens: int
    shared: bool = False

    @property
    def name(self) -> str:
        """What stands in the table."""
        return (
            f"llama.cpp, {self.model.stem.split('.')[-1]}, {'one prompt for all' if self.shared else 'batch'}"
        )

    def seconds(self, rows: Sequence[tuple[int, ...]]) -> float:
        """Seconds for as many rows of the same mean length, prompts included.

        Raises:
            PrerequisiteError: the program does not run or does not tell.
        """
        prompt = round(sum(map(len, rows)) / len(rows))
        threads = str(torch.get_num_threads())
        command = [str(self.program), "-m", str(self.model), "--output-format", "jsonl", "-t", threads]
        command += ["-npp", str(prompt), "-ntg", str(self.new_tokens), "-npl", str(len(rows))]
        command += ["-c", str(len(rows) * (prompt + self.new_tokens)), "-ub", str(MICRO_BATCH)]
        command += ["-pps"] if self.shared else []
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - the user's own
            line = next(x for x in done.stdout.splitlines() if x.startswith("{"))
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            raise PrerequisiteError(
                f"{self.program.name} gave no result: {error}", "Give a llama-batched-bench and a GGUF file."
            ) from error
        return float(json.loads(line)["t"])
