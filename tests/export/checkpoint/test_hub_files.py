"""Which files of a model on the hub are downloaded."""

import pytest

from g4v.model.bases.hub import choose_files

PIPELINE = (".", "unet", "vae", "text_encoder", "tokenizer", "scheduler")
ZEROSCOPE = """
    .gitattributes README.md model_index.json scheduler/scheduler_config.json text_encoder/config.json
    text_encoder/pytorch_model.bin tokenizer/merges.txt tokenizer/special_tokens_map.json
    tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json unet/diffusion_pytorch_model.bin
    vae/config.json vae/diffusion_pytorch_model.bin zs2_576w/open_clip_pytorch_model.bin
    zs2_576w/text2video_pytorch_model.pth
""".split()


def weights(files: str, variant: str | None = None, folders: tuple[str, ...] = (".",)) -> list[str]:
    return [name for name in choose_files(files.split(), variant, folders) if "config" not in name]


def test_zeroscope_as_it_is_published():
    left = {".gitattributes", *(name for name in ZEROSCOPE if name.startswith("zs2_576w/"))}
    assert choose_files(ZEROSCOPE, None, PIPELINE) == sorted(set(ZEROSCOPE) - left)


@pytest.mark.parametrize(
    ("files", "plain", "halves"),
    [
        ("model.safetensors pytorch_model.bin tf_model.h5", "model.safetensors", "model.safetensors"),
        ("model.safetensors model.fp16.safetensors", "model.safetensors", "model.fp16.safetensors"),
        # Numbers in full precision come before a format.
        ("pytorch_model.bin model.fp16.safetensors", "pytorch_model.bin", "model.fp16.safetensors"),
        ("model.fp16.safetensors config.json", "model.fp16.safetensors", "model.fp16.safetensors"),
        ("model.bf16.safetensors model.fp16.bin", "model.bf16.safetensors", "model.fp16.bin"),
        ("pytorch_model.bin pytorch_model.fp16.bin", "pytorch_model.bin", "pytorch_model.fp16.bin"),
        (
            "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors "
            "pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin",
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
        ),
        # The two spellings of a sharded variant.
        (
            "model.safetensors model.fp16-00001-of-00001.safetensors model.safetensors.index.fp16.json",
            "model.safetensors",
            "model.fp16-00001-of-00001.safetensors model.safetensors.index.fp16.json",
        ),
        (
            "model.safetensors model-00001-of-00001.fp16.safetensors model.fp16.safetensors.index.json",
            "model.safetensors",
            "model-00001-of-00001.fp16.safetensors model.fp16.safetensors.index.json",
        ),
        # An adapter beside a model is another thing, and so has weights of its own.
        (
            "model.safetensors adapter_model.bin",
            "adapter_model.bin model.safetensors",
            "adapter_model.bin model.safetensors",
        ),
    ],
)
def test_each_weight_is_taken_once(files, plain, halves):
    assert weights(files) == plain.split()
    assert weights(files, "fp16") == halves.split()


def test_the_chat_template_is_taken_where_it_has_a_file_of_its_own():
    assert "chat_template.jinja" in weights("model.safetensors tokenizer.json chat_template.jinja model.py")


def test_only_the_folders_that_are_read():
    files = "model.safetensors original/model.safetensors unet/diffusion_pytorch_model.bin modeling.py"
    assert weights(files) == ["model.safetensors"]
    assert weights(files, folders=(".", "unet")) == ["model.safetensors", "unet/diffusion_pytorch_model.bin"]
