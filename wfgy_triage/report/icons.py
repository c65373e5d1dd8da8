"""The icons of `assets/icons`, as inline SVG that takes the colour of the text around it."""

from __future__ import annotations

from functools import lru_cache

from wfgy_triage.settings import REPO_ROOT

ICON_DIR = REPO_ROOT / "assets" / "icons"


@lru_cache(maxsize=64)
def icon(name: str) -> str:
    """Return the SVG source of one icon (decorative: hidden from assistive technology).

    Args:
        name: file name in `assets/icons` without its ending; a name of ours, never user input.
    """
    return (ICON_DIR / f"{name}.svg").read_text(encoding="utf-8").strip()
