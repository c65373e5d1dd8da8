"""Parts of a model that get a rate of their own: `head`, `attn 0-5`, `mlp`, `all`, or a module name. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from wfgy_triage.errors import InputError
from wfgy_triage.exl2.modules import HEAD, module_order
from wfgy_triage.exl2.presets import HEAD_PRESETS

ALL = "all"
HEADS = frozenset({"head", HEAD})
"""Names of the head as a part."""
_RANGE = re.compile(r"^(attn|mlp)(?: (\d+)(?:-(\d+))?)?$")
KINDS = {"attn": "self_attn.", "mlp": "mlp."}
"""Kinds of linears in a block, and how their names start there."""
LOWEST, HIGHEST = 2.2, 8.5
"""Rates that can be asked for, in bits per weight."""


def part_linears(part: str, linears: Iterable[str]) -> tuple[str, ...]:
    """The decoder linears that a part names, in model order.

    Args:
        part: `all`; `attn` or `mlp`, alone or with blocks counted from 0, both ends included (`mlp 25-29`, `attn 3`);
            or the name of a module, which takes what lies under it (`model.layers.24.mlp`).
        linears: module names of the decoder's linears.

    Raises:
        InputError: the part names none of them.
    """
    keys = sorted((key for key in linears if key != HEAD), key=module_order)
    match = _RANGE.match(part)
    if part == ALL:
        found = keys
    elif match:
        first = int(match[2]) if match[2] else 0
        last = int(match[3] or match[2]) if match[2] else 1 << 30
        found = [
            key
            for key in keys
            if first <= module_order(key)[0] <= last and module_order(key)[1].startswith(KINDS[match[1]])
        ]
    else:
        found = [key for key in keys if key == part or key.startswith(f"{part}.")]
    if not found:
        raise InputError(
            f"No layer of this model is called {part!r}.",
            "Name a part such as 'mlp 25-29', 'attn 0-5', 'mlp', 'head', or a module such as model.layers.24.mlp.",
        )
    return tuple(found)


def rates_by_linear(protect: Mapping[str, float], linears: Sequence[str]) -> dict[str, float]:
    """The rate that each protected decoder linear is to get; where parts overlap the higher one counts.

    Args:
        protect: bits per weight by part; `head` is left out here, see `protected_head`.
        linears: module names of the decoder's linears.

    Raises:
        InputError: a part that names nothing, or a rate outside the format.
    """
    rates: dict[str, float] = {}
    for part, bpw in blocks_only(protect).items():
        if not LOWEST <= bpw <= HIGHEST:
            raise InputError(
                f"{bpw} bits per weight for {part!r} are outside what EXL2 offers.",
                "Choose between 2.3 and 8.1.",
            )
        for key in part_linears(part, linears):
            rates[key] = max(bpw, rates.get(key, 0.0))
    return rates


def blocks_only(protect: Mapping[str, float]) -> dict[str, float]:
    """What is protected besides the head."""
    return {part: bpw for part, bpw in protect.items() if part not in HEADS}


def protected_head(protect: Mapping[str, float], head_bits: int) -> int:
    """The head option, raised where `protect` names the head.

    Raises:
        InputError: a rate that is no head option.
    """
    asked = [bpw for part, bpw in protect.items() if part in HEADS]
    for bpw in asked:
        if bpw not in HEAD_PRESETS:
            raise InputError(f"There is no {bpw:g}-bit head.", "Choose 2, 3, 4, 5, 6 or 8.")
    return max([head_bits, *(int(bpw) for bpw in asked)])


def parse_protection(texts: Iterable[str]) -> dict[str, float]:
    """Read `PART=BPW` texts of a command line.

    Raises:
        InputError: a text of another form.
    """
    protect: dict[str, float] = {}
    for text in texts:
        part, equals, rate = text.rpartition("=")
        try:
            protect[" ".join(part.split())] = float(rate)
        except ValueError:
            equals = ""
        if not equals or not part.strip():
            raise InputError(f"{text!r} is not PART=BPW.", "Write for example --protect 'mlp 25-29=6'.")
    return protect
