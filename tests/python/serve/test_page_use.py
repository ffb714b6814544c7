"""The page in a browser, over answers that a test writes: stopping, editing, settings, new chats."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .browser import Tab
from .process import until

pytestmark = pytest.mark.slow


def test_the_answer_is_shown_while_it_comes(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.ask("wait")
    tab.page.wait_for_selector(".body.writing[aria-busy=true] p:text-is('Wait')")
    assert tab.page.locator("#send").get_attribute("aria-label") == "Stop"


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_an_answer_is_stopped(open_tab: Callable[..., Tab], written: tuple[str, Any], way: str) -> None:
    tab = open_tab()
    tab.ask("wait")
    tab.page.wait_for_selector(".body p")
    tab.page.fill("#text", "say on")
    if way == "button":
        tab.page.click("#send")
    else:
        tab.page.keyboard.press("Escape")
    assert "Wait\n\nStopped" in tab.answered()
    until(lambda: written[1].places.running == 0)
    assert tab.page.input_value("#text") == "say on", "what was being written stays"
    tab.page.keyboard.press("Enter") if way == "Escape" else tab.page.click("#send")
    assert "on" in tab.answered(2)
    assert tab.bodies()[-1]["messages"][1]["content"] == "Wait"


def test_a_video_under_way_is_stopped_with_its_answer(
    open_tab: Callable[..., Tab], written: tuple[str, Any]
) -> None:
    tab = open_tab()
    tab.ask("show slow circle")
    tab.page.wait_for_selector("progress")
    tab.page.wait_for_selector("text=/Making the video, \\d+%/")
    tab.page.keyboard.press("Escape")
    tab.page.wait_for_selector("text=Stopped before the video was done.")
    until(lambda: written[1].jobs.unfinished == 0)


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
    values = {
        "seed": 7,
        "temperature": 0.5,
        "max_tokens": 20,
        "num_inference_steps": 3,
        "modalities": ["text"],
    }
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


def test_other_files_and_second_ones_are_not_taken(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    drop = """(names) => {
        const data = new DataTransfer();
        for (const [name, type] of names) data.items.add(new File(["x"], name, {type}));
        const event = {dataTransfer: data, bubbles: true, cancelable: true};
        document.body.dispatchEvent(new DragEvent("drop", event));
    }"""
    tab.page.evaluate(drop, [["notes.txt", "text/plain"]])
    tab.page.wait_for_selector("text=This file is neither a video nor a picture: notes.txt")
    assert not tab.page.locator(".chip").count()
    tab.page.evaluate(drop, [["a.png", "image/png"], ["b.png", "image/png"]])
    tab.page.wait_for_selector(".chip:not(.sending)")
    assert "a.png" in tab.page.locator(".chip").inner_text()
    assert "the first file is taken" in tab.page.locator("#bar-text").inner_text()
    tab.ask("say yes")
    tab.answered()
    assert tab.bodies()[0]["messages"][0]["content"][0]["type"] == "image_url"


def test_two_tabs_show_the_same_chat(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    other = tab.context.new_page()
    other.goto(tab.url)
    tab.ask("say one")
    tab.answered()
    other.wait_for_selector(".body p:text-is('one')")
    other.fill("#text", "say two")
    other.keyboard.press("Enter")
    other.wait_for_selector(".body p:text-is('two')")
    tab.page.wait_for_selector(".body p:text-is('two')")
    assert "two" in tab.answered(2)


def test_the_newest_stays_in_sight_unless_the_reader_went_up(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    for number in range(1, 4):
        tab.ask("say " + "word " * 200)
        tab.answered(number)
    low = "document.documentElement.scrollHeight - innerHeight - scrollY"
    tab.until(f"{low} < 3 && scrollY > 200")
    tab.page.evaluate("scrollTo(0, 0)")
    tab.page.wait_for_selector("#latest")
    tab.page.set_viewport_size({"width": 1000, "height": 800})
    assert tab.page.evaluate("scrollY") == 0
    tab.page.click("#latest")
    tab.until(f"{low} < 3")
    tab.page.wait_for_selector("#latest", state="hidden")


def test_another_answer_leaves_nothing_of_the_first(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.ask("show circle")
    tab.page.wait_for_selector(".card video")
    tab.answered()
    link = "\n<video>http://localhost/v1/videos/video_1/content?sig=1</video>\n"  # of --videos-in-text
    chunks = [{"delta": {"content": text}, "finish_reason": None} for text in ("No.", link)]
    body = "".join(f"data: {json.dumps({'choices': [chunk]})}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    tab.page.route("**/completions", lambda route: route.fulfill(body=body), times=1)
    tab.page.click("text=Answer again")
    tab.page.wait_for_selector(".body p:text-is('No.')")
    tab.answered()
    assert tab.page.locator(".body").inner_text() == "No."


def test_a_chat_that_is_not_ours_does_no_harm(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    for kept in (
        "no JSON",
        "[]",
        '{"id": 1, "turns": []}',
        '{"id": "a", "turns": {}}',
        '{"id": "a", "turns": [null, 3, {}, {"text": "", "answer": 3}]}',
        '{"id": "a", "turns": [{"text": "Hi", "answer": "Ho", "media": {"id": 3}, "videos": [null, 3]}]}',
        '{"id": "a", "turns": [{"text": "Hi", "answer": "", "videos": [{"caption": "c", "status": "x"}]}]}',
    ):
        for name in ("talk", "settings"):
            tab.page.evaluate("([name, kept]) => localStorage.setItem(name, kept)", [f"g4v.{name}", kept])
        tab.page.reload()
        before = tab.page.locator(".turn").count()
        assert before == kept.count("Hi")
        tab.ask("say yes")
        tab.page.wait_for_selector(".body p:text-is('yes')")
        assert "yes" in tab.answered(before + 1)
