"""The decoder of LTX-Video's VAE against diffusers' decoding in float64."""

import itertools
from unittest import mock

import numpy as np
import pytest
import torch

from g4v.export.checkpoint.ltx import noise_scales
from g4v.export.components.whole_vae import export_whole_vae_decoder
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import FLOAT16, FLOAT32
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify.error_measures import relative_error
from g4v.export.verify.ltx import verify_whole_vae_decoder
from g4v.export.verify.session import open_session

from ...graph_operators import check_operators
from ...ltx_folder import VAE, VAE_0_9_1, VAE_0_9_5, vae

TOLERANCE = 1e-4  # convolutions by Winograd's way lose some bits
KINDS = {
    "0.9": VAE,
    "causal": {**VAE, "decoder_causal": True},
    "0.9.1": VAE_0_9_1,
    "0.9.5": VAE_0_9_5,
    "small": {
        **VAE,
        "decoder_block_out_channels": [8],
        "decoder_layers_per_block": [1, 1],
        "decoder_spatio_temporal_scaling": [False],
        "decoder_inject_noise": [True, False],
        "upsample_residual": [False],
        "upsample_factor": [1],
        "patch_size": 1,
        "scaling_factor": 0.5,
    },
    "residual": {**VAE, "upsample_residual": [True] * 4, "upsample_factor": [1, 1, 1, 1]},
}


def given_to(model, latents, step, seed):
    """Inputs of the graph."""
    feeds = {"latents": latents.numpy()}
    if model.config.timestep_conditioning:
        feeds["timestep"] = np.array([step], np.float32)
    random = np.random.default_rng(seed)
    for index, scale in enumerate(noise_scales(model)):
        shape = (1, 1, *(side * scale for side in latents.shape[2:]))
        feeds[f"noise.{index}"] = random.standard_normal(shape).astype(np.float32)
    return feeds


@torch.no_grad()
def decoded(model, feeds):
    """[F, 3, H, W] in float64, with the noises in the order in which the decoder draws them."""
    noises = (feeds[f"noise.{index}"] for index in itertools.count())

    def draw(shape, **_):
        noise = torch.from_numpy(next(noises))[0, 0].double()
        assert noise.shape == torch.Size(shape)
        return noise

    steps = None if "timestep" not in feeds else torch.from_numpy(feeds["timestep"]).double()
    latents = torch.from_numpy(feeds["latents"]).double().transpose(0, 1)[None]
    with mock.patch.object(torch, "randn", draw):
        made = model.double().decode(latents, steps).sample[0].transpose(0, 1)
    model.float()
    return made.clamp(-1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_float64(kind, tmp_path):
    model = vae(KINDS[kind])
    assert export_whole_vae_decoder(model, tmp_path) == ["vae_decoder.onnx", "vae_decoder.data"]
    session = open_session(tmp_path / "vae_decoder.onnx", as_written=False)
    frames = 2 ** sum(model.config.decoder_spatio_temporal_scaling)
    side = frames * model.config.patch_size
    for seed, (count, height, width) in enumerate(((1, 2, 3), (2, 3, 2), (4, 2, 2))):
        latents = torch.randn(count, 8, height, width, generator=torch.Generator().manual_seed(seed))
        feeds = given_to(model, latents, 0.05 * seed, seed)
        (found,) = session.run(None, feeds)
        assert found.shape == ((count - 1) * frames + 1, 3, height * side, width * side)
        assert relative_error(found, decoded(model, feeds)) < TOLERANCE


@pytest.mark.parametrize(("kind", "before"), [("0.9", True), ("causal", False)])
def test_frames_depend_on_those_after(kind, before, tmp_path):
    """Unless the decoder is causal."""
    model = vae(KINDS[kind])
    export_whole_vae_decoder(model, tmp_path)
    session = open_session(tmp_path / "vae_decoder.onnx", as_written=False)
    latents = torch.randn(3, 8, 2, 2, generator=torch.Generator().manual_seed(0)).numpy()
    changed = latents.copy()
    changed[2] += 1
    one, other = (session.run(None, {"latents": values})[0] for values in (latents, changed))
    assert (np.abs(one[:9] - other[:9]).max() > 1e-3) == before
    assert np.abs(one[9:] - other[9:]).max() > 1e-3


def test_time_step_and_each_noise_count(tmp_path):
    model = vae(VAE_0_9_1)
    export_whole_vae_decoder(model, tmp_path)
    session = open_session(tmp_path / "vae_decoder.onnx", as_written=False)
    latents = torch.randn(2, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    feeds = given_to(model, latents, 0.05, 1)
    # Two of each layer of the middle block, of the first one after it and of the last one.
    assert noise_scales(model) == [1, 1, 2, 2, 8, 8]
    before = session.run(None, feeds)[0]
    for name in feeds:
        changed = session.run(None, {**feeds, name: feeds[name] + np.float32(0.5)})[0]
        assert np.abs(changed - before).max() > 1e-4, name


@pytest.mark.parametrize("kind", ["0.9", "0.9.1"])
@pytest.mark.parametrize(
    ("lowering", "most"),
    [
        (StandardLowering(FLOAT32), 2e-5), (StandardLowering(FLOAT16), 1e-2),
        (CudaLowering(FLOAT32), 2e-5), (CudaLowering(FLOAT16), 1e-2),
    ],
    ids=["standard-fp32", "standard-fp16", "cuda-fp32", "cuda-fp16"],
)  # fmt: skip
def test_other_targets(lowering, most, kind, tmp_path):
    model = vae(KINDS[kind])
    cuda = isinstance(lowering, CudaLowering)
    stem = "vae_decoder.cuda" if cuda else "vae_decoder.tensorrt"
    export_whole_vae_decoder(model, tmp_path, stem, lowering)
    check_operators(tmp_path / f"{stem}.onnx", cuda)
    error = verify_whole_vae_decoder(model, tmp_path, 3, stem)
    assert error < most
    if lowering.dtype.is_half:
        assert error > 1e-5
