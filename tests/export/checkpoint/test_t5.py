"""What is refused of T5's and UMT5's folders, by name and before any work."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from g4v.export.checkpoint import t5
from g4v.export.checkpoint.captions import read_captions
from g4v.export.errors import ExportError

from ...t5_models import make_encoder

# As published: LTX-Video's T5-XXL and Wan 2.1's UMT5-XXL.
T5_XXL = {
    "architectures": ["T5EncoderModel"], "classifier_dropout": 0.0, "d_ff": 10240, "d_kv": 64,
    "d_model": 4096, "decoder_start_token_id": 0, "dense_act_fn": "gelu_new", "dropout_rate": 0.1,
    "eos_token_id": 1, "feed_forward_proj": "gated-gelu", "initializer_factor": 1.0,
    "is_encoder_decoder": True, "is_gated_act": True, "layer_norm_epsilon": 1e-06, "model_type": "t5",
    "num_decoder_layers": 24, "num_heads": 64, "num_layers": 24, "output_past": True, "pad_token_id": 0,
    "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False, "torch_dtype": "float32", "transformers_version": "4.47.1",
    "use_cache": True, "vocab_size": 32128,
}  # fmt: skip
UMT5_XXL = T5_XXL | {
    "architectures": ["UMT5EncoderModel"], "model_type": "umt5", "scalable_attention": True,
    "tokenizer_class": "T5Tokenizer", "vocab_size": 256384, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    make_encoder("t5").save_pretrained(tmp_path)
    return tmp_path


def config(folder):
    return json.loads((folder / "config.json").read_text("utf-8"))


def refused(message, function, *arguments):
    with pytest.raises(ExportError, match=message) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [T5_XXL, UMT5_XXL])
def test_published_configurations_are_read(values, tmp_path):
    assert t5.is_t5(values)
    t5.check_t5(tmp_path / "config.json", values)
    assert not t5.is_t5({"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "not T5EncoderModel or UMT5EncoderModel"),
        ({"architectures": "T5EncoderModel"}, "not T5EncoderModel or UMT5EncoderModel"),
        ({"model_type": "umt5"}, "has the model_type 't5', not 'umt5'"),
        ({"d_model": None}, "d_model is None"),
        ({"d_model": 10**9}, "d_model"),
        ({"num_layers": 10**6}, "num_layers"),
        ({"num_heads": 0}, "num_heads"),
        ({"num_heads": True}, "num_heads"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon"),
        ({"feed_forward_proj": "gated-silu"}, "feed_forward_proj 'gated-silu' is not supported"),
        ({"feed_forward_proj": ["relu"]}, "feed_forward_proj"),
        ({"dense_act_fn": "relu"}, "dense_act_fn is 'relu'"),
        ({"is_gated_act": False}, "is_gated_act"),
        ({"is_decoder": True}, "is_decoder"),
        ({"relative_attention_num_buckets": 2}, "relative_attention_num_buckets"),
        ({"relative_attention_max_distance": 8}, "relative_attention_max_distance"),
    ],
)
def test_keys_of_the_configuration(change, message, tmp_path):
    refused(message, t5.check_t5, tmp_path / "config.json", T5_XXL | change)


@pytest.mark.parametrize("key", ["vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"])
def test_sizes_are_needed(key, tmp_path):
    values = {name: value for name, value in T5_XXL.items() if name != key}
    refused(f"{key} is missing", t5.check_t5, tmp_path / "config.json", values)


def test_tensors(folder):
    path = folder / "model.safetensors"
    whole = load_file(path)

    def written(change):
        tensors = dict(whole)
        change(tensors)
        save_file(tensors, path)

    values = config(folder)
    some = "encoder.block.1.layer.0.SelfAttention.q.weight"
    written(lambda tensors: tensors.pop(some))
    refused(some, t5.open_t5, folder, values)
    written(lambda tensors: tensors.update({"decoder.final_layer_norm.weight": torch.ones(48)}))
    refused("decoder.final_layer_norm.weight", t5.open_t5, folder, values)
    written(lambda tensors: tensors.update({some: torch.ones(3, 48)}))
    refused(some, t5.open_t5, folder, values)
    # T5 has these in its first layer alone.
    more = some.replace("q.weight", "relative_attention_bias.weight")
    written(lambda tensors: tensors.update({more: torch.ones(32, 5)}))
    refused("relative_attention_bias", t5.open_t5, folder, values)
    written(lambda tensors: tensors.update({some: torch.full((40, 48), float("nan"))}))
    refused(some, t5.load_t5, t5.open_t5(folder, values))
    (one,) = {"shared.weight", "encoder.embed_tokens.weight"} & set(whole)
    other = ({"shared.weight", "encoder.embed_tokens.weight"} - {one}).pop()
    written(lambda tensors: tensors.update({other: whole[one] + 1}))
    refused("are names of one tensor", t5.load_t5, t5.open_t5(folder, values))


def test_lengths_and_masks(tmp_path):
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "tokenizer").mkdir()

    def captions(values, pipeline="TextToVideoSDPipeline", **settings):
        shutil.rmtree(tmp_path / "unet", ignore_errors=True)
        shutil.rmtree(tmp_path / "transformer", ignore_errors=True)
        denoiser = tmp_path / ("transformer" if pipeline == "WanPipeline" else "unet")
        denoiser.mkdir()
        (denoiser / "config.json").write_text("{}", "utf-8")
        (tmp_path / "text_encoder" / "config.json").write_text(json.dumps(values), "utf-8")
        (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}), "utf-8")
        return tuple(read_captions(tmp_path))

    clip = {"model_type": "clip_text_model", "max_position_embeddings": 77}
    assert captions(clip) == (77, False, False)
    assert captions(clip, model_max_length=16) == (16, False, False)
    assert captions(clip, model_max_length=1e30) == (77, False, False)
    assert captions(T5_XXL, model_max_length=128) == (128, False, False)
    assert captions(T5_XXL, model_max_length=int(1e30)) == captions(T5_XXL) == (512, False, False)
    assert captions(T5_XXL | {"use_attention_mask": True}, model_max_length=64) == (64, True, False)
    assert captions(UMT5_XXL, "WanPipeline", model_max_length=77) == (512, True, True)
    assert captions(clip, "WanPipeline") == (77, False, False), "its graph has no mask"
    refused("at most 4096", lambda: captions(T5_XXL, model_max_length=5000))
    refused("use_attention_mask", lambda: captions(T5_XXL | {"use_attention_mask": 1}))
