"""A real Chromium for tests of web pages: opened, watched for complaints, looked at, and judged by axe-core."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import services

SCREENS = Path(__file__).parents[1] / "build" / "screens"
#: Of a slow machine: a restoration takes a second or two.
PATIENCE_MS = 90_000
#: What a page must keep (Web Content Accessibility Guidelines 2.0, 2.1 and 2.2), as axe-core names it.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser that is installed; without one the test is skipped at home and fails in CI."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        services.missing("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Seen:
    """What the page asked for and complained of."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.wrong: list[str] = []

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.requests]

    @property
    def origins(self) -> set[str]:
        parts = [urlsplit(url) for url in self.urls]
        return {f"{part.scheme}://{part.netloc}" for part in parts if part.scheme != "blob"}


@contextmanager
def opened(browser: Any, url: str, **words: Any) -> Iterator[tuple[Any, Seen]]:
    """A page of a person's own, with nothing kept from earlier ones."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "accept_downloads": True} | words))
    context.set_default_timeout(PATIENCE_MS)
    page, seen = context.new_page(), Seen()
    page.on("request", lambda request: seen.requests.append(request))  # noqa: PLW0108 # it marks what it is given
    page.on("console", lambda message: seen.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.wrong.append(str(error)))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
    )
    try:
        page.goto(url)
        yield page, seen
    finally:
        context.close()


def shot(page: Any, name: str, *, full: bool = False) -> None:
    """A picture of the page in build/screens, to look at; ``full``: not only what a window shows."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENS / f"{name}.png"), full_page=full)


def until(page: Any, condition: str) -> None:
    """Wait in small steps: the page's policy forbids what Playwright's own wait would do."""
    give_up_at = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < give_up_at, condition
        page.wait_for_timeout(25)


def assert_accessible(page: Any, name: str | None = None) -> None:
    """Nothing against WCAG 2 A and AA, in light and in dark; ``name``: of the pictures that are kept of both."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
    # Half a megabyte of script: put into the page once, whatever the colours.
    for scheme, axe in (("light", Axe()), ("dark", Axe(axe_script="0"))):
        page.emulate_media(color_scheme=scheme)
        found = axe.run(page, options=options)
        assert found.response["passes"], "no rule was applied"
        assert found.violations_count == 0, f"{name}, {scheme}: {found.generate_report()}"
        if name is not None:
            shot(page, f"{name}-{scheme}")
    page.emulate_media(color_scheme="light")


def drop(page: Any, photo: Path, names: list[str]) -> None:
    """As a hand does it: files fall onto the page."""
    page.dispatch_event("#drop", "drop", {"dataTransfer": _carrying(page, photo, names)})


def paste(page: Any, photo: Path, name: str) -> None:
    """As from the clipboard."""
    page.evaluate(
        "data => dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))",
        _carrying(page, photo, [name]),
    )


def _carrying(page: Any, photo: Path, names: list[str]) -> Any:
    return page.evaluate_handle(
        """([bytes, names]) => { const data = new DataTransfer();
        for (const name of names) data.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/jpeg'}));
        return data; }""",
        [list(photo.read_bytes()), names],
    )


def pinch(page: Any, selector: str, *, by: float) -> None:
    """Two fingers on the middle of an element move apart (``by`` > 1) or together."""
    box = page.locator(selector).bounding_box()
    x, y, half = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 60.0
    session = page.context.new_cdp_session(page)
    for step in range(6):
        far = half * (1 + (by - 1) * step / 5)
        points = [{"x": x - far, "y": y, "id": 0}, {"x": x + far, "y": y, "id": 1}]
        kind = "touchStart" if step == 0 else "touchMove"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()
