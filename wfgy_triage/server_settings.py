"""A running model server as the admin's pairs file names it: address, key variable, limits. No network is used."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from wfgy_triage.errors import InputError

Endpoint = Literal["completions", "chat"]
SchemaOption = Literal["auto", "json_schema", "response_format", "none"]

_KEY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_WORDS: Mapping[str, tuple[str, ...]] = {"endpoint": get_args(Endpoint), "schema": get_args(SchemaOption)}
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "concurrency": (1, 64),
    "retries": (0, 10),
    "context": (256, 10_000_000),
    "timeout": (1, 3600),
    "longest": (1, 24 * 3600),
}
_WHOLE = ("concurrency", "retries", "context")
_SWITCHES = ("token_ids", "logprobs", "link_local")
_TEXTS = ("url", "model", "key")
_METADATA = ("100.100.100.200", "fd00:ec2::254", "metadata.google.internal", "metadata.goog")
"""Where clouds answer with a machine's own credentials, besides the link-local addresses."""
_HINT = "Correct it in the pairs file; docs/pairs.md lists the settings of a server."


@dataclass(frozen=True)
class ServerSettings:
    """One server of an OpenAI-compatible API.

    Attributes:
        url: base address, up to and with `/v1`, without a slash at the end.
        model: the name to ask for; empty: the one that the server says is loaded.
        key: name of the environment variable that holds the key; empty: none is sent.
        endpoint: `completions` (the prompt is ours) or `chat` (the server's own chat template frames the messages).
        token_ids: prompts are sent as token ids instead of text; None: where the kind of server is known to take them.
        schema: the option that holds answers to a JSON schema; `auto`: the one that the kind of server is known for.
        logprobs: ask for the probabilities of the answer's own tokens.
        concurrency: requests at a time.
        retries: further tries after a passing fault.
        timeout: seconds without a byte after which a request has failed.
        longest: seconds that one answer may take in all.
        context: most tokens of prompt and answer; None: what the server says, else the FP16 model's own limit.
        link_local: allow link-local and cloud metadata addresses.
    """

    url: str
    model: str = ""
    key: str = ""
    endpoint: Endpoint = "completions"
    token_ids: bool | None = None
    schema: SchemaOption = "auto"
    logprobs: bool = True
    concurrency: int = 4
    retries: int = 3
    timeout: float = 60.0
    longest: float = 600.0
    context: int | None = None
    link_local: bool = False


def server_settings(values: Any, pair_id: str, name: str) -> ServerSettings:
    """Read one server block of a pair.

    Args:
        values: the block as written.
        pair_id: for the messages.
        name: of the block, `server` or `baseline_server`.

    Raises:
        InputError: an unknown setting, a wrong value, or an address that is refused. A value that may hold a secret is
            never repeated.
    """
    where = f"The `{name}:` block of the pair {pair_id!r}"
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is no mapping.", "It needs at least `url:`; see docs/pairs.md.")
    known = tuple(ServerSettings.__dataclass_fields__)
    unknown = sorted(str(v) for v in set(values) - set(known))
    if unknown:
        raise InputError(
            f"{where} has unknown settings: {', '.join(unknown)}.", f"Known: {', '.join(known)}. {_HINT}"
        )
    _check_kinds(values, where)
    if not values.get("url"):
        raise InputError(f"{where} has no `url:`.", "Give the address of the server, up to and with /v1.")
    if values.get("key") and not _KEY_NAME.fullmatch(values["key"]):
        raise InputError(
            f"{where} has a `key:` that is no name of an environment variable.",
            "Write the variable's name there, for example TABBY_API_KEY, and put the key itself into the variable.",
        )
    if values.get("token_ids") and values.get("endpoint") == "chat":
        raise InputError(
            f"{where} asks for token ids at the chat endpoint, which takes messages only.",
            "Leave one of the two out.",
        )
    url = checked_url(values["url"], where, bool(values.get("link_local")))
    return ServerSettings(**{**values, "url": url})


def checked_url(url: str, where: str, link_local: bool) -> str:
    """The address without a slash at its end.

    Raises:
        InputError: another scheme than http and https, credentials in it, or an address that is refused.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise InputError(f"{where} has a `url:` that cannot be read.", _HINT) from error
    if "@" in parts.netloc:
        raise InputError(
            f"{where} has a user name or password in its `url:`.",
            "Take it out; a key belongs into an environment variable that `key:` names.",
        )
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s|[\x00-\x1f]", url.strip()):
        raise InputError(f"{where} has a `url:` that is no http:// or https:// address.", _HINT)
    if parts.query or parts.fragment:
        raise InputError(f"{where} has a `url:` with a question mark or #.", "End it with /v1.")
    if not link_local and refused_host(host):
        raise refused_address(where)
    return url.strip().rstrip("/")


def refused_host(host: str) -> bool:
    """Whether a name or address is a link-local one, or one where clouds keep a machine's credentials."""
    if host.lower() in _METADATA:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_link_local) or str(mapped) in _METADATA


def refused_address(where: str) -> InputError:
    """What is said of such an address."""
    return InputError(
        f"{where} names a link-local or cloud metadata address, where a machine's own credentials may be read.",
        "If a model server really listens there, add `link_local: true`.",
    )


def _check_kinds(values: Mapping[str, Any], where: str) -> None:
    for name, value in values.items():
        if name in _WORDS and value not in _WORDS[name]:
            raise InputError(f"{where} has {name}: {value!r}; it is one of {', '.join(_WORDS[name])}.", _HINT)
        if name in _SWITCHES and not isinstance(value, bool):
            raise InputError(f"{where} has {name}: {value!r}; it is true or false.", _HINT)
        if name in _TEXTS and not isinstance(value, str):
            raise InputError(f"{where} has a {name} that is no text.", _HINT)
        if name in _NUMBERS and not (name == "context" and value is None):
            _check_number(name, value, where)


def _check_number(name: str, value: Any, where: str) -> None:
    low, high = _NUMBERS[name]
    kinds = int if name in _WHOLE else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        whole = " whole" if name in _WHOLE else ""
        raise InputError(
            f"{where} has {name}: {value!r}; it is a{whole} number from {low:g} to {high:g}.", _HINT
        )
