"""Building dialogues against a real server on this machine: it answers well, badly, or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="building dialogues needs aiohttp")
pytest.importorskip("datasketch", reason="building dialogues needs datasketch")

import g4v.data
from g4v.data.__main__ import main
from g4v.data.formats import read_samples

from .chat_server import KEY, ChatServer, completion, good_answer

CAPTIONS = [
    "A black cat sleeps on a warm red roof",
    "A white cat sleeps on a warm red sofa",
    "Snow falls over a quiet mountain village",
    "A chef slices fresh onions in a small kitchen",
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command on CAPTIONS into a folder: (exit code, the folder)."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("G4V_MODEL", "m-1")
    for name in ("OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    source = tmp_path / "captions.txt"
    source.write_text("\n".join(CAPTIONS) + "\n")

    def command(url: str | None, *more: object) -> tuple[int, Path]:
        arguments: list[object] = ["dialogues", source, "--out", tmp_path / "out", "--no-plots", *more]
        for option, value in {"--backoff": 0.01, "--harmless-share": 0}.items():
            arguments += [] if option in more else [option, value]
        if url:
            monkeypatch.setenv("OPENAI_BASE_URL", url)
        return main([str(a) for a in arguments]), tmp_path / "out"

    return command


def rows(folder: Path) -> list[dict[str, Any]]:
    data = json.loads((folder / "dialogues.json").read_text())
    assert set(data) == {"train", "test"}
    return data["train"] + data["test"]


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def reasons(folder: Path) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in report(folder)["answers"]["rejected"].items()}


ALL = ("--safety-share", 0.25, "--test-share", 0.2, "--similarity", "0.2-0.97", "--near-duplicate", 0.95)
# One request for each caption.
ONE = ("--per-caption", 1, "--groups", 0, "--safety-share", 0, "--harmless-share", 0)


def test_builds_all_kinds_and_asks_for_nothing_twice(run, capfd) -> None:
    with ChatServer() as server:
        code, folder = run(server.url, *ALL)
        assert code == 0
        requests = len(server.bodies)
        made = rows(folder)
        kinds = {kind: [r for r in made if r["kind"] == kind] for kind in ("single", "multi", "safety")}
        assert len(kinds["single"]) == 12 and len(kinds["multi"]) == 1 and len(kinds["safety"]) == 4
        assert requests == 4 + 1 + 4
        for row in kinds["single"]:
            assert re.findall(r"<video>(.*?)</video>", row["instruction"]) == [row["caption"]]
        (multi,) = kinds["multi"]
        assert sorted(multi["captions"]) == sorted(CAPTIONS[:2])
        assert re.findall(r"<(video\d)>(.*?)</\1>", multi["instruction"]) == list(
            zip(("video0", "video1"), multi["captions"], strict=True)
        )
        assert all("<vid" not in row["instruction"] for row in kinds["safety"])
        for row in made:
            roles = re.findall(r"^(Human|Assistant):", row["instruction"], re.M)
            assert roles == ["Human", "Assistant"] * (len(roles) // 2) and roles
        assert len({row["image_id"] for row in made}) == len(made)
        first = (folder / "dialogues.json").read_bytes()
        assert run(server.url, *ALL)[0] == 0
        assert len(server.bodies) == requests
        assert (folder / "dialogues.json").read_bytes() == first
    told = report(folder)
    assert (
        told["stopped"] is None and told["cost"]["prompt_tokens"] == 900 and told["cost"]["models"] == ["m-1"]
    )
    counts = told["statistics"]["dialogues"]
    assert counts == {"single": 12, "multi": 1, "safety": 4, "unsafe-clip": 0, "harmless": 0}
    assert not list(folder.glob(".*"))


def test_refusals_of_clips_and_harmless_requests_stand_beside_each_other(run, tmp_path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "a.mp4").touch()
    (videos / "b.mp4").touch()
    (tmp_path / "clips.txt").write_text("a.mp4\n\nb.mp4\nmissing.mp4\na.mp4\n")
    shares = ("--safety-share", 0.2, "--harmless-share", 0.2, "--groups", 0, "--per-caption", 1)
    clips = ("--unsafe-clips", tmp_path / "clips.txt", "--videos", videos)
    with ChatServer() as server:
        code, folder = run(server.url, *shares, *clips, "--near-duplicate", 0.95, "--test-share", 0)
    assert code == 0
    made = {kind: [r for r in rows(folder) if r["kind"] == kind] for kind in report(folder)["planned"]}
    assert {kind: len(found) for kind, found in made.items()} == {
        "single": 4, "unsafe-clip": 2, "safety": 2, "harmless": 2,
    }  # fmt: skip
    assert sorted(row["video"] for row in made["unsafe-clip"]) == ["a.mp4", "b.mp4"]
    assert all("I can't help" in row["instruction"] for row in made["unsafe-clip"] + made["safety"])
    assert all("Gladly" in row["instruction"] for row in made["harmless"])
    samples = list(read_samples(folder / "dialogues.json", video_root=videos))
    refused = [s for s in samples if any(s.videos)]
    assert len(refused) == 2 and all(s.turns[0].has_video for s in refused)


def test_shares_that_leave_nothing_are_refused(run, capsys) -> None:
    assert run(None, "--dry-run", "--safety-share", 0.5, "--harmless-share", 0.5)[0] == 2
    assert "leave nothing for the captions" in capsys.readouterr().err


def test_no_caption_is_in_both_splits(run) -> None:
    with ChatServer() as server:
        _, folder = run(server.url, "--test-share", 0.5)
    data = json.loads((folder / "dialogues.json").read_text())
    held = [{c for r in data[part] for c in [r.get("caption"), *r.get("captions", [])] if c} for part in data]
    assert held[0] and held[1] and not held[0] & held[1]


def test_dry_run_sends_and_writes_nothing(run, tmp_path, capsys) -> None:
    with ChatServer() as server:
        assert run(server.url, "--dry-run", *ALL)[0] == 0
        assert run(server.url, "--dry-run", "--embeddings", "endpoint:e")[0] == 0
        assert server.bodies == []
    out = capsys.readouterr().out
    assert "4 for single captions, 1 for groups" in out and "at most 2 for groups" in out
    assert re.search(r"about \d+ prompt tokens", out)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("environment", "part"),
    [({}, "no endpoint"), ({"OPENAI_BASE_URL": "http://u:p@127.0.0.1/v1"}, "no user, password")],
)
def test_without_an_endpoint_nothing_is_sent(run, monkeypatch, capsys, environment, part) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, folder = run(None)
    assert code == 2 and not folder.exists()
    assert part in capsys.readouterr().err


@pytest.mark.slow
def test_waits_as_the_server_asks_and_tries_again(run) -> None:
    def behave(number: int, prompt: str) -> Any:
        if number == 0:
            return 429, {"Retry-After": "1"}, {"error": {"message": "slow down"}}
        if number == 1:
            return 500, {}, b"oops"
        if number == 2:
            return 503, {"Retry-After": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())}, b""
        return completion(good_answer(prompt))

    with ChatServer(behave) as server:
        code, folder = run(server.url, *ONE, "--limit", 1, "--concurrency", 1)
        assert code == 0 and len(server.bodies) == 4
        assert server.times[1] - server.times[0] >= 1.0
        assert server.times[2] - server.times[1] < 1.0
    assert report(folder)["cost"]["failed_requests"] == {"HTTP 429": 1, "HTTP 500": 1, "HTTP 503": 1}


@pytest.mark.slow
def test_one_429_holds_back_all_workers(run) -> None:
    def behave(number: int, prompt: str) -> Any:
        if number == 0:
            return 429, {"Retry-After": "1"}, b"{}"
        time.sleep(0.3)  # the answers under way come well after the refusal
        return completion(good_answer(prompt))

    with ChatServer(behave) as server:
        assert run(server.url, *ONE, "--concurrency", 2)[0] == 0
        # At most the one request that was under way beside the refused one; the others come after the pause.
        assert sum(t - server.times[0] < 1.0 for t in server.times) <= 2
        assert len(server.times) == 5 and server.most_at_once <= 2


def test_a_wait_beyond_the_bound_is_not_waited_for(run, capsys) -> None:
    with ChatServer(lambda *_: (429, {"Retry-After": "3600"}, b"{}")) as server:
        code, _ = run(server.url, *ONE, "--limit", 1)
        assert code == 1 and len(server.bodies) == 1
    assert "asks to wait 3600 s" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_that_hangs_is_left_within_the_limit(run, capsys) -> None:
    with ChatServer(lambda *_: 30.0) as server:
        start = time.monotonic()
        code, folder = run(server.url, *ONE, "--limit", 1, "--timeout", 0.3, "--retries", 2)
        assert code == 1 and len(server.bodies) == 3 and time.monotonic() - start < 60
    assert report(folder)["failed_items"][0]["reason"] == "time limit, 3 times"
    assert "give the same command again" in capsys.readouterr().err


def test_a_failed_item_is_asked_again_by_the_next_run(run) -> None:
    with ChatServer(lambda *_: (500, {}, b"")) as server:
        assert run(server.url, *ONE, "--retries", 1)[0] == 1
        assert len(server.bodies) == 8
    with ChatServer() as server:
        code, folder = run(server.url, *ONE)
        assert code == 0 and len(server.bodies) == 4 and len(rows(folder)) == 4


def test_gives_up_after_so_many_failures_and_on_a_wrong_key(run, capsys) -> None:
    with ChatServer(lambda *_: (401, {}, {"error": {"message": f"bad key {KEY}"}})) as server:
        code, folder = run(server.url, *ONE, "--concurrency", 1)
        assert code == 1 and len(server.bodies) == 1
    captured = capsys.readouterr()
    assert "HTTP 401" in captured.err and "[key]" in captured.err
    assert KEY not in captured.err + captured.out
    assert KEY not in (folder / "journal.jsonl").read_text()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b'{"choices": [{"mess', "response that is not whole JSON"),
        ({"choices": []}, "response without choices"),
        ({"choices": [{"message": {}}]}, "response without text"),
        (completion(""), "empty answer"),
    ],
)
def test_malformed_responses_are_counted_and_bounded(run, answer, reason) -> None:
    with ChatServer(lambda *_: answer) as server:
        code, folder = run(server.url, *ONE, "--limit", 1)
        assert code == 0 and len(server.bodies) == 2  # --tries
        assert reasons(folder) == {reason: 2}
        run(server.url, *ONE, "--limit", 1)
        assert len(server.bodies) == 2  # what was bad is paid for, too


def test_a_second_try_can_be_good(run) -> None:
    def behave(number: int, prompt: str) -> Any:
        return completion(good_answer(prompt) if number else "I would rather not.")

    with ChatServer(behave) as server:
        code, folder = run(server.url, *ONE, "--limit", 1)
        assert code == 0 and len(server.bodies) == 2
    assert len(rows(folder)) == 1 and reasons(folder)["text before the first turn"] == 1


def test_request_budget_holds_over_runs(run, capsys) -> None:
    with ChatServer() as server:
        for _ in range(2):
            code, folder = run(server.url, *ONE, "--max-requests", 3)
            assert code == 1 and len(server.bodies) == 3 and len(rows(folder)) == 3
        assert "budget of 3 requests" in capsys.readouterr().err
        assert run(server.url, *ONE, "--max-requests", 4)[0] == 0
        assert len(server.bodies) == 4


@pytest.mark.parametrize("concurrency", [1, 4])
def test_token_budget_is_never_passed(run, concurrency) -> None:
    with ChatServer() as server:  # 200 tokens each
        more = ("--max-tokens", 100, "--concurrency", concurrency, "--max-tokens-total", 900)
        code, folder = run(server.url, *ONE, *more)
        assert code == 1 and 1 <= len(server.bodies) < 4
    cost = report(folder)["cost"]
    assert cost["prompt_tokens"] + cost["completion_tokens"] == 200 * len(server.bodies) <= 900
    assert "budget of 900 tokens" in report(folder)["stopped"]


def test_tokens_are_estimated_where_the_server_reports_none(run) -> None:
    def behave(_: int, prompt: str) -> Any:
        return {k: v for k, v in completion(good_answer(prompt)).items() if k != "usage"}

    with ChatServer(behave) as server:
        code, folder = run(server.url, *ONE, "--limit", 1)
    cost = report(folder)["cost"]
    assert code == 0 and cost["prompt_tokens"] == 0 and 100 < cost["estimated_tokens"] < 2000


def test_the_key_is_sent_and_never_kept(run, capfd) -> None:
    def behave(number: int, prompt: str) -> Any:
        if number == 0:
            return 500, {}, {"error": {"message": KEY}}
        return completion(good_answer(prompt).replace("Then look", f"{KEY} look"))

    with ChatServer(behave) as server:
        code, folder = run(server.url, *ONE)
        assert code == 0 and server.keys == {f"Bearer {KEY}"}
    captured = capfd.readouterr()
    assert KEY not in captured.out + captured.err
    for file in folder.iterdir():
        assert KEY.encode() not in file.read_bytes(), file.name
    assert any("[key]" in row["instruction"] for row in rows(folder))


def test_embeddings_of_the_endpoint_are_paid_for_once(run) -> None:
    with ChatServer() as server:
        more = (
            "--per-caption",
            0,
            "--safety-share",
            0,
            "--embeddings",
            "endpoint:e-1",
            "--similarity",
            "0.9-1",
        )
        code, folder = run(server.url, *more, "--group-size", "2-2")
        assert code == 0 and [b["model"] for b in server.bodies] == ["e-1", "m-1", "m-1"]
        made = {frozenset(row["captions"]) for row in rows(folder)}
        assert frozenset(CAPTIONS[:2]) in made and len(made) == 2
        run(server.url, *more, "--group-size", "2-2")
        assert len(server.bodies) == 3


def test_a_torn_journal_line_is_dropped_and_two_runs_do_not_mix(run, capsys) -> None:
    from g4v.data.endpoint.journal import Journal

    with ChatServer() as server:
        _, folder = run(server.url, *ONE)
        journal = folder / "journal.jsonl"
        text = journal.read_bytes()
        journal.write_bytes(text[:-40])  # as a kill in the last line leaves it
        assert run(server.url, *ONE)[0] == 0
        assert len(server.bodies) == 5 and len(rows(folder)) == 4
        assert all(json.loads(line) for line in journal.read_text().splitlines())
        with Journal(journal):
            assert run(server.url, *ONE)[0] == 2
    assert "another run" in capsys.readouterr().err


def _start(tmp_path: Path, url: str, *more: object) -> subprocess.Popen[str]:
    """The command as a process of its own, on 40 captions."""
    source = tmp_path / "many.txt"
    source.write_text("\n".join(f"A {i}th dog runs over field number {i}" for i in range(40)))
    environment = os.environ | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url, "G4V_MODEL": "m-1"}
    root = Path(g4v.data.__file__).parents[2]
    # The tests may run from the source tree beside an installed package: the child takes the same files.
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); from g4v.data.__main__ import main; sys.exit(main())"
    )
    code = code.replace("main())", "main(sys.argv[1:]))")
    arguments = ["dialogues", source, "--out", tmp_path / "many", "--no-plots", *ONE, *more]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_run_goes_on_without_paying_twice(tmp_path) -> None:
    with ChatServer(pause=0.05) as server:
        child = _start(tmp_path, server.url, "--concurrency", 2)
        journal = tmp_path / "many" / "journal.jsonl"
        _wait_for(lambda: journal.exists() and journal.read_text().count("\n") >= 5)
        child.kill()
        child.communicate()
        kept = journal.read_bytes().count(b"\n")
        before = len(server.bodies)
        assert 5 <= kept <= before <= kept + 2  # no more is lost than was under way
        child = _start(tmp_path, server.url, "--concurrency", 2)
        out, err = child.communicate(timeout=100)
        assert child.returncode == 0, err
        assert len(server.bodies) - before == 40 - kept
    assert len(rows(tmp_path / "many")) + report(tmp_path / "many")["answers"]["duplicates"]["near"] == 40


@pytest.mark.slow
def test_ctrl_c_keeps_the_answers_under_way_and_says_how_to_go_on(tmp_path) -> None:
    with ChatServer(pause=0.3) as server:
        child = _start(tmp_path, server.url, "--concurrency", 2)
        _wait_for(lambda: len(server.bodies) >= 3)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        assert child.returncode == 130, err
        assert err.splitlines()[-1].startswith("g4v: error: interrupted;") and "again to go on" in err
        assert "Traceback" not in err
        lines = (tmp_path / "many" / "journal.jsonl").read_text().count("\n")
        assert lines == len(server.bodies) < 40


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait(tmp_path) -> None:
    with ChatServer(lambda *_: 50.0) as server:
        child = _start(tmp_path, server.url, "--concurrency", 2)
        _wait_for(lambda: len(server.bodies) >= 2)
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert child.poll() is None
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
        assert child.returncode == 130 and "Traceback" not in err, err


@pytest.mark.slow
def test_the_time_limit_of_a_run_stops_it(run) -> None:
    with ChatServer(pause=0.4) as server:
        code, folder = run(server.url, *ONE, "--concurrency", 1, "--minutes", 0.01)
        assert code == 1 and 1 <= len(server.bodies) < 4
    assert report(folder)["stopped"] == "the time limit is reached"
    assert len(rows(folder)) == len(server.bodies)
    assert threading.active_count() < 50
