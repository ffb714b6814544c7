"""The networks of a text-to-video folder: every key of their configurations, and every weight."""

import inspect
import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLWan, UNet3DConditionModel, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, PretrainedConfig

from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint import pipelines as reader
from g4v.export.checkpoint.pipelines import check_text_to_video
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.text_to_video import text_length
from g4v.export.errors import ExportError

WEIGHTS = {
    "text_encoder": "model.safetensors",
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
}
CLASSES = {"text_encoder": CLIPTextModel, "unet": UNet3DConditionModel, "vae": AutoencoderKL}
WITH_THE_UNET_SLOW = ["text_encoder", pytest.param("unet", marks=pytest.mark.slow), "vae"]


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the random run that a test may spoil."""
    return shutil.copytree(run, tmp_path / "run")


def load(run, part):
    return getattr(Checkpoint.open(run), part)()


def edit(run, part, change):
    """Replaces the tensors of a part by change(tensors)."""
    file = run / "t2v" / part / WEIGHTS[part]
    save_file(change(load_file(file)), file, {"format": "pt"})


def settings(file, **changes):
    values = json.loads(file.read_text("utf-8")) if file.exists() else {}
    values.update(changes)
    file.write_text(json.dumps(values), "utf-8")


class TestConfigurations:
    @pytest.mark.parametrize(
        ("pipeline", "name", "library"),
        [
            ("TextToVideoSDPipeline", "unet", UNet3DConditionModel),
            ("TextToVideoSDPipeline", "vae", AutoencoderKL),
            ("WanPipeline", "transformer", WanTransformer3DModel),
            ("WanPipeline", "vae", AutoencoderKLWan),
        ],
    )
    def test_every_key_of_the_class_is_known(self, pipeline, name, library):
        part = reader._PIPELINES[pipeline][name]
        keys = set(inspect.signature(library.__init__).parameters) - {"self"}
        assert keys - part.obeyed - set(reader._NO_EFFECT) == set()
        assert part.obeyed <= keys
        assert set(part.accepted) <= part.obeyed and part.names == (library.__name__,)

    def test_every_key_of_the_text_encoder_is_known(self):
        own = set(CLIPTextConfig().to_dict()) - set(PretrainedConfig().to_dict())
        obeyed = reader.CLIP_ENCODER.obeyed
        assert own - obeyed - set(reader._NO_EFFECT) <= {"model_type"}
        assert obeyed <= own
        assert not obeyed & set(reader._NO_EFFECT)

    @pytest.mark.parametrize("part", CLASSES)
    def test_an_unknown_key_is_refused(self, part, copy):
        settings(copy / "t2v" / part / "config.json", use_attention_mask=True)
        with pytest.raises(ExportError, match=f"{part}/config.json: unknown key 'use_attention_mask'"):
            Checkpoint.open(copy)

    @pytest.mark.parametrize(
        ("part", "key", "value"),
        [
            ("unet", "_class_name", "UNetMotionModel"),
            ("vae", "_class_name", "AutoencoderTiny"),
            ("text_encoder", "architectures", ["T5EncoderModel"]),
            ("text_encoder", "model_type", "t5"),
        ],
    )
    def test_another_class_is_refused(self, part, key, value, copy):
        settings(copy / "t2v" / part / "config.json", **{key: value})
        with pytest.raises(
            ExportError, match=f"{part}/config.json: .*{value[0] if key == 'architectures' else value}"
        ):
            Checkpoint.open(copy)

    @pytest.mark.parametrize(
        ("part", "key", "value"),
        [
            ("unet", "act_fn", "gelu"),
            ("unet", "time_cond_proj_dim", 32),
            ("unet", "down_block_types", ["CrossAttnDownBlock3D", "DownBlockMotion"]),
            ("unet", "up_block_types", ["UpBlockMotion", "CrossAttnUpBlock3D"]),
            ("vae", "act_fn", "relu"),
            ("vae", "out_channels", 4),
            ("vae", "shift_factor", 0.1),
            ("vae", "latents_mean", [0.0] * 4),
            ("vae", "latents_std", [1.0] * 4),
            ("vae", "up_block_types", ["UpDecoderBlock2D", "AttnUpDecoderBlock2D", "UpDecoderBlock2D"]),
            ("text_encoder", "hidden_act", "relu"),
        ],
    )
    def test_values_that_the_graphs_lack_are_refused_before_any_work(self, part, key, value, copy):
        settings(copy / "t2v" / part / "config.json", **{key: value})
        with pytest.raises(ExportError, match=f"{part}/config.json: {key} .* is not supported, only "):
            Checkpoint.open(copy)

    @pytest.mark.parametrize(
        ("part", "changes", "message"),
        [
            ("vae", {"block_out_channels": 8}, "block_out_channels is 8 but must be a list"),
            ("unet", {"block_out_channels": [16, None]}, "must be a list of positive integers"),
            ("unet", {"out_channels": 8}, "in_channels and out_channels differ"),
            ("unet", {"_class_name": "UNet\nModel"}, "is of the class UNet Model, not UNet3DConditionModel"),
            ("unet", {"layers_per_block": 10**9}, "layers_per_block is 1000000000 but must be at most 1000"),
            (
                "text_encoder",
                {"num_hidden_layers": 2**63},
                "num_hidden_layers is .* but must be at most 1000",
            ),
            ("vae", {"norm_num_groups": 2**40}, "norm_num_groups is .* but must be at most 16777216"),
        ],
    )
    def test_malformed_values_are_refused(self, part, changes, message, copy):
        settings(copy / "t2v" / part / "config.json", **changes)
        with pytest.raises(ExportError, match=message):
            Checkpoint.open(copy)

    def test_what_the_library_refuses_is_one_line(self, copy):
        settings(copy / "t2v" / "unet" / "config.json", num_attention_heads=4)
        with pytest.raises(
            ExportError, match=r"unet/config.json: cannot be used: .*num_attention_heads"
        ) as caught:
            load(copy, "unet")
        assert "\n" not in str(caught.value)

    def test_the_published_index_is_accepted(self, copy):
        names = {"scheduler": "DDIMScheduler", "text_encoder": "CLIPTextModel", "tokenizer": "CLIPTokenizer"}
        names |= {"unet": "UNet3DConditionModel", "vae": "AutoencoderKL"}
        index = {name: ["diffusers", value] for name, value in names.items()}
        index |= {"_class_name": "TextToVideoSDPipeline", "_diffusers_version": "0.15.0.dev0"}
        settings(copy / "t2v" / "model_index.json", **index, safety_checker=[None, None])
        check_text_to_video(copy / "t2v")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"_class_name": "AnimateDiffPipeline"}, "pipeline 'AnimateDiffPipeline' is not supported"),
            ({"unet": ["diffusers", "UNetMotionModel"]}, "unet is 'UNetMotionModel', which is not supported"),
            ({"scheduler": ["diffusers", "DPMSolverMultistepScheduler"]}, "is of 'DDIMScheduler': make them"),
            ({"motion_adapter": ["diffusers", "MotionAdapter"]}, "unknown part 'motion_adapter'"),
        ],
        ids=str,
    )
    def test_another_pipeline_is_refused(self, changes, message, copy):
        settings(copy / "t2v" / "model_index.json", **changes)
        with pytest.raises(ExportError, match=message):
            Checkpoint.open(copy)

    def test_the_run_may_choose_a_sampler_and_nothing_else(self, copy):
        about = json.loads((copy / "g4v_train.json").read_text("utf-8"))
        for chosen in ({"type": "pndm"}, {"type": "ddim", "clip_sample": True}, "ddim", {"type": 1}):
            about["generation"]["video"]["scheduler"] = chosen
            (copy / "g4v_train.json").write_text(json.dumps(about), "utf-8")
            with pytest.raises(ExportError, match=r"generation.video.scheduler is .* but must be"):
                Checkpoint.open(copy)

    @pytest.mark.parametrize(
        ("given", "length"), [(12, 12), (77, 16), (10**30, 16), (float("inf"), 16), (None, 16)]
    )
    def test_texts_are_as_long_as_the_tokenizer_says(self, given, length, copy, tmp_path):
        """diffusers cuts and pads a text to the tokenizer's model_max_length."""
        settings(copy / "t2v" / "tokenizer" / "tokenizer_config.json", model_max_length=given)
        assert text_length(Checkpoint.open(copy)) == length
        if given == 12:
            made = export_bundle(copy, tmp_path / "out", only=["text_encoder"])
            assert made["components"]["text_encoder"]["max_length"] == 12


class TestWeights:
    @pytest.mark.parametrize("part", CLASSES)
    def test_equal_to_the_library(self, part, run):
        ours = load(run, part).state_dict()
        theirs = CLASSES[part].from_pretrained(run / "t2v" / part).state_dict()
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert tensor.dtype == torch.float16 and torch.equal(tensor.float(), theirs[name].float()), name

    @pytest.mark.parametrize("part", CLASSES)
    def test_a_missing_tensor_is_named(self, part, copy):
        name = sorted(load_file(copy / "t2v" / part / WEIGHTS[part]))[3]
        edit(copy, part, lambda tensors: {k: v for k, v in tensors.items() if k != name})
        with pytest.raises(
            ExportError, match=f"t2v/{part}: missing tensor (text_model.)?{name.removeprefix('text_model.')},"
        ):
            load(copy, part)

    @pytest.mark.parametrize("part", CLASSES)
    def test_a_tensor_that_is_left_over_is_named(self, part, copy):
        edit(copy, part, lambda tensors: tensors | {"lora.up.weight": torch.zeros(2)})
        with pytest.raises(ExportError, match=f"t2v/{part}: unexpected tensor lora.up.weight,"):
            load(copy, part)

    @pytest.mark.parametrize("part", CLASSES)
    def test_a_tensor_of_another_shape_is_named(self, part, copy):
        name = sorted(load_file(copy / "t2v" / part / WEIGHTS[part]))[0]
        edit(copy, part, lambda tensors: tensors | {name: tensors[name].flatten()[:-1].clone()})
        with pytest.raises(ExportError, match=f"t2v/{part}: misshapen tensor .*{name[-12:]} "):
            load(copy, part)

    @pytest.mark.parametrize("part", CLASSES)
    def test_numbers_that_are_not_finite_are_named(self, part, copy):
        name = sorted(load_file(copy / "t2v" / part / WEIGHTS[part]))[0]
        edit(copy, part, lambda tensors: tensors | {name: torch.full_like(tensors[name], torch.inf)})
        with pytest.raises(ExportError, match=f"{name} holds numbers that are not finite"):
            load(copy, part)

    @pytest.mark.parametrize("part", CLASSES)
    def test_quantised_weights_are_refused(self, part, copy):
        name = sorted(load_file(copy / "t2v" / part / WEIGHTS[part]))[0]
        edit(copy, part, lambda tensors: tensors | {name: tensors[name].to(torch.float8_e4m3fn)})
        with pytest.raises(ExportError, match=f"{name} is stored as float8_e4m3fn, which is not supported"):
            load(copy, part)

    def test_a_text_encoder_none_of_whose_tensors_match_is_refused(self, copy, tmp_path):
        """The library would draw all of its weights at random."""
        edit(copy, "text_encoder", lambda tensors: {f"cond_stage_model.{k}": v for k, v in tensors.items()})
        with pytest.raises(ExportError, match="text_encoder: missing tensor"):
            export_bundle(copy, tmp_path / "out", only=["text_encoder"])
        assert not (tmp_path / "out" / "g4v.json").exists()

    @pytest.mark.parametrize("part", CLASSES)
    def test_refused_before_any_work(self, part, copy, tmp_path):
        """Also where the component itself would be exported last, or not at all."""
        edit(copy, part, lambda tensors: tensors | {"lora.up.weight": torch.zeros(2)})
        with pytest.raises(ExportError, match=f"{part}: unexpected tensor lora.up.weight"):
            export_bundle(copy, tmp_path / "out", only=["frame_checker"])
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_positions_of_old_files_are_harmless(self, copy):
        """transformers wrote the numbers of the positions until 4.31."""
        positions = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
        edit(copy, "text_encoder", lambda tensors: tensors | positions)
        model = load(copy, "text_encoder")
        assert next(model.parameters()).dtype == torch.float16

    @pytest.mark.parametrize("prefixed", [True, False])
    def test_both_spellings_of_the_text_encoder(self, prefixed, copy):
        def rename(tensors):
            plain = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
            return {f"text_model.{name}": t for name, t in plain.items()} if prefixed else plain

        before = load(copy, "text_encoder").state_dict()
        edit(copy, "text_encoder", rename)
        after = load(copy, "text_encoder").state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    def test_old_names_of_the_attention(self, copy):
        """ZeroScope's VAE is published with the names of before diffusers 0.16."""
        settings(copy / "t2v/vae/config.json", mid_block_add_attention=True)
        torch.manual_seed(1)
        vae = AutoencoderKL.from_config(json.loads((copy / "t2v/vae/config.json").read_text("utf-8")))
        new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        stored = {}
        for name, tensor in vae.state_dict().items():
            for now, before in new.items():
                name = name.replace(f"attentions.0.{now}.", f"attentions.0.{before}.")
            stored[name] = tensor
        assert sum("proj_attn" in name for name in stored) == 4
        save_file(stored, copy / "t2v/vae" / WEIGHTS["vae"], {"format": "pt"})
        loaded = load(copy, "vae")
        assert all(torch.equal(loaded.state_dict()[k], v) for k, v in vae.state_dict().items())
        edit(copy, "vae", lambda t: t | {"decoder.mid_block.attentions.0.to_q.bias": torch.zeros(16)})
        with pytest.raises(ExportError, match=r"attentions.0.query.bias and .*attentions.0.to_q.bias are"):
            load(copy, "vae")


class Code:
    """What a pickle may not hold: unpickling it would call a function."""

    def __reduce__(self):
        return print, ("executed",)


class TestPickles:
    @pytest.mark.parametrize("part", WITH_THE_UNET_SLOW)
    def test_weights_in_bin_alone(self, part, copy):
        """As cerspense/zeroscope_v2_576w publishes them."""
        before = load(copy, part).state_dict()
        file = copy / "t2v" / part / WEIGHTS[part]
        stem = "pytorch_model" if part == "text_encoder" else "diffusion_pytorch_model"
        torch.save(load_file(file), file.with_name(f"{stem}.bin"))
        file.unlink()
        after = load(copy, part).state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    @pytest.mark.parametrize("part", WITH_THE_UNET_SLOW)
    def test_half_precision_files_alone(self, part, copy):
        before = load(copy, part).state_dict()
        file = copy / "t2v" / part / WEIGHTS[part]
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
        after = load(copy, part).state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    def test_nothing_in_a_pickle_is_executed(self, copy, capfd):
        file = copy / "t2v/unet" / WEIGHTS["unet"]
        torch.save({**load_file(file), "more": Code()}, file.with_suffix(".bin"))
        file.unlink()
        with pytest.raises(ExportError, match=r"diffusion_pytorch_model.bin: refused, only tensors are read"):
            load(copy, "unet")
        assert "executed" not in capfd.readouterr().out

    @pytest.mark.parametrize("part", CLASSES)
    def test_no_weights_at_all(self, part, copy):
        (copy / "t2v" / part / WEIGHTS[part]).unlink()
        with pytest.raises(ExportError, match=rf"t2v/{part}: no .*{WEIGHTS[part]}, .*\.bin or index"):
            load(copy, part)

    @pytest.mark.slow
    def test_bundle_of_pickles(self, copy, run, tmp_path):
        """Every part of the text-to-video model as a pickle makes the bytes of the plain export."""
        for part, name in WEIGHTS.items():
            file = copy / "t2v" / part / name
            stem = "pytorch_model" if part == "text_encoder" else "diffusion_pytorch_model"
            torch.save(load_file(file), file.with_name(f"{stem}.bin"))
            file.unlink()
        parts = ["text_encoder", "unet", "vae_decoder"]
        made = export_bundle(copy, tmp_path / "a", only=parts)["files"]
        plain = export_bundle(run, tmp_path / "b", only=parts)["files"]
        assert made == plain
