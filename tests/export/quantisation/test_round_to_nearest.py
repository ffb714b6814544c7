"""Weight-only quantisation: the codes, the graph that multiplies with them, and the bundle."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.decoder_graph import export_decoder, write_embedding
from g4v.export.components.precision import parse_precisions, parse_targets
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.quantisation.codes import Quantised
from g4v.export.quantisation.matmul_nbits import quantised_matmul
from g4v.export.quantisation.round_to_nearest import quantise
from g4v.export.verify.decoder import compare_decoder
from g4v.weights.round_to_nearest import BLOCK


def saved_llama(folder, seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "head_dim": 16, "intermediate_size": 48}
    config = LlamaConfig(vocab_size=50, num_hidden_layers=2, max_position_embeddings=64, **sizes, **options)
    LlamaForCausalLM(config).save_pretrained(folder)
    return LlamaWeights(folder)


@pytest.mark.parametrize(("bits", "most"), [(4, 0.085), (8, 0.0053)])
def test_rounding_is_finer_than_the_plain_rule(bits, most):
    """The plain rule divides a block's largest magnitude by the largest code and rounds."""
    weight = torch.randn(64, 20 * BLOCK, generator=torch.Generator().manual_seed(bits))
    rounded = quantise(weight, bits).dequantised()
    blocks = weight.view(-1, BLOCK)
    scales = blocks.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    plain = ((blocks / scales).round() * scales).view_as(weight)
    error, plain_error = ((w - weight).norm() / weight.norm() for w in (rounded, plain))
    assert error < most and error < plain_error
    # No value is further away than a step of its block.
    assert ((rounded - weight).abs().view(-1, BLOCK) <= 1.2 * scales).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_what_has_an_exact_code_keeps_its_value(bits):
    half = 2 ** (bits - 1)
    codes = torch.randint(-half, half, (3, 2, BLOCK), generator=torch.Generator().manual_seed(1))
    codes[..., 0] = -half  # so that the range is known
    scales = torch.tensor([0.5, 2.0**-9, 3.0])[:, None, None]
    weight = (codes * scales).flatten(1)
    assert torch.equal(quantise(weight, bits).dequantised(), weight)
    zeros = quantise(torch.zeros(2, 40), bits)
    assert torch.equal(zeros.dequantised(), torch.zeros(2, 40)) and torch.isfinite(zeros.scales).all()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(40, 48), (1100, 64), (7, 5)])  # a block is not always full
def test_the_runtime_multiplies_with_the_dequantised_weights(bits, shape, tmp_path):
    generator = torch.Generator().manual_seed(2)
    weight, bias = torch.randn(shape, generator=generator), torch.randn(shape[0], generator=generator)
    parts = [quantise(rows, bits) for rows in weight.split([3, shape[0] - 3])]
    whole = Quantised.of_rows(parts)
    assert torch.equal(whole.dequantised(), quantise(weight, bits).dequantised())
    with CPU.open(tmp_path, "product") as ops:
        g = ops.g
        x = g.input("x", "float32", ["rows", shape[1]])
        g.output("y", quantised_matmul(g, x, whole, bias), "float32", ["rows", shape[0]])
        g.save()
    given = torch.randn(6, shape[1], generator=generator)
    wanted = given.double() @ whole.dequantised().double().T + bias.double()
    errors = {}
    for level in (0, 4):
        model = onnx.load(tmp_path / "product.onnx")
        (node,) = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                assert attribute.i == 4  # what is written rounds its activations
                attribute.i = level
        (got,) = InferenceSession(model.SerializeToString()).run(None, {"x": given.numpy()})
        errors[level] = float(np.abs(got - wanted.numpy()).max() / wanted.abs().max())
    assert errors[0] < 2e-6 and errors[4] < 2e-2


def test_a_tied_embedding_is_not_rounded(tmp_path):
    weights = saved_llama(tmp_path / "llm", tie_word_embeddings=True)
    export_decoder(weights, tmp_path, "int4")
    write_embedding(weights, tmp_path / "embedding.bin")
    embedding = np.fromfile(tmp_path / "embedding.bin", np.float32).reshape(50, 32)
    assert np.array_equal(embedding, weights.read("lm_head.weight").numpy())
    comparison = compare_decoder(weights, tmp_path, "int4")
    assert comparison.exact < 1e-5 and 1e-3 < comparison.rounding < 0.5


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_are_packed_and_unpacked(bits):
    codes = quantise(torch.randn(5, 70, generator=torch.Generator().manual_seed(3)), bits)
    again = Quantised.unpacked(codes.packed(), codes.scales.numpy(), bits, 70)
    assert torch.equal(again.codes, codes.codes) and torch.equal(again.dequantised(), codes.dequantised())


def test_codes_of_other_weights_are_found(tmp_path):
    """The graph agrees with its own codes; they must also be those of the checkpoint."""
    weights, other = (saved_llama(tmp_path / name, seed=seed) for seed, name in enumerate("ab"))
    export_decoder(weights, tmp_path, "int8")
    with pytest.raises(
        ExportError, match="codes of self_attn.q_proj in layer 0 are not those of its weights"
    ):
        compare_decoder(other, tmp_path, "int8")


@pytest.fixture(scope="module")
def rounded(run, tmp_path_factory):
    """Bundles of the same run: precision -> folder."""
    folder = tmp_path_factory.mktemp("rounded")
    for precision in ("int8", "int4"):
        words = ["--checkpoint", str(run), "--out", str(folder / precision), "--precision", precision]
        assert main([*words, "--quiet"]) == 0
    return folder


@pytest.mark.slow
def test_a_rounded_bundle_says_so_and_is_smaller(bundle, rounded, run):
    def decoder(folder):
        return json.loads((folder / "g4v.json").read_text("utf-8"))["components"]["decoder"]["variants"]

    sizes, errors = {}, {}
    for name, folder in (("fp32", bundle), ("int8", rounded / "int8"), ("int4", rounded / "int4")):
        (variant,) = decoder(folder)
        assert variant["precision"] == name
        sizes[name] = (folder / "decoder.data").stat().st_size
        manifest = json.loads((folder / "g4v.json").read_text("utf-8"))
        errors[name] = float(manifest["provenance"]["relative_errors"]["decoder"])
    assert sizes["int4"] < 0.7 * sizes["int8"] < 0.7 * sizes["fp32"]  # tables and norms are not rounded
    assert errors["fp32"] < 1e-4 < errors["int8"] < 0.05 < errors["int4"] < 0.5


@pytest.mark.slow
def test_verify_compares_with_the_rounded_weights(rounded, run, tmp_path):
    for name in ("int8", "int4"):
        assert verify_bundle(run, rounded / name)["decoder"] < 1e-4


@pytest.mark.slow
def test_a_rounded_bundle_runs_in_the_core(rounded):
    import g4v

    for name in ("int8", "int4"):
        *_, done = g4v.load(rounded / name, threads=1).chat(seed=0).send("Hello")
        assert isinstance(done, g4v.Done) and done.new_tokens > 0


def test_precisions_are_named_alone_or_by_component(run, tmp_path):
    plain = parse_precisions([])
    assert all(variants == {"cpu": "fp32"} for variants in plain.values())
    assert parse_precisions(["int4"]) == {**plain, "decoder": {"cpu": "int4"}}
    assert parse_precisions(["int4", "decoder=int8"])["decoder"] == {"cpu": "int8"}
    both = parse_precisions(["int8", "unet=fp32"], ("cpu", "tensorrt-rtx"))
    assert both["decoder"] == {"cpu": "int8"}  # there is no engine of it
    assert both["encoder"] == {"cpu": "fp32", "tensorrt-rtx": "fp16"}
    assert both["unet"] == {"cpu": "fp32", "tensorrt-rtx": "fp32"}
    assert parse_precisions([], ("tensorrt-rtx",))["frame_checker"] == {"cpu": "fp32"}
    for words, message in (
        (["int3"], "'int3' is not supported \\(one of fp32, bf16x2, int8, int4\\)"),
        (["unet=int4"], "unet cannot be written in 'int4' for cpu \\(only in fp32, int8\\)$"),
        (["unet=fp16"], "unet cannot be written in 'fp16' for cpu .*; --target cuda can"),
        (["fp16"], "'fp16' is not supported .*; --target cuda can"),
        (
            ["decoder=fp16"],
            "decoder cannot be written in 'fp16' for cpu .*fp32, int8, int4\\); --target cuda can",
        ),
        (["brain=int4"], "'brain': one of encoder, "),
    ):
        with pytest.raises(ExportError, match=message):
            parse_precisions(words)
    with pytest.raises(ExportError, match="target 'rocm' .* .one of cpu, cuda, tensorrt-rtx, tensorrt.$"):
        parse_targets(["rocm"])
    with pytest.raises(ExportError, match="vae_decoder cannot be written"):
        export_bundle(run, tmp_path / "out", precision=["vae_decoder=int8"])
