"""What a message may hold, and where its video comes from."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from .talk import answer, ask, bot, fault, user

CLIP = base64.b64encode(b"a clip").decode()


def shown(client: Any) -> Any:
    return client.assistant.chats[-1].history[-1][2]


def video_url(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def upload(client: Any, data: bytes = b"a clip") -> str:
    made = client.post("/v1/files", files={"file": ("clip.mp4", data)}, data={"purpose": "user_data"})
    return str(made.json()["id"])


@pytest.mark.parametrize(
    "part",
    [
        video_url(f"data:video/mp4;base64,{CLIP}"),
        video_url(f"data:;base64,{CLIP}"),
        video_url(f"DATA:video/webm;codecs=vp9;base64,{CLIP}"),
        {"type": "video_url", "video_url": f"data:video/mp4;base64,{CLIP}"},
        {"type": "input_video", "input_video": {"data": CLIP}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{CLIP}"}},
        {"type": "file", "file": {"file_data": f"data:video/mp4;base64,{CLIP}", "filename": "clip.mp4"}},
    ],
)
def test_a_video_in_the_request(client, part: dict[str, Any]) -> None:
    answer(client, user("What moves?", part))
    assert shown(client) == b"a clip"
    frames = client.assistant.chats[-1].options["frames"]
    assert frames == (1 if part["type"] == "image_url" else None)


def test_a_file_that_was_sent_before(client) -> None:
    identifier = upload(client)
    for part in (
        {"type": "file", "file": {"file_id": identifier}},
        video_url(identifier),
        video_url(f"/v1/files/{identifier}"),
        video_url(f"/v1/files/{identifier}/content"),
        video_url(f"http://testserver/v1/files/{identifier}/content"),
    ):
        answer(client, user("What moves?", part))
        assert shown(client) == b"a clip"


def test_a_video_that_was_made_here(client) -> None:
    (video,) = answer(client, "show a star")["choices"][0]["message"]["videos"]
    url = video["video_url"]["url"]
    for link in (url, url + "?sig=1-2", video["id"], f"/v1/videos/{video['id']}/content"):
        answer(client, user("What moves?", video_url(link)))
        assert shown(client)[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://example.org/clip.mp4", "url_not_allowed"),
        ("http://example.org/clip.mp4", "url_not_allowed"),
        ("file:///etc/passwd", "url_not_allowed"),
        ("/etc/passwd", "url_not_allowed"),
        ("../../etc/passwd", "url_not_allowed"),
        ("http://evil.example/v1/files/file-" + "0" * 32 + "/content", "url_not_allowed"),
        ("/v1/files/file-" + "0" * 32 + "/../../x", "url_not_allowed"),
        ("file-" + "0" * 32, "not_found"),
        ("video_" + "0" * 32, "not_found"),
        ("data:text/html;base64,AAAA", "invalid_url"),
        ("data:video/mp4,plain", "invalid_url"),
        ("data:video/mp4;base64,%%%%", "invalid_base64"),
        ("http://[", "invalid_url"),
    ],
)
def test_a_url_that_is_not_followed(client, url: str, code: str) -> None:
    response = ask(client, user("What moves?", video_url(url)))
    error = fault(response, 404 if code == "not_found" else 400)
    assert error["code"] == code
    assert client.service.places.running == 0


def test_a_video_that_cannot_be_read(client) -> None:
    data = base64.b64encode(b"no video").decode()
    error = fault(ask(client, user("What moves?", video_url(f"data:video/mp4;base64,{data}"))), 400)
    assert error["code"] == "invalid_video"
    identifier = upload(client, b"no video")
    message = fault(ask(client, user("What moves?", video_url(identifier))), 400)["message"]
    assert str(client.service.options.media_dir) not in message


def test_a_video_above_the_limit(start) -> None:
    client = start(max_upload=1000)
    data = base64.b64encode(b"x" * 2000).decode()
    assert (
        fault(ask(client, user("a", video_url(f"data:video/mp4;base64,{data}"))), 413)["code"] == "too_large"
    )


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        (["hello"], "messages[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([bot("hello")], "messages[0]"),
        ([user("a"), bot("b"), bot("c"), user("d")], "messages[2]"),
        ([user("a"), bot("b")], "messages"),
        ([{"role": "system", "content": "x"}], "messages"),
        ([user("a"), {"role": "system", "content": "x"}, user("b")], "messages[1]"),
        ([user("a"), bot("b", tool_calls=[{"id": "1"}]), user("c")], "messages[1].tool_calls"),
        ([user("a"), bot("b", videos="x"), user("c")], "messages[1].videos"),
        ([user("a"), bot("b", videos=[{"id": "x"}]), user("c")], "messages[1].videos[0]"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": ["text"]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": "\ud800"}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [video_url("")]}], "messages[0].content[0].video_url.url"),
        ([user("a", video_url("x"), video_url("y"))], "messages[0].content[2]"),
        ([user("a", video_url("x")), user("b", video_url("y"))], "messages[1]"),
    ],
)
def test_messages_that_cannot_be_expressed(client, messages: list[Any], where: str) -> None:
    # As escapes: a lone surrogate is no UTF-8.
    body = json.dumps({"messages": messages})
    response = client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    error = fault(response, 400)
    assert error["param"] == where and (where in error["message"] or where == "messages")
    assert client.assistant.chats == []


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_texts_have_a_limit_however_they_are_cut(client, role: str) -> None:
    parts = [{"type": "text", "text": "x" * 30_000}] * 4
    messages = [{"role": role, "content": parts}, user("a")]
    if role == "assistant":
        messages.insert(0, user("a"))
    error = fault(ask(client, *messages), 400)
    assert "at most 100000" in error["message"]
    assert fault(ask(client, *[user("a"), bot("b")] * 2049), 400)["code"] == "context_length_exceeded"
    assert client.assistant.chats == []


def test_messages_of_one_user_are_one(client) -> None:
    opening: list[Any] = [{"role": "developer", "content": "x"}]
    opening += [{"role": "system", "content": [{"type": "text", "text": "y"}]}]
    answer(client, *opening, "one", user("two", video_url(f"data:;base64,{CLIP}")), "three")
    chat = client.assistant.chats[-1]
    assert chat.system == "x\ny"
    assert chat.history[0][0] == "one\ntwo\nthree" and chat.history[0][2] == b"a clip"


def test_a_refusal_is_what_was_answered(client) -> None:
    answer(client, "a", {"role": "assistant", "content": None, "refusal": "No."}, "c")
    assert client.assistant.chats[-1].history[0][1] == "No."
