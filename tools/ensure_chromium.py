"""Make sure that the browser tests have a Chromium, or say plainly that they have none.

Order: the one named by CHROMIUM, the system's, Debian's package where the user is root, Playwright's own download.
Set WFGY_TRIAGE_NO_BROWSER=1 to leave the browser tests out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def system_chromium() -> str | None:
    """Path of an installed Chromium, or None."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if os.access(named, os.X_OK) else None
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def playwright_chromium() -> str | None:
    """Path of Playwright's own Chromium, or None when it is not downloaded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.access(path, os.X_OK) else None


def find_chromium() -> str | None:
    """The Chromium that the browser tests use, or None."""
    return system_chromium() or playwright_chromium()


def install_debian() -> bool:
    """Install Debian's package; only root can."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    run(["apt-get", "update", "-qq"])
    return run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"])


def install_playwright() -> bool:
    """Let Playwright download its own build."""
    return run([sys.executable, "-m", "playwright", "install", "chromium"])


def run(command: list[str]) -> bool:
    """Run a command with its output hidden; whether it succeeded."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def main() -> int:
    """Return 0 when a browser is there (or not wanted), 1 with an explanation otherwise."""
    if os.environ.get("WFGY_TRIAGE_NO_BROWSER") == "1":
        sys.stderr.write("Browser tests are left out (WFGY_TRIAGE_NO_BROWSER=1).\n")
        return 0
    steps: tuple[Callable[[], bool], ...] = (install_debian, install_playwright)
    for step in steps:
        if find_chromium():
            return 0
        sys.stderr.write("No Chromium found; installing one for the browser tests.\n")
        step()
    if find_chromium():
        return 0
    sys.stderr.write(
        "The browser tests need Chromium, and none could be installed.\n"
        "Install it (Debian, Ubuntu: apt-get install chromium) or name one: CHROMIUM=/path/to/chromium make test\n"
        "To run the other tests alone: WFGY_TRIAGE_NO_BROWSER=1 make test\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
