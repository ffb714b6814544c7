"""What of a SmolVLM2 checkpoint is refused, by name and before any work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError

from ... import smolvlm_checkpoint as smol

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smolvlm") / "SmolVLM2"
    smol.make(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "SmolVLM2"))


def change(folder: Path, name: str, edit: Change) -> None:
    values = json.loads((folder / name).read_text("utf-8"))
    edit(values)
    (folder / name).write_text(json.dumps(values), "utf-8")


def refused(folder: Path) -> str:
    out = folder.parent / "out"
    with pytest.raises(ExportError) as caught:
        export_bundle(folder, out)
    assert not list(folder.parent.glob("out*")), "nothing is half written"
    (line,) = str(caught.value).splitlines()
    return line


VISION: list[tuple[str, Any, str]] = [
    ("model_type", "siglip2_vision_model", "vision_config.model_type is 'siglip2_vision_model'"),
    ("hidden_act", "relu", "vision_config.hidden_act 'relu' is not supported"),
    ("num_channels", 1, "vision_config.num_channels is 1"),
    ("patch_size", 0, "vision_config.patch_size is 0"),
    ("hidden_size", 33, "vision_config.hidden_size is 33, no multiple"),
    ("num_hidden_layers", 10**6, "at most 1000 are read"),
    ("image_size", [64, 64], "vision_config.image_size is [64, 64]"),
    ("use_head", True, "vision_config.use_head = True is not supported"),
    ("layer_norm_eps", 2.0, "vision_config.layer_norm_eps is 2.0"),
]
TEXT: list[tuple[str, Any, str]] = [
    ("model_type", "qwen2", "text_config.model_type is 'qwen2'"),
    ("qk_layer_norms", True, "text_config.qk_layer_norms = True"),
    ("use_resampler", True, "text_config.use_resampler = True"),
    ("pixel_shuffle_factor", 3, "pixel_shuffle_factor is 3, and scale_factor 2"),
    ("query_pre_attn_scalar", 4, "query_pre_attn_scalar = 4"),
    ("hidden_size", 96, "misshapen tensor model.connector.modality_projection.proj.weight"),
]
WHOLE: list[tuple[str, Any, str]] = [
    ("scale_factor", 0, "scale_factor is 0"),
    ("scale_factor", 3, "max_image_size is 64 pixels, which are 8 patches of 8, no multiple of 3"),
    ("scale_factor", 4, "image_seq_len is 16, and the connector makes 4"),
    ("image_token_id", 7, "image_token_id is 7, and '<image>' is token"),
    ("image_token_id", 512, "image_token_id is 512, and text_config has 512 tokens"),
    ("image_grid_pinpoints", [[1, 2]], "image_grid_pinpoints = [[1, 2]] is not supported"),
    ("vision_config", None, "vision_config is missing"),
    ("text_config", 3, "text_config is not an object"),
    ("model_type", "idefics3", "model_type is 'idefics3'"),
    ("architectures", ["SmolVLMForConditionalGeneration", "Other"], "architectures is"),
]
VIDEO: list[tuple[str, Any, str]] = [
    ("resample", 2, "resample is 2: only 1 (lanczos), 3 (bicubic) can be used"),
    ("do_center_crop", True, "do_center_crop = True is not supported"),
    ("do_resize", False, "do_resize = False is not supported, only true"),
    ("rescale_factor", 1.0, "rescale_factor = 1.0 is not supported, only 1/255"),
    ("size", {"height": 4, "width": 4}, "size = {'height': 4, 'width': 4} is not supported"),
    ("max_image_size", {"longest_edge": 72}, "max_image_size is 72 pixels, which are 9 patches of 8"),
    ("max_image_size", {"longest_edge": 10**6}, "not a number from 1 to 4096"),
    ("image_mean", [0.5], "image_mean is [0.5], not 3 numbers"),
    ("image_std", [0.5, 0.5, 0], "image_std is [0.5, 0.5, 0], not 3 numbers"),
    ("video_sampling", {"fps": 0, "max_frames": 4}, "video_sampling.fps is 0"),
    ("video_sampling", {"fps": 1, "max_frames": 0}, "video_sampling.max_frames is 0"),
    ("video_sampling", {"fps": 1, "every": 2}, "video_sampling = {'fps': 1, 'every': 2}"),
    ("video_processor_type", "LlavaNextVideoProcessor", "video_processor_type is 'LlavaNext"),
]


@pytest.mark.parametrize(("key", "value", "message"), VISION)
def test_the_tower(key: str, value: Any, message: str, folder: Path) -> None:
    change(folder, "config.json", lambda config: config["vision_config"].update({key: value}))
    assert message in refused(folder)


@pytest.mark.parametrize(("key", "value", "message"), TEXT)
def test_the_language_model(key: str, value: Any, message: str, folder: Path) -> None:
    change(folder, "config.json", lambda config: config["text_config"].update({key: value}))
    assert message in refused(folder)


@pytest.mark.parametrize(("key", "value", "message"), WHOLE)
def test_the_whole(key: str, value: Any, message: str, folder: Path) -> None:
    change(folder, "config.json", lambda config: config.update({key: value}))
    assert message in refused(folder)


@pytest.mark.parametrize(("key", "value", "message"), VIDEO)
def test_the_video_processor(key: str, value: Any, message: str, folder: Path) -> None:
    change(folder, "processor_config.json", lambda whole: whole["video_processor"].update({key: value}))
    assert message in refused(folder)


def test_the_processor_as_a_whole(folder: Path) -> None:
    change(folder, "processor_config.json", lambda whole: whole.update(image_seq_len=17))
    assert "image_seq_len is 17, and the connector makes 16 tokens of a frame" in refused(folder)
    change(folder, "processor_config.json", lambda whole: whole.update(image_seq_len=16, audio_tokens=2))
    assert "audio_tokens = 2 is not supported" in refused(folder)
    (folder / "processor_config.json").unlink()
    assert "none of processor_config.json" in refused(folder)


def test_older_files_of_the_processor_are_read(folder: Path) -> None:
    """The video processor's own file before that of images, and image_seq_len beside them."""
    whole = json.loads((folder / "processor_config.json").read_text("utf-8"))
    videos, images = whole.pop("video_processor"), whole.pop("image_processor")
    (folder / "processor_config.json").write_text(json.dumps(whole), "utf-8")
    images["video_sampling"] = {"fps": 2, "max_frames": 7, "video_size": {"longest_edge": 90}}
    (folder / "preprocessor_config.json").write_text(json.dumps(images), "utf-8")
    opened = Checkpoint.open(folder)
    assert opened.frame_sampling() == {"frames": 7, "fps": 2.0, "skip_seconds": 1.0}
    assert opened.resizing() == {"resampling": "lanczos", "longest_edge": 100}  # size goes before
    videos["resample"] = 3
    (folder / "video_preprocessor_config.json").write_text(json.dumps(videos), "utf-8")
    assert Checkpoint.open(folder).resizing()["resampling"] == "bicubic"


def test_tensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    connector = "model.connector.modality_projection.proj.weight"
    tensors[connector] = torch.zeros(47, 128)
    save_file(tensors, path)
    assert f"misshapen tensor {connector} ([47, 128], not [48, 128])" in refused(folder)
    del tensors[connector]
    save_file(tensors, path)
    assert f"missing tensor {connector}" in refused(folder)
    save_file({**tensors, "model.perceiver.weight": torch.zeros(1)}, path)
    assert "unexpected tensor model.perceiver.weight" in refused(folder)
    tensors[connector] = torch.full((48, 128), float("nan"))
    save_file(tensors, path)
    assert "not finite" in refused(folder)


def test_a_chat_template_of_another_model(folder: Path) -> None:
    template = "{% for m in messages %}{{ m['role'] + '> ' + m['content'][0]['text'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    assert "its chat template is not that of SmolVLM2: it writes 'user> What moves here?'" in refused(folder)
    own = (
        "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{{': '}}"
        "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}{% endif %}"
        "{% endfor %}<end_of_utterance>\n{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(own, "utf-8")
    assert Checkpoint.open(folder).prompt.user_prefix == "User: "


def test_the_tower_alone(folder: Path) -> None:
    tiny = Path(__file__).parents[3] / "python" / "g4v" / "checkpoints" / "tiny"
    with pytest.raises(ExportError, match="tower and connector of SmolVLM2 belong together"):
        Checkpoint.open(tiny, Overrides(vision=str(folder), mix=True))


def test_training_on_it(folder: Path, tmp_path: Path) -> None:
    """Of its tower alone: of the whole, see tests/python/test_train_published.py."""
    from g4v.train.bases import prepare_bases
    from g4v.train.errors import TrainingError
    from g4v.train.settings import Settings

    settings = Settings(encoder=str(folder), llm=str(folder), out=str(tmp_path / "out"))
    with pytest.raises(
        TrainingError, match="tower, connector and language model of SmolVLM2 belong together"
    ):
        prepare_bases(settings, True)
    assert not (tmp_path / "out").exists()


def test_a_template_of_another_name(folder: Path) -> None:
    with pytest.raises(ExportError, match="leave --template out"):
        Checkpoint.open(folder, Overrides(template="chatml"))


def test_other_tokens_that_end_an_answer_are_obeyed(folder: Path) -> None:
    change(folder, "generation_config.json", lambda values: values.update(eos_token_id=[2, 0]))
    prompt = Checkpoint.open(folder).prompt
    assert prompt.stop_ids == (0, 2) and prompt.turn_end_id not in prompt.stop_ids
    change(folder, "generation_config.json", lambda values: values.update(eos_token_id="x"))
    assert "eos_token_id is 'x'" in refused(folder)
