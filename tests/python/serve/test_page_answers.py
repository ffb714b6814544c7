"""The page in a browser, over answers that a test writes: what is stopped, refused, withheld, or goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .browser import Tab
from .live import listening
from .process import until

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script></video><b>bold</b>&amp;"
CUT = 'data: {"choices":[{"delta":{"content":"The first wor"},"finish_reason":null}]}\n\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    with listening(tmp_path_factory.mktemp("media"), max_running=1, max_queued=0) as (port, service):
        yield f"http://127.0.0.1:{port}", service


@pytest.fixture
def open_tab(browser: Any, server: tuple[str, Any]) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def open_tab(*allowed: int, **options: Any) -> Tab:
        tabs.append(Tab(browser, server[0], *allowed, **options))
        return tabs[-1].__enter__()

    yield open_tab
    for tab in tabs:
        tab.__exit__(None)


def test_the_answer_is_shown_while_it_comes(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.ask("wait")
    tab.page.wait_for_selector(".body.writing[aria-busy=true] p:text-is('Wait')")
    assert tab.page.locator("#send").get_attribute("aria-label") == "Stop"


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_an_answer_is_stopped(open_tab: Callable[..., Tab], server: tuple[str, Any], way: str) -> None:
    tab = open_tab()
    tab.ask("wait")
    tab.page.wait_for_selector(".body p")
    tab.page.fill("#text", "say on")
    if way == "button":
        tab.page.click("#send")
    else:
        tab.page.keyboard.press("Escape")
    assert "Wait\n\nStopped" in tab.answered()
    until(lambda: server[1].places.running == 0)
    assert tab.page.input_value("#text") == "say on", "what was being written stays"
    tab.page.keyboard.press("Enter") if way == "Escape" else tab.page.click("#send")
    assert "on" in tab.answered(2)
    assert tab.bodies()[-1]["messages"][1]["content"] == "Wait"


def test_a_video_under_way_is_stopped_with_its_answer(
    open_tab: Callable[..., Tab], server: tuple[str, Any]
) -> None:
    tab = open_tab()
    tab.ask("show slow circle")
    tab.page.wait_for_selector("progress")
    tab.page.wait_for_selector("text=/Making the video, \\d+%/")
    tab.page.keyboard.press("Escape")
    tab.page.wait_for_selector("text=Stopped before the video was done.")
    until(lambda: server[1].jobs.unfinished == 0)


def test_a_reload_in_the_middle_stops_the_answer(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.ask("wait")
    tab.page.wait_for_selector(".body p")
    tab.page.reload()
    assert "Wait\n\nStopped" in tab.answered()
    tab.page.click("text=Answer again")
    tab.page.wait_for_selector(".body.writing p")


def test_the_last_message_is_edited_and_answered_again(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.ask("say one")
    tab.answered()
    tab.ask("say two")
    tab.answered(2)
    page = tab.page
    assert page.locator("text=Answer again >> visible=true").count() == 1, "only the last one can be"
    page.click("text=Answer again >> visible=true")
    assert "two" in tab.answered(2)
    assert tab.bodies()[-1] == tab.bodies()[-2]
    page.click(".tools >> text=Edit >> visible=true")
    assert page.input_value("#text") == "say two" and page.locator("#editing").is_visible()
    page.keyboard.press("Escape")
    assert page.input_value("#text") == "" and not page.locator("#editing").is_visible()
    page.click(".tools >> text=Edit >> visible=true")
    tab.ask("say three")
    assert "three" in tab.answered(2)
    assert page.locator(".turn").count() == 2
    said = [message["content"].strip() for message in tab.bodies()[-1]["messages"]]
    assert said == ["say one", "one", "say three"]


def test_a_new_chat_can_be_undone(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    assert tab.page.locator("#new-chat").is_disabled()
    tab.ask("say one")
    tab.answered()
    tab.page.click("#new-chat")
    assert tab.page.locator("#welcome").is_visible()
    assert "say one" not in tab.stored()
    tab.page.click("text=Undo")
    assert "one" in tab.answered()
    tab.page.click("#new-chat")
    tab.ask("say two")
    tab.answered()
    assert len(tab.bodies()[-1]["messages"]) == 1
    sessions = {request.headers.get("x-session-id") for request in tab.requests if "chat" in request.url}
    assert len(sessions) == 2


def test_settings_are_sent_and_kept(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    page = tab.page
    page.click("#open-settings")
    for name, value in {"seed": "7", "temperature": "0.5", "max-tokens": "20", "steps": "3"}.items():
        page.fill(f"#s-{name}", value)
    page.uncheck("#s-videos")
    page.fill("#s-temperature", "-1")
    page.click("#settings >> text=Save")
    assert page.locator("#settings").is_visible(), "a temperature below 0 is not taken"
    page.fill("#s-temperature", "0.5")
    page.click("#settings >> text=Save")
    page.reload()
    tab.ask("show circle")
    page.wait_for_selector("text=No video: making videos is off in the settings.")
    tab.answered()
    values = {"seed": 7, "temperature": 0.5, "max_tokens": 20, "num_inference_steps": 3, "modalities": ["text"]}
    assert values.items() <= tab.bodies()[0].items()
    page.click("#open-settings")
    page.click("text=Use defaults")
    page.click("#settings >> text=Cancel")
    page.click("#open-settings")
    assert page.input_value("#s-seed") == "7", "it was not saved"
    page.click("text=Use defaults")
    page.click("#settings >> text=Save")
    tab.ask("say more")
    tab.answered(2)
    assert not set(values) & set(tab.bodies()[-1])


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("show unsafe circle", "This video is withheld: a safety check found it unsafe."),
        ("show broken circle", "This video was not made."),
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
    page.set_input_files("#file", {"name": f"{HOSTILE}.png".replace("/", ":"), "mimeType": "image/png", "buffer": b"x"})
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
    open_tab: Callable[..., Tab], server: tuple[str, Any]
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
