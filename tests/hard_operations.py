"""One operation of g4v in a process of its own, under a condition that the system sets.

    python tests/hard_operations.py OPERATION CONDITION AMOUNT FOLDER

CONDITION: "none" measures what the operation needs; "memory" leaves it so many bytes of address space
(RLIMIT_AS); "disk" a file system with so many free bytes; "read-only" one that cannot be written (exit code
77 where that cannot be arranged). FOLDER: what tests/hard_conditions.py has made. The last line
of stdout is JSON: what became of the operation, what it left, and whether it works when all is well.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import g4v
from g4v.errors import Error
from hard_machine import Disk, address_space, listing, need_of

NOT_HERE = 77  # exit code


class Refused(Exception):
    """A command ended with an error; its lines."""


def command(main: Callable[[list[str]], int], *words: object) -> None:
    """Runs a command of g4v in this process. Refused: its exit code is not 0."""
    from g4v._command import run_program

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = run_program(lambda: main([str(word) for word in words]))
    if code:
        raise Refused(said.getvalue().removesuffix("\n"))


class Talk:
    """Operations on a bundle; `made` has what hard_conditions.py made, `disk` is where they write."""

    def __init__(self, made: Path, disk: Path, bundle: str = "tiny") -> None:
        self.made, self.disk, self.bundle = made, disk, bundle
        self.large = False  # whether the work is larger than that which warms up

    def load(self) -> g4v.Assistant:
        assistant = g4v.load(self.bundle, device="cpu", threads=1)
        assistant.wait_until_ready()
        return assistant

    def loaded(self) -> g4v.Assistant:
        self.assistant = getattr(self, "assistant", None) or self.load()
        return self.assistant

    def turn(self) -> None:
        self.loaded().chat(max_new_tokens=16).ask("Hello " * (100 if self.large else 1))

    def clip(self) -> None:
        if not hasattr(self, "film"):
            self.film = np.zeros((128, 512, 512, 3), np.uint8)
        film = self.film if self.large else self.film[:8, :64, :64]
        self.loaded().chat(max_new_tokens=16).ask("What?", film, frames=len(film))

    def video(self) -> None:
        side = 160 if self.large else 64
        self.loaded().generate("a red circle", steps=1, width=side, height=side)

    def save(self, suffix: str) -> None:
        from g4v._encode import save_video

        if not hasattr(self, "clips"):
            noise = 32 * np.random.default_rng(0).integers(0, 8, (16, 320, 320, 3), np.uint8)
            self.clips = {True: noise, False: noise[:8, :64, :64]}
        save_video(self.disk / f"video{suffix}", self.clips[self.large], 8)

    def generate_command(self) -> None:
        from g4v.cli import main

        command(main, "generate", "a circle", "--steps", 1, "--out", self.disk / "video.mp4")

    def chat_command(self) -> None:
        from g4v.cli import main

        command(main, "chat", "--prompt", "Show me a red circle", "--steps", 1, "--out", self.disk)

    def export(self) -> None:
        from g4v.export.bundle.export import export_bundle

        export_bundle(self.made / "run", self.disk / "bundle", only=["decoder", "encoder"], force=True)

    def export_command(self) -> None:
        from g4v.export.__main__ import main

        words = ["--base", self.made / "run", "--out", self.disk / "bundle", "--component", "decoder"]
        command(main, *words, "--force", "--quiet")

    def checkpoint(self) -> None:
        import torch

        from g4v.train.checkpoint import State, save_checkpoint

        self.step = getattr(self, "step", 0) + 1
        weights = {f"w{k}": torch.ones(1 << 18) for k in range(8)}
        moments = {name: {"exp_avg": tensor, "step": torch.ones(())} for name, tensor in weights.items()}
        save_checkpoint(self.disk, State(1, weights, moments, {"config": {}}))

    def upload(self) -> None:
        self.bytes = b"x" * (20_000_000 if self.large else 2_000)
        self._request("/v1/files", data={"purpose": "vision"}, files={"file": ("a.bin", self.bytes)})

    def video_job(self) -> None:
        answer = self._request("/v1/videos", json={"prompt": "a circle", "steps": 1})
        place = f"/v1/videos/{answer['id']}"
        while answer["status"] not in ("completed", "failed"):
            time.sleep(0.02)
            answer = self.client.get(place).json()
        if answer["status"] == "failed":
            self.client.delete(place)
            raise Refused(answer["error"]["message"])

    def _request(self, place: str, **options: Any) -> dict[str, Any]:
        if not hasattr(self, "client"):
            from starlette.testclient import TestClient

            from g4v.serve.app import make_app
            from g4v.serve.options import Options

            app = make_app(self.loaded(), Options(media_dir=self.disk / "media", loopback=False))
            self.client = TestClient(app, raise_server_exceptions=False).__enter__()
        answer = self.client.post(place, **options)
        if answer.status_code >= 400:
            raise Refused(answer.json()["error"]["message"])
        return answer.json()  # type: ignore[no-any-return]


OPERATIONS: dict[str, Callable[[Talk], object]] = {
    "first load": Talk.load,
    "load": Talk.load,
    "turn": Talk.turn,
    "turn with a clip": Talk.clip,
    "video": Talk.video,
    "save .mp4": lambda talk: talk.save(".mp4"),
    "save .webm": lambda talk: talk.save(".webm"),
    "save .gif": lambda talk: talk.save(".gif"),
    "g4v generate": Talk.generate_command,
    "g4v chat": Talk.chat_command,
    "export": Talk.export,
    "python -m g4v.export": Talk.export_command,
    "checkpoint": Talk.checkpoint,
    "upload to the server": Talk.upload,
    "video of the server": Talk.video_job,
}


def outcome_of(operation: Callable[[], object]) -> dict[str, str]:
    """What became of it: "done", "refused", or "another exception" where one must not leave."""
    try:
        operation()
    except (Error, MemoryError, Refused) as error:
        words = str(error)
        clear = "\n" not in words and (words or isinstance(error, MemoryError))
        return {
            "outcome": "refused" if clear else "unclear words",
            "error": f"{type(error).__name__}: {words}",
        }
    except BaseException as error:
        return {"outcome": "another exception", "error": f"{type(error).__name__}: {error}"}
    return {"outcome": "done"}


def main() -> None:
    name, condition, amount, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    os.environ["OMP_NUM_THREADS"] = "1"
    name, _, bundle = name.partition(" of ") if " of packed" in name else (name, "", "")
    place = tempfile.mkdtemp(dir=folder)
    try:
        disk = None if condition == "memory" else Disk(Path(place))
    except OSError:
        os._exit(NOT_HERE)
    talk = Talk(folder, Path(place), str(folder / "packed" / "bundle") if bundle else "tiny")
    run = OPERATIONS[name]
    if name != "first load":
        run(talk)  # what is imported or made once is there now
    talk.large = True
    before, found = listing(Path(place)), dict[str, Any]()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if disk is None:
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + amount, hard))
    elif condition == "none":
        with need_of(found, disk):
            run(talk)
    elif condition == "disk":
        disk.limit(amount)
    else:
        try:
            disk.refuse()
        except OSError:  # the server has a file open
            os._exit(NOT_HERE)
    if condition != "none":
        found |= outcome_of(lambda: run(talk))
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        if disk is not None:
            disk.lift()
        left = listing(Path(place))
        found["left"] = sorted(set(left) - set(before)) + sorted(
            name for name in before if left.get(name) != before[name]
        )
        found["again"] = outcome_of(lambda: run(talk))
    print(json.dumps(found), flush=True)
    os._exit(0)  # the namespace goes with the process, and its file system


if __name__ == "__main__":
    main()
