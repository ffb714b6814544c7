"""Limits of `POST /v1/chat/completions`: places, memory, time, size; and that nothing stays behind."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from typing import Any

import pytest

from g4v.serve.chats.messages import Talk

from .talk import answer, ask, bot, chunks, fault, user


def test_full_memory_makes_room_once(client) -> None:
    answer(client, "say one")
    client.assistant.full = True
    whole = answer(client, "fill")
    assert whole["choices"][0]["finish_reason"] == "length"
    client.service.conversations.drop()
    client.assistant.full = True
    error = fault(ask(client, "fill"), 400)  # alone, it is never enough
    assert error["code"] == "context_length_exceeded"
    waits = in_background(client, "pause")
    until(lambda: client.service.places.running == 1)
    client.assistant.full = True
    response = ask(client, "fill")
    assert fault(response, 429)["code"] == "memory_full" and response.headers["Retry-After"]
    waits[0].join()


def test_videos_of_one_answer(start, tmp_path) -> None:
    client = start(max_videos=2)
    videos = answer(client, "videos 4")["choices"][0]["message"]["videos"]
    assert [video["status"] for video in videos] == ["completed", "completed", "skipped", "skipped"]
    error = videos[2]["error"]
    assert error["code"] == "too_many_videos" and "makes of one, 2 (--max-videos)" in error["message"]
    assert [made["prompt"] for made in client.assistant.made] == ["star 0", "star 1"]
    free = start(max_videos=0, media_dir=tmp_path / "other")
    assert len(answer(free, "videos 9")["choices"][0]["message"]["videos"]) == len(free.assistant.made) == 9


def test_a_turn_that_takes_too_long(client) -> None:
    assert fault(ask(client, "late"), 504)["code"] == "timeout"


@pytest.mark.parametrize("text", ["say one", "show a star", "show broken", "long", "break", "refuse", ""])
@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_that_is_forgotten_is_let_go_at_once(client, text: str, stream: bool) -> None:
    gc.collect()
    gc.disable()
    try:
        ask(client, text, stream=stream)
        chat = weakref.ref(client.assistant.chats.pop())
        client.service.conversations.drop()
        until(lambda: chat() is None)
        until(lambda: not any(isinstance(kept, Talk) for kept in gc.get_objects()))
    finally:
        gc.enable()


def in_background(client: Any, *messages: Any, **fields: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(ask(client, *messages, **fields)))
    thread.start()
    return thread, found


def until(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.002)


def test_the_queue_has_an_end(start) -> None:
    client = start(max_running=1, max_queued=1, timeout=0.5)
    running = in_background(client, "wait")
    until(lambda: client.service.places.running == 1)
    waiting = in_background(client, "say later")
    until(lambda: client.service.places.waiting == 1)
    response = ask(client, "say no")
    error = fault(response, 429)
    assert error["code"] == "queue_full" and error["type"] == "rate_limit_error"
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    for thread, _ in (running, waiting):
        thread.join()
    assert fault(running[1][0], 504)["code"] == "timeout"
    until(lambda: client.service.places.running == 0 and not client.service.turns.turns)
    assert answer(client, "say again")["choices"][0]["message"]["content"] == "again "


def test_a_deadline_in_a_stream_is_an_error_chunk(start) -> None:
    client = start(timeout=0.2)
    *_, error = chunks(client, "wait")
    assert error["error"]["code"] == "timeout"
    until(lambda: client.service.places.running == 0)  # which is a moment after the answer


def test_draining_refuses_what_is_new(client) -> None:
    until(lambda: client.get("/ready").status_code == 200)  # loading ends in a thread of its own
    client.service.draining = True
    assert fault(client.get("/ready"), 503)["code"] == "draining"
    assert fault(ask(client, "hello"), 503)["code"] == "server_shutdown"
    assert fault(client.post("/v1/videos", json={"prompt": "x"}), 503)["code"] == "server_shutdown"
    assert client.get("/health").status_code == 200


def test_large_bodies_are_refused_before_they_are_read(start) -> None:
    client = start(max_upload=1000)
    text = json.dumps({"messages": [user("x" * (2 << 20))]})
    error = fault(
        client.post("/v1/chat/completions", content=text, headers={"Content-Type": "application/json"}), 413
    )
    assert error["code"] == "too_large"
    assert client.service.body_bytes == 0


def test_what_is_fetched_has_a_limit_together(start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(max_upload=1000, allowed_media_domains=("media.example.org",))
    fetched: list[str] = []

    async def fetch(url: str, where: str) -> bytes:
        fetched.append(url)
        return b"x" * 600

    monkeypatch.setattr(client.service.reader._fetcher, "fetch", fetch)

    def shown(number: int) -> dict[str, Any]:
        url = f"https://media.example.org/{number}.mp4"
        return user("say x", {"type": "video_url", "video_url": {"url": url}})

    answer(client, shown(1))
    assert client.assistant.chats[-1].history[-1][2] == b"x" * 600
    error = fault(ask(client, shown(2), bot("b"), shown(3), bot("b"), shown(4)), 413)
    assert error["code"] == "too_large" and error["param"] == "messages[2].content[1]"
    assert len(fetched) == 3 and client.service.places.running == 0
    answer(client, shown(1), bot("x"), shown(5))
    assert fetched[3:] == ["https://media.example.org/5.mp4"], "what a chat has seen is not fetched again"
