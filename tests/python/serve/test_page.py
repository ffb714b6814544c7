"""The page in a browser, over `g4v serve` with the embedded bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .browser import Browser, Tab
from .process import Server

pytestmark = pytest.mark.slow

RED = "Show me a red circle moving left"
DROP = """([bytes, name]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name, {type: "video/mp4"}));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const event = {dataTransfer: data, bubbles: true, cancelable: true};
        document.body.dispatchEvent(new DragEvent(kind, event));
        if (kind === "dragover" && document.getElementById("drop").hidden) throw new Error("no sign of it");
    }
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Server(tmp_path_factory.mktemp("server"), "--threads", "1") as server:
        yield server


@pytest.fixture(scope="module")
def clip(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of another server's making would do as well."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    body = {"prompt": "a red circle moving left", "num_inference_steps": 4, "seed": 1}
    path.write_bytes(server.request("POST", "/v1/videos/sync", body).read())
    return path


@pytest.fixture
def tab(browser: Browser, server: Server) -> Any:
    with Tab(browser, server.url) as tab:
        yield tab


def few_steps(tab: Tab, steps: int = 2) -> None:
    """Has videos made quickly; how good they are is not what is tested here."""
    tab.page.evaluate(f"localStorage.setItem('g4v.settings', '{{\"num_inference_steps\": {steps}}}')")


def test_a_question_is_answered(tab: Tab) -> None:
    assert tab.page.locator("#model").inner_text() == "tiny"
    assert tab.page.locator("#welcome").is_visible()
    assert tab.page.evaluate("document.activeElement.id") == "text"
    tab.ask("What can you do?")
    assert "clip" in tab.answered()
    assert tab.page.locator(".said").inner_text() == "What can you do?"
    assert not tab.page.locator("#welcome").is_visible()
    tab.ask("Hello")
    assert tab.answered(2)
    sent = tab.bodies()[-1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert "clip" in sent[1]["content"], "the whole chat is sent"


def test_an_idea_is_asked_with_a_click(tab: Tab) -> None:
    tab.page.click("#ideas button >> nth=0")
    assert tab.answered()


@pytest.mark.parametrize("way", ["button", "drop"])
def test_a_clip_is_attached_shown_and_asked_about(tab: Tab, clip: Path, way: str) -> None:
    page = tab.page
    if way == "button":
        with page.expect_file_chooser() as chooser:
            page.click("#attach")
        chooser.value.set_files(clip)
    else:
        page.evaluate(DROP, [list(clip.read_bytes()), "clip.mp4"])
        assert not page.locator("#drop").is_visible()
    page.wait_for_selector(".chip:not(.sending)")
    tab.until("document.querySelector('.chip video').videoWidth === 64")
    assert page.locator(".chip").inner_text().strip() == "clip.mp4"
    tab.ask("What moves here?")
    assert "circle" in tab.answered()
    tab.until("document.querySelector('.shown video').videoWidth === 64")
    part = tab.bodies()[0]["messages"][0]["content"][0]
    assert part["video_url"]["url"].startswith("file-")
    assert not page.locator(".chip").is_visible(), "the next message is not about it"
    page.reload()  # now the clip comes from the server
    tab.until("document.querySelector('.shown video').videoWidth === 64")


def test_a_clip_that_is_taken_away_is_forgotten(tab: Tab, server: Server, clip: Path) -> None:
    before = len(server.get("/v1/files")[1]["data"])
    tab.page.set_input_files("#file", clip)
    tab.page.wait_for_selector(".chip:not(.sending)")
    with tab.page.expect_response(lambda response: response.request.method == "DELETE"):
        tab.page.click("[aria-label='Take the clip away']")
    assert len(server.get("/v1/files")[1]["data"]) == before
    tab.ask("Hello")
    tab.answered()
    assert tab.bodies()[0]["messages"][0]["content"] == "Hello"


def test_a_file_that_is_no_video_is_refused_in_words(browser: Browser, server: Server) -> None:
    with Tab(browser, server.url, 400) as tab:
        tab.page.set_input_files("#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
        tab.page.wait_for_selector(".chip.blind:not(.sending)")
        tab.ask("What moves here?")
        tab.page.wait_for_selector("#bar.bad")
        assert "video" in tab.page.locator("#bar-text").inner_text()
        assert not tab.page.locator("#bar-action").is_visible(), "it would fail again"
        assert "No answer" in tab.answered()


def test_a_video_is_made_played_saved_and_asked_about(tab: Tab, server: Server) -> None:
    page = tab.page
    few_steps(tab, 8)
    page.emulate_media(reduced_motion="no-preference")
    page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => {
                const bar = document.querySelector("progress");
                if (bar) window.seen.push(bar.position);
            }).observe(document.getElementById("turns"), {subtree: true, childList: true, attributes: true});
        }"""
    )
    tab.ask(RED)
    page.wait_for_selector(".card .frame.making progress")
    assert "red circle" in page.locator(".card figcaption").inner_text()
    tab.until("document.querySelector('.card video')?.videoWidth === 64")
    tab.until("!document.querySelector('.card video').paused")
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen) and len(set(seen)) > 2, seen
    tab.answered()
    with page.expect_download() as download:
        page.click(".card a[download]")
    assert download.value.suggested_filename == "a-red-circle-moving-left.mp4"
    (made,) = [video for video in server.get("/v1/videos?limit=1")[1]["data"]]
    kept = server.request("GET", f"/v1/videos/{made['id']}/content").read()
    assert Path(download.value.path()).read_bytes() == kept
    page.click("text=Ask about this video")
    assert "red circle" in page.locator(".chip").inner_text()
    tab.ask("What moves here?")
    assert tab.answered(2)
    messages = tab.bodies()[-1]["messages"]
    assert messages[1]["videos"][0]["id"] == made["id"]
    assert messages[2]["content"][0]["video_url"]["url"] == made["id"]
    page.reload()
    tab.until("document.querySelector('.question .chip video').videoWidth === 64")


def test_a_reload_keeps_the_chat_and_stores_texts_and_ids_alone(tab: Tab) -> None:
    few_steps(tab)
    tab.ask(RED)
    tab.until("document.querySelector('.card video')?.videoWidth === 64")
    said = tab.answered()
    tab.page.reload()
    assert tab.answered() == said
    tab.until("document.querySelector('.card video')?.videoWidth === 64")
    assert tab.page.evaluate("document.querySelector('.card video').paused"), "who wants no motion gets none"
    stored = tab.stored()
    assert "red circle" in stored and "video_" in stored
    assert "blob:" not in stored and "data:" not in stored and len(stored) < 2000
    tab.ask("Hello")
    tab.answered(2)
    assert len(tab.bodies()[-1]["messages"]) == 3, "and it goes on"


def test_a_video_that_has_gone_is_said_to_be(browser: Browser, server: Server) -> None:
    with Tab(browser, server.url) as tab:
        few_steps(tab)
        tab.ask(RED)
        tab.until("document.querySelector('.card video')?.videoWidth === 64")
        tab.answered()
        (made,) = server.get("/v1/videos?limit=1")[1]["data"]
        server.request("DELETE", f"/v1/videos/{made['id']}").read()
        state = tab.context.storage_state()  # the chat, without the browser's copy of the video
    with Tab(browser, server.url, 404, storage_state=state) as tab:
        tab.page.wait_for_selector("text=The server no longer keeps this video.")
        tab.ask("Hello")
        assert tab.answered(2), "its caption is still part of the chat"
