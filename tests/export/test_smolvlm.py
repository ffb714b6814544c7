"""SmolVLM2 checkpoints as bundles, against transformers: features, video tokens, prompts, pixels and answers.

What needs transformers' own video processor needs torchvision beside it, and is skipped without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import g4v
from g4v import _core
from g4v._encode import save_video
from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.verify.session import open_for_comparison
from g4v.model.plain_encoder import plain_encoder
from g4v.model.prompt import VIDEO_ID
from g4v.video import FrameSampling, read_video

from .. import smolvlm_checkpoint as smol
from ..python.video_samples import REAL_FILMS, real_video

QUESTIONS = ("What moves here?", "where is it, and why?", "naïve 東京 12\n\n345", "Count to 10.")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smolvlm") / "SmolVLM2"
    smol.make(folder, seed=7)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    out = checkpoint.parent / "bundle"
    export_bundle(checkpoint, out)
    return out


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    from transformers import SmolVLMForConditionalGeneration

    return SmolVLMForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def assistant(bundle: Path) -> Iterator[Any]:
    yield g4v.load(bundle, device="cpu")


def reference(model: Any, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and video tokens in float64, of pixels [T, 3, S, S]."""
    double = model.double()
    with torch.no_grad():
        found = double.model.get_image_features(torch.from_numpy(pixels).double()[None])
    return found.last_hidden_state, torch.cat(list(found.pooler_output))


def largest(found: np.ndarray, wanted: torch.Tensor) -> float:
    """The largest difference, of the largest number."""
    difference = np.abs(found - wanted.numpy()).max()
    return float(difference / wanted.abs().max())


def check_hidden_states(folder: Path, model: Any, size: int, frames: int) -> None:
    rng = np.random.default_rng()
    pixels = rng.normal(size=(frames, 3, size, size)).astype(np.float32)
    features, tokens = reference(model, pixels)
    (made,) = open_for_comparison(folder, "encoder").run(None, {"pixel_values": pixels})
    assert largest(made, features) < 1e-5
    connector = open_for_comparison(folder, "abstractor")
    (of_reference,) = connector.run(None, {"features": features.float().numpy()})
    assert largest(of_reference, tokens) < 1e-5
    (of_made,) = connector.run(None, {"features": made})
    assert largest(of_made, tokens) < 2e-5  # both


def test_hidden_states_of_tower_and_connector(bundle: Path, checkpoint: Path) -> None:
    from transformers import SmolVLMForConditionalGeneration

    model = SmolVLMForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    check_hidden_states(bundle, model, smol.IMAGE, 3)


@pytest.mark.parametrize("size", [48, 68, 96])  # 68: a rest that is in no patch, as of the 2.2B model
def test_frames_of_another_size_than_the_tower_was_made_for(size: int, tmp_path: Path) -> None:
    """transformers then spreads the positions, in float32."""
    model = smol.make(tmp_path / "SmolVLM2", seed=3)
    path = tmp_path / "SmolVLM2" / "processor_config.json"
    settings = json.loads(path.read_text())
    settings["video_processor"]["max_image_size"] = {"longest_edge": size}
    settings["image_seq_len"] = (size // (smol.PATCH * smol.SCALE)) ** 2
    path.write_text(json.dumps(settings))
    export_bundle(tmp_path / "SmolVLM2", tmp_path / "bundle", only=["encoder", "abstractor"])
    check_hidden_states(tmp_path / "bundle", model, size, 2)


@pytest.mark.slow
def test_at_the_widths_of_smolvlm2_256m(tmp_path: Path) -> None:
    model = smol.make(tmp_path / "SmolVLM2", real=True)
    export_bundle(tmp_path / "SmolVLM2", tmp_path / "bundle")
    found = g4v.load(tmp_path / "bundle", device="cpu")
    video = smol.film(30, seed=1, height=90, width=160)
    path = tmp_path / "film.mp4"
    save_video(path, video, 10)
    answer = found.chat().ask("What moves?", path, max_new_tokens=8)
    ids = [token.id for token in answer.tokens]
    assert ids == generated(model, tmp_path / "SmolVLM2", found, "What moves?", path, 8)
    check_hidden_states(tmp_path / "bundle", model, 512, 2)


def own_inputs(checkpoint: Path, question: str, film: Path) -> dict[str, torch.Tensor]:
    """The inputs of transformers' model as g4v makes them: for machines without torchvision."""
    opened = Checkpoint.open(checkpoint)
    sampling = FrameSampling(**opened.frame_sampling())
    frames, info = read_video(film, sampling)
    size, (mean, std) = opened.image_size(), opened.image_statistics()
    pixels = _core.preprocess(frames, size, mean, std, **opened.resizing())
    ids = prompt_ids(opened, question, sampling.times(info))
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.int64),
        "pixel_values": torch.from_numpy(pixels)[None],
    }


def prompt_ids(opened: Checkpoint, question: str, times: Any) -> list[int]:
    tokenizer = opened.tokenizer("decoder")
    encode = plain_encoder(tokenizer)
    ids = opened.prompt.opening_ids(encode)
    ids += opened.prompt.turn_ids(question, True, opened.video_tokens(), encode, times=times)
    image = tokenizer.convert_tokens_to_ids("<image>")
    return [image if token == VIDEO_ID else token for token in ids]


def generated(
    model: Any, checkpoint: Path, assistant: Any, question: str, film: Path, most: int
) -> list[int]:
    given = own_inputs(checkpoint, question, film)
    with torch.no_grad():
        found = model.float().generate(**given, max_new_tokens=most, do_sample=False)
    return found[0, given["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("number", range(12))
def test_greedy_answers(number: int, checkpoint: Path, model: Any, assistant: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(number)
    count, fps = int(rng.integers(1, 90)), int(rng.integers(1, 12))
    film = tmp_path / "film.mp4"
    save_video(film, smol.film(count, seed=number), fps)
    question = QUESTIONS[number % len(QUESTIONS)]
    answer = assistant.chat().ask(question, film, max_new_tokens=20)
    wanted = generated(model, checkpoint, assistant, question, film, 20)
    assert [token.id for token in answer.tokens] == wanted
    assert answer.prompt_tokens + answer.cached_tokens == len(
        own_inputs(checkpoint, question, film)["input_ids"][0]
    )


def test_answers_depend_on_the_video(assistant: Any) -> None:
    answers = {
        assistant.chat().ask("What?", smol.film(3, seed=seed), max_new_tokens=12).text for seed in range(4)
    }
    assert len(answers) > 1


def test_a_second_video_and_a_second_question(
    checkpoint: Path, model: Any, assistant: Any, tmp_path: Path
) -> None:
    """The prompt goes on behind the first answer, and what was computed of single frames is kept."""
    chat = assistant.chat()
    first, second = smol.film(3, seed=1), smol.film(3, seed=2)
    chat.ask("What?", first, max_new_tokens=5)
    both = np.concatenate([first[1:], second])
    kept = chat.ask("And here?", both, max_new_tokens=8)
    fresh = assistant.chat()
    fresh.ask("What?", first, max_new_tokens=5)
    assert fresh.ask("And here?", both, max_new_tokens=8).text == kept.text
    core = chat._core
    assert core.turns == 2 and core.context_used < core.context_length


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rounded_weights(precision: str, checkpoint: Path, tmp_path: Path) -> None:
    arguments = [
        "--base",
        str(checkpoint),
        "--out",
        str(tmp_path / "out"),
        "--precision",
        precision,
        "--quiet",
    ]
    assert main(arguments) == 0
    found = g4v.load(tmp_path / "out", device="cpu")
    assert found.chat().ask("What moves?", smol.film(4), max_new_tokens=4).new_tokens > 0


def test_what_the_manifest_says(bundle: Path, assistant: Any) -> None:
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    encoder, connector = (manifest["components"][name] for name in ("encoder", "abstractor"))
    assert encoder["flavour"] == "siglip" and encoder["image_size"] == smol.IMAGE
    assert (encoder["resampling"], encoder["longest_edge"]) == ("lanczos", 100)
    assert (encoder["mean"], encoder["std"]) == ([0.5, 0.45, 0.4], [0.5, 0.55, 0.6])
    assert (connector["kind"], connector["output_tokens"]) == ("pixel-shuffle", 16)
    assert manifest["frame_sampling"] == {"frames": 64, "fps": 1.0, "skip_seconds": 1.0}
    assert "unet" not in manifest["components"]
    assert assistant.info["frame_sampling"] == {"fps": 1.0, "skip_seconds": 1.0}


# Against the processor.


@pytest.fixture(scope="module")
def processor(checkpoint: Path) -> Any:
    return smol.video_processor(checkpoint)


def core_ids(opened: Checkpoint, bundle: Path, question: str, times: Any) -> list[int]:
    """The ids of a first turn as the core makes them."""
    prompt = json.dumps(opened.prompt.to_manifest())
    tokenizer = _core.Tokenizer((bundle / "tokenizer.json").read_text("utf-8"))
    image = opened.tokenizer("decoder").convert_tokens_to_ids("<image>")
    ids = _core.testing.opening_ids(prompt, tokenizer, "")
    parts = _core.testing.turn_ids(prompt, tokenizer, "", question, True, *times)
    for part in parts[:-1]:
        ids += part + [image] * opened.video_tokens()
    return ids + parts[-1]


@pytest.mark.parametrize("frames", range(1, 65))
def test_token_ids_of_the_prompt(frames: int, checkpoint: Path, bundle: Path, processor: Any) -> None:
    rng = np.random.default_rng(frames)
    question = QUESTIONS[frames % len(QUESTIONS)]
    rate = float(rng.choice([1.0, 0.25, 2.5, 24.0, 29.97]))
    count = max(frames, int(np.ceil(frames * rate)))
    video = np.zeros((count, 12, 16, 3), np.uint8)
    wanted = smol.inputs(processor, question, video, rate)
    opened = Checkpoint.open(checkpoint)
    sampling = FrameSampling(**opened.frame_sampling())
    indices = sampling.choose(count, rate)
    assert len(indices) == wanted["pixel_values"].shape[1]
    times = [index / rate for index in indices], count / rate
    assert core_ids(opened, bundle, question, times) == wanted["input_ids"][0].tolist()
    assert prompt_ids(opened, question, times) == wanted["input_ids"][0].tolist()


@pytest.mark.parametrize("name", REAL_FILMS)
def test_pixels_of_real_films(name: str, processor: Any, checkpoint: Path) -> None:
    path = real_video(name)
    opened = Checkpoint.open(checkpoint)
    frames, info = read_video(path, FrameSampling(**opened.frame_sampling()))
    whole, _ = read_video(path, info.frame_count)
    wanted = smol.inputs(processor, "What?", whole, info.fps)["pixel_values"][0].numpy()
    mean, std = opened.image_statistics()
    found = _core.preprocess(frames, opened.image_size(), mean, std, **opened.resizing())
    assert found.shape == wanted.shape
    scale = np.array(std, np.float32)[None, :, None, None] * 255
    assert float((np.abs(found - wanted) * scale).mean()) < 1


def test_answers_from_the_processors_inputs(tmp_path: Path) -> None:
    """Frames of the tower's own size, which no resizing touches: the pixels are then the same bit for bit."""
    folder = tmp_path / "SmolVLM2"
    model = smol.make(folder, seed=11)
    settings = smol.processor_settings(smol.IMAGE, smol.IMAGE, 16)
    (folder / "processor_config.json").write_text(json.dumps(settings), "utf-8")
    processor = smol.video_processor(folder)
    export_bundle(folder, tmp_path / "bundle")
    assistant = g4v.load(tmp_path / "bundle", device="cpu")
    for number, question in enumerate(QUESTIONS * 2):
        film = tmp_path / f"{number}.mp4"
        pictures = smol.film(30 + number, seed=number, height=96, width=96)[:, : smol.IMAGE, : smol.IMAGE]
        save_video(film, np.ascontiguousarray(pictures), 5)
        decoded, info = read_video(film, 30 + number)
        given = smol.inputs(processor, question, decoded, info.fps)
        with torch.no_grad():
            found = model.generate(**given, max_new_tokens=16, do_sample=False)
        answer = assistant.chat().ask(question, film, max_new_tokens=16)
        wanted = found[0, given["input_ids"].shape[1] :].tolist()
        assert [token.id for token in answer.tokens] == wanted
