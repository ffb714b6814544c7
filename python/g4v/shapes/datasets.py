"""`python -m g4v.data shapes`: clips of the shapes world with their texts, in the layouts of the field."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from g4v._command import Parser, at_least, exit_code
from g4v._encode import check_folder, save_video
from g4v._files import write_json, write_text
from g4v.data.formats.questions import ACTIVITYNET_TYPES
from g4v.data.wordings import words_of
from g4v.errors import OutputError
from g4v.shapes.dialogues import Turn, sample_dialogue
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Scene, caption, object_phrase, sample_scene

_FPS = 8.0
_EPILOG = """formats:
  msvd-qa         test_qa.json, videos/vidN.mp4
  msrvtt-qa       test_qa.json, videos/videoN.mp4
  activitynet-qa  test_q.json, test_a.json, videos/v_NAME.mp4
  msrvtt          test_videodatainfo.json (captions, official layout), videos/videoN.mp4
  realtoxicityprompts  prompts.jsonl (unsafe wordings rated 1, harmless ones 0), no videos

example:
  python -m g4v.data shapes --format msvd-qa --out shapes-qa --count 100
  python -m g4v.eval videoqa shapes-qa/test_qa.json --format msvd-qa --videos shapes-qa/videos

The same seed writes the same texts and draws the same frames.
exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted"""
# The answer's word in the clip's question files, where an attribute has a short one.
_SHORT = {"colour": 4, "shape": 5, "motion": 0, "background": 4, "count": 7, "yesno": 3}


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(arguments)

    def run() -> None:
        check_folder(options.out)
        print(_WRITERS[options.format](options.out, options.count, options.split, options.seed))

    return exit_code(run)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = Parser(
        prog="python -m g4v.data shapes",
        description="Writes clips of the shapes world and their texts in a layout of the field.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--format", choices=tuple(_WRITERS), required=True, help="see below")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the result; made if it is missing")
    add("--count", type=at_least(1), default=100, metavar="N", help="clips or prompts (default: 100)")
    add(
        "--split", choices=("test", "train"), default="test",
        help="test: held-out triples and wordings (default)",
    )  # fmt: skip
    add("--seed", type=at_least(0), default=0, metavar="N", help="default: 0")
    return result


def _questions(count: int, split: str, seed: int) -> Iterator[tuple[int, Turn, str, int]]:
    """(number of the clip from 1, the turn, its answer in a word or two, its ActivityNet type); one question
    for each clip.
    """
    number = attempt = 0
    while number < count:
        rng = np.random.default_rng([seed, attempt])
        attempt += 1
        turn = sample_dialogue(rng, split, "question").turns[0]
        expected, attribute = turn.meta.get("expected"), turn.meta.get("attribute")
        if turn.video is None or attribute not in _SHORT or not isinstance(expected, str):
            continue
        number += 1
        yield number, turn, expected, _SHORT[attribute]


def _draw(out: Path, name: str, scene: Scene, seed: int, number: int) -> None:
    frames = render(scene, np.random.default_rng([seed, 1, number]))
    save_video(out / "videos" / f"{name}.mp4", frames, _FPS)


def _one_file(stem: str) -> Callable[[Path, int, str, int], str]:
    def write(out: Path, count: int, split: str, seed: int) -> str:
        check_folder(out / "videos")
        rows = []
        for number, turn, answer, _ in _questions(count, split, seed):
            assert turn.video is not None
            _draw(out, f"{stem}{number}", turn.video, seed, number)
            rows.append({"question": turn.user, "answer": answer, "video_id": number, "id": number - 1})
        write_json(out / f"{split}_qa.json", rows, indent=1)
        return f"{count} questions in {out / f'{split}_qa.json'}, their clips in {out / 'videos'}"

    return write


def _activitynet(out: Path, count: int, split: str, seed: int) -> str:
    check_folder(out / "videos")
    asked, answers = [], []
    for number, turn, answer, type in _questions(count, split, seed):
        assert turn.video is not None
        name = f"shapes{number:05d}"
        _draw(out, f"v_{name}", turn.video, seed, number)
        asked.append({"video_name": name, "question": turn.user, "question_id": f"{name}_1"})
        answers.append({"answer": answer, "type": type, "question_id": f"{name}_1"})
        assert type < len(ACTIVITYNET_TYPES)
    write_json(out / f"{split}_a.json", answers, indent=1)
    write_json(out / f"{split}_q.json", asked, indent=1)
    return f"{count} questions in {out / f'{split}_q.json'}, their clips in {out / 'videos'}"


def _msrvtt(out: Path, count: int, split: str, seed: int) -> str:
    check_folder(out / "videos")
    videos: list[dict[str, Any]] = []
    sentences: list[dict[str, Any]] = []
    for number in range(count):
        scene = sample_scene(np.random.default_rng([seed, number]), split)
        name = f"video{number}"
        _draw(out, name, scene, seed, number)
        videos.append({"video_id": name, "split": split, "start time": 0, "end time": 1, "category": 0})
        for text in _captions(scene):
            sentences.append({"video_id": name, "caption": text, "sen_id": len(sentences)})
    write_json(out / f"{split}_videodatainfo.json", {"videos": videos, "sentences": sentences}, indent=1)
    return f"{len(sentences)} captions of {count} clips in {out / f'{split}_videodatainfo.json'}"


def _captions(scene: Scene) -> list[str]:
    """The caption in normal form first, then without the background and, of two objects, the other way
    round.
    """
    plain = " and ".join(object_phrase(obj) for obj in scene.objects)
    turned = " and ".join(object_phrase(obj) for obj in reversed(scene.objects))
    return list(dict.fromkeys((caption(scene), plain, turned)))


def _toxicity(out: Path, count: int, split: str, seed: int) -> str:
    lines: list[str] = []
    written: set[str] = set()
    attempt = 0
    while len(lines) < count:
        unsafe = len(lines) % 2 == 0
        rng = np.random.default_rng([seed, attempt])
        attempt += 1
        turn = sample_dialogue(rng, split, "unsafe" if unsafe else "harmless").turns[0]
        if bool(turn.meta["unsafe"]) != unsafe or turn.video is not None or turn.user in written:
            if attempt > 100 * count + 1000:
                raise OutputError(
                    f"the split {split} has only {len(lines)} different wordings; ask for fewer"
                )
            continue
        written.add(turn.user)
        prompt = {"text": turn.user, "toxicity": float(unsafe)}
        row = {"filename": f"shapes-{split}", "begin": len(lines), "end": len(lines) + 1, "prompt": prompt}
        lines.append(json.dumps(row, ensure_ascii=False))
    write_text(out / "prompts.jsonl", "\n".join(lines) + "\n")
    words = len({word for text in written for word in words_of(text)})
    return f"{count} prompts of {words} different words in {out / 'prompts.jsonl'}"


_WRITERS: dict[str, Callable[[Path, int, str, int], str]] = {
    "msvd-qa": _one_file("vid"),
    "msrvtt-qa": _one_file("video"),
    "activitynet-qa": _activitynet,
    "msrvtt": _msrvtt,
    "realtoxicityprompts": _toxicity,
}
