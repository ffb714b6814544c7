"""g4v's own server as the other server, and `g4v serve` with a generator."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import g4v

from .. import synthetic_bundle as toy
from ..test_runtime_generator import NO_VIDEOS
from ..videos_server import FPS, SHAPE, videos_server
from .live import listening
from .process import Server, until

KEY = "0123456789abcdef-key"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare") / "bundle"
    toy.write_bundle(folder, without=NO_VIDEOS)
    return folder


def test_a_peer_of_our_own(bare: Path, tmp_path: Path) -> None:
    """Options and faults of its routes, on an assistant without a model."""
    with listening(tmp_path) as (port, service):
        url = f"http://127.0.0.1:{port}/v1/videos"
        assistant = g4v.load(bare, threads=1, generator=url)
        wanted = {"seed": 7, "steps": 5, "guidance_scale": 2.0, "frames": 3, "width": 32, "height": 16}
        video = assistant.generate("a star", **wanted)
        assert video.frames.shape == (3, 16, 16, 3) and video.fps == 8.0
        assert service.assistant.made == [{"prompt": "a star"} | wanted]
        until(lambda: service.store.all("video", "") == [])  # nothing is left there
        with pytest.raises(g4v.GeneratorError, match=r"\(400\): width is 30 but must be a multiple of 8"):
            assistant.generate("x", width=30, height=16)
        with pytest.raises(g4v.GeneratorError, match="made no video: the video is withheld: 8 of its 8"):
            assistant.generate("unsafe sign")
        with pytest.raises(g4v.GeneratorError, match="made no video: ONNX Runtime failed"):
            assistant.generate("broken star")
        wrong = g4v.RemoteGenerator(url, model="other")
        with pytest.raises(g4v.GeneratorError, match=r"\(404\): .*other.*; check the URL, and the model"):
            g4v.load(bare, threads=1, generator=wrong).generate("x")


def test_cancel_stops_the_peer(bare: Path, tmp_path: Path) -> None:
    with listening(tmp_path) as (port, service):
        url = f"http://127.0.0.1:{port}/v1/videos"
        chat = g4v.load(bare, threads=1, generator=url).chat()
        # The caption of the synthetic bundle is quick there: the peer's line is held up by a slow one.
        first = g4v.load(bare, threads=1, generator=url)._start_video("slow star")
        until(lambda: service.jobs.unfinished == 1)
        events = chat.send("say b", max_videos=1)
        until(lambda: service.jobs.unfinished == 2)
        events.close()
        until(lambda: service.jobs.unfinished == 1)
        first.cancel()
        until(lambda: service.jobs.unfinished == 0)
        assert service.store.all("video", "") == []


@pytest.mark.slow
def test_a_model_behind_a_server_of_its_own(bare: Path, bundle_dir: Path, tmp_path: Path) -> None:
    """The same caption and seed through the peer as by the bundle itself, but for what H.264 loses."""
    keys = tmp_path / "keys"
    keys.write_text(KEY, "utf-8")
    with Server(tmp_path, "--bundle", str(bundle_dir), "--api-key-file", str(keys), key=KEY) as server:
        remote = g4v.RemoteGenerator(f"{server.url}/v1/videos", api_key=KEY)
        video = g4v.load(bare, threads=1, generator=remote).generate("blue", seed=11)
        own = g4v.load(bundle_dir, threads=1).generate("blue", seed=11)
        assert video.frames.shape == own.frames.shape and video.fps == own.fps
        assert np.abs(video.frames.astype(int) - own.frames.astype(int)).mean() < 8
        denied = g4v.RemoteGenerator(f"{server.url}/v1/videos", api_key="wrong-key-0123456789")
        with pytest.raises(g4v.GeneratorError, match="refuses the key"):
            g4v.load(bare, threads=1, generator=denied).generate("blue")


@pytest.mark.slow
def test_g4v_serve_with_a_generator(bare: Path, tmp_path: Path) -> None:
    with (
        videos_server() as other,
        Server(tmp_path, "--bundle", str(bare), "--generator", other.url) as server,
    ):
        status, answer = server.ask("say b", seed=4, num_inference_steps=9)
        assert status == 200
        made = answer["choices"][0]["message"]["videos"]
        assert [video["status"] for video in made] == ["completed"] * 2
        assert {form["num_inference_steps"] for form in other.forms} == {"9"}
        status, record = server.get(f"/v1/videos/{made[0]['id']}")
        assert status == 200 and record["size"] == f"{SHAPE[2]}x{SHAPE[1]}"
        assert float(record["seconds"]) == SHAPE[0] / FPS
        other.answers["POST", ""] = (400, {"error": {"message": "no such size"}})
        status, answer = server.ask("say b", seed=5)
        failed = answer["choices"][0]["message"]["videos"][0]
        assert status == 200 and failed["status"] == "failed"
        assert failed["error"]["code"] == "generator_error" and "no such size" in failed["error"]["message"]
        status, answer = server.ask("say b", scheduler="ddim")
        assert status == 400 and "scheduler is an option of the bundle's own" in answer["error"]["message"]
        picture = io.BytesIO()
        Image.new("RGB", (16, 16)).save(picture, "png")
        link = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
        status, answer = server.post("/v1/videos", {"prompt": "x", "input_reference": {"image_url": link}})
        assert status == 400 and answer["error"]["param"] == "input_reference"
        assert "video is an option of the bundle's own" in answer["error"]["message"]
        other.answers.clear()
        other.steps = 10**6
        status, record = server.post("/v1/videos", {"prompt": "x"})
        assert status == 200 and record["size"] == ""
        count = len(other.deleted)
        until(lambda: server.get(f"/v1/videos/{record['id']}")[1]["status"] == "in_progress")
        until(lambda: len(other.looks) >= 3)
        assert server.request("DELETE", f"/v1/videos/{record['id']}").status == 200
        until(lambda: len(other.deleted) > count)
