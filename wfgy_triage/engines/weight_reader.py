"""The weights of a quantized checkpoint as a model class asks for them."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol

import torch

from wfgy_triage.exl2.joined import parts_of


class WeightReader(Protocol):
    """What is asked of a quantized checkpoint."""

    def quantized_keys(self) -> Any:
        """Paths of the quantized linear layers."""
        ...

    def decode(self, key: str) -> torch.Tensor:
        """fp16 weight (out_features, in_features) of a layer."""
        ...

    def plain_names(self) -> Any:
        """Names of the tensors that are stored as they are."""
        ...

    def plain(self, name: str) -> torch.Tensor:
        """One of them."""
        ...


class JoinedReader:
    """A checkpoint in which what the class holds as one matrix, and the checkpoint in parts, is one again.

    Args:
        reader: the checkpoint.
        expected: names of the parameters of the class.
    """

    def __init__(self, reader: WeightReader, expected: Set[str]) -> None:
        self._reader = reader
        self._quantized, self._plain = set(reader.quantized_keys()), set(reader.plain_names())
        stored = self._plain | {f"{key}.weight" for key in self._quantized}
        self._parts = {
            name: parts
            for name in expected - stored
            if (parts := parts_of(name)) and stored.issuperset(parts)
        }

    def quantized_keys(self) -> set[str]:
        """Paths of the linear layers of which any part is quantized."""
        inside = {part.removesuffix(".weight") for parts in self._parts.values() for part in parts}
        joined = {
            name.removesuffix(".weight")
            for name, parts in self._parts.items()
            if not self._plain.issuperset(parts)
        }
        return self._quantized - inside | joined

    def decode(self, key: str) -> torch.Tensor:
        """Weight (out_features, in_features) of a layer; fp16 where all of its parts are."""
        parts = self._parts.get(f"{key}.weight")
        return self._reader.decode(key) if parts is None else self._joined(parts)

    def plain_names(self) -> set[str]:
        """Names of the tensors that are stored as they are, in one piece or in parts."""
        inside = {part for parts in self._parts.values() for part in parts}
        joined = {name for name, parts in self._parts.items() if self._plain.issuperset(parts)}
        return self._plain - inside | joined

    def plain(self, name: str) -> torch.Tensor:
        """One of them."""
        parts = self._parts.get(name)
        return self._reader.plain(name) if parts is None else self._joined(parts)

    def _joined(self, parts: tuple[str, ...]) -> torch.Tensor:
        return torch.cat(
            [
                self._reader.plain(part)
                if part in self._plain
                else self._reader.decode(part.removesuffix(".weight"))
                for part in parts
            ]
        )
