"""What the trainer learns from: tokens, frames, the cache of features, rows that cannot be used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs the train extra")

from g4v import _core, errors  # noqa: E402
from g4v.export.bundle.export import export_bundle  # noqa: E402
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint  # noqa: E402
from g4v.export.checkpoint.run import Checkpoint  # noqa: E402
from g4v.model.prompt import IGNORED, VIDEO_ID, PromptTemplate, PromptTurn, plain_encoder  # noqa: E402
from g4v.train import checkpoint  # noqa: E402
from g4v.train.batch_sampler import BatchSampler, MicroBatch  # noqa: E402
from g4v.train.clips import FileClip, FrameReader  # noqa: E402
from g4v.train.command import main  # noqa: E402
from g4v.train.datasets import Row, Rows, WorldRows, open_rows  # noqa: E402
from g4v.train.features import FeatureCache, fill_cache  # noqa: E402
from g4v.train.rows import RowBatches, RowEncoder, RowFault  # noqa: E402
from g4v.train.settings import Settings  # noqa: E402
from g4v.video import read_video  # noqa: E402

from ..export.conftest import SMALL  # noqa: E402
from . import format_files  # noqa: E402
from . import training_bases as made
from .talking import ask, load, text_of  # noqa: E402
from .video_samples import gray_frames, level, write_video  # noqa: E402

TEMPLATE = PromptTemplate(turn_end_id=2, bos_id=1, system="S")


def encode(text, first_segment=True):
    return [ord(c) for c in text]


def rows_of(*turns, clips=()):
    return Row(tuple(PromptTurn(*turn) for turn in turns), tuple(clips), "file, line 3")


class TestTokens:
    @pytest.mark.slow
    def test_training_reads_what_the_runtime_reads(self, tmp_path):
        """The runtime answers; a row of training data made of that conversation must be, token by token, what
        the runtime fed to its decoder: it counts its context, and PyTorch, given the training ids, continues
        with the very tokens that the runtime generated.
        """
        torch.set_num_threads(1)
        run = write_random_checkpoint(tmp_path / "run", SMALL, seed=4)
        export_bundle(run, tmp_path / "bundle")
        from transformers import AutoTokenizer

        from g4v.model.assistant import Gpt4Video

        model = Gpt4Video.from_checkpoint(run)
        tokenizer = AutoTokenizer.from_pretrained(run / "llm")
        template = PromptTemplate.from_manifest(json.loads((run / "g4v_train.json").read_text())["prompt"])
        clip = write_video(tmp_path / "clip.mp4", gray_frames(20, 40, 56))
        chat = load(tmp_path / "bundle").chat(text_options=_core.TextOptions(max_new_tokens=3))
        mean, std = Checkpoint.open(run).image_statistics()
        reader = FrameReader(SMALL.frames, SMALL.encoder["image_size"], tuple(mean), tuple(std))
        with torch.no_grad():
            features = model.encoder(torch.from_numpy(reader(FileClip(clip)))[None])
            tokens = model.encode_video(features=features)
        encoder = RowEncoder(template, plain_encoder(tokenizer), tokens.shape[1], 500, "assistant")
        native = _core.Tokenizer(json.dumps(_tokenizer_of(tmp_path / "bundle")))
        text = "What moves, \u00e9t\u00e9?"
        events = ask(chat, text, read_video(clip, SMALL.frames)[0])
        row = rows_of((text, "x", True), clips=[FileClip(clip)])
        ids = encoder(row)[0].ids
        labels = encoder(row)[0].labels
        start = next(i for i, label in enumerate(labels) if label != IGNORED)
        prompt = ids[:start]
        # The runtime's own tokenizer, segment by segment.
        video = prompt.index(VIDEO_ID)
        last = len(prompt) - prompt[::-1].index(VIDEO_ID)
        assert prompt[1:video] == native.encode(template.system, True) + native.encode(
            template.video_prefix, False
        )
        assert prompt[last:] == native.encode(template.user_segment(text), False)
        assert events[-1].prompt_tokens == len(prompt)
        # And what the decoder makes of it.
        greedy = list(prompt)
        answer = []
        with torch.no_grad():
            while len(answer) < 3:
                embeds = model.embed(torch.tensor([greedy]), tokens)
                answer.append(int(model.llm(inputs_embeds=embeds).logits[0, -1].argmax()))
                greedy.append(answer[-1])
        spoken = tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert text_of(events) == spoken.lstrip(" \t\n\r\f\v")

    def test_long_rows_lose_whole_turns_and_then_the_end_of_an_answer(self):
        encoder = RowEncoder(TEMPLATE, encode, 3, 60, "assistant")
        row = rows_of(("Q", "A" * 10, True), ("R", "B" * 80), clips=["clip"])
        encoded, kept = encoder(row)
        assert kept == 1 and encoded.ids[-1] == 2 and encoded.ids.count(VIDEO_ID) == 3
        encoded, kept = encoder(rows_of(("Q", "A" * 80)))
        assert kept == 1 and len(encoded.ids) == len(encoded.labels) == 60
        with pytest.raises(RowFault, match="max_length is 60"):
            encoder(rows_of(("Q" * 70, "A")))
        with pytest.raises(RowFault, match="no encoder"):
            RowEncoder(TEMPLATE, encode, 0, 60, "assistant")(row)


def _tokenizer_of(bundle: Path):
    """The data of a tokenizer in the bundle; those of decoder and text encoder are the same here."""
    found = [json.loads(path.read_text()) for path in bundle.rglob("*.json") if "tokenizer" in path.name]
    return next(values for values in found if values.get("format") == "g4v-tokenizer")


class TestBatchSampler:
    def batches(self, world, rank, batch_size, accumulate=1, first=0, last=6):
        return list(BatchSampler(10, batch_size, accumulate, world, rank, 3, first, last))

    def test_every_layout_sees_the_same_rows_of_a_step(self):
        one = self.batches(1, 0, 4)
        assert sorted(i for m in one[:3] for i in m.rows) == list(range(10))
        assert one[0].rows != one[3].rows and len(one[2].rows) == 2
        two = [self.batches(2, rank, 2) for rank in range(2)]
        for step in range(6):
            assert two[0][step].rows + two[1][step].rows == one[step].rows == two[1][step].step_rows
        passes = self.batches(1, 0, 2, accumulate=2)
        assert passes[0].rows + passes[1].rows == one[0].rows
        assert [m.step for m in passes] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]

    def test_it_goes_on_where_it_stopped(self):
        assert self.batches(1, 0, 4, first=2) == self.batches(1, 0, 4)[2:]


class TestBatches:
    def read(self, clip):
        if clip == "bad":
            raise errors.VideoError("bad cannot be read")
        return np.full((2, 3), 7, np.float32)

    def batches(self, *rows):
        encoder = RowEncoder(TEMPLATE, encode, 3, 200, "assistant")
        return RowBatches(Rows((list(rows),)), encoder, self.read, lambda: np.zeros((2, 3), np.float32))

    def test_a_clip_that_cannot_be_read_teaches_nothing(self):
        good = rows_of(("Q", "AB", True), clips=["good"])
        bad = rows_of(("Q", "ABC", True), clips=["bad"])
        batches = self.batches(good, bad)
        batch = batches[MicroBatch(0, 0, (1, 0), (1, 0))]
        assert batch["faults"] == [("file, line 3", "bad cannot be read")]
        assert (batch["labels"][0] == IGNORED).all() and (batch["labels"][1] != IGNORED).any()
        assert batch["clips"].shape == (2, 2, 3) and (batch["clips"][0] == 0).all()
        assert (batch["ids"] == VIDEO_ID).sum() == 6
        assert batch["step_weight"] == 4 + 5  # a space, the answer, the end

    def test_a_process_without_rows_has_a_batch_too(self):
        batch = self.batches(rows_of(("Q", "A")))[MicroBatch(0, 0, (), (0,))]
        assert batch["ids"].tolist() == [[1, ord("S")]] and "clips" not in batch
        assert batch["step_weight"] == 3


class TestSources:
    @pytest.mark.parametrize(
        ("name", "content", "count", "clips"),
        [
            ("videochat.json", format_files.VIDEOCHAT, 3, 3),
            ("webvid.csv", format_files.WEBVID, 3, 3),
            ("gpt4video.json", format_files.GPT4VIDEO, 5, 2),
            ("msrvtt.json", format_files.MSRVTT, 2, 2),
            ("activitynet.json", format_files.ACTIVITYNET, 3, 3),
        ],
    )
    def test_every_format(self, name, content, count, clips, tmp_path):
        path = format_files.write(tmp_path / name, content)
        rows = open_rows(Settings(data=(str(path),)), "stage1", TEMPLATE)
        assert (len(rows), sum(len(rows[i].clips) for i in range(len(rows)))) == (count, clips)
        assert rows[0].place.startswith(f"{path}, line ")

    def test_sources_follow_each_other(self, tmp_path):
        path = format_files.write(tmp_path / "a.json", format_files.VIDEOCHAT)
        rows = open_rows(Settings(data=("shapes:4", str(path))), "stage1", TEMPLATE)
        assert len(rows) == 7 and rows[3].place == "shapes, dialogue 3" and "a.json" in rows[4].place
        assert rows[3] == WorldRows("shapes", 4, 0, rows.sources[0].kinds)[3]
        assert rows[3].clips[0].read(4).shape == (4, 64, 64, 3)

    def test_rows_without_an_answer_are_counted(self, tmp_path):
        path = format_files.write(tmp_path / "msrvtt.json", format_files.MSRVTT)
        prompts = tmp_path / "prompts.jsonl"
        lines = [json.dumps({"prompt": {"text": text, "toxicity": 0.9}}) for text in "ab"]
        prompts.write_text("\n".join(lines))
        rows = open_rows(Settings(data=(str(path), str(prompts))), "stage2", TEMPLATE)
        assert len(rows) == 2 and rows.left_out == 2
        assert "2 rows have no answer to learn from, the first in line 1" in rows.problems[-1]
        with pytest.raises(errors.Error, match="no row that can be trained on; .* --unsafe-requests"):
            open_rows(Settings(data=(str(prompts),)), "stage2", TEMPLATE)

    @pytest.mark.parametrize("name", ["shapes:", "shapes:0", "shapes:many"])
    def test_a_bad_number_of_shapes(self, name):
        with pytest.raises(errors.Error, match="number of dialogues"):
            open_rows(Settings(data=(name,)), "stage1", TEMPLATE)


class TestSpans:
    def test_a_part_of_a_film(self, tmp_path):
        """25 frames a second: seconds 1 to 2 are frames 25 to 50."""
        path = write_video(tmp_path / "clip.mp4", gray_frames(80))
        frames, info = read_video(path, 5, span=(1.0, 2.0))
        assert info.indices == tuple(25 + i for i in (2, 7, 12, 17, 22)) and info.frame_count == 80
        for frame, index in zip(frames, info.indices, strict=True):
            assert abs(int(frame.mean()) - level(index)) <= 3
        assert read_video(path, 3, span=(2.0, None))[1].indices[-1] < 80
        with pytest.raises(errors.VideoError, match="no frame between 9 s and 10 s: its last is at 3.16 s"):
            read_video(path, 3, span=(9.0, 10.0))
        with pytest.raises(errors.ArgumentError, match="needs a video file"):
            read_video(np.zeros((4, 8, 8, 3), np.uint8), 2, span=(0.0, 1.0))


class TestFeatures:
    reader = FrameReader(2, 16, (0.5,) * 3, (0.5,) * 3)

    def encode(self, pixels):
        self.encoded += 1
        return pixels.flatten(3).mean(2, keepdim=True)  # [1, T, 1, S * S]

    def fill(self, cache, clips, workers=0):
        self.encoded = 0
        return fill_cache(cache, clips, self.reader, self.encode, workers)

    @pytest.fixture
    def clips(self, tmp_path):
        return [FileClip(write_video(tmp_path / f"{k}.mp4", gray_frames(4 + k, 16, 16))) for k in range(3)]

    def test_each_clip_is_encoded_once(self, clips, tmp_path, monkeypatch):
        monkeypatch.setattr("g4v.train.features.SHARD", 2)
        cache = FeatureCache(tmp_path / "cache", "mark", self.reader)
        assert self.fill(cache, clips) == {} and self.encoded == 3
        assert len(list(cache.folder.iterdir())) == 2
        again = FeatureCache(tmp_path / "cache", "mark", self.reader)
        self.fill(again, clips)
        assert self.encoded == 0
        expected = torch.from_numpy(self.reader(clips[1])).flatten(2).mean(1, keepdim=True)
        np.testing.assert_array_equal(again(clips[1]), expected.half().numpy())

    def test_it_goes_on_and_leaves_out_what_cannot_be_read(self, clips, tmp_path):
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(b"no film")
        cache = FeatureCache(tmp_path / "cache", "mark", self.reader)
        self.fill(cache, clips[:1])
        (cache.folder / "shard-0-00009.safetensors").write_bytes(b"cut off")  # of a machine that lost power
        cache = FeatureCache(tmp_path / "cache", "mark", self.reader)
        reasons = self.fill(cache, [*clips, FileClip(broken), FileClip(tmp_path / "gone.mp4")], workers=2)
        assert self.encoded == 2 and len(reasons) == 2
        assert any("gone.mp4 is missing" in reason for reason in reasons.values())

    def test_other_weights_frames_or_files_are_other_features(self, clips, tmp_path):
        cache = FeatureCache(tmp_path / "cache", "mark", self.reader)
        self.fill(cache, clips)
        for other in (
            FeatureCache(tmp_path / "cache", "another encoder", self.reader),
            FeatureCache(tmp_path / "cache", "mark", FrameReader(3, 16, (0.5,) * 3, (0.5,) * 3)),
        ):
            assert clips[0] not in other
        os.utime(clips[0].path, (1, 1))
        assert clips[0] not in cache and clips[1] in cache
        assert FileClip(clips[1].path, 0.0, 0.1) not in cache


class TestRun:
    @pytest.fixture
    def base(self, tmp_path):
        return made.write_base(tmp_path / "base")

    @pytest.mark.slow
    def test_features_train_as_frames_do_and_bad_clips_are_reported(self, base, tmp_path):
        """Half precision of the cache is the only difference."""
        data = made.write_data(tmp_path / "data", 4)
        (data.parent / "1.mp4").write_bytes(b"no film")
        (data.parent / "2.mp4").unlink()
        config = ["--config", str(made.config_file(tmp_path))]
        ends = []
        for name, changes in (("frames", {"num_workers": 2}), ("cached", {"feature_cache": tmp_path / "c"})):
            out = tmp_path / name
            assert main(["stage1", *made.options(base, data, out, **changes), *config]) == 0
            report = json.loads((out / "work" / "stage1" / "data_report.json").read_text())
            assert report["left_out_or_cut_while_training"] == 2
            assert any("data.json, line 4" in p and "2.mp4 is missing" in p for p in report["problems"])
            path = checkpoint.find_checkpoint(out / "work" / "stage1")
            ends.append(checkpoint.load_checkpoint(path).weights["abstractor.vit_eos"])
        torch.testing.assert_close(ends[0], ends[1], rtol=1e-2, atol=1e-3)
        assert not torch.equal(ends[0], torch.zeros_like(ends[0]))

    @pytest.mark.slow
    def test_encoding_shows_how_far_it_is(self, base, tmp_path, capsys):
        words = made.options(base, made.write_data(tmp_path / "data", 3), tmp_path / "run", max_epochs=1)
        words += ["--config", str(made.config_file(tmp_path)), "--feature-cache", str(tmp_path / "cache")]
        assert main(["stage1", *words, "--progress"]) == 0
        assert "encoding clips 3/3" in capsys.readouterr().err

    @pytest.mark.slow
    def test_text_alone_needs_no_encoder(self, base, tmp_path):
        """The paper's second version tunes on text; the run is then an assistant without vision."""
        rows = {"train": [{"instruction": f"Human: Q{k}\nAI: <video> A {k} </video>"} for k in range(3)]}
        data = format_files.write(tmp_path / "dialogues.json", rows)
        words = made.options(base, data, tmp_path / "run", base=None, llm=base / "llm", max_epochs=1)
        config = made.config_file(tmp_path, prompt={"system": "S", "bos_id": 1})
        assert main(["stage2", *words, "--config", str(config)]) == 0
        assert {p.name for p in (tmp_path / "run").iterdir()} == {"adapter", "llm", "g4v_train.json", "work"}
        Checkpoint.open(tmp_path / "run").llm()
