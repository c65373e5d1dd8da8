"""Which run a worker takes next: the oldest that is for it and whose devices nobody needs before.

Installations with several devices may have a worker for each of them (`WFGY_TRIAGE_LANES`). A run belongs to the worker
of the device that its EXL2 side computes on, and to the first worker where no worker is named for that; whichever other
devices it uses are taken with it. A run that has to wait keeps its devices free of younger ones: it comes to its turn,
however many others only need a part of them.

Where several machines share a queue, a run whose pair is not registered or not ready on this one is left to the others,
as long as one of them is there. One that is to stop needs no models: whoever comes first ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from wfgy_triage.engine_settings import CPU, EngineSettings, engine_settings
from wfgy_triage.errors import InputError
from wfgy_triage.pairs import Pair, load_pairs
from wfgy_triage.runs.lane import Lane, make_lane, visible_gpus
from wfgy_triage.settings import Settings
from wfgy_triage.store.leases import OpenRun
from wfgy_triage.store.records import RunRecord, RunStatus
from wfgy_triage.store.runs import RunRepository


@dataclass(frozen=True)
class Share:
    """The part of the runs that one of the workers serves.

    Attributes:
        device: the one it is named for; empty where a single worker serves all.
        lanes: the devices of all workers, this one's among them.
    """

    device: str = ""
    lanes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the worker's process, its lock and its log: `worker`, `worker-cuda-0`."""
        return f"worker-{self.device.replace(':', '-')}" if self.device else "worker"

    @property
    def is_first(self) -> bool:
        """Whether it serves what no worker is named for, and tidies up for all."""
        return not self.lanes or self.lanes[0] == self.device

    def serves(self, main_device: str) -> bool:
        """Whether a run whose work is mostly done on this device is for this worker."""
        if main_device in self.lanes:
            return main_device == self.device
        if main_device != CPU and "cuda" in self.lanes:
            return self.device == "cuda"
        return self.is_first


EVERYTHING = Share()
"""What the only worker serves."""


def share_of(device: str, lanes: tuple[str, ...]) -> Share:
    """The share of the worker that was started for a device.

    Raises:
        InputError: no worker is to be started for it.
    """
    if device not in (lanes or ("",)):
        raise InputError(
            f"No worker is to be started for {device or 'all devices'!r}.",
            f"WFGY_TRIAGE_LANES names {', '.join(lanes) or 'no device'}; start the app, which starts its workers.",
        )
    return Share(device, lanes)


@dataclass(frozen=True)
class Turn:
    """A run that was leased, with its devices held.

    Attributes:
        record: the run.
        worker_id: who holds its lease.
        lane: the devices.
    """

    record: RunRecord
    worker_id: str
    lane: Lane


class Turns:
    """The queue as one worker sees it.

    Args:
        runs: the store.
        settings: of this process; its list of pairs says on which devices a run computes.
        share: what the worker serves.
        stale_after_s: a run of another host without a heartbeat for this many seconds is taken over.
        others_there: whether another machine's worker has given a sign of life lately.
    """

    def __init__(
        self,
        runs: RunRepository,
        settings: Settings,
        share: Share,
        stale_after_s: float,
        others_there: Callable[[], bool] = lambda: False,
    ) -> None:
        self._runs, self._settings, self._share, self._stale = runs, settings, share, stale_after_s
        self._others_there = others_there

    @contextmanager
    def next(self) -> Iterator[Turn | None]:
        """Lease the next run and hold its devices for the block; None where there is nothing to do now."""
        needed: set[str] = set()
        for run, lane, mine in self._open():
            if mine and needed.isdisjoint(lane.devices) and not lane.wanted():
                with lane.try_hold() as held:
                    worker_id = lane.new_worker_id()
                    record = self._runs.lease(worker_id, self._stale, lane.name, run.id) if held else None
                    if record is not None:
                        yield Turn(record, worker_id, lane)
                        return
            if run.status is RunStatus.QUEUED:
                needed.update(lane.devices)
        yield None

    def waits(self, devices: tuple[str, ...]) -> bool:
        """Whether a run is queued that is for this worker, or that uses one of these devices."""
        return any(
            run.status is RunStatus.QUEUED and (mine or not set(devices).isdisjoint(lane.devices))
            for run, lane, mine in self._open()
        )

    def _open(self) -> Iterator[tuple[OpenRun, Lane, bool]]:
        """The open runs but for those of others, oldest first, each with its lane and whether it is for this worker."""
        runs = self._runs.open_runs()
        pairs = self._pairs() if runs else {}
        others_there: bool | None = None
        for run in runs:
            pair = pairs.get(run.pair_id)
            if not (run.cancel_requested or (pair is not None and pair.ready)):
                others_there = self._others_there() if others_there is None else others_there
                if others_there:
                    continue
            devices, main = _computes_on(pair)
            yield run, make_lane(self._settings.home, devices), self._share.serves(main)

    def _pairs(self) -> Mapping[str, Pair]:
        try:
            return load_pairs(self._settings)
        except InputError:
            return {}  # the run itself ends with what is wrong with the list


def _computes_on(pair: Pair | None) -> tuple[tuple[str, ...], str]:
    """A pair's devices, and the main one; the processor where the run will only say that the pair cannot be used."""
    try:
        settings = engine_settings({} if pair is None else pair.engine, pair.id if pair else "")
    except InputError:
        settings = EngineSettings()
    return settings.devices(visible_gpus), settings.main_device(visible_gpus)
