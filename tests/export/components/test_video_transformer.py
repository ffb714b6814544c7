"""The video transformer's graph against diffusers' module in float64."""

from unittest import mock

import numpy as np
import pytest
import torch

from g4v.export.components.lowerings import INT8
from g4v.export.components.video_transformer import export_transformer
from g4v.export.graph.cpu import CPU
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import BFLOAT16, FLOAT16, FLOAT32
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify import comparison as verify
from g4v.export.verify.error_measures import relative_error
from g4v.export.verify.session import open_session

from ...graph_operators import check_operators
from ...wan_folder import transformer

TOLERANCE = 1e-5


@torch.no_grad()
def predicted(model, sample, step, text):
    """The module's prediction with everything in float64: it asks for float32 by Tensor.float alone."""
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        times = torch.full((len(sample),), step, dtype=torch.float64)
        return model.double()(sample.double(), times, text.double()).sample


def error_of(folder, model, shape, length, step, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(shape, generator=generator)
    text = torch.randn(shape[0], length, model.config.text_dim, generator=generator)
    session = open_session(folder / "transformer.onnx", as_written=False)
    given = {"sample": sample.numpy(), "encoder_hidden_states": text.numpy()}
    (found,) = session.run(None, given | {"timestep": np.array([step], np.float32)})
    assert found.shape == tuple(shape)
    return relative_error(found, predicted(model, sample, step, text))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cross_attn_norm": False},
        {"patch_size": [1, 1, 3], "attention_head_dim": 16, "num_attention_heads": 3},
        {"eps": 1e-3, "num_layers": 1, "freq_dim": 16},
    ],
    ids=str,
)
def test_float64(changes, tmp_path):
    model = transformer(**changes)
    assert export_transformer(model, tmp_path) == ["transformer.onnx", "transformer.data"]
    deep, high, wide = model.config.patch_size
    sizes = ((2, 3, 5, 4), (1, 1, 1, 1), (1, 7, 2, 9))
    for seed, (batch, frames, height, width) in enumerate(sizes):
        shape = (batch, 4, frames * deep, height * high, width * wide)
        for length, step in ((9, 987.25), (1, 0.0)):
            assert error_of(tmp_path, model, shape, length, step, seed) < TOLERANCE, shape


def test_every_place_has_its_own_rotation(tmp_path):
    """Frame, row and column: a video that is moved along one of them is predicted anew."""
    model = transformer()
    export_transformer(model, tmp_path)
    session = open_session(tmp_path / "transformer.onnx", as_written=False)
    sample = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    text = np.zeros((1, 2, 32), np.float32)

    def run(values):
        given = {"sample": values, "timestep": np.array([500.0], np.float32), "encoder_hidden_states": text}
        return session.run(None, given)[0]

    before = run(sample)
    for axis, shift in ((2, 1), (3, 2), (4, 2)):
        moved = run(np.roll(sample, shift, axis))
        assert np.abs(np.roll(moved, -shift, axis) - before).max() > 1e-3, axis


@pytest.mark.slow
def test_a_block_of_the_real_width(tmp_path):
    """One block of Wan 2.1's smaller model: 12 heads of 128, 8,960 inside, texts of 4,096."""
    model = transformer(
        num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, text_dim=4096, freq_dim=256,
        in_channels=16, out_channels=16, num_layers=1, rope_max_seq_len=1024,
    )  # fmt: skip
    export_transformer(model, tmp_path)
    assert error_of(tmp_path, model, (1, 16, 3, 12, 8), 20, 741.5) < TOLERANCE


@pytest.mark.parametrize(
    ("lowering", "most"),
    [
        (StandardLowering(FLOAT32), 1e-5), (StandardLowering(FLOAT16), 1e-2),
        (CudaLowering(FLOAT32), 1e-5), (CudaLowering(FLOAT16), 1e-2), (CudaLowering(BFLOAT16), 8e-2),
    ],
    ids=["standard-fp32", "standard-fp16", "cuda-fp32", "cuda-fp16", "cuda-bf16"],
)  # fmt: skip
def test_other_targets(lowering, most, tmp_path):
    model = transformer(attention_head_dim=16)
    cuda = isinstance(lowering, CudaLowering)
    stem = "transformer.cuda" if cuda else "transformer.tensorrt"
    export_transformer(model, tmp_path, stem, lowering)
    check_operators(tmp_path / f"{stem}.onnx", cuda)
    error = verify.verify_transformer(model, tmp_path, 7, 4, stem)
    assert error < most
    if lowering.dtype.is_half:
        assert error > 1e-5  # it really was of 16 bits


def test_int8_and_its_products(tmp_path):
    """All but those of the text, of time and of the patches."""
    model = transformer()
    for name, lowering in (("transformer", INT8), ("plain", CPU)):
        export_transformer(model, tmp_path, name, lowering)
    assert 1e-4 < verify.verify_transformer(model, tmp_path, 7, 4) < 2e-2
    nodes = [node.op_type for node in OnnxFile(tmp_path / "transformer.onnx").graph.node]
    assert nodes.count("MatMulIntegerToFloat") == 2 * (4 + 2 + 2)
    plain = [node.op_type for node in OnnxFile(tmp_path / "plain.onnx").graph.node]
    assert "MatMulIntegerToFloat" not in plain
