"""What computes each side of a pair: the `engine:` block of the pairs file, checked, as a frozen record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wfgy_triage.errors import InputError
from wfgy_triage.server_settings import ServerSettings, server_settings

Backend = Literal["auto", "reference", "exllamav2"]
Baseline = Literal["transformers", "exllamav2"]
CacheKind = Literal["FP16", "Q8", "Q6", "Q4"]
Attention = Literal["causal", "installed"]

PAGE = 256
"""Tokens of one page of the library's cache; its size is a multiple of this."""
_DEVICE = re.compile(r"cpu|cuda(?::\d{1,2})?")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "backend": get_args(Backend),
    "baseline": get_args(Baseline),
    "cache": get_args(CacheKind),
    "attention": get_args(Attention),
}
SERVERS = ("server", "baseline_server")
"""Settings that name a running server."""
_SIDE_SETTINGS = (("server", "backend"), ("baseline_server", "baseline"))
"""A server, and the setting of the same side that says nothing beside it."""
_HINT = "Correct its `engine:` block in the pairs file; docs/pairs.md lists the settings."


@dataclass(frozen=True)
class EngineSettings:
    """How the two sides of a pair are run.

    Attributes:
        device: `cpu`, `cuda` (every visible GPU, filled one after the other), or `cuda:N`.
        backend: what runs the EXL2 side: `reference` (decoded weights in transformers' class), `exllamav2` (the
            library itself), or `auto`: the library on a CUDA device, the reference elsewhere.
        baseline: what runs the FP16 side.
        cache: how the EXL2 side keeps keys and values; the reference rounds them as exllamav2 does.
        context: most tokens of prompt and answer in exllamav2; the model's own limit where that is lower.
        attention: `causal` keeps exllamav2 from an attention back end that has no causal mask; `installed` takes
            whatever it would take by itself, as a server would.
        server: a running server that answers for the EXL2 side; None: its folder is loaded here.
        baseline_server: the same for the FP16 side.
    """

    device: str = "cpu"
    backend: Backend = "auto"
    baseline: Baseline = "transformers"
    cache: CacheKind = "FP16"
    context: int = 8192
    attention: Attention = "causal"
    server: ServerSettings | None = None
    baseline_server: ServerSettings | None = None

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    @property
    def served(self) -> bool:
        """Whether either side is asked on a server."""
        return self.server is not None or self.baseline_server is not None

    def server_of(self, side: Literal["fp16", "exl2"]) -> ServerSettings | None:
        """The server that answers for a side; None for a folder that is loaded here."""
        return self.server if side == "exl2" else self.baseline_server


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
    _check(found, pair_id, uses_library)
    return found


def _check(settings: EngineSettings, pair_id: str, uses_library: bool) -> None:
    if not isinstance(settings.device, str) or not _DEVICE.fullmatch(settings.device):
        raise InputError(
            f"The pair {pair_id!r} has the device {settings.device!r}; it is cpu, cuda or cuda:N.", _HINT
        )
    context = settings.context
    if isinstance(context, bool) or not isinstance(context, int) or context < PAGE:
        raise InputError(
            f"The pair {pair_id!r} has the context {context!r}; it is a number of tokens from {PAGE} up.",
            _HINT,
        )
    if uses_library and not settings.on_cuda:
        raise InputError(
            f"The pair {pair_id!r} asks for exllamav2 on the device {settings.device!r}; it computes on a GPU only.",
            "Set device: cuda, or leave backend and baseline out.",
        )
