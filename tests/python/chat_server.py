"""A chat-completions server on this machine that behaves as a test says."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-7f3a9d51c0de"
_TAGGED = re.compile(r"^<(video\d*)>(.*)</video\d*>$", re.M)


def good_answer(prompt: str) -> str:
    """What a well-behaved model writes for a prompt of the builder."""
    pairs = _TAGGED.findall(prompt)
    refusal = "Sorry, I can't help with that. Shall we see a bird?"
    if "gives a video" in prompt:
        number = prompt.split("this conversation is ", 1)[1].split(".", 1)[0]
        return f"Human: What happens in it, and why {number} times?\nAssistant: {refusal}"
    if not pairs:
        request = prompt.split("assistant:\n", 1)[1].split("\n", 1)[0]
        answer = "Gladly: you won't regret it." if "This is harmless" in prompt else refusal
        return f"Human: {request}\nAssistant: {answer}"
    if pairs[0][0] == "video":
        caption = pairs[0][1]
        backwards = " ".join(caption.split()[::-1])
        wishes = ("plan a weekend away", "find an idea for my painting class", "cheer up my little sister")
        return "Here you are:\n" + "\n".join(
            f"=== {i} ===\nHuman: I would like to {wish}, and I think of {backwards}.\n"
            f"Assistant: Then look at this. <video> {caption} </video>\nHuman: That helps me to {wish}!\n"
            f"Assistant: I am glad that you can {wish} now."
            for i, wish in enumerate(wishes, 1)
        )
    shown = "\n".join(
        f"Human: What else is there, number {tag}?\nAssistant: See: <{tag}>{text}</{tag}> Nice, is it not?"
        for tag, text in pairs
    )
    return f"{shown}\nHuman: What do they share?\nAssistant: They are alike: {pairs[0][1]}."


def completion(text: str | None, finish: str = "stop", tokens: int = 100) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens}
    return {"model": "m-1", "choices": [{"message": message, "finish_reason": finish}], "usage": usage}


class ChatServer:
    """Use as a context manager. `behave(number, prompt)` of each request (from 0) gives a dictionary (200),
    bytes (a 200 body as it is), (status, headers, body), or a number: seconds to hang. It defaults to
    well-formed answers.
    """

    def __init__(self, behave: Callable[[int, str], Any] | None = None, pause: float = 0.0) -> None:
        self.behave = behave or (lambda _, prompt: completion(good_answer(prompt)))
        self.pause = pause
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.answered = 0
        self.keys: set[str | None] = set()
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._end = threading.Event()

    def __enter__(self) -> ChatServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802
                outer.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.keys.add(handler.headers["Authorization"])
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self._end.wait(self.pause)
            self._answer(handler, number, body)
        except OSError:
            handler.close_connection = True  # the client has gone
        finally:
            with self._lock:
                self._at_once -= 1

    def _answer(self, handler: BaseHTTPRequestHandler, number: int, body: dict[str, Any]) -> None:
        if handler.path.endswith("/embeddings"):
            rows = [
                {"index": i, "embedding": [1.0, float("cat" in t), 0.1]} for i, t in enumerate(body["input"])
            ]
            result: Any = {"data": rows[::-1], "usage": {"prompt_tokens": 7, "total_tokens": 7}}
        else:
            result = self.behave(number, body["messages"][-1]["content"])
        status, headers = 200, {}
        if isinstance(result, float):
            self._end.wait(result)
            handler.close_connection = True
            return
        if isinstance(result, tuple):
            status, headers, result = result
        raw = result if isinstance(result, bytes) else json.dumps(result).encode()
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(raw))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw)
        self.answered += 1
