"""What makes a bundle acceptable, and one line for everything that does not."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g4v import _core, errors


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
                "mean": [0.48, 0.46, 0.41],
                "std": [0.27, 0.26, 0.28],
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
            (put("components.encoder.mean", [0, 1e308, 0]), "components.encoder.mean[1] is out of range"),
            (put("components.encoder.std", [1e9, 1, 1]), "components.encoder.std[0] is out of range"),
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

    @pytest.mark.slow
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

    def test_links_to_files_are_followed_wherever_they_lead(self, tmp_path: Path) -> None:
        (tmp_path / "bundle").mkdir()
        folder = write_bundle(tmp_path / "bundle")
        for k, name in enumerate(FILES):
            (folder / name).rename(tmp_path / f"blob{k}")
            (folder / name).symlink_to(tmp_path / f"blob{k}")
        assert _core.check_bundle(folder, "full") is True
        (tmp_path / "blob1").write_bytes(b"D" * 1000)
        assert "wrong SHA-256" in refusal(folder) and "encoder.data" in refusal(folder)

    @pytest.mark.parametrize(
        ("target", "part"),
        [
            ("nowhere", "encoder.data (a link to a file that is not there)"),
            (".", "encoder.data (not a file)"),
            ("/dev/zero", "encoder.data (not a file)"),
            ("encoder.data", "Too many levels of symbolic links"),
        ],
    )
    def test_links_to_no_file(self, tmp_path: Path, target: str, part: str) -> None:
        folder = write_bundle(tmp_path)
        (folder / "encoder.data").unlink()
        (folder / "encoder.data").symlink_to(target)
        assert part in refusal(folder)

    def test_a_link_to_no_bundle(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("nowhere")
        assert "it is a link to a folder that is not there" in refusal(tmp_path / "link")
