"""The readers of the field's data files: layouts, turns, splits, and tokens through the template."""

import json
from pathlib import Path

import pytest

from g4v.data.formats import DataError, Sample, missing_videos, read_samples
from g4v.data.formats.instructions import DESCRIBE
from g4v.errors import ArgumentError
from g4v.model.prompt import IGNORED, VIDEO_ID, PromptTemplate, PromptTurn, plain_encoder

from .format_files import ACTIVITYNET, GPT4VIDEO, KARPATHY, MSRVTT, TOXICITY, VIDEOCHAT, WEBVID, write

CHECKPOINT = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"  # in no wheel
LAYOUTS = {
    "videochat": VIDEOCHAT,
    "webvid": WEBVID,
    "gpt4video": GPT4VIDEO,
    "msrvtt": MSRVTT,
    "activitynet": ACTIVITYNET,
    "realtoxicityprompts": TOXICITY,
}


def read(path, **options):
    reader = read_samples(path, on_error="stop", **options)
    return list(reader)


def test_videochat_rows_are_conversations_about_one_clip(tmp_path):
    samples = read(write(tmp_path / "a.json", VIDEOCHAT), video_root="clips")
    first, second, third = samples
    assert first.turns == (
        PromptTurn("What is it?", "A cat.", has_video=True),
        PromptTurn("Its colour?", "Black."),
    )
    assert first.videos == (Path("clips/000/1.mp4"), None)
    assert (first.start, first.end, first.row, first.line, first.id) == (None, None, 0, 2, "000/1.mp4")
    assert (second.start, second.end) == (2.5, None)
    # The instruction of the later files stands for an empty question; times may be clock times.
    assert third.turns == (PromptTurn("Describe the clip.", "A dog.", has_video=True),)
    assert (third.start, third.end, third.line) == (62.0, 65.5, 9)


def test_webvid_rows_ask_for_a_description(tmp_path):
    path = write(tmp_path / "results.csv", WEBVID)
    samples = read(path)
    assert [s.turns[0].answer for s in samples] == [
        'A "red" balloon, rising over the sea',
        "Two lines of caption",
        "Mönch im Schnee",
    ]
    assert [s.line for s in samples] == [2, 3, 5]
    assert samples[0].videos == (tmp_path / "videos" / "000001_000050" / "1010.mp4",)
    assert all(s.turns[0].user in DESCRIBE and s.turns[0].has_video for s in samples)
    assert [s.id for s in samples] == ["1010", "1011", "1012"]


def test_the_seed_draws_instructions_row_by_row(tmp_path):
    rows = "".join(f"{i},d,caption {i},u,PT00H00M15S\n" for i in range(400))
    header = "videoid,page_dir,name,contentUrl,duration\n"
    everything = write(tmp_path / "a.csv", header + rows)
    questions = [s.turns[0].user for s in read(everything, seed=1)]
    assert questions == [s.turns[0].user for s in read(everything, seed=1)]
    assert questions != [s.turns[0].user for s in read(everything, seed=2)]
    assert set(questions) == set(DESCRIBE)
    # A row that is left out changes no other.
    fewer = write(tmp_path / "b.csv", header + "".join(rows.splitlines(True)[1:]))
    assert questions[1:] == [s.turns[0].user for s in read(fewer, seed=1)]


def test_gpt4video_dialogues_are_taken_apart_and_their_tags_made_one_kind(tmp_path):
    path = write(tmp_path / "g.json", GPT4VIDEO)
    single, multi, raw, clip, owl = read(path)
    assert single.turns == (
        PromptTurn("I want to see\npenguins.", "Look. <video>Penguins on rocks</video>."),
        PromptTurn("Nice!", "Yes, they are."),
    )
    assert single.videos == (None, None) and single.id == "77"
    assert [t.answer for t in multi.turns] == [
        "Here: <video>The sea</video> and <video>A summit</video>.",
        "Both: the sea and AI: a summit.",
    ]
    assert raw.turns == (PromptTurn("I saw a cat", "And I <video>a dog</video>"),)
    assert clip.turns[0].has_video and clip.videos == (tmp_path / "v/4.mp4",)
    assert owl.turns == (
        PromptTurn("Hello.", "Hello."),
        PromptTurn("What is shown?", "A lake.", has_video=True),
    )
    assert owl.videos == (None, tmp_path / "v/5.mp4")
    assert len(read(path, split="test")) == 1


def test_msrvtt_official_and_karpathy_style(tmp_path):
    path = write(tmp_path / "m.json", MSRVTT)
    samples = read(path, video_root="TrainValVideo")
    assert [(s.id, s.turns[0].answer) for s in samples] == [
        ("video0", "a car is shown"),
        ("video0", "a man drives"),
    ]
    # The times of the file are those of the source on the web: the clips are cut already.
    assert {(s.start, s.end, s.videos[0]) for s in samples} == {
        (None, None, Path("TrainValVideo/video0.mp4"))
    }
    assert [s.id for s in read(path, split="val")] == ["video6513"]
    assert [s.id for s in read(path, split="validate")] == ["video6513"]

    captions = [("video1", "one"), ("video1", "two")]
    layouts = [
        KARPATHY,
        [{"video_id": "video1", "caption": ["one", "two"]}],
        [{"video": "video1.mp4", "caption": "one"}, {"video": "video1.mp4", "caption": "two"}],
        [{"clip_name": "video1", "captions": ["one", "two"]}],
        {"annotations": [{"image_id": "video1", "caption": "one"}, {"image_id": "video1", "caption": "two"}]},
    ]
    for layout in layouts:
        samples = read(write(tmp_path / "k.json", layout))
        assert [(s.videos[0].stem, s.turns[0].answer) for s in samples] == captions
        assert {s.videos[0] for s in samples} == {tmp_path / "video1.mp4"}


def test_activitynet_events_are_samples_with_times(tmp_path):
    samples = read(write(tmp_path / "train.json", ACTIVITYNET))
    assert [(s.start, s.end, s.turns[0].answer) for s in samples] == [
        (0.28, 55.15, "We see a man washing clothes."),
        (13.79, 82.73, "He hangs them up."),  # the file has 83.1, and the video lasts 82.73 s
        (0.0, 10.0, "A dog runs."),
    ]
    assert [s.line for s in samples] == [2, 2, 4]
    assert samples[0].videos == (tmp_path / "v_QOlSCBRmfWY.mp4",)


def test_toxicity_bounds_choose_the_prompts(tmp_path):
    path = write(tmp_path / "prompts.jsonl", TOXICITY)
    (unsafe,) = read(path)
    assert unsafe.turns == (PromptTurn("you are such a", None),) and unsafe.toxicity == 0.83
    assert unsafe.id == "0001.txt:340:564" and unsafe.line == 1
    (benign,) = read(path, toxicity=(0.0, 0.2))
    assert benign.turns[0].user == "the weather of" and benign.line == 3
    assert len(read(path, toxicity=(0, 1))) == 2


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_format_is_told_from_the_content(tmp_path, name):
    for file in ("data", "data.txt"):
        reader = read_samples(write(tmp_path / file, LAYOUTS[name]))
        assert reader.format == name
        assert list(reader) == list(reader) != []  # every iteration starts anew
        assert list(read_samples(tmp_path / file, name)) == list(reader)
    marked = tmp_path / "marked"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "data").read_bytes())
    reader = read_samples(marked)
    assert reader.format == name and len(list(reader)) == len(list(read_samples(tmp_path / "data")))
    assert reader.problems.count == 0


@pytest.mark.parametrize("name", LAYOUTS)
def test_turns_become_tokens(tmp_path, name):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT / "llm", local_files_only=True)
    encode = plain_encoder(tokenizer)
    template = PromptTemplate(turn_end_id=tokenizer.eos_token_id, bos_id=tokenizer.bos_token_id)
    samples = list(read_samples(write(tmp_path / "data", LAYOUTS[name]), template=template))
    assert samples
    for sample in samples:
        encoded = template.encode(sample.turns, encode, video_tokens=9)
        assert encoded.ids.count(VIDEO_ID) == 9 * sum(video is not None for video in sample.videos)
        supervised = [token for token in encoded.labels if token != IGNORED]
        wanted = [template.answer_ids(t.answer, encode) for t in sample.turns if t.answer is not None]
        assert supervised == sum(wanted, [])
        # The runtime cleans a question before it encodes it: tokens agree only if that changes nothing.
        assert [template.clean_user_text(t.user) for t in sample.turns] == [t.user for t in sample.turns]
    if name == "gpt4video":
        text = tokenizer.decode(template.answer_ids(samples[0].turns[0].answer, encode))
        assert "<video>Penguins on rocks</video>" in text


def test_a_template_of_another_bundle_brings_its_own_tags_and_labels(tmp_path):
    template = PromptTemplate(turn_end_id=0, video_open="[v]", video_close="[/v]", stop=("\nYou:",))
    path = write(tmp_path / "g.json", GPT4VIDEO)
    assert read(path, template=template)[0].turns[0].answer == "Look. [v]Penguins on rocks[/v]."


def test_missing_videos_are_found_only_when_asked(tmp_path):
    from .video_samples import gray_frames, write_video

    path = write(tmp_path / "train.json", ACTIVITYNET)
    samples = read(path)
    problems = list(missing_videos(samples))
    assert len(problems) == 2
    assert str(problems[0]).startswith(f"{path}, line 2, row [0]: the video ")
    assert str(problems[0]).endswith("v_QOlSCBRmfWY.mp4 is missing")
    write_video(tmp_path / "v_QOlSCBRmfWY.mkv", gray_frames(4))  # another suffix will do
    (tmp_path / "v_abc.mp4").write_bytes(b"not a video")
    assert list(missing_videos(samples)) == []
    (broken,) = missing_videos(samples, decode=True)
    assert "v_abc.mp4 cannot be read: " in broken.reason and broken.line == 4


def test_a_sample_cannot_contradict_itself():
    with pytest.raises(ValueError, match="a turn with a video needs its path"):
        Sample((PromptTurn("q", "a", has_video=True),), (None,), Path("f"), 0, 1)


def test_arguments_are_checked(tmp_path):
    path = write(tmp_path / "a.json", VIDEOCHAT)
    with pytest.raises(ArgumentError, match="format must be 'auto' or one of videochat, webvid"):
        read_samples(path, "parquet")
    with pytest.raises(ArgumentError, match="on_error must be 'skip' or 'stop', not 'ask'"):
        read_samples(path, on_error="ask")
    with pytest.raises(ArgumentError, match="toxicity must be"):
        read_samples(path, toxicity=(0.5, float("nan")))
    with pytest.raises(DataError, match="is not of format gpt4video: it is a list"):
        read_samples(path, "gpt4video")


def test_splits_that_are_not_there_are_named(tmp_path):
    for layout in (MSRVTT, KARPATHY):
        with pytest.raises(DataError, match=r"has no rows of split 'test'; it has 'train'"):
            read(write(tmp_path / "m.json", layout), split="test")
    with pytest.raises(DataError, match=r"has no split 'val'; it has 'train', 'test'"):
        read(write(tmp_path / "g.json", GPT4VIDEO), split="val")


def test_csv_and_jsonl_stream(tmp_path):
    """A few rows of a large file come at once, without the rest being read."""
    line = json.dumps({"prompt": {"text": "x" * 1000, "toxicity": 0.9}}) + "\n"
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        file.writelines(line.replace('"x', f'"{i} x') for i in range(1000))
    reader = iter(read_samples(path))
    assert [next(reader).line for _ in range(3)] == [1, 2, 3]
    with path.open("r+b") as file:  # had it been read whole, this would go unnoticed
        file.truncate(500_000)
    with pytest.raises(DataError, match="is not valid JSON"):
        list(read_samples(path, on_error="stop"))
    remaining = sum(1 for _ in reader)
    assert 450 < remaining + 3 < 500
