"""docs/bundle-format.md against the reader (csrc/bundle) and against manifests that the exporter writes.

The tables of the page are the test's input: each key is removed, given a wrong type and a value out of its
range, and the core must answer as the page says. So a key that is invented, or whose row is wrong, fails
here, and so does a key of a manifest or of the reader that the page does not have.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from g4v import cli
from g4v._core import testing

from ..python import synthetic_bundle as toy
from .pages import ROOT, tables

PAGE = ROOT / "docs" / "bundle-format.md"
FREE = ("licences", "provenance")  # the reader hands these on as they are
# Keys that tell whether the file is a manifest at all, and what is said where they are wrong.
IDENTITY = {"format": "is not the manifest of a g4v bundle", "format_version": "has bundle format version"}


class Row:
    """A row of the page: a key with its type, whether it is needed, and the values that are allowed."""

    def __init__(self, cells: list[str]) -> None:
        assert len(cells) == 5, cells
        self.key = cells[0].strip("`")
        self.type, self.needed, self.allowed = cells[1], cells[2], cells[3]
        assert cells[0] == f"`{self.key}`" and self.type in WRONG, cells
        assert self.needed in ("yes", "no") or self.needed.startswith(("with ", "without ")), cells

    def __repr__(self) -> str:
        return self.key

    @property
    def free(self) -> bool:
        return self.key.startswith(FREE) and "." in self.key

    @property
    def words(self) -> list[str]:
        """The allowed words of a string."""
        return re.findall(r"`([^`]+)`", self.allowed)

    @property
    def outside(self) -> list[Any]:
        """Values just out of the allowed range."""
        step = 1 if self.type.startswith("integer") else 0.5
        if match := re.fullmatch(r"(\d+) to (\d+)", self.allowed):
            return [int(match[1]) - step, int(match[2]) + step]
        if match := re.fullmatch(r"above (\d+)|(\d+) or more", self.allowed):
            return [int(match[1]) if match[1] else int(match[2]) - 1]
        return ["another word"] if self.words else []


# Types of the page -> a value of another type.
WRONG: dict[str, Any] = {
    "string": 5,
    "integer": "text",
    "integer or null": "text",
    "number": "text",
    "boolean": 1,
    "array": {},
    "object": [],
}
ROWS = [Row(cells) for cells in tables(PAGE, "key")]
READ = [row for row in ROWS if not row.free]


def pattern(key: str) -> re.Pattern[str]:
    """What a documented key matches: NAME, PATH and DIMENSION stand for any name."""
    parts = []
    for part in key.split("."):
        name = part.removesuffix("[]")
        parts.append(("[^.]+" if name.isupper() else re.escape(name)) + re.escape(part[len(name) :]))
    return re.compile(re.escape(".").join(parts))


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all keys of a manifest; `[]` for the elements of an array."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{name.replace('.', '_')}" if path else name
            yield here
            yield from leaves(inner, here)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")


def undocumented(manifest: dict[str, Any]) -> set[str]:
    """Keys that the page does not have. What is inside a free object's entry is free."""
    known = [pattern(row.key) for row in ROWS]
    missing = set()
    for path in leaves(manifest):
        parts = path.split(".")
        if parts[0] == "provenance" and (len(parts) != 2 or parts[1] not in WRITTEN):
            continue
        if not any(one.fullmatch(path) for one in known):
            missing.add(path)
    return missing


# Keys that the exporter itself puts into `provenance`; all others are the run's.
WRITTEN = [row.key.removeprefix("provenance.") for row in ROWS if row.key.startswith("provenance.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose manifest has every key that the reader knows."""
    folder = tmp_path_factory.mktemp("format") / "bundle"
    toy.write_bundle(folder, keeps_frames=True)
    manifest = json.loads((folder / "g4v.json").read_text("utf-8"))
    components = manifest["components"]
    width = components["encoder"]["hidden_size"]
    variants = copy.deepcopy(components["unet"]["variants"])
    components["vae_encoder"] = {"variants": copy.deepcopy(variants)}
    components["frame_checker"] = {"hidden_size": width, "withhold_above": 0.4, "variants": variants}
    for component in components.values():
        component["variants"][0]["profile"] = {"frames": [1, 8, 8]}
    components["decoder"]["variants"][0]["packed"] = "embedding.bin"
    manifest["tokenizers"]["decoder"] |= {"bos": 1, "eos": 2, "pad": 0}
    manifest["generation"]["video"]["shared_noise"] = 0.5
    manifest["generation"]["video"]["scheduler"] |= {
        "clip_sample_range": 1.5,
        "use_karras_sigmas": True,
        "final_sigmas_type": "sigma_min",
        "solver_order": 1,
        "lower_order_final": False,
        "euler_at_final": True,
        "use_exponential_sigmas": False,
        "solver_type": "heun",
        "predict_x0": False,
        "disable_corrector": [0],
        "original_inference_steps": 25,
        "timestep_scaling": 5.0,
        "shift": 3.0,
        "shift_terminal": 0.1,
        "stochastic_sampling": True,
    }
    manifest["generation"]["video"]["schedulers"] = ["ddim", "euler"]
    components["unet"]["timestep_dtype"] = "int64"
    components["text_encoder"] |= {"attention_mask": True, "zero_padding": True, "load": "per_video"}
    components["encoder"] |= {"resampling": "lanczos", "longest_edge": 64}
    components["abstractor"]["kind"] = "mplug-owl"
    manifest["frame_sampling"] |= {"fps": 2, "skip_seconds": 1, "rule": "spread"}
    texts = ("system_prefix", "system_suffix", "no_system", "video_suffix", "answer_prefix", "answer_suffix")
    manifest["prompt"] |= dict.fromkeys([*texts, "turn_separator"], "<s>")
    manifest["prompt"] |= {"special_tokens": {"<s>": 1}, "space_after_special": True, "stop_ids": [0]}
    manifest["prompt"] |= {"space_after_bos": True, "space_after_video": True}
    manifest["licences"] = [{"component": "all", "licence": "Apache-2.0"}]
    (folder / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    return folder


@pytest.fixture
def read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Any], str]:
    """Has the core read a manifest; returns "" where it is accepted, else the error's line."""
    for file in folder.iterdir():
        if file.name != "g4v.json":
            (tmp_path / file.name).symlink_to(file)

    def read(manifest: Any) -> str:
        for file in folder.iterdir():  # links that leave a bundle are refused: the files themselves
            target = tmp_path / file.name
            if target.is_symlink():
                target.unlink()
                target.hardlink_to(file)
        (tmp_path / "g4v.json").write_text(json.dumps(manifest), "utf-8")
        code = cli.main(["inspect", str(tmp_path), "--verify", "size", "--json"])
        error = capsys.readouterr().err.strip()
        assert (code == 0) == (error == ""), error
        return error

    return read


def places(manifest: Any, key: str) -> list[tuple[Any, Any, str]]:
    """(object that has the key, its last part, the path as the core writes it) for every match of a
    documented key, placeholders and array elements filled in.
    """
    found: list[tuple[Any, str]] = [(manifest, "")]
    parts = key.split(".")
    for index, part in enumerate(parts):
        name, array = part.removesuffix("[]"), part.endswith("[]")
        last = index + 1 == len(parts)
        onward: list[Any] = []
        for value, path in found:
            assert isinstance(value, dict), (key, path)
            for one in list(value) if name.isupper() else [name] if name in value else []:
                here = f"{path}.{one}" if path else one
                if last:
                    onward.append((value, one, here))
                elif array:
                    onward += [(inner, f"{here}[{i}]") for i, inner in enumerate(value[one])]
                else:
                    onward.append((value[one], here))
        found = onward
    return found  # type: ignore[return-value]


def original(folder: Path, key: str = "") -> dict[str, Any]:
    """The manifest; for the texts around frames, one with a connector that makes tokens of each frame; for
    the shortest edge, one without the longest, which excludes it; for a transformer, one with it in place of
    the UNet, and with a causal VAE; for what LTX-Video has alone, one of that.
    """
    manifest: dict[str, Any] = json.loads((folder / "g4v.json").read_text("utf-8"))
    if key.startswith("prompt.frame_"):
        manifest["components"]["abstractor"]["kind"] = "pixel-shuffle"
        for variant in manifest["components"]["abstractor"]["variants"]:
            variant.pop("memory_graph", None)
        manifest["prompt"] |= {"frame_prefix": "\n{timestamp}:", "frame_suffix": "\n"}
    if key.startswith(TRANSFORMER_KEYS) and not key.startswith(LTX_KEYS):
        components = manifest["components"]
        unet = components.pop("unet") | {"patch_size": [1, 2, 2], "positions": 1024}
        del unet["timestep_dtype"], components["vae_encoder"]
        components["transformer"] = unet
        components["vae_decoder"] |= {
            "latents_mean": [0.5] * unet["latent_channels"],
            "latents_std": [2] * unet["latent_channels"],
            "causal": {"frames_per_latent": 4, "caches": [{"channels": 4, "scale": 2}]},
        }
        manifest["generation"]["video"]["pipeline"] = "WanPipeline"
    if key.startswith(LTX_KEYS):
        components, video = manifest["components"], manifest["generation"]["video"]
        unet = components.pop("unet") | {"patch_size": [1, 1, 1]}
        del unet["timestep_dtype"], components["vae_encoder"]
        components["transformer"] = unet | {"attention_mask": True, "frame_seconds": True}
        whole = {"frames_per_latent": 8, "timestep": True, "noise_scales": [1, 2]}
        components["vae_decoder"]["whole"] = whole
        video["pipeline"] = "LTXPipeline"
        video["scheduler"] |= {
            "use_dynamic_shifting": True,
            "base_shift": 0.95,
            "max_shift": 2.05,
            "base_image_seq_len": 1024,
            "max_image_seq_len": 5000,
            "time_shift_type": "linear",
            "use_linear_quadratic_sigmas": False,
        }
        if key.startswith("generation.video.decode_"):
            video |= {"decode_timestep": 0.05, "decode_noise_scale": 0.025}
    if key.endswith(".shortest_edge"):
        del manifest["components"]["encoder"]["longest_edge"]
        manifest["components"]["encoder"]["shortest_edge"] = 64
    return manifest


# Keys of bundles of LTX-Video.
LTX_KEYS = (
    "components.transformer.attention_mask",
    "components.transformer.frame_seconds",
    "components.vae_decoder.whole",
    "generation.video.decode_",
    "generation.video.scheduler.use_dynamic_shifting",
    "generation.video.scheduler.base_",
    "generation.video.scheduler.max_",
    "generation.video.scheduler.time_shift_type",
    "generation.video.scheduler.use_linear_quadratic_sigmas",
)
# Keys of bundles with a transformer.
TRANSFORMER_KEYS = (
    "components.transformer",
    "components.vae_decoder.causal",
    "components.vae_decoder.latents_",
    "generation.video.pipeline",
)

# Keys that are refused without another one, which they say more about.
COMPANIONS = {
    "prompt.frame_prefix": "prompt.frame_suffix",
    "frame_sampling.fps": "frame_sampling.skip_seconds",
}


def test_the_page_has_every_kind_of_row() -> None:
    keys = [row.key for row in ROWS]
    assert len(keys) == len(set(keys)) and len(keys) > 90
    assert {row.type for row in ROWS} == set(WRONG)


def test_the_whole_manifest_is_read(folder: Path, read: Callable[[Any], str]) -> None:
    assert read(original(folder)) == ""
    assert read(original(folder, "components.transformer")) == ""
    assert read(original(folder, "generation.video.decode_")) == ""


@pytest.mark.parametrize("row", READ, ids=str)
def test_a_row(row: Row, folder: Path, read: Callable[[Any], str]) -> None:
    """The key exists, is needed or not, and has the type and the range of its row."""
    count = len(places(original(folder, row.key), row.key))
    assert count, f"{row.key}: no manifest of the reader has it"
    for number in range(count):
        changes: list[tuple[str, Any]] = [("type", WRONG[row.type])]
        changes += [("range", value) for value in row.outside]
        if row.type.endswith("or null"):
            changes.append(("null", None))
        if row.type == "number":
            changes.append(("fits", 0.5))
        if row.type.startswith("integer"):
            changes.append(("type", 1.5))
        for kind, value in changes:
            manifest = original(folder, row.key)
            holder, name, path = places(manifest, row.key)[number]
            holder[name] = value
            error = read(manifest)
            if kind in ("null", "fits"):
                assert error == "", error
                continue
            if row.key in IDENTITY:
                assert IDENTITY[row.key] in error or path in error, error
                continue
            assert error.startswith(f"g4v: error: g4v.json: {path} "), (kind, value, error)
            if kind == "range" and row.words:
                assert error.endswith("one of " + ", ".join(f'"{word}"' for word in row.words)), error
        manifest = original(folder, row.key)
        holder, name, path = places(manifest, row.key)[number]
        del holder[name]
        if row.key in COMPANIONS:
            assert name in read(manifest)
            ((other, companion, _),) = places(manifest, COMPANIONS[row.key])
            del other[companion]
        if row.key == "components.encoder":  # whose features this one reads
            del manifest["components"]["frame_checker"]
        if row.key == "generation.video.pipeline":  # absent it is the UNet's
            manifest = original(folder)
            assert name not in manifest["generation"]["video"]
        if row.key == "components.transformer":  # whose pipeline this is
            del manifest["generation"]["video"]["pipeline"]
        if row.key == "components.transformer.frame_seconds":  # without it this is of the other pipeline
            manifest["generation"]["video"]["pipeline"] = "WanPipeline"
            del manifest["generation"]["video"]["scheduler"]["use_dynamic_shifting"]
        if row.key == "components.vae_decoder":  # whose latents this one makes
            del manifest["components"]["vae_encoder"]
        if row.key.startswith("files."):
            continue  # whatever names the file fails first; test_files has it
        error = read(manifest)
        if row.needed == "no" or row.needed.removeprefix("without ") in holder:
            assert error == "", error
        else:
            assert f'"{name}"' in error or IDENTITY.get(row.key, f"needs a {name} token") in error, error


def test_needed_only_with_its_component(folder: Path, read: Callable[[Any], str]) -> None:
    conditional = [row for row in READ if row.needed.startswith("with ")]
    assert len(conditional) == 6
    for row in conditional:
        manifest = original(folder)
        component = row.needed.removeprefix("with ")
        del manifest["components"][component]
        if component == "encoder":
            del manifest["components"]["frame_checker"]
        ((holder, name, _),) = places(manifest, row.key)
        del holder[name]
        assert read(manifest) == "", row.key


def test_packed_weights_are_for_the_cpu_and_in_place_of_its_graph(
    folder: Path, read: Callable[[Any], str]
) -> None:
    place = "components.decoder.variants[0]"
    for change, error in (
        ({"packed": None, "graph": None}, f'g4v.json: {place} has no key "graph"'),
        ({"target": "cuda"}, f'g4v.json: {place}.packed is for the target "cpu" alone'),
        ({"target": "cuda", "graph": None}, f'g4v.json: {place}.packed is for the target "cpu" alone'),
        ({"target": "cuda", "graph": None, "packed": None}, f'g4v.json: {place} has no key "graph"'),
    ):
        manifest = original(folder)
        (variant,) = manifest["components"]["decoder"]["variants"]
        variant |= change
        for key in [key for key, value in variant.items() if value is None]:
            del variant[key]
        assert error in read(manifest), change


def test_connectors_that_do_not_fit(folder: Path, read: Callable[[Any], str]) -> None:
    manifest = original(folder, "prompt.frame_prefix")
    manifest["components"]["encoder"]["flavour"] = "mplug-owl-video"
    assert "mixes frames" in read(manifest)
    manifest = original(folder, "prompt.frame_prefix")
    del manifest["components"]["abstractor"]["kind"]
    assert "tokens of every frame" in read(manifest)
    manifest = original(folder)
    for kind in ("pixel-shuffle", "mlp"):
        manifest["components"]["abstractor"]["kind"] = kind
        assert "memory_graph is not a known key" in read(manifest)
    manifest = original(folder)
    manifest["frame_sampling"]["fps"] = 1001
    assert "frame_sampling.fps is out of range" in read(manifest)
    manifest = original(folder)
    manifest["frame_sampling"]["rule"] = "floor"
    assert 'frame_sampling.rule is "floor", which leaves nothing out' in read(manifest)
    manifest = original(folder)
    manifest["components"]["encoder"]["shortest_edge"] = 64
    assert 'shortest_edge cannot be there beside "longest_edge"' in read(manifest)


def test_networks_of_videos_that_do_not_fit(folder: Path, read: Callable[[Any], str]) -> None:
    unet = original(folder)["components"]["unet"]
    encoder = original(folder)["components"]["vae_encoder"]
    key = "components.transformer"
    for change, error in (
        ({"unet": unet}, "components have a unet and a transformer"),
        ({"vae_encoder": encoder}, "components have a vae_encoder, of which there is none for a causal"),
    ):
        manifest = original(folder, key)
        manifest["components"] |= change
        assert error in read(manifest)
    for name, value, error in (
        (
            "latent_channels",
            5,
            "transformer.latent_channels and vae_decoder.latent_channels differ (5 and 4)",
        ),
        ("cross_attention_dim", 9, "text_encoder.hidden_size and transformer.cross_attention_dim differ"),
        ("patch_size", [1, 2], "patch_size must have 3 integers"),
        ("patch_size", [2, 2, 2], "patch_size[0] "),
        ("patch_size", [1, 2, 65], "patch_size[2] "),
    ):
        manifest = original(folder, key)
        manifest["components"]["transformer"][name] = value
        assert error in read(manifest), error
    for name, value, error in (
        ("latents_mean", [0.0] * 3, "latents_mean must have 4 numbers, one for each channel"),
        ("latents_std", [1.0, 1.0, 0.0, 1.0], "latents_std[2] is out of range"),
        ("latents_mean", [0.0, 0.0, 0.0, 2e6], "latents_mean[3] is out of range"),
        ("causal", {"frames_per_latent": 4, "caches": []}, "caches must have 1 to 512 elements"),
    ):
        manifest = original(folder, key)
        manifest["components"]["vae_decoder"][name] = value
        assert error in read(manifest), error
    whole = "components.vae_decoder.whole"
    causal = {"frames_per_latent": 4, "caches": [{"channels": 4, "scale": 2}]}
    for place, name, value, error in (
        ("components.vae_decoder", "causal", causal, 'whole is beside "causal"'),
        (whole, "noise_scales", [1, 3], "noise_scales[1] "),
        (whole, "noise_scales", [1] * 513, "noise_scales must have at most 512 elements"),
        (whole, "timestep", False, "has decode_timestep or decode_noise_scale, and the vae_decoder takes no"),
        ("generation.video", "pipeline", "WanPipeline", 'has use_dynamic_shifting, which is of "LTXPipel'),
        ("generation.video.scheduler", "max_image_seq_len", 1024, "a max_image_seq_len above base_image_seq"),
        ("components", "vae_encoder", encoder, "have a vae_encoder, of which there is none for a causal or"),
    ):
        manifest = original(folder, "generation.video.decode_")
        ((holder, last, _),) = places(manifest, place)
        holder[last][name] = value
        assert error in read(manifest), error
    manifest = original(folder, key)
    del manifest["generation"]["video"]["pipeline"]
    assert 'is of the pipeline "TextToVideoSDPipeline", and a transformer is there' in read(manifest)
    manifest = original(folder)
    manifest["generation"]["video"]["pipeline"] = "WanPipeline"
    assert 'is of the pipeline "WanPipeline", and a unet is there' in read(manifest)
    manifest = original(folder, key)
    del manifest["generation"]["video"]
    assert 'generation has no key "video"' in read(manifest)


def test_files(folder: Path, read: Callable[[Any], str]) -> None:
    for key in ("bytes", "sha256"):
        manifest = original(folder)
        del manifest["files"]["unet.onnx"][key]
        assert read(manifest).endswith(f'files.unet.onnx has no key "{key}"')
    manifest = original(folder)
    manifest["files"] |= {"more.bin": manifest["files"]["unet.onnx"]}
    assert "missing" in read(manifest)
    for path in ("/etc/passwd", "../x", "a/", "./x", "a\\b"):
        manifest = original(folder)
        manifest["files"] |= {path: {"bytes": 1, "sha256": "0" * 64}}
        assert "outside the bundle" in read(manifest), path


def test_an_unknown_key_is_refused_at_every_level(folder: Path, read: Callable[[Any], str]) -> None:
    objects = sorted(
        {row.key.rpartition(".")[0] for row in READ}
        - {"files", "components.NAME.variants[].profile", "prompt.special_tokens"}
    )
    assert "" in objects and "components.NAME.variants[]" in objects
    for key in objects:
        manifest = original(folder, key)
        if key.endswith("[]"):
            (holder, name, path) = places(manifest, key.removesuffix("[]"))[0]
            holder[name][0]["unknown"] = 1
            path += "[0]"
        elif key:
            (holder, name, path) = places(manifest, key)[0]
            holder[name]["unknown"] = 1
        else:
            manifest["unknown"], path = 1, ""
        assert read(manifest).startswith(
            f"g4v: error: g4v.json: {path}{'.' if path else ''}unknown is not a known key"
        )


def test_the_reader_has_no_other_keys() -> None:
    """Every word that the reader expects is the last part of a documented key, and the reverse."""
    sources = sorted((ROOT / "csrc" / "bundle").glob("manifest*.cc"))
    text = "\n".join(source.read_text("utf-8") for source in sources)
    expected = re.findall(r"ExpectKeys\(\s*\{(.*?)\}\s*\)", text, re.DOTALL)
    known = set(re.findall(r'"(\w+)"', " ".join(expected)))
    assert "ExpectKeys(kComponents)" in text
    known |= set(testing.COMPONENTS)
    assert len(expected) > 15, "the reader has changed its shape: bring this test up to date"
    looked_up = set(re.findall(r'(?:Get|Find|FindNotNull|ReadSize|ReadOptionalId)\((?:\w+, )?"(\w+)"', text))
    documented = {row.key.split(".")[-1].removesuffix("[]") for row in READ}
    documented = {name for name in documented if not name.isupper()}
    assert looked_up <= known | {"format", "format_version"}
    assert known == documented


def test_the_embedded_bundle_is_documented() -> None:
    manifest = json.loads((ROOT / "python/g4v/bundles/tiny/g4v.json").read_text("utf-8"))
    assert undocumented(manifest) == set()
    manifest["components"]["encoder"]["invented"] = 1
    manifest["generation"]["video"]["scheduler"]["invented"] = 1
    manifest["licences"][0]["invented"] = 1
    found = {"components.encoder.invented", "generation.video.scheduler.invented", "licences[].invented"}
    assert undocumented(manifest) == found


def test_the_synthetic_bundle_is_documented(folder: Path) -> None:
    assert undocumented(original(folder)) == set()
    assert undocumented(original(folder, "components.transformer")) == set()
    assert undocumented(original(folder, "generation.video.decode_")) == set()


def test_what_the_exporter_adds_is_there() -> None:
    """Every key of `provenance` on the page is one that the writer of manifests names."""
    source = "\n".join(file.read_text("utf-8") for file in (ROOT / "export" / "bundle").glob("*.py"))
    assert len(WRITTEN) >= 5 and [key for key in WRITTEN if f'"{key}"' not in source] == []


@pytest.mark.slow
def test_exported_manifests_are_documented(tmp_path: Path) -> None:
    """Two targets, rounded weights, real inputs: what the exporter writes that `tiny` does not have."""
    pytest.importorskip("onnx", reason="needs the export extra")
    from g4v.export.bundle.export import export_bundle
    from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint

    from ..export.conftest import SMALL

    run = write_random_checkpoint(tmp_path / "run", SMALL, vocab_size=280)
    text = tmp_path / "text.txt"
    text.write_text("A blue star grows, and a red circle moves left. " * 60, "utf-8")
    manifest = export_bundle(
        run, tmp_path / "out", only=["encoder", "abstractor", "decoder"], targets=["cpu", "cuda"],
        precision=["decoder=int4"], calibration=str(text),
    )  # fmt: skip
    assert undocumented(manifest) == set()
    assert manifest == json.loads((tmp_path / "out" / "g4v.json").read_text("utf-8"))
    given = json.loads((run / "g4v_train.json").read_text("utf-8"))["provenance"]
    added = set(manifest["provenance"]) - set(given)
    assert {"relative_errors", "fitted_to", "codes", "samples"} <= added <= set(WRITTEN)
    assert any("memory_graph" in variant for variant in manifest["components"]["abstractor"]["variants"])


def test_tokenizer_files_are_documented() -> None:
    """The keys of the tokenizer file, against those that are there and those that are read."""
    documented = {cells[0].strip("`") for cells in tables(PAGE, "tokenizer key")}
    there: set[str] = set()
    for name in ("tokenizer.json", "text_tokenizer.json"):
        there |= set(json.loads((ROOT / "python/g4v/bundles/tiny" / name).read_text("utf-8")))
    text = "\n".join(source.read_text("utf-8") for source in (ROOT / "csrc" / "text").glob("*.cc"))
    looked_up = set(re.findall(r'(?:file|cursor)\.(?:Get|Find)\("(\w+)"\)', text))
    assert there <= documented
    assert looked_up == documented
