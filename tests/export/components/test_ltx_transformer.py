"""The graph of LTX-Video's transformer against diffusers' module in float64, called as by LTXPipeline."""

from unittest import mock

import numpy as np
import pytest
import torch

from g4v.export.components.lowerings import INT8
from g4v.export.components.ltx_transformer import export_ltx_transformer
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import BFLOAT16, FLOAT16, FLOAT32
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify.error_measures import relative_error
from g4v.export.verify.ltx import packed, verify_ltx_transformer
from g4v.export.verify.session import open_session

from ...graph_operators import check_operators
from ...ltx_folder import transformer

TOLERANCE = 1e-5
SIDE = 32  # pixels for one latent


@torch.no_grad()
def predicted(model, given, fps):
    """The module's prediction with everything in float64 but the angles: it asks for float32 by `float`."""
    sample = given["sample"]
    frames, height, width = sample.shape[2:]
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        found = model.double()(
            packed(sample.double()), given["encoder_hidden_states"].double(),
            given["timestep"].double().expand(len(sample)), given["encoder_attention_mask"],
            num_frames=frames, height=height, width=width, rope_interpolation_scale=(8 / fps, SIDE, SIDE),
        ).sample  # fmt: skip
    return found.transpose(1, 2).reshape(sample.shape)


def inputs(model, shape, lengths, longest, step, fps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    seconds = np.arange(shape[2], dtype=np.float32) * np.float32(8 / fps)
    return {
        "sample": torch.randn(shape, generator=generator),
        "timestep": torch.tensor([step]),
        "encoder_hidden_states": torch.randn(
            shape[0], longest, model.config.caption_channels, generator=generator
        ),
        "encoder_attention_mask": (torch.arange(longest) < torch.tensor(lengths)[:, None]).long(),
        "frame_seconds": torch.from_numpy(seconds),
    }


def run(folder, given):
    session = open_session(folder / "transformer.onnx", as_written=False)
    return session.run(None, {name: value.numpy() for name, value in given.items()})[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_attention_heads": 3, "attention_head_dim": 10, "cross_attention_dim": 30, "num_layers": 1},
        {"attention_head_dim": 10, "cross_attention_dim": 20, "norm_elementwise_affine": True},
        {"attention_bias": False, "attention_out_bias": False, "norm_eps": 1e-3, "num_layers": 1},
    ],
    ids=str,
)
def test_float64(changes, tmp_path):
    model = transformer(**changes)
    files = export_ltx_transformer(model, tmp_path, SIDE)
    assert files == ["transformer.onnx", "transformer.data"]
    sizes = ((2, 3, 5, 4, 24), (1, 1, 1, 1, 25), (1, 7, 2, 9, 30))
    for seed, (batch, frames, height, width, fps) in enumerate(sizes):
        for lengths, longest, step in (([9, 2][:batch], 9, 987.25), ([1] * batch, 1, 0.0)):
            given = inputs(model, (batch, 8, frames, height, width), lengths, longest, step, fps, seed)
            found = run(tmp_path, given)
            assert relative_error(found, predicted(model, given, fps)) < TOLERANCE, given["sample"].shape


def test_padding_is_not_read_and_text_is(tmp_path):
    model = transformer()
    export_ltx_transformer(model, tmp_path, SIDE)
    given = inputs(model, (2, 8, 2, 3, 2), [4, 6], 7, 500.0, 25)
    before = run(tmp_path, given)
    changed = given["encoder_hidden_states"].clone()
    changed[0, 4:] += 1
    assert np.array_equal(run(tmp_path, given | {"encoder_hidden_states": changed}), before)
    changed[0, 3] += 1
    after = run(tmp_path, given | {"encoder_hidden_states": changed})
    assert np.abs(after[0] - before[0]).max() > 1e-3 and np.array_equal(after[1], before[1])


def test_every_place_has_its_own_rotation(tmp_path):
    """Time, row and column: a video that is moved is predicted anew, and so is another speed."""
    model = transformer()
    export_ltx_transformer(model, tmp_path, SIDE)
    given = inputs(model, (1, 8, 4, 4, 4), [3], 3, 500.0, 25)
    before = run(tmp_path, given)
    for axis in (2, 3, 4):
        moved = run(tmp_path, given | {"sample": given["sample"].roll(1, axis)})
        assert np.abs(np.roll(moved, -1, axis) - before).max() > 1e-3, axis
    slower = run(tmp_path, given | {"frame_seconds": given["frame_seconds"] * 2})
    assert np.abs(slower - before).max() > 1e-3


@pytest.mark.slow
def test_a_block_of_the_real_width(tmp_path):
    """One block of LTX-Video: 32 heads of 64, texts of 4,096, 128 channels."""
    model = transformer(
        num_attention_heads=32, attention_head_dim=64, cross_attention_dim=2048, caption_channels=4096,
        in_channels=128, out_channels=128, num_layers=1,
    )  # fmt: skip
    export_ltx_transformer(model, tmp_path, SIDE)
    given = inputs(model, (1, 128, 3, 4, 5), [20], 128, 741.5, 25)
    assert relative_error(run(tmp_path, given), predicted(model, given, 25)) < TOLERANCE


@pytest.mark.parametrize(
    ("lowering", "most"),
    [
        (StandardLowering(FLOAT32), 1e-5), (StandardLowering(FLOAT16), 1e-2),
        (CudaLowering(FLOAT32), 1e-5), (CudaLowering(FLOAT16), 1e-2), (CudaLowering(BFLOAT16), 8e-2),
    ],
    ids=["standard-fp32", "standard-fp16", "cuda-fp32", "cuda-fp16", "cuda-bf16"],
)  # fmt: skip
def test_other_targets(lowering, most, tmp_path):
    model = transformer()
    cuda = isinstance(lowering, CudaLowering)
    stem = "transformer.cuda" if cuda else "transformer.tensorrt"
    export_ltx_transformer(model, tmp_path, SIDE, stem, lowering)
    check_operators(tmp_path / f"{stem}.onnx", cuda)
    error = verify_ltx_transformer(model, tmp_path, 7, (8, SIDE), stem)
    assert error < most
    if lowering.dtype.is_half:
        assert error > 1e-5  # it really was of 16 bits


def test_int8_and_its_products(tmp_path):
    """All but those of the text, of time and of the first and last layer."""
    model = transformer()
    export_ltx_transformer(model, tmp_path, SIDE, lowering=INT8)
    assert 1e-4 < verify_ltx_transformer(model, tmp_path, 7, (8, SIDE)) < 2e-2
    nodes = [node.op_type for node in OnnxFile(tmp_path / "transformer.onnx").graph.node]
    assert nodes.count("MatMulIntegerToFloat") == 2 * (4 + 2 + 2)
