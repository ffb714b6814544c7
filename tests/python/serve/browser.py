"""A browser that opens the page of a server. Every error that the page makes is a failure of the test."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DEFAULTS: dict[str, Any] = {"viewport": {"width": 1000, "height": 700}, "reduced_motion": "reduce"}


class Browser:
    """Debian's Chromium, which Playwright drives and never downloads. Use as a context manager."""

    def __enter__(self) -> Browser:
        api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
        path = next((found for name in _NAMES if (found := shutil.which(name))), None)
        if path is None:
            pytest.skip("needs a browser: apt-get install chromium")
        self._playwright = api.sync_playwright()
        # As root, and in most containers, Chromium's own sandbox cannot be set up.
        start = self._playwright.__enter__().chromium.launch
        self._browser = start(executable_path=path, args=["--no-sandbox"])
        self._idle: list[Any] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.__exit__()

    def take(self, options: dict[str, Any]) -> Any:
        """A page without history; where no options are asked for, an idle one, which is quicker."""
        if self._idle and not options:
            return self._idle.pop()
        context = self._browser.new_context(**(_DEFAULTS | options))
        context.set_default_timeout(15_000)
        return context.new_page()

    def give_back(self, page: Any, origin: str, options: dict[str, Any]) -> None:
        """Ends the use of a page; what it has stored is forgotten."""
        if options:
            page.context.close()
            return
        for other in page.context.pages:
            if other is not page:
                other.close()
        page.unroute_all()
        page.context.set_offline(False)
        page.goto("about:blank")
        page.emulate_media(reduced_motion=_DEFAULTS["reduced_motion"])
        page.set_viewport_size(_DEFAULTS["viewport"])
        session = page.context.new_cdp_session(page)
        session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        session.detach()
        self._idle.append(page)


class Tab:
    """A tab of a browser without history, on the page of the server at `url`.

    Use as a context manager: at its end the page must have made no error, and no request to another place.
    allowed: statuses of responses that the test is about.
    """

    def __init__(self, browser: Browser, url: str, *allowed: int, **options: Any) -> None:
        self.url, self._browser, self._options = url, browser, options
        self.page = browser.take(options)
        self.context = self.page.context
        self.errors: list[str] = []
        self.requests: list[Any] = []
        self._allowed = [f"status of {status} " for status in allowed]
        self._listening = (
            (self.page, "console", self._said),
            (self.page, "pageerror", lambda error: self.errors.append(str(error))),
            (self.context, "request", lambda request: self.requests.append(request)),
        )
        for source, event, listener in self._listening:
            source.on(event, listener)

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
        if kind is not None:
            self.context.close()
            return
        self._browser.give_back(self.page, self.url, self._options)
        for source, event, listener in self._listening:
            source.remove_listener(event, listener)
        assert self.errors == []
        away = [one.url for one in self.requests if not one.url.startswith((self.url, "blob:", "about:"))]
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
