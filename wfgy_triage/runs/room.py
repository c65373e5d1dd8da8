"""Before a pair is loaded: whether all of it fits, said in words, and refused with what would help where it does not.

Both models stay loaded for a whole run where they fit together. Where they do not, or a GPU has no room for FP16 a
second time, for the noise between two FP16 runs, they take turns; a pair may ask for either (`loading`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from wfgy_triage.engine_settings import CPU, EngineSettings
from wfgy_triage.engines.device_faults import GPU_MEMORY, MAIN_MEMORY
from wfgy_triage.engines.devices import free_bytes, free_untouched, gpu_count, is_there
from wfgy_triage.engines.footprint import WORKING_BYTES, Need, needs_of
from wfgy_triage.engines.prepare import on_device
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.runs.models import Room

PATIENCE_S = 5.0
"""How long an idle worker is given to let go of what it keeps loaded on a device that this process has taken."""
_POLL_S = 0.5
_GB = 1e9
Free = Callable[[str], int]
"""Bytes that are free on a device."""


@dataclass(frozen=True)
class Shortage:
    """Where a model does not fit.

    Attributes:
        need: the model.
        needed: bytes that are needed there, its own and those of the models before it.
        free: bytes that are free there.
    """

    need: Need
    needed: int
    free: int


def state_room(
    pair: Pair,
    settings: EngineSettings,
    twin: bool,
    loaded: bool = False,
    free: Free = free_bytes,
    patience_s: float = PATIENCE_S,
    elsewhere: Free = free_untouched,
    *,
    times: bool = False,
) -> Room:
    """Say how a pair is going to be loaded, and what it takes of what is free; no words where nothing is loaded here.

    Args:
        pair: the pair to load.
        settings: what computes it, and where.
        twin: whether FP16 is going to be loaded a second time, for the noise between two FP16 runs.
        loaded: whether both sides are loaded already, so that only this is to come.
        free: bytes that are free on a device.
        patience_s: seconds that others are given to let go, where it does not fit at first.
        elsewhere: bytes that are free on a device that the pair does not compute on, and which is left alone.
        times: whether the verdict takes in how much time EXL2 saves.

    Raises:
        PrerequisiteError: it does not fit, and why; or a folder cannot be read.
    """
    needs = needs_of(pair, settings, twin, loaded)
    if not needs:
        return Room()
    devices = _devices(needs)
    asked, keeps = settings.loading == "in_turn", _keeps_both(settings, times)
    if not all(is_there(device) for device in devices):
        return Room(in_turn=asked)  # whatever opens the first model there says what is missing
    find = _short_alone if asked else shortage
    end = time.monotonic() + patience_s
    while (short := find(needs, amounts := _amounts(devices, free))) is not None:
        # What the run does without is worth no waiting.
        if (short.need.spare and keeps) or time.monotonic() >= end:
            break
        time.sleep(_POLL_S)
    if short is None or (short.need.spare and keeps):
        return Room(_statement(settings, loaded, needs, amounts, short), asked)
    if settings.loading == "auto" and loaded:
        return Room(in_turn=True)  # once what is loaded has gone, it is asked again, and said
    alone = None if loaded else _short_alone(needs, amounts)
    if settings.loading == "auto" and alone is None:
        return Room(_turns(settings, needs, amounts, short.need.spare), in_turn=True)
    hint = _way_out(pair, settings, twin, short, lambda d: free(d) if d in amounts else elsewhere(d))
    if alone is None and not loaded:
        hint = f"{hint} Or set `loading: in_turn` there: each model fits alone, and they take turns."
    raise _refusal(needs, alone or short, alone is not None, hint)


def _keeps_both(settings: EngineSettings, times: bool) -> bool:
    """Whether both sides stay loaded where all that has no room is FP16 a second time, and the noise floor is lost.

    Turns cost time, a verdict without a floor is weaker: so they take turns. But models that take turns are not timed,
    and a gate that judges the time saved cannot be passed without it. It is known without that second FP16 only where
    both sides run in the library, on one device.
    """
    library = settings.uses_library("fp16") and settings.uses_library("exl2")
    timed = times and library and settings.device_of("fp16") == settings.device_of("exl2")
    return settings.loading == "together" or timed


def shortage(needs: Sequence[Need], free: Mapping[str, int]) -> Shortage | None:
    """The first model that does not fit behind those before it; None where all fit.

    Args:
        needs: what is loaded, in that order.
        free: bytes that are free, by device; `WORKING_BYTES` of each are for computing.
    """
    used = dict.fromkeys(free, WORKING_BYTES)
    for need in needs:
        rest = need.bytes
        for device in need.devices:
            taken = min(rest, max(free[device] - used[device] - need.reserve, 0))
            used[device] += taken + need.reserve * (taken > 0)
            rest -= taken
        if rest > 0:
            needed = sum(used[d] for d in need.devices) + rest
            return Shortage(need, needed, sum(free[d] for d in need.devices))
    return None


def _short_alone(needs: Sequence[Need], free: Mapping[str, int]) -> Shortage | None:
    """The first model that does not fit by itself and cannot be done without; None where each fits."""
    found = (shortage([need], free) for need in needs if not need.spare)
    return next((short for short in found if short is not None), None)


def _statement(
    settings: EngineSettings,
    loaded: bool,
    needs: Sequence[Need],
    free: Mapping[str, int],
    short: Shortage | None,
) -> str:
    if settings.loading == "in_turn":
        return _turns(settings, needs, free, floor_alone=False)
    if loaded:
        begin = "The models are still loaded."
    elif settings.served:
        begin = "The model that is loaded here stays loaded for the whole run."
    else:
        begin = "Both models stay loaded for the whole run."
    fit = [n for n in needs if short is None or n is not short.need]
    said = [begin, *(_figures(kind, *_sums(kind, fit, free)) for kind in _kinds(free) if fit)]
    if short is not None:
        said.append("FP16 may find no room there a second time; then the noise floor is NOT MEASURED.")
        if settings.loading == "auto":
            said.append(
                "Taking turns would measure it, but not the time that EXL2 saves, which this run judges."
            )
    return " ".join(said)


def _turns(
    settings: EngineSettings, needs: Sequence[Need], free: Mapping[str, int], floor_alone: bool
) -> str:
    """What is said of models of which one is loaded at a time: why, how, and what the largest takes.

    `floor_alone`: all that has no room beside the others is FP16 a second time.
    """
    if settings.loading == "in_turn":
        begin = "The models of this pair take turns, as its engine block says."
    elif floor_alone:
        begin = (
            "There is no room for FP16 a second time, which the noise floor takes, so the models of this pair take "
            "turns. With `loading: together` in its engine block they stay loaded, and the noise floor is NOT MEASURED."
        )
    else:
        begin = "The models of this pair do not all fit at the same time, so they take turns."
    how = (
        "One is loaded at a time, and what FP16 computed is kept on disk until EXL2 has been compared with it. Loading "
        "takes its time, and the answers are not timed."
    )
    figures = (_figures(kind, *_sums(kind, [_largest(kind, needs)], free)) for kind in _kinds(free))
    return " ".join([begin, how, *figures])


def _largest(devices: Sequence[str], needs: Iterable[Need]) -> Need:
    return max((n for n in needs if n.devices[0] in devices), key=lambda n: n.bytes)


def _kinds(devices: Iterable[str]) -> list[tuple[str, ...]]:
    """The devices by kind: the processor, then all GPUs; no model lies on both."""
    names = list(devices)
    gpus = tuple(d for d in names if d != CPU)
    return [kind for kind in ((CPU,) if CPU in names else (), gpus) if kind]


def _sums(devices: Sequence[str], needs: Iterable[Need], free: Mapping[str, int]) -> tuple[int, int]:
    """Bytes that are needed and that are free on devices of one kind, which no model shares with another kind."""
    needed = sum(n.bytes + n.reserve * len(n.devices) for n in needs if n.devices[0] in devices)
    return needed + WORKING_BYTES * len(devices), sum(free[d] for d in devices)


def _refusal(needs: Iterable[Need], short: Shortage, alone: bool, hint: str) -> PrerequisiteError:
    sizes = ", ".join(f"{n.name} {_gb(n.bytes)} GB" for n in needs)
    if alone:
        what = "A model of this pair does not fit into memory, not even alone."
    else:
        what = (
            "The models of this pair have to be loaded at the same time, and the memory does not hold them."
        )
    return PrerequisiteError(
        f"{what} {_figures(short.need.devices, short.needed, short.free)} To be loaded: {sizes}.",
        hint,
        MAIN_MEMORY if CPU in short.need.devices else GPU_MEMORY,
    )


def _way_out(pair: Pair, settings: EngineSettings, twin: bool, short: Shortage, free: Free) -> str:
    """What would help: another place for FP16 if one has room for it, else less of everything."""
    for device in _other_places(settings, short):
        moved = needs_of(pair, replace(settings, baseline_device=device), twin)
        there = _amounts(_devices(moved), free)
        left = shortage(moved, there)
        takes_turns = settings.loading != "together" and _short_alone(moved, there) is None
        if left is None or left.need.spare or takes_turns:
            slower = ", where it takes much longer" if device == CPU else ""
            return (
                f"Set `baseline_device: {device}` in the pair's engine block: there is room for FP16{slower}."
            )
    return (
        "Close other programs that use this memory. Where exllamav2 computes, a smaller `context` or `cache: Q8` in "
        "the pair's engine block takes less. Otherwise measure a smaller model, or use a machine with more memory."
    )


def _other_places(settings: EngineSettings, short: Shortage) -> list[str]:
    """Devices that FP16 could go on instead."""
    if settings.baseline_server is not None:
        return []
    gpus = [f"cuda:{n}" for n in range(gpu_count())]
    able = gpus if settings.baseline == "exllamav2" else [*gpus, CPU]
    return [device for device in able if device not in short.need.devices]


def _amounts(devices: Iterable[str], free: Free) -> dict[str, int]:
    """What is free, by device. A GPU that others have filled has no room for so much as being asked."""
    return {d: on_device(partial(free, d), f"The models cannot be loaded on {d}") for d in devices}


def _devices(needs: Iterable[Need]) -> list[str]:
    return list(dict.fromkeys(device for need in needs for device in need.devices))


def _figures(devices: Sequence[str], needed: int, free: int) -> str:
    where = "Main memory" if CPU in devices else f"GPU memory ({', '.join(devices)})"
    return f"{where}: about {_gb(needed)} GB needed, {_gb(free)} GB free."


def _gb(amount: int) -> str:
    return f"{amount / _GB:.1f}"
