"""Scores of captions against references of their own, and the command over good and bad clips."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sacrebleu", reason="captions are scored with sacrebleu")

from g4v.errors import ArgumentError
from g4v.eval import bootstrap
from g4v.eval.__main__ import main
from g4v.eval.text_scores import Bleu, cider, meteor, words_of

from .field_files import Scripted, write_clip

SAID = [
    "A red circle moves left on a black field.",
    "two dogs run over the grass",
    "a man plays the guitar",
    "the sea",
]
REFERENCES = [
    ["A red circle moving left on a black background", "a red disc moves to the left"],
    ["two dogs are running on grass", "dogs run over the green grass", "Two dogs run over the grass!"],
    ["a woman sings a song"],
    ["waves of the sea roll in", "the sea at night"],
]
SAID_WORDS = [words_of(text) for text in SAID]
REFERENCE_WORDS = [[words_of(text) for text in texts] for texts in REFERENCES]


def test_words() -> None:
    assert words_of("It\u2019s a RED, two-part ball (no. 2)!") == [
        "it's",
        "a",
        "red",
        "two",
        "part",
        "ball",
        "no",
        "2",
    ]


def test_bleu_as_the_coco_script_has_it() -> None:
    """The constant is BLEU-4 of the field's own script (pycocoevalcap 1.2) on these words."""
    assert Bleu(SAID_WORDS, REFERENCE_WORDS).score() == pytest.approx(0.49427041504788966, abs=1e-9)


def test_bleu_by_hand() -> None:
    """6 words against 7: 6/6, 5/5, 4/4 and 3/3 n-grams match; only the brevity penalty is left."""
    said, reference = [words_of("a b c d e f")], [[words_of("a b c d e f g")]]
    assert Bleu(said, reference).score() == pytest.approx(math.exp(1 - 7 / 6))
    assert Bleu(said, [said]).score() == pytest.approx(1)
    assert Bleu([words_of("x y z")], reference).score() == 0 and Bleu([[]], reference).score() == 0
    # Of chosen clips, with repeats: as a corpus of them.
    both = Bleu(said + [words_of("a b c d x")], reference + [[words_of("a b c d e")]])
    assert both.score(np.array([0, 0])) == pytest.approx(Bleu(said, reference).score())


def test_cider_as_the_coco_script_has_it() -> None:
    """The constants are CIDEr-D of the field's own script (pycocoevalcap 1.2) on these words."""
    assert cider(SAID_WORDS, REFERENCE_WORDS) == pytest.approx(
        [3.22150123, 5.84839652, 0.34441331, 2.27780078], abs=1e-7
    )


def plain_cider(said: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """CIDEr-D written out as matrices over the whole vocabulary, float64."""

    def count(words: list[str], n: int, index: dict[tuple[str, ...], int]) -> np.ndarray:
        row = np.zeros(len(index))
        for gram, times in Counter(zip(*(words[i:] for i in range(n)), strict=False)).items():
            row[index[gram]] = times
        return row

    scores = np.zeros(len(said))
    for n in (1, 2, 3, 4):
        texts = said + [text for texts in references for text in texts]
        grams = sorted({gram for text in texts for gram in zip(*(text[i:] for i in range(n)), strict=False)})
        index = {gram: i for i, gram in enumerate(grams)}
        df = sum(np.clip(sum(count(t, n, index) for t in texts), 0, 1) for texts in references)
        idf = np.log(len(said)) - np.log(np.maximum(df, 1))
        for i, text in enumerate(said):
            one = count(text, n, index) * idf
            for reference in references[i]:
                other = count(reference, n, index) * idf
                norm = np.linalg.norm(one) * np.linalg.norm(other)
                gap = max(len(text) - 1, 0) - max(len(reference) - 1, 0)
                value = np.minimum(one, other) @ other / norm if norm else 0.0
                scores[i] += 10 / 4 / len(references[i]) * value * math.exp(-(gap**2) / 72)
    return list(scores)


def test_cider_against_plain_matrices() -> None:
    rng = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(12)]

    def text() -> list[str]:
        return list(rng.choice(vocabulary, rng.integers(1, 12)))

    references = [[text() for _ in range(rng.integers(1, 4))] for _ in range(30)]
    said = [list(texts[0]) if i % 3 else text() for i, texts in enumerate(references)]
    assert cider(said, references) == pytest.approx(plain_cider(said, references), abs=1e-9)
    assert not cider([said[0]], [references[0]]).any()


def write_wordnet(folder: Path) -> Path:
    """A WordNet of one synset: car, auto."""
    folder.mkdir(parents=True)
    text = "00000000 06 n 02 car 0 auto 0 000 | a thing that drives  \n"
    index = "".join(f"{word} n 1 0 1 0 00000000  \n" for word in ("auto", "car"))
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{part}").write_text(text if part == "noun" else "")
        (folder / f"index.{part}").write_text(index if part == "noun" else "")
        (folder / f"{part}.exc").write_text("")
    (folder / "lexnames").write_text("".join(f"{i:02d}\tnoun.x\t1\n" for i in range(45)))
    (folder / "cntlist.rev").write_text("")
    (folder / "index.sense").write_text("")
    return folder


def test_meteor_by_hand(tmp_path: Path) -> None:
    """(Banerjee and Lavie 2005) F = PR / (0.9 P + 0.1 R), times 1 - 0.5 (chunks / matches)^3."""
    pytest.importorskip("nltk", reason="METEOR is NLTK's")
    wordnet = write_wordnet(tmp_path / "wordnet")
    said = [words_of(t) for t in ("a car stops", "an auto stops", "cars stopped", "x y", "")]
    references = [[words_of("a car stops")]] * 3 + [[words_of("a car stops")]] * 2
    scores = meteor(said, references, wordnet)
    whole = 1 - 0.5 * (1 / 3) ** 3
    two_of_three = 2 / 3 * (1 - 0.5 * (1 / 2) ** 3)  # synonym and word, side by side
    stems = (2 / 3) / (0.9 + 0.1 * 2 / 3) * (1 - 0.5 * (1 / 2) ** 3)
    assert scores == pytest.approx([whole, two_of_three, stems, 0, 0])
    # The best of several references counts.
    assert meteor([words_of("a car stops")], [[["z"], words_of("a car stops")]], wordnet) == pytest.approx(
        [whole]
    )
    (wordnet / "lexnames").unlink()
    with pytest.raises(ArgumentError, match="is no WordNet as NLTK has it: lexnames is missing"):
        meteor(said, references, wordnet)


def test_bootstrap_covers_the_mean_and_repeats() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = bootstrap.of_mean(values)
    half = 1.96 * values.std() / 20  # the normal interval of a mean
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)
    assert bootstrap.of_mean(values) == (low, high) != bootstrap.of_mean(values, seed=1)
    assert all(map(math.isnan, bootstrap.of_mean([1.0])))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """MSR-VTT captions of two good clips, a broken and a missing one; one sentence is bad."""
    for number in (0, 1):
        write_clip(tmp_path / "clips" / f"video{number}.mp4", shade=50 + 100 * number)
    (tmp_path / "clips" / "video2.mp4").write_bytes(b"no film" * 50)
    names = [f"video{i}" for i in range(4)]
    sentences: list[dict[str, Any]] = [
        {"video_id": name, "caption": text, "sen_id": 10 * i + k}
        for i, name in enumerate(names)
        for k, text in enumerate(REFERENCES[i])
    ]
    sentences.append({"video_id": "video0", "caption": "", "sen_id": 99})
    videos = [{"video_id": name, "split": "test"} for name in names]
    (tmp_path / "captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    return tmp_path


def test_command(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    said = {"video0.mp4": SAID[0], "video1.mp4": SAID[1]}
    scripted = Scripted(monkeypatch, lambda _, clip: said[clip.name])
    command = ["caption", data / "captions.json", "--videos", data / "clips", "--out", data / "run"]
    arguments = [str(a) for a in (*command, "--json", data / "o.json")]
    assert main(arguments) == 0
    told = json.loads((data / "o.json").read_text())
    rows = {row["name"]: row for row in told["figures"]}
    assert rows["BLEU-4"]["value"] == pytest.approx(Bleu(SAID_WORDS[:2], REFERENCE_WORDS[:2]).score())
    assert rows["CIDEr"]["value"] == pytest.approx(cider(SAID_WORDS[:2], REFERENCE_WORDS[:2]).mean())
    assert rows["METEOR"]["value"] is None and rows["BLEU-4"]["count"] == 2
    counts = {sort: entry["count"] for sort, entry in told["left_out"].items()}
    assert counts == {"bad rows": 1, "missing clips": 1, "broken clips": 1}
    out, err = capsys.readouterr()
    assert "METEOR is not computed" in out and "0.587" not in out.split("published by others")[0]
    assert "the clip" in err and "video3.mp4 is missing" in err
    asked = len(scripted.asked)
    assert main(arguments) == 0 and len(scripted.asked) == asked + 1  # the broken clip is tried again


def test_wrong_files(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    Scripted(monkeypatch, lambda *_: "x")
    assert main(["caption", str(data / "captions.json"), "--videos", str(data / "nowhere")]) == 1
    assert "not one of its clips is there" in capsys.readouterr().err
    (data / "qa.json").write_text('[{"video": "a", "QA": [{"q": "x", "a": "y"}]}]')
    assert main(["caption", str(data / "qa.json")]) == 1
    assert "has videochat rows" in capsys.readouterr().err
    assert main(["caption", str(data / "captions.json"), "--split", "val"]) == 1
    assert "has no rows of split 'val'" in capsys.readouterr().err
