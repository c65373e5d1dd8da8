"""Who a model server is: its kind, its models, what it says of the one that is loaded. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wfgy_triage.engines.openai_calls import run_once
from wfgy_triage.engines.openai_client import ServerClient, read_key
from wfgy_triage.engines.openai_faults import ServerFault
from wfgy_triage.engines.openai_flavours import UNKNOWN, Flavour, flavour_of
from wfgy_triage.server_settings import ServerSettings

SHOWN_MODELS = 12
_PATH = re.compile(r"[/\\~.]|[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself.

    Attributes:
        flavour: its kind.
        model: the model that is asked.
        shown: its name, fit to be shown: of a path the last part.
        models: all that it lists, as they are shown.
        context: most tokens of prompt and answer; None where it does not say.
        told: further facts in its own words: cache, prompt template.
        loaded: the model that it has loaded; empty where it does not say. Another one may be asked, and be loaded then.
        at_once: answers that it works on beside each other; further requests wait. None where it does not say.
        put_off: how often it had to be asked again before it told this.
    """

    flavour: Flavour
    model: str
    shown: str
    models: tuple[str, ...]
    context: int | None = None
    told: Mapping[str, str] = field(default_factory=dict)
    loaded: str = ""
    at_once: int | None = None
    put_off: int = 0


@dataclass(frozen=True)
class Boot:
    """What was seen of the order in which a server started: its model first, requests then.

    Attributes:
        loaded: whether it had the model that answers loaded before anything was generated; None where it does not say.
        put_off: how often it had to be asked again, because it was not ready or did not answer, up to its first answer.
    """

    loaded: bool | None = None
    put_off: int = 0


UNSEEN = Boot()


def boot_of(before: ServerFacts, after: ServerFacts, put_off: int) -> Boot:
    """What two looks at a server show, before and after its first answer.

    Args:
        before: what it said when it was first asked.
        after: what it said once it had answered; the same record where it was not asked again.
        put_off: how often it had to be asked again for that answer.
    """
    says = after.loaded == after.model != ""
    return Boot(before.loaded == after.model if says else None, before.put_off + put_off)


def ask_facts(settings: ServerSettings, what: str) -> ServerFacts:
    """Ask a server for its models; nothing is generated.

    Args:
        settings: where and how.
        what: the beginning of a message, as `The server of the EXL2 side cannot be used.`

    Raises:
        PrerequisiteError: it does not answer, refuses the key, or does not say which of several models to take.
    """
    key = read_key(settings)

    async def ask() -> ServerFacts:
        async with ServerClient(settings, key) as client:
            await client.patiently(client.check_address)
            return await _facts(client, settings)

    return run_once(ask(), what)


async def _facts(client: ServerClient, settings: ServerSettings) -> ServerFacts:
    data = await client.patiently(lambda: client.get_json("models"))
    listed = data.get("data") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise ServerFault(
            "It sent no list of models, so it is no OpenAI-compatible server.",
            "Check `url:`; it usually ends with /v1.",
            whole=True,
        )
    entries = [e for e in listed if isinstance(e, dict) and isinstance(e.get("id"), str)]
    flavour = next((f for f in map(flavour_of, entries) if f is not UNKNOWN), UNKNOWN)
    names = [str(e["id"]) for e in entries]
    shown = tuple(client.quoted(_last_part(name)) for name in names)
    loaded = await _loaded(client, flavour)
    own = str(loaded.get("id") or "")
    model = settings.model or own or (names[0] if len(names) == 1 else "")
    if not model:
        some = ", ".join(shown[:SHOWN_MODELS]) or "none"
        raise ServerFault(
            "It does not say which of its models is meant.",
            f"Put one of them into `model:`, as the server's own list has it: {some}.",
            whole=True,
        )
    entry = loaded or next((e for e in entries if e["id"] == model), {})
    given = entry.get("parameters")
    parameters: Mapping[str, Any] = given if isinstance(given, dict) else {}
    told = {
        name: client.quoted(str(parameters[name]))
        for name in ("cache_mode", "prompt_template")
        if parameters.get(name)
    }
    context = _context(entry, parameters)
    at_once = _count(parameters.get("max_batch_size"))
    name = client.quoted(_last_part(model))
    return ServerFacts(flavour, model, name, shown, context, told, own, at_once, client.put_off)


def _last_part(model: str) -> str:
    """The folder's name where a model is named by its path: results are shown to others."""
    if not _PATH.match(model):
        return model
    return re.split(r"[/\\]", model.rstrip("/\\"))[-1] or model


def _context(entry: Mapping[str, Any], parameters: Mapping[str, Any]) -> int | None:
    """Most tokens of prompt and answer: TabbyAPI's word for it, vLLM's, or llama.cpp's (of one of its slots)."""
    meta = entry.get("meta")
    said = (
        parameters.get("max_seq_len"),
        entry.get("max_model_len"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
    )
    return next((n for n in map(_count, said) if n), None)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


async def _loaded(client: ServerClient, flavour: Flavour) -> Mapping[str, Any]:
    """What a server that can be asked says of the model that it has loaded; empty where it does not say."""
    if flavour.model_path is None:
        return {}
    path = flavour.model_path
    try:
        data = await client.patiently(lambda: client.get_json(path))
    except ServerFault as fault:
        if fault.passing:
            raise
        return {}
    return data if isinstance(data, dict) else {}
