"""Engines that take turns: of all that a pair needs, at most one holds its model in memory.

For pairs whose models fit one at a time, but not together. What a tokenizer answers for can be asked of each at any
time; whatever computes loads its own model, and the one before is closed first. How two such engines are compared token
by token is in `scoring.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wfgy_triage.engine_settings import CacheKind, EngineSettings, Side
from wfgy_triage.engines.base import (
    Completion,
    Engine,
    GenerationRequest,
    LogitChunk,
    Mode,
    ScoreRequest,
)
from wfgy_triage.engines.caches import ExchangesCache
from wfgy_triage.engines.loading import DEFAULTS
from wfgy_triage.errors import ProbeError

if TYPE_CHECKING:
    import numpy as np

_Item = TypeVar("_Item")


class Turns:
    """Opens engines of which one at a time is loaded. Not thread-safe, as the engines are not.

    Args:
        open_engine: loads a folder (`loading.open_engine`).
        spool: where engines that are compared keep what the first one computed, while they are.
    """

    def __init__(self, open_engine: Callable[..., Engine], spool: Path) -> None:
        self._open, self.spool = open_engine, spool
        self._loaded: TurnEngine | None = None

    def open_engine(
        self,
        folder: Path,
        *,
        side: Side,
        mode: Mode = "reproducible",
        share_with: Engine | None = None,
        settings: EngineSettings = DEFAULTS,
    ) -> Engine:
        """Open one side of a pair; see `loading.open_engine`. A side on a server takes no memory, and so no turns.

        Raises:
            PrerequisiteError: it cannot be loaded.
        """
        if settings.server_of(side) is not None:
            return self._open(folder, side=side, mode=mode, share_with=share_with, settings=settings)
        return self.opened(Opening(self._open, folder, side, mode, settings))

    def opened(self, opening: Opening) -> TurnEngine:
        """An engine that takes part, loaded at once: only then is known what it can do, and that it loads at all.

        Raises:
            PrerequisiteError: it cannot be loaded.
        """
        self.rest()
        engine = opening()
        kind = CacheTurnEngine if isinstance(engine, ExchangesCache) else TurnEngine
        self._loaded = kind(self, opening, engine)
        return self._loaded

    def take(self, engine: TurnEngine) -> None:
        """From now on this engine, which has loaded its model behind `rest`, is the loaded one."""
        self._loaded = engine

    def is_loaded(self, engine: TurnEngine) -> bool:
        """Whether this engine is the loaded one."""
        return self._loaded is engine

    def rest(self) -> None:
        """Give back what is loaded. The engine stays usable: it loads its model anew when it has to compute."""
        before, self._loaded = self._loaded, None
        if before is not None:
            before.unload()


@dataclass(frozen=True)
class Opening:
    """How an engine is loaded, as often as it has to be."""

    open_engine: Callable[..., Engine]
    folder: Path
    side: Side
    mode: Mode
    settings: EngineSettings

    def __call__(self) -> Engine:
        """Load it.

        Raises:
            PrerequisiteError: it cannot be loaded.
        """
        return self.open_engine(self.folder, side=self.side, mode=self.mode, settings=self.settings)


class TurnEngine:
    """An `Engine` whose model is loaded while it computes, and until another one of its group does.

    Its speed tells nothing: what would be timed is loading.

    Args:
        turns: the group; whoever makes the engine makes it the loaded one.
        opening: loads the model.
        engine: the loaded model.
    """

    def __init__(self, turns: Turns, opening: Opening, engine: Engine) -> None:
        self._turns, self._opening, self._engine = turns, opening, engine
        self.info = engine.info
        self.capabilities = replace(engine.capabilities, speed_tells=False, in_turn=True)
        self._streams: list[Generator[Any, None, None]] = []
        self._closed = False

    @property
    def turns(self) -> Turns:
        """The engines of which one at a time is loaded."""
        return self._turns

    @property
    def behind(self) -> Engine:
        """The engine that computes; closed where it is not this one's turn."""
        return self._engine

    @property
    def tokenizer(self) -> Any:
        """The folder's tokenizer in transformers; None for an engine without one."""
        return getattr(self._engine, "tokenizer", None)

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
        """See the protocol.

        Raises:
            PrerequisiteError: the model cannot be loaded any more.
        """
        return self._while_loaded(self.load().generate(requests, should_stop))

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """See the protocol.

        Raises:
            PrerequisiteError: the model cannot be loaded any more.
        """
        return self._while_loaded(self.load().logits(requests, chunk, should_stop))

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """See the protocol.

        Raises:
            PrerequisiteError: the model cannot be loaded any more.
        """
        return self.load().embed(texts, layers)

    def close(self) -> None:
        """Give the memory back, if it has any; the engine is unusable afterwards."""
        self._closed = True
        if self._turns.is_loaded(self):
            self._turns.rest()

    def load(self) -> Engine:
        """Make this the loaded engine of its group.

        Raises:
            PrerequisiteError: the model cannot be loaded any more.
            ProbeError: the engine is closed.
        """
        if self._closed:
            raise ProbeError("The engine is closed.", "Open the model again.")
        if not self._turns.is_loaded(self):
            self._turns.rest()
            self._engine = self._opening()
            self._turns.take(self)
        return self._engine

    def unload(self) -> None:
        """Give the memory back until the next turn; for the group alone."""
        streams, self._streams = self._streams, []
        for stream in streams:
            # What a call that was not read to its end still holds is memory of the model.
            stream.close()
        self._engine.close()

    def _while_loaded(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Pass the results of a call on, for as long as nobody else has had a turn."""
        stream = _closable(items)
        self._streams.append(stream)
        return self._passed_on(stream)

    def _passed_on(self, stream: Generator[_Item, None, None]) -> Iterator[_Item]:
        try:
            while stream in self._streams:
                if (item := next(stream, None)) is None:
                    return
                yield item
            # Closing has ended it like one that was read to its end.
            raise ProbeError(
                "A model was given back while its results were still being read.",
                "This is a fault of this program; please report it.",
            )
        finally:
            if stream in self._streams:
                self._streams.remove(stream)


class CacheTurnEngine(TurnEngine):
    """One whose model can be had with another cache (`caches.ExchangesCache`)."""

    def with_cache(self, cache: CacheKind) -> Engine:
        """The same model with another cache, as a further engine of the group: it is loaded anew for it.

        Raises:
            PrerequisiteError: it cannot be loaded.
        """
        settings = replace(self._opening.settings, cache=cache)
        return self._turns.opened(replace(self._opening, settings=settings))


def load_now(engine: Engine) -> None:
    """Load an engine that takes turns, so that what follows can be timed; nothing for any other.

    Raises:
        PrerequisiteError: the model cannot be loaded any more.
    """
    if isinstance(engine, TurnEngine):
        engine.load()


def make_room(engine: Engine) -> None:
    """Give back the memory of whatever takes turns with an engine, for something else that needs it."""
    if isinstance(engine, TurnEngine):
        engine.turns.rest()


def engine_behind(engine: Engine) -> Engine:
    """What computes for an engine: itself, or what it loads when it is its turn."""
    return engine.behind if isinstance(engine, TurnEngine) else engine


def _closable(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """Items as a generator, which can be closed from outside; what an engine returns need not be one."""
    yield from items
