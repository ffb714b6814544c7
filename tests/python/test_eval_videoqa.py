"""Questions about videos: exact match, the judge over a real server, and clips that cannot be asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the judge needs aiohttp")

import g4v
from g4v.errors import ArgumentError
from g4v.eval.__main__ import main
from g4v.eval.exact_match import answer_words, is_contained, is_exact
from g4v.eval.verdict import Verdict, read_prompt, read_verdict

from .chat_server import KEY, ChatServer, completion
from .field_files import Scripted, write_clip

RIGHT = "{'pred': 'yes', 'score': 5}"
WRONG = '```json\n{"pred": "No", "score": "1"}\n```'


@pytest.mark.parametrize(
    ("said", "answer", "exact", "contained"),
    [
        ("The dog.", "dog", True, True),
        ("TWO", "2", True, True),
        ("It is a dog", "dog", False, True),
        ("a hot dog stand", "hot dog", False, True),
        ("hotdog", "dog", False, False),
        ("the", "a", False, False),
        ("don\u2019t", "don't", True, True),
        ("", "dog", False, False),
    ],
)
def test_exact_match(said: str, answer: str, exact: bool, contained: bool) -> None:
    assert is_exact(said, answer) == exact and is_contained(said, answer) == contained
    assert answer_words("The 2 cats, one DOG!") == ["2", "cats", "1", "dog"]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (RIGHT, Verdict(True, 5)),
        (WRONG, Verdict(False, 1)),
        ('Sure: {"pred": "yes", "score": 3.5} because {it fits}', Verdict(True, 3.5)),
        ("{'a': 1} {'pred': 'no', 'score': 0}", Verdict(False, 0)),
        ("{'pred': 'maybe', 'score': 3}", None),
        ("{'pred': 'yes', 'score': 6}", None),
        ("{'pred': 'yes', 'score': True}", None),
        ("{'pred': 'yes', 'score': 'nan'}", None),
        ("{'pred': 'yes'}", None),
        ("{__import__('os').abort()}", None),
        ("yes, 5", None),
        (None, None),
    ],
)
def test_verdicts_are_read_or_unparsable(text: str | None, verdict: Verdict | None) -> None:
    assert read_verdict(text) == verdict


def test_prompt_is_filled_in_once(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("Grade.\n---\n{question}|{answer}|{prediction} {'pred': 'yes'}")
    prompt = read_prompt(file)
    system, user = prompt.messages("q {answer}", "a", "{question}")
    assert system == {"role": "system", "content": "Grade."}
    assert user["content"] == "q {answer}|a|{question} {'pred': 'yes'}"
    assert prompt.sha256 != read_prompt(None).sha256 and len(read_prompt(None).messages("", "", "")) == 2
    file.write_text("{question} {answer}")
    with pytest.raises(ArgumentError, match="has no {prediction}"):
        read_prompt(file)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four questions: two of a good clip, one of a broken, one of a missing one, and a bad row."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    write_clip(tmp_path / "clips" / "vid1.mp4")
    (tmp_path / "clips" / "vid2.mp4").write_bytes(b"not a film" * 50)
    rows: list[Any] = [
        {"question": "what is it?", "answer": "dog", "video_id": 1, "id": 1},
        {"question": "what colour?", "answer": "red", "video_id": 1, "id": 2},
        {"question": "who?", "answer": "man", "video_id": 2, "id": 3},
        {"question": "where?", "answer": "sea", "video_id": 3, "id": 4},
        {"question": "no answer", "video_id": 1, "id": 5},
    ]
    (tmp_path / "qa.json").write_text(json.dumps(rows))
    return tmp_path


def command(data: Path, *more: object) -> list[str]:
    start = [
        "videoqa",
        data / "qa.json",
        "--format",
        "msvd-qa",
        "--json",
        data / "o.json",
    ]
    videos = () if "--videos" in more else ("--videos", data / "clips")
    return [str(a) for a in (*start, *videos, "--backoff", 0.01, *more)]


def figures(data: Path) -> dict[str, Any]:
    return {row["name"].strip(): row for row in json.loads((data / "o.json").read_text())["figures"]}


def test_exact_match_leaves_out_and_counts(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    scripted = Scripted(monkeypatch, lambda text, _: "It is red." if "colour" in text else "Dog!")
    assert main(command(data, "--ask", "Q: {question}")) == 0
    rows = figures(data)
    assert (rows["exact match"]["value"], rows["exact match"]["count"]) == (0.5, 2)
    assert rows["answer contained"]["value"] == 1.0
    assert [text for text, _ in scripted.asked] == ["Q: what is it?", "Q: what colour?", "Q: who?"]
    told = json.loads((data / "o.json").read_text())
    assert {sort: entry["count"] for sort, entry in told["left_out"].items()} == {
        "bad rows": 1,
        "questions about missing clips": 1,
        "questions about broken clips": 1,
    }
    out, err = capsys.readouterr()
    assert "row [4]: 'answer' is missing" in err and "vid3.mp4 is missing" in err
    # Published numbers stand apart, with their source, and in no figure.
    table, others = out.split("published by others")
    assert "66.3" not in table and "arXiv 2311.16511" in others and "qa.json (msvd-qa layout)" in table
    assert all(row["name"].startswith(("exact", "answer")) for row in told["figures"])


@pytest.mark.parametrize("limit", [(), ("--limit", 2)])
def test_stop_at_the_first_problem(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, limit: tuple[object, ...]
) -> None:
    Scripted(monkeypatch, lambda *_: "x")
    assert main(command(data, "--on-error", "stop", *limit)) == 1
    assert "row [4]" in capsys.readouterr().err and not (data / "o.json").exists()


def test_no_clip_at_all_is_an_error(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    Scripted(monkeypatch, lambda *_: "x")
    assert main(command(data, "--videos", data)) == 1
    assert "vid1.mp4); name it by --videos" in capsys.readouterr().err


def test_failed_calls_are_wrong_answers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(text: str, _: object) -> str:
        if "colour" in text:
            raise g4v.ContextFull("too long")
        return "dog"

    Scripted(monkeypatch, say)
    assert main(command(data)) == 0
    assert (figures(data)["exact match"]["value"], figures(data)["exact match"]["count"]) == (0.5, 2)
    told = json.loads((data / "o.json").read_text())
    assert told["left_out"]["failed calls, counted as wrong"]["count"] == 1


def test_the_judge_is_named_and_never_paid_twice(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    scripted = Scripted(monkeypatch, lambda text, _: "It is blue." if "colour" in text else "A hound.")

    def behave(_: int, prompt: str) -> dict[str, Any]:
        return completion(RIGHT if "hound" in prompt else WRONG)

    with ChatServer(behave) as server:
        more = ("--judge", "grader-7", "--base-url", server.url, "--out", data / "run")
        assert main(command(data, *more)) == 0
        assert len(server.bodies) == 2 and server.keys == {f"Bearer {KEY}"}
        body = server.bodies[0]
        assert body["model"] == "grader-7" and body["temperature"] == 0
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        first = figures(data)
        asked = len(scripted.asked)
        assert main(command(data, *more)) == 0
        assert len(server.bodies) == 2
        # The replies are remembered as well; only the broken clip is tried again.
        assert len(scripted.asked) == asked + 1
    assert figures(data) == first
    assert first["judged right, by grader-7"]["value"] == 0.5
    assert first["mean score (0 to 5), by grader-7"]["value"] == 3.0
    assert first["unparsable verdicts, by grader-7"]["value"] == 0.0
    told = json.loads((data / "o.json").read_text())
    assert told["judge"]["model"] == "grader-7" and told["judge"]["served"] == ["m-1"]
    assert told["details"]["answers"][0]["verdict"] == {"right": True, "score": 5.0}
    out = capsys.readouterr().out
    assert "judge grader-7 (the endpoint says m-1), prompt g4v" in out
    assert KEY not in out + "".join(path.read_text() for path in (data / "run").iterdir())


@pytest.mark.parametrize(("tries", "requests", "right"), [(1, 2, 0.0), (2, 3, 0.5)])
def test_unparsable_verdicts_are_counted_not_asked_for_ever(
    data: Path, monkeypatch: pytest.MonkeyPatch, tries: int, requests: int, right: float
) -> None:
    """The dog's verdict is readable at the second try only; the other's at the first."""
    Scripted(monkeypatch, lambda text, _: "blue" if "colour" in text else "hound")
    dogs: list[int] = []

    def behave(number: int, prompt: str) -> dict[str, Any]:
        if "hound" in prompt:
            dogs.append(number)
            return completion("I like it." if len(dogs) == 1 else RIGHT)
        return completion(WRONG)

    with ChatServer(behave) as server:
        more = ("--judge", "m", "--base-url", server.url, "--out", data / "run", "--judge-tries", tries)
        for _ in range(2):
            assert main(command(data, *more)) == 0
        assert len(server.bodies) == requests
    rows = figures(data)
    assert rows["judged right, by m"]["value"] == right
    assert rows["judged right, by m"]["count"] == 2 - (tries == 1)
    assert rows["unparsable verdicts, by m"]["value"] == (0.5 if tries == 1 else 0)


def test_an_endpoint_that_refuses_keeps_the_replies(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    scripted = Scripted(monkeypatch, lambda *_: "dog")
    with ChatServer(lambda *_: (401, {}, {"error": {"message": f"bad key {KEY}"}})) as server:
        more = ("--judge", "m", "--base-url", server.url, "--out", data / "run")
        assert main(command(data, *more)) == 1
        err = capsys.readouterr().err
        assert "HTTP 401" in err and KEY not in err
    asked = len(scripted.asked)
    assert main(command(data, "--out", data / "run")) == 0
    assert len(scripted.asked) == asked + 1  # the broken clip


def test_the_budget_ends_the_run_and_more_goes_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted(monkeypatch, lambda text, _: f"dog {text}")
    with ChatServer(lambda *_: completion(RIGHT)) as server:
        more = ("--judge", "m", "--base-url", server.url, "--out", data / "run", "--concurrency", 1)
        assert main(command(data, *more, "--max-requests", 1)) == 1
        assert figures(data)["judged right, by m"]["count"] == 1
        assert json.loads((data / "o.json").read_text())["judge"]["unanswered"] == 1
        assert main(command(data, *more)) == 0
        assert len(server.bodies) == 2 and figures(data)["judged right, by m"]["count"] == 2


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--judge", "m", "--out", "x"), "no endpoint for the judge"),
        (("--judge", "m"), "needs --out DIR"),
        (("--judge", "m", "--out", "x", "--base-url", "ftp://a"), "must look like https"),
        (("--ask", "what?"), "must contain {question}"),
    ],
)
def test_wrong_usage(
    data: Path, capsys: pytest.CaptureFixture, more: tuple[object, ...], reason: str
) -> None:
    assert main(command(data, *more)) == 2
    assert reason in capsys.readouterr().err
