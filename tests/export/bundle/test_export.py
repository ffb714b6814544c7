"""The whole export: files, manifest, determinism, refusals."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from g4v.export.__main__ import main
from g4v.export.bundle.command_line import make_parser
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError
from g4v.model.abstractor import VideoAbstractor
from g4v.model.assistant import Gpt4Video
from g4v.ops import custom_ops_library

FILES = {
    *(
        f"{stem}.{end}"
        for stem in (
            "encoder",
            "abstractor",
            "abstractor_memory",
            "decoder",
            "text_encoder",
            "unet",
            "vae_decoder",
            "frame_checker",
        )
        for end in ("onnx", "data")
    ),
    "decoder.packed",
    "embedding.bin",
    "tokenizer.json",
}


def manifest_of(bundle):
    return json.loads((bundle / "g4v.json").read_text("utf-8"))


def test_manifest_lists_every_file_with_its_hash(bundle):
    manifest = manifest_of(bundle)
    assert {p.name for p in bundle.iterdir()} == FILES | {"g4v.json", "report.json", "report.html"}
    assert set(manifest["files"]) == FILES
    for name, entry in manifest["files"].items():
        content = (bundle / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_manifest_describes_the_run(bundle):
    manifest = manifest_of(bundle)
    components = manifest["components"]
    assert (manifest["format"], manifest["format_version"]) == ("g4v-bundle", 1)
    assert components["encoder"]["flavour"] == "mplug-owl-video"
    assert components["encoder"]["tokens_per_frame"] == 17
    assert components["abstractor"]["output_tokens"] == 6
    assert components["frame_checker"]["withhold_above"] == 0.4
    assert components["decoder"]["kv_heads"] == 2 and components["decoder"]["context_length"] == 192
    assert components["vae_decoder"]["scale_factor"] == 4
    assert manifest["frame_sampling"] == {"frames": 8}
    assert manifest["prompt"]["turn_end_id"] == 2
    assert manifest["tokenizers"]["text_encoder"] == {"file": "tokenizer.json", "bos": 1, "eos": 2, "pad": 0}
    scheduler = manifest["generation"]["video"]["scheduler"]
    assert scheduler["type"] == "ddim" and scheduler["beta_schedule"] == "scaled_linear"
    assert set(manifest["provenance"]["relative_errors"]) == set(components)


@pytest.mark.slow
def test_same_run_gives_the_same_bytes(run, bundle, tmp_path):
    export_bundle(run, tmp_path / "again")
    assert (tmp_path / "again" / "g4v.json").read_bytes() == (bundle / "g4v.json").read_bytes()


@torch.no_grad()
def test_bundle_computes_what_the_assistant_computes(run, bundle):
    """Pixels to logits: encoder, abstractor and decoder graphs in a row, the adapter among them."""
    model = Gpt4Video.from_checkpoint(run)
    pixels = torch.randn(4, 3, 32, 32)
    ids = torch.tensor([[1, 30, 31, *[-1] * 6, 40, 41]])
    expected = model(ids, pixel_values=pixels[None]).logits[0, -1].numpy()

    def graph(stem):
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(custom_ops_library())
        return onnxruntime.InferenceSession(
            bundle / f"{stem}.onnx", options, providers=["CPUExecutionProvider"]
        )

    (features,) = graph("encoder").run(None, {"pixel_values": pixels.numpy()})
    (memory,) = graph("abstractor_memory").run(None, {"features": features})
    (video,) = graph("abstractor").run(None, {"memory": memory})
    table = np.fromfile(bundle / "embedding.bin", "<f4").reshape(-1, 48)
    embeds = np.concatenate([table[[1, 30, 31]], video, table[[40, 41]]])
    feeds = {
        "inputs_embeds": embeds[None],
        "seqlens_k": np.array([10], np.int32),
        "total_sequence_length": np.array(11, np.int32),
        **{
            f"past_key_values.{i}.{p}": np.zeros((1, 2, 12, 16), "f4")
            for i in range(3)
            for p in ("key", "value")
        },
    }
    logits = graph("decoder").run(["logits"], feeds)[0][0, 0]
    assert np.abs(logits - expected).max() / np.abs(expected).max() < 1e-5


def test_a_run_of_the_clip_flavour_exports(small, tmp_path):
    run = write_random_checkpoint(tmp_path / "run", small, vocab_size=280, flavour="clip")
    shutil.rmtree(run / "t2v")
    manifest = export_bundle(run, tmp_path / "out")
    assert set(manifest["components"]) == {"encoder", "abstractor", "decoder", "frame_checker"}
    assert manifest["components"]["encoder"]["flavour"] == "clip"
    assert "video" not in manifest["generation"] and "text_encoder" not in manifest["tokenizers"]


@pytest.mark.slow
def test_a_run_without_language_model_exports_its_generator(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    for part in ("encoder", "abstractor", "llm", "adapter"):
        shutil.rmtree(copy / part)
    with pytest.raises(ExportError, match="encoder/ is missing: frame_checker/ reads its tokens"):
        export_bundle(copy, tmp_path / "out")
    shutil.rmtree(copy / "frame_checker")
    manifest = export_bundle(copy, tmp_path / "out")
    assert set(manifest["components"]) == {"text_encoder", "unet", "vae_decoder"}
    assert "prompt" not in manifest


@pytest.mark.slow
def test_verify_finds_a_damaged_file_and_foreign_weights(run, bundle, tmp_path):
    assert max(verify_bundle(run, bundle).values()) < 1e-4
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    data = bytearray((damaged / "unet.data").read_bytes())
    data[1000] ^= 1
    (damaged / "unet.data").write_bytes(data)
    with pytest.raises(ExportError, match="unet.data: is missing or damaged"):
        verify_bundle(run, damaged)
    other = shutil.copytree(run, tmp_path / "other")
    shutil.rmtree(other / "adapter")
    with pytest.raises(ExportError, match="decoder: the graph differs from PyTorch"):
        verify_bundle(other, bundle)


PARTS = {
    "encoder": "encoder",
    "abstractor": "abstractor",
    "frame_checker": "frame_checker",
    "t2v/text_encoder": "text_encoder",
    "t2v/unet": "unet",
    "t2v/vae": "vae_decoder",
}


@pytest.mark.parametrize("part", PARTS)
def test_weights_that_are_not_finite_are_named(run, tmp_path, part):
    copy = shutil.copytree(run, tmp_path / "run")
    (file,) = (copy / part).glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name, weight in sorted(weights.items()) if weight.ndim > 1)
    weights[name].view(-1)[1] = float("nan")
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ExportError, match=f"{part}.*: .*{name.split('.')[-2]}.* not finite"):
        export_bundle(copy, tmp_path / "out", only=[PARTS[part]])


def test_verify_refuses_a_run_that_lacks_a_component(run, bundle, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    shutil.rmtree(other / "frame_checker")
    with pytest.raises(ExportError, match="has frame_checker, and .*other has not"):
        verify_bundle(other, bundle)


def test_verify_refuses_a_run_of_other_sizes(small, bundle, tmp_path):
    wider = replace(small, encoder={**small.encoder, "image_size": 48})
    other = write_random_checkpoint(tmp_path / "other", wider, vocab_size=280)
    with pytest.raises(ExportError, match=r"encoder\.image_size is 32, and that of .*other is 48"):
        verify_bundle(other, bundle)


@pytest.mark.slow
def test_out_is_replaced_only_on_request_and_only_if_it_is_a_bundle(run, bundle, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("keep me")
    for force in (False, True):
        with pytest.raises(ExportError, match="exists already|is no bundle"):
            export_bundle(run, mine, force=force)
    assert (mine / "letter.txt").read_text() == "keep me"
    copy = shutil.copytree(bundle, tmp_path / "copy")
    with pytest.raises(ExportError, match="--force"):
        export_bundle(run, copy)
    (copy / "stale.bin").write_text("old")
    export_bundle(run, copy, force=True)
    assert {p.name for p in copy.iterdir()} == FILES | {"g4v.json", "report.json", "report.html"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "mine"]


def change_about(run, **values):
    path = run / "g4v_train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_config(run, part, **values):
    path = run / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (r / "g4v_train.json").unlink(), "has no g4v_train.json, conversion.json or config.json"),
        (lambda r: change_about(r, surprise=1), "unknown key 'surprise'"),
        (lambda r: change_about(r, prompt={"turn_end_id": 2, "speed": 1}), "prompt: .*speed"),
        (lambda r: shutil.rmtree(r / "encoder"), "must be there together"),
        (
            lambda r: (r / "llm" / "model.safetensors").write_bytes(b"junk"),
            "model.safetensors: damaged or truncated",
        ),
        (lambda r: (r / "abstractor" / "model.safetensors").unlink(), "abstractor: no model.safetensors"),
        (lambda r: change_config(r, "abstractor", output_size=40), "abstractor: misshapen tensor"),
        (lambda r: change_config(r, "t2v/unet", act_fn="gelu"), "act_fn 'gelu' is not supported"),
    ],
)
def test_a_bad_run_is_refused_and_leaves_nothing(run, tmp_path, spoil, message, capsys):
    bad = shutil.copytree(run, tmp_path / "bad")
    spoil(bad)
    assert main(["--checkpoint", str(bad), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["bad"]


@pytest.mark.slow
def test_parts_that_do_not_fit_are_refused(run, small, tmp_path):
    bad = shutil.copytree(run, tmp_path / "bad")
    VideoAbstractor(replace(small.abstractor, output_size=40)).save_pretrained(bad / "abstractor")
    with pytest.raises(ExportError, match="output_size is 40, but decoder.hidden_size is 48"):
        export_bundle(bad, tmp_path / "out")


def test_usage_errors_have_exit_code_2(capsys):
    for arguments in ([], ["--checkpoint", "x"], ["--checkpoint", "x", "--out", "y", "--speed", "9"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "--force" in capsys.readouterr().out


def test_a_renamed_option_keeps_its_old_name(capsys):
    parser = make_parser()
    for word in ("--store-as-float16", "--compact"):
        assert parser.parse_args(["--out", "x", word]).store_as_float16
    assert not parser.parse_args(["--out", "x"]).store_as_float16
    parser.print_help()
    help_text = capsys.readouterr().out
    assert "--store-as-float16" in help_text and "--compact" not in help_text


def test_scheduler_of_the_run(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    about = json.loads((copy / "g4v_train.json").read_text())
    about["generation"]["video"]["scheduler"] = {"type": "dpmsolver++"}
    change_about(copy, **about)
    assert Checkpoint.open(copy).scheduler()["type"] == "dpmsolver++"
    path = copy / "t2v" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "PNDMScheduler"}))
    change_about(copy, generation={"video": {}})
    with pytest.raises(ExportError, match="PNDMScheduler"):
        Checkpoint.open(copy).scheduler()


@pytest.mark.slow
def test_g4v_verify_compares_again(run, bundle, tmp_path, capsys):
    from g4v.cli import main as g4v

    assert g4v(["verify", str(bundle)]) == 0
    assert "not compared; name the run with --base" in capsys.readouterr().out
    transformers.utils.logging.enable_progress_bar()
    assert g4v(["verify", str(bundle), "--checkpoint", str(run)]) == 0
    text, errors = capsys.readouterr()
    assert not errors  # no bars of other libraries
    assert "unet: relative error " in text and "graphs: 7 compute what the run does" in text
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    data = bytearray((broken / "unet.data").read_bytes())
    data[100] ^= 1
    (broken / "unet.data").write_bytes(data)
    assert g4v(["verify", str(broken)]) == 1
    error = capsys.readouterr().err
    assert "unet.data" in error and error.count("\n") == 1
    assert g4v(["verify", str(bundle), "--checkpoint", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
