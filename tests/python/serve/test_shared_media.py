"""Servers that share a folder of files and videos."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from g4v.errors import ArgumentError
from g4v.serve.media.shared_store import SharedMediaStore
from g4v.serve.media.store import MediaStore

from .process import until
from .talk import answer, finished


@pytest.fixture
def two(start: Callable[..., Any]) -> tuple[Any, Any]:
    return start(share_media=True), start(share_media=True)


def store(folder: Path) -> SharedMediaStore:
    return SharedMediaStore(folder, 3600, 1 << 30)


def test_a_file_is_found_from_both(two: tuple[Any, Any]) -> None:
    one, other = two
    kept = one.post("/v1/files", files={"file": ("a.mp4", b"1234")}, data={"purpose": "user_data"}).json()
    assert other.get(f"/v1/files/{kept['id']}").json() == kept
    assert other.get(f"/v1/files/{kept['id']}/content").content == b"1234"
    assert [file["id"] for file in other.get("/v1/files").json()["data"]] == [kept["id"]]
    assert other.delete(f"/v1/files/{kept['id']}").json()["deleted"]
    assert other.get(f"/v1/files/{kept['id']}").status_code == 404
    assert one.get("/v1/files").json()["data"] == []
    assert one.get(f"/v1/files/{kept['id']}").status_code == 404


def test_a_video_is_found_from_both(two: tuple[Any, Any]) -> None:
    one, other = two
    made = one.post("/v1/videos", json={"prompt": "a star", "num_inference_steps": 2}).json()
    assert finished(other, made["id"])["status"] == "completed"
    content = other.get(f"/v1/videos/{made['id']}/content").content
    assert content == one.get(f"/v1/videos/{made['id']}/content").content and content[4:8] == b"ftyp"


def test_a_video_is_stopped_from_the_other(two: tuple[Any, Any]) -> None:
    one, other = two
    made, waiting = (one.post("/v1/videos", json={"prompt": "slow star"}).json()["id"] for _ in range(2))
    until(lambda: other.get(f"/v1/videos/{made}").json()["status"] == "in_progress")
    until(lambda: other.get(f"/v1/videos/{made}").json()["progress"] > 0, 5)
    for video in (waiting, made):
        assert other.delete(f"/v1/videos/{video}").json()["deleted"]
        assert other.get(f"/v1/videos/{video}").status_code == 404
    until(lambda: one.service.jobs.unfinished == 0, 1)
    assert one.get(f"/v1/videos/{made}").status_code == 404
    until(lambda: not list(one.service.options.media_dir.glob("video_*")), 5)


def test_a_video_that_was_done_meanwhile_goes(tmp_path: Path) -> None:
    maker, other = store(tmp_path), store(tmp_path)
    record = maker.new("video", "me", status="in_progress", error=None)
    maker.save(record)
    found = other.find(record["id"], "video", "me")
    assert found is not None
    maker.path(record).write_bytes(b"video")
    record["status"] = "completed"
    maker.save(record)
    other.remove(found)
    assert other.find(record["id"], "video", "me") is None
    assert maker.find(record["id"], "video", "me") is None
    assert not list(tmp_path.glob("video_*"))
    maker.close()
    other.close()


def test_links_of_one_hold_at_the_other(start: Callable[..., Any]) -> None:
    one = start(share_media=True, videos_in_text=True)
    other = start(share_media=True)
    text = answer(one, "show a star")["choices"][0]["message"]["content"]
    link = text.split("<video>")[1].split("</video>")[0]
    assert other.service.links.holds(link.split("/")[5], link.split("sig=")[1])


def test_a_server_that_has_ended_finishes_nothing(tmp_path: Path) -> None:
    dead, living = store(tmp_path), store(tmp_path)
    record = dead.new("video", "me", status="in_progress", error=None)
    dead.save(record)
    found = living.find(record["id"], "video", "me")
    assert found is not None and found["status"] == "in_progress"
    os.close(dead._alive)  # as the end of the process does
    found = living.find(record["id"], "video", "me")
    assert found is not None and found["status"] == "failed" and found["error"]["code"] == "server_restarted"
    assert json.loads((tmp_path / f"{record['id']}.json").read_text())["status"] == "failed"
    dead._alive = os.open(tmp_path / ".lock", os.O_RDWR)
    dead.close()
    living.close()


def test_a_second_start_leaves_alone_what_others_do(tmp_path: Path) -> None:
    first = store(tmp_path)
    record = first.new("video", "me", status="queued", error=None)
    first.save(record)
    half = tmp_path / f".{record['id']}.mp4.1.ab.tmp"
    half.write_bytes(b"half")
    second = store(tmp_path)
    assert half.exists()
    found = second.find(record["id"], "video", "me")
    assert found is not None and found["status"] == "queued"
    os.utime(half.rename(tmp_path / f".video_{'0' * 32}.mp4.1.ab.tmp"), (0, 0))
    third = store(tmp_path)
    assert not list(tmp_path.glob(".video_*")), "left behind an hour ago"
    for one in (first, second, third):
        one.close()
    assert not list(tmp_path.glob(".server-*"))


def test_alone_or_shared(tmp_path: Path) -> None:
    shared = store(tmp_path)
    with pytest.raises(ArgumentError, match="another server uses it"):
        MediaStore(tmp_path, 60, 1)
    shared.close()
    alone = MediaStore(tmp_path, 60, 1)
    with pytest.raises(ArgumentError, match="--share-media-dir"):
        store(tmp_path)
    alone.close()


def test_room_is_made_of_the_oldest_of_all(tmp_path: Path) -> None:
    one, other = store(tmp_path), SharedMediaStore(tmp_path, 3600, 10)
    kept = []
    for age, server in ((30, one), (20, other), (10, one)):
        record = server.new("file", "me", filename="a", purpose="vision")
        record |= {"bytes": 3, "created_at": record["created_at"] - age}
        with server.writing(record) as path:
            path.write_bytes(b"123")
        server.save(record)
        kept.append(record["id"])
    other.make_room(3)
    assert [record["id"] for record in other.all("file", "me")] == kept[1:]
    one.close()
    other.close()
