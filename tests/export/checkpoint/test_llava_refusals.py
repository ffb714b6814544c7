"""What of a LLaVA-NeXT-Video or Video-LLaVA checkpoint is refused, by name and before any work."""

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

from ... import llava_checkpoint as llava
from ... import smolvlm_checkpoint as smol

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp("llava") / "LLaVA" for kind in llava.KINDS}
    for kind, folder in made.items():
        llava.make(folder, kind)
    return made


@pytest.fixture
def folder(originals: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals[llava.NEXT_VIDEO], tmp_path / "LLaVA"))


@pytest.fixture
def video_llava(originals: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals[llava.VIDEO_LLAVA], tmp_path / "VideoLLaVA"))


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
    ("model_type", "siglip_vision_model", "vision_config.model_type is 'siglip_vision_model': only 'clip_"),
    ("hidden_act", "relu", "vision_config.hidden_act 'relu' is not supported"),
    ("num_channels", 1, "vision_config.num_channels is 1"),
    ("patch_size", 0, "vision_config.patch_size is 0"),
    ("patch_size", 7, "patch_size is 14, and vision_config.patch_size 7"),
    ("image_size", 70, "crop_size is {'height': 56, 'width': 56}, and the tower sees 70 x 70 pixels"),
    ("num_hidden_layers", 10**6, "at most 1000 are read"),
    ("num_hidden_layers", 4, "missing tensor vision_tower.encoder.layers.3."),
    ("layer_norm_eps", 2.0, "vision_config.layer_norm_eps is 2.0"),
    ("use_head", True, "vision_config.use_head = True is not supported"),
]
TEXT: list[tuple[str, Any, str]] = [
    ("model_type", "qwen2", "text_config.model_type is 'qwen2': only 'llama' and 'mistral' can be used"),
    ("query_pre_attn_scalar", 4, "query_pre_attn_scalar = 4"),
    ("hidden_size", 96, "misshapen tensor multi_modal_projector.linear_1"),
    ("vocab_size", 7, "video_token_index is"),
]
WHOLE: list[tuple[str, Any, str]] = [
    ("vision_feature_layer", -5, "vision_feature_layer is -5, and the tower has 3 layers"),
    ("vision_feature_layer", [1, 4], "vision_feature_layer is [1, 4], and the tower has 3 layers"),
    ("vision_feature_layer", [], "vision_feature_layer is [], and the tower has 3 layers"),
    ("vision_feature_layer", [1, 2], "misshapen tensor multi_modal_projector.linear_1.weight"),
    ("vision_feature_select_strategy", "full", "vision_feature_select_strategy is 'full': the class token"),
    ("vision_feature_select_strategy", "cls_patch", "vision_feature_select_strategy"),
    ("projector_hidden_act", "relu", "projector_hidden_act is 'relu': only 'gelu'"),
    ("multimodal_projector_bias", False, "unexpected tensor multi_modal_projector.linear_1.bias"),
    ("spatial_pool_mode", "bilinear", "spatial_pool_mode is 'bilinear': only 'average', 'max', 'conv'"),
    ("spatial_pool_mode", "conv", "missing tensor vision_resampler.pool."),
    ("spatial_pool_stride", 0, "spatial_pool_stride is 0"),
    ("spatial_pool_stride", 5, "spatial_pool_stride is 5, and a frame has 4 x 4 patches"),
    ("video_token_index", 7, "video_token_index is 7, and '<video>' is token"),
    ("mm_resampler_type", "qformer", "mm_resampler_type = 'qformer' is not supported"),
    ("vision_config", None, "vision_config is missing"),
    ("text_config", 3, "text_config is not an object"),
    ("model_type", "llava_next", "model_type is 'llava_next', not 'llava_next_video'"),
    ("architectures", ["LlavaNextVideoForConditionalGeneration", "Other"], "architectures is"),
]
VIDEO: list[tuple[str, Any, str]] = [
    ("resample", 2, "resample is 2: only 1 (lanczos), 3 (bicubic) can be used"),
    ("do_center_crop", False, "do_center_crop = False is not supported with a shortest_edge"),
    ("do_resize", False, "do_resize = False is not supported, only true"),
    ("rescale_factor", 1.0, "rescale_factor = 1.0 is not supported, only 1/255"),
    ("size", {"longest_edge": 4}, "size = {'longest_edge': 4} is not supported"),
    ("size", {"height": 60, "width": 60}, "size is {'height': 60, 'width': 60}, and the tower sees 56 x 56"),
    ("size", {"shortest_edge": 10**6}, "size.shortest_edge is 1000000, not a number from 1 to 4096"),
    ("crop_size", {"height": 56, "width": 48}, "crop_size is {'height': 56, 'width': 48}, and the tower"),
    ("image_mean", [0.5], "image_mean is [0.5], not 3 numbers"),
    ("image_std", [0.5, 0.5, 0], "image_std is [0.5, 0.5, 0], not 3 numbers"),
    ("num_frames", 0, "num_frames is 0, not a number from 1 to 1024"),
    ("fps", -1, "fps is -1, not a number from 0 to 1000"),
    ("temporal_patch_size", 2, "temporal_patch_size = 2 is not supported"),
    ("video_processor_type", "SmolVLMVideoProcessor", "video_processor_type is 'SmolVLMVideoProcessor'"),
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


def test_the_processor_as_a_whole(folder: Path, video_llava: Path) -> None:
    name = "processor_config.json"
    change(folder, name, lambda whole: whole["video_processor"].update(fps=1, num_frames=8))
    assert "fps and num_frames are both there" in refused(folder)
    change(folder, name, lambda whole: whole["video_processor"].update(fps=None))
    change(folder, name, lambda whole: whole.update(audio_tokens=2))
    assert "audio_tokens = 2 is not supported" in refused(folder)
    (folder / name).unlink()
    assert "none of processor_config.json" in refused(folder)
    change(video_llava, name, lambda whole: whole.update(num_additional_image_tokens=0))
    assert "num_additional_image_tokens is 0, and the tower has 1 beside its patches" in refused(video_llava)


def test_video_llava_has_no_pooling(video_llava: Path) -> None:
    change(video_llava, "config.json", lambda config: config.update(spatial_pool_stride=2))
    assert "spatial_pool_stride = 2 is not supported" in refused(video_llava)


def test_a_sliding_window_of_mistral(folder: Path) -> None:
    mistral = {"model_type": "mistral", "attention_bias": None, "mlp_bias": None, "pretraining_tp": None}
    change(folder, "config.json", lambda config: config["text_config"].update(mistral, sliding_window=16))
    assert "sliding_window = 16 is not supported" in refused(folder)
    change(folder, "config.json", lambda config: config["text_config"].update(sliding_window=None))
    assert Checkpoint.open(folder).llm().config.num_key_value_heads == 1


def test_settings_of_the_processor_are_obeyed(folder: Path) -> None:
    name = "processor_config.json"
    opened = Checkpoint.open(folder)
    assert opened.frame_sampling() == {"frames": 8, "rule": "floor"}
    change(folder, name, lambda whole: whole["video_processor"].update(num_frames=12, resample=1))
    opened = Checkpoint.open(folder)
    assert opened.frame_sampling() == {"frames": 12, "rule": "floor"}
    assert opened.resizing() == {"resampling": "lanczos", "shortest_edge": 56}
    change(folder, name, lambda whole: whole["video_processor"].update(num_frames=None, fps=0.5))
    room = (4096 - 512) // llava.TOKENS[llava.NEXT_VIDEO]
    assert Checkpoint.open(folder).frame_sampling() == {"frames": room, "fps": 0.5, "rule": "floor"}
    square = {"size": {"height": 56, "width": 56}, "do_center_crop": False}
    change(folder, name, lambda whole: whole["video_processor"].update(square))
    assert Checkpoint.open(folder).resizing() == {"resampling": "lanczos"}


def test_older_files_of_the_processor_are_read(folder: Path) -> None:
    """As the published checkpoints have them: the settings of images serve for videos, too."""
    whole = json.loads((folder / "processor_config.json").read_text("utf-8"))
    videos = whole.pop("video_processor")
    del whole["image_processor"], videos["video_processor_type"]
    images = videos | {
        "image_processor_type": "LlavaNextImageProcessor",
        "do_pad": True,
        "image_mean": [0.1] * 3,
    }
    images |= {"image_grid_pinpoints": [[336, 672]], "aspect_ratio_setting": "anyres", "crop_size": 56}
    (folder / "processor_config.json").write_text(json.dumps(whole), "utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(images), "utf-8")
    assert Checkpoint.open(folder).image_statistics()[0] == [0.1] * 3
    (folder / "video_preprocessor_config.json").write_text(json.dumps(videos), "utf-8")
    assert Checkpoint.open(folder).image_statistics()[0] == llava.MEAN


def test_tensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "multi_modal_projector.linear_2.weight"
    save_file({**tensors, name: torch.zeros(47, 48)}, path)
    assert f"misshapen tensor {name} ([47, 48], not [48, 48])" in refused(folder)
    save_file({**tensors, "qformer.weight": torch.zeros(1)}, path)
    assert "unexpected tensor qformer.weight" in refused(folder)
    save_file({**tensors, f"model.{name}": torch.zeros(1)}, path)
    assert "are names of one tensor" in refused(folder)
    save_file({**tensors, name: torch.full((48, 48), float("nan"))}, path)
    assert "not finite" in refused(folder)
    path.unlink()
    assert "no model.safetensors" in refused(folder)


def test_towers_of_images_are_left_out(folder: Path, video_llava: Path) -> None:
    """What no video needs may be there or not; another layout's may not."""
    path = video_llava / "model.safetensors"
    tensors = {name: t for name, t in load_file(path).items() if not name.startswith("image_tower.")}
    save_file(tensors, path)
    assert Checkpoint.open(video_llava).tokens_per_frame() == 17
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tower = {name: t for name, t in tensors.items() if name.startswith("vision_tower.")}
    save_file(tensors | {name.replace("vision_", "image_"): t.clone() for name, t in tower.items()}, path)
    assert "unexpected tensor image_tower." in refused(folder)


TEMPLATES = [
    (llava.VICUNA.replace("<video>\\n", "").replace("<video>\n", ""), "it writes a text 0 times"),
    ("{{ raise_exception('no') }}", "it cannot be rendered for user: no"),
    (llava.VICUNA + "{{ strftime_now('%d %B') }}", "it writes the date of the day"),
]


@pytest.mark.parametrize(("template", "message"), TEMPLATES)
def test_a_chat_template_of_another_model(template: str, message: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    assert message in refused(folder)


def test_the_tower_alone(folder: Path, tmp_path: Path) -> None:
    tiny = Path(__file__).parents[3] / "python" / "g4v" / "checkpoints" / "tiny"
    with pytest.raises(ExportError, match="tower and connector of LLaVA belong together"):
        Checkpoint.open(tiny, Overrides(vision=str(folder), mix=True))
    smol.make(tmp_path / "SmolVLM2")
    with pytest.raises(ExportError, match="trained with another"):
        Checkpoint.open(folder, Overrides(vision=str(tmp_path / "SmolVLM2")))


def test_a_template_of_another_name(folder: Path) -> None:
    with pytest.raises(ExportError, match="leave --template out"):
        Checkpoint.open(folder, Overrides(template="chatml"))


def test_tokens_that_end_an_answer_are_obeyed(folder: Path) -> None:
    change(folder, "generation_config.json", lambda values: values.update(eos_token_id=[2, 5]))
    prompt = Checkpoint.open(folder).prompt
    assert (prompt.turn_end_id, prompt.stop_ids) == (2, (5,))
