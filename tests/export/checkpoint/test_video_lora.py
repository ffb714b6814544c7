"""LoRA of a text-to-video model: merged as diffusers' loader fuses it; what cannot be merged is refused."""

import json
import re

import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.loaders import PeftAdapterMixin, StableDiffusionLoraLoaderMixin
from peft import LoraConfig
from safetensors.torch import save_file

from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_lora import VideoLora, VideoLoraMerge
from g4v.export.errors import ExportError

Loader = StableDiffusionLoraLoaderMixin


class LoraUnet(UNet3DConditionModel, PeftAdapterMixin):
    """diffusers' UNet3DConditionModel has lost the mixin that its pipelines' load_lora_weights calls."""


@pytest.fixture(scope="module")
def checkpoint(run):
    return Checkpoint.open(run)


def unet(checkpoint):
    """In float64, and with the mixin."""
    module = checkpoint.unet().double()
    module.__class__ = LoraUnet
    return module


def text_encoder(checkpoint):
    return checkpoint.text_encoder().double()


# Layers of every kind: linear, 1x1 and 3x3 convolutions, convolutions over time, with stride, the first ones.
LAYERS = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": 4,
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0": 4,
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj": 4,
    "down_blocks.0.attentions.0.proj_in": 2,
    "down_blocks.0.temp_attentions.0.transformer_blocks.0.attn1.to_k": 4,
    "down_blocks.0.resnets.0.conv1": 3,
    "down_blocks.0.resnets.0.time_emb_proj": 1,
    "down_blocks.0.downsamplers.0.conv": 4,
    "mid_block.temp_convs.0.conv1.2": 4,
    "up_blocks.0.resnets.1.conv_shortcut": 4,
    "transformer_in.proj_in": 4,
    "time_embedding.linear_1": 4,
    "conv_in": 4,
    "conv_out": 2,
}
TEXT_LAYERS = {"self_attn.q_proj": 4, "self_attn.out_proj": 2, "mlp.fc1": 4}


def factors(layer, rank, seed):
    """(down, up) of a layer, with a convolution's kernel in down."""
    random = torch.Generator().manual_seed(seed)
    shape = layer.weight.shape
    down = torch.randn(rank, *shape[1:], generator=random) * 0.3
    return down, torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=random) * 0.3


def of_text(module, name):
    """A layer of the first block, as the installed transformers names it."""
    return next(n for n, _ in module.named_modules() if n.endswith(f"layers.0.{name}"))


def diffusers_tensors(checkpoint, layers=None, style="lora_{}.weight", seed=0, prefix="unet."):
    module, tensors = checkpoint.unet(), {}
    names = {"lora_{}.weight": "AB"}.get(style, ("down", "up"))
    for number, (name, rank) in enumerate((layers or LAYERS).items()):
        for what, values in zip(names, factors(module.get_submodule(name), rank, seed + number), strict=True):
            tensors[f"{prefix}{name}.{style.format(what)}"] = values
    return tensors


def text_tensors(checkpoint, seed=50):
    module, tensors = checkpoint.text_encoder(), {}
    for number, (name, rank) in enumerate(TEXT_LAYERS.items()):
        full = of_text(module, name)
        down, up = factors(module.get_submodule(full), rank, seed + number)
        stored = f"text_encoder.text_model.{full.removeprefix('text_model.')}.lora_linear_layer"
        tensors |= {f"{stored}.down.weight": down, f"{stored}.up.weight": up}
    return tensors


def saved(path, tensors, metadata=None):
    save_file({name: values.contiguous() for name, values in tensors.items()}, path, metadata)
    return path


def changed(merged, base):
    """The largest change of each weight of a module, by its name; those that did not change are left out."""
    before = dict(base.named_parameters())
    found = {name: (value - before[name]).abs().max().item() for name, value in merged.named_parameters()}
    return {name: most for name, most in found.items() if most > 0}


def compare(checkpoint, loras, part, theirs):
    """Compares a merge with a module in float64 into which the library fused the same files."""
    load = {"unet": unet, "text_encoder": text_encoder}[part]
    loads = {"unet": checkpoint.unet, "text_encoder": checkpoint.text_encoder}
    merge = VideoLoraMerge(loras, {name: make() for name, make in loads.items()})
    ours = merge.apply(part, loads[part]())
    weights = dict(theirs.named_parameters())
    touched = changed(ours.double(), load(checkpoint))
    for name, value in ours.named_parameters():
        layer, _, what = name.rpartition(".")
        wanted = weights.get(f"{layer}.base_layer.{what}", weights.get(name))
        assert (value - wanted).abs().max() <= 1e-5 * wanted.abs().max(), name
    return touched


def fused_unet(checkpoint, files):
    module = unet(checkpoint)
    for number, (file, _) in enumerate(files):
        tensors, alphas, metadata = Loader.lora_state_dict(
            str(file), unet_config=module.config, return_lora_metadata=True
        )
        Loader.load_lora_into_unet(tensors, alphas, module, adapter_name=f"a{number}", metadata=metadata)
    module.double()
    names = [f"a{number}" for number in range(len(files))]
    module.set_adapters(names, [weight for _, weight in files])
    module.fuse_lora(adapter_names=names)
    return module


@pytest.mark.parametrize("style", ["lora_{}.weight", "lora.{}.weight"])
@torch.no_grad()
def test_unet_equals_diffusers(style, checkpoint, tmp_path):
    file = saved(tmp_path / "a.safetensors", diffusers_tensors(checkpoint, style=style))
    touched = compare(checkpoint, [VideoLora(file, 0.7)], "unet", fused_unet(checkpoint, [(file, 0.7)]))
    assert touched.keys() == {f"{name}.weight" for name in LAYERS}
    assert min(touched.values()) > 1e-3


@torch.no_grad()
def test_several_files_add_up(checkpoint, tmp_path):
    one = saved(tmp_path / "a.safetensors", diffusers_tensors(checkpoint))
    few = dict(list(LAYERS.items())[:3])
    two = saved(tmp_path / "b.safetensors", diffusers_tensors(checkpoint, few, seed=90))
    loras = [VideoLora(one, 0.5), VideoLora(two, -1.25)]
    compare(checkpoint, loras, "unet", fused_unet(checkpoint, [(one, 0.5), (two, -1.25)]))


@torch.no_grad()
def test_older_names_of_attention(checkpoint, tmp_path):
    layers = {name: rank for name, rank in LAYERS.items() if ".attn" in name}
    tensors = {}
    for key, values in diffusers_tensors(checkpoint, layers, "lora.{}.weight").items():
        key = re.sub(r"\.to_(q|k|v|out)(\.0)?\.lora\.", r".processor.to_\1_lora.", key)
        tensors[key] = values
    file = saved(tmp_path / "a.safetensors", tensors)
    touched = compare(checkpoint, [VideoLora(file)], "unet", fused_unet(checkpoint, [(file, 1.0)]))
    assert len(touched) == len(layers)


@torch.no_grad()
def test_what_the_metadata_says_is_obeyed(checkpoint, tmp_path):
    """As save_lora_weights stores a LoraConfig: alphas, patterns and rank-stabilised scales."""
    for number, options in enumerate(({}, {"use_rslora": True}, {"alpha_pattern": {"conv1": 9.0}})):
        ranks = {name: rank for name, rank in LAYERS.items() if rank != 4}
        config = LoraConfig(r=4, lora_alpha=6, target_modules=list(LAYERS), rank_pattern=ranks, **options)
        values = {
            f"unet.{name}": list(value) if isinstance(value, set) else value
            for name, value in config.to_dict().items()
        }
        metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(values)}
        file = saved(tmp_path / f"{number}.safetensors", diffusers_tensors(checkpoint), metadata)
        compare(checkpoint, [VideoLora(file, 0.7)], "unet", fused_unet(checkpoint, [(file, 0.7)]))


@torch.no_grad()
def test_text_encoder_equals_diffusers(checkpoint, tmp_path):
    tensors = text_tensors(checkpoint) | diffusers_tensors(checkpoint)
    file = saved(tmp_path / "a.safetensors", tensors)
    module = text_encoder(checkpoint)
    found, alphas, metadata = Loader.lora_state_dict(str(file), return_lora_metadata=True)
    Loader.load_lora_into_text_encoder(found, alphas, module, adapter_name="a", lora_scale=0.7)
    for layer in module.double().modules():
        if hasattr(layer, "lora_A"):
            layer.merge()
    touched = compare(checkpoint, [VideoLora(file, 0.7)], "text_encoder", module)
    assert touched.keys() == {f"{of_text(text_encoder(checkpoint), name)}.weight" for name in TEXT_LAYERS}


def kohya(tensors, alphas=None, of_text="lora_te_"):
    """The same tensors with kohya's names. alphas: one for all, or by layer."""
    found = {}
    for key, values in tensors.items():
        part, name, role = re.fullmatch(
            r"(unet|text_encoder)\.(.+?)\.lora(?:_linear_layer)?[._](A|B|down|up)\.weight", key
        ).groups()
        stem = ("lora_unet_" if part == "unet" else of_text) + name.replace(".", "_")
        found[f"{stem}.lora_{'down' if role in ('A', 'down') else 'up'}.weight"] = values
        alpha = alphas.get(name) if isinstance(alphas, dict) else alphas
        if alpha is not None:
            found[f"{stem}.alpha"] = torch.tensor(float(alpha))
    return found


@torch.no_grad()
def test_kohyas_layout_equals_diffusers(checkpoint, tmp_path):
    """Of the layers whose names diffusers can translate; it knows none of those over time."""
    layers = {name: 4 for name in LAYERS if "temp_" not in name and "transformer_in" not in name}
    layers = {name: 4 for name in layers if "conv" not in name or "resnets.0" in name}
    tensors = kohya(diffusers_tensors(checkpoint, layers), alphas=2.5)
    file = saved(tmp_path / "a.safetensors", tensors, {"ss_network_dim": "4"})
    touched = compare(checkpoint, [VideoLora(file, 0.8)], "unet", fused_unet(checkpoint, [(file, 0.8)]))
    assert len(touched) == len(layers)


@pytest.mark.parametrize("of_text", ["lora_te_", "lora_te1_"])
@torch.no_grad()
def test_kohyas_layout_is_that_of_diffusers_times_alpha_by_rank(of_text, checkpoint, tmp_path):
    """All layers, each with an alpha of its own; those without have the scale 1."""
    plain = text_tensors(checkpoint) | diffusers_tensors(checkpoint, style="lora.{}.weight")
    names = [re.split(r"\.lora", key)[0].split(".", 1)[1] for key in plain if ".up." in key]
    alphas = {name: 0.5 + number for number, name in enumerate(names) if number % 3}
    file = saved(tmp_path / "a.safetensors", kohya(plain, alphas, of_text))
    scaled = {}
    for key, values in plain.items():
        name = re.split(r"\.lora", key)[0].split(".", 1)[1]
        scale = alphas[name] / values.shape[1] if ".up." in key and name in alphas else 1.0
        scaled[key] = values.double() * scale
    other = saved(tmp_path / "b.safetensors", scaled)
    makes = {"unet": checkpoint.unet, "text_encoder": checkpoint.text_encoder}
    for part, make in makes.items():
        modules = {name: each() for name, each in makes.items()}
        ours = VideoLoraMerge([VideoLora(file)], modules).apply(part, make())
        wanted = VideoLoraMerge([VideoLora(other)], modules).apply(part, make())
        for (name, a), (_, b) in zip(ours.named_parameters(), wanted.named_parameters(), strict=True):
            assert (a - b).abs().max() <= 1e-6 * b.abs().max(), name
        assert len(changed(ours, make().float())) == (len(LAYERS) if part == "unet" else len(TEXT_LAYERS))


def test_a_linear_layer_may_be_stored_as_a_convolution(checkpoint, tmp_path):
    tensors = diffusers_tensors(checkpoint, {"conv_in": 4, "time_embedding.linear_1": 4})
    file = saved(tmp_path / "a.safetensors", tensors)
    shaped = {key: v[:, :, None, None] if "linear_1" in key else v for key, v in tensors.items()}
    other = saved(tmp_path / "b.safetensors", shaped)
    modules = {"unet": checkpoint.unet(), "text_encoder": checkpoint.text_encoder()}
    one, two = (
        VideoLoraMerge([VideoLora(f)], modules).apply("unet", checkpoint.unet()) for f in (file, other)
    )
    assert torch.equal(one.time_embedding.linear_1.weight, two.time_embedding.linear_1.weight)


ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def refusals():
    """A name -> (what is made of good tensors and metadata, the message)."""

    def with_key(key, values=None):
        return lambda tensors: tensors | {key: torch.zeros(4, 4) if values is None else values}

    def without(end):
        return lambda tensors: {key: v for key, v in tensors.items() if not key.endswith(end)}

    def each(change):
        return lambda tensors: {key: change(v) for key, v in tensors.items()}

    def metadata(**values):
        base = {"r": 4, "lora_alpha": 4, "target_modules": ["to_q"]} | values
        return {"lora_adapter_metadata": json.dumps({f"unet.{key}": v for key, v in base.items()})}

    layer = f"unet.{ATTENTION}"
    return {
        "dora": (
            with_key("lora_unet_conv_in.dora_scale"),
            None,
            "unexpected tensor 'lora_unet_conv_in.dora_scale'",
        ),
        "magnitude": (with_key(f"{layer}.lora_magnitude_vector"), None, r"unexpected tensor .* \(DoRA\)"),
        "lycoris": (
            with_key("lora_unet_conv_in.hada_w1_a"),
            None,
            "unexpected tensor 'lora_unet_conv_in.hada_w1_a'",
        ),
        "a bias": (with_key(f"{layer}.lora_B.bias"), None, "unexpected tensor"),
        "another network": (
            with_key("transformer.x.lora_A.weight"),
            None,
            "transformer.x.lora_A.weight is of a transformer, which this model does not have",
        ),
        "another model": (with_key("prior.x.lora_A.weight"), None, "unexpected tensor 'prior.x"),
        "no such layer": (
            with_key("unet.down_blocks.7.conv.lora_A.weight"),
            None,
            r"unet.down_blocks.7.conv.lora_A.weight is of a layer that the unet does not have",
        ),
        "a norm": (
            with_key("unet.conv_norm_out.lora_A.weight"),
            None,
            "of a layer that the unet does not have",
        ),
        "of a second text encoder": (with_key("lora_te2_x.lora_down.weight"), None, "unexpected tensor"),
        "half": (without(".lora_B.weight"), None, "lacks the other of its two factors"),
        "alpha alone": (
            with_key("lora_unet_conv_in.alpha", torch.tensor(1.0)),
            None,
            "lora_unet_conv_in.alpha lacks the other",
        ),
        "alphas": (
            with_key(f"lora_unet_{ATTENTION.replace('.', '_')}.alpha", torch.zeros(2)),
            None,
            "is not a single number",
        ),
        "twice": (with_key(f"{layer}.lora.down.weight"), None, "are names of one tensor"),
        "rank": (
            lambda t: {k: v[:, :3] if "lora_B" in k else v for k, v in t.items()},
            None,
            "do not fit its weight",
        ),
        "width": (
            lambda t: {k: v[:, :3] if "lora_A" in k else v for k, v in t.items()},
            None,
            "do not fit its weight",
        ),
        "integers": (each(lambda v: v.int()), None, "is not stored in a floating type"),
        "infinite": (each(lambda v: v / 0), None, "holds numbers that are not finite"),
        "nothing": (lambda tensors: {}, None, "holds no tensors"),
        "no JSON": (dict, {"lora_adapter_metadata": "{"}, "lora_adapter_metadata is not an object in JSON"),
        "a list": (dict, {"lora_adapter_metadata": "[]"}, "lora_adapter_metadata is not an object in JSON"),
        "unknown part": (dict, {"lora_adapter_metadata": '{"vae.r": 4}'}, "has 'vae.r', an unknown key"),
        "unknown setting": (dict, metadata(trick=3), "trick = 3 is not supported"),
        "dora setting": (dict, metadata(use_dora=True), "use_dora is not supported"),
        "whole modules": (dict, metadata(modules_to_save=["conv_in"]), "modules_to_save is not supported"),
        "no target": (
            dict,
            metadata(target_modules=["to_k"]),
            "target_modules of its metadata does not name",
        ),
        "another rank": (dict, metadata(r=8), "has the rank 4, and the metadata says 8"),
    }


@pytest.mark.parametrize("fault", refusals())
def test_what_cannot_be_merged_is_refused(fault, checkpoint, tmp_path):
    change, metadata, message = refusals()[fault]
    tensors = change(diffusers_tensors(checkpoint, {ATTENTION: 4}))
    file = saved(tmp_path / "a.safetensors", tensors, metadata)
    modules = {"unet": checkpoint.unet(), "text_encoder": checkpoint.text_encoder()}
    with pytest.raises(ExportError, match=message) as error:
        VideoLoraMerge([VideoLora(file)], modules)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


def test_what_the_command_line_names(tmp_path):
    plain = saved(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
    assert VideoLora.parse(str(plain)) == VideoLora(plain)
    assert VideoLora.parse(f"{plain}:0.5") == VideoLora.parse(f"{plain}=0.5") == VideoLora(plain, 0.5)
    assert VideoLora.parse(f"{plain}:-1e-1") == VideoLora(plain, -0.1)
    saved(tmp_path / "pytorch_lora_weights.safetensors", {"x": torch.zeros(1)})
    assert VideoLora.parse(f"{tmp_path}:2").file == tmp_path / "pytorch_lora_weights.safetensors"
    odd = saved(tmp_path / "a:0.5", {"x": torch.zeros(1)})
    with pytest.raises(ExportError, match="is read from safetensors alone"):
        VideoLora.parse(str(odd))
    with pytest.raises(ExportError, match=r"'much' is no weight \(write FILE:0.5\)"):
        VideoLora.parse(f"{plain}:much")
    for text in (tmp_path / "b.safetensors", f"{tmp_path / 'b.safetensors'}:0.5", f"{tmp_path / 'b'}:x"):
        with pytest.raises(ExportError, match="no such file"):
            VideoLora.parse(str(text))


@torch.no_grad()
def test_exported_with_an_adapter(run, checkpoint, tmp_path):
    """The graphs are compared with the merged modules; the manifest says what was merged."""
    few = {ATTENTION: 4, "mid_block.temp_convs.0.conv1.2": 4}
    file = saved(tmp_path / "style.safetensors", diffusers_tensors(checkpoint, few))
    out = tmp_path / "bundle"
    words = [
        "--base",
        str(run),
        "--out",
        str(out),
        "--component",
        "unet",
        "--component",
        "text_encoder",
        "--quiet",
    ]
    assert main([*words, "--video-lora", f"{file}:0.5"]) == 0
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    (found,) = manifest["provenance"]["video_loras"]["unet"]
    assert (found["file"], found["weight"]) == ("style.safetensors", 0.5) and len(found["sha256"]) == 64
    assert list(manifest["provenance"]["video_loras"]) == ["unet"]
    assert main([*words, "--video-lora", f"{file}:0.5", "--verify"]) == 0
    assert main([*words, "--verify"]) == 1  # without it the graph is another


def test_a_file_that_does_not_fit_is_refused_before_any_work(run, tmp_path, capsys):
    file = saved(tmp_path / "a.safetensors", {"unet.x.lora_A.weight": torch.zeros(4, 4)})
    assert main(["--base", str(run), "--out", str(tmp_path / "out"), "--video-lora", str(file)]) == 1
    assert "unet.x.lora_A.weight is of a layer that the unet does not have" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))


def test_without_a_text_to_video_model_it_is_refused(checkpoint, tmp_path):
    file = saved(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
    overrides = Overrides(llm=str(checkpoint.parts["llm"]), template="vicuna", video_loras=[VideoLora(file)])
    with pytest.raises(ExportError, match="--video-lora changes its denoising network; name one"):
        export_bundle(None, tmp_path / "out", overrides=overrides)
