"""Noise, schedulers and video generation of the C++ runtime against NumPy and diffusers."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

import g4v
from g4v import _core
from g4v.errors import BundleError

from . import synthetic_bundle as toy
from .talking import ask, load, only, text_of

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}

GOLDEN_BITS = [1049588565, 3205518412, 1076609934, 3221798697]
GOLDEN_SHA256 = "9a2dacc74905ef3eb9dd6982d47045de56b4b01fb23470e1578d7bafac230900"


def philox(seed, block):
    """Philox4x32-10 of one counter, in Python's integers."""
    low, mask = [block & 0xFFFFFFFF, block >> 32, 0, 0], 0xFFFFFFFF
    key = [seed & mask, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * low[0], 0xCD9E8D57 * low[2]
        low = [b >> 32 ^ low[1] ^ key[0], b & mask, a >> 32 ^ low[3] ^ key[1], a & mask]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    return low


class TestNoise:
    def test_philox_known_answer(self):
        # From the authors' test vectors (Random123, kat_vectors), with all-zero counter and key.
        assert philox(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]

    @pytest.mark.parametrize("seed", [0, 1, 2**40 + 7, 2**64 - 1])
    def test_is_box_muller_of_philox(self, seed):
        expected = []
        for block in range(500):
            a, b, c, d = philox(seed, block)
            radius = np.sqrt(-2 * np.log((((a << 32 | b) >> 11) + 1) * 2.0**-53))
            angle = 2 * np.pi * (((c << 32 | d) >> 11) + 1) * 2.0**-53
            expected += [radius * np.cos(angle), radius * np.sin(angle)]
        # Where libm rounds a double the other way, its float32 is almost always the same.
        assert np.allclose(_core.testing.noise(seed, 1000), expected, rtol=2e-7, atol=1e-12)

    def test_golden(self):
        """Every machine must make these bits: a video of a seed is the same everywhere."""
        noise = _core.testing.noise(12345, 1_000_001)
        assert noise[:4].view(np.uint32).tolist() == GOLDEN_BITS
        assert hashlib.sha256(noise.tobytes()).hexdigest() == GOLDEN_SHA256
        assert abs(noise.mean()) < 0.004 and abs(noise.std() - 1) < 0.004
        assert np.array_equal(noise[:7], _core.testing.noise(12345, 7))

    def test_streams_are_independent(self):
        streams = [_core.testing.noise(12345, 100_000, stream) for stream in (0, 1, 2)]
        assert np.abs(np.corrcoef(streams) - np.eye(3)).max() < 0.02
        assert abs(streams[1].mean()) < 0.02 and abs(streams[1].std() - 1) < 0.02


def reference(kind, config):
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    if kind == "ddim":
        return DDIMScheduler(**config)
    known = {k: v for k, v in config.items() if k not in ("set_alpha_to_one", "clip_sample")}
    return DPMSolverMultistepScheduler(**known)


class TestScheduler:
    @pytest.mark.parametrize("kind", ["ddim", "dpmsolver++"])
    @pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 40])
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"timestep_spacing": "trailing", "set_alpha_to_one": True},
            {"timestep_spacing": "linspace", "prediction_type": "v_prediction"},
            {"prediction_type": "v_prediction", "beta_schedule": "linear", "beta_end": 0.02},
            {
                "prediction_type": "v_prediction",
                "rescale_betas_zero_snr": True,
                "timestep_spacing": "trailing",
                "steps_offset": 0,
                "set_alpha_to_one": True,
            },
            {"clip_sample": True, "timestep_spacing": "trailing"},
        ],
    )
    def test_equals_diffusers(self, kind, steps, changes):
        import torch

        config = CONFIG | changes
        theirs, ours = reference(kind, config), _core.testing.Scheduler(kind, steps, **config)
        theirs.set_timesteps(steps)
        assert ours.timesteps == theirs.timesteps.tolist()
        random = np.random.default_rng(steps)
        sample = random.standard_normal(512).astype(np.float32)
        other = torch.from_numpy(sample.copy())
        for index, timestep in enumerate(theirs.timesteps):
            prediction = random.standard_normal(512).astype(np.float32)
            sample = ours.step(index, prediction, sample)
            other = theirs.step(torch.from_numpy(prediction), timestep, other).prev_sample
            scale = max(1.0, float(other.abs().max()))
            assert np.abs(sample - other.numpy()).max() <= 1e-5 * scale

    @pytest.mark.parametrize(
        ("kind", "steps", "changes", "message"),
        [
            ("ddim", 0, {}, "steps is 0 but must be 1 to 1000"),
            ("ddim", 1001, {}, "steps is 1001"),
            ("dpmsolver++", 1000, {}, "steps is 1000 but must be 1 to 999"),
            ("ddim", 1000, {}, "time step 1000 of a schedule that has 1000"),
            ("pndm", 5, {}, 'scheduler is "pndm" but must be "ddim", "dpmsolver'),
            ("euler", 1001, {}, "steps is 1001 but must be 1 to 1000"),
            ("lcm", 51, {}, "steps is 51 but must be 1 to 50"),
            ("lcm", 5, {"original_inference_steps": 1001}, "original_inference_steps is 1001"),
            ("lcm", 5, {"rescale_betas_zero_snr": True}, "zero terminal SNR"),
            (
                "euler_ancestral",
                5,
                {"prediction_type": "sample"},
                'euler_ancestral takes "epsilon" or "v_pred',
            ),
            ("ddim", 5, {"prediction_type": "flow_prediction"}, "ddim takes .*; choose another sampler"),
            ("flow_match_euler", 5, {}, 'prediction_type is "epsilon" but flow_match_euler takes "flow_pred'),
            ("sde-dpmsolver++", 5, {"solver_order": 3}, "solver_order is 3"),
            ("unipc", 5, {"solver_type": "bh1"}, "bh1"),
            ("unipc", 5, {"predict_x0": False}, "predict_x0 is false"),
            ("unipc", 5, {"lower_order_final": False}, "lower_order_final is false"),
            ("ddim", 5, {"rho": 7}, 'no setting "rho"'),
            ("ddim", 5, {"rescale_betas_zero_snr": True}, "zero terminal SNR"),
            ("dpmsolver++", 5, {"beta_schedule": "linear", "beta_end": 1.0}, "nothing but noise"),
            ("dpmsolver++", 5, {"beta_start": 0.0, "use_karras_sigmas": True}, "begins without noise"),
            ("ddim", 5, {"beta_schedule": "sigmoid"}, 'beta_schedule is "sigmoid"'),
            ("dpmsolver++", 5, {"prediction_type": "flow"}, 'prediction_type is "flow"'),
        ],
    )
    def test_refusals(self, kind, steps, changes, message):
        from g4v.errors import Error

        with pytest.raises(Error, match=message):
            _core.testing.Scheduler(kind, steps, **(CONFIG | changes))


def expected_frames(vocabulary, caption, seed, spec):
    """The synthetic bundle's video, computed with NumPy."""

    def text(words):
        ids = [toy.BOS, *vocabulary.encode(words)[:22], toy.EOS]
        return np.float32(np.mean(ids + [toy.PAD] * (24 - len(ids)), dtype=np.float32))

    config = toy.manifest(0)["generation"]["video"]["scheduler"]
    kind = spec.get("scheduler", config["type"])
    scheduler = _core.testing.Scheduler(
        kind, spec["steps"], **{k: v for k, v in config.items() if k != "type"}
    )
    shape = (4, spec["frames"], spec["height"] // 2, spec["width"] // 2)
    own, common = int(np.prod(shape)), int(np.prod(shape)) // spec["frames"]
    shared = spec.get("shared_noise", 0.0)

    def noise(stream):
        drawn = _core.testing.noise(seed, own + common, stream).astype(np.float64)
        mixed = np.sqrt(1 - shared) * drawn[:own].reshape(4, spec["frames"], -1)
        mixed += np.sqrt(shared) * drawn[own:].reshape(4, 1, -1)
        return mixed.astype(np.float32).reshape(-1)

    latents = noise(0) * np.float32(scheduler.init_noise_sigma)

    def predict(words, timestep, scale):
        return (
            latents * np.float32(scale) * np.float32(0.5)
            + text(words) * np.float32(0.01)
            + np.float32(timestep) * np.float32(0.001)
        )

    for index, timestep in enumerate(scheduler.timesteps):
        prediction = predict(caption, timestep, scheduler.input_scale(index))
        if spec["guidance_scale"] != 1:
            without = predict("bad", timestep, scheduler.input_scale(index))
            prediction = without + np.float32(spec["guidance_scale"]) * (prediction - without)
        latents = scheduler.step(index, prediction, latents, noise(index + 1))
    images = (latents.reshape(shape) / np.float32(2.0))[:3].repeat(2, axis=2).repeat(2, axis=3)
    pixels = (np.clip(images, -1, 1) + np.float32(1)) * np.float32(127.5)
    return pixels.round().astype(np.uint8).transpose(1, 2, 3, 0)


def with_video_settings(source, folder, **settings):
    """A copy of the bundle with other settings of generation.video."""
    shutil.copytree(source, folder)
    about = json.loads((folder / "g4v.json").read_text())
    about["generation"]["video"] |= settings
    (folder / "g4v.json").write_text(json.dumps(about))
    return folder


def latents_of(seed, frames, height, width):
    """The synthetic bundle's first noise of a seed, [channels, frames, height / 2, width / 2]."""
    shape = (4, frames, height // 2, width // 2)
    return _core.testing.noise(seed, int(np.prod(shape))).reshape(shape)


class TestLatents:
    def test_the_noise_of_a_seed_makes_its_video(self, bundle_dir):
        assistant = g4v.load(bundle_dir, threads=1)
        expected = assistant.generate("a red circle", seed=99, frames=3, width=8, height=6)
        latents = latents_of(99, 3, 6, 8)
        options = {"frames": 3, "width": 8, "height": 6}
        made = assistant.generate("a red circle", seed=5, latents=latents, **options)
        assert np.array_equal(made.frames, expected.frames) and made.seed == 5
        turned = np.asfortranarray(latents)  # another order in memory
        again = assistant.generate("a red circle", latents=turned, **options)
        assert np.array_equal(again.frames, expected.frames)
        other = assistant.generate("a red circle", latents=-latents, **options)
        assert not np.array_equal(other.frames, expected.frames)

    @pytest.mark.parametrize(
        ("latents", "message"),
        [
            (np.zeros((4, 3, 3, 4)), "latents is float64 with 4 dimensions; it must be float32"),
            (np.zeros((1, 4, 3, 3, 4), np.float32), "latents is float32 with 5 dimensions"),
            ("noise", "it must be float32"),
            (
                np.zeros((3, 4, 3, 4), np.float32),
                r"shape \[3, 4, 3, 4\] but must be \[4, 3, 3, 4\], \[channels",
            ),
            (np.zeros((4, 3, 6, 8), np.float32), "of a video of 3 frames, 8x6 pixels"),
            (np.zeros((4, 0, 3, 4), np.float32), r"shape \[4, 0, 3, 4\]"),
            (np.full((4, 3, 3, 4), np.nan, np.float32), "latents holds numbers that are not finite"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, bundle_dir, latents, message):
        assistant = g4v.load(bundle_dir, threads=1)
        with pytest.raises(g4v.ArgumentError, match=message):
            assistant.generate("x", latents=latents, frames=3, width=8, height=6)

    def test_the_core_refuses_them_elsewhere(self, assistant):
        options = _core.VideoOptions(latents=latents_of(1, 3, 6, 8))
        assert options.latents.shape == (4, 3, 3, 4)
        with pytest.raises(g4v.ArgumentError, match="latents is no option of a chat's videos"):
            assistant.chat(video_options=options)
        chat = assistant.chat()
        with pytest.raises(g4v.ArgumentError, match="latents is no option of a turn's videos"):
            list(chat.send("say b", video_options=options))
        with pytest.raises(g4v.ArgumentError, match="latents must be a C-contiguous float32 array"):
            _core.VideoOptions(latents=np.zeros((4, 3, 3, 4)))


class TestGenerator:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"guidance_scale": 1.0},
            {"guidance_scale": 0.0, "steps": 1},
            {"scheduler": "dpmsolver++", "steps": 8},
            {"frames": 1, "width": 2, "height": 2},
            # More than the VAE decodes at once.
            pytest.param({"frames": 9, "width": 640, "height": 480, "steps": 2}, marks=pytest.mark.slow),
        ],
    )
    def test_equals_numpy(self, assistant, bundle, changes):
        spec = {"frames": 3, "width": 8, "height": 6, "steps": 5, "guidance_scale": 3.0} | changes
        options = _core.VideoOptions(seed=99, **changes)
        events = list(assistant.generate(" a red circle\n", options))
        made = only(events, _core.VideoEvent)[0]
        assert made.frames.shape == (spec["frames"], spec["height"], spec["width"], 3)
        assert (made.caption, made.seed, made.fps) == ("a red circle", 99, 8.0)
        expected = expected_frames(bundle[1], "a red circle", 99, spec)
        # A rounding of the last float32 bit may fall on the other side of a half.
        difference = np.abs(made.frames.astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
        steps = [(p.index, p.step, p.steps) for p in only(events, _core.ProgressEvent)]
        assert steps == [(0, i + 1, spec["steps"]) for i in range(spec["steps"])]

    @pytest.mark.parametrize("name", ["euler", "euler_ancestral", "sde-dpmsolver++", "unipc"])
    @pytest.mark.parametrize("shared", [0.0, 0.3])
    def test_samplers_that_the_bundle_lists(self, bundle, tmp_path, name, shared):
        """Each reads a scaled sample, starts from its own noise, and adds what the seed gives."""
        names = ["ddim", name]
        folder = with_video_settings(bundle[0], tmp_path / "bundle", schedulers=names, shared_noise=shared)
        made = load(folder)
        spec = {
            "frames": 3,
            "width": 8,
            "height": 6,
            "steps": 5,
            "guidance_scale": 3.0,
            "shared_noise": shared,
        }
        for kind in names:
            options = _core.VideoOptions(seed=7, scheduler=kind)
            video = only(list(made.generate("x", options)), _core.VideoEvent)[0]
            expected = expected_frames(bundle[1], "x", 7, spec | {"scheduler": kind})
            assert np.abs(video.frames.astype(int) - expected).max() <= 1, kind
        with pytest.raises(
            g4v.ArgumentError, match=f'scheduler is "lcm" but must be "ddim" or "{re.escape(name)}"'
        ):
            made.generate("x", _core.VideoOptions(scheduler="lcm"))

    def test_a_graph_that_reads_whole_time_steps_is_given_no_others(self, bundle, tmp_path):
        scheduler = toy.manifest(0)["generation"]["video"]["scheduler"] | {"timestep_spacing": "linspace"}
        names = ["ddim", "euler"]
        folder = with_video_settings(bundle[0], tmp_path / "bundle", schedulers=names, scheduler=scheduler)
        made = load(folder)
        with pytest.raises(
            g4v.ArgumentError, match=r'"euler", which visits time step 749.25\d* .*reads whole ones'
        ):
            made.generate("x", _core.VideoOptions(scheduler="euler", steps=5))
        list(made.generate("x", _core.VideoOptions(scheduler="euler", steps=4)))  # 999, 666, 333, 0

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([], "schedulers must begin with scheduler.type"),
            (["euler", "ddim"], "schedulers must begin with scheduler.type"),
            (["ddim", "ddim"], r"schedulers\[1\] is there twice"),
            (["ddim", "pndm"], r'schedulers\[1\] is "pndm" but must be one of'),
            ("ddim", "generation.video.schedulers"),
        ],
    )
    def test_a_list_of_samplers_that_is_none_is_refused(self, bundle, tmp_path, names, message):
        folder = with_video_settings(bundle[0], tmp_path / "bundle", schedulers=names)
        with pytest.raises(BundleError, match=message):
            load(folder)

    @pytest.mark.parametrize("shared", [0.3, 1])
    def test_frames_start_from_shared_noise_where_the_bundle_says_so(self, bundle, tmp_path, shared):
        folder = with_video_settings(bundle[0], tmp_path / "bundle", shared_noise=shared)
        spec = {"frames": 3, "width": 8, "height": 6, "steps": 5, "guidance_scale": 3.0}
        made = only(list(load(folder).generate("x", _core.VideoOptions(seed=7))), _core.VideoEvent)[0]
        expected = expected_frames(bundle[1], "x", 7, spec | {"shared_noise": shared})
        assert np.abs(made.frames.astype(int) - expected).max() <= 1
        # The synthetic UNet works pixel by pixel: equal noise makes equal frames.
        assert (np.ptp(made.frames.astype(int), axis=0).max() <= 1) == (shared == 1)

    @pytest.mark.parametrize("shared", [-0.1, 1.5, "half"])
    def test_a_share_of_noise_that_is_none_is_refused(self, bundle, tmp_path, shared):
        folder = with_video_settings(bundle[0], tmp_path / "bundle", shared_noise=shared)
        with pytest.raises(BundleError, match="generation.video.shared_noise"):
            load(folder)

    def test_a_long_caption_is_cut(self, assistant, bundle):
        caption = "a red circle moving left on a black background"
        made = only(list(assistant.generate(caption, _core.VideoOptions(seed=1))), _core.VideoEvent)[0]
        spec = {"frames": 3, "width": 8, "height": 6, "steps": 5, "guidance_scale": 3.0}
        assert np.abs(made.frames.astype(int) - expected_frames(bundle[1], caption, 1, spec)).max() <= 1

    def test_frames_are_read_only_and_outlive_everything(self, assistant):
        events = list(assistant.generate("x", _core.VideoOptions(seed=1)))
        frames = only(events, _core.VideoEvent)[0].frames
        before = frames.copy()
        del events
        assert np.array_equal(frames, before) and not frames.flags.writeable

    def test_seeds(self, assistant):
        def frames(seed):
            made = only(list(assistant.generate("x", _core.VideoOptions(seed=seed))), _core.VideoEvent)[0]
            return made.frames.tobytes()

        assert frames(3) == frames(3) != frames(4)
        drawn = [
            only(list(assistant.generate("x", _core.VideoOptions())), _core.VideoEvent)[0].seed
            for _ in range(2)
        ]
        assert drawn[0] != drawn[1]

    def test_a_damaged_generator_is_reported_by_the_first_video(self, bundle, tmp_path):
        folder = tmp_path / "bundle"
        shutil.copytree(bundle[0], folder)
        (folder / "unet.onnx").write_bytes(b"no graph")
        about = json.loads((folder / "g4v.json").read_text())
        digest = hashlib.sha256(b"no graph").hexdigest()
        about["files"]["unet.onnx"] = {"bytes": 8, "sha256": digest}
        (folder / "g4v.json").write_text(json.dumps(about))
        damaged = load(folder)
        for _ in range(2):
            with pytest.raises(BundleError, match="unet.onnx cannot be loaded"):
                list(damaged.generate("x"))
        chat = damaged.chat()
        with pytest.raises(BundleError, match="unet.onnx"):
            ask(chat, "say b")
        assert text_of(ask(chat, "say a")) == "Hello, world."
        with pytest.raises(BundleError, match="unet.onnx"):
            damaged.wait_until_ready()
