"""Who may ask."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from g4v.errors import ArgumentError
from g4v.serve.base.auth import Keys, Links, is_foreign, is_loopback
from g4v.serve.server import check_open

from .talk import answer, ask, fault

ONE, TWO = "key-one-0123456789", "key-two-0123456789"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"# of the two\n{ONE}\n\n  {TWO}  \n", "utf-8")
    return path


def test_every_key_of_the_file_is_an_owner(keys: Path) -> None:
    found = Keys(keys)
    one, two = found.owner(f"Bearer {ONE}"), found.owner(f"bearer {TWO}")
    assert one and two and one != two
    assert ONE not in one
    for wrong in (
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {ONE}",
        ONE,
        f"Bearer {ONE}x",
        "Bearer # of the two",
    ):
        assert found.owner(wrong) is None, wrong


def test_the_file_is_read_again_when_it_changes(keys: Path) -> None:
    found = Keys(keys)
    keys.write_text("key-new-0123456789\n", "utf-8")
    assert found.owner("Bearer key-new-0123456789")
    assert found.owner(f"Bearer {ONE}") is None
    keys.write_text("", "utf-8")
    assert found.owner("Bearer key-new-0123456789"), "an empty file must not lock everybody out"
    assert "has no key" in found.new_fault()
    assert found.new_fault() == "", "told once"
    keys.unlink()
    assert found.owner("Bearer key-new-0123456789")
    assert "No such file" in found.new_fault()
    keys.write_text(ONE, "utf-8")
    assert found.owner(f"Bearer {ONE}")
    assert found.new_fault() == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# none\n", "has no key"),
        ("short\n", "fewer than 16"),
        ("k\u00e9y-one-0123456789\n", "other characters"),
        (b"\xff\xfe\xff", "no UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_file_without_usable_keys_is_refused(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArgumentError, match=message):
        Keys(path)


def test_only_this_machine_is_served_without_a_key() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "localhost", "::1"):
        check_open(host, None, no_auth=False)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        assert not is_loopback(host)
        with pytest.raises(ArgumentError, match="--api-key-file"):
            check_open(host, None, no_auth=False)
        check_open(host, Path("keys"), no_auth=False)
        check_open(host, None, no_auth=True)


@pytest.mark.parametrize(
    ("host", "origin", "foreign"),
    [
        ("127.0.0.1:8000", None, False),
        ("localhost:8000", "http://localhost:8000", False),
        ("[::1]:8000", None, False),
        ("evil.example:8000", None, True),
        ("127.0.0.1.evil.example", None, True),
        ("localhost:8000", "http://evil.example", True),
        ("localhost:8000", "http://localhost:9000", True),
        ("localhost:8000", "null", True),
        ("[::1", None, True),
        (None, None, True),
    ],
)
def test_pages_of_other_sites_are_told_apart(host: str | None, origin: str | None, foreign: bool) -> None:
    assert is_foreign(host, origin) == foreign


def test_links_hold_for_their_video_and_their_time() -> None:
    links = Links(b"s" * 32)
    signed = links.sign("video_1", 60)
    assert links.holds("video_1", signed)
    assert not links.holds("video_2", signed)
    assert not Links(b"t" * 32).holds("video_1", signed)
    assert not links.holds("video_1", links.sign("video_1", -5))
    later = f"{int(time.time()) + 9999}-{signed.partition('-')[2]}"
    for wrong in ("", "-", later, "x-y", "\u0661-a", signed + "0", "1-\u00e9"):
        assert not links.holds("video_1", wrong), wrong


@pytest.mark.parametrize("page", [True, False])
def test_every_route_but_health_and_the_page_needs_the_key(start, keys: Path, page: bool) -> None:
    client = start(api_key_file=keys, page=page)
    assert client.get("/health").status_code == 200
    for path in (
        "/ready",
        "/metrics",
        "/version",
        "/v1/models",
        "/v1/files",
        "/v1/videos",
        "/nothing",
        "/pages",
    ):
        error = fault(client.get(path), 401)
        assert error["type"] == "authentication_error"
    for path in ("/", "/page/main.js"):
        assert client.get(path).status_code == (200 if page else 401)
    fault(ask(client, "hello"), 401)
    client.headers["Authorization"] = f"Bearer {ONE}"
    assert answer(client, "hello")["choices"][0]["message"]["content"] == "You said: hello"
    assert client.get("/metrics").status_code == 200


def test_files_and_videos_belong_to_their_key(start, keys: Path) -> None:
    client = start(api_key_file=keys)
    one, two = ({"Authorization": f"Bearer {key}"} for key in (ONE, TWO))
    made = client.post("/v1/files", files={"file": b"abc"}, data={"purpose": "user_data"}, headers=one).json()
    video = client.post("/v1/videos", json={"prompt": "a star"}, headers=one).json()
    for path in (f"/v1/files/{made['id']}", f"/v1/files/{made['id']}/content", f"/v1/videos/{video['id']}"):
        assert client.get(path, headers=one).status_code == 200
        fault(client.get(path, headers=two), 404)
        fault(client.delete(path.removesuffix("/content"), headers=two), 404)
    assert client.get("/v1/videos", headers=two).json()["data"] == []
    assert client.get("/v1/files", headers=two).json()["data"] == []


def test_other_sites_cannot_use_a_server_without_keys(start) -> None:
    client = start(loopback=True)
    assert fault(client.get("/v1/models"), 403)["code"] == "foreign_site"  # the client's Host is "testserver"
    local = {"Host": "localhost:8000"}
    assert client.get("/v1/models", headers=local).status_code == 200
    fault(client.get("/v1/models", headers=local | {"Origin": "http://evil.example"}), 403)
    assert client.get("/health").status_code == 200


def test_a_request_id_is_kept_or_made(client) -> None:
    assert client.get("/health", headers={"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for bad in ("x" * 65, "a b", 'a"b', ""):
        made = client.get("/health", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert made.startswith("req_") and made != bad


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(keys: Path) -> None:
    keys.chmod(0)
    with pytest.raises(ArgumentError, match="cannot be read"):
        Keys(keys)
