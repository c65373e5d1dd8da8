"""Many people at once: pages open in a real browser, more starts than may wait, one device.

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
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from playwright.async_api import Browser, Page, TimeoutError, async_playwright, expect

from benchmarks import Stopwatch
from benchmarks.load_visitor import Visitor
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


@dataclass
class Seen:
    """What people saw; times in seconds."""

    opened: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    in_browser: list[float] = field(default_factory=list)
    followed: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


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
        **_times(seen),
        **_served_runs(records),
        "refused": len(seen.refused),
        "said": sorted(set(seen.refused)),
        "errors": sorted(set(seen.errors)),
        "web_process_mb": round(peak / 2**20),
        "seconds": round(watch.seconds, 1),
        "foreign": watch.foreign,
    }
    _print(found)
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
    end = time.monotonic() + WATCH_S
    await asyncio.sleep(PAUSE_S * (number % 10) / 10)
    turn = 0
    while time.monotonic() < end:
        turn += 1
        before = await page.locator("#symptom-detail").inner_text()
        began = time.monotonic()
        await _pick(page, CARDS[(number + turn) % len(CARDS)])
        try:
            await expect(page.locator("#symptom-detail")).not_to_have_text(before, timeout=WAIT_MS)
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


def _times(seen: Seen) -> dict[str, Any]:
    shown = {
        "open_s": seen.opened,
        "start_s": seen.accepted,
        "answer_s": seen.answered,
        "in_browser_s": seen.in_browser,
        "follow_s": seen.followed,
    }
    return {name: _spread(v) for name, v in shown.items()} | {f"{n}_count": len(v) for n, v in shown.items()}


def _spread(values: Sequence[float]) -> list[float]:
    """Median, 95th percentile, longest."""
    ordered = sorted(values)
    if not ordered:
        return []
    high = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return [round(v, 2) for v in (statistics.median(ordered), high, ordered[-1])]


def _served_runs(records: Sequence[RunRecord]) -> dict[str, Any]:
    by_start = sorted(
        (r for r in records if r.started_at and r.finished_at), key=lambda r: (r.started_at, r.id)
    )
    overlaps = sum(
        a.finished_at > b.started_at
        for a, b in zip(by_start, by_start[1:], strict=False)
        if a.finished_at and b.started_at
    )
    created = [r.created_at for r in by_start]
    overtaken = sum(a > b for a, b in zip(created, created[1:], strict=False))
    states: dict[str, int] = {}
    for record in records:
        states[record.status] = states.get(record.status, 0) + 1
    return {"runs": len(records), "by_status": states, "measured_at_once": overlaps, "overtaken": overtaken}


def _print(found: dict[str, Any]) -> None:
    print(
        f"{found['people']} people ({found['browsers']} in a browser), {found['starts']} start at once; "
        "seconds are median / 95 % / longest\n"
    )
    rows = {
        "a page with its files is sent, five at once": "open_s",
        "a start is accepted": "start_s",
        "a choice is answered while runs go on": "answer_s",
        "the same in a browser, until it is on the screen": "in_browser_s",
        "a page that waits or watches asks how far its run is": "follow_s",
    }
    print("| | times | s |\n|---|---|---|")
    for name, key in rows.items():
        values = " / ".join(f"{v:.2f}" for v in found[key]) or "NOT MEASURED"
        print(f"| {name} | {found[f'{key}_count']} | {values} |")
    print(f"| runs accepted | {found['runs']} | {found['by_status']} |")
    print(f"| refused | {found['refused']} | {' '.join(found['said'])} |")
    print(f"| times two runs were measured at once | {found['measured_at_once']} | |")
    print(f"| runs served before an earlier one | {found['overtaken']} | |")
    print(f"| errors | {len(found['errors'])} | {found['errors']} |")
    print(f"| memory of the web process, MB | {found['web_process_mb']} | |")
