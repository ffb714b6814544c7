"""Videos of another server: what is sent, what comes back, and each fault as one clear event."""

from __future__ import annotations

import gc
import json
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

import g4v
from g4v.events import Done, Progress, Text, Video, VideoFailed

from . import synthetic_bundle as toy
from .command_line import assert_one_line_error
from .command_line import g4v as command
from .test_runtime_generator import NO_VIDEOS
from .videos_server import FPS, SHAPE, VideosServer, clip, hang_up, send, stall, trickle, videos_server

KEY = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bundle that makes no videos by itself."""
    folder = tmp_path_factory.mktemp("bare") / "bundle"
    toy.write_bundle(folder, without=NO_VIDEOS)
    return folder


@pytest.fixture
def server() -> Iterator[VideosServer]:
    with videos_server() as server:
        yield server


def load(bundle, server, **options):
    checker = options.pop("frame_checker", None)
    limits = {name: options.pop(name) for name in ("max_video_pixels",) if name in options}
    generator = g4v.RemoteGenerator(server.url, **options)
    return g4v.load(bundle, threads=1, generator=generator, frame_checker=checker, **limits)


def test_a_talk_with_videos_of_another_server(bare, server):
    assistant = load(bare, server, model="wan", api_key=KEY)
    assert assistant.info["generator"] == server.url
    chat = assistant.chat(seed=2, steps=30, guidance_scale=4.5, width=64, height=32, frames=6)
    events = list(chat.send("say b"))
    assert "".join(e.text for e in events if isinstance(e, Text)) == "One:  and two:  done."
    videos = {e.index: e for e in events if isinstance(e, Video)}
    assert [videos[i].caption for i in (0, 1)] == ["a red circle", "blue"]
    assert videos[0].frames.shape == SHAPE and videos[0].fps == FPS
    assert np.abs(videos[0].frames.astype(int) - 90).max() < 6  # H.264 loses a little
    steps = [(e.step, e.steps) for e in events if isinstance(e, Progress) and e.index == 0]
    assert steps == [(33, 100), (66, 100), (100, 100)]
    assert isinstance(events[-1], Done) and events[-1].warnings == ()
    shared = {
        "model": "wan",
        "size": "64x32",
        "num_frames": "6",
        "num_inference_steps": "30",
        "guidance_scale": "4.5",
    }
    assert sorted(server.forms, key=lambda form: form["seed"]) == [
        {"prompt": "a red circle", "seed": str(2 * 1000003)} | shared,
        {"prompt": "blue", "seed": str(2 * 1000003 + 1)} | shared,
    ]
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert sorted(server.deleted) == ["video_0", "video_1"]  # nothing is left there
    assert {path.split("/video_")[0] for _, path in server.requests} == {"/v1/videos"}


def test_what_is_not_asked_for_is_left_to_the_server(bare, server):
    video = load(bare, server).generate("caf\u00e9 \u4f60\u597d\r\n--x", seed=2**64 - 1)
    assert server.forms == [{"prompt": "caf\u00e9 \u4f60\u597d\r\n--x", "seed": str(2**64 - 1)}]
    assert "Authorization" not in server.headers[0] and video.frames.shape == SHAPE
    load(bare, server).generate("x", width=64, negative_prompt="blur")
    assert server.forms[1] == {"prompt": "x", "seed": "0", "width": "64", "negative_prompt": "blur"}


def test_nothing_is_sent_before_a_video_is_asked_for(bare, server):
    assistant = g4v.load(bare, threads=1, generator=server.url)
    assistant.wait_until_ready()
    assert assistant.chat().ask("say a").text == "Hello, world."
    assert not list(assistant.chat().ask("say b", videos=False).videos)
    for refused in ({"scheduler": "ddim"}, {"latents": np.zeros((1, 1, 1, 1), np.float32)}, {"frames": 0}):
        with pytest.raises(g4v.ArgumentError):
            assistant.generate("x", **refused)
    assert server.requests == []


def test_a_bundle_with_its_own_components_uses_the_server(bundle_dir, server):
    reply = load(bundle_dir, server).chat().ask("say b")
    assert [video.frames.shape for video in reply.videos] == [SHAPE] * 2 and len(server.forms) == 2


def test_a_server_that_is_away_for_a_moment(bare, server):
    """A look at the job may fail; asking for a video is not repeated."""
    looks: list[int] = []

    def now_and_then(handler):
        looks.append(1)
        if len(looks) in (1, 3):
            return hang_up(handler)
        if len(looks) == 2:
            return send(handler, 503, b"starting")
        return send(handler, *server.usual(handler))

    server.answers["GET", ""] = now_and_then
    assert load(bare, server).generate("x").frames.shape == SHAPE
    assert len(server.forms) == 1


def test_a_redirect_on_the_same_host_is_followed(bare, server):
    def moved(handler):
        if handler.path.endswith("/file/content"):
            return send(handler, 200, server.video)
        return send(handler, 302, b"", {"Location": "/v1/videos/x/file/content"})

    server.answers["GET", "content"] = moved
    assert load(bare, server).generate("x").frames.shape == SHAPE


def error(message: str) -> dict[str, dict[str, str]]:
    return {"error": {"message": message, "code": "x"}}


FAULTS = {
    "refuses a value": (
        {("POST", ""): (400, error("num_frames is \x1b[31m7\x07\u202e;\n at most 5"))},
        r"refuses the request (400): num_frames is \x1b[31m7\x07\u202e; at most 5; change what is asked for",
    ),
    "refuses as FastAPI does": (
        {("POST", ""): (422, {"detail": [{"loc": ["body", "fps"], "msg": "Input should be an integer"}]})},
        "refuses the request (422): fps: Input should be an integer",
    ),
    "echoes the key": ({("POST", ""): (401, error(f"Incorrect key: {KEY}"))}, "Incorrect key: [key]; give"),
    "has no such route": (
        {("POST", ""): (404, b"<html>")},
        "has no /v1/videos (404): it does not say why; check the URL",
    ),
    "is busy": ({("POST", ""): (429, error("4 wait already"))}, "now (429): 4 wait already; ask again later"),
    "says very much": ({("POST", ""): (500, error("long " * 9999))}, "long ...; ask again later"),
    "answers with a page": ({("POST", ""): (200, b"<html>")}, "something else than the JSON of a video"),
    "gives no id": ({("POST", ""): (200, {"status": "queued"})}, "gives the video no id"),
    "gives an id that is a path": ({("POST", ""): (200, {"id": "../../v1/files"})}, "gives the video no id"),
    "redirects to another host": (
        {("POST", ""): (307, b"", {"Location": "http://other.example.org/v1/videos"})},
        "redirects to another address, which is not followed",
    ),
    "redirects the file to another host": (
        {("GET", "content"): (302, b"", {"Location": "http://127.0.0.2:1/x"})},
        "redirects to another address, which is not followed",
    ),
    "redirects to nowhere": (
        {("GET", "content"): (302, b"", {"Location": "http://[x/content"})},
        "redirects to what is no URL; check the URL",
    ),
    "redirects to another script": (
        {("GET", "content"): (302, b"", {"Location": "/v1/videos/\u00e4/content"})},
        "redirects to what is no URL; check the URL",
    ),
    "redirects for ever": (
        {("GET", "content"): (302, b"", {"Location": "/v1/videos/x/content"})},
        "redirects more than 3 times",
    ),
    "has another status": ({("GET", ""): (200, {"status": "paused"})}, "tells the status 'paused'"),
    "forgets the job": ({("GET", ""): (404, error("not found"))}, "does not know the video any more"),
    "fails as vLLM-Omni does": ({("GET", ""): (500, error("out of memory"))}, "(500): out of memory"),
    "goes away for good": ({("GET", ""): hang_up}, "closed the connection before it had answered; check"),
    "has no file": ({("GET", "content"): (404, error("in progress"))}, "any more (in progress)"),
    "sends nothing": ({("GET", "content"): (200, b"")}, "sent an empty file"),
    "sends no video": (
        {("GET", "content"): (200, b"<html>no</html>" * 99)},
        "sent no video that can be used",
    ),
    "sends half a file": ({("GET", "content"): (200, clip()[:400])}, "sent no video that can be used"),
    "sends too much": (
        {("GET", "content"): (200, b"x" * 70_000)},
        "sends 70000 bytes, and at most 65536 are taken",
    ),
    "sends too much in pieces": (
        {("GET", "content"): lambda handler: chunked(handler, 40, 4096)},
        "sends more than 65536 bytes",
    ),
    "sends less than it says": (
        {("GET", "content"): lambda handler: short(handler)},
        "closed the connection in the middle of its answer",
    ),
    "compresses": (
        {("GET", "content"): (200, b"x", {"Content-Encoding": "gzip"})},
        "sends a compressed body",
    ),
}


def chunked(handler, count, size):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(count):
            handler.wfile.write(b"%x\r\n" % size + b"x" * size + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")
    except OSError:
        pass
    handler.close_connection = True


def short(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b"x" * 100)
    handler.close_connection = True


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_one_event_and_the_talk_goes_on(bare, server, name):
    server.answers, part = FAULTS[name]
    assistant = load(bare, server, api_key=KEY, max_bytes=1 << 16)
    chat = assistant.chat(seed=0)
    events = list(chat.send("say b", max_videos=1))
    (failed,) = [e for e in events if isinstance(e, VideoFailed)]
    assert isinstance(failed.error, g4v.GeneratorError)
    text = str(failed.error)
    assert text.startswith("the generator 127.0.0.1 ") and part in text, text
    assert text.isprintable() and len(text) < 500 and KEY not in text
    assert "".join(e.text for e in events if isinstance(e, Text)) == "One:  and two:  done."
    assert isinstance(events[-1], Done) and not any(isinstance(e, Video) for e in events)
    server.answers = {}
    assert chat.ask("say b", max_videos=1).videos[0].frames.shape == SHAPE


class Alone:
    """A job that nobody cancels."""

    caption, seed, max_pixels, cancelled = "x", 1, 0, False
    frames = width = height = fps = steps = guidance_scale = negative_prompt = None

    def wait(self, seconds):
        return False

    def progress(self, step, steps):
        assert 0 <= step <= steps


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "status", "progress", "error", "message", "detail", "msg", "loc", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("v") | VALUES,
        "status": st.sampled_from(["queued", "completed", "failed", "in_progress"]) | VALUES,
        "progress": VALUES,
        "error": VALUES,
    },
)
BODIES = st.binary(max_size=50) | (RECORDS | VALUES).map(lambda value: json.dumps(value).encode())


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(200, 599), BODIES), min_size=6, max_size=6))
@settings(max_examples=300, deadline=None)
def test_whatever_a_server_says_is_a_file_or_one_line(answers):
    """Fuzzing of what is read: no other error leaves, and nothing in it can steer a terminal."""
    from g4v._http import Answer
    from g4v._http_address import Address
    from g4v._remote_job import RemoteJob

    class Connection:
        def ask(self, method, path, *_rest):
            assert path.isascii() and path.isprintable() and ".." not in path
            status, body = left.pop(0) if left and method != "DELETE" else (200, b"{}")
            return Answer(status, {}, body)

        def close(self):
            pass

    left = list(answers)
    until = time.monotonic() + 0.05
    job = RemoteJob(
        Address("https://h/v1/videos"), KEY, None, None, Alone(), until=until, seconds=0.05, most=1000
    )
    job._connection = Connection()
    job._pause = lambda seconds: job._patience.check()
    try:
        assert isinstance(job.make(), bytes)
    except g4v.GeneratorError as fault:
        text = str(fault)
        assert text.isprintable() and text.startswith("the generator h ") and len(text) < 600


def test_a_job_that_fails(bare, server):
    server.done = {"status": "failed", "error": {"code": "x", "message": "the model is tired"}}
    with pytest.raises(g4v.GeneratorError, match="127.0.0.1 made no video: the model is tired; ask again"):
        load(bare, server).generate("x")
    assert server.deleted == ["video_0"]


def test_a_video_that_is_larger_than_it_may_be(bare, server):
    with pytest.raises(g4v.GeneratorError, match="6 frames of 48x32, and max_video_pixels is 9215; ask for"):
        load(bare, server, max_video_pixels=6 * 48 * 32 - 1).generate("x")
    assert load(bare, server, max_video_pixels=6 * 48 * 32).generate("x").frames.shape == SHAPE


def test_a_file_that_is_cut_off(bare, server):
    """Its frames up to there would decode: half a video is none."""
    from g4v._encode import encode_video

    rng = np.random.default_rng(1)
    whole = encode_video(rng.integers(0, 255, (40, 64, 64, 3), np.uint8), 8.0, ".mp4")
    server.video = whole[: len(whole) - 8000]
    with pytest.raises(
        g4v.GeneratorError, match="sent a video that is not whole|sent no video that can be used"
    ):
        load(bare, server).generate("x")


def test_its_frames_are_checked_before_anybody_sees_them(bare, server):
    seen = []

    def check(frames):
        seen.append(frames.shape)
        return [1.0] * len(frames)

    assistant = load(bare, server, frame_checker=check)
    reply = assistant.chat().ask("say b")
    assert reply.videos == () and reply.failed == () and seen == [SHAPE] * 2
    assert [(w.unsafe, w.frames) for w in reply.withheld] == [(6, 6)] * 2


def test_nobody_is_there(bare):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/videos"
        with pytest.raises(g4v.GeneratorError, match="cannot be reached: Connection refused; check the URL"):
            g4v.load(bare, threads=1, generator=url).generate("x")
    name = g4v.load(bare, threads=1, generator="https://nowhere.invalid/v1/videos")
    with pytest.raises(g4v.GeneratorError, match="the generator nowhere.invalid cannot be reached"):
        name.generate("x")


@pytest.mark.slow
@pytest.mark.parametrize("place", [("POST", ""), ("GET", ""), ("GET", "content"), "never done", "trickle"])
def test_a_server_that_is_slow(bare, server, place):
    if place == "never done":
        server.steps = 10**6
    elif place == "trickle":
        server.answers["GET", "content"] = trickle
    else:
        server.answers[place] = stall(3)
    began = time.monotonic()
    with pytest.raises(g4v.GeneratorError, match="127.0.0.1 took longer than 0.6 seconds; ask for less"):
        load(bare, server, timeout=0.6).generate("x")
    assert time.monotonic() - began < 2.5
    if place != ("POST", ""):
        assert server.wait_until(lambda: server.deleted == ["video_0"])


@pytest.mark.slow
@pytest.mark.parametrize("place", [("POST", ""), ("GET", ""), ("GET", "content"), "waiting"])
def test_cancel_tells_the_server_and_returns_at_once(bare, server, place):
    if place == "waiting":
        server.steps, place = 10**6, ("GET", "")
    else:

        def slow(handler):
            time.sleep(0.5)
            send(handler, *server.usual(handler))

        server.answers[place] = slow
    assistant = load(bare, server)
    chat = assistant.chat(seed=0)
    method, end = place
    events = chat.send("say b", max_videos=1)
    for event in events:
        if isinstance(event, Done):
            break
        asked = [path for kind, path in server.requests if kind == method and path.endswith(end)]
        if isinstance(event, g4v.VideoPrompt):
            assert server.wait_until(
                lambda: any(kind == method and path.endswith(end) for kind, path in server.requests)
            ), asked
            break
    began = time.monotonic()
    chat.cancel()
    with pytest.raises(g4v.Cancelled):
        list(events)
    assert time.monotonic() - began < 0.45  # 20 ms on a machine that is not loaded; the server is slower
    assert chat.turns == 0 and chat.ask("say a").text == "Hello, world."
    assert server.wait_until(lambda: server.deleted == ["video_0"])


def test_two_talks_at_once(bare, server):
    """Videos of both are under way together, and each gets its own."""
    together = threading.Barrier(4)

    def wait(handler):
        together.wait(20)
        send(handler, *server.usual(handler))

    server.answers["GET", "content"] = wait
    assistant = load(bare, server)
    replies = {}

    def talk(seed):
        replies[seed] = assistant.chat(seed=seed).ask("say b")

    talks = [threading.Thread(target=talk, args=(seed,)) for seed in (1, 2)]
    for one in talks:
        one.start()
    for one in talks:
        one.join(60)
    for seed in (1, 2):
        assert sorted(v.seed for v in replies[seed].videos) == [seed * 1000003, seed * 1000003 + 1]
    assert len(server.forms) == 4


# Addresses, keys and certificates.


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("ftp://host/v1/videos", "must begin with https://"),
        ("https:///v1/videos", "must begin with https:// and a host"),
        ("host/v1/videos", "must begin with https://"),
        ("https://host/v1", "must end in /videos"),
        ("https://host/v1/videos/", "must end in /videos"),
        ("https://me:secret@host/v1/videos", "has a user name or password"),
        ("https://host/v1/videos?x=1", "has a query"),
        ("https://host:99999/v1/videos", "cannot be read"),
        ("https://host..example.org/v1/videos", "cannot be read"),
        ("https://host/v1/vid eos", "has characters"),
        ("http://example.org/v1/videos", "unencrypted to another machine"),
        ("http://192.168.0.7/v1/videos", "unencrypted to another machine"),
        ("http://127.0.0.1.example.org/v1/videos", "unencrypted to another machine"),
    ],
)
def test_urls_that_are_refused(bare, url, part):
    with pytest.raises(g4v.ArgumentError, match=part):
        g4v.load(bare, threads=1, generator=url)


def test_urls_that_are_taken():
    for url in ("http://localhost:1/v1/videos", "http://[::1]:1/api/v1/videos", "https://host/v1/videos"):
        assert g4v.RemoteGenerator(url).url == url
    g4v.RemoteGenerator("http://192.168.0.7/v1/videos", allow_http=True)


def test_localhost_is_looked_at_when_it_is_dialled(bare, server, monkeypatch):
    """A name may stand for any address."""
    there = socket.getaddrinfo

    def elsewhere(host, *rest, **options):
        return there("192.0.2.1" if host == "localhost" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    url = server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(g4v.GeneratorError, match="without encryption, and is not on this machine"):
        g4v.load(bare, threads=1, generator=url).generate("x")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"api_key": "two words"}, "the key of the generator has characters"),
        ({"api_key": "line\r\nX: y"}, "the key of the generator has characters"),
        ({"timeout": 0}, "timeout is 0; it must be seconds above 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"max_bytes": 0}, "max_bytes is 0"),
        ({"model": ""}, "model is ''"),
    ],
)
def test_other_arguments_are_checked(options, part):
    with pytest.raises(g4v.ArgumentError, match=part) as caught:
        g4v.RemoteGenerator("https://host/v1/videos", **options)
    assert "two words" not in str(caught.value)


def test_the_key_is_of_the_environment_and_is_never_shown(bare, server, monkeypatch):
    monkeypatch.setenv("G4V_GENERATOR_API_KEY", KEY)
    generator = g4v.RemoteGenerator(server.url)
    assert KEY not in repr(generator) and KEY not in json.dumps(
        g4v.load(bare, threads=1, generator=generator).info
    )
    g4v.load(bare, threads=1, generator=server.url).generate("x")
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    g4v.load(bare, threads=1, generator=g4v.RemoteGenerator(server.url, api_key="")).generate("x")
    assert "Authorization" not in server.headers[-1]


def test_https(bare, server):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    url = server.url.replace("http://", "https://")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    generator = g4v.RemoteGenerator(url, ssl_context=trusted)
    assert g4v.load(bare, threads=1, generator=generator).generate("x").frames.shape == SHAPE
    with pytest.raises(g4v.GeneratorError, match="has no certificate that holds"):
        g4v.load(bare, threads=1, generator=url).generate("x")
    assert len(server.forms) == 1


# The end of a process, and forks.


def program(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["return", "exit", "cancelled", "unread"])
def test_the_end_of_a_program_tells_the_server(bare, server, leave):
    server.steps = 100
    code = f"""
    import sys, time, g4v
    chat = g4v.load(sys.argv[1], threads=1, generator=sys.argv[2]).chat(seed=0)
    events = chat.send("say b", max_videos=1)
    if {leave == "unread"}:
        time.sleep(0.5)
        sys.exit(0)
    for event in events:
        if isinstance(event, g4v.Progress):
            break
    if {leave == "cancelled"}:
        events.close()
    if {leave == "exit"}:
        sys.exit(0)
    """
    done = program(code, bare, server.url)
    assert done.returncode == 0 and done.stderr == ""
    assert leave == "unread" or len(server.forms) == 1  # on a slow machine it may not have been asked by then
    assert server.wait_until(lambda: len(server.deleted) == len(server.forms))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_fork_while_a_video_is_made(bare, server):
    """The child ends well, tells the server nothing, and may load for itself; the parent goes on."""
    server.steps = 8
    code = """
    import os, sys, g4v
    assistant = g4v.load(sys.argv[1], threads=1, generator=sys.argv[2])
    for event in (events := assistant.chat(seed=0).send("say b", max_videos=1)):
        if isinstance(event, g4v.Progress):
            break
    pid = os.fork()
    if pid == 0:
        try:
            assistant.chat()
        except g4v.RuntimeUnavailable:
            own = g4v.load(sys.argv[1], threads=1, generator=sys.argv[2])
            sys.exit(7 if own.generate("x").frames.ndim == 4 else 8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert any(isinstance(event, g4v.Video) for event in events)
    """
    done = program(code, bare, server.url)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert sorted(server.deleted) == ["video_0", "video_1"]


@pytest.mark.slow
def test_threads_and_sockets_are_given_back(bare, server):
    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    assistant = load(bare, server)
    assistant.generate("x")
    before, threads = descriptors(), threading.active_count()
    for _ in range(5):
        assistant.generate("x")
    assert descriptors() <= before and threading.active_count() == threads


def test_import_loads_no_network():
    code = (
        "import sys, g4v; sys.exit(bool({'http.client', 'ssl', 'selectors', 'numpy'} & sys.modules.keys()))"
    )
    assert program(code).returncode == 0


# The command line.


@pytest.mark.slow
def test_g4v_chat(bare, server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n", "utf-8")
    options = ("chat", "--bundle", bare, "--prompt", "say b", "--out", tmp_path, "--generator", server.url)
    done = command(*options, "--generator-api-key-file", keys, "--generator-model", "wan", "--steps", 9)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.count("[wrote ") == 2 and KEY not in done.stdout
    assert {form["model"] for form in server.forms} == {"wan"}
    assert {form["num_inference_steps"] for form in server.forms} == {"9"}
    server.answers["POST", ""] = (503, error("no GPU is free"))
    done = command(*options)
    assert done.returncode == 1 and done.stdout.count("[no video]") == 2
    line = (
        "g4v: error: the generator 127.0.0.1 cannot make a video now (503): no GPU is free; ask again later\n"
    )
    assert done.stderr == line * 2
    done = command(*options, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["kind"] for e in events if e["event"] == "video_failed"] == ["GeneratorError"] * 2
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--generator-model", "wan"), "--generator-model is of another server that makes videos"),
        (("--generator", "http://example.org/v1/videos"), "unencrypted to another machine"),
        (
            ("--generator", "https://h/v1/videos", "--generator-api-key-file", "/nonexistent"),
            "--generator-api-key-file /nonexistent: cannot be read",
        ),
    ],
)
def test_g4v_generate_refuses(bare, tmp_path, options, part):
    done = command("generate", "x", "--bundle", bare, "--out", tmp_path / "v.mp4", *options)
    assert_one_line_error(done, 2, part)
    assert list(tmp_path.iterdir()) == []
