"""The files of the page: headers, tags, who gets them, and that they need nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from g4v.cli import build_parser

FILES = {
    path.name: path.read_text("utf-8") for path in resources.files("g4v.serve").joinpath("page").iterdir()
}
KEY = "key-one-0123456789"


def test_the_page_and_its_files(client: TestClient) -> None:
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name, text in FILES.items():
        response = client.get(f"/page/{name}")
        assert response.status_code == 200 and response.text == text
        assert response.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
        assert response.headers["x-content-type-options"] == "nosniff"
    assert client.get("/").text == FILES["index.html"]
    assert client.head("/").headers["content-length"] == str(len(FILES["index.html"].encode()))


@pytest.mark.parametrize(
    "path", ["/page/none.js", "/page/..%2Fapp.py", "/page/", "/page", "/page/a/b", "/index.html"]
)
def test_there_are_no_others(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_only_this_server_is_asked_for_anything(client: TestClient) -> None:
    rules = dict(
        part.strip().partition(" ")[::2]
        for part in client.get("/").headers["content-security-policy"].split(";")
    )
    assert (
        rules["default-src"] == rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    )
    assert (
        rules["frame-ancestors"]
        == rules["base-uri"]
        == rules["form-action"]
        == rules["object-src"]
        == "'none'"
    )
    assert "unsafe" not in str(rules) and "*" not in str(rules)
    for name, text in FILES.items():
        assert set(re.findall(r"https?://[^\"' )]*", text)) <= {"http://www.w3.org/2000/svg"}, name
    page = FILES["index.html"]
    assert not re.search(
        r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=\"page/main.js\"></script>)", page
    )
    for name in set(FILES) - {"index.html", "main.js"}:
        assert f'"page/{name}"' in page, f"{name} is fetched late"
    for name, text in FILES.items():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b", text
        ), name


def test_the_page_may_live_under_any_path() -> None:
    for name, text in FILES.items():
        assert not re.search(r"""["'`(]/(?:v1|page)""", text), f"{name} has a path from the root"


def test_a_browser_that_has_a_file_is_told_so(client: TestClient) -> None:
    response = client.get("/page/main.js")
    assert response.headers["cache-control"] == "no-cache"
    tag = response.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get("/page/main.js", headers={"If-None-Match": known})
        assert again.status_code == 304 and not again.content and again.headers["etag"] == tag
        assert again.headers["content-security-policy"] == response.headers["content-security-policy"]
    assert client.get("/page/main.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get("/page/api.js").headers["etag"] != tag


def test_the_page_needs_no_key_and_gives_nothing_away(
    start: Callable[..., TestClient], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY, "utf-8")
    client = start(api_key_file=keys)
    assert client.get("/").status_code == client.get("/page/main.js").status_code == 200
    assert client.get("/v1/models").status_code == 401
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert client.get("/pages").status_code == 401


def test_a_name_that_was_pointed_at_this_machine_gets_no_page(start: Callable[..., TestClient]) -> None:
    client = start(loopback=True)
    assert client.get("/", headers={"Host": "localhost:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_the_page_can_be_left_out(start: Callable[..., TestClient], tmp_path: Path) -> None:
    assert build_parser().parse_args(["serve", "--no-page"]).no_page
    assert not build_parser().parse_args(["serve"]).no_page
    client = start(page=False)
    assert client.get("/").status_code == client.get("/page/main.js").status_code == 404
    assert client.get("/health").status_code == 200


def test_its_requests_are_logged_and_counted_by_route(client: TestClient) -> None:
    client.get("/")
    client.get("/page/main.js")
    client.get("/page/none")
    figures = client.get("/metrics").text
    assert 'g4v_requests_total{outcome="ok",route="/"} 1.0' in figures
    assert 'g4v_requests_total{outcome="ok",route="/page/{name}"} 1.0' in figures
    assert "none.js" not in figures
