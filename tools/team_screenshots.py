"""Take the pictures of what a team sees: the guard's page with sample traffic, the audit trail, and signing in.

`python tools/team_screenshots.py` copies the database of the home folder (`--home` names another one) into a new
home that is thrown away, adds three people, lets each do something through the page, runs a guard in front of a
stand-in for a model server, and pictures the pages. The home needs a finished run on a pair that is ready. The
traffic of the guard is spread over `--seconds`.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from platformdirs import user_cache_path
from playwright.sync_api import Browser, Page, StorageState
from sample_traffic import ask_all, exchanges, stand_in, write_policy
from screenshots import VARIANTS, Camera, browser, choose_symptom, new_page, newest_finished

REPO = Path(__file__).resolve().parents[1]
PEOPLE = {"chief": "admin", "maker": "operator", "reader": "viewer"}
ACCOUNT = "triage"
"""Of the machine, in the audit trail's lines on who was added."""
PICTURED = tuple(v for v in VARIANTS if v.name != "phone-dark")
ANSWERS = 420
START_S = 180
"""A page is served within this time, on a slow machine too."""


def main() -> int:
    """Read the arguments and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a home folder with a finished run; default: the usual one")
    parser.add_argument("--out", type=Path, default=REPO / "assets" / "screenshots")
    parser.add_argument("--seconds", type=float, default=240, help="how long the guard's traffic lasts")
    parser.add_argument(
        "--ports", type=int, nargs=3, default=(7860, 8001, 5000), help="of page, guard, stand-in"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    page_port, guard_port, model_port = arguments.ports
    url, passwords = f"http://127.0.0.1:{page_port}", {n: secrets.token_urlsafe(12) for n in PEOPLE}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triage-pictures-")))
        copy_home(arguments.home or usual_home(), home)
        environment = settings_of(home, page_port)
        for name, role in PEOPLE.items():
            add_user(environment, name, role, passwords[name])
        stack.enter_context(program(environment, url, "serve", "--no-demo"))
        model = stack.enter_context(stand_in(model_port))
        guard = f"http://127.0.0.1:{guard_port}"
        upstream = f"http://127.0.0.1:{model_port}"
        policy = str(write_policy(home))
        named = ("guard", "--upstream", upstream, "--port", str(guard_port), "--policy", policy)
        stack.enter_context(program(environment, guard, *named))
        chromium = stack.enter_context(browser())
        chief = everybody_acts(chromium, url, passwords)
        picture(chromium, arguments.out, f"{url}/runs?audit=1", "11-audit", "#sessions tbody tr", chief)
        ask_all(guard, model, exchanges(ANSWERS), arguments.seconds)
        time.sleep(3)  # the guard writes once a second
        picture(chromium, arguments.out, f"{url}/guard", "10-guard", "#plot-guard .scatterlayer", chief)
        picture(chromium, arguments.out, f"{url}/sign-in", "12-sign-in", "#password", None)
    return 0


def usual_home() -> Path:
    """The home folder that the program uses."""
    return Path(os.environ.get("WFGY_TRIAGE_HOME") or user_cache_path("wfgy-triage")).expanduser()


def copy_home(source: Path, home: Path) -> None:
    """Copy the sessions and the list of pairs; models stay where they are."""
    shutil.copy(source / "pairs.yaml", home)
    (home / "models").symlink_to(source / "models")
    with sqlite3.connect(f"file:{source / 'triage.db'}?mode=ro", uri=True) as old:
        with sqlite3.connect(home / "triage.db") as new:
            old.backup(new)
        new.close()
    old.close()


def settings_of(home: Path, port: int) -> dict[str, str]:
    """The environment of the programs: of the settings only those that are meant."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WFGY_TRIAGE_") and k != "DATABASE_URL"}
    own = {"WFGY_TRIAGE_HOME": str(home), "WFGY_TRIAGE_PORT": str(port), "LOGNAME": ACCOUNT}
    return kept | own


def add_user(environment: Mapping[str, str], name: str, role: str, password: str) -> None:
    """Add somebody with the command that admins use."""
    command = [sys.executable, "-m", "wfgy_triage", "users", "add", name, "--role", role]
    subprocess.run(command, cwd=REPO, env=environment, input=f"{password}\n", text=True, check=True)


@contextmanager
def program(environment: Mapping[str, str], url: str, *arguments: str) -> Iterator[None]:
    """Run a command of the program that serves an address, until it is no longer needed."""
    command = [sys.executable, "-m", "wfgy_triage", *arguments]
    process = subprocess.Popen(command, cwd=REPO, env=environment)
    try:
        wait_for(url, process)
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a program answers."""
    late = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < late:
        try:
            httpx.get(f"{url}/healthz", timeout=5, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise SystemExit(f"{url} does not answer.")


def everybody_acts(chromium: Browser, url: str, passwords: Mapping[str, str]) -> StorageState:
    """Let each do what their role may; returns what keeps the admin signed in."""
    maker = signed_in(chromium, url, "maker", passwords["maker"])
    choose_symptom(maker, url)
    maker.locator("#to-models").click()
    maker.locator("#start:not([disabled])").click()
    maker.wait_for_url("**/?run=*")
    maker.locator("#stop").click()
    maker.locator("#resume").wait_for()
    run = newest_finished(maker, url)
    if run is None:
        raise SystemExit("There is no finished run in this home.")
    open_run(maker, url, run)
    maker.locator("#comment-text textarea").fill("The same prompt fails in production.")
    maker.locator("#comment-add").click()
    maker.locator("#comment-list .said").first.wait_for()

    reader = new_page(chromium, VARIANTS[0])
    sign_in(reader, url, "reader", "not the password")
    reader.get_by_role("alert").wait_for()
    sign_in(reader, url, "reader", passwords["reader"])
    open_run(reader, url, run)
    reader.request.get(f"{url}/sessions/{run}/export/html?redact=1")

    chief = signed_in(chromium, url, "chief", passwords["chief"])
    open_run(chief, url, run)
    chief.locator("#describe-title input, #describe-title textarea").first.fill("Before the release")
    chief.locator("#describe-save").click()
    chief.locator("#describe-saved p").wait_for()
    chief.locator("#share-make").click()
    chief.locator("#share-link pre").wait_for()
    state = chief.context.storage_state()
    for page in (maker, reader, chief):
        page.context.close()
    return state


def signed_in(chromium: Browser, url: str, name: str, password: str) -> Page:
    """A page on which somebody is signed in."""
    page = new_page(chromium, VARIANTS[0])
    sign_in(page, url, name, password)
    page.locator("#who form").wait_for()
    return page


def sign_in(page: Page, url: str, name: str, password: str) -> None:
    """Fill in the form and send it."""
    page.goto(f"{url}/sign-in")
    page.locator("#name").fill(name)
    page.locator("#password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def open_run(page: Page, url: str, run: str) -> None:
    """Open a finished run."""
    page.goto(f"{url}/?run={run}")
    page.locator("#verdict-word").wait_for()


def picture(
    chromium: Browser, out: Path, address: str, name: str, ready: str, state: StorageState | None
) -> None:
    """Picture a page in every variant, once an element is there; `state` keeps somebody signed in."""
    for variant in PICTURED:
        page = new_page(chromium, variant, state)
        page.goto(address)
        page.locator(ready).first.wait_for()
        page.wait_for_load_state("networkidle")
        Camera(out, variant).take(page, name)
        page.context.close()


if __name__ == "__main__":
    sys.exit(main())
