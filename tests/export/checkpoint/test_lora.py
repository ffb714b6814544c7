"""The laws of merging a LoRA adapter."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.lora import LoraMerge
from g4v.export.errors import ExportError

CONFIG = LlamaConfig(
    vocab_size=30,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
)


def base(tied=False):
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**{**CONFIG.to_dict(), "tie_word_embeddings": tied})).eval()
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    return model


def adapter(folder, seed=0, tied=False, **options):
    """Saves a random adapter of `base()`; returns the logits that PEFT computes with it for fixed ids."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    model = get_peft_model(base(tied), LoraConfig(**{**settings, **options})).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return logits(model)


def merge(model, *adapters):
    """Puts the merged weights into the model; returns the names of the modules that changed."""
    with torch.device("meta"):
        names_and_shapes = LlamaForCausalLM(model.config)
    merge = LoraMerge(names_and_shapes, [Adapter(a) if isinstance(a, Path) else a for a in adapters])
    before = {
        name: module.weight.detach() for name, module in model.named_modules() if hasattr(module, "weight")
    }
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    for name, weight in before.items():
        merged = merge.apply(name, weight)
        assert (merged is weight) == (name not in merge.names)
        if name in merge.names or (tied and name == "lm_head"):  # the two may differ from here on
            model.get_submodule(name).weight = torch.nn.Parameter(merged)
    model.config.tie_word_embeddings = model.config.tie_word_embeddings and not merge.names
    return merge.names


def logits(model):
    with torch.no_grad():
        return model(torch.arange(10)[None]).logits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]},
        {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 20}},
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True, "target_modules": ["o_proj", "gate_proj"]},
        {"fan_in_fan_out": True},
        {"target_modules": ["embed_tokens", "v_proj"]},
        {"target_modules": ["lm_head", "v_proj"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"tied": True},
        {"tied": True, "target_modules": ["embed_tokens", "v_proj"]},
        {"tied": True, "target_modules": ["lm_head", "v_proj"]},
        {"tied": True, "modules_to_save": ["lm_head"]},
        {"tied": True, "modules_to_save": ["embed_tokens"]},
        {"tied": True, "modules_to_save": ["embed_tokens", "lm_head"]},
        {"tied": True, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"tied": True, "target_modules": ["embed_tokens", "q_proj"], "ensure_weight_tying": True},
        {"modules_to_save": ["norm"]},  # also input_layernorm: the ends of names are compared
        {"modules_to_save": ["mlp"], "target_modules": ["q_proj"]},
        # Patterns are regular expressions for the whole name or what follows a dot.
        {"alpha_pattern": {r".*\.layers\.1\..*(q_proj|k_proj|v_proj|o_proj)$": 128}},
        {"alpha_pattern": {r"^model.layers.0.self_attn.q_proj": 40, "q_proj": 1}},
        {"alpha_pattern": {"proj": 40}},  # no name ends so after a dot
        {"rank_pattern": {r"layers.[01].self_attn.q_proj": 2}},
        {"rank_pattern": {r"layers\.\d+\.self_attn\.(q|k)_proj": 2, "v_proj": 3}, "use_rslora": True},
        {"rank_pattern": {"q_pro.": 1}, "alpha_pattern": {"(model.)?layers.0.*": 0.5}},
        {"target_modules": r".*layers\.1\.mlp\.(up|down)_proj"},
        {"target_modules": "all-linear"},
        {"layers_to_transform": 1},
        {"layers_to_transform": [0], "layers_pattern": "layers"},
        {"target_modules": ["q_proj", "o_proj"], "exclude_modules": ["layers.0.self_attn.o_proj"]},
        {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*\.1\..*v_proj"},
    ],
    ids=lambda options: ",".join(f"{key}={value}" for key, value in options.items()) or "plain",
)
@pytest.mark.filterwarnings("ignore")  # PEFT's advice on tied weights and embeddings
def test_merged_model_equals_peft(tmp_path, options):
    expected = adapter(tmp_path, **options)
    model = base(options.get("tied", False))
    before = logits(model)
    merge(model, tmp_path)
    assert (logits(model) - expected).abs().max() < 1e-5
    assert (before - expected).abs().max() > 1e-2  # the adapter matters


@pytest.mark.parametrize("start", ["pissa", "olora"])
@pytest.mark.filterwarnings("ignore")  # PEFT's advice on the ranks
def test_the_advice_for_adapters_that_changed_their_base(tmp_path, start):
    """PEFT can save the difference to the initial adapter, which is a plain LoRA of the base."""
    torch.manual_seed(2)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"], init_lora_weights=start)
    model = get_peft_model(base(), config)
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "initial")
    model.peft_config["default"].init_lora_weights = start
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    expected = logits(model.eval())
    model.save_pretrained(tmp_path / "changed")
    with pytest.raises(ExportError, match="path_initial_model_for_weight_conversion"):
        merge(base(), tmp_path / "changed")
    initial = str(tmp_path / "initial")
    model.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=initial)
    again = base()
    merge(again, tmp_path / "plain")
    assert (logits(again) - expected).abs().max() < 1e-4


def test_delta_is_scaling_times_product(tmp_path):
    adapter(tmp_path)
    model = base()
    assert len(merge(model, tmp_path)) == 4  # q and v of two layers
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = "model.layers.1.self_attn.v_proj"
    a, b = (tensors[f"base_model.model.{name}.lora_{x}.weight"].double() for x in "AB")
    wanted = base().get_submodule(name).weight.double() + 6 / 4 * (b @ a)
    assert torch.equal(model.get_submodule(name).weight, wanted.float())
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, base().model.layers[0].mlp.up_proj.weight)


def test_merging_an_adapter_of_zeros_changes_nothing(tmp_path):
    get_peft_model(base(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    model = base()
    merge(model, tmp_path)
    assert torch.equal(logits(model), logits(base()))


def test_several_adapters_add_up_by_their_weights(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    adapter(first)
    adapter(second, seed=1, r=2, target_modules=["q_proj", "down_proj"])
    peft = PeftModel.from_pretrained(base(), first, adapter_name="first")
    peft.load_adapter(second, "second")
    peft.base_model.set_adapter(["first", "second"])
    for module in peft.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("first", 0.5)
            module.set_scale("second", -2)
    model = base()
    assert len(merge(model, Adapter(first, 0.5), Adapter(second, -2.0))) == 6
    assert (logits(model) - logits(peft.eval())).abs().max() < 1e-5
    assert (logits(base()) - logits(peft)).abs().max() > 1e-2


def test_what_cannot_be_mixed_is_refused(tmp_path):
    plain, dora, head = tmp_path / "plain", tmp_path / "dora", tmp_path / "head"
    adapter(plain)
    adapter(dora, use_dora=True)
    adapter(head, modules_to_save=["lm_head"])
    model = base()
    for adapters, message in (
        ([Adapter(plain), Adapter(dora)], "is DoRA, which cannot be mixed"),
        ([Adapter(dora, 0.5)], "is DoRA, which cannot be mixed or weighted"),
        ([Adapter(plain), Adapter(head)], "replaces lm_head as a whole"),
    ):
        with pytest.raises(ExportError, match=message):
            merge(model, *adapters)
    assert torch.equal(logits(model), logits(base()))


def test_adapters_are_written_with_their_weights(tmp_path):
    (tmp_path / "a=b").mkdir()
    assert Adapter.parse("lora") == Adapter(Path("lora"), 1.0)
    assert Adapter.parse("lora=0.25") == Adapter(Path("lora"), 0.25)
    assert Adapter.parse(f"{tmp_path}/a=b") == Adapter(tmp_path / "a=b", 1.0)
    assert Adapter.parse(f"{tmp_path}/a=b=-1") == Adapter(tmp_path / "a=b", -1.0)
    for text in ("lora=much", "lora=nan", "lora="):
        with pytest.raises(ExportError, match="is no weight"):
            Adapter.parse(text)


def edit_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def rename(tensors, new):
    tensors[new] = tensors.pop(KEY)


def move_layer(tensors):
    for key in (KEY, KEY.replace("lora_A", "lora_B")):
        tensors[key.replace("layers.0", "layers.7")] = tensors.pop(key)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: edit_config(f, peft_type="IA3"), "only 'LORA'"),
        (lambda f: edit_config(f, use_dora=True), "lacks DoRA's magnitudes"),
        (lambda f: edit_config(f, lora_bias=True), "lora_bias = True is not supported"),
        (lambda f: edit_config(f, init_lora_weights="pissa_niter_4"), "changes the base model"),
        (lambda f: edit_config(f, r=None), "r or lora_alpha is missing"),
        (lambda f: edit_config(f, r=True), "r is True, not a positive number"),
        (lambda f: edit_config(f, r=4.0), "r is 4.0, not a positive number"),
        (lambda f: edit_config(f, lora_alpha=float("nan")), "lora_alpha is nan, not a number"),
        (lambda f: edit_config(f, lora_alpha="6"), "lora_alpha is '6', not a number"),
        (lambda f: edit_config(f, use_rslora="false"), "use_rslora is 'false', not true or false"),
        (lambda f: edit_config(f, bias="all"), "bias = 'all' is not supported, only 'none'"),
        (lambda f: edit_config(f, bias="lora_only"), "bias = 'lora_only' is not supported"),
        (lambda f: edit_config(f, task_type="SEQ_CLS"), "only 'CAUSAL_LM' can be merged"),
        (lambda f: edit_config(f, target_parameters=["x"]), "target_parameters = .* is not supported"),
        (lambda f: edit_config(f, trainable_token_indices=[1]), "trainable_token_indices = .* not supported"),
        (lambda f: edit_config(f, layer_replication=[[0, 1]]), "layer_replication = .* is not supported"),
        (lambda f: edit_config(f, use_qalora=True), "use_qalora = True is not supported"),
        (lambda f: edit_config(f, mystery=1), "mystery = 1 is not supported"),
        (lambda f: edit_config(f, rank_pattern={"q_(": 2}), "is no regular expression"),
        (lambda f: edit_config(f, rank_pattern={"(?i)q_proj": 2}), "global flags not at the start"),
        (lambda f: edit_config(f, modules_to_save=["lm_head("]), "modules_to_save: .* no regular expression"),
        (lambda f: edit_config(f, layers_pattern=["("]), "layers_pattern: '\\(' is no regular expression"),
        (lambda f: edit_config(f, layers_pattern="(layers)"), "layers_pattern: '\\(layers\\)' has groups"),
        (lambda f: edit_config(f, lora_alpha=10**400), "lora_alpha is 1000.*, not a number"),
        (lambda f: edit_config(f, rank_pattern=["q_proj"]), r"rank_pattern is \['q_proj'\], not an object"),
        (
            lambda f: edit_config(f, rank_pattern={"q_proj": 0}),
            r"rank_pattern\['q_proj'\] is 0, not a number",
        ),
        (lambda f: edit_config(f, alpha_pattern={"q_proj": float("inf")}), "is inf, not a number"),
        (lambda f: edit_config(f, modules_to_save="lm_head"), "modules_to_save is 'lm_head', not a list"),
        (
            lambda f: edit_config(f, modules_to_save=["lm_head"]),
            "names 'lm_head', of which there is no weight",
        ),
        (lambda f: edit_config(f, target_modules=["v_proj"]), "q_proj, which target_modules does not name"),
        (lambda f: edit_config(f, layers_to_transform=[0]), "layers.1.*, which target_modules does not name"),
        (
            lambda f: edit_config(f, target_modules=["q_proj", "v_proj", "o_proj"]),
            "target_modules names .*o_proj, of which there are no factors",
        ),
        (lambda f: edit_tensors(f, lambda t: t[KEY].fill_(float("nan"))), "not finite"),
        (lambda f: edit_config(f, r=8), "a rank of 8, which do not fit"),
        (lambda f: edit_tensors(f, lambda t: t.pop(KEY)), "only one of its two"),
        (lambda f: edit_tensors(f, move_layer), "layers.7.self_attn.q_proj, which .* does not have"),
        (lambda f: edit_tensors(f, lambda t: rename(t, "stranger")), "unexpected tensor 'stranger'"),
        (lambda f: edit_tensors(f, lambda t: t.update({KEY: torch.ones(4, 15)})), "another model"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"junk"), "damaged or truncated"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "cannot be read"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, spoil, message):
    adapter(tmp_path)
    spoil(tmp_path)
    model = base()
    with pytest.raises(ExportError, match=message):
        merge(model, tmp_path)
    assert torch.equal(logits(model), logits(base()))


def test_factors_in_8_bits_are_read(tmp_path):
    """Of PyTorch's 8-bit types nothing can be asked directly, such as whether numbers are finite."""
    adapter(tmp_path)
    edit_tensors(tmp_path, lambda t: t.update({KEY: t[KEY].to(torch.float8_e4m3fn)}))
    assert len(merge(base(), tmp_path)) == 4
    edit_tensors(
        tmp_path, lambda t: t.update({KEY: torch.full_like(t[KEY].float(), 1e9).to(torch.float8_e5m2)})
    )
    with pytest.raises(ExportError, match="not finite"):
        merge(base(), tmp_path)
