"""Many people at once: open pages, more starts than may wait, one device.

The real app is served with its real worker on the demo pair. Most people are visitors that ask the server for what the
page's script asks (`load_visitor.py`): fifty browsers would need the cores that this one machine has for server and
models. A few pages are real, in a browser; what they show is what a person sees under that load. After all pages are
open, some press "Start measuring" at the same moment; the others go on choosing symptoms while runs are measured, and
the time until the answer is taken. Afterwards the store says whether ever more than one run was measured at once, in
which order they were served, and whether one was lost.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.async_api import Browser, Page, TimeoutError, async_playwright, expect

from benchmarks import Stopwatch
from benchmarks.load_figures import Seen, print_table, served_runs, times
from benchmarks.load_visitor import Visitor
from wfgy_triage.catalog import load_catalog
from wfgy_triage.settings import REPO_ROOT, load_settings
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import OPEN_STATUSES, RunRecord
from wfgy_triage.store.runs import RunRepository

PEOPLE, STARTS, BROWSERS, QUESTIONS = 50, 24, 2, 5
"""`BROWSERS` of the people have a real page; the rest are visitors without one."""
WATCH_S, PAUSE_S = 60.0, 2.0
"""How long the others go on choosing, and how long each thinks between two clicks."""
WAIT_MS = 120_000
OPENING = 5
"""Pages that are opened at the same time."""
CARDS = ("json_breaks", "citations_missing", "wrong_snippet", "long_chain", "deploy_mismatch")


def run(fast: bool = False) -> dict[str, Any]:
    """Serve, let people in, count; see the module.

    Args:
        fast: six people, three of whom start, and one real page.
    """
    people, starts, browsers = (6, 3, 1) if fast else (PEOPLE, STARTS, BROWSERS)
    with tempfile.TemporaryDirectory() as base, _served(Path(base)) as (url, process):
        with Stopwatch() as watch:
            seen, held = asyncio.run(_visit(url, process, people - browsers, starts, browsers))
        records = _ended(Path(base))
        peak = max(held, default=0)
    found = {
        "people": people,
        "browsers": browsers,
        "starts": starts,
        **times(seen),
        **served_runs(records),
        "refused": len(seen.refused),
        "said": sorted(set(seen.refused)),
        "errors": sorted(set(seen.errors)),
        "web_process_mb": round(peak / 2**20),
        "seconds": round(watch.seconds, 1),
    }
    print_table(found)
    return found


@contextmanager
def _served(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The app on a free port, with a home of its own and the registered pairs of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    usual = load_settings()
    environment = {**os.environ, "WFGY_TRIAGE_HOME": str(home), "WFGY_TRIAGE_PAIRS": str(usual.pairs_file)}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "-m", "wfgy_triage", "serve", "--no-demo", "--port", str(port)]
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPO_ROOT, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_up(url)
            yield url, process
        finally:
            process.terminate()
            process.wait(30)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _wait_until_up(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the app did not come up")


async def _visit(
    url: str, process: subprocess.Popen[bytes], people: int, starts: int, browsers: int
) -> tuple[Seen, list[int]]:
    seen, held = Seen(), list[int]()
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        pages = [await _open_page(browser, url, seen) for _ in range(browsers)]
        gate = asyncio.Semaphore(OPENING)
        visitors = await asyncio.gather(*(_open(url, gate, seen) for _ in range(people)))
        _tell(f"{people} visitors and {browsers} pages are there")
        starters, others = visitors[:starts], visitors[starts:]
        await asyncio.gather(*(_to_start(v) for v in starters))
        memory = asyncio.create_task(_watch_memory(process.pid, held))
        watching = asyncio.gather(*(_start(v, seen) for v in starters))
        await asyncio.gather(
            *(_choose(v, seen, number) for number, v in enumerate(others)),
            *(_choose_on_page(page, seen, number) for number, page in enumerate(pages)),
        )
        memory.cancel()
        _tell("waiting for the runs to end")
        await watching
        await asyncio.gather(*(v.leave() for v in visitors))
        await browser.close()
    return seen, held


async def _open_page(browser: Browser, url: str, seen: Seen) -> Page:
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda error: seen.errors.append(str(error)[:200]))
    await page.goto(url)
    await page.get_by_role("heading", name="EXL2 triage", level=1).wait_for()
    return page


async def _open(url: str, gate: asyncio.Semaphore, seen: Seen) -> Visitor:
    visitor = Visitor(url, WAIT_MS / 1000)
    async with gate:
        seen.opened.append(await visitor.open())
    return visitor


async def _to_start(visitor: Visitor) -> None:
    """To step 2, with few questions and no trials."""
    await visitor.does("symptom", "input", CARDS[0])
    await visitor.does("to-models", "click")
    await visitor.does("questions", "change", QUESTIONS)
    await visitor.does("trials", "input", "off")


async def _start(visitor: Visitor, seen: Seen) -> None:
    """Press the button; where the run is accepted, watch it to its end as the page does."""
    seconds = await visitor.does("start", "click")
    if not visitor.value("run-id"):
        seen.refused.append(_words(visitor.value("notice") or "the page said nothing"))
        return
    seen.accepted.append(seconds)
    await visitor.follow(seen.followed)


def _words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


async def _choose(visitor: Visitor, seen: Seen, number: int) -> None:
    """Choose one symptom after the other, and time the answers."""
    end = time.monotonic() + WATCH_S
    await asyncio.sleep(PAUSE_S * (number % 10) / 10)
    turn = number
    while time.monotonic() < end:
        turn += 1
        before = visitor.value("symptom-detail")
        seen.answered.append(await visitor.does("symptom", "input", CARDS[turn % len(CARDS)]))
        if visitor.value("symptom-detail") == before:
            seen.errors.append("a choice was not answered")
        await asyncio.sleep(PAUSE_S)


async def _choose_on_page(page: Page, seen: Seen, number: int) -> None:
    """The same in a browser, until the answer is on the screen."""
    claims = {s.id: s.likely_cause for s in load_catalog().symptoms.values() if s.likely_cause}
    end = time.monotonic() + WATCH_S
    await asyncio.sleep(PAUSE_S * (number % 10) / 10)
    turn = 0
    while time.monotonic() < end:
        turn += 1
        symptom = CARDS[(number + turn) % len(CARDS)]
        began = time.monotonic()
        await _pick(page, symptom)
        try:
            # By its own words: a style sheet can show the old ones in other letters than the document has.
            await expect(page.locator("#symptom-detail")).to_contain_text(claims[symptom], timeout=WAIT_MS)
            seen.in_browser.append(time.monotonic() - began)
        except (AssertionError, TimeoutError):
            seen.errors.append("a choice was not answered")
        await asyncio.sleep(PAUSE_S)


async def _pick(page: Page, symptom: str) -> None:
    await page.locator(f'label:has(input[name="symptom"][value="{symptom}"])').click()


async def _watch_memory(pid: int, held: list[int]) -> None:
    while True:
        held.append(psutil.Process(pid).memory_info().rss)
        await asyncio.sleep(1)


def _ended(home: Path) -> Sequence[RunRecord]:
    """All runs, once none is open any more."""
    database = open_database(f"sqlite:///{home / 'triage.db'}")
    runs = RunRepository(database)
    while any(r.status in OPEN_STATUSES for r in runs.list(limit=1000)):
        time.sleep(1)
    found = runs.list(limit=1000)
    database.close()
    return found
