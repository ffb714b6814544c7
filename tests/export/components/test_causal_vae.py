"""The chunks of a causal VAE's decoder against diffusers' decoding of the whole video in float64."""

import numpy as np
import pytest
import torch

from g4v.export.checkpoint.causal_vae import caches_of
from g4v.export.components.causal_vae import export_causal_vae_decoder
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import FLOAT16, FLOAT32
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify.causal_vae import (
    chunk_feeds,
    decode_chunk,
    empty_caches,
    verify_causal_vae_decoder,
)
from g4v.export.verify.error_measures import relative_error
from g4v.export.verify.session import open_session

from ...graph_operators import check_operators
from ...wan_folder import vae

TOLERANCE = 5e-5  # convolutions by Winograd's way lose some bits


def chunked(folder, model, latents):
    """Frames [F, 3, H, W] of latents [f, C, h, w]."""
    session = open_session(folder / "vae_decoder.onnx", as_written=False)
    caches = empty_caches(model, *latents.shape[2:])
    frames = []
    for place, frame in enumerate(latents):
        images, *caches = session.run(None, chunk_feeds(frame[None], caches, place == 0))
        frames.append(images[: 1 if place == 0 else None])
        caches = [torch.from_numpy(cache) for cache in caches]
    return np.concatenate(frames)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dim_mult": [1, 2], "temperal_downsample": [True], "decoder_base_dim": 12, "num_res_blocks": 2},
        {"dim_mult": [1, 2, 2], "temperal_downsample": [True, False]},
        {"temperal_downsample": [False, False, False]},
    ],
    ids=str,
)
@torch.no_grad()
def test_chunks_are_the_whole_video(changes, tmp_path):
    model = vae(**changes)
    assert export_causal_vae_decoder(model, tmp_path) == ["vae_decoder.onnx", "vae_decoder.data"]
    step = 2 ** sum(model.config.temperal_downsample)
    scale = 2 ** len(model.config.temperal_downsample)
    for seed, (count, height, width) in enumerate(((1, 2, 3), (2, 3, 2), (5, 2, 2))):
        latents = torch.randn(count, 4, height, width, generator=torch.Generator().manual_seed(seed))
        found = chunked(tmp_path, model, latents)
        assert found.shape == ((count - 1) * step + 1, 3, height * scale, width * scale)
        whole = model.double().decode(latents.double().transpose(0, 1)[None]).sample[0].transpose(0, 1)
        assert relative_error(found, whole) < TOLERANCE
        model.float()


@torch.no_grad()
def test_a_chunk_depends_on_those_before_and_on_none_after(tmp_path):
    model = vae()
    export_causal_vae_decoder(model, tmp_path)
    latents = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    before = chunked(tmp_path, model, latents)
    changed = latents.clone()
    changed[1] += 1
    after = chunked(tmp_path, model, changed)
    assert np.array_equal(before[:1], after[:1])
    assert np.abs(before[1:5] - after[1:5]).max() > 1e-3 and np.abs(before[5:] - after[5:]).max() > 1e-4


@torch.no_grad()
def test_a_cache_may_be_written_over(tmp_path):
    """As the core does it: the next caches are in the memory of those that they follow."""
    import onnxruntime

    model = vae()
    export_causal_vae_decoder(model, tmp_path)
    session = open_session(tmp_path / "vae_decoder.onnx", as_written=False)
    latents = torch.randn(4, 4, 3, 2, generator=torch.Generator().manual_seed(1))
    wanted = chunked(tmp_path, model, latents)
    caches = [cache.numpy().copy() for cache in empty_caches(model, 3, 2)]
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(cache) for cache in caches]
    frames = []
    for place, frame in enumerate(latents):
        binding = session.io_binding()
        binding.bind_cpu_input("latents", frame[None].numpy())
        binding.bind_cpu_input("first", np.array([int(place == 0)], np.int64))
        binding.bind_output("images", "cpu")
        for number, value in enumerate(values):
            binding.bind_ortvalue_input(f"cache.{number}", value)
            binding.bind_ortvalue_output(f"next_cache.{number}", value)
        session.run_with_iobinding(binding)
        frames.append(binding.copy_outputs_to_cpu()[0][: 1 if place == 0 else None])
    assert np.array_equal(np.concatenate(frames), wanted)


@pytest.mark.parametrize(
    ("lowering", "most"),
    [
        (StandardLowering(FLOAT32), 1e-5), (StandardLowering(FLOAT16), 1e-2),
        (CudaLowering(FLOAT32), 1e-5), (CudaLowering(FLOAT16), 1e-2),
    ],
    ids=["standard-fp32", "standard-fp16", "cuda-fp32", "cuda-fp16"],
)  # fmt: skip
def test_other_targets(lowering, most, tmp_path):
    model = vae()
    cuda = isinstance(lowering, CudaLowering)
    stem = "vae_decoder.cuda" if cuda else "vae_decoder.tensorrt"
    export_causal_vae_decoder(model, tmp_path, stem, lowering)
    check_operators(tmp_path / f"{stem}.onnx", cuda)
    error = verify_causal_vae_decoder(model, tmp_path, 4, stem)
    assert error < most
    if lowering.dtype.is_half:
        assert error > 1e-5


@torch.no_grad()
def test_a_chunk_of_its_own_is_compared_with_its_caches(tmp_path):
    model = vae()
    export_causal_vae_decoder(model, tmp_path)
    latents = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(2))
    empty = empty_caches(model, 3, 2)
    images, caches = decode_chunk(model, latents[:1], empty, True)
    assert images.shape == (1, 3, 24, 16) and len(caches) == len(caches_of(model))
    feeds = [chunk_feeds(latents[:1], empty, True), chunk_feeds(latents[1:], caches, False)]
    assert verify_causal_vae_decoder(model, tmp_path, 4, feeds=feeds) < TOLERANCE
    wrong = {**feeds[1], "cache.0": feeds[1]["cache.0"] + 1}
    session = open_session(tmp_path / "vae_decoder.onnx", as_written=False)
    right, other = (session.run(["images"], given)[0] for given in (feeds[1], wrong))
    assert np.abs(right - other).max() > 1e-4
