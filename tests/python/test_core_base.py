"""The core's services as Python sees them: preprocessing, frame sampling, bundles, ONNX Runtime."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from g4v import _core, errors

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def pillow_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow 13's resize; an older Pillow does the two passes one by one in the order that 13 chooses."""
    whole = Image.fromarray(image)
    steps = [(width, height)]
    if int(PIL.__version__.split(".")[0]) < 13:
        columns_first = height < whole.height and 2 * (whole.width - width) < whole.height - height
        steps = [(whole.width, height) if columns_first else (width, whole.height), *steps]
    for size in steps:
        whole = whole.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(whole)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class TestResize:
    @pytest.mark.parametrize(
        ("height", "width", "out_height", "out_width"),
        [
            (1, 1, 64, 64),
            (1, 500, 64, 64),
            (500, 1, 3, 224),
            (64, 64, 64, 64),
            (63, 65, 64, 64),
            (64, 30, 64, 64),
            (30, 64, 64, 64),
            (720, 1280, 224, 224),
            (1280, 720, 224, 224),
            (300, 3, 2, 2),
            (17, 23, 224, 224),
            (224, 224, 1, 1),
        ],
    )
    def test_equals_pillow(self, height: int, width: int, out_height: int, out_width: int) -> None:
        image = noise(height, width, 3)
        resized = _core.resize_bicubic(image, out_height, out_width)
        assert np.array_equal(resized, pillow_resize(image, out_height, out_width))

    @settings(max_examples=150, deadline=None)
    @given(st.tuples(*[st.integers(1, 150)] * 4), st.integers(0, 2**31), st.booleans())
    def test_equals_pillow_anywhere(self, sizes: tuple[int, int, int, int], seed: int, extreme: bool) -> None:
        """Black and white pixels alone drive the filter's overshoot into both clamps."""
        height, width, out_height, out_width = sizes
        image = noise(height, width, 3, seed=seed)
        if extreme:
            image = np.where(image > 127, np.uint8(255), np.uint8(0))
        resized = _core.resize_bicubic(image, out_height, out_width)
        assert np.array_equal(resized, pillow_resize(image, out_height, out_width))

    def test_same_size_is_the_same_image(self) -> None:
        image = noise(40, 50, 3)
        assert np.array_equal(_core.resize_bicubic(image, 40, 50), image)

    def test_strided_input(self) -> None:
        image = noise(90, 120, 3)[::2, ::-3]
        expected = pillow_resize(np.ascontiguousarray(image), 64, 64)
        assert np.array_equal(_core.resize_bicubic(image, 64, 64), expected)


class TestPreprocess:
    def test_values(self) -> None:
        frames = noise(3, 48, 80, 3)
        pixels = _core.preprocess(frames, 32, MEAN, STD)
        assert pixels.shape == (3, 3, 32, 32) and pixels.dtype == np.float32
        resized = np.stack([pillow_resize(frame, 32, 32) for frame in frames])
        expected = (resized.astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)
        assert np.abs(pixels - expected.transpose(0, 3, 1, 2)).max() < 1e-6

    @pytest.mark.parametrize(
        "frames",
        [
            np.zeros((2, 8, 8, 3), np.float32),
            np.zeros((8, 8, 3), np.uint8),
            np.zeros((2, 8, 8, 4), np.uint8),
            np.zeros((0, 8, 8, 3), np.uint8),
        ],
    )
    def test_refuses(self, frames: np.ndarray) -> None:
        with pytest.raises(errors.ArgumentError, match=r"\[T, H, W, 3\]"):
            _core.preprocess(frames, 32, MEAN, STD)

    def test_refuses_zero_std(self) -> None:
        with pytest.raises(errors.ArgumentError, match="std is 0"):
            _core.preprocess(noise(1, 8, 8, 3), 8, MEAN, (1.0, 0.0, 1.0))


class TestSampleFrames:
    @given(st.integers(1, 10**7), st.integers(1, 64))
    def test_formula(self, count: int, samples: int) -> None:
        step = (count - 1) / samples
        first = int(step / 2)
        expected = [min(first + round(step * i), count - 1) for i in range(samples)]
        assert _core.sample_frames(count, samples) == expected

    def test_known(self) -> None:
        assert _core.sample_frames(1, 8) == [0] * 8
        assert _core.sample_frames(30, 8) == [1, 5, 8, 12, 15, 19, 23, 26]

    def test_refuses(self) -> None:
        with pytest.raises(errors.VideoError, match="no frames"):
            _core.sample_frames(0, 8)
        with pytest.raises(errors.ArgumentError, match="at least 1 frame"):
            _core.sample_frames(8, 0)


def variant(graph: str, *files: str) -> list[dict[str, Any]]:
    return [{"target": "cpu", "precision": "fp32", "graph": graph, "files": [graph, *files]}]


def manifest() -> dict[str, Any]:
    """A manifest with every component; `write_bundle` fills in the files."""
    scheduler = {
        "type": "dpmsolver++",
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
    video = {"frames": 8, "width": 64, "height": 64, "fps": 8, "steps": 20, "guidance_scale": 4.0}
    return {
        "format": "g4v-bundle",
        "format_version": 1,
        "name": "test",
        "assistant": "g4v",
        "description": "",
        "created_by": "g4v 0.1.0",
        "files": {},
        "components": {
            "encoder": {
                "image_size": 64,
                "mean": list(MEAN),
                "std": list(STD),
                "hidden_size": 16,
                "tokens_per_frame": 65,
                "flavour": "clip",
                "variants": variant("encoder.onnx", "encoder.data"),
            },
            "abstractor": {
                "hidden_size": 16,
                "output_tokens": 17,
                "output_size": 4,
                "variants": variant("abstractor.onnx"),
            },
            "decoder": {
                "vocab_size": 5,
                "hidden_size": 4,
                "layers": 1,
                "heads": 2,
                "kv_heads": 1,
                "head_dim": 2,
                "context_length": 32,
                "embedding": {"file": "embedding.bin", "dtype": "float32"},
                "variants": variant("decoder.onnx"),
            },
            "text_encoder": {"max_length": 32, "hidden_size": 8, "variants": variant("text_encoder.onnx")},
            "unet": {"latent_channels": 8, "cross_attention_dim": 8, "variants": variant("sub/unet.onnx")},
            "vae_decoder": {
                "latent_channels": 8,
                "scale_factor": 8,
                "scaling_factor": 0.9,
                "variants": variant("vae_decoder.onnx"),
            },
        },
        "tokenizers": {
            "decoder": {"file": "tokenizer.json"},
            "text_encoder": {"file": "tokenizer.json", "bos": 1, "eos": 2, "pad": 0},
        },
        "prompt": {
            "system": "s",
            "video_prefix": "\nHuman: ",
            "user_prefix": "\nHuman: ",
            "assistant_prefix": "\nAI:",
            "bos_id": None,
            "turn_end_id": 2,
            "stop": ["\nHuman:"],
            "video_open": "<video>",
            "video_close": "</video>",
            "refusal_openings": ["I'm sorry, but I can't"],
        },
        "frame_sampling": {"frames": 8},
        "generation": {
            "text": {
                "max_new_tokens": 256,
                "temperature": 0.0,
                "top_k": 0,
                "top_p": 1.0,
                "repetition_penalty": 1.0,
            },
            "video": {**video, "negative_prompt": "", "scheduler": scheduler},
        },
        "licences": [{"component": "all", "licence": "Apache-2.0", "anything": 1}],
        "provenance": {"free": {"form": [1, 2]}},
    }


FILES = {
    "encoder.onnx": b"e" * 10,
    "encoder.data": b"d" * 1000,
    "abstractor.onnx": b"a",
    "decoder.onnx": b"x" * 64,
    "embedding.bin": bytes(range(80)),
    "text_encoder.onnx": b"",
    "sub/unet.onnx": b"u" * 55,
    "vae_decoder.onnx": b"v" * 56,
    "tokenizer.json": b"{}",
}


def write_bundle(folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    value = manifest()
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        value["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if change:
        change(value)
    (folder / "g4v.json").write_text(json.dumps(value))
    return folder


def refusal(folder: Path, verify: str = "auto") -> str:
    """The message with which the bundle is refused; always one line."""
    with pytest.raises(errors.BundleError) as caught:
        _core.check_bundle(str(folder), verify)
    message = str(caught.value)
    assert "\n" not in message
    return message


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets `path` ("components.encoder.mean") of a manifest."""

    def change(target: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            target = target[key]
        target[last] = value

    return change


def drop(path: str) -> Callable[[dict[str, Any]], None]:
    def change(target: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            target = target[key]
        del target[last]

    return change


class TestBundle:
    def test_accepts(self, tmp_path: Path) -> None:
        folder = write_bundle(tmp_path)
        assert _core.check_bundle(str(folder)) is True
        assert _core.check_bundle(str(folder), "full") is True
        assert _core.check_bundle(str(folder), "size") is False
        with pytest.raises(errors.ArgumentError, match="verify"):
            _core.check_bundle(str(folder), "maybe")

    def test_accepts_text_only(self, tmp_path: Path) -> None:
        def change(value: dict[str, Any]) -> None:
            for name in ("encoder", "abstractor", "text_encoder", "unet", "vae_decoder"):
                del value["components"][name]
            del value["frame_sampling"], value["generation"]["video"], value["tokenizers"]["text_encoder"]

        assert _core.check_bundle(str(write_bundle(tmp_path, change)))

    def test_not_a_bundle(self, tmp_path: Path) -> None:
        assert "there is no bundle at" in refusal(tmp_path / "nothing")
        assert "it has no g4v.json" in refusal(tmp_path)
        file = tmp_path / "file"
        file.write_text("x")
        assert "is not a bundle" in refusal(file)

    @pytest.mark.parametrize("text", ["[]", '{"format": "other"}', '{"model_type": "llama"}'])
    def test_foreign(self, tmp_path: Path, text: str) -> None:
        folder = write_bundle(tmp_path)
        (folder / "g4v.json").write_text(text)
        assert "g4v.json" in refusal(folder)

    def test_newer(self, tmp_path: Path) -> None:
        message = refusal(write_bundle(tmp_path, put("format_version", 7)))
        assert "format version 7" in message and "up to 1" in message and "upgrade" in message

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            (put("extra", 1), "extra is not a known key"),
            (put("components.encoder.extra", 1), "components.encoder.extra is not a known key"),
            (put("generation.video.scheduler.extra", 1), "generation.video.scheduler.extra is not a known"),
            (put("components.encoder.image_size", "64"), "components.encoder.image_size must be an integer"),
            (
                put("components.encoder.image_size", 0),
                "components.encoder.image_size is 0 but must be from 1",
            ),
            (put("components.encoder.mean", [1, 2]), "components.encoder.mean must have 3 numbers"),
            (put("components.encoder.std", [1, 0, 1]), "components.encoder.std must be greater than 0"),
            (put("components.encoder.flavour", "vit"), 'is "vit" but must be one of "clip"'),
            (put("components.decoder.kv_heads", 3), "components.decoder.kv_heads must divide"),
            (put("components.decoder.vocab_size", 6), "components.decoder.embedding must have 96 bytes"),
            (
                put("components.unet.latent_channels", 4),
                "unet.latent_channels and vae_decoder.latent_channels",
            ),
            (
                put("components.encoder.hidden_size", 8),
                "encoder.hidden_size and abstractor.hidden_size differ",
            ),
            (put("components.unet.variants", []), "components.unet.variants is empty"),
            (put("components.unet.variants", variant("no.onnx")), 'which "files" does not list'),
            (put("tokenizers.text_encoder.pad", None), "needs a pad token"),
            (put("generation.text.temperature", -1), "generation.text.temperature is out of range"),
            (put("prompt.stop", "x"), "prompt.stop must be an array"),
            (put("provenance", []), "provenance must be an object"),
            (drop("name"), 'has no key "name"'),
            (drop("prompt"), 'has a decoder but no key "prompt"'),
            (drop("components.decoder.head_dim"), 'components.decoder has no key "head_dim"'),
            (drop("generation.video"), 'generation has no key "video"'),
        ],
    )
    def test_wrong_manifest(self, tmp_path: Path, change: Any, part: str) -> None:
        assert part in refusal(write_bundle(tmp_path, change))

    def test_every_key_is_needed_or_optional_by_design(self, tmp_path: Path) -> None:
        """Dropping any single top-level key but the optional ones is refused."""
        folder = write_bundle(tmp_path)
        whole = json.loads((folder / "g4v.json").read_text())
        for key in whole:
            value = copy.deepcopy(whole)
            del value[key]
            (folder / "g4v.json").write_text(json.dumps(value))
            assert "g4v.json" in refusal(folder), key

    def test_missing_files_are_listed_at_once(self, tmp_path: Path) -> None:
        folder = write_bundle(tmp_path)
        (folder / "encoder.data").unlink()
        (folder / "sub/unet.onnx").unlink()
        message = refusal(folder)
        assert "encoder.data" in message and "sub/unet.onnx" in message and "copy it again" in message

    def test_truncated(self, tmp_path: Path) -> None:
        folder = write_bundle(tmp_path)
        (folder / "encoder.data").write_bytes(b"d" * 999)
        assert "999 bytes, not 1000" in refusal(folder, "size")

    @pytest.mark.parametrize("name", [name for name, data in FILES.items() if data])
    def test_flipped_byte(self, tmp_path: Path, name: str) -> None:
        folder = write_bundle(tmp_path)
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        message = refusal(folder)
        assert name in message and "SHA-256" in message
        assert _core.check_bundle(str(folder), "size") is False

    def test_damaged_manifest(self, tmp_path: Path) -> None:
        """A manifest cut anywhere is refused with one line, never accepted and never a crash."""
        folder = write_bundle(tmp_path)
        text = (folder / "g4v.json").read_bytes()
        for length in range(0, len(text) - 1, 97):
            (folder / "g4v.json").write_bytes(text[:length])
            assert "g4v.json" in refusal(folder)

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_flipped_manifest(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        """A flipped byte of the manifest is either refused or leaves JSON that means the same checks."""
        folder = write_bundle(tmp_path_factory.mktemp("flip"))
        text = bytearray((folder / "g4v.json").read_bytes())
        text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        (folder / "g4v.json").write_bytes(text)
        try:
            _core.check_bundle(str(folder))
        except errors.BundleError as error:
            assert "\n" not in str(error)

    @pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/../../x", "./x", "a\\b", "a//../b", ""])
    def test_path_escapes(self, tmp_path: Path, name: str) -> None:
        def change(value: dict[str, Any]) -> None:
            value["files"][name] = {"bytes": 1, "sha256": "0" * 64}

        assert "outside the bundle" in refusal(write_bundle(tmp_path, change))

    def test_link_out(self, tmp_path: Path) -> None:
        (tmp_path / "bundle").mkdir()
        folder = write_bundle(tmp_path / "bundle")
        outside = tmp_path / "outside.data"
        outside.write_bytes((folder / "encoder.data").read_bytes())
        (folder / "encoder.data").unlink()
        (folder / "encoder.data").symlink_to(outside)
        message = refusal(folder)
        assert "links to files outside" in message and "encoder.data" in message


def python(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


class TestLibrary:
    """In processes of their own: one process uses one ONNX Runtime."""

    FIND = (
        "import importlib.util, pathlib\n"
        "from g4v import _core, errors\n"
        "folder = str(pathlib.Path(importlib.util.find_spec('onnxruntime').origin).parent / 'capi')\n"
    )

    def test_wheel(self) -> None:
        out = python(
            self.FIND
            + "info = _core.library_info(directories=[folder])\nprint(info['version'], info['providers'])"
        )
        assert "CPUExecutionProvider" in out
        assert int(out.split(".")[1]) >= 20

    @staticmethod
    def caught(call: str, error: str) -> str:
        """Code that prints the message of the error that `call` raises."""
        return f"try:\n    {call}\nexcept errors.{error} as error:\n    print(error)"

    def test_missing(self) -> None:
        code = self.FIND + self.caught("_core.library_info()", "RuntimeUnavailable")
        message = python(code, G4V_ONNXRUNTIME="/nonexistent/libonnxruntime.so")
        assert "pip install" in message and "\n" not in message

    def test_devices(self) -> None:
        out = python(
            self.FIND
            + "print(_core.resolve_device('cpu', directories=[folder]))\n"
            + "_core.probe_device('cpu', directories=[folder])"
        )
        assert out.startswith("('cpu'")
        unknown = self.caught("_core.resolve_device('tpu', directories=[folder])", "ArgumentError")
        assert 'use "auto", "cpu" or "cuda"' in python(self.FIND + unknown)

    def test_cores(self) -> None:
        assert 1 <= _core.usable_cores() <= (os.cpu_count() or 1)
