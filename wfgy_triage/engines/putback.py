"""FP16 weights put back into the EXL2 model, part by part: the counterfactual behind "which weights do the damage?".

Both sides of a pair are loaded in one model class, so a part is exchanged by handing modules over; nothing is copied
and nothing is decoded again. The exchange lasts only while the model computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, LogitChunk, ScoreRequest
from wfgy_triage.engines.block_states import Around, BlockStates
from wfgy_triage.engines.in_turn import engine_behind
from wfgy_triage.engines.linear import PackedLinear
from wfgy_triage.engines.memory import PromptMemory
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import ProbeError

RANGES = 5
"""Into how many runs of neighbouring blocks a model is cut."""
ALL, HEAD = "all", "head"
_ATTENTION_NAMES = frozenset({"qkv", "out"})
"""Linear layers of a fused block that belong to attention; the others are its MLP."""


@dataclass(frozen=True)
class WeightPart:
    """Some linear layers of a model.

    Attributes:
        id: short and stable: `all`, `head`, `attn 0-5` or `mlp 0-5` (blocks counted from 0, both ends included).
        paths: module paths, the same on both sides.
        first: the lowest block, counted from 0, of which something is exchanged; for the head the number of blocks.
    """

    id: str
    paths: tuple[str, ...]
    first: int


def weight_parts(engine: Engine, ranges: int = RANGES) -> tuple[WeightPart, ...]:
    """The parts whose damage is told apart: everything, the output head, attention and MLP by runs of blocks.

    Empty for an engine whose weights cannot be exchanged.
    """
    if not isinstance(engine, TransformersEngine):
        return ()
    runner = engine.runner
    prefix = f"{runner.model.base_model_prefix}.layers."
    by_block: dict[tuple[int, bool], list[str]] = {}
    heads: list[str] = []
    for path, module in runner.model.named_modules():
        if not isinstance(module, PackedLinear):
            continue
        if module is runner.head:
            heads.append(path)
        elif path.startswith(prefix):
            block, _, inner = path.removeprefix(prefix).partition(".")
            attention = inner in _ATTENTION_NAMES or "attn" in inner
            by_block.setdefault((int(block), attention), []).append(path)
    layers = runner.kv_shape.layers
    parts = [WeightPart(HEAD, tuple(heads), layers)]
    for blocks in np.array_split(np.arange(layers), min(ranges, layers)):
        first, last = int(blocks[0]), int(blocks[-1])
        for attention, name in ((True, "attn"), (False, "mlp")):
            paths = tuple(p for b in blocks for p in by_block.get((int(b), attention), ()))
            parts.append(WeightPart(f"{name} {first}-{last}", paths, first))
    parts = [p for p in parts if p.paths]
    everything = tuple(path for part in parts for path in part.paths)
    return (WeightPart(ALL, everything, 0), *parts)


def exchangeable_parts(engine: Engine, reference: Engine) -> tuple[WeightPart, ...]:
    """The parts that can be taken from one engine into another.

    None unless both are of the class that allows it, and on one device.
    """
    able = isinstance(reference, TransformersEngine) and reference.info.device == engine.info.device
    return weight_parts(engine) if able else ()


def kept_apart(engine: Engine, reference: Engine) -> bool:
    """Whether parts could be taken from one engine into another, were both loaded at the same time."""
    able = all(isinstance(engine_behind(e), TransformersEngine) for e in (engine, reference))
    in_turn = engine.capabilities.in_turn or reference.capabilities.in_turn
    return in_turn and able and reference.info.device == engine.info.device


def put_back(engine: Engine, reference: Engine, parts: Sequence[WeightPart]) -> dict[str, PutBackEngine]:
    """An engine for each part, by its id; scored on the same texts they compute once what lies below their parts.

    Raises:
        ProbeError: see `PutBackEngine`.
    """
    below = (
        BlockStates(engine.runner, [p.first for p in parts])
        if isinstance(engine, TransformersEngine)
        else None
    )
    return {part.id: PutBackEngine(engine, reference, part, below) for part in parts}


class PutBackEngine:
    """The EXL2 engine with one part's weights taken from the FP16 engine, for as long as it computes.

    Args:
        engine: the EXL2 side; it stays open and is itself again between calls.
        reference: the FP16 side, of the same model class and numerics.
        part: what is put back.
        below: what engines of this model that take turns know of each other's lower blocks.

    Raises:
        ProbeError: the two engines are not of one class, so that there is nothing to exchange.
    """

    def __init__(
        self, engine: Engine, reference: Engine, part: WeightPart, below: BlockStates | None = None
    ) -> None:
        if not isinstance(engine, TransformersEngine) or not isinstance(reference, TransformersEngine):
            raise ProbeError(
                "Weights can be put back only where both sides run in the reference engine.",
                "Run the pair on the reference engine to see which weights do the damage.",
            )
        self._engine, self._first, self._below = engine, part.first, below
        self.info, self.capabilities = engine.info, engine.capabilities
        self._swaps = [_Swap.of(engine.runner.model, reference.runner.model, path) for path in part.paths]

    def encode(self, text: str) -> tuple[int, ...]:
        """See the protocol."""
        return self._engine.encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """See the protocol."""
        return self._engine.decode(token_ids)

    def render_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """See the protocol."""
        return self._engine.render_chat(messages)

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """See the protocol."""
        return self._while_swapped(self._engine.generate(requests, should_stop))

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """See the protocol."""
        around = None if self._below is None else self._below.over(requests, self._first)
        return self._while_swapped(self._engine.logits(requests, chunk, should_stop), around)

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """See the protocol."""
        with self._swapped():
            return self._engine.embed(texts, layers)

    def close(self) -> None:
        """Nothing of its own to give back: the engine stays open."""
        self._swaps = []

    def _while_swapped(self, items: Iterator[Any], around: Around | None = None) -> Iterator[Any]:
        """Exchange the weights around every step, so that several such engines can take turns on one model."""
        while True:
            with self._swapped(around):
                item = next(items, None)
            if item is None:
                return
            yield item

    @contextmanager
    def _swapped(self, around: Around | None = None) -> Iterator[None]:
        # What the engine remembers of prompts belongs to its own weights.
        runner = self._engine.runner
        memory, runner.memory = runner.memory, PromptMemory.none()
        runner.around = around
        for swap in self._swaps:
            setattr(swap.parent, swap.name, swap.theirs)
        _follow_head(self._engine)
        try:
            yield
        finally:
            runner.memory, runner.around = memory, None
            for swap in self._swaps:
                setattr(swap.parent, swap.name, swap.ours)
            _follow_head(self._engine)


@dataclass(frozen=True)
class _Swap:
    parent: nn.Module
    name: str
    ours: nn.Module
    theirs: nn.Module

    @classmethod
    def of(cls, model: nn.Module, reference: nn.Module, path: str) -> _Swap:
        parent, _, name = path.rpartition(".")
        ours, theirs = model.get_submodule(path), reference.get_submodule(path)
        return cls(model.get_submodule(parent), name, ours, theirs)


def _follow_head(engine: TransformersEngine) -> None:
    """The runner holds the head itself."""
    engine.runner.head = engine.runner.model.get_output_embeddings()  # type: ignore[operator]
