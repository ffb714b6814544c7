"""Makes the pictures of the page in docs/serving.md, of a server with the embedded bundle.

    python tests/page_images.py

Writes docs/images/page-{light,dark,phone}.png. Needs Chromium and playwright, as the tests of the page.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from python.serve.browser import Browser, Tab
from python.serve.process import Server

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZES = {"light": (940, 1040), "dark": (940, 760), "phone": (360, 720)}
MOST_BYTES = 150_000
SEED = 3  # whose videos are some of the good ones
PLAYS = "[...document.querySelectorAll('.card video')].every((video) => video.videoWidth && !video.paused)"


def main() -> int:
    """Makes the pictures; returns the exit code."""
    try:
        make_all()
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


def make_all() -> None:
    """Makes the pictures. Raises what `pytest.skip` does where there is no browser."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server, Browser() as browser:
        with tab_of(browser, server.url, "light") as tab:
            settle(tab, seed=SEED)
            talk(tab, "Show me a blue star growing", "What moves here?")
            picture(tab, "light")
        with tab_of(browser, server.url, "dark") as tab:
            talk(tab, "What can you do?")
            settle(tab, steps=60)  # so many that there is time to look
            tab.ask("Show me a green square moving up")
            tab.page.wait_for_selector("text=/Making the video, [3-7]\\d%/", timeout=120_000)
            tab.page.fill("#text", "Now show it in yellow")
            picture(tab, "dark")
            tab.page.keyboard.press("Escape")
            tab.answered(2)
        with tab_of(browser, server.url, "phone") as tab:
            settle(tab, seed=SEED)
            talk(tab, "Show me a red circle moving left")
            tab.page.click("text=Ask about this video")
            tab.page.fill("#text", "Which colour does it have?")
            picture(tab, "phone")


def tab_of(browser: Browser, url: str, name: str) -> Tab:
    """A tab for the picture of this name."""
    width, height = SIZES[name]
    scheme = "dark" if name == "dark" else "light"
    values = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    return Tab(browser, url, reduced_motion="no-preference", **values)


def talk(tab: Tab, *questions: str) -> None:
    """Asks each question, from the second on about the video that was made last."""
    for number, question in enumerate(questions, start=1):
        if number > 1:
            tab.page.click("text=Ask about this video")
        tab.ask(question)
        tab.answered(number)
    tab.until(PLAYS)
    tab.page.wait_for_timeout(4000)  # then players hide their controls


def settle(tab: Tab, **settings: int) -> None:
    """Sets seed or steps in the settings."""
    tab.page.click("#open-settings")
    for name, value in settings.items():
        tab.page.fill(f"#s-{name}", str(value))
    tab.page.click("#settings >> text=Save")


def picture(tab: Tab, name: str) -> None:
    """Writes one picture."""
    path = IMAGES / f"page-{name}.png"
    values: dict[str, Any] = {"path": path, "caret": "initial", "animations": "disabled"}
    tab.page.screenshot(**values)
    size = path.stat().st_size
    print(f"{path.relative_to(IMAGES.parent.parent)}: {size} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{path.name} has more than {MOST_BYTES} bytes; make its page smaller")


if __name__ == "__main__":
    sys.exit(main())
