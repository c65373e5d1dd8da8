"""The loaded models: opens the two sides of a pair and keeps the last pair warm between runs.

Both at the same time, or in turn, as whoever looks at the memory says.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wfgy_triage.engine_settings import EngineSettings, Side, engine_settings
from wfgy_triage.engines.base import Engine, Mode
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair, files_signature

if TYPE_CHECKING:
    from wfgy_triage.engines.in_turn import Turns

SPOOL = "spool"
"""Folder of the home for what one model computed, while another is compared with it; its files have no names."""
_log = logging.getLogger(__name__)


class OpenEngine(Protocol):
    """The shape of `engines.loading.open_engine`."""

    def __call__(
        self,
        folder: Path,
        *,
        side: Side,
        mode: Mode = "reproducible",
        share_with: Engine | None = None,
        settings: EngineSettings = ...,
    ) -> Engine:
        """Load one side of a pair."""
        ...


@dataclass(frozen=True)
class Room:
    """What the memory has room for.

    Attributes:
        text: the same in words; empty where nothing is going to be loaded here, or nothing is known.
        in_turn: one model at a time.
    """

    text: str = ""
    in_turn: bool = False


@dataclass(frozen=True)
class LoadedPair:
    """Both sides of a pair, ready to measure.

    Attributes:
        fp16: the baseline.
        exl2: the quantized model.
        in_turn: they load their models when they compute, one at a time.
    """

    fp16: Engine
    exl2: Engine
    in_turn: bool = False


def as_asked(settings: EngineSettings, loaded: bool) -> Room:
    """The room where nobody looks at the memory: what the pair's settings say, together if that is nothing."""
    return Room(in_turn=settings.loading == "in_turn")


class ModelCache:
    """Holds the engines of one pair at a time. Not thread-safe: it belongs to the thread that measures.

    Args:
        open_engine: loads one side.
        spool: folder for what one model computed, where the models of a pair take turns; that of the system for
            temporary files unless given.
    """

    def __init__(self, open_engine: OpenEngine, spool: Path | None = None) -> None:
        self._open_engine = open_engine
        self._spool = Path(tempfile.gettempdir()) if spool is None else spool
        self._pair: Pair | None = None
        self._signature: tuple[tuple[str, int, int], ...] = ()
        self._loaded: LoadedPair | None = None
        self._turns: Turns | None = None
        self._floor: Engine | None = None
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether the GPU stopped: what it held cannot be used again, and no model be loaded in this process."""
        return self._lost

    @property
    def pair(self) -> Pair | None:
        """Whose models are loaded."""
        return self._pair

    @property
    def pair_id(self) -> str | None:
        """The id of it."""
        pair = self._pair  # read once: the worker's sign-of-life thread asks while runs change it
        return None if pair is None else pair.id

    def acquire(
        self,
        pair: Pair,
        progress: Callable[[int], None] = lambda done: None,
        room: Callable[[EngineSettings, bool], Room] = as_asked,
    ) -> LoadedPair:
        """Return both engines; those of an earlier pair, or of changed files, are closed first.

        Args:
            pair: a pair that is ready to load.
            progress: told how many of the two sides are loaded.
            room: told what is going to be loaded, and whether only the twin is left to be; says how, and may refuse.
                What it refuses beside loaded models it is asked again once they have given their memory back.

        Raises:
            TriageError: a side cannot be loaded, or has no room (nothing holds memory then), or the pair's engine
                settings are wrong.
        """
        signature = files_signature(pair)
        settings = engine_settings(pair.engine, pair.id)
        # A server may have another model by now: it is asked again for every run.
        unchanged = (self._pair, self._signature) == (pair, signature) and not settings.served
        kept, chosen = self._kept(settings, room) if unchanged else (None, None)
        if kept is None:
            self.close()
            chosen = chosen or room(settings, False)
            kept = self._load(pair, settings, chosen.in_turn, progress)
            self._pair, self._signature, self._loaded = pair, signature, kept
        progress(2)
        return kept

    def _kept(
        self, settings: EngineSettings, room: Callable[[EngineSettings, bool], Room]
    ) -> tuple[LoadedPair | None, Room | None]:
        """The engines of the run before, none where they have to be loaded in another way; and the room for that.

        The room is none where nobody has looked at it with all memory free.
        """
        if self._loaded is None:
            return None, None
        if self._turns is None:
            try:
                stays = self._floor is not None or not room(settings, True).in_turn
            except PrerequisiteError:
                stays = False
            return self._loaded if stays else None, None
        # What the last one of them holds is free for whichever is asked first.
        self._turns.rest()
        chosen = room(settings, False)
        return self._loaded if chosen.in_turn else None, chosen

    def _load(
        self, pair: Pair, settings: EngineSettings, in_turn: bool, progress: Callable[[int], None]
    ) -> LoadedPair:
        turns = self._group() if in_turn else None
        open_engine = self._open_engine if turns is None else turns.open_engine
        with ExitStack() as undo:
            fp16 = open_engine(pair.fp16, side="fp16", settings=settings)
            undo.callback(fp16.close)
            progress(1)
            exl2 = open_engine(pair.exl2, side="exl2", share_with=fp16, settings=settings)
            undo.pop_all()
        self._turns = turns
        # A side on a server is loaded nowhere here, whatever the pair asks for.
        return LoadedPair(fp16, exl2, in_turn and any(e.capabilities.in_turn for e in (fp16, exl2)))

    def _group(self) -> Turns:
        # With torch, which not every process needs that knows this module.
        from wfgy_triage.engines.in_turn import Turns

        return Turns(self._open_engine, self._spool)

    def opener(self, in_turn: bool = False) -> OpenEngine:
        """What opens further engines: where those of the acquired pair take turns, in turn with these.

        Args:
            in_turn: where no pair is acquired, whether what is opened takes turns.
        """
        if self._turns is not None:
            return self._turns.open_engine
        return self._group().open_engine if in_turn and self._loaded is None else self._open_engine

    def floor(self) -> Engine:
        """The FP16 twin in fast mode, for the noise floor of the acquired pair; loaded on first use.

        Raises:
            TriageError: it cannot be loaded.
        """
        if self._pair is None:
            raise RuntimeError("floor() before acquire()")
        if self._floor is None:
            settings = engine_settings(self._pair.engine, self._pair.id)
            open_engine = self.opener()
            self._floor = open_engine(self._pair.fp16, side="fp16", mode="fast", settings=settings)
        return self._floor

    def decoded(self) -> Engine:
        """The EXL2 weights of the acquired pair, decoded in the reference engine; the caller closes it.

        Raises:
            TriageError: it cannot be loaded.
        """
        if self._pair is None or self._loaded is None:
            raise RuntimeError("decoded() before acquire()")
        settings = engine_settings(self._pair.engine, self._pair.id)
        # Beside FP16, whose weights can then be put in their place.
        settings = replace(settings, backend="reference", device=settings.device_of("fp16"))
        open_engine = self.opener()
        return open_engine(self._pair.exl2, side="exl2", share_with=self._loaded.fp16, settings=settings)

    def close(self) -> None:
        """Give all memory back."""
        turns = self._turns
        for engine in self._forget():
            engine.close()
        if turns is not None:
            turns.rest()

    def abandon(self, *, lost: bool) -> None:
        """Close the models after a fault of their device, as far as they still can be closed.

        Args:
            lost: the GPU stopped. A CUDA context cannot be repaired within a process, so this one has to end.
        """
        self._lost = self._lost or lost
        for engine in self._forget():
            try:
                engine.close()
            # Giving memory back asks the device, and one that stopped answers every call with its error.
            except Exception as error:
                _log.warning("a model could not be closed: %s", error)

    def _forget(self) -> list[Engine]:
        """What is loaded, the last one first; nothing is from now on."""
        engines = [self._floor]
        if self._loaded is not None:
            engines += [self._loaded.exl2, self._loaded.fp16]
        self._pair = self._loaded = self._floor = self._turns = None
        return [engine for engine in engines if engine is not None]
