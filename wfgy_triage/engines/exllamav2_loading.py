"""From a folder to a running exllamav2: configuration, attention back end, cache, devices, generator."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoTokenizer

from wfgy_triage.engine_settings import PAGE, CacheKind, EngineSettings
from wfgy_triage.engines.base import EngineInfo, Mode
from wfgy_triage.engines.caches import EXACT
from wfgy_triage.engines.causality import future_effect, sees_the_future
from wfgy_triage.engines.exllamav2_engine import ExLlamaV2Engine, LoadedModel
from wfgy_triage.engines.exllamav2_generation import MAX_JOBS
from wfgy_triage.engines.exllamav2_library import (
    LOAD_ERRORS,
    Library,
    check_gpu,
    explained,
    load_library,
    stream_kept,
)
from wfgy_triage.engines.prepare import LOAD_ERRORS as TOKENIZER_ERRORS
from wfgy_triage.engines.prepare import first_line
from wfgy_triage.engines.tokens import end_ids
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import check_folder_safe
from wfgy_triage.exl2.positions import nested_theta, rope_theta

BATCH_TOKENS = 16 * 1024
"""Tokens of the cache for answers that are made together; a single context may need more."""
PROMPT_CHUNK = 512
"""Tokens of a prompt that are read in one step, which cannot be stopped."""
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


def open_exllamav2(
    folder: Path, *, side: Literal["fp16", "exl2"], mode: Mode, settings: EngineSettings
) -> ExLlamaV2Engine:
    """Load an EXL2, GPTQ or FP16 folder into exllamav2.

    Args:
        folder: config.json, tokenizer.json and safetensors.
        side: of the pair. A baseline is given the position base that its model was trained with, whatever the library
            reads; the EXL2 side is run as a server would run it.
        mode: told in `info`; the library computes in one way.
        settings: device, cache, context, attention.

    Raises:
        PrerequisiteError: no GPU, the library does not import or cannot load the folder, or its attention sees the
            future in spite of everything.
    """
    if side == "fp16":
        # The baseline shows what the model can do; what a cache costs is for the EXL2 side to show.
        settings = replace(settings, cache=EXACT)
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


def configure(
    library: Library, folder: Path, side: Literal["fp16", "exl2"], settings: EngineSettings
) -> Configured:
    """Make the library's configuration; nothing is loaded.

    Raises:
        PrerequisiteError: the library does not take the folder.
    """
    try:
        config = library.config(str(folder))
        config.arch_compat_overrides(quiet=True)
    except LOAD_ERRORS as error:
        raise explained(error, f"exllamav2 cannot read {folder.name}", "config_mismatch") from error
    config.max_seq_len = min(int(config.max_seq_len), settings.context)
    flash = library.flash_attention and not config.no_flash_attn
    xformers = library.xformers and not config.no_xformers
    notes = [ATOMICS_NOTE, *_position_notes(config, folder, side)]
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


def _position_notes(config: Any, folder: Path, side: Literal["fp16", "exl2"]) -> list[str]:
    """See to the position base; returns what there is to say about it."""
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # transformers, and so the baseline, looks into rope_parameters first; the library at the top level only.
    nested = nested_theta(data)
    trained = rope_theta(data) if nested is None else nested
    read = float(config.rotary_embedding_base)
    if trained is None or trained == read:
        return []
    if side == "exl2":
        return [
            f"exllamav2 reads rope_theta {read:g} from this folder, and the model was trained with {trained:g}; it is "
            "run as the library reads it."
        ]
    config.rotary_embedding_base = trained
    return [
        f"rope_theta {trained:g} is taken from rope_parameters, where exllamav2 does not look ({read:g} without)."
    ]


def _load(
    library: Library, folder: Path, side: Literal["fp16", "exl2"], settings: EngineSettings
) -> tuple[Configured, LoadedModel]:
    configured = configure(library, folder, side, settings)
    model = library.model(configured.config)
    try:
        with stream_kept():
            return configured, _place(library, model, configured, settings)
    except LOAD_ERRORS as error:
        problem = explained(error, f"exllamav2 cannot load {folder.name}")
    # Outside the handler, where the error no longer holds on to what is to be freed.
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
        model.load_autosplit(cache)
    place = _Place(library, model, configured, library.tokenizer(config), tokens)
    return _serve(place, settings.cache, cache)


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
    except TOKENIZER_ERRORS as error:
        raise PrerequisiteError(
            f"The tokenizer or configuration in {folder.name} does not load: {first_line(error)}",
            "The folder needs config.json and tokenizer.json (and tokenizer_config.json) of the model.",
        ) from error
    return tokenizer, end_ids(folder, config, tokenizer)


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
