"""Clients that leave, that are slow, and that send too much."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from g4v.serve import server
from g4v.serve.media.store import MediaStore
from g4v.serve.routes import gate

from .live import listening, post, received, send


def asking(text: str, **fields: Any) -> bytes:
    body = {"messages": [{"role": "user", "content": text}], **fields}
    return post("/v1/chat/completions", json.dumps(body).encode())


def until(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.002)


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_frees_the_place(tmp_path: Path, stream: bool) -> None:
    with listening(tmp_path, max_running=1, max_queued=2) as (port, service):
        for _ in range(3):
            running = send(port, asking("wait", stream=stream))
            until(lambda: service.places.running == 1)
            waiting = send(port, asking("wait", stream=stream))
            until(lambda: service.places.waiting == 1)
            waiting.close()
            until(lambda: service.places.waiting == 0)
            running.close()
            until(lambda: service.places.running == 0)
        assert not service.turns.turns
        assert b'"content":"here "' in received(
            send(port, asking("say here").replace(b"Host:", b"Connection: close\r\nHost:"))
        )


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_takes_the_videos_along(tmp_path: Path, stream: bool) -> None:
    with listening(tmp_path) as (port, service):
        client = send(port, asking("show slow stars", stream=stream))
        until(lambda: service.jobs.unfinished == 1)
        client.close()
        until(lambda: service.jobs.unfinished == 0)
        assert service.store.all("video", "") == []


def test_who_leaves_a_video_that_is_waited_for(tmp_path: Path) -> None:
    with listening(tmp_path) as (port, service):
        client = send(port, post("/v1/videos/sync", b'{"prompt": "slow"}'))
        until(lambda: service.jobs.unfinished == 1)
        client.close()
        until(lambda: service.jobs.unfinished == 0)
        assert service.store.all("video", "") == []


def test_a_client_that_does_not_read_holds_no_place(tmp_path: Path) -> None:
    with listening(tmp_path, max_running=1) as (port, service):
        text = "say " + "word " * 15_000
        client = send(port, asking(text, stream=True))
        until(lambda: b"g4v_generation_tokens_total 4.0" in service.metrics.text())
        until(lambda: service.places.running == 0)
        client.close()


def test_a_head_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.2)
    with listening(tmp_path) as (port, _):
        for start in (b"", b"GET /health HTTP/1.1\r\nHost: x\r\n"):
            began = time.monotonic()
            assert received(send(port, start)) == b""
            assert 0.1 < time.monotonic() - began < 5
        whole = send(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        assert whole.recv(1 << 16).startswith(b"HTTP/1.1 200")
        whole.sendall(b"GET /hea")  # the next one on the same connection
        assert received(whole) == b""


def test_a_slow_answer_is_no_slow_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_SECONDS", 0.1)
    with listening(tmp_path) as (port, _):
        client = send(port, asking("pause"))
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        client.close()


def test_a_body_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_BODY_SECONDS", 0.2)
    with listening(tmp_path) as (port, service):
        for kind in ("application/json", "multipart/form-data; boundary=x"):
            path = "/v1/chat/completions" if "json" in kind else "/v1/files"
            answer = received(send(port, post(path, b"--x\r\n"[: 1 + 4 * ("x" in kind)], kind, length=100)))
            assert answer.startswith(b"HTTP/1.1 408") and b"no more of the body" in answer
        assert service.body_bytes == 0


def test_a_body_that_leaves(tmp_path: Path) -> None:
    with listening(tmp_path) as (port, service):
        send(port, post("/v1/chat/completions", b"{", length=100)).close()
        until(lambda: service.metrics.text().count(b'outcome="cancelled"') >= 1)
        assert service.requests == 0 and service.body_bytes == 0


def test_bodies_have_a_limit_each_and_together(tmp_path: Path) -> None:
    with listening(tmp_path, max_upload=1000) as (port, service):
        limit = 1000 + (1 << 20)
        answer = received(send(port, post("/v1/chat/completions", b"", length=limit + 1)))
        assert answer.startswith(b"HTTP/1.1 413")
        chunked = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        chunked += b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * (1 << 20) + b"\r\n") * 2
        assert received(send(port, chunked)).startswith(b"HTTP/1.1 413")
        held = [send(port, post("/v1/chat/completions", b"{", length=limit)) for _ in range(4)]
        until(lambda: service.body_bytes == 4 * limit)
        answer = received(send(port, post("/v1/chat/completions", b"", length=limit)))
        assert answer.startswith(b"HTTP/1.1 429") and b"retry-after" in answer.lower()
        assert b"HTTP/1.1 200" in send(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").recv(100)
        for connection in held:
            connection.close()
        until(lambda: service.body_bytes == 0)


def test_what_is_no_http(tmp_path: Path) -> None:
    with listening(tmp_path) as (port, _):
        assert received(send(port, b"\x16\x03\x01\x02\x00nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("text", ["wait", "show slow stars"])
def test_the_end_of_the_server_is_told_in_the_stream(tmp_path: Path, text: str) -> None:
    with listening(tmp_path) as (port, service):
        client = send(port, asking(text, stream=True))
        until(lambda: service.places.running == 1 or service.jobs.unfinished == 1)
        assert b"HTTP/1.1 200" in client.recv(1 << 16)
    data = received(client)
    last = data.decode().rpartition("data: ")[2]
    assert json.loads(last.partition("\n")[0])["error"]["code"] == "server_shutdown"
    videos = MediaStore(tmp_path, 60, 1000).all("video", "")
    assert [video["error"]["code"] for video in videos] == ["server_restarted"] * text.startswith("show")
