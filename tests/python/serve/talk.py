"""Asking a server in tests."""

from __future__ import annotations

import json
import time
from typing import Any


def user(text: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts] if parts else text}


def bot(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def ask(client: Any, *messages: Any, **fields: Any) -> Any:
    said = [user(m) if isinstance(m, str) else m for m in messages]
    return client.post("/v1/chat/completions", json={"model": "fake", "messages": said, **fields})


def answer(client: Any, *messages: Any, **fields: Any) -> dict[str, Any]:
    response = ask(client, *messages, **fields)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def chunks(client: Any, *messages: Any, **fields: Any) -> list[Any]:
    """The chunks of a stream; the last one is "[DONE]" or an error."""
    response = ask(client, *messages, stream=True, **fields)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) if line != "[DONE]" else line for line in lines]


def fault(response: Any, status: int) -> dict[str, Any]:
    """The error of a response, in OpenAI's shape."""
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]
    return error


def finished(client: Any, identifier: str, seconds: float = 10.0) -> dict[str, Any]:
    """The video of this id when it is done."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        video: dict[str, Any] = client.get(f"/v1/videos/{identifier}").json()
        if video["status"] not in ("queued", "in_progress"):
            return video
        time.sleep(0.005)
    raise AssertionError(f"the video is not done after {seconds} s")
