"""The graphs of T5's and UMT5's encoders against transformers in float64."""

import json

import numpy as np
import onnx
import pytest
import torch

from g4v.export.checkpoint import t5
from g4v.export.checkpoint.mapped import is_mapped
from g4v.export.components.lowerings import lowering_for
from g4v.export.components.t5 import distance_bias, export_t5
from g4v.export.graph.cpu import CPU
from g4v.export.graph.cuda_kernels import check_kernels
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.standard import StandardLowering
from g4v.export.passes.keep_in_float32 import measure_graph
from g4v.export.verify.comparison import (
    BFLOAT16_TOLERANCE,
    FLOAT16_TOLERANCE,
    INT8_NORM_TOLERANCE,
    verify_text_encoder,
)
from g4v.export.verify.half_precision import half_type
from g4v.export.verify.session import open_session

from ...t5_models import make_encoder

LENGTH = 200  # beyond the distances that have buckets of their own
KINDS = {
    "t5, relu": ("t5", {"feed_forward_proj": "relu"}),
    "t5": ("t5", {}),
    "umt5": ("umt5", {}),
    "other buckets": ("umt5", {"relative_attention_num_buckets": 12, "relative_attention_max_distance": 20}),
    "small distance": ("t5", {"relative_attention_max_distance": 9, "layer_norm_epsilon": 0.1}),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_equal_to_transformers(name, masked, tmp_path):
    kind, changes = KINDS[name]
    model = make_encoder(kind, seed=np.random.SeedSequence().entropy % 2**31, **changes)
    for lowering in (CPU, StandardLowering(), lowering_for("text_encoder", "cuda", "fp32")):
        files = export_t5(model, tmp_path, LENGTH, masked, lowering=lowering)
        assert files == ["text_encoder.onnx", "text_encoder.data"]
        assert verify_text_encoder(model, tmp_path, length=LENGTH) < 1e-5, lowering


@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_padding_does_not_count(kind, tmp_path):
    """With a mask the states of a text are those of the text alone, whatever the padding is."""
    model = make_encoder(kind)
    export_t5(model, tmp_path, LENGTH, masked=True)
    session = open_session(tmp_path / "text_encoder.onnx", as_written=False)
    ids = np.random.default_rng(2).integers(300, size=(2, 40))
    ids[1, :25] = ids[0, :25]
    mask = (np.arange(40) < 25).astype(np.int64)[None].repeat(2, 0)
    (padded,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    (alone,) = session.run(None, {"input_ids": ids[:1, :25], "attention_mask": mask[:1, :25]})
    assert np.array_equal(padded[0, :25], padded[1, :25])
    assert np.abs(padded[0, :25] - alone[0]).max() < 1e-5
    (unmasked,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(mask)})
    assert np.abs(unmasked[0, :25] - alone[0]).max() > 1e-2, "the mask counts"


@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_the_buckets_of_distances(kind):
    """Against transformers' own, over every distance of long texts and many settings."""
    for buckets in (4, 5, 8, 12, 32, 64):
        for most in (17, 20, 100, 128, 1000):
            if most <= buckets // 4:
                continue
            model = make_encoder(
                kind, relative_attention_num_buckets=buckets, relative_attention_max_distance=most
            )
            attention = model.encoder.block[0].layer[0].SelfAttention
            found = distance_bias(attention, 700)
            wanted = attention.compute_bias(700, 700)[0]  # [H, query, key]
            places = torch.arange(700)
            assert torch.equal(found[:, places[None] - places[:, None] + 699], wanted)


def test_sixteen_bits(tmp_path):
    for kind in ("t5", "umt5"):
        model = make_encoder(kind)
        for precision, most in (("fp16", FLOAT16_TOLERANCE), ("bf16", BFLOAT16_TOLERANCE)):
            for target in ("cuda", "tensorrt-rtx"):
                export_t5(
                    model, tmp_path, LENGTH, True, lowering=lowering_for("text_encoder", target, precision)
                )
                assert verify_text_encoder(model, tmp_path, length=LENGTH) < most
                if target == "cuda":
                    check_kernels(OnnxFile(tmp_path / "text_encoder.onnx"))


def test_sums_beyond_float16(tmp_path):
    """As those of T5-XXL: the sums of the layers are float32 in a float16 graph, and what else would overflow
    is found on real inputs and kept in float32.
    """
    model = make_encoder("t5")
    with torch.no_grad():
        for block in model.encoder.block:
            block.layer[1].DenseReluDense.wi_1.weight.mul_(3e3)
            block.layer[1].DenseReluDense.wo.weight.mul_(60)
    lowering = lowering_for("text_encoder", "tensorrt-rtx", "fp16")
    export_t5(model, tmp_path, LENGTH, False, lowering=lowering)
    feeds = [{"input_ids": np.random.default_rng(i).integers(300, size=(2, 50))} for i in range(3)]
    measured = measure_graph(tmp_path, "text_encoder", feeds, half=True)
    assert max(measured.largest.values()) > 65504 and measured.kept
    assert verify_text_encoder(model, tmp_path, feeds=feeds, length=LENGTH) < FLOAT16_TOLERANCE


def test_int8(tmp_path):
    for kind in ("t5", "umt5"):
        model = make_encoder(kind)
        export_t5(model, tmp_path, LENGTH, True, lowering=lowering_for("text_encoder", "cpu", "int8"))
        error = verify_text_encoder(model, tmp_path, length=LENGTH)
        assert 1e-4 < error < INT8_NORM_TOLERANCE
        products = [node.op_type for node in OnnxFile(tmp_path / "text_encoder.onnx").graph.node]
        assert products.count("MatMulIntegerToFloat") == 4 * 2  # the first layer is float32


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_a_block_of_the_width_of_xxl(kind, tmp_path):
    model = make_encoder(kind, d_model=4096, d_kv=64, d_ff=10240, num_heads=64, num_layers=1)
    export_t5(model, tmp_path, 64, True)
    assert verify_text_encoder(model, tmp_path, length=64) < 1e-5
    assert all(weight.dtype == torch.float32 for weight in model.parameters()), "as it was"


def test_loaded_as_transformers_loads_it(tmp_path):
    """Sharded files, in float16, with the embedding under either name or both."""
    from safetensors.torch import load_file, save_file

    for kind in ("t5", "umt5"):
        folder = tmp_path / kind
        model = make_encoder(kind)
        model.half().save_pretrained(folder, max_shard_size="40KB")
        assert len(list(folder.glob("*.safetensors"))) > 3
        values = json.loads((folder / "config.json").read_text("utf-8"))
        t5.check_t5(folder / "config.json", values)
        found = t5.load_t5(t5.open_t5(folder, values))
        ids = torch.randint(300, (2, 9))
        with torch.no_grad():
            assert torch.equal(found.float()(ids).last_hidden_state, model.float()(ids).last_hidden_state)
        tensors = {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}
        (embedding,) = {"shared.weight", "encoder.embed_tokens.weight"} & set(tensors)
        other = ({"shared.weight", "encoder.embed_tokens.weight"} - {embedding}).pop()
        for names in ([other], [embedding, other]):
            again = tmp_path / f"{kind}-{len(names)}"
            again.mkdir()
            kept = {k: v for k, v in tensors.items() if k != embedding}
            save_file(
                kept | {name: tensors[embedding].clone() for name in names}, again / "model.safetensors"
            )
            loaded = t5.load_t5(t5.open_t5(again, values))
            assert torch.equal(loaded.encoder.embed_tokens.weight, found.half().encoder.embed_tokens.weight)


@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_stored_in_bfloat16(kind, tmp_path):
    """Its weights stay in their files, and the rows of its embedding in 16 bits: no digit is lost."""
    folder = tmp_path / kind
    make_encoder(kind).bfloat16().save_pretrained(folder, max_shard_size="40KB")
    values = json.loads((folder / "config.json").read_text("utf-8"))
    for lowering in (CPU, StandardLowering(), lowering_for("text_encoder", "cuda", "fp32")):
        model = t5.load_t5(t5.open_t5(folder, values))
        assert is_mapped(model)
        export_t5(model, tmp_path, LENGTH, masked=True, lowering=lowering)
        graph = OnnxFile(tmp_path / "text_encoder.onnx").graph
        (table,) = [tensor for tensor in graph.initializer if tensor.dims[:1] == [300]]
        assert table.data_type == onnx.TensorProto.BFLOAT16 and half_type(graph) is None
        ids = np.random.default_rng(1).integers(300, size=(1, 9))
        feeds = [{"input_ids": ids, "attention_mask": np.ones_like(ids)}]
        assert measure_graph(tmp_path, "text_encoder", feeds, half=False).left > 0
        assert verify_text_encoder(model, tmp_path, length=LENGTH) < 1e-5
    export_t5(model, tmp_path, LENGTH, True, lowering=lowering_for("text_encoder", "cuda", "fp16"))
    assert half_type(OnnxFile(tmp_path / "text_encoder.onnx").graph) == onnx.TensorProto.FLOAT16
    assert verify_text_encoder(model, tmp_path, length=LENGTH) < FLOAT16_TOLERANCE
