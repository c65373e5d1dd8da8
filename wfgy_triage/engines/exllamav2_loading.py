"""From a folder to a running exllamav2: configuration, attention back end, cache, devices, generator."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from wfgy_triage.engine_settings import PAGE, CacheKind, EngineSettings, Side
from wfgy_triage.engines.base import EngineInfo, Mode
from wfgy_triage.engines.caches import EXACT
from wfgy_triage.engines.causality import future_effect, sees_the_future
from wfgy_triage.engines.exllamav2_engine import ExLlamaV2Engine, LoadedModel
from wfgy_triage.engines.exllamav2_forward import PROMPT_CHUNK
from wfgy_triage.engines.exllamav2_generation import MAX_JOBS
from wfgy_triage.engines.exllamav2_library import (
    LOAD_ERRORS,
    Library,
    check_gpu,
    explained,
    flash_attention_fits,
    load_library,
    stream_kept,
)
from wfgy_triage.engines.exllamav2_positions import place_positions
from wfgy_triage.engines.prepare import LOAD_ERRORS as TOKENIZER_ERRORS
from wfgy_triage.engines.prepare import first_line
from wfgy_triage.engines.tokens import end_ids
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import check_folder_safe

BATCH_TOKENS = 16 * 1024
"""Tokens of the cache for answers that are made together; a single context may need more."""
LOGITS_BYTES = 256 * 1024**2
"""Kept free on every GPU for the logits of a chunk: 128 rows of 150,000 tokens, in 16 and in 32 bits, are 115 MB. More
than the 192 MiB and 64 MiB that the library leaves by itself."""
ATOMICS_NOTE = (
    "exllamav2 adds 16-bit numbers in an order that changes from run to run (atomic additions, block sizes chosen by "
    "timing): the same prompt can give other last digits, and near ties can be decided otherwise."
)


@dataclass(frozen=True)
class Configured:
    """A configuration and what was decided about it.

    Attributes:
        config: `ExLlamaV2Config`.
        attention: the back end that reads prompts: `flash-attn`, `xformers`, `matmul` or `sdpa`.
        paged: answers are made in batches.
        notes: what a reader of the numbers must know.
    """

    config: Any
    attention: str
    paged: bool
    notes: tuple[str, ...]


def open_exllamav2(folder: Path, *, side: Side, mode: Mode, settings: EngineSettings) -> ExLlamaV2Engine:
    """Load an EXL2, GPTQ or FP16 folder into exllamav2.

    Args:
        folder: config.json, tokenizer.json and safetensors.
        side: of the pair. A baseline is given the position settings that its model was trained with, whatever the
            library reads, a causal mask and an exact cache; the EXL2 side is run as a server would run it.
        mode: told in `info`; the library computes in one way.
        settings: device, cache, context, attention.

    Raises:
        PrerequisiteError: no GPU, the library does not import or cannot load the folder, or its attention sees the
            future in spite of everything.
    """
    if side == "fp16":
        # The baseline shows what the model can do; what a cache or a missing mask costs is for the EXL2 side to show.
        settings = replace(settings, cache=EXACT, attention="causal")
    check_folder_safe(folder)
    check_gpu()
    library = load_library()
    tokenizer, ends = _tokenizer(folder)
    before = _memory()
    configured, loaded = _load(library, folder, side, settings)
    config = configured.config
    info = EngineInfo(
        engine="exllamav2",
        engine_version=(
            f"exllamav2 {library.version}, torch {torch.__version__}, {settings.cache} cache, {configured.attention}"
        ),
        architecture=str(config.architecture),
        device=settings.device,
        compute_dtype="float16",
        mode=mode,
        deterministic=False,
        memory_bytes=_memory() - before,
        vocab_size=min(int(config.vocab_size), max(len(tokenizer), 1)),
        max_context=int(config.max_seq_len),
        notes=configured.notes,
        layers=int(config.num_hidden_layers),
        cache=settings.cache,
    )
    engine = ExLlamaV2Engine(loaded, tokenizer, info, ends)
    if settings.attention == "causal":
        _check_causal(engine)
    return engine


def configure(library: Library, folder: Path, side: Side, settings: EngineSettings) -> Configured:
    """Make the library's configuration; nothing is loaded.

    Raises:
        PrerequisiteError: the library does not take the folder.
    """
    fits = flash_attention_fits(settings.device)
    try:
        config = library.config(str(folder))
        # It uses flash-attn wherever it is installed, and the first prompt then ends with an error on an older GPU.
        config.no_flash_attn = config.no_flash_attn or not fits
        config.arch_compat_overrides(quiet=True)
    except LOAD_ERRORS as error:
        raise explained(error, f"exllamav2 cannot read {folder.name}", "config_mismatch") from error
    config.max_seq_len = min(int(config.max_seq_len), settings.context)
    flash = library.flash_attention and not config.no_flash_attn
    xformers = library.xformers and not config.no_xformers
    notes = [ATOMICS_NOTE, *place_positions(config, folder, side)]
    if library.flash_attention and not fits:
        notes.append(
            "flash-attn is installed, but a GPU used here is older than it needs; exllamav2 runs without it."
        )
    if flash or xformers:
        attention = "flash-attn" if flash else "xformers"
    elif settings.attention == "causal" or config.no_sdpa:
        # Without this the library reads prompts with PyTorch's attention and gives it no causal mask.
        config.no_sdpa = True
        attention = "matmul"
    else:
        attention = "sdpa"
    paged = library.paged and not config.no_flash_attn
    if not paged:
        notes.append("Without flash-attn 2.5.7 or later exllamav2 makes one answer at a time.")
    return Configured(config, attention, paged, tuple(notes))


def _load(
    library: Library, folder: Path, side: Side, settings: EngineSettings
) -> tuple[Configured, LoadedModel]:
    configured = configure(library, folder, side, settings)
    model: Any = None
    try:
        with stream_kept():
            model = library.model(configured.config)
            return configured, _place(library, model, configured, settings)
    except LOAD_ERRORS as error:
        problem = explained(error, f"exllamav2 cannot load {folder.name}")
    # Outside the handler, where the error no longer holds on to what is to be freed.
    if model is not None:
        with suppress(*LOAD_ERRORS):  # some modules do not unload what they never loaded
            model.unload()
    torch.cuda.empty_cache()
    raise problem


def _place(library: Library, model: Any, configured: Configured, settings: EngineSettings) -> LoadedModel:
    """Load the weights onto the devices, and make cache, tokenizer and generator."""
    config, kind = configured.config, library.caches[settings.cache]
    tokens = max(_pages(config.max_seq_len), BATCH_TOKENS if configured.paged else 0)
    device = settings.device.partition(":")[2]
    if device:
        model.load(gpu_split=[0] * int(device) + [99999])
        cache = kind(model, max_seq_len=tokens)
    else:
        cache = kind(model, max_seq_len=tokens, lazy=True)
        model.load_autosplit(cache, reserve_vram=_reserve(config))
    place = _Place(library, model, configured, library.tokenizer(config), tokens)
    return _serve(place, settings.cache, cache)


def _reserve(config: Any) -> int:
    """Bytes to keep free on every GPU beside the weights and the generator's cache.

    Scoring makes a second cache, at most for the longest sequence and at most in 16 bits. It lies where the layers are;
    how they will be shared out is not known beforehand, so that each GPU has room for all of it.
    """
    numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return int(_pages(config.max_seq_len) * numbers * torch.float16.itemsize + LOGITS_BYTES)


@dataclass(frozen=True)
class _Place:
    """A loaded model, and what every generator on it needs."""

    library: Library
    model: Any
    configured: Configured
    tokenizer: Any
    tokens: int


def _serve(place: _Place, kind: CacheKind, cache: Any) -> LoadedModel:
    """A generator on a cache of this kind."""
    library, model, config = place.library, place.model, place.configured.config
    make = library.caches[kind]
    longest = min(PROMPT_CHUNK, int(config.max_input_len))
    generator = library.generator(
        model=model,
        cache=cache,
        tokenizer=place.tokenizer,
        max_batch_size=MAX_JOBS,
        max_q_size=1,
        max_chunk_size=longest // PAGE * PAGE or longest,
        paged=place.configured.paged,
    )
    # Kernels time their variants on first use.
    generator.warmup()
    return LoadedModel(
        library=library,
        model=model,
        cache=cache,
        generator=generator,
        tokenizer=place.tokenizer,
        make_cache=lambda length: make(model, max_seq_len=_pages(length)),
        exact_cache=kind == EXACT,
        exchange=lambda other: _exchanged(place, other),
    )


def _exchanged(place: _Place, kind: CacheKind) -> LoadedModel:
    """Another cache beside the one in use."""
    try:
        with stream_kept():
            cache = place.library.caches[kind](place.model, max_seq_len=place.tokens)
            return _serve(place, kind, cache)
    except LOAD_ERRORS as error:
        problem = explained(error, f"A {kind} cache cannot be made beside the one in use")
    torch.cuda.empty_cache()
    raise problem


def _pages(tokens: int) -> int:
    """So many tokens in whole pages."""
    return -(-tokens // PAGE) * PAGE


def _tokenizer(folder: Path) -> tuple[Any, frozenset[int]]:
    """The folder's tokenizer in transformers, and every id that ends an answer: as the baseline has them."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        ends = end_ids(folder, config, tokenizer)
    except TOKENIZER_ERRORS as error:
        raise PrerequisiteError(
            f"The tokenizer or configuration in {folder.name} does not load: {first_line(error)}",
            "The folder needs config.json and tokenizer.json (and tokenizer_config.json) of the model.",
        ) from error
    return tokenizer, ends


def _check_causal(engine: ExLlamaV2Engine) -> None:
    effect = future_effect(engine)
    if sees_the_future(engine, effect):
        engine.close()
        raise PrerequisiteError(
            f"The attention that exllamav2 uses here sees the future: a later word moves earlier predictions by "
            f"{effect:.1%} of their size.",
            "Install flash-attn 2.5.7 or later. To measure what a server on this machine does, set "
            "`attention: installed` in the pair's engine block.",
            cause="noncausal_prefill",
        )


def _memory() -> int:
    """Bytes that PyTorch holds on all GPUs."""
    return sum(torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count()))
