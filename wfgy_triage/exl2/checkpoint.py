"""An EXL2 or GPTQ folder, memory-mapped and decoded one layer at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.codec import decode_gptq, decode_linear
from wfgy_triage.exl2.modules import FolderContents, module_order, read_folder


class Checkpoint:
    """Read access to a checked folder. Files stay mapped until `close`; nothing is decoded ahead.

    Use `Checkpoint.open`; a `with` statement closes it.
    """

    def __init__(self, contents: FolderContents) -> None:
        self.contents = contents
        self._files: dict[Path, Any] = {}

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Check the folder and map its files.

        Raises:
            PrerequisiteError: the folder cannot be used; names file and tensor.
        """
        return cls(read_folder(Path(folder)))

    @property
    def config(self) -> Mapping[str, Any]:
        """The folder's config.json."""
        return self.contents.config

    def quantized_keys(self) -> tuple[str, ...]:
        """Module names of the quantized linears, in model order."""
        return tuple(sorted({*self.contents.exl2, *self.contents.gptq}, key=module_order))

    def plain_names(self) -> tuple[str, ...]:
        """Names of the tensors stored as ordinary numbers: embeddings, norms, biases, unquantized linears.

        GPTQ writers add zero biases to layers that have none; the library drops them, and so does this list.
        """
        return self._plain_names

    def plain(self, name: str) -> torch.Tensor:
        """Return an ordinary tensor in its stored dtype.

        Raises:
            PrerequisiteError: when the folder does not hold it.
        """
        if name not in self.contents.plain:
            raise PrerequisiteError(
                f"{self.contents.folder.name} holds no plain tensor {name}.",
                "Check that both folders are one model.",
            )
        return self._tensor(name)

    def stored(self, name: str) -> torch.Tensor:
        """Return any tensor as it lies in the file, packed ones included; `name` is one of `contents.tensors`."""
        return self._tensor(name)

    def decode(self, key: str) -> torch.Tensor:
        """Return the library's fp16 weight of a quantized linear, shape (out_features, in_features).

        Raises:
            PrerequisiteError: when the folder holds no quantized linear of that name.
        """
        if key in self.contents.exl2:
            layout = self.contents.exl2[key]
            tensors = {
                p: self._tensor(f"{key}.{p}") for p in ("q_weight", "q_invperm", "q_scale", "q_scale_max")
            }
            return decode_linear(tensors, layout.groups, layout.out_features)
        if key in self.contents.gptq:
            gptq = self.contents.gptq[key]
            parts = (
                ("qweight", "qzeros", "scales", "g_idx")
                if gptq.act_order
                else ("qweight", "qzeros", "scales")
            )
            tensors = {p: self._tensor(f"{key}.{p}") for p in parts}
            return decode_gptq(tensors, gptq.group_size, gptq.act_order, self._zero_offset())
        raise PrerequisiteError(
            f"{self.contents.folder.name} holds no quantized linear {key}.",
            "Check that both folders are one model.",
        )

    def row_order(self, key: str) -> npt.NDArray[np.int64]:
        """Stored row of each input feature of an EXL2 linear, shape (in_features,)."""
        order: npt.NDArray[np.int64] = self._tensor(f"{key}.q_invperm").long().numpy()
        return order

    def close(self) -> None:
        """Unmap the files."""
        self._files.clear()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _plain_names(self) -> tuple[str, ...]:
        biases = {f"{key}.bias" for key, layout in self.contents.gptq.items() if layout.has_bias}
        zero = {name for name in biases if not bool(self._tensor(name).any())}
        return tuple(name for name in self.contents.plain if name not in zero)

    def _tensor(self, name: str) -> torch.Tensor:
        file = self.contents.tensors[name].file
        if file not in self._files:
            self._files[file] = safe_open(file, framework="pt")
        tensor: torch.Tensor = self._files[file].get_tensor(name)
        return tensor

    def _zero_offset(self) -> int:
        block = self.config.get("quantization_config")
        return 0 if isinstance(block, dict) and block.get("checkpoint_format") == "gptq_v2" else 1
