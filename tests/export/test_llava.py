"""LLaVA-NeXT-Video and Video-LLaVA checkpoints as bundles, against transformers: features, video tokens,
prompts, pixels and answers.

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
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.tokenizer import write_tokenizer
from g4v.export.verify.session import open_for_comparison
from g4v.model.plain_encoder import plain_encoder
from g4v.model.prompt import VIDEO_ID
from g4v.video import FrameSampling, read_video

from .. import llava_checkpoint as llava
from ..python.video_samples import REAL_FILMS, real_video

QUESTIONS = ("What moves here?", "where is it, and why?", "naïve 東京 12\n\n345", "Count to 10.")


@pytest.fixture(scope="module", params=llava.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def checkpoint(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava") / "LLaVA"
    llava.make(folder, kind, seed=7)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    out = checkpoint.parent / "bundle"
    export_bundle(checkpoint, out)
    return out


@pytest.fixture(scope="module")
def model(kind: str, checkpoint: Path) -> Any:
    return llava.classes(kind)[1].from_pretrained(checkpoint, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def assistant(bundle: Path) -> Iterator[Any]:
    yield g4v.load(bundle, device="cpu")


def largest(found: np.ndarray, wanted: torch.Tensor) -> float:
    """The largest difference, of the largest number."""
    difference = np.abs(found.reshape(wanted.shape) - wanted.numpy()).max()
    return float(difference / wanted.abs().max())


def check_hidden_states(folder: Path, kind: str, checkpoint: Path, frames: int = 3) -> None:
    """Features and video tokens of random pixels against transformers in float64."""
    model = llava.classes(kind)[1].from_pretrained(checkpoint, dtype=torch.float32).eval().double()
    size, layers = model.config.vision_config.image_size, model.config.vision_feature_layer
    pixels = np.random.default_rng().normal(size=(frames, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        found = model.model.get_video_features(torch.from_numpy(pixels).double()[None])
    wanted = [layers] if isinstance(layers, int) else layers
    features = torch.cat([found.hidden_states[layer] for layer in wanted], -1)
    if kind == llava.NEXT_VIDEO:
        features = features[:, 1:]
    tokens = found.pooler_output.flatten(0, -2)
    (made,) = open_for_comparison(folder, "encoder").run(None, {"pixel_values": pixels})
    assert largest(made, features) < 1e-5
    connector = open_for_comparison(folder, "abstractor")
    (of_reference,) = connector.run(None, {"features": features.float().numpy()})
    assert largest(of_reference, tokens) < 1e-5
    (of_made,) = connector.run(None, {"features": made})
    assert largest(of_made, tokens) < 2e-5  # both


def test_hidden_states_of_tower_and_connector(kind: str, bundle: Path, checkpoint: Path) -> None:
    check_hidden_states(bundle, kind, checkpoint)


CHANGES: list[tuple[str, dict[str, Any]]] = [
    (llava.NEXT_VIDEO, {"spatial_pool_mode": "max"}),
    (llava.NEXT_VIDEO, {"spatial_pool_mode": "conv", "vision_feature_layer": -1}),
    (llava.NEXT_VIDEO, {"spatial_pool_stride": 3, "multimodal_projector_bias": False}),
    (llava.NEXT_VIDEO, {"vision_feature_layer": [1, -2, 3], "projector_hidden_act": "quick_gelu"}),
    (llava.NEXT_VIDEO, {"vision_feature_layer": -3, "vision": {"hidden_act": "gelu", "image_size": 70}}),
    (llava.VIDEO_LLAVA, {"vision_feature_layer": 1, "projector_hidden_act": "gelu_pytorch_tanh"}),
    (llava.VIDEO_LLAVA, {"vision_feature_layer": [-1, -2], "vision_feature_select_strategy": "full"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind_of", "changes"), CHANGES)
def test_settings_of_tower_and_connector(kind_of: str, changes: dict[str, Any], tmp_path: Path) -> None:
    llava.make(tmp_path / "LLaVA", kind_of, seed=3, **changes)
    export_bundle(tmp_path / "LLaVA", tmp_path / "bundle", only=["encoder", "abstractor"])
    check_hidden_states(tmp_path / "bundle", kind_of, tmp_path / "LLaVA", 2)


def prompt_ids(opened: Checkpoint, question: str, frames: int) -> list[int]:
    """The ids of a first turn as the trainer makes them."""
    tokenizer = opened.tokenizer("decoder")
    encode = plain_encoder(tokenizer)
    ids = opened.prompt.opening_ids(encode)
    ids += opened.prompt.turn_ids(question, True, opened.video_tokens() * frames, encode)
    video = tokenizer.convert_tokens_to_ids("<video>")
    return [video if token == VIDEO_ID else token for token in ids]


def own_inputs(checkpoint: Path, question: str, film: Path) -> dict[str, torch.Tensor]:
    """The inputs of transformers' model as g4v makes them: for machines without torchvision."""
    opened = Checkpoint.open(checkpoint)
    frames, _ = read_video(film, FrameSampling(**opened.frame_sampling()))
    mean, std = opened.image_statistics()
    pixels = _core.preprocess(frames, opened.image_size(), mean, std, **opened.resizing())
    ids = prompt_ids(opened, question, len(frames))
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.int64),
        "pixel_values_videos": torch.from_numpy(pixels)[None],
    }


def generated(model: Any, given: dict[str, torch.Tensor], most: int) -> list[int]:
    with torch.no_grad():
        found = model.generate(**given, max_new_tokens=most, do_sample=False)
    return found[0, given["input_ids"].shape[1] :].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 50, 10))
def test_greedy_answers(start: int, checkpoint: Path, model: Any, assistant: Any, tmp_path: Path) -> None:
    """100 prompts with a video, of both layouts."""
    for number in range(start, start + 10):
        rng = np.random.default_rng(number)
        film = tmp_path / f"{number}.mp4"
        pictures = llava.film(int(rng.integers(1, 30)), seed=number)
        save_video(film, pictures, int(rng.integers(1, 12)))
        question = f"{QUESTIONS[number % len(QUESTIONS)]} {rng.integers(1000)}"
        given = own_inputs(checkpoint, question, film)
        answer = assistant.chat().ask(question, film, max_new_tokens=12)
        assert [token.id for token in answer.tokens] == generated(model, given, 12)
        assert answer.prompt_tokens + answer.cached_tokens == len(given["input_ids"][0])


def test_answers_depend_on_the_video(assistant: Any) -> None:
    answers = {
        assistant.chat().ask("What?", llava.film(3, seed=seed), max_new_tokens=12).text for seed in range(4)
    }
    assert len(answers) > 1


def test_frames_that_are_seen_again_are_kept(assistant: Any) -> None:
    chat, first, second = assistant.chat(), llava.film(3, seed=1), llava.film(3, seed=2)
    chat.ask("What?", first, max_new_tokens=5)
    kept = chat.ask("And here?", np.concatenate([first[1:], second]), max_new_tokens=8)
    fresh = assistant.chat()
    fresh.ask("What?", first, max_new_tokens=5)
    again = fresh.ask("And here?", np.concatenate([first[1:], second]), max_new_tokens=8)
    assert again.text == kept.text


@pytest.mark.slow
@pytest.mark.parametrize("precision", [["int8"], ["int4"], ["encoder=int8", "abstractor=int8"]])
def test_rounded_weights(precision: list[str], checkpoint: Path, tmp_path: Path) -> None:
    words = ["--base", str(checkpoint), "--out", str(tmp_path / "out"), "--quiet"]
    for word in precision:
        words += ["--precision", word]
    assert main(words) == 0
    found = g4v.load(tmp_path / "out", device="cpu")
    assert found.chat().ask("What moves?", llava.film(4), max_new_tokens=4).new_tokens > 0


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["average", "max", "conv"])
def test_graphs_for_the_cuda_provider(pooling: str, tmp_path: Path) -> None:
    """In every type: compared with PyTorch, and every operator has a kernel there."""
    llava.make(tmp_path / "LLaVA", llava.NEXT_VIDEO, spatial_pool_mode=pooling)
    only = ["encoder", "abstractor"]
    for precision in ("fp16", "bf16", "fp32"):
        named = [f"{component}={precision}" for component in only]
        out = tmp_path / precision
        export_bundle(tmp_path / "LLaVA", out, only=only, targets=["cuda"], precision=named)


def test_what_the_manifest_says(kind: str, bundle: Path, assistant: Any) -> None:
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    encoder, connector = (manifest["components"][name] for name in ("encoder", "abstractor"))
    assert (encoder["flavour"], encoder["image_size"]) == ("clip", llava.IMAGE)
    assert (encoder["resampling"], encoder["shortest_edge"]) == ("bicubic", llava.IMAGE)
    assert encoder["tokens_per_frame"] == 16 + (kind == llava.VIDEO_LLAVA)
    assert (encoder["mean"], encoder["std"]) == (llava.MEAN, llava.STD)
    assert (connector["kind"], connector["output_tokens"]) == ("mlp", llava.TOKENS[kind])
    assert manifest["frame_sampling"] == {"frames": 8, "rule": "floor"}
    assert assistant.info["frame_sampling"] == {"rule": "floor"}
    prompt = manifest["prompt"]
    assert (prompt["video_prefix"], prompt["video_suffix"], prompt["assistant_prefix"]) == (
        "USER: ",
        "\n",
        " ASSISTANT:",
    )


def test_names_of_tensors_inside_the_model(kind: str, checkpoint: Path, tmp_path: Path) -> None:
    """Those that published files have, and those of the modules of transformers, give the same parts."""
    from safetensors.torch import load_file, save_file

    for file in checkpoint.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = {}
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        new = f"model.{name}".replace("model.language_model.model.", "model.language_model.")
        tensors[new.replace("model.language_model.lm_head.", "lm_head.")] = tensor
    assert not any(name.startswith("language_model.") for name in tensors)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    one, other = Checkpoint.open(checkpoint), Checkpoint.open(tmp_path)
    for part in ("encoder", "abstractor"):
        first, second = (getattr(opened, part)().state_dict() for opened in (one, other))
        assert list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
    head = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(one.llm().read(head), other.llm().read(head))


@pytest.mark.slow
@pytest.mark.parametrize("style", ["legacy", "first", "bytes"])
def test_prompts_of_other_templates(style: str, tmp_path: Path) -> None:
    """With and without a space behind special tokens; answers that a token ends; no system text."""
    templates = {"legacy": llava.INST, "first": llava.VICUNA, "bytes": llava.CHATML}
    llava.make(tmp_path / "LLaVA", llava.NEXT_VIDEO, style=style, template=templates[style])
    prompt = Checkpoint.open(tmp_path / "LLaVA").prompt
    assert prompt.space_after_video == (style == "legacy")
    assert prompt.space_after_bos == (True if style == "first" else None)
    lead = {"legacy": "[INST] ", "first": "USER: ", "bytes": "<|im_start|>user\n"}[style]
    assert prompt.no_system + prompt.video_prefix == lead
    check_prompts(tmp_path / "LLaVA", tmp_path, llava.NEXT_VIDEO, [1, 2, 5])


@pytest.mark.slow
def test_a_mistral_model(tmp_path: Path) -> None:
    folder = tmp_path / "LLaVA"
    text = {"model_type": "mistral", "sliding_window": None}
    model = llava.make(folder, llava.NEXT_VIDEO, seed=5, template=llava.INST, text=text)
    export_bundle(folder, tmp_path / "bundle")
    film = tmp_path / "film.mp4"
    save_video(film, llava.film(9, seed=4), 5)
    found = g4v.load(tmp_path / "bundle", device="cpu").chat().ask("What?", film, max_new_tokens=12)
    assert [token.id for token in found.tokens] == generated(model, own_inputs(folder, "What?", film), 12)


def test_without_a_chat_template_the_prompt_is_that_of_the_cards(kind: str, tmp_path: Path) -> None:
    llava.make(tmp_path / "LLaVA", kind, template=None)
    check_prompts(tmp_path / "LLaVA", tmp_path, kind, [3], template=llava.VICUNA)


def test_a_system_text(checkpoint: Path, kind: str) -> None:
    opened = Checkpoint.open(checkpoint, Overrides(system="Be brief.\n"))
    made = llava.processor(checkpoint, kind)
    wanted = llava.inputs(made, "What?", llava.film(2), "Be brief.\n")["input_ids"][0].tolist()
    assert prompt_ids(opened, "What?", 2) == wanted


# Against the processor.


def core_ids(opened: Checkpoint, tokenizer: Any, question: str, frames: int) -> list[int]:
    """The ids of a first turn as the core makes them."""
    prompt = json.dumps(opened.prompt.to_manifest())
    video = opened.tokenizer("decoder").convert_tokens_to_ids("<video>")
    before, after = _core.testing.turn_ids(prompt, tokenizer, "", question, True)
    opening = _core.testing.opening_ids(prompt, tokenizer, "")
    return [*opening, *before, *[video] * (opened.video_tokens() * frames), *after]


def check_prompts(
    folder: Path, work: Path, kind: str, counts: list[int], template: str | None = None
) -> None:
    """The core's tokens are the trainer's, on every machine; and those of the processor, where that runs."""
    opened = Checkpoint.open(folder)
    write_tokenizer(folder, work / "written.json")
    tokenizer = _core.Tokenizer((work / "written.json").read_text("utf-8"))
    questions = {count: QUESTIONS[count % len(QUESTIONS)] for count in counts}
    found = {count: prompt_ids(opened, question, count) for count, question in questions.items()}
    for count, question in questions.items():
        assert core_ids(opened, tokenizer, question, count) == found[count]
    made = llava.processor(folder, kind)
    if template is not None:
        made.chat_template = template
    for count, question in questions.items():
        frames = np.zeros((count, 12, 16, 3), np.uint8)
        assert found[count] == llava.inputs(made, question, frames)["input_ids"][0].tolist()


@pytest.mark.slow
def test_token_ids_of_prompts_of_1_to_64_frames(kind: str, checkpoint: Path, tmp_path: Path) -> None:
    check_prompts(checkpoint, tmp_path, kind, list(range(1, 65)))


def pillow(frame: np.ndarray, shortest: int, square: int) -> np.ndarray:
    """Resized by Pillow, then the middle, as torchvision's center_crop takes it; black around it."""
    from PIL import Image

    height, width = frame.shape[:2]
    if width <= height:
        size = shortest, int(shortest * height / width)
    else:
        size = int(shortest * width / height), shortest
    image = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    for axis in (0, 1):
        missing = max(square - image.shape[axis], 0)
        pad = [(0, 0)] * 3
        pad[axis] = missing // 2, (missing + 1) // 2
        image = np.pad(image, pad)
        start = int((image.shape[axis] - square) / 2)
        image = np.take(image, range(start, start + square), axis)
    return image


@pytest.mark.parametrize("shortest", [56, 57, 80, 41, 7])
def test_pixels_are_pillows_bit_for_bit(shortest: int) -> None:
    rng = np.random.default_rng()
    for shape in [(56, 56), (48, 64), (91, 60), (30, 301), (301, 30), (57, 200), (1, 5)]:
        frames = rng.integers(0, 256, (2, *shape, 3)).astype(np.uint8)
        found = _core.preprocess(frames, 56, [0.0] * 3, [1.0] * 3, shortest_edge=shortest)
        wanted = np.stack([pillow(frame, shortest, 56) for frame in frames])
        assert np.array_equal((found * 255).round().astype(np.uint8).transpose(0, 2, 3, 1), wanted), shape


def test_frames_that_are_too_narrow_are_refused() -> None:
    frames = np.zeros((1, 1, 60_000, 3), np.uint8)
    with pytest.raises(g4v.VideoError, match="frames of 60000x1 are too narrow to be resized"):
        _core.preprocess(frames, 56, [0.0] * 3, [1.0] * 3, shortest_edge=336)


@pytest.mark.slow
@pytest.mark.parametrize("shortest", [llava.IMAGE, 80, 40])
@pytest.mark.parametrize("shape", [(48, 64), (90, 61), (300, 100), (56, 56)])
def test_pixels(shape: tuple[int, int], shortest: int, tmp_path: Path) -> None:
    """Frames that are wide, tall, cropped, and too small for the square, which is then black around them."""
    folder = tmp_path / "LLaVA"
    llava.make(folder, llava.VIDEO_LLAVA)
    llava.write_processor(folder, llava.VIDEO_LLAVA, shortest=shortest)
    frames = np.random.default_rng().integers(0, 256, (2, *shape, 3)).astype(np.uint8)
    wanted = llava.inputs(llava.processor(folder, llava.VIDEO_LLAVA), "What?", frames)
    check_pixels(Checkpoint.open(folder), frames, wanted["pixel_values_videos"][0].numpy(), 2.0)


def check_pixels(opened: Checkpoint, frames: np.ndarray, wanted: np.ndarray, most: float) -> None:
    """most: mean difference, of 255; torchvision resizes with other roundings than Pillow."""
    mean, std = opened.image_statistics()
    found = _core.preprocess(frames, opened.image_size(), mean, std, **opened.resizing())
    assert found.shape == wanted.shape
    scale = np.array(std, np.float32)[None, :, None, None] * 255
    assert float((np.abs(found - wanted) * scale).mean()) < most


@pytest.mark.parametrize("name", REAL_FILMS)
def test_pixels_of_real_films(name: str, kind: str, checkpoint: Path) -> None:
    opened = Checkpoint.open(checkpoint)
    frames, _ = read_video(real_video(name), FrameSampling(**opened.frame_sampling()))
    wanted = llava.inputs(llava.processor(checkpoint, kind), "What?", frames)
    check_pixels(opened, frames, wanted["pixel_values_videos"][0].numpy(), 1.0)


@pytest.mark.slow
def test_answers_from_the_processors_inputs(kind: str, tmp_path: Path) -> None:
    """Frames of the tower's own size, which no resizing touches: the pixels are then the same bit for bit."""
    folder = tmp_path / "LLaVA"
    model = llava.make(folder, kind, seed=11)
    processor = llava.processor(folder, kind)
    export_bundle(folder, tmp_path / "bundle")
    assistant = g4v.load(tmp_path / "bundle", device="cpu")
    for number, question in enumerate(QUESTIONS * 2):
        pictures = llava.film(1 + number, seed=number, height=96, width=96)
        frames = np.ascontiguousarray(pictures[:, : llava.IMAGE, : llava.IMAGE])
        given = dict(llava.inputs(processor, question, frames))
        answer = assistant.chat().ask(question, frames, max_new_tokens=16)
        assert [token.id for token in answer.tokens] == generated(model, given, 16)


def test_frames_are_taken_as_the_processor_takes_them(kind: str, checkpoint: Path) -> None:
    from transformers.video_utils import VideoMetadata

    made = llava.processor(checkpoint, kind).video_processor
    for count, frames, rate in ((30, 8, 5.0), (8, 8, 1.0), (97, 13, 24.0), (301, 64, 29.97)):
        about = VideoMetadata(total_num_frames=count, fps=rate, duration=count / rate)
        wanted = made.sample_frames(about, num_frames=frames).tolist()
        assert FrameSampling(frames, rule="floor").choose(count, rate) == wanted
        assert _core.testing.floor_frames(count, frames) == wanted
        by_time = made.sample_frames(about, fps=0.7).tolist()
        assert FrameSampling(64, 0.7, rule="floor").choose(count, rate) == by_time
