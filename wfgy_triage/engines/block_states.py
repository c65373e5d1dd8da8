"""States between the blocks of a model, worked out once for passes that differ in the blocks above alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import torch
from torch import nn

from wfgy_triage.engines.base import ScoreRequest
from wfgy_triage.engines.runner import ModelRunner

BUDGET_BYTES = 256 << 20
"""Bound for the states that are kept; what does not fit is computed each time."""
Pass = Callable[[], Any]
Around = Callable[[Pass], Any]


class BlockStates:
    """What enters some blocks of a model while the same sequences run through it again and again.

    Each time something else is changed, at or above a block that is known. The blocks below compute the same, so
    the first pass that leaves them as they are keeps what they give, and the passes behind it begin there. It may be
    asked about several passes in turns; only those over the newest sequences are known.

    Args:
        runner: the model; nothing that it remembers of prompts may be in use during these passes.
        starts: blocks, counted from 0, where passes may begin.
    """

    def __init__(self, runner: ModelRunner, starts: Iterable[int]) -> None:
        self._base = runner.base
        self._starts = sorted({s for s in starts if 0 < s < runner.kv_shape.layers})
        self._sequences: tuple[ScoreRequest, ...] = ()
        self._kept: dict[int, dict[int, torch.Tensor]] = {}
        self._bytes = 0

    def over(self, sequences: Sequence[ScoreRequest], first: int) -> Around:
        """What runs the forward passes over these sequences, from the first on, for `ModelRunner.around`.

        Args:
            sequences: what is read.
            first: the lowest block that is changed in this pass; the number of blocks where none is.
        """
        asked, numbers = tuple(sequences), count()

        def run(call: Pass) -> Any:
            if asked != self._sequences:
                self._sequences, self._kept, self._bytes = asked, {}, 0
            return self._run(call, self._kept.setdefault(next(numbers), {}), first)

        return run

    def _run(self, call: Pass, kept: dict[int, torch.Tensor], first: int) -> Any:
        begin = max((s for s in kept if s <= first), default=0)
        blocks = self._base.layers
        hooks = [
            blocks[start - 1].register_forward_hook(self._keeper(kept, start))
            for start in self._starts
            if begin < start <= first
        ]
        if begin:
            passed = [_Passed(block) for block in blocks[: begin - 1]]
            last = _Passed(blocks[begin - 1], kept[begin])
            self._base.layers = nn.ModuleList([*passed, last, *blocks[begin:]])
        try:
            return call()
        finally:
            self._base.layers = blocks
            for hook in hooks:
                hook.remove()

    def _keeper(self, kept: dict[int, torch.Tensor], start: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, states: torch.Tensor) -> None:
            size = states.numel() * states.element_size()
            if self._bytes + size <= BUDGET_BYTES:
                self._bytes += size
                kept[start] = states

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
