"""Take the README's pictures of every step from a served app: desktop and phone, light and dark.

`python tools/screenshots.py --url http://localhost:7860` uses the newest finished run; `--live` starts a run through
the page first, and pictures it while it measures. `--page NAME=ADDRESS` pictures any other page (a comparison, a
shared link, an exported report). `team_screenshots.py` takes those of the guard, the audit trail and signing in.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, StorageState, sync_playwright

SETTLE_MS = 900
"""Charts and fonts come to rest in this time."""
FIRST_LOAD_MS = 30_000


@dataclass(frozen=True)
class Variant:
    """One look of the page; `name` begins the file names."""

    name: str
    width: int
    height: int
    theme: str


VARIANTS = (
    Variant("desktop-light", 1280, 860, "light"),
    Variant("desktop-dark", 1280, 860, "dark"),
    Variant("phone-light", 390, 844, "light"),
    Variant("phone-dark", 390, 844, "dark"),
)


class Camera:
    """Writes `<variant>-<step>.png` into a folder, of desktops also `<variant>-<step>-window.png`."""

    def __init__(self, out: Path, variant: Variant) -> None:
        self._out = out
        self._variant = variant

    def take(self, page: Page, step: str) -> None:
        """Picture the whole page once it has come to rest."""
        page.wait_for_timeout(SETTLE_MS)
        page.evaluate("document.activeElement?.blur()")
        # On a phone the main action is fixed to the window's edge, which a picture of the whole page does not have.
        page.add_style_tag(content=".actions { position: static !important; padding: 0 !important; }")
        path = self._out / f"{self._variant.name}-{step}.png"
        page.screenshot(path=path, full_page=True, animations="disabled")
        slim(path)
        print(path)
        if not self._variant.name.startswith("phone"):
            # The README shows what fits a window; the whole page would be a strip too narrow to read.
            path = path.with_stem(f"{path.stem}-window")
            page.evaluate("window.scrollTo(0, 0)")
            page.screenshot(path=path, animations="disabled")
            slim(path)


def slim(path: Path) -> None:
    """Keep 256 colours: the pictures are flat areas and text, and the repository carries them."""
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main() -> int:
    """Read the arguments and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="address of the served app")
    parser.add_argument("--out", type=Path, default=Path("assets/screenshots"))
    parser.add_argument("--run", help="id of a finished run; default: the newest")
    parser.add_argument("--guide", help="id of a finished run of 'Fix in 60 seconds', for its picture")
    parser.add_argument(
        "--page", action="append", default=[], help="NAME=ADDRESS of one more page; may be repeated"
    )
    parser.add_argument(
        "--verdict", action="append", default=[], help="NAME=RUN: a verdict with its figures; may be repeated"
    )
    parser.add_argument(
        "--only-pages", action="store_true", help="nothing but what --page and --verdict name"
    )
    parser.add_argument("--live", action="store_true", help="start a run and picture it while it measures")
    parser.add_argument("--pair", help="with --live: the model pair to choose")
    parser.add_argument("--wait", type=int, default=1200, help="seconds that a live run may take")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    url = arguments.url.rstrip("/")
    with browser() as chromium:
        for named in arguments.page:
            name, _, address = named.partition("=")
            for variant in VARIANTS:
                picture_page(chromium, address, name, variant, arguments.out)
        for named in arguments.verdict:
            name, _, run = named.partition("=")
            picture_verdict(chromium, url, run, arguments.out / f"verdict-{name}.png")
        if arguments.only_pages:
            return 0
        run = arguments.run or None
        if arguments.live:
            run = live_run(chromium, url, arguments.out, arguments.pair, arguments.wait * 1000)
        run = run or newest_finished(new_page(chromium, VARIANTS[0]), url)
        if run is None:
            print("There is no finished run yet; finish one, or use --live.", file=sys.stderr)
            return 2
        for variant in VARIANTS:
            picture_steps(chromium, url, run, variant, arguments.out, with_measure=not arguments.live)
            if arguments.guide:
                picture_guide(chromium, url, arguments.guide, variant, arguments.out)
    return 0


@contextmanager
def browser() -> Iterator[Browser]:
    """The system's Chromium where there is one (`CHROMIUM` names another), else Playwright's own."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def new_page(chromium: Browser, variant: Variant, state: StorageState | None = None) -> Page:
    """Open an empty page with the variant's size and theme; `state` holds cookies of an earlier one."""
    context = chromium.new_context(
        viewport={"width": variant.width, "height": variant.height},
        color_scheme="dark" if variant.theme == "dark" else "light",
        reduced_motion="reduce",
        storage_state=state,
    )
    context.set_default_timeout(FIRST_LOAD_MS)
    return context.new_page()


def newest_finished(page: Page, url: str) -> str | None:
    """The id of the newest finished run on the list of sessions."""
    page.goto(f"{url}/runs?status=done")
    page.wait_for_selector("#sessions .card")
    links = page.locator("#sessions tbody a")
    target = links.first.get_attribute("href") if links.count() else None
    return target.split("run=")[1] if target else None


def choose_symptom(page: Page, url: str) -> None:
    """Step 1 with the symptom that can be measured."""
    page.goto(url)
    page.locator('label:has(input[value="json_breaks"])').click()
    page.wait_for_selector("#to-models:not([disabled])")


def live_run(chromium: Browser, url: str, out: Path, pair: str | None, wait_ms: int) -> str:
    """Start a run through the page, picture it in every variant while it measures, and wait for its verdict."""
    page = new_page(chromium, VARIANTS[0])
    choose_symptom(page, url)
    page.locator("#to-models").click()
    if pair:
        page.locator(f'label:has(input[name="pair"][value="{pair}"])').click()
    page.wait_for_selector("#start:not([disabled])")
    page.locator("#start").click()
    page.wait_for_url("**/?run=*")
    run = page.url.split("run=")[1]
    page.locator('#so-far .live-side:has-text("EXL2") .chip').nth(1).wait_for(timeout=wait_ms)
    for variant in VARIANTS:
        watching = new_page(chromium, variant)
        watching.goto(f"{url}/?run={run}")
        watching.wait_for_selector("#so-far .chip")
        Camera(out, variant).take(watching, "3-measure")
        watching.context.close()
    page.wait_for_selector("#verdict-word", timeout=wait_ms)
    page.context.close()
    return run


def picture_steps(
    chromium: Browser, url: str, run: str, variant: Variant, out: Path, with_measure: bool
) -> None:
    """Picture the steps and the list of sessions in one variant."""
    page, camera = new_page(chromium, variant), Camera(out, variant)
    choose_symptom(page, url)
    camera.take(page, "1-symptom")
    page.locator("#to-models").click()
    page.wait_for_selector("#plan h3")
    camera.take(page, "2-models")
    page.goto(f"{url}/?run={run}")
    page.wait_for_selector("#verdict-word")
    page.wait_for_selector(".js-plotly-plot")
    camera.take(page, "4-verdict")
    page.locator("#to-fix").click()
    page.wait_for_selector("#fix-rest .module")
    camera.take(page, "5-fix")
    if with_measure:
        # On a phone the steps are a bar, not tabs; so the step is chosen at desktop width.
        page.set_viewport_size({"width": VARIANTS[0].width, "height": variant.height})
        page.get_by_role("tab", name="Measure").click()
        page.set_viewport_size({"width": variant.width, "height": variant.height})
        page.wait_for_selector("#so-far .chip")
        camera.take(page, "3-measure")
    page.goto(f"{url}/runs")
    page.wait_for_selector("#sessions tbody a")
    camera.take(page, "6-sessions")
    page.context.close()


def picture_page(chromium: Browser, address: str, name: str, variant: Variant, out: Path) -> None:
    """Picture a page as it is found."""
    page = new_page(chromium, variant)
    page.goto(address)
    page.get_by_role("heading").first.wait_for()
    page.wait_for_load_state("networkidle")
    Camera(out, variant).take(page, name)
    page.context.close()


def picture_verdict(chromium: Browser, url: str, run: str, path: Path) -> None:
    """Picture a verdict from its head to its last figure, at desktop width and light."""
    page = new_page(chromium, VARIANTS[0])
    page.goto(f"{url}/?run={run}")
    page.wait_for_selector("#verdict-word")
    page.locator("#findings #cause h3").wait_for()
    page.wait_for_timeout(2 * SETTLE_MS)
    bottom: float = page.locator("#findings").evaluate(
        "(e) => e.getBoundingClientRect().bottom + window.scrollY"
    )
    page.screenshot(
        path=path,
        full_page=True,
        animations="disabled",
        clip={"x": 0, "y": 0, "width": VARIANTS[0].width, "height": bottom + 20},
    )
    slim(path)
    print(path)
    page.context.close()


def picture_guide(chromium: Browser, url: str, run: str, variant: Variant, out: Path) -> None:
    """Picture the four steps of "Fix in 60 seconds" in one variant."""
    page = new_page(chromium, variant)
    page.goto(f"{url}/?run={run}")
    page.wait_for_selector("#verdict .guide-steps")
    page.wait_for_timeout(SETTLE_MS)
    path = out / f"{variant.name}-7-guide.png"
    page.locator("#verdict").screenshot(path=path, animations="disabled")
    slim(path)
    print(path)
    page.context.close()


if __name__ == "__main__":
    sys.exit(main())
