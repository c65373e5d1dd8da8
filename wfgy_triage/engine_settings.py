"""What computes each side of a pair: the `engine:` block of the pairs file, checked, as a frozen record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from wfgy_triage.errors import InputError
from wfgy_triage.hosting import DEVICE
from wfgy_triage.server_settings import ServerSettings, server_settings

Backend = Literal["auto", "reference", "exllamav2"]
Baseline = Literal["transformers", "exllamav2"]
CacheKind = Literal["FP16", "Q8", "Q6", "Q4"]
Attention = Literal["causal", "installed"]
Loading = Literal["auto", "together", "in_turn"]
Side = Literal["fp16", "exl2"]

PAGE = 256
"""Tokens of one page of the library's cache; its size is a multiple of this."""
CPU = "cpu"
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "backend": get_args(Backend),
    "baseline": get_args(Baseline),
    "cache": get_args(CacheKind),
    "attention": get_args(Attention),
    "loading": get_args(Loading),
}
SERVERS = ("server", "baseline_server")
"""Settings that name a running server."""
_SIDE_SETTINGS = (
    ("server", "backend"),
    ("baseline_server", "baseline"),
    ("baseline_server", "baseline_device"),
)
"""A server, and a setting of the same side that says nothing beside it."""
_HINT = "Correct its `engine:` block in the pairs file; docs/pairs.md lists the settings."


@dataclass(frozen=True)
class EngineSettings:
    """How the two sides of a pair are run.

    Attributes:
        device: of both sides: `cpu`, `cuda:N`, or `cuda`: every visible GPU, filled one after the other, in exllamav2;
            the first one in transformers, which splits no model here.
        baseline_device: of the FP16 side, where it is another one; None: the same.
        backend: what runs the EXL2 side: `reference` (decoded weights in transformers' class), `exllamav2` (the
            library itself), or `auto`: the library on a CUDA device, the reference elsewhere.
        baseline: what runs the FP16 side.
        cache: how the EXL2 side keeps keys and values; the reference rounds them as exllamav2 does.
        context: most tokens of prompt and answer in exllamav2; the model's own limit where that is lower.
        attention: `causal` keeps exllamav2 from an attention back end that has no causal mask; `installed` takes
            whatever it would take by itself, as a server would.
        server: a running server that answers for the EXL2 side; None: its folder is loaded here.
        baseline_server: the same for the FP16 side.
        loading: `together`: both sides stay loaded; `in_turn`: one model is loaded at a time; `auto`: together where
            they fit.
    """

    device: str = "cpu"
    backend: Backend = "auto"
    baseline: Baseline = "transformers"
    cache: CacheKind = "FP16"
    context: int = 8192
    attention: Attention = "causal"
    server: ServerSettings | None = None
    baseline_server: ServerSettings | None = None
    baseline_device: str | None = None
    loading: Loading = "auto"

    @property
    def served(self) -> bool:
        """Whether either side is asked on a server."""
        return self.server is not None or self.baseline_server is not None

    def server_of(self, side: Side) -> ServerSettings | None:
        """The server that answers for a side; None for a folder that is loaded here."""
        return self.server if side == "exl2" else self.baseline_server

    def device_of(self, side: Side) -> str:
        """The device of a side that is loaded here."""
        return self.device if side == "exl2" or self.baseline_device is None else self.baseline_device

    def uses_library(self, side: Side) -> bool:
        """Whether a side runs in exllamav2 itself. Where `auto` meets an installed library on a GPU it does."""
        if self.server_of(side) is not None:
            return False
        if side == "fp16":
            return self.baseline == "exllamav2"
        if self.backend == "auto":
            return _on_gpu(self.device) and find_spec("exllamav2") is not None
        return self.backend == "exllamav2"

    def places(self, side: Side, gpus: Callable[[], int]) -> tuple[str, ...]:
        """The devices that a side's model is put on, in the order in which they are filled; none for a served side.

        Args:
            side: of the pair.
            gpus: tells how many GPUs are visible; asked only where a model may use all of them.
        """
        device = self.device_of(side)
        if self.server_of(side) is not None:
            return ()
        if device != "cuda":
            return (device,)
        return tuple(f"cuda:{n}" for n in range(max(gpus(), 1) if self.uses_library(side) else 1))

    def devices(self, gpus: Callable[[], int]) -> tuple[str, ...]:
        """Every device that the pair computes on, in the order in which all processes take them."""
        found = {*self.places("fp16", gpus), *self.places("exl2", gpus)}
        # What servers answer is judged here.
        return tuple(sorted(found or {CPU}, key=lambda name: (name != CPU, int(name.partition(":")[2] or 0))))

    def main_device(self, gpus: Callable[[], int]) -> str:
        """Where most of the work is done: the EXL2 side's device, `cuda` where that is several GPUs."""
        places = self.places("exl2", gpus) or self.places("fp16", gpus) or (CPU,)
        return places[0] if len(places) == 1 else "cuda"


def engine_settings(values: Mapping[str, Any], pair_id: str) -> EngineSettings:
    """Read a pair's engine block; an empty one gives the defaults.

    Args:
        values: the block as written.
        pair_id: for the messages.

    Raises:
        InputError: an unknown setting or value, or settings that do not go together; names it.
    """
    known = tuple(EngineSettings.__dataclass_fields__)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(
            f"The pair {pair_id!r} has unknown engine settings: {', '.join(map(str, unknown))}.",
            f"Correct its entry in the pairs file; known: {', '.join(known)}.",
        )
    for name, choices in _CHOICES.items():
        if name in values and values[name] not in choices:
            raise InputError(
                f"The pair {pair_id!r} has the engine setting {name}: {values[name]!r}; it is one of"
                f" {', '.join(choices)}.",
                _HINT,
            )
    uses_library = "exllamav2" in (values.get("backend"), values.get("baseline"))
    servers = {name: server_settings(values[name], pair_id, name) for name in SERVERS if name in values}
    found = EngineSettings(**{"device": "cuda" if uses_library else "cpu", **values, **servers})
    for server, local in _SIDE_SETTINGS:
        if server in values and local in values:
            raise InputError(
                f"The pair {pair_id!r} has both {server} and {local}: a side is either asked on a server or loaded"
                " here.",
                f"Leave {local} out.",
            )
    _check(found, pair_id)
    return found


def _on_gpu(device: str) -> bool:
    return device.startswith("cuda")


def _check(settings: EngineSettings, pair_id: str) -> None:
    for name in ("device", "baseline_device"):
        device = getattr(settings, name)
        unsaid = name == "baseline_device" and device is None
        if not unsaid and (not isinstance(device, str) or not DEVICE.fullmatch(device)):
            raise InputError(
                f"The pair {pair_id!r} has the {name} {device!r}; it is cpu, cuda or cuda:N.", _HINT
            )
    context = settings.context
    if isinstance(context, bool) or not isinstance(context, int) or context < PAGE:
        raise InputError(
            f"The pair {pair_id!r} has the context {context!r}; it is a number of tokens from {PAGE} up.",
            _HINT,
        )
    asked: tuple[tuple[Side, str], ...] = (("exl2", settings.backend), ("fp16", settings.baseline))
    for side, engine in asked:
        device = settings.device_of(side)
        if engine == "exllamav2" and not _on_gpu(device):
            raise InputError(
                f"The pair {pair_id!r} asks for exllamav2 on the device {device!r}; it computes on a GPU only.",
                "Set device: cuda (and no baseline_device, or cuda there too), or leave backend and baseline out.",
            )
