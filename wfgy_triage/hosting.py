"""Settings of an installation that serves others: address, retention, metrics, log. All from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from wfgy_triage.errors import InputError

LOG_FORMS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")
SHORTEST_TOKEN = 16
DEVICE = re.compile(r"cpu|cuda(?::(?:0|[1-9]\d?))?")
"""A device by name: the processor, every visible GPU, or GPU N."""
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True)
class Hosting:
    """How the app is hosted.

    Attributes:
        root_path: the path below which a proxy serves the app, as `/triage`; empty at the top.
        public_url: the whole address where that was given (`https://host/triage`), else empty.
        keep_days: sessions that ended earlier are deleted; None: nothing is ever deleted.
        metrics: whether `/metrics` is served.
        metrics_token: what has to be shown there; empty: nothing.
        log_form: `text` or `json`, one line an event.
        log_level: the least important lines that are written.
        lanes: the devices that have a worker of their own, as they are named; empty: one worker serves them all.
        ahead: whether an idle worker asks FP16 of the demo pair ahead what runs will ask it.
        log_files: whether child processes write into files under `logs/`; else to standard error, as containers do.
    """

    root_path: str = ""
    public_url: str = ""
    keep_days: int | None = None
    metrics: bool = False
    metrics_token: str = ""
    log_form: str = "text"
    log_level: str = "info"
    lanes: tuple[str, ...] = ()
    ahead: bool = True
    log_files: bool = True


def load_hosting(env: Mapping[str, str] | None = None) -> Hosting:
    """Read the environment.

    Raises:
        InputError: a value that cannot be; it says which one and what would do. Tokens are not repeated.
    """
    env = os.environ if env is None else env
    root_path, public_url = _address(env.get("WFGY_TRIAGE_ROOT_PATH", ""))
    token = env.get("WFGY_TRIAGE_METRICS_TOKEN", "").strip()
    if token and len(token) < SHORTEST_TOKEN:
        raise InputError(
            f"The metrics token has {len(token)} characters.",
            f"Set WFGY_TRIAGE_METRICS_TOKEN to at least {SHORTEST_TOKEN} random ones: openssl rand -hex 24.",
        )
    return Hosting(
        root_path=root_path,
        public_url=public_url,
        keep_days=_days(env.get("WFGY_TRIAGE_KEEP_DAYS", "")),
        metrics=_switch(env, "WFGY_TRIAGE_METRICS", False) or bool(token),
        metrics_token=token,
        log_form=_one_of(env, "WFGY_TRIAGE_LOG", LOG_FORMS, "text"),
        log_level=_one_of(env, "WFGY_TRIAGE_LOG_LEVEL", LOG_LEVELS, "info"),
        lanes=_lanes(env.get("WFGY_TRIAGE_LANES", "")),
        ahead=_switch(env, "WFGY_TRIAGE_AHEAD", True),
        log_files=_switch(env, "WFGY_TRIAGE_LOG_FILES", True),
    )


def _address(text: str) -> tuple[str, str]:
    """Path and whole address of `/triage` or `https://host/triage`; a single slash is the top."""
    given = text.strip().rstrip("/")
    parts = urlsplit(given)
    whole = bool(parts.scheme)
    right = parts.scheme in ("http", "https") and bool(parts.netloc) if whole else not parts.netloc
    if not right or parts.query or parts.fragment or "@" in parts.netloc or not _is_path(parts.path):
        raise InputError(
            f"{text[:80]!r} is no path to serve the app under.",
            "Set WFGY_TRIAGE_ROOT_PATH to a path such as /triage, or to the whole address: "
            "https://host.example/triage.",
        )
    return parts.path, given if whole else ""


def _is_path(path: str) -> bool:
    return not path or bool(_PATH.fullmatch(path) and not {".", ".."} & set(path.split("/")))


def _days(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 36_500:
        raise InputError(
            f"{text[:40]!r} is no number of days.",
            "Set WFGY_TRIAGE_KEEP_DAYS to 1 or more, or leave it out to keep every session.",
        )
    return int(text)


def _lanes(text: str) -> tuple[str, ...]:
    lanes = tuple(word.strip() for word in text.split(",")) if text.strip() else ()
    wrong = [word for word in lanes if not DEVICE.fullmatch(word) or lanes.count(word) > 1]
    if wrong:
        raise InputError(
            f"WFGY_TRIAGE_LANES names {wrong[0][:40]!r}, which is no device or stands there twice.",
            "Set WFGY_TRIAGE_LANES to cpu, cuda and cuda:N, each once and with commas between: cpu,cuda:0,cuda:1.",
        )
    return lanes


def _switch(env: Mapping[str, str], name: str, usual: bool) -> bool:
    text = env.get(name, "").strip()
    if text not in ("", "0", "1"):
        raise InputError(f"{name} is {text[:40]!r}.", f"Set {name} to 1 (on) or 0 (off).")
    return usual if text == "" else text == "1"


def _one_of(env: Mapping[str, str], name: str, allowed: tuple[str, ...], usual: str) -> str:
    text = env.get(name, "").strip().lower() or usual
    if text not in allowed:
        raise InputError(f"{name} is {text[:40]!r}.", f"Set {name} to one of: {', '.join(allowed)}.")
    return text
