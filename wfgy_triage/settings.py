"""Settings from the environment; command-line options override them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from wfgy_triage.errors import InputError

REPO_ROOT = Path(__file__).resolve().parent.parent
"""The checkout: `fixmap/` and `assets/` lie beside the package."""

CACHE_ROWS = 20_000
"""Answers and comparisons kept by default: at a few kilobytes each, about 100 MB."""


@dataclass(frozen=True)
class Settings:
    """Where things are kept and where the app listens.

    Attributes:
        home: models, database and caches live under it (`WFGY_TRIAGE_HOME`).
        host: interface the web app binds to (`WFGY_TRIAGE_HOST`).
        port: TCP port of the web app (`WFGY_TRIAGE_PORT`).
        pairs_file: the admin's list of model pairs (`WFGY_TRIAGE_PAIRS`).
        database_url: SQLAlchemy URL of the session store (`DATABASE_URL`).
        cache_rows: how many FP16 answers and comparisons are kept for later runs; 0 keeps and reuses none
            (`WFGY_TRIAGE_CACHE_ROWS`).
    """

    home: Path
    host: str
    port: int
    pairs_file: Path
    database_url: str
    cache_rows: int = CACHE_ROWS


def load_settings(
    home: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    pairs_file: Path | None = None,
    database_url: str | None = None,
    cache_rows: int | None = None,
) -> Settings:
    """Read the environment; arguments that are not None win.

    Raises:
        InputError: when `WFGY_TRIAGE_PORT` is not a port number or `WFGY_TRIAGE_CACHE_ROWS` not a count.
    """
    env = os.environ
    root = home or Path(env.get("WFGY_TRIAGE_HOME") or user_cache_path("wfgy-triage"))
    root = root.expanduser().resolve()
    port_text = env.get("WFGY_TRIAGE_PORT", "7860") if port is None else str(port)
    if not port_text.isdigit() or not 0 <= int(port_text) <= 65535:
        raise InputError(
            f"The port {port_text!r} is not a number between 0 and 65535.",
            "Set WFGY_TRIAGE_PORT, for example 7860.",
        )
    rows_text = env.get("WFGY_TRIAGE_CACHE_ROWS") or str(CACHE_ROWS)
    if cache_rows is None and not (rows_text.isascii() and rows_text.isdigit()):
        raise InputError(
            f"The number of cached rows {rows_text!r} is not a whole number.",
            "Set WFGY_TRIAGE_CACHE_ROWS to 0 (no cache) or more, for example 20000.",
        )
    return Settings(
        home=root,
        host=host or env.get("WFGY_TRIAGE_HOST", "127.0.0.1"),
        port=int(port_text),
        pairs_file=pairs_file
        or Path(env.get("WFGY_TRIAGE_PAIRS") or root / "pairs.yaml").expanduser().absolute(),
        database_url=database_url or env.get("DATABASE_URL") or f"sqlite:///{root / 'triage.db'}",
        cache_rows=int(rows_text) if cache_rows is None else cache_rows,
    )


def embedding_folder(settings: Settings) -> Path:
    """Where embeddings are kept between runs."""
    return settings.home / "cache"
