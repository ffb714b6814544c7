"""The server as two replicas of Ray Serve, over the embedded bundle. It needs the extra ray."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason='ray is not installed: pip install "g4v[ray]"')

from g4v.errors import ArgumentError  # noqa: E402
from g4v.serve.ray import app  # noqa: E402

from .process import until  # noqa: E402

LONG = {"prompt": "a red circle moving left", "num_inference_steps": 900}
GIVEN = {"media_dir": "media", "no_auth": "true"}

DRIVER = """
import sys, time, ray
from ray import serve
from g4v.serve.ray import app

folder, port = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
arguments = {"bundle": "tiny", "replicas": "2", "media_dir": folder, "no_auth": "true", "threads": "1"}
serve.run(app(arguments | {"cpus": "0.5", "max_running": "1", "max_queued": "2"}))
print("ready", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
"""


class Cluster:
    """A cluster of Ray on this machine with two replicas."""

    def __init__(self, folder: Path) -> None:
        self.media = folder / "media"
        self.port = free_port()
        (folder / "driver.py").write_text(DRIVER, "utf-8")
        environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
        command = [sys.executable, str(folder / "driver.py"), str(self.media), str(self.port)]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line == b"ready\n":
                return
        raise AssertionError((folder / "log").read_text("utf-8"))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def send(self, method: str, path: str, body: Any = None, session: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"X-Session-Id": session} if session else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, json.loads(data) if data.startswith(b"{") else data.decode("latin-1")

    def ask(self, messages: list[Any], session: str = "") -> tuple[int, Any]:
        body = {"messages": messages, "temperature": 0, "modalities": ["text"]}
        return self.send("POST", "/v1/chat/completions", body, session)

    def video(self, identifier: str, session: str) -> Any:
        """What is known of a video."""
        return self.send("GET", f"/v1/videos/{identifier}", None, session)[1]

    def replica(self, session: str) -> str:
        """The token of the replica of a session: that which keeps a file."""
        form = (
            '--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
            '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\na\r\n--x--\r\n'
        )
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "multipart/form-data; boundary=x", "X-Session-Id": session}
        connection.request("POST", "/v1/files", form, headers)
        kept = json.loads(connection.getresponse().read())
        connection.close()
        return str(json.loads((self.media / f"{kept['id']}.json").read_text())["server"])

    def maker(self, video: str) -> int:
        """The process that makes a video: it holds the lock of its own file."""
        token = json.loads((self.media / f"{video}.json").read_text())["server"]
        inode = (self.media / f".server-{token}").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                return int(fields[4])
        raise AssertionError("nobody holds the lock")


def free_port() -> int:
    """A port that no connection takes meanwhile: Ray binds it many connections later, and so a port that the
    system hands out (from 32768 on) may be gone by then. Ray's own workers have 10002 to 19999."""
    for port in random.sample(range(20000, 32768), 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("ray"))
    yield cluster
    cluster.close()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.slow
def test_a_talk_stays_on_its_replica(cluster: Cluster) -> None:
    replicas = set()
    for number in range(12):
        session = f"talk-{number}"
        talk: list[Any] = [user("Hello")]
        status, first = cluster.ask(talk, session)
        assert status == 200, first
        talk += [first["choices"][0]["message"], user("What can you do?")]
        _, second = cluster.ask(talk, session)
        cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached >= first["usage"]["prompt_tokens"], "another replica would have to compute it"
        replicas.add(cluster.replica(session))
        assert cluster.replica(session) in replicas
    assert len(replicas) == 2


@pytest.mark.slow
def test_a_video_is_found_and_stopped_from_either(cluster: Cluster) -> None:
    sessions = two_sessions(cluster)
    _, made = cluster.send("POST", "/v1/videos", LONG | {"num_inference_steps": 2}, sessions[0])
    for session in sessions:
        until(lambda s=session: cluster.video(made["id"], s)["status"] == "completed")
        assert cluster.send("GET", f"/v1/videos/{made['id']}/content", None, session)[1][4:8] == "ftyp"
    _, long = cluster.send("POST", "/v1/videos", LONG, sessions[0])
    until(lambda: cluster.video(long["id"], sessions[1])["progress"] > 0)
    assert cluster.send("DELETE", f"/v1/videos/{long['id']}", None, sessions[1])[1]["deleted"]
    assert cluster.send("GET", f"/v1/videos/{long['id']}", None, sessions[1])[0] == 404
    until(lambda: cluster.send("GET", f"/v1/videos/{long['id']}", None, sessions[0])[0] == 404)
    until(lambda: not list(cluster.media.glob(f"{long['id']}*")))


@pytest.mark.slow
def test_our_429_comes_before_a_503_of_ray(cluster: Cluster) -> None:
    with ThreadPoolExecutor(40) as pool:
        found = Counter(pool.map(lambda _: cluster.ask([user("Hello")])[0], range(40)))
    assert set(found) <= {200, 429} and found[200] >= 3, found


@pytest.mark.slow
def test_one_replica_is_killed(cluster: Cluster) -> None:
    session = two_sessions(cluster)[0]
    _, long = cluster.send("POST", "/v1/videos", LONG, session)
    until(lambda: cluster.video(long["id"], session)["progress"] > 0)
    os.kill(cluster.maker(long["id"]), signal.SIGKILL)
    began = time.monotonic()
    statuses: Counter[int] = Counter()
    for _ in range(20):
        status, whole = cluster.ask([user("Hello")])
        statuses[status] += 1
        assert status in (200, 500, 503), whole  # what Ray had sent to the dead one before it noticed
    assert statuses[200] >= 10 and time.monotonic() - began < 30, statuses
    found = cluster.video(long["id"], session)
    assert found["status"] == "failed" and found["error"]["code"] == "server_restarted"
    assert cluster.ask([user("Hello")], session)[0] == 200, "the talk goes on elsewhere"


def two_sessions(cluster: Cluster) -> list[str]:
    """Sessions of two replicas."""
    found: dict[str, str] = {}
    for number in range(40):
        found.setdefault(cluster.replica(f"one-{number}"), f"one-{number}")
        if len(found) == 2:
            return list(found.values())
    raise AssertionError("one replica gets everything")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"media_dir": "m"}, "no_auth=true"),
        ({"no_auth": "true"}, "media_dir is missing"),
        (GIVEN | {"port": "1"}, "port is no argument here"),
        (GIVEN | {"colour": "red"}, "--colour=red"),
        (GIVEN | {"max_running": "0"}, "must be at least 1"),
        (GIVEN | {"replicas": "0"}, "replicas is '0'"),
        (GIVEN | {"replicas": "two"}, "replicas is 'two'"),
        (GIVEN | {"replicas": 3, "max_replicas": 2}, "max_replicas is 2"),
        (GIVEN | {"gpus": "-1"}, "gpus is '-1'"),
        (GIVEN | {"allowed_media_domain": ["127.0.0.1"]}, "is not a domain name"),
    ],
)
def test_what_cannot_be_deployed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        app(arguments)


def test_what_is_deployed() -> None:
    given = GIVEN | {"replicas": 1, "max_replicas": "4", "target": 3, "gpus": 1, "videos_in_text": False}
    given |= {"max-running": 8, "max_queued": 10, "max_queued_videos": 2, "drain": "1m", "log_content": True}
    deployment = app(given)._bound_deployment
    assert deployment.ray_actor_options == {"num_cpus": 1.0, "num_gpus": 1.0}
    assert deployment.max_ongoing_requests == 8 + 10 + 2 + 1 + 64
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 4, 3)
    assert deployment._deployment_config.graceful_shutdown_timeout_s == 75
    (line,) = deployment.init_args
    assert "--share-media-dir" in line and "--log-content" in line and "--videos-in-text" not in line
