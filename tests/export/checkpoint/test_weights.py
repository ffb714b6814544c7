"""Weights of encoder, abstractor and frame checker: from the files alone, and what is wrong is named."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel

from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError

PARTS = ("encoder", "abstractor", "frame_checker")
VISION = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture
def clip(copy):
    """The run with a CLIP tower in place of its encoder."""
    shutil.rmtree(copy / "encoder")
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(copy / "encoder")
    return copy


def edit(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})


def first_matrix(folder):
    return next(
        name for name, tensor in sorted(load_file(folder / "model.safetensors").items()) if tensor.ndim == 2
    )


@pytest.mark.parametrize("part", [*PARTS, "clip"])
class TestEveryWeightIsInTheFile:
    def prepared(self, part, copy, request):
        if part == "clip":
            return request.getfixturevalue("clip"), "encoder"
        return copy, part

    def refused(self, run, part, message):
        with pytest.raises(ExportError, match=message) as caught:
            getattr(Checkpoint.open(run), part)()
        assert "\n" not in str(caught.value)

    def test_missing(self, part, copy, request):
        run, part = self.prepared(part, copy, request)
        name = first_matrix(run / part)
        edit(run / part, lambda tensors: {k: v for k, v in tensors.items() if k != name})
        self.refused(run, part, f"(?i)missing .*{name.removeprefix('vision_model.')}")

    def test_left_over(self, part, copy, request):
        run, part = self.prepared(part, copy, request)
        edit(run / part, lambda tensors: tensors | {"lora.weight": torch.zeros(2)})
        self.refused(run, part, "(?i)unexpected .*lora.weight")

    def test_misshapen(self, part, copy, request):
        run, part = self.prepared(part, copy, request)
        name = first_matrix(run / part)
        edit(run / part, lambda tensors: tensors | {name: tensors[name][:-1].clone()})
        self.refused(run, part, name.removeprefix("vision_model."))


def test_the_text_half_may_be_left_over(copy):
    shutil.rmtree(copy / "encoder")
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40}
    CLIPModel(CLIPConfig(vision_config=VISION, text_config=text)).save_pretrained(copy / "encoder")
    positions = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    edit(copy / "encoder", lambda tensors: tensors | positions)
    Checkpoint.open(copy).encoder()
    edit(copy / "encoder", lambda tensors: tensors | {"vision_model.extra.weight": torch.zeros(2)})
    with pytest.raises(ExportError, match="unexpected tensor .*extra.weight"):
        Checkpoint.open(copy).encoder()
