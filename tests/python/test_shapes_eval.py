"""The measuring command, played by an assistant that knows the right answers and by ones that fail in
known ways.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import g4v
from g4v._console import machine
from g4v.eval.__main__ import main as entry
from g4v.eval.contact_sheet import contact_sheet
from g4v.eval.report import Row, rate_row, table, time_row, write_figures
from g4v.shapes.dialogues import Turn
from g4v.shapes.eval import dialogues, generation
from g4v.shapes.eval.command import main
from g4v.shapes.world.render import render
from g4v.shapes.world.world import parse_caption


def truth(turn: Turn) -> tuple[str, list[str], bool]:
    """Text, captions and refusal of the right answer."""
    caption = turn.meta["caption"]
    return turn.answer.split("<video>")[0], [caption] if caption else [], turn.meta["unsafe"]


class Oracle:
    """An assistant that is told the dialogues in advance; `answer` may spoil what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable = truth, clean: bool = True) -> None:
        self.answer, self.clean = answer, clean
        self.turns: list[Turn] = []
        self.clips = 0
        self.info = {"name": "oracle"}
        real = dialogues.held_out

        def played(*arguments: object) -> object:
            for number, dialogue in real(*arguments):
                self.turns = list(dialogue.turns)
                yield number, dialogue

        monkeypatch.setattr(dialogues, "held_out", played)
        monkeypatch.setattr(g4v, "load", lambda *_, **__: self)

    def chat(self, seed: int, steps: int | None = None) -> Oracle:
        return self

    def ask(self, text: str, video: np.ndarray | None = None) -> g4v.Reply:
        turn = self.turns.pop(0)
        assert text == turn.user and (video is None) == (turn.video is None)
        if video is not None:
            assert video.dtype == np.uint8 and video.shape == (8, 64, 64, 3)
            self.clips += 1
        text, captions, refused = self.answer(turn)
        frames = np.zeros((8, 64, 64, 3), np.uint8)
        videos = tuple(g4v.Video(frames, 8.0, c, i, 0) for i, c in enumerate(captions))
        return g4v.Reply(text, videos, refused, g4v.Timings(), 1, 1, "stop")

    def generate(self, prompt: str, seed: int) -> g4v.Video:
        scene = parse_caption(prompt)
        assert scene is not None
        return g4v.Video(render(scene, np.random.default_rng(seed), clean=self.clean), 8.0, prompt, 0, seed)


TALK = "questions,decision,captions,refusals"


def figures(path: Path) -> dict[str, dict]:
    return {row["name"].strip(): row for row in json.loads(path.read_text())["figures"]}


@pytest.mark.slow
def test_truth_passes_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    oracle = Oracle(monkeypatch)
    file = tmp_path / "figures.json"
    assert main(["--only", TALK, "--n", "60", "--json", str(file), "--require"]) == 0
    assert oracle.clips > 40
    text = capsys.readouterr().out
    assert "questions about unseen triples" in text and "FAIL" not in text and ">= 97.0%" in text
    values = json.loads(file.read_text())
    assert values["machine"]["cores"] >= 1 and values["machine"]["cpu"] and values["seed"] == 0
    assert values["assistant"] == {"name": "oracle"}
    rows = figures(file)
    assert rows["questions about unseen triples"]["value"] == 1.0
    assert rows["decision to send a video, F1"]["value"] == 1.0
    assert rows["captions exactly as asked"]["count"] > 10
    assert rows["false refusals"]["value"] == 0.0 and rows["false refusals"]["high"] > 0
    assert rows["of unsafe clips"]["value"] == rows["of unsafe text"]["value"] == 1.0
    assert list(tmp_path.iterdir()) == [file]


def test_errors_are_counted_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Always says "a red circle", refuses what is harmless, sends what nobody asked for."""

    def spoilt(turn: Turn) -> tuple[str, list[str], bool]:
        sent = [] if turn.meta["caption"] else ["a red circle growing"]
        return "It is a red circle.", sent, not turn.meta["unsafe"]

    Oracle(monkeypatch, spoilt)
    file = tmp_path / "figures.json"
    assert main(["--only", TALK, "--n", "24", "--json", str(file)]) == 0
    rows = figures(file)
    assert rows["questions about unseen triples"]["value"] == 0.0
    assert rows["decision to send a video, F1"]["value"] == 0.0
    assert rows["captions exactly as asked"]["value"] == 0.0
    assert rows["refusals, F1"]["value"] == 0.0
    assert rows["false refusals"]["value"] == 1.0 and rows["false refusals"]["passed"] is False
    wrong = json.loads(file.read_text())["details"]["questions"]["wrong"]
    assert wrong and wrong[0]["said"] == "It is a red circle." and wrong[0]["wanted"]
    assert main(["--only", "captions", "--n", "24", "--require"]) == 1


@pytest.mark.parametrize("right", [True, False])
def test_plain_words_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: bool) -> None:
    def other(turn: Turn) -> tuple[str, list[str], bool]:
        return truth(turn) if right else ("It is a red circle, I do not know.", [], False)

    Oracle(monkeypatch, other)
    file = tmp_path / "figures.json"
    assert main(["--only", "plain", "--n", "40", "--json", str(file)]) == 0
    rows = figures(file)
    asked = rows["questions in held-out families of forms"]
    wished = rows["requests in held-out families of forms"]
    assert asked["count"] > 60 and wished["count"] >= 40
    assert (asked["value"], wished["value"]) == (1.0, 1.0) if right else asked["value"] < 0.3
    assert right or wished["value"] == 0.0


def test_one_wrong_word_in_a_caption_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def spoilt(turn: Turn) -> tuple[str, list[str], bool]:
        text, captions, refused = truth(turn)
        return text, [c.replace("left", "right") for c in captions], refused

    Oracle(monkeypatch, spoilt)
    file = tmp_path / "figures.json"
    assert main(["--only", "decision,captions", "--n", "80", "--json", str(file)]) == 0
    rows = figures(file)
    assert rows["decision to send a video, F1"]["value"] == 1.0
    assert 0.5 < rows["captions exactly as asked"]["value"] < 1.0


def test_a_failed_turn_is_wrong_and_the_talk_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing(turn: Turn) -> tuple[str, list[str], bool]:
        raise g4v.ContextFull("the turn does not fit")

    Oracle(monkeypatch, failing)
    file = tmp_path / "figures.json"
    assert main(["--only", TALK, "--n", "12", "--json", str(file)]) == 0
    rows = figures(file)
    assert rows["questions about unseen triples"]["value"] == rows["refusals, F1"]["value"] == 0.0
    assert rows["decision to send a video, F1"]["value"] == 0.0
    assert json.loads(file.read_text())["details"]["questions"]["failed"] >= 12


@pytest.mark.slow
def test_videos_are_checked_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Oracle(monkeypatch)
    file, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    arguments = ["--only", "videos", "--n", "9", "--json", str(file), "--save-sheet", str(sheet), "--require"]
    assert main(arguments) == 0
    rows = figures(file)
    assert rows["videos: colour, shape and motion right"]["count"] == 9
    assert rows["one object"]["count"] == 6 and rows["two objects"]["count"] == 3
    pil = pytest.importorskip("PIL.Image")
    with pil.open(sheet) as image:
        assert image.mode == "RGB" and image.width > 2 * 8 * 64


def test_a_failed_section_costs_no_other_its_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    Oracle(monkeypatch)

    def no_process(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, ["python"], stderr="Traceback\nImportError: no core")

    monkeypatch.setattr(generation, "speed", no_process)
    monkeypatch.setattr(
        generation, "videos", lambda *_: (_ for _ in ()).throw(g4v.errors.BundleError("no UNet"))
    )
    file = tmp_path / "figures.json"
    assert main(["--only", "questions,videos,speed", "--n", "4", "--json", str(file)]) == 1
    out, err = capsys.readouterr()
    name = "questions about unseen triples"
    assert name in out and figures(file)[name]["count"]
    failures = json.loads(file.read_text())["failures"]
    assert failures == ["videos: no UNet", "speed: loading in a new process failed: ImportError: no core"]
    assert all(f"error: {failure}\n" in err for failure in failures)


@pytest.mark.slow
def test_wrong_videos_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    oracle = Oracle(monkeypatch)
    make = oracle.generate

    def backwards(prompt: str, seed: int) -> SimpleNamespace:
        return SimpleNamespace(frames=make(prompt, seed).frames[::-1])

    monkeypatch.setattr(oracle, "generate", backwards)
    clips = generation.videos(oracle, 9, 0)  # type: ignore[arg-type]
    words = ("moving", "growing", "shrinking")
    directed = [text for text, _, _ in clips.made if any(word in text for word in words)]
    assert directed and clips.rates["motion right"].right == 9 - len(directed)
    assert clips.rates["colour right"].right == 9
    assert {wrong["caption"] for wrong in clips.wrong} == set(directed)


def test_speed_is_the_median_of_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    class Timed:
        def wait_until_ready(self) -> None: ...

        def chat(self, seed: int) -> Timed:
            return self

        def send(self, text: str, video: np.ndarray) -> list[object]:
            assert video.shape == (8, 64, 64, 3)
            return [g4v.Progress(0, 1, 1), g4v.Text("It"), g4v.Text(" is")]

        def generate(self, prompt: str, seed: int) -> None:
            if seed == 1:  # it took its time all the same
                raise g4v.UnsafeVideo("withheld")

    answers = iter(["0.3 0.5", "0.1 0.2", "0.2 0.9"])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=next(answers)))
    result = generation.speed(Timed(), "tiny", "cpu", None, 0, repeats=3)  # type: ignore[arg-type]
    assert result.medians()["load"] == 0.2 and result.medians()["ready"] == 0.5
    assert len(result.first_text) == 12 and len(result.video) == 3
    assert 0 <= result.medians()["first_text"] < 0.1


def test_the_same_seed_asks_the_same() -> None:
    first = [d.turns[0].user for _, d in dialogues.held_out((None,), 5, 3)]
    assert first == [d.turns[0].user for _, d in dialogues.held_out((None,), 8, 3)][:5]
    assert first != [d.turns[0].user for _, d in dialogues.held_out((None,), 5, 4)]


def test_table_and_json(tmp_path: Path) -> None:
    from g4v.eval.metrics import Rate

    rows = [
        rate_row("rate", Rate(9, 10), 0.95),
        time_row("time", 0.25, 5, 0.3),
        Row("nothing", float("nan"), 0.5),
        rate_row("alarms", Rate(1, 100), 0.02, at_most=True),
    ]
    assert [row.passed for row in rows] == [False, True, False, True]
    lines = table(rows).splitlines()
    assert "90.0%" in lines[2] and lines[2].endswith("FAIL") and lines[3].endswith("pass")
    assert "<= 0.300 s" in lines[3] and "59.6% - 98.2%" in lines[2]
    file = tmp_path / "a.json"
    write_figures(file, rows, {"x": (1, math.inf)})
    values = json.loads(file.read_text())
    assert values["figures"][2]["value"] is None and values["x"] == [1, None]
    assert set(machine()) == {"system", "cpu", "cores", "python", "load_average"}


def test_sheet_is_a_png_of_the_frames(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    file = tmp_path / "sheet.png"
    contact_sheet([("A red star, moving", frames)] * 3, file, columns=2)
    with pil.open(file) as image:
        pixels = np.asarray(image)
    found = [np.array_equal(pixels[y : y + 64, 8:72], frames[0]) for y in range(pixels.shape[0] - 63)]
    assert sum(found) == 2  # the left column has two rows
    ink = (pixels[:, :200] == 40).all(axis=2)
    assert ink.any() and ink.sum() > 60
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(ValueError, match="at least one video"):
        contact_sheet([], file)
    with pytest.raises(OSError, match="cannot be written: Not a directory"):
        contact_sheet([("x", frames)], file / "sheet.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "jokes"], "unknown section jokes"),
        (["--n", "0"], "must be at least 1"),
        (["--only", "questions", "--save-sheet", "x.png"], "--save-sheet needs the section videos"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_missing_bundle_is_one_line(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main(["--bundle", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("g4v: error:") and error.count("\n") == 1
    assert entry([]) == 2 and entry(["--help"]) == 0
