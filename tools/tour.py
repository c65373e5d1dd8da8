"""Make the README's animated tour: one real run, from the complaint to the change that was tried.

`python tools/tour.py --url http://localhost:7860` starts a run through the page, pictures the window at each step, and
writes one animated picture. The time between two pictures is the reader's, not the run's.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page
from screenshots import SETTLE_MS, VARIANTS, browser, new_page

WIDTH = 960
"""Of the tour, in pixels."""
STAY_MS, GLANCE_MS = 2600, 1100
COMPLAINT = "my model keeps producing broken json"


class Tour:
    """Pictures of one window, and how long each is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._stays: list[int] = []

    def show(self, stay_ms: int, selector: str = "") -> None:
        """Picture the window, scrolled so that an element is near its top."""
        self._page.wait_for_timeout(SETTLE_MS)
        if selector:
            self._page.locator(selector).first.evaluate(
                "e => window.scrollTo(0, e.getBoundingClientRect().top + scrollY - 24)"
            )
            self._page.wait_for_timeout(SETTLE_MS // 3)
        picture = Image.open(io.BytesIO(self._page.screenshot(animations="disabled"))).convert("RGB")
        height = round(picture.height * WIDTH / picture.width)
        self._frames.append(picture.resize((WIDTH, height), Image.Resampling.LANCZOS))
        self._stays.append(stay_ms)

    def write(self, path: Path) -> None:
        """Write all pictures as one."""
        first, *others = self._frames
        first.save(
            path, save_all=True, append_images=others, duration=self._stays, loop=0, quality=80, method=6
        )
        print(f"{path}: {len(self._frames)} pictures, {path.stat().st_size // 1024} KB")


def walk(page: Page, url: str, pair: str, questions: int, wait_ms: int) -> Tour:
    """From the first page to the recommended change."""
    tour = Tour(page)
    page.goto(url)
    page.locator("#complaint textarea, #complaint input").first.fill(COMPLAINT)
    page.locator("#find").click()
    suggestion = page.locator('#suggested [data-symptom="json_breaks"]')
    suggestion.wait_for()
    tour.show(STAY_MS)
    suggestion.click()
    page.locator("#symptom-detail h3").first.wait_for()
    tour.show(STAY_MS)
    page.locator("#to-models:not([disabled])").click()
    page.locator(f'label:has(input[name="pair"][value="{pair}"])').click()
    page.locator("#plan h3").wait_for()
    number = page.locator("#questions input[type=number]")
    number.fill(str(questions))
    number.press("Tab")
    page.wait_for_timeout(SETTLE_MS)
    tour.show(STAY_MS)
    page.locator("#start:not([disabled])").click()
    page.wait_for_url("**/?run=*")
    for side in ("FP16", "EXL2"):
        page.locator(f'#so-far .live-side:has-text("{side}") .chip').nth(1).wait_for(timeout=wait_ms)
        tour.show(GLANCE_MS)
    page.locator("#verdict-word").wait_for(timeout=wait_ms)
    page.locator(".js-plotly-plot").first.wait_for()
    tour.show(STAY_MS)
    tour.show(STAY_MS, ".card.chart")
    page.locator("#to-fix").click()
    page.locator("#fix-rest .module").first.wait_for()
    tour.show(STAY_MS)
    tour.show(STAY_MS, "#files")
    return tour


def main() -> int:
    """Read the arguments and make the tour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="address of the served app")
    parser.add_argument("--out", type=Path, default=Path("assets/screenshots/tour.webp"))
    parser.add_argument("--pair", default="demo", help="the model pair to choose")
    parser.add_argument("--questions", type=int, default=40, help="how many are asked")
    parser.add_argument("--wait", type=int, default=1200, help="seconds that the run may take")
    arguments = parser.parse_args()
    with browser() as chromium:
        page = new_page(chromium, VARIANTS[0])
        tour = walk(
            page, arguments.url.rstrip("/"), arguments.pair, arguments.questions, arguments.wait * 1000
        )
    tour.write(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
