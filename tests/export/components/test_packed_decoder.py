"""Packed weights (g4v.export.components.packed_decoder), and the core's own decoder, which reads them."""

import json
import os
import struct
import subprocess
import sys
import time

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

from g4v import BundleError, _core
from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.decoder_graph import export_decoder
from g4v.export.components.packed_decoder import write_packed
from g4v.export.quantisation.codes import Quantised
from g4v.export.quantisation.reused_codes import ReusedCodes
from g4v.weights.packed_layout import pack_codes, pack_floats
from gguf_files import write_gguf

VOCABULARY, WIDTH, CONTEXT = 90, 96, 256


def save_model(folder, **changes):
    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "intermediate_size": 104,  # no multiple of 16, nor of a block
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": CONTEXT,
            "attention_bias": True,
            "initializer_range": 0.15,
            **changes,
        }
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return LlamaWeights(folder)


def open_model(path, weights, threads=1):
    config = weights.config
    return _core.CpuModel(
        str(path),
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        context_length=CONTEXT,
        threads=threads,
    )


@pytest.fixture(scope="module", params=["fp32", "int8", "int4"])
def packed(request, tmp_path_factory):
    """Weights, and their packed file."""
    torch.manual_seed(time.time_ns() % 2**31)
    folder = tmp_path_factory.mktemp(request.param)
    weights = save_model(folder / "llm")
    export_decoder(weights, folder, request.param)
    return weights, folder / write_packed(weights, folder, request.param)


@pytest.fixture
def rows():
    return np.random.default_rng().standard_normal((100, WIDTH), dtype=np.float32) * 0.15


def unpacked(codes, scales, minima, rows, columns):
    """The matrix, value by value, as docs/bundle-format.md describes the layout."""
    panels, blocks, groups = codes.shape[:3]
    four = codes.dtype == np.uint8
    block = 32 if four else 4 * groups
    matrix = np.zeros((panels * 16, blocks * block), np.float32)
    for row in range(rows):
        p, r = divmod(row, 16)
        for column in range(columns):
            b, k = divmod(column, block)
            if four:
                byte = int(codes[p, b, k % 16 // 4, r, k % 4])
                code = byte & 15 if k < 16 else byte >> 4
                least = np.float32(-8) * np.float32(scales[p, b, r]) if minima is None else minima[p, b, r]
            else:
                code = int(codes[p, b, k // 4, r, k % 4])
                least = 0 if minima is None else minima[p, b, r]
            matrix[row, column] = np.float32(scales[p, b, r]) * np.float32(code) + np.float32(least)
    return matrix[:rows, :columns]


@pytest.mark.parametrize(("bits", "block"), [(4, 32), (8, 32), (8, 16)])
@pytest.mark.parametrize("has_offsets", [False, True])
def test_codes_are_packed_as_the_format_says(bits, block, has_offsets):
    generator = torch.Generator().manual_seed(time.time_ns() % 2**31)
    rows, columns = 21, 70
    blocks = -(-columns // block)
    codes = torch.randint(2**bits, (rows, blocks, block), generator=generator, dtype=torch.int32).byte()
    scales = torch.randn(rows, blocks, generator=generator).half().float()
    offsets = torch.randn(rows, blocks, generator=generator).half().float() if has_offsets else None
    quantised = Quantised(codes, scales, bits, columns, offsets)
    found = unpacked(*pack_codes(quantised.block_codes()), rows, columns)
    np.testing.assert_allclose(found, quantised.dequantised(), rtol=0, atol=2e-4 if has_offsets else 0)


def test_floats_have_16_bits_where_these_are_exact():
    matrix = torch.randn(5, 7)
    kinds = {np.float32: matrix, np.float16: matrix.half().float(), np.uint16: matrix.bfloat16().float()}
    for dtype, wanted in kinds.items():
        found = pack_floats(wanted)
        assert found.shape == (1, 7, 16) and found.dtype == dtype
        values = found.astype(np.float32)
        if dtype == np.uint16:
            values = (found.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(values[0, :, :5].T, wanted)
        assert not values[0, :, 5:].any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_codes_of_gguf_files_are_kept(kind, tmp_path):
    """With their own precision: weights are those of the package gguf, to float32's rounding."""
    save_model(
        tmp_path / "llm",
        hidden_size=256,
        intermediate_size=256,
        num_attention_heads=16,
        num_hidden_layers=1,
        attention_bias=False,
    )
    path = write_gguf(
        tmp_path / "llm", tmp_path / "model.gguf", kind_of=lambda name: "F32" if "embd" in name else kind
    )
    weights = LlamaWeights(path)
    export_decoder(weights, tmp_path, "int8")
    with safe_open(tmp_path / write_packed(weights, tmp_path, "int8"), "np") as file:
        names = {name for name in file.keys() if name.startswith("layers.0.down.")}
        parts = {name.rsplit(".", 1)[1]: file.get_tensor(name) for name in names}
    found = unpacked(parts["weights"], parts["scales"], parts.get("minima"), 256, 256)
    (tensor,) = [t for t in gguf.GGUFReader(path).tensors if t.name == "blk.0.ffn_down.weight"]
    wanted = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(256, 256)
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()
    scales = parts["scales"].dtype
    assert scales == (np.float32 if kind.endswith("K") else np.float16), "what float16 holds is stored so"


def test_logits_are_those_of_the_codes(packed, rows, monkeypatch):
    """Against PyTorch in float64 on the weights that the file stands for; where these are codes, with
    activations in 8 bits, and keys and values in float16.
    """
    weights, path = packed
    precision = path.parent.name[:4]
    model = LlamaForCausalLM(weights.config)
    model.load_state_dict({name: weights.read(name) for name in weights.shapes}, strict=False)
    if precision != "fp32":
        codes = ReusedCodes(weights, path.parent, "decoder", {})
        for names in _products(weights):
            matrix = torch.cat([part.dequantised() for part in codes(*names)])
            for name in names:
                module = model.get_submodule(name)
                module.weight.data, matrix = matrix[: len(module.weight)], matrix[len(module.weight) :]
                module.register_forward_pre_hook(_in_8_bits)
                if name.endswith("v_proj"):
                    module.register_forward_hook(lambda module, inputs, values: values.half().to(values))
        rotate = modeling_llama.apply_rotary_pos_emb

        def with_half_keys(*given, **more):
            queries, keys = rotate(*given, **more)
            return queries, keys.half().to(keys)

        monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", with_half_keys)
    core, model, errors = open_model(path, weights), model.double(), []
    for length in (1, 1, 1, 2, 2, 3, 3, 5, 8, 13, 21):
        given, rows = rows[:length], rows[length:]
        with torch.no_grad():
            wanted = model(inputs_embeds=torch.from_numpy(given)[None].double()).logits[0, -1].numpy()
        (found,) = core.step([(core.new_cache(), given)])
        errors.append(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    assert np.median(errors) < 1e-5
    # Where a value that is nearly halfway between two codes was rounded to the other one.
    assert max(errors) < (1e-5 if precision == "fp32" else 0.04)


def _in_8_bits(module, inputs):
    (x,) = inputs
    blocks = torch.nn.functional.pad(x, (0, -x.shape[-1] % 32)).unflatten(-1, (-1, 32))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return ((blocks / scale).round() * scale).flatten(-2)[..., : x.shape[-1]]


def _products(weights):
    for index in range(weights.config.num_hidden_layers):
        prefix = f"model.layers.{index}"
        yield [f"{prefix}.self_attn.{name}_proj" for name in "qkv"]
        yield [f"{prefix}.self_attn.o_proj"]
        yield [f"{prefix}.mlp.gate_proj", f"{prefix}.mlp.up_proj"]
        yield [f"{prefix}.mlp.down_proj"]
    yield ["lm_head"]


def test_a_conversation_has_the_same_bits_however_it_is_computed(packed, rows):
    """In any division into steps, in any company, on any number of threads."""
    weights, path = packed
    core = open_model(path, weights)
    (whole,) = core.step([(core.new_cache(), rows)])
    draw = np.random.default_rng()
    for threads in (1, 2, 5):
        core = open_model(path, weights, threads)
        cache, others = core.new_cache(), [core.new_cache() for _ in range(9)]
        done = 0
        while done < len(rows):
            count = int(draw.integers(1, len(rows) - done + 1)) if draw.random() < 0.3 else 1
            company = [(other, rows[: draw.integers(1, 4)]) for other in others if other.length < CONTEXT - 4]
            company = company[: draw.integers(0, 10)]
            steps = [*company, (cache, rows[done : done + count])]
            found = core.step(steps)[-1]
            done += count
        assert np.array_equal(found, whole), threads


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["avx2", "avx512", "amx"])
def test_instruction_sets_agree_bit_for_bit(isa, packed, rows, tmp_path):
    """With the plain kernels, in processes of their own."""
    if isa not in _core.kernel_versions(all=True):
        pytest.skip(f"no {isa} on this processor")
    weights, path = packed
    np.save(tmp_path / "rows.npy", rows)
    code = f"""
import numpy as np
from g4v import _core
c = dict(vocab_size={VOCABULARY}, hidden_size={WIDTH}, layers=2, heads=6, kv_heads=2, head_dim=16)
core = _core.CpuModel({str(path)!r}, context_length={CONTEXT}, **c)
rows, cache = np.load({str(tmp_path / "rows.npy")!r}), core.new_cache()
print([core.step([(cache, part)])[0].tobytes().hex() for part in (rows[:50], rows[50:51], rows[51:])])
"""
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "G4V_CPU": name},
            capture_output=True,
            text=True,
            timeout=60,
        )
        for name in (isa, "plain")
    ]
    assert [result.returncode for result in found] == [0, 0], found
    assert found[0].stdout == found[1].stdout != ""


def test_copies_share_a_history_and_part(packed, rows):
    weights, path = packed
    core = open_model(path, weights)
    first = core.new_cache()
    core.step([(first, rows[:40])])
    second = first.copy()
    assert second.length == 40
    one, two = core.step([(first, rows[40:50]), (second, rows[50:70])])
    for found, history in ((one, [*rows[:50]]), (two, [*rows[:40], *rows[50:70]])):
        (alone,) = core.step([(core.new_cache(), np.stack(history))])
        assert np.array_equal(found, alone)
    first.truncate(33)
    (again,) = core.step([(first, rows[33:50])])
    assert np.array_equal(again, one)


def damage(path, to, edit, odd=0):
    """Writes the file with its header changed by `edit`; odd: bytes by which it ends too late for float32."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    edit(header)
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 64) * 64 + odd)
    to.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def with_scalar_head(header):
    """The head as a scalar of a type that no matrix has; another tensor takes the rest of its bytes."""
    first, last = header["head.weights"]["data_offsets"]
    header["head.weights"] = {"dtype": "F16", "shape": [], "data_offsets": [first, first + 2]}
    header["rest"] = {"dtype": "U8", "shape": [last - first - 2], "data_offsets": [first + 2, last]}


EDITS = {
    "lacks the tensor final_norm": lambda h: h.__setitem__("first_norm", h.pop("final_norm")),
    "tensors where the decoder has": lambda h: h.__setitem__(
        "x", {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    ),
    "gaps or overlaps": lambda h: h["layers.1.o.weights"].__setitem__(
        "data_offsets", h["layers.0.o.weights"]["data_offsets"]
    ),
    "does not fit its data_offsets": lambda h: h["final_norm"].__setitem__("shape", [WIDTH - 1]),
    "must be one of F32": lambda h: h["final_norm"].__setitem__("dtype", "F64"),
    "is larger than the file": lambda h: h["final_norm"].__setitem__("shape", [1 << 16, 1 << 16]),
    "which does not fit the decoder's sizes": lambda h: h["layers.0.q.weights"].__setitem__(
        "shape", h["layers.0.q.weights"]["shape"][::-1]
    ),
    "head.weights as F16 []": lambda h: with_scalar_head(h),
    "expected F32 [96]": lambda h: h["final_norm"].__setitem__("shape", [1, WIDTH]),
    'format_version "2"': lambda h: h["__metadata__"].__setitem__("format_version", "2"),
    'format ""': lambda h: h.pop("__metadata__"),
    "which is no number above 0": lambda h: h["__metadata__"].__setitem__("norm_epsilon", "nan"),
    "lacks rotary_factor": lambda h: h["__metadata__"].pop("rotary_factor"),
    "metadata that this version does not know": lambda h: h["__metadata__"].__setitem__("norm", "layer"),
    "is no width": lambda h: h["__metadata__"].__setitem__("intermediate_size", "1.5"),
    "final_norm.device is not a known key": lambda h: h["final_norm"].__setitem__("device", "cpu"),
}


@pytest.mark.parametrize("message", EDITS)
def test_a_file_that_does_not_fit_is_refused(packed, message, tmp_path):
    weights, path = packed
    damage(path, tmp_path / "decoder.packed", EDITS[message])
    with pytest.raises(BundleError) as refused:
        open_model(tmp_path / "decoder.packed", weights)
    assert message in str(refused.value)


def test_tensors_at_odd_places_are_refused(packed, tmp_path):
    weights, path = packed
    damage(path, tmp_path / "decoder.packed", lambda header: None, odd=1)
    with pytest.raises(BundleError, match="multiple of its element's size"):
        open_model(tmp_path / "decoder.packed", weights)


def test_a_file_that_is_cut_or_no_file_of_tensors_is_refused(packed, tmp_path):
    weights, path = packed
    data = path.read_bytes()
    cuts = [b"", data[:5], data[:100], data[:-1], data + b"x", b"\xff" * 64, struct.pack("<Q", 4) + b"null"]
    for cut in cuts:
        (tmp_path / "decoder.packed").write_bytes(cut)
        with pytest.raises(BundleError):
            open_model(tmp_path / "decoder.packed", weights)
