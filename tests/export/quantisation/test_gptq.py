"""Codes that are fitted to the inputs of their products, and the text that shows those inputs."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.llama import HEAD, LlamaWeights
from g4v.export.errors import ExportError
from g4v.export.quantisation.calibration import LENGTH, SEQUENCES, calibrate
from g4v.export.quantisation.gptq import GPTQ, _inverse, _second_moment, _spread, gptq
from g4v.export.quantisation.layer_inputs import LayerInputs
from g4v.export.quantisation.round_to_nearest import RoundToNearest, quantise


def second_moment(width, seed):
    """Of inputs whose columns go together, as those of a layer do."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width // 4, width, generator=generator)
    rows = torch.randn(4000, width // 4, generator=generator) @ mixing
    rows += 0.2 * torch.randn(4000, width, generator=generator)
    return (rows.T @ rows).double() / len(rows)


def output_error(weight, codes, products):
    change = (codes.dequantised() - weight).double()
    return float(torch.einsum("oi,ij,oj->", change, products, change))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [96, 80])  # the last block may not be full
def test_fitted_codes_change_less_of_what_comes_out(bits, columns):
    weight = torch.randn(50, columns, generator=torch.Generator().manual_seed(bits))
    products = second_moment(columns, seed=5)
    fitted, nearest = gptq(weight, bits, products), quantise(weight, bits)
    assert fitted.codes.shape == nearest.codes.shape and fitted.codes.dtype == torch.uint8
    assert output_error(weight, fitted, products) < 0.5 * output_error(weight, nearest, products)
    assert torch.equal(gptq(weight, bits, products).codes, fitted.codes)
    # There is nothing to gain where the inputs have nothing to do with each other (`quantise` still moves the
    # scales a little after it has chosen the codes).
    alone = gptq(weight, bits, torch.eye(columns).double())
    assert (alone.codes != nearest.codes).float().mean() < 0.03


@pytest.mark.parametrize("width", [40, 300])  # less and more than is computed at once
def test_the_factor_is_that_of_the_damped_inverse(width):
    products = second_moment(width, seed=7)
    damped = products + 0.01 * products.diagonal().mean() * torch.eye(width).double()
    found = _spread(products.clone()).double()
    assert torch.equal(found, found.triu()) and (found.diagonal() > 0).all()
    torch.testing.assert_close(found.t() @ found @ damped, torch.eye(width).double(), rtol=0, atol=1e-3)
    upper = torch.linalg.cholesky(damped, upper=True).float()
    torch.testing.assert_close(_inverse(upper) @ upper, torch.eye(width), rtol=0, atol=1e-4)


def test_inputs_that_are_always_zero_are_borne():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    products = second_moment(64, seed=2)
    products[:, 10:20] = products[10:20] = 0
    assert torch.isfinite(gptq(weight, 4, products).dequantised()).all()
    assert torch.isfinite(gptq(weight, 4, torch.zeros(64, 64).double()).dequantised()).all()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A Llama with logits that mean something: large weights, so that rounding shows."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llm")
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    config = LlamaConfig(
        vocab_size=90, num_hidden_layers=3, intermediate_size=96, max_position_embeddings=64, **sizes
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    return LlamaWeights(folder)


def products_of(config):
    for i in range(config.num_hidden_layers):
        attention, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        yield tuple(f"{attention}.{part}_proj" for part in "qkv")
        yield (f"{attention}.o_proj",)
        yield f"{mlp}.gate_proj", f"{mlp}.up_proj"
        yield (f"{mlp}.down_proj",)
    yield (HEAD,)


def test_a_fitted_model_is_nearer_to_its_own_logits(weights):
    """Rounded as a whole, by transformers' own forward pass on texts that were not seen."""
    draw = torch.Generator().manual_seed(3)
    shown, unseen = (torch.randint(90, (24, 48), generator=draw) for _ in range(2))
    errors = {}
    for name, rounding in (
        ("nearest", RoundToNearest(weights, "int4")),
        ("fitted", GPTQ(weights, "int4", shown)),
    ):
        model = LlamaForCausalLM(weights.config).eval()
        state = {key: weights.read(key) for key in weights.shapes}
        model.load_state_dict(state)
        with torch.no_grad():
            wanted = model(unseen).logits
            for names in products_of(weights.config):
                for key, codes in zip(names, rounding(*names), strict=True):
                    assert codes.bits == (8 if key == HEAD else 4)
                    state[f"{key}.weight"] = codes.dequantised()
            model.load_state_dict(state)
            errors[name] = float((model(unseen).logits - wanted).norm() / wanted.norm())
    assert errors["fitted"] < 0.9 * errors["nearest"]


def test_products_get_the_inputs_that_the_model_gives_them(weights):
    """Kept as they are, the layers make what they always do, a few sequences at a time."""
    ids = torch.randint(90, (5, 30), generator=torch.Generator().manual_seed(4))
    model = LlamaForCausalLM(weights.config).eval()
    model.load_state_dict({key: weights.read(key) for key in weights.shapes})
    wanted = {}
    for names in products_of(weights.config):
        module = model.get_submodule(names[0])
        module.register_forward_pre_hook(lambda _, given, name=names[0]: wanted.update({name: given[0]}))
    with torch.no_grad():
        model(ids)
    inputs = LayerInputs(weights, ids)
    inputs._together = 2  # the last part is smaller
    for name, value in wanted.items():
        torch.testing.assert_close(inputs.of(name), value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", range(12))
def test_products_read_what_quantised_ones_before_them_make(weights, place):
    ids = torch.randint(90, (2, 9), generator=torch.Generator().manual_seed(5))
    names = [products[0] for products in products_of(weights.config)]
    changed, plain = LayerInputs(weights, ids), LayerInputs(weights, ids)
    for name in names[: place + 1]:
        assert torch.equal(changed.of(name), plain.of(name))
    changed.put(names[place], 0.5 * changed.matrix(names[place]))
    assert not torch.allclose(changed.of(names[place + 1]), plain.of(names[place + 1]))


def test_matrices_of_one_product_are_fitted_as_each_alone(weights):
    ids = torch.randint(90, (8, 48), generator=torch.Generator().manual_seed(6))
    names = [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"]
    moment = _second_moment(LayerInputs(weights, ids).of(names[0]))
    rows = LayerInputs(weights, ids).of(names[0]).flatten(0, 1).double()
    torch.testing.assert_close(moment, rows.t() @ rows / len(rows), rtol=1e-4, atol=1e-6)
    for name, codes in zip(names, GPTQ(weights, "int4", ids)(*names), strict=True):
        alone = gptq(weights.read(f"{name}.weight"), 4, moment)
        assert torch.equal(codes.codes, alone.codes) and torch.equal(codes.scales, alone.scales)


def test_a_text_file_is_read_from_all_its_parts(run, tmp_path):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "llm")
    weights = LlamaWeights(run / "llm")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"line {n}: a circle of {n * n} marbles" for n in range(4000)), "utf-8")
    found = calibrate(weights, tokenizer, str(text), own_text=pytest.fail)
    length = min(LENGTH, weights.config.max_position_embeddings)
    assert found.ids.shape == (SEQUENCES, length)
    assert found.about["file"] == "text.txt" and len(found.about["sha256"]) == 64
    said = [tokenizer.decode(row) for row in found.ids]
    assert "line 1:" in said[0] and "39" in said[-1]


@pytest.mark.slow
def test_the_manifest_names_what_was_fitted_to(run, tmp_path):
    text = tmp_path / "words.txt"
    text.write_text("a red circle moves left and a blue star grows. " * 200, "utf-8")
    options = ["--checkpoint", str(run), "--component", "decoder", "--precision", "int4", "--quiet"]
    fitted_to = {}
    for name, more in (
        ("own", []),
        ("file", ["--calibration", str(text)]),
        ("none", ["--calibration", "none"]),
    ):
        assert main([*options, "--out", str(tmp_path / name), *more]) == 0
        manifest = json.loads((tmp_path / name / "g4v.json").read_text("utf-8"))
        fitted_to[name] = manifest["provenance"].get("fitted_to", {}).get("decoder")
    assert fitted_to["own"]["text"] == "written by the model itself"
    assert fitted_to["file"]["file"] == "words.txt" and fitted_to["none"] is None
    codes = {(tmp_path / name / "decoder.data").read_bytes() for name in fitted_to}
    assert len(codes) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file .--calibration takes a text file, 'own' or 'none'."),
        (b"\xff\xfe\x00", "is no UTF-8 text"),
        (b"short", r"has \d+ tokens; --calibration needs at least"),
    ],
)
def test_a_file_that_is_no_text_is_refused(run, tmp_path, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=message):
        export_bundle(run, tmp_path / "out", precision="int4", calibration=str(path))
    assert not (tmp_path / "out").exists()
