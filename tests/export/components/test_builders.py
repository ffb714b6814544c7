"""Every graph against PyTorch in float64, at sizes and options that the embedded default does not use."""

import copy
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, LlamaConfig, LlamaForCausalLM

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.abstractor import export_abstractor, folded_memory_product
from g4v.export.components.decoder_graph import export_decoder, write_embedding
from g4v.export.components.encoder import export_encoder
from g4v.export.components.frame_checker import export_frame_checker
from g4v.export.components.text_encoder import export_text_encoder
from g4v.export.components.unet import export_unet
from g4v.export.components.vae import export_vae_decoder, export_vae_encoder
from g4v.export.errors import ExportError
from g4v.export.graph.dtype import BFLOAT16, FLOAT16
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify.decoder import check_embedding
from g4v.export.verify.error_measures import norm_error, relative_error
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig, FrameCheckerConfig, VideoTowerConfig
from g4v.model.frame_checker import FrameChecker
from g4v.model.vision import build_encoder
from g4v.ops import custom_ops_library

TOLERANCE = 1e-5  # float32 graphs of these depths measure below 1e-5; the export itself allows 1e-4


def shaken(module, seed=0):
    """The module with noise on every parameter: a zero or one would hide a path that is wrong."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module.eval()


def session(folder, stem):
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(custom_ops_library())
    return onnxruntime.InferenceSession(folder / f"{stem}.onnx", options, providers=["CPUExecutionProvider"])


def double(module):
    return copy.deepcopy(module).double()


TOWER = VideoTowerConfig(
    hidden_size=24, num_layers=3, num_heads=3, intermediate_size=40, image_size=24, patch_size=8
)
CLIP = CLIPVisionConfig(
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    image_size=24,
    patch_size=8,
    hidden_act="gelu",
)


@pytest.mark.parametrize("config", [TOWER, CLIP], ids=["mplug-owl-video", "clip"])
@torch.no_grad()
def test_encoder(config, tmp_path):
    encoder = shaken(build_encoder(config))
    assert export_encoder(encoder, tmp_path) == ["encoder.onnx", "encoder.data"]
    graph = session(tmp_path, "encoder")
    for frames in (1, 2, 5):
        pixels = torch.randn(frames, 3, 24, 24)
        (features,) = graph.run(None, {"pixel_values": pixels.numpy()})
        assert features.shape == (frames, 10, 24)
        assert relative_error(features, double(encoder)(pixels.double())) < TOLERANCE


@torch.no_grad()
def test_abstractor(tmp_path):
    config = AbstractorConfig(24, 3, 3, 40, 7, 7, 24, 36)
    abstractor = shaken(VideoAbstractor(config))
    export_abstractor(abstractor, tmp_path)
    first, second = (session(tmp_path, name) for name in ("abstractor_memory", "abstractor"))
    for frames, tokens in ((1, 10), (2, 10), (9, 3)):
        features = torch.randn(frames, tokens, 24) * 3
        (memory,) = first.run(None, {"features": features.numpy()})
        assert memory.shape == (frames, tokens, 3 * 2 * 24)
        (output,) = second.run(None, {"memory": memory})
        assert output.shape == (8, 36)
        assert relative_error(output, double(abstractor)(features[None].double())[0]) < TOLERANCE


@torch.no_grad()
def test_frame_checker(tmp_path):
    checker = shaken(FrameChecker(FrameCheckerConfig(24, 16)))
    assert export_frame_checker(checker, tmp_path) == ["frame_checker.onnx", "frame_checker.data"]
    graph = session(tmp_path, "frame_checker")
    for frames, tokens in ((1, 10), (9, 3)):
        features = torch.randn(frames, tokens, 24) * 3
        (unsafe,) = graph.run(None, {"features": features.numpy()})
        assert unsafe.shape == (frames,)
        assert relative_error(unsafe, double(checker)(features.double())) < TOLERANCE


@torch.no_grad()
def test_abstractor_has_one_memory_product(tmp_path):
    """Keys and values of all layers come from one product over the memory."""
    config = AbstractorConfig(24, 3, 3, 40, 7, 7, 24, 36)
    abstractor = shaken(VideoAbstractor(config))
    weight, bias = folded_memory_product(abstractor)
    assert weight.shape == (24, 3 * 2 * 24) and bias.shape == (3, 2, 24)
    export_abstractor(abstractor, tmp_path)
    products = {}
    for name in ("abstractor_memory", "abstractor"):
        graph = onnx.load(tmp_path / f"{name}.onnx", load_external_data=False).graph
        shapes = {t.name: tuple(t.dims) for t in graph.initializer}
        products[name] = [shapes[n.input[1]] for n in graph.node if n.op_type == "MatMul"]
    assert products["abstractor_memory"] == [(24, 144)]
    # Layers after the first project their own queries, keys and values in one product each; so do the gates
    # of an MLP and what they let through.
    assert products["abstractor"].count((24, 72)) == 2
    assert products["abstractor"].count((24, 80)) == 3


LLAMAS = {
    "grouped": {"num_key_value_heads": 2},
    "multi-head-with-biases": {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
    "one-layer-wide-heads": {"num_key_value_heads": 1, "num_hidden_layers": 1, "head_dim": 32},
    "llama3-rope": {
        "num_key_value_heads": 2,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
}


def llama(**options):
    sizes = {
        "vocab_size": 50,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 16,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    return shaken(LlamaForCausalLM(LlamaConfig(**{**sizes, **options})))


def weights_of(model, folder):
    """The model's weights from a folder that it is saved in."""
    model.save_pretrained(folder / "llm")
    return LlamaWeights(folder / "llm")


def run_decoder(session, embeds, chunks, shape):
    """Feeds embeds [S, d] in chunks of these lengths; the logits [V] behind each. shape: of one KV buffer."""
    pasts = [i.name for i in session.get_inputs() if i.name.startswith("past_key_values.")]
    buffers = {name: np.zeros(shape, np.float32) for name in pasts}
    results, done = [], 0
    for length in chunks:
        done += length
        feeds = {
            "inputs_embeds": embeds[None, done - length : done],
            "seqlens_k": np.array([done - 1], np.int32),
            "total_sequence_length": np.array(done, np.int32),
            **buffers,
        }
        names = ["logits", *(name.replace("past_key_values", "present") for name in pasts)]
        outputs = session.run(names, feeds)
        buffers = dict(zip(pasts, outputs[1:], strict=True))
        results.append(outputs[0][0, 0])
    return results


@pytest.mark.parametrize("options", LLAMAS.values(), ids=LLAMAS.keys())
@torch.no_grad()
def test_decoder_prefills_continues_and_steps(options, tmp_path):
    model = llama(**options)
    export_decoder(weights_of(model, tmp_path), tmp_path)
    config = model.config
    embeds = torch.randn(30, 32)
    expected = double(model)(inputs_embeds=embeds[None].double()).logits[0]
    shape = (1, config.num_key_value_heads, 40, config.head_dim)
    for chunks in ([30], [12, 9, 1, 1, 7], [1] * 30):
        logits = run_decoder(session(tmp_path, "decoder"), embeds.numpy(), chunks, shape)
        for got, end in zip(logits, np.cumsum(chunks) - 1, strict=True):
            assert relative_error(got, expected[end]) < TOLERANCE


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_the_embedding_is_compared_with_the_weights(dtype, tmp_path):
    weights = weights_of(llama(), tmp_path)
    path = tmp_path / "embedding.bin"
    write_embedding(weights, path)
    rows = np.fromfile(path, "<f4").astype(dtype)
    rows.tofile(path)
    check_embedding(weights, path)
    for damage in (lambda r: r.__setitem__(-1, 3.0), lambda r: r.resize(r.size - 8, refcheck=False)):
        bad = rows.copy()
        damage(bad)
        bad.tofile(path)
        with pytest.raises(ExportError, match="embedding.bin does not hold the embedding"):
            check_embedding(weights, path)


@torch.no_grad()
def test_decoder_appends_to_shared_buffers(tmp_path):
    """Past and present bound to the same memory, as the runtime does it."""
    model = llama(num_key_value_heads=2)
    export_decoder(weights_of(model, tmp_path), tmp_path)
    graph = session(tmp_path, "decoder")
    embeds = torch.randn(20, 32)
    expected = double(model)(inputs_embeds=embeds[None].double()).logits[0]
    pasts = [i.name for i in graph.get_inputs() if i.name.startswith("past")]
    buffers = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 2, 32, 16), np.float32)) for name in pasts
    }
    done = 0
    for length in (9, 1, 6, 4):
        done += length
        binding = graph.io_binding()
        binding.bind_cpu_input("inputs_embeds", embeds[None, done - length : done].numpy())
        binding.bind_cpu_input("seqlens_k", np.array([done - 1], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.array(done, np.int32))
        for name, buffer in buffers.items():
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace("past_key_values", "present"), buffer)
        binding.bind_output("logits")
        graph.run_with_iobinding(binding)
        logits = binding.get_outputs()[-1].numpy()
        assert relative_error(logits[0, 0], expected[done - 1]) < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_act": "gelu"},
        {"head_dim": 8},
        {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}},
    ],
)
def test_decoder_refuses_what_it_cannot_express(options, tmp_path):
    name = "rope_type" if "rope_parameters" in options else next(iter(options))
    with pytest.raises(ExportError, match=f"{name} .*(is not supported|needs multiples of 16)"):
        export_decoder(weights_of(llama(num_key_value_heads=2, **options), tmp_path), tmp_path)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_text_encoder(act, tmp_path):
    config = CLIPTextConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=12,
        hidden_act=act,
        eos_token_id=2,
    )
    model = shaken(CLIPTextModel(config))
    export_text_encoder(model, tmp_path)
    for batch, length in ((2, 12), (1, 5)):
        ids = torch.randint(60, (batch, length))
        (hidden,) = session(tmp_path, "text_encoder").run(None, {"input_ids": ids.numpy()})
        assert relative_error(hidden, double(model)(ids).last_hidden_state) < TOLERANCE


UNETS = {
    "two-stages": {
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        "layers_per_block": 1,
    },
    "three-stages": {
        "block_out_channels": (16, 24, 32),
        "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        "layers_per_block": 2,
    },
}


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])
def test_time_steps_stay_in_float32_in_graphs_of_16_bits(dtype, tmp_path):
    options = next(iter(UNETS.values()))
    unet = UNet3DConditionModel(
        in_channels=3,
        out_channels=3,
        cross_attention_dim=20,
        attention_head_dim=8,
        norm_num_groups=8,
        **options,
    )
    export_unet(unet, tmp_path, lowering=StandardLowering(dtype))
    graph = onnx.load(str(tmp_path / "unet.onnx"), load_external_data=False).graph
    readers = [node.op_type for node in graph.node if "timestep" in node.input]
    assert readers == ["Mul"]  # 999 is 1000 in bfloat16
    (angles,) = [node for node in graph.node if "timestep" in node.input]
    (frequencies,) = [tensor for tensor in graph.initializer if tensor.name == angles.input[1]]
    assert frequencies.data_type == onnx.TensorProto.FLOAT


@pytest.mark.slow
@pytest.mark.parametrize("options", UNETS.values(), ids=UNETS.keys())
@torch.no_grad()
def test_unet(options, tmp_path):
    unet = shaken(
        UNet3DConditionModel(
            in_channels=3,
            out_channels=3,
            cross_attention_dim=20,
            attention_head_dim=8,
            norm_num_groups=8,
            **options,
        )
    )
    export_unet(unet, tmp_path)
    graph = session(tmp_path, "unet")
    # The last height and width are odd: the skips' sizes then say what is upsampled to what.
    for (batch, frames, height, width), length, step in (
        ((2, 3, 8, 8), 6, 999.0),
        ((1, 1, 4, 12), 2, 0.0),
        ((1, 2, 7, 5), 3, 500.375),
    ):
        sample, text = torch.randn(batch, 3, frames, height, width), torch.randn(batch, length, 20)
        feeds = {
            "sample": sample.numpy(),
            "timestep": np.array([step], np.float32),
            "encoder_hidden_states": text.numpy(),
        }
        (prediction,) = graph.run(None, feeds)
        expected = double(unet)(sample.double(), torch.tensor([step]), text.double()).sample
        assert relative_error(prediction, expected) < TOLERANCE


@pytest.mark.parametrize("attention", [False, True])
@torch.no_grad()
def test_vae_decoder(attention, tmp_path):
    vae = shaken(
        AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            block_out_channels=[8, 8, 16],
            latent_channels=4,
            norm_num_groups=4,
            mid_block_add_attention=attention,
        )
    )
    export_vae_decoder(vae, tmp_path)
    for shape in ((3, 4, 4, 4), (1, 4, 5, 3)):
        latents = torch.randn(shape)
        (images,) = session(tmp_path, "vae_decoder").run(None, {"latents": latents.numpy()})
        assert images.shape == (shape[0], 3, 4 * shape[2], 4 * shape[3])
        expected = double(vae).decode(latents.double()).sample.clamp(-1, 1)
        assert relative_error(images, expected) < TOLERANCE


@pytest.mark.parametrize("attention", [False, True])
@torch.no_grad()
def test_vae_encoder(attention, tmp_path):
    vae = shaken(
        AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            block_out_channels=[8, 8, 16],
            layers_per_block=2 if attention else 1,
            latent_channels=4,
            norm_num_groups=4,
            mid_block_add_attention=attention,
            use_quant_conv=attention,
        )
    )
    export_vae_encoder(vae, tmp_path)
    for shape in ((3, 3, 16, 16), (1, 3, 20, 12)):
        images = torch.rand(shape) * 2 - 1
        (moments,) = session(tmp_path, "vae_encoder").run(None, {"images": images.numpy()})
        assert moments.shape == (shape[0], 8, shape[2] // 4, shape[3] // 4)
        expected = double(vae).encode(images.double()).latent_dist
        assert relative_error(moments, expected.parameters) < TOLERANCE
        assert relative_error(moments[:, :4], expected.mean) < TOLERANCE


def test_a_vae_encoder_of_other_blocks_is_refused(tmp_path):
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        norm_num_groups=4,
    )
    with pytest.raises(ExportError, match="'AttnDownEncoderBlock2D' is not supported by the encoder"):
        export_vae_encoder(vae, tmp_path)
    assert not list(tmp_path.iterdir())


def test_relative_error_sees_what_is_wrong():
    good = torch.tensor([1.0, -2.0])
    assert relative_error(np.array([1.0, -2.0]), good) == 0
    assert relative_error(np.array([1.0, -1.9]), good) == pytest.approx(0.05)
    assert relative_error(np.array([np.nan, -2.0]), good) == float("inf")
    assert relative_error(np.array([1.0]), good) == float("inf")
    for error in (relative_error, norm_error):
        assert error(np.zeros(2), torch.zeros(2)) == 0
        assert max(0.1, error(np.array([0.0, 1e-9]), torch.zeros(2))) == float("inf")


def test_graphs_say_nothing_of_the_machine(bundle):
    """No doc strings, stack traces or paths in the graph files."""
    for path in bundle.glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        assert not model.doc_string and not model.metadata_props
        assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
        assert str(bundle.parent).encode() not in path.read_bytes()
    assert str(bundle.parent) not in json.dumps(json.loads((bundle / "g4v.json").read_text()))
