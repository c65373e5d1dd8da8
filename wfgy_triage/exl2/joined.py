"""Linears that some classes (Phi-3, GLM-4) store as one matrix, and the library's converter in parts. Torch-free."""

from __future__ import annotations

from collections.abc import Set

_PARTS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


def parts_of(name: str) -> tuple[str, ...]:
    """What a joined module, or its weight or bias, is made of, from the first row to the last; empty for all others."""
    for leaf, parts in _PARTS.items():
        parent, found, tail = name.rpartition(f".{leaf}")
        if found and tail in ("", ".weight", ".bias"):
            return tuple(f"{parent}.{part}{tail}" for part in parts)
    return ()


def taken_apart(names: Set[str], others: Set[str]) -> set[str]:
    """The names, with its parts in place of each joined one where `others` has all of them."""
    apart = {name: parts for name in names - others if (parts := parts_of(name)) and set(parts) <= others}
    return (names - apart.keys()).union(*apart.values())
