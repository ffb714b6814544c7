"""A browser that opens the page of a server. Every error that the page makes is a failure of the test."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def started() -> Iterator[Any]:
    """Debian's Chromium, which Playwright drives and never downloads."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with api.sync_playwright() as playwright:
        # As root, and in most containers, Chromium's own sandbox cannot be set up.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab of a browser without history, on the page of the server at `url`.

    Use as a context manager: at its end the page must have made no error, and no request to another place.
    allowed: statuses of responses that the test is about.
    """

    def __init__(self, browser: Any, url: str, *allowed: int, **options: Any) -> None:
        self.url = url
        defaults = {"viewport": {"width": 1100, "height": 800}, "reduced_motion": "reduce"}
        self.context = browser.new_context(**(defaults | options))
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[Any] = []
        self._allowed = [f"status of {status} " for status in allowed]
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.context.on("request", lambda request: self.requests.append(request))

    def _said(self, message: Any) -> None:
        if message.type not in ("error", "warning"):
            return
        if not any(words in message.text for words in self._allowed):
            self.errors.append(message.text)

    def allow(self, words: str) -> None:
        """Errors of the console with these words are part of the test from now on."""
        self._allowed.append(words)

    def __enter__(self) -> Tab:
        self.page.goto(self.url)
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.errors == []
            away = [one.url for one in self.requests if not one.url.startswith((self.url, "blob:"))]
            assert away == []

    def ask(self, text: str) -> None:
        """Writes a message and sends it."""
        self.page.fill("#text", text)
        self.page.keyboard.press("Enter")

    def answered(self, number: int = 1) -> str:
        """The text of the answer of this number, from 1, when it has come to its end."""
        self.page.wait_for_selector("#send:not(.stop)")
        answer = self.page.locator(".turn").nth(number - 1).locator(".answer")
        answer.locator(".body[aria-busy=false]").wait_for(state="attached")
        return str(answer.inner_text())

    def until(self, expression: str, seconds: float = 15.0) -> None:
        """Waits until a JavaScript expression is true. The page forbids eval, which is Playwright's way."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(20)

    def bodies(self) -> list[Any]:
        """The bodies of the chat requests so far."""
        return [
            json.loads(request.post_data)
            for request in self.requests
            if request.url.endswith("/v1/chat/completions")
        ]

    def stored(self) -> str:
        """All that localStorage has."""
        return str(self.page.evaluate("JSON.stringify({...localStorage})"))
