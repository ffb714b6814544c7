"""/v1/files, and the store under it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from g4v.errors import ArgumentError, OutputError
from g4v.serve.base.errors import ApiError
from g4v.serve.media.store import MediaStore

from .talk import fault


def upload(client: Any, data: bytes, name: str = "clip.mp4", **fields: str) -> Any:
    values = {"purpose": "user_data"} | fields
    return client.post("/v1/files", files={"file": (name, data)}, data=values)


def test_a_file_is_kept_shown_and_removed(client) -> None:
    made = upload(client, b"0123456789").json()
    assert made["object"] == "file" and made["bytes"] == 10 and made["filename"] == "clip.mp4"
    assert made["purpose"] == "user_data" and made["expires_at"] > made["created_at"]
    path = f"/v1/files/{made['id']}"
    assert client.get(path).json() == made
    assert client.get("/v1/files").json()["data"] == [made]
    response = client.get(f"{path}/content")
    assert response.content == b"0123456789"
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"].startswith("attachment")
    assert client.delete(path).json() == {"id": made["id"], "object": "file", "deleted": True}
    fault(client.get(path), 404)
    fault(client.delete(path), 404)
    left = {name for name in os.listdir(client.service.options.media_dir) if not name.startswith(".")}
    assert left == set()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\\..\\b", "", "x" * 1000, "\u202egpj.exe", 'a"b\r\nc']
)
def test_a_name_leads_nowhere(client, name: str) -> None:
    made = upload(client, b"abc", name or "x").json()
    assert "/" not in made["filename"] and "\\" not in made["filename"] and len(made["filename"]) <= 255
    assert client.get(f"/v1/files/{made['id']}/content").content == b"abc"


def test_what_is_no_upload_is_refused(start) -> None:
    client = start(max_upload=1000)
    assert fault(upload(client, b"x", purpose="fine-tune"), 400)["param"] == "purpose"
    assert fault(upload(client, b""), 400)["param"] == "file"
    assert fault(
        client.post("/v1/files", data={"purpose": "user_data", "file": "x"}, files={"other": b"x"}), 400
    )
    assert fault(upload(client, b"x" * 1001), 413)["param"] == "file"
    assert fault(upload(client, b"x" * (2 << 20)), 413)["code"] == "too_large"
    fault(client.post("/v1/files", json={"purpose": "user_data"}), 415)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"", b"nonsense", b"--x\r\n"):
        fault(client.post("/v1/files", content=body, headers=headers), 400)
    assert client.get("/v1/files").json()["data"] == []


def test_pages_of_the_list(client) -> None:
    ids = [
        upload(client, b"x", purpose=purpose).json()["id"] for purpose in ("user_data", "vision", "user_data")
    ]
    page = client.get("/v1/files?limit=1").json()
    assert [file["id"] for file in page["data"]] == ids[2:] and page["has_more"]
    rest = client.get(f"/v1/files?after={ids[2]}&order=desc").json()
    assert [file["id"] for file in rest["data"]] == ids[1::-1] and not rest["has_more"]
    vision = client.get("/v1/files?purpose=vision").json()["data"]
    assert [file["id"] for file in vision] == [ids[1]]
    fault(client.get("/v1/files?after=file-x"), 400)


def test_ranges_and_tags(client) -> None:
    made = upload(client, bytes(range(100))).json()
    path = f"/v1/files/{made['id']}/content"
    part = client.get(path, headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == bytes(range(10, 20))
    assert part.headers["content-range"] == "bytes 10-19/100"
    assert client.get(path, headers={"Range": "bytes=-5"}).content == bytes(range(95, 100))
    assert client.get(path, headers={"Range": "bytes=100-"}).status_code == 416
    tag = client.get(path).headers["etag"]
    for given in (tag, f'"x", W/{tag}', "*"):
        same = client.get(path, headers={"If-None-Match": given})
        assert same.status_code == 304 and same.content == b"" and same.headers["etag"] == tag
    assert client.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    assert client.get(path, headers={"Range": "bytes=0-1", "If-Range": tag}).status_code == 206
    assert client.get(path, headers={"Range": "bytes=0-1", "If-Range": '"x"'}).status_code == 200
    head = client.head(path)
    assert head.content == b"" and head.headers["content-length"] == "100"


def test_a_folder_belongs_to_one_server(tmp_path: Path) -> None:
    store = MediaStore(tmp_path, 60, 1000)
    with pytest.raises(ArgumentError, match="another server uses it"):
        MediaStore(tmp_path, 60, 1000)
    store.close()
    MediaStore(tmp_path, 60, 1000).close()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="--media-dir"):
        MediaStore(tmp_path / "file" / "below", 60, 1000)


def keep(store: MediaStore, data: bytes, owner: str = "", **values: Any) -> dict[str, Any]:
    store.make_room(len(data))
    record = store.new("file", owner, filename="a", purpose="user_data", **values)
    record["bytes"] = len(data)
    with store.writing(record) as path:
        path.write_bytes(data)
    store.save(record)
    return record


def test_a_restart_keeps_what_is_whole(tmp_path: Path) -> None:
    store = MediaStore(tmp_path, 60, 1000)
    file = keep(store, b"abc", "me")
    lost = keep(store, b"lost")
    store.path(lost).unlink()
    video = store.new("video", "me", status="in_progress", prompt="x", error=None, progress=50)
    store.save(video)
    torn = keep(store, b"torn")
    (tmp_path / f"{torn['id']}.json").write_text("{", "utf-8")
    orphan = tmp_path / ("video_" + "0" * 32 + ".mp4")
    orphan.write_bytes(b"orphan")
    half = tmp_path / (".file-" + "0" * 32 + ".bin.123.abcd.tmp")
    half.write_bytes(b"half")
    other = tmp_path / "notes.txt"
    other.write_bytes(b"not ours")
    secret = store.secret()
    store.close()

    store = MediaStore(tmp_path, 60, 1000)
    assert store.find(file["id"], "file", "me") == file
    found = store.find(video["id"], "video", "me")
    assert found and found["status"] == "failed" and found["error"]["code"] == "server_restarted"
    assert store.find(lost["id"], "file", "") is None and store.find(torn["id"], "file", "") is None
    assert not orphan.exists() and not half.exists() and other.exists()
    assert store.secret() == secret and len(secret) == 32
    assert store.total_bytes == 3
    store.close()


@pytest.mark.parametrize(
    "record",
    [
        {},
        [],
        {"id": "../../x"},
        {"id": "ID", "kind": "file", "owner": "", "bytes": "x", "created_at": 1, "expires_at": 9e12},
        {"id": "ID", "kind": "other", "owner": "", "bytes": 1, "created_at": 1, "expires_at": 9e12},
    ],
)
def test_a_record_that_is_none(tmp_path: Path, record: Any) -> None:
    name = "file-" + "1" * 32
    text = json.dumps(record).replace("ID", name)
    (tmp_path / f"{name}.json").write_text(text, "utf-8")
    (tmp_path / f"{name}.bin").write_bytes(b"x")
    store = MediaStore(tmp_path, 60, 1000)
    assert store.total_bytes == 0 and store.find(name, "file", "") is None
    store.close()


def test_only_this_user_can_read_what_is_kept(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = MediaStore(tmp_path / "media", 60, 1000)
        keep(store, b"abc")
        store.secret()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "media").iterdir()}
    assert len(modes) == 4 and set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE((tmp_path / "media").stat().st_mode) == 0o700
    store.close()


def test_time_and_room_run_out(tmp_path: Path) -> None:
    store = MediaStore(tmp_path, 60, 10)
    first, second = keep(store, b"12345"), keep(store, b"1234")
    keep(store, b"1")
    assert store.total_bytes == 10
    third = keep(store, b"123")
    assert store.find(first["id"], "file", "") is None and not store.path(first).exists()
    assert store.find(second["id"], "file", "") is not None
    with pytest.raises(ApiError, match="11 bytes"):
        keep(store, b"12345678901")
    assert store.find(second["id"], "file", "") is not None, "what never fits must not push others out"
    third["expires_at"] = 1
    assert store.find(third["id"], "file", "") is None
    store.sweep()
    assert not store.path(third).exists()
    running = store.new("video", "", status="in_progress", expires_at=1)
    store.sweep()
    assert store.find(running["id"], "video", "") is running
    store.close()
