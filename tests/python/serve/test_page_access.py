"""The page for everybody: by keyboard alone, on a phone, in the dark, read aloud; checked with axe-core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .browser import Browser, Tab
from .live import listening

pytestmark = pytest.mark.slow

SIZES = {"phone": {"width": 360, "height": 740}, "desk": {"width": 1280, "height": 800}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with listening(tmp_path_factory.mktemp("media")) as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_everything_is_reached_by_keyboard(browser: Browser, url: str) -> None:
    with Tab(browser, url) as tab:
        page = tab.page
        page.keyboard.type("say one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("two")
        assert page.input_value("#text") == "say one\ntwo"
        page.keyboard.press("Enter")
        tab.answered()
        tab.ask("show circle")
        page.wait_for_selector(".card a[download]")
        tab.answered(2)
        page.fill("#text", "next")
        page.keyboard.press("Tab")
        names = []
        for _ in range(40):
            found = page.evaluate(
                """() => {
                    const e = document.activeElement, style = getComputedStyle(e);
                    return [e.getAttribute("aria-label") ?? e.textContent.trim(), e.tagName,
                            style.outlineStyle + style.outlineWidth, e.id];
                }"""
            )
            if found[3] == "text":
                break
            if found[1] not in ("BODY", "VIDEO"):  # a player's controls are the browser's own
                assert found[2] == "solid2px", found
            names.append(found[0])
            page.keyboard.press("Tab")
        wanted = ["Attach a clip", "Send", "New chat", "Settings", "Copy", "Video: circle", "Download"]
        wanted += ["Ask about this video", "Edit", "Answer again"]
        assert set(wanted) <= set(names), names
        assert page.evaluate(
            "getComputedStyle(document.getElementById('composer')).borderColor"
        ) != page.evaluate("getComputedStyle(document.getElementById('settings')).borderColor"), (
            "the focus of the message shows too"
        )
        page.focus("#open-settings")
        page.keyboard.press("Enter")
        page.wait_for_selector("#settings[open]")
        page.keyboard.press("Escape")
        assert not page.locator("#settings").is_visible()
        assert page.evaluate("document.activeElement.id") == "open-settings"


def test_an_answer_is_read_aloud_once(browser: Browser, url: str) -> None:
    with Tab(browser, url) as tab:
        tab.page.evaluate(
            """() => {
                window.said = [];
                const place = document.getElementById("announcer");
                const note = () => window.said.push(place.textContent);
                new MutationObserver(note).observe(place, {childList: true});
            }"""
        )
        tab.ask("say one two three")
        tab.answered()
        tab.until("window.said.length > 0")
        assert tab.page.evaluate("window.said") == ["Answer: one two three"]
        assert not tab.page.locator("#turns[aria-live], #turns [aria-live], #turns [role=status]").count()
        tab.ask("show circle")
        tab.answered(2)
        tab.until("window.said.length > 1")
        assert tab.page.evaluate("window.said[1]") == "Answer: Look:  Done. Video completed: circle."


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_axe_finds_nothing_serious(browser: Browser, url: str, scheme: str, size: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check(tab: Tab) -> None:
        found = axe.run(tab.page).response["violations"]
        serious = [
            (one["id"], [node["html"] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
        width = tab.page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"], "nothing sticks out"

    options = {"viewport": SIZES[size], "color_scheme": scheme}
    with Tab(browser, url, 400, **options) as tab:
        page = tab.page
        check(tab)
        light = page.evaluate(
            "parseInt(getComputedStyle(document.documentElement).backgroundColor.slice(4)) > 128"
        )
        assert light == (scheme == "light")
        page.set_input_files("#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"clip"})
        page.wait_for_selector(".chip:not(.sending)")
        tab.ask("show unsafe " + "circle " * 12 + "c" * 80)
        page.wait_for_selector("[data-status=withheld]")
        tab.answered()
        page.set_input_files("#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
        page.wait_for_selector(".chip:not(.sending)")
        tab.ask("say yes")
        page.wait_for_selector("#bar.bad")
        tab.answered(2)
        check(tab)
        tab.ask("show circle")
        page.wait_for_selector(".card a[download]")
        tab.answered(3)
        page.click(".question >> text=Edit >> visible=true")
        check(tab)
        page.click("#open-settings")
        check(tab)
        page.click("#s-cancel")
        page.evaluate("document.getElementById('key').showModal()")
        check(tab)
