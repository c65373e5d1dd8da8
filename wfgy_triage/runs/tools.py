"""What a run is done with. One bundle, so that everything below `execute.py` can be replaced in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wfgy_triage.doctor.finding import Finding
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.base import Engine
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.base import Probe
from wfgy_triage.runs.models import OpenEngine, Room


class StateRoom(Protocol):
    """The shape of `room.state_room`, as far as runs use it."""

    def __call__(
        self, pair: Pair, settings: EngineSettings, twin: bool, loaded: bool, *, times: bool = False
    ) -> Room:
        """Say how a pair is going to be loaded, or refuse it."""
        ...


@dataclass(frozen=True)
class RunTools:
    """The parts a run needs.

    Attributes:
        get_probe: the probe of a symptom.
        open_engine: loads one side of a pair.
        check_folders: what the doctor finds on the two folders, before anything is loaded; told of its progress.
        check_engines: what it finds on the two loaded models, before anything is measured.
        describe_pair: provenance of the two folders (`provenance.describe_pair`).
        state_room: whether a pair fits into memory, and how it is loaded for that (`room.state_room`).
    """

    get_probe: Callable[[str], Probe]
    open_engine: OpenEngine
    check_folders: Callable[[Pair, Callable[[int, int], None]], tuple[Finding, ...]]
    check_engines: Callable[[Engine, Engine], tuple[Finding, ...]]
    describe_pair: Callable[[Pair], Mapping[str, Any]]
    state_room: StateRoom


def default_tools() -> RunTools:
    """The real parts. Imports torch and transformers, hence only called by processes that measure."""
    from wfgy_triage.doctor.engines import check_engines
    from wfgy_triage.doctor.folders import check_folders
    from wfgy_triage.probes.registry import get_probe
    from wfgy_triage.runs.import_guard import GuardedOpening
    from wfgy_triage.runs.provenance import describe_pair
    from wfgy_triage.runs.room import state_room

    return RunTools(get_probe, GuardedOpening(), check_folders, check_engines, describe_pair, state_room)
