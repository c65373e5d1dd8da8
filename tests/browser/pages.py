"""Shared steps of the browser tests, in the words of the page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Infinite ones (a spinner) never finish, so they are not waited for.
SETTLED = """() => Promise.allSettled(
    document.getAnimations()
        .filter((a) => a.effect?.getComputedTiming().endTime !== Infinity)
        .map((a) => a.finished)
).then(() => null)"""


def open_page(page: Page, url: str) -> None:
    """Open an address and wait until its components are there, and Gradio's "Loading" over them is gone."""
    page.goto(url)
    expect(page.get_by_role("heading", name="EXL2 triage", level=1)).to_be_visible(timeout=15_000)
    expect(page.locator("p.loading")).to_have_count(0, timeout=15_000)


def pick(page: Page, name: str, value: str) -> None:
    """Choose a radio by its value; the card around it is what a mouse hits."""
    page.locator(f'label:has(input[name="{name}"][value="{value}"])').click()


def to_models(page: Page, url: str) -> None:
    """Walk to step 2 for the symptom that has a probe."""
    open_page(page, url)
    pick(page, "symptom", "json_breaks")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Which models, and how many questions?")).to_be_visible()


def run_in_address(page: Page) -> str:
    """The id of the run in the address bar, once it is there."""
    page.wait_for_url("**/?run=*")
    return page.url.split("run=")[1]


def sideways_overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def axe_faults(page: Page, context: str | None = None) -> list[str]:
    """What axe finds, on the page or in one part of it: rule, and the first element of each.

    A colour that is on its way from one state to the next (a button that has just become usable)
    is nobody's choice: what moves is let finish first.
    """
    page.evaluate(SETTLED)
    found = Axe().run(page, context=context, options={"runOnly": AXE_TAGS}).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found]
