"""The page in a browser, over answers that a test writes: what is refused, withheld, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .browser import Browser, Tab
from .live import listening

pytestmark = pytest.mark.slow

KEY = "key-of-the-page-0123456789"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script></video><b>bold</b>&amp;"
CUT = 'data: {"choices":[{"delta":{"content":"The first wor"},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("show unsafe circle", "This video is withheld: a safety check found it unsafe."),
        ("show broken circle", "This video was not made: ONNX Runtime failed"),
        ("refuse", "I am sorry."),
    ],
)
def test_what_is_not_shown_is_said(open_tab: Callable[..., Tab], question: str, words: str) -> None:
    tab = open_tab()
    tab.ask(question)
    tab.page.wait_for_selector(f"text={words}")
    assert words in tab.answered()
    assert not tab.page.locator(".card video").count()


def test_hostile_text_stays_text(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    page = tab.page
    page.on("dialog", lambda dialog: tab.errors.append(dialog.message))
    page.set_input_files(
        "#file", {"name": f"{HOSTILE}.png".replace("/", ":"), "mimeType": "image/png", "buffer": b"x"}
    )
    page.wait_for_selector(".chip:not(.sending)")
    tab.ask(f"show {HOSTILE}")
    tab.page.wait_for_selector(".card video")
    tab.answered()
    tab.ask(f"say {HOSTILE}")
    tab.answered(2)
    page.reload()
    tab.answered(2)
    assert page.locator(".card figcaption").inner_text() == HOSTILE
    assert page.locator(".said").all_inner_texts() == [f"show {HOSTILE}", f"say {HOSTILE}"]
    assert page.locator(".turn .body p").last.inner_text() == HOSTILE
    assert "<script>" in page.locator(".shown figcaption").inner_text()
    assert not page.locator("#turns script, #turns b, #turns img[src=x]").count()


def test_the_page_itself_cannot_make_html_of_text(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.allow("TrustedHTML")
    made = tab.page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return 'made'; } catch (e) { return e.name; } }"
    )
    assert made == "TypeError"


def test_a_busy_server_is_asked_again_when_it_said(
    open_tab: Callable[..., Tab], written: tuple[str, Any]
) -> None:
    first, second = open_tab(), open_tab(429)
    first.ask("wait")
    first.page.wait_for_selector(".body p")
    second.ask("say hello")
    second.page.wait_for_selector("#bar.bad >> text=The server is busy.")
    assert second.page.locator("#bar-action").inner_text() == "Try again (1 s)"
    first.page.keyboard.press("Escape")
    second.page.wait_for_selector(".body p")
    assert "hello" in second.answered(), "nobody has to press anything"
    assert not second.page.locator("#bar").is_visible()


def test_a_lost_network_is_said_and_tried_again(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.allow("ERR_INTERNET_DISCONNECTED")
    tab.context.set_offline(True)
    tab.ask("say hello")
    tab.page.wait_for_selector("#bar.bad >> text=The server cannot be reached.")
    assert "No answer" in tab.answered()
    tab.context.set_offline(False)
    tab.page.click("#bar-action")
    tab.page.wait_for_selector(".body p")
    assert "hello" in tab.answered()
    assert not tab.page.locator("#bar").is_visible()


def test_an_answer_that_breaks_off_is_said_and_tried_again(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.page.route("**/completions", lambda route: route.fulfill(body=CUT), times=1)
    tab.ask("say hello")
    tab.page.wait_for_selector("text=The connection was lost in the middle of the answer.")
    assert "The first wor\n\nThe answer broke off" in tab.answered()
    tab.page.click("#bar-action")
    tab.page.wait_for_selector(".body p:text-is('hello')")
    tab.ask("break")
    tab.page.wait_for_selector("#bar.bad")
    assert "Br\n\nThe answer broke off" in tab.answered(2)


def test_a_key_is_asked_for_and_forgotten_with_the_tab(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY, "utf-8")
    with (
        listening(tmp_path / "media", api_key_file=keys) as (port, _),
        Tab(browser, f"http://127.0.0.1:{port}", 401, locale="en") as tab,  # with a context of its own
    ):
        page = tab.page
        page.wait_for_selector("#key[open]")
        assert page.evaluate("document.activeElement.id") == "key-input"
        page.click("#key-cancel")
        tab.ask("Hello")
        page.wait_for_selector("#key[open]")
        page.fill("#key-input", "a wrong one, of some length")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=The server does not know this key")
        page.fill("#key-input", KEY)
        page.click("#key button[type=submit]")
        assert tab.answered()
        tab.ask("show circle")
        tab.until("document.querySelector('.card video')?.videoWidth === 16")
        assert KEY not in tab.stored()
        page.reload()
        tab.until("document.getElementById('model').textContent === 'fake'")
        other = tab.context.new_page()
        other.goto(tab.url)
        other.wait_for_selector("#key[open]")
        assert all(KEY not in request.url for request in tab.requests)
