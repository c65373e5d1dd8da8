"""States between the blocks of a model, worked out once for passes that differ in the blocks above alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import torch
from torch import nn

from wfgy_triage.engines.base import ScoreRequest
from wfgy_triage.engines.runner import ModelRunner
from wfgy_triage.errors import ProbeError

BUDGET_BYTES = 256 << 20
"""Bound for the states that are kept, about: of long texts those that enter the lower blocks are computed each time."""
Pass = Callable[[], Any]
Around = Callable[[Pass], Any]
_Kept = dict[int, dict[int, torch.Tensor]]
"""By pass, and by the block that they enter."""


class BlockStates:
    """What enters some blocks of a model while the same sequences run through it again and again.

    Each time something else is changed, at or above a block that is known. The blocks below compute the same, so
    the first run that leaves them as they are keeps what they give, and the runs behind it begin there. Several runs
    may take turns, as long as none overtakes the one that keeps.

    Args:
        runner: the model; nothing that it remembers of prompts may be in use during these runs.
        starts: blocks, counted from 0, where runs may begin.
    """

    def __init__(self, runner: ModelRunner, starts: Iterable[int]) -> None:
        self._base = runner.base
        self._bytes_per_token = runner.hidden_size * runner.dtype.itemsize
        self._starts = sorted({s for s in starts if 0 < s < runner.kv_shape.layers})
        self._sequences: tuple[ScoreRequest, ...] = ()
        self._kept: _Kept = {}

    def over(self, sequences: Sequence[ScoreRequest], first: int) -> Around:
        """What runs the forward passes over these sequences, from the first on, for `ModelRunner.around`.

        Args:
            sequences: what is read.
            first: the lowest block that is changed in this run; the number of blocks where none is.
        """
        asked = tuple(sequences)
        if asked != self._sequences:
            self._sequences, self._kept = asked, {}
        # Runs over earlier sequences that have not ended go on with what was kept for them.
        kept, starts, numbers = self._kept, self._fitting(asked), count()
        begin = 0

        def run(call: Pass) -> Any:
            nonlocal begin
            number = next(numbers)
            known = kept.setdefault(number, {})
            if number == 0:
                begin = max((s for s in known if s <= first), default=0)
            return self._run(call, known, begin, [s for s in starts if begin < s <= first])

        return run

    def _fitting(self, sequences: Sequence[ScoreRequest]) -> list[int]:
        """The highest starts whose states may be kept for every pass."""
        tokens = sum(len(s.token_ids) for s in sequences)
        fitting = BUDGET_BYTES // max(1, tokens * self._bytes_per_token)
        return self._starts[max(0, len(self._starts) - fitting) :]

    def _run(self, call: Pass, known: dict[int, torch.Tensor], begin: int, keep: Iterable[int]) -> Any:
        if begin and begin not in known:
            # Its keys and values below are of no earlier pass: it cannot begin lower now.
            raise ProbeError(
                "A pass over FP16 weights put back has overtaken the one that it builds on.",
                "This is a fault of an engine; please report it.",
            )
        blocks = self._base.layers
        hooks = [blocks[start - 1].register_forward_hook(_keeper(known, start)) for start in keep]
        if begin:
            passed = [_Passed(block) for block in blocks[: begin - 1]]
            last = _Passed(blocks[begin - 1], known[begin])
            self._base.layers = nn.ModuleList([*passed, last, *blocks[begin:]])
        try:
            return call()
        finally:
            self._base.layers = blocks
            for hook in hooks:
                hook.remove()


def _keeper(known: dict[int, torch.Tensor], start: int) -> Callable[..., None]:
    """A forward hook that keeps what a block gives to the next one."""

    def keep(_module: nn.Module, _inputs: Any, states: torch.Tensor) -> None:
        known[start] = states

    return keep


class _Passed(nn.Module):
    """In the place of a block that is not computed; gives what is known of it, or what came in."""

    def __init__(self, block: nn.Module, states: torch.Tensor | None = None) -> None:
        super().__init__()
        # Model classes choose a block's mask by this.
        self.attention_type = getattr(block, "attention_type", None)
        self._states = states

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return hidden_states if self._states is None else self._states
