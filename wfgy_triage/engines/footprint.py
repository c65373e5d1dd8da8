"""What the models of a pair take in memory, worked out from the headers of their files before anything is loaded.

Estimates: weights in the width that they are computed in, and exllamav2's cache. What computing takes besides comes on
top as `WORKING_BYTES` a device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import torch

from wfgy_triage.engine_settings import CPU, PAGE, CacheKind, EngineSettings, Side
from wfgy_triage.engines.base import Mode
from wfgy_triage.engines.cache_rounding import CACHE_BITS, SCALE_BITS
from wfgy_triage.engines.caches import EXACT
from wfgy_triage.engines.devices import gpu_count
from wfgy_triage.engines.exllamav2_library import flash_attention_fits
from wfgy_triage.engines.exllamav2_loading import BATCH_TOKENS
from wfgy_triage.engines.prepare import compute_dtype
from wfgy_triage.engines.runner import kv_shape
from wfgy_triage.exl2.gptq_layout import GptqLayout
from wfgy_triage.exl2.headers import folder_tensors, read_json
from wfgy_triage.exl2.layout import LinearLayout
from wfgy_triage.exl2.modules import EMBEDDING, HEAD, read_folder
from wfgy_triage.exl2.tensor_file import TensorMeta
from wfgy_triage.pairs import Pair

WORKING_BYTES = 1 << 29
"""Left free on every device beside what is loaded: kernels, pieces of logits, remembered prompts. A choice."""
SCORED_TOKENS = 4096
"""Tokens of the longest text that is expected to be scored, where exllamav2 makes the room for it only then. A choice:
those of the built-in question sets are shorter."""
_HALF = 2


@dataclass(frozen=True)
class Need:
    """What one model takes.

    Attributes:
        name: of the model, for messages.
        devices: where it is put, in the order in which they are filled; `cpu` or `cuda:N`.
        bytes: about so many.
        spare: the run can go on without it where it does not fit.
        reserve: bytes that have to be free besides on every device that takes some of it.
    """

    name: str
    devices: tuple[str, ...]
    bytes: int
    spare: bool = False
    reserve: int = 0


def needs_of(pair: Pair, settings: EngineSettings, twin: bool, loaded: bool = False) -> tuple[Need, ...]:
    """What is loaded for a pair, in the order of loading; nothing for a side that is asked on a server.

    Args:
        pair: its folders.
        settings: what computes them, and where.
        twin: whether FP16 is loaded a second time, for the noise between two FP16 runs.
        loaded: whether both sides are loaded already.

    Raises:
        PrerequisiteError: a folder is no readable checkpoint.
    """
    found: list[Need] = []
    if settings.baseline_server is None and not loaded:
        found.append(_need("FP16", "fp16", pair, settings, "reproducible"))
    if settings.server is None and not loaded:
        found.append(_need("EXL2", "exl2", pair, settings, "reproducible"))
    if twin and settings.baseline_server is None:
        # A GPU says that it is full; of a processor's memory the system takes it by ending the process.
        again = _need("FP16 for the noise", "fp16", pair, settings, "fast")
        found.append(replace(again, spare=CPU not in again.devices))
    return tuple(found)


def _need(name: str, side: Side, pair: Pair, settings: EngineSettings, mode: Mode) -> Need:
    devices = settings.places(side, gpu_count)
    folder = pair.fp16 if side == "fp16" else pair.exl2
    if settings.uses_library(side):
        return _in_library(name, devices, folder, side, settings)
    width = compute_dtype(mode, torch.device(devices[0])).itemsize
    if side == "fp16":
        tensors = folder_tensors(folder)
        return Need(name, devices, _plain_bytes(tensors, tensors, width))
    return Need(name, devices, _decoded_bytes(folder, width))


def _plain_bytes(
    tensors: Mapping[str, TensorMeta], names: Iterable[str], width: int, own_head: bool = False
) -> int:
    """Tensors as transformers' classes hold them here: the embedding as it is stored, all else in `width` bytes."""
    total = sum(tensors[n].nbytes if n == EMBEDDING else math.prod(tensors[n].shape) * width for n in names)
    if not own_head and f"{HEAD}.weight" not in tensors and EMBEDDING in tensors:
        # A tied head multiplies by the embedding, in the form of the other linear layers.
        total += math.prod(tensors[EMBEDDING].shape) * width
    return total


def _decoded_bytes(folder: Path, width: int) -> int:
    """An EXL2 or GPTQ folder in the reference engine. What it can share with FP16 is counted all the same."""
    contents = read_folder(folder)
    linears: dict[str, LinearLayout | GptqLayout] = {**contents.exl2, **contents.gptq}
    decoded = sum(layer.in_features * layer.out_features for layer in linears.values()) * width
    return decoded + _plain_bytes(contents.tensors, contents.plain, width, own_head=HEAD in linears)


def _in_library(
    name: str, devices: tuple[str, ...], folder: Path, side: Side, settings: EngineSettings
) -> Need:
    """A folder in exllamav2: packed weights as they are stored, others in 16 bits, and the caches."""
    tensors = folder_tensors(folder)
    total = 0
    for meta in tensors.values():
        floats = meta.dtype in ("F16", "BF16", "F32")
        total += math.prod(meta.shape) * _HALF if floats else meta.nbytes
    if any(name.startswith(f"{HEAD}.") for name in tensors) and EMBEDDING in tensors:
        # The library keeps the embedding on the processor (`ExLlamaV2Embedding`), and a tied one as the head here.
        total -= math.prod(tensors[EMBEDDING].shape) * _HALF
    device = settings.device_of(side)
    caches = _cache_bytes(folder, EXACT if side == "fp16" else settings.cache, settings.context, device)
    if device == "cuda":
        return Need(name, devices, total + caches.answers, reserve=caches.reserve)
    return Need(name, devices, total + caches.answers + caches.scores)


@dataclass(frozen=True)
class _Caches:
    """Bytes of exllamav2's caches.

    Attributes:
        answers: of the generator.
        scores: of one for given texts, made when they are scored, of the same kind.
        reserve: what is kept free on every GPU for that one where the library shares layers out by itself: all of the
            context in 16 bits (`exllamav2_loading`).
    """

    answers: int
    scores: int
    reserve: int


def _cache_bytes(folder: Path, kind: CacheKind, context: int, device: str) -> _Caches:
    config = read_json(folder / "config.json")
    config = config.get("text_config", config)
    try:
        shape = kv_shape(SimpleNamespace(**config), torch.float16, torch.device(CPU))
    except AttributeError:
        # The library loads no folder without these sizes, and says which one is missing.
        return _Caches(0, 0, 0)
    longest = _pages(min(int(config.get("max_position_embeddings") or context), context))
    paged = find_spec("flash_attn") is not None and flash_attention_fits(device)
    answered = max(longest, BATCH_TOKENS) if paged else longest
    keys, values = CACHE_BITS[kind]
    bits = float(keys + values) if kind == EXACT else keys + values + 2 * SCALE_BITS

    def taken(tokens: int) -> int:
        numbers = shape.heads * shape.head_dim * tokens
        one_layer = 0 if kind == EXACT else numbers * 2 * _HALF  # read back into 16 bits, one layer at a time
        return int(numbers * shape.layers * bits / 8) + one_layer

    scored = min(longest, _pages(SCORED_TOKENS))
    return _Caches(taken(answered), taken(scored), shape.bytes_per_token * longest)


def _pages(tokens: int) -> int:
    return -(-tokens // PAGE) * PAGE
