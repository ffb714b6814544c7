"""Clients of others against `g4v serve`, over the embedded bundle: Node.js, curl, llama.cpp, Open WebUI."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .process import Server, until

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[3] / "docs" / "serving.md"
KEY = "key-of-the-clients-0123456789"
OPTIONS = ("--videos-in-text", "--threads", "1")
SHOW = "Show me a red circle moving left"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    (folder / "keys").write_text(KEY, "utf-8")
    with Server(folder, "--api-key-file", str(folder / "keys"), *OPTIONS, key=KEY) as server:
        yield server


def node() -> str:
    """Node.js with the package openai. Skips where either is missing."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not at hand")
    done = subprocess.run([program, "-e", "require('openai')"], capture_output=True, timeout=60)
    if done.returncode:
        pytest.skip("the npm package openai is not installed; name its folder in NODE_PATH")
    return program


def test_openai_for_node(server: Server) -> None:
    command = [node(), str(Path(__file__).with_name("client.js")), f"{server.url}/v1", KEY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    link = re.compile(r"\n<video>.*</video>\n")
    assert found["models"] == ["tiny"] and found["type"] == "video/mp4"
    assert link.sub("", found["streamed"]) == link.sub("", found["content"]) != ""
    assert found["usage"]["completion_tokens"] > 0
    assert found["videos"][0]["status"] == found["statuses"][-1] == found["made"] == "completed"
    assert found["file"] and found["deleted"] and found["listed"] == 1 and "circle" in found["about"]
    wrong = {"name": "BadRequestError", "code": "unsupported_parameter", "param": "n"}
    assert found["error"] == wrong
    until(lambda: server.metric("g4v_requests_running") == 0)


def shell_blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_page_has_commands_of_curl() -> None:
    assert "".join(shell_blocks()).count("curl ") >= 8


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not at hand")
def test_commands_of_the_page(tmp_path: Path) -> None:
    """Each block runs as it stands, one after the other in one folder, but for the address."""
    with Server(tmp_path, "--threads", "1") as plain:
        for block in shell_blocks():
            script = block.replace("http://127.0.0.1:8000", plain.url)
            script = re.sub(r"\bcurl ", "curl --silent --show-error --fail-with-body ", script)
            command = ["bash", "-euo", "pipefail", "-c", script]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, (script, done.stdout, done.stderr)
            assert done.stdout or "-o " in script
        assert (tmp_path / "circle.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_dialect_of_llama_cpp(server: Server) -> None:
    """Its own page sends raw base64 as input_video, no model, and fields of its own."""
    status, whole = server.ask(SHOW)
    assert status == 200
    video = whole["choices"][0]["message"]["videos"][0]
    clip = server.request("GET", f"/v1/videos/{video['id']}/content").read()
    part = {"type": "input_video", "input_video": {"data": base64.b64encode(clip).decode()}}
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What moves here?"}, part]}],
        "stream": True,
        "cache_prompt": True,
        "timings_per_token": True,
        "temperature": 0,
        "top_k": -1,
        "min_p": 0,
    }
    before = server.metric("g4v_unknown_fields_total")
    response = server.request("POST", "/v1/chat/completions", body)
    lines = [line[6:] for line in response.read().decode().splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    deltas = [choice["delta"] for line in lines for choice in json.loads(line)["choices"]]
    assert "circle" in "".join(delta.get("content") or "" for delta in deltas)
    assert server.metric("g4v_unknown_fields_total") == before + 2


def open_webui_players(text: str) -> list[str]:
    """Sources of the players that Open WebUI shows: what is between <video> tags alone on their line."""
    return re.findall(r"(?:^|\n)<video>([^<>\s]+)</video>(?:\n|$)", text)


def test_what_open_webui_renders(server: Server) -> None:
    whole: Any = server.ask(SHOW)[1]
    message = whole["choices"][0]["message"]
    (source,) = open_webui_players(message["content"])
    assert source.startswith(f"{server.url}/v1/videos/{message['videos'][0]['id']}/content?sig=")
    # A player sends no key, and asks for parts.
    path = source.removeprefix(server.url)
    command = [
        "curl",
        "-s",
        "-o",
        "-",
        "-H",
        "Range: bytes=4-7",
        "-w",
        "%{http_code} %{content_type}",
        source,
    ]
    if shutil.which("curl"):
        assert subprocess.run(command, capture_output=True, timeout=30).stdout == b"ftyp206 video/mp4"
    assert server.request("GET", path.replace("sig=", "sig=1")).status == 200, "with the key"
    # It sends back the text alone; the caption is put back for the assistant.
    talk: list[Any] = [
        {"role": "user", "content": SHOW},
        {"role": "assistant", "content": message["content"]},
    ]
    talk.append({"role": "user", "content": "Thank you"})
    again = server.post("/v1/chat/completions", {"messages": talk})[1]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= whole["usage"]["prompt_tokens"]
