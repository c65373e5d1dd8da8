"""From an address to an engine: who the server is, which model it has loaded, and what it gives, by asking it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from wfgy_triage.engine_settings import Side
from wfgy_triage.engines.base import EngineInfo, Mode
from wfgy_triage.engines.openai_calls import run_once
from wfgy_triage.engines.openai_client import read_key
from wfgy_triage.engines.openai_engine import ServedEngine
from wfgy_triage.engines.openai_facts import ServerFacts, ask_facts, boot_of
from wfgy_triage.engines.openai_faults import UNREACHABLE
from wfgy_triage.engines.openai_trial import Trial, try_server
from wfgy_triage.engines.prepare import LOAD_ERRORS, first_line
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import check_folder_safe
from wfgy_triage.server_settings import ServerSettings

DEFAULT_CONTEXT = 4096
"""Where neither the pair, nor the server, nor the model's configuration says how long a text may be."""


def open_served(
    settings: ServerSettings,
    tokenizer_folder: Path | None,
    *,
    side: Side,
    mode: Mode,
    twin: Any = None,
) -> ServedEngine:
    """Open one side of a pair on a server, with a few short answers as a trial.

    Args:
        settings: where and how.
        tokenizer_folder: holds the tokenizer and chat template of the FP16 side; None: those of `twin` are used.
        side: of the pair.
        mode: told in `info`; a server computes as it does.
        twin: the open FP16 engine.

    Raises:
        PrerequisiteError: the server does not answer as needed, or there is no tokenizer.
    """
    name = side.upper()
    what = f"The server of the {name} side cannot be used."
    facts = ask_facts(settings, what)
    tokenizer = getattr(twin, "tokenizer", None)
    if tokenizer is None:
        tokenizer = _tokenizer(tokenizer_folder, name)
    if settings.token_ids is None:
        settings = replace(settings, token_ids=facts.flavour.token_ids and settings.endpoint == "completions")
    if facts.at_once is not None:
        # What waits in the server's line would be counted as time to the first word.
        settings = replace(settings, concurrency=min(settings.concurrency, facts.at_once))
    key = read_key(settings)
    trial = run_once(try_server(settings, key, facts, tokenizer), what)
    before = facts
    if facts.flavour.model_path is not None and facts.loaded != facts.model:
        # It had another model loaded than the one that it was asked for, or said nothing of one: either it has loaded
        # that one now, or it passes names over.
        now = ask_facts(settings, what)
        if facts.loaded or now.loaded:
            facts = _demand_loaded(now, what)
    server = replace(trial.server, boot=boot_of(before, facts, trial.put_off))
    context = _context(settings, facts) or _trained_context(tokenizer_folder, twin)
    info = EngineInfo(
        engine="openai",
        engine_version=f"OpenAI-compatible API of {facts.flavour.name or 'an unnamed kind of server'}",
        architecture=facts.shown,
        device="server",
        compute_dtype="not known",
        mode=mode,
        deterministic=False,
        memory_bytes=0,
        vocab_size=max(len(tokenizer), 1),
        max_context=context,
        notes=_notes(settings, facts, trial),
        cache="",
    )
    return ServedEngine(server, tokenizer, info, name)


def _demand_loaded(facts: ServerFacts, what: str) -> ServerFacts:
    """Refuse a server that answers with another model than the one that is asked."""
    if facts.loaded != facts.model:
        raise PrerequisiteError(
            f"{what} It answers with the model that it has loaded, whatever model is asked for.",
            "Load the model that `model:` of the server's block names, or leave `model:` out.",
            UNREACHABLE,
        )
    return facts


def _tokenizer(folder: Path | None, side: str) -> Any:
    if folder is None:
        raise PrerequisiteError(
            f"There is no tokenizer for the {side} side, which runs on a server.",
            "The FP16 folder needs the model's tokenizer files and chat template.",
        )
    check_folder_safe(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except LOAD_ERRORS as error:
        raise PrerequisiteError(
            f"The tokenizer in {folder.name} does not load: {first_line(error)}",
            "The FP16 folder of a pair that is asked on a server needs tokenizer.json, tokenizer_config.json and"
            " config.json of the model; its weights are not needed.",
        ) from error


def _context(settings: ServerSettings, facts: ServerFacts) -> int | None:
    """What the pair says, and never more than the server does: it refuses longer texts, or breaks off at them."""
    return min((n for n in (settings.context, facts.context) if n), default=None)


def _trained_context(folder: Path | None, twin: Any) -> int:
    """The FP16 model's own limit."""
    if twin is not None and getattr(twin, "info", None) is not None:
        return int(twin.info.max_context)
    try:
        data = json.loads(((folder or Path()) / "config.json").read_text(encoding="utf-8"))
        return int(data.get("max_position_embeddings") or DEFAULT_CONTEXT)
    except (OSError, ValueError, TypeError, AttributeError):
        return DEFAULT_CONTEXT


def _notes(settings: ServerSettings, facts: ServerFacts, trial: Trial) -> tuple[str, ...]:
    """What a reader of the numbers must know. The address is left out: results are shown to others."""
    address = hashlib.sha256(settings.url.encode()).hexdigest()[:12]
    notes = [
        f"Answers come from the model “{facts.shown}” on a server (address fingerprint {address}), "
        f"{settings.concurrency} at a time; its weights, cache and kernels are not known here.",
        _prompt_note(settings, facts),
    ]
    if facts.told.get("cache_mode"):
        notes.append(f"The server says that its cache is {facts.told['cache_mode']}.")
    prompts = trial.server.prompts
    if prompts.by is None:
        notes.append(f"Whether the server cuts long prompts is not seen: {prompts.why_not}.")
    if not trial.server.logprobs and settings.logprobs:
        notes.append("The server gives no log-probabilities of its answers.")
    if not facts.flavour.seeds:
        notes.append("The server takes no seed, so an answer that is drawn does not come again.")
    if trial.seeds:
        notes.append(trial.seeds)
    if facts.flavour.caution:
        notes.append(facts.flavour.caution)
    if trial.hello.completion_tokens is None:
        notes.append("The server does not count its tokens, so times for each token are not measured.")
    return tuple(notes)


def _prompt_note(settings: ServerSettings, facts: ServerFacts) -> str:
    if settings.endpoint == "chat":
        template = facts.told.get("prompt_template")
        named = f" ({template})" if template else ""
        return f"Conversations are framed by the server's own chat template{named}, which may differ from FP16's."
    sent = "as token ids" if settings.token_ids else "as text"
    start = (
        ""
        if settings.token_ids or facts.flavour.keep_prompt
        else " Whether it puts a start token before them is up to it."
    )
    return f"Prompts are framed and tokenized with FP16's own files and sent {sent}.{start}"
