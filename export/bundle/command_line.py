"""The options of `python -m g4v.export`."""

from __future__ import annotations

import argparse

from g4v._command import Utf8Parser

_DESCRIPTION = """\
Writes a bundle (a directory with g4v.json, ONNX graphs and their weights) from a training run or from public
downloads: merges the LoRA adapter, rewrites the abstractor, builds the graphs, and compares each one with
PyTorch in float64 while it is written (a relative error of a float32 graph above 1e-4 stops the export).
Nothing appears at --out unless all of it is right, and the same base always gives the same files (except for
engines)."""

_EPILOG = """\
a run has these parts (encoder and abstractor may be missing, and so may adapter, frame_checker and t2v):
  g4v_train.json   name, assistant, description, prompt, frames, generation, licences, provenance
  encoder/         CLIPVisionModel or the mPLUG-Owl video tower
  abstractor/      config.json, model.safetensors
  frame_checker/   config.json, model.safetensors
  llm/             LlamaForCausalLM with its tokenizer
  adapter/         a PEFT LoRA folder, merged into llm
  t2v/             a diffusers text-to-video folder (UNet3DConditionModel, AutoencoderKL, CLIPTextModel)

examples:
  python -m g4v.export --base MAGAer13/mplug-owl-llama-7b-video --t2v cerspense/zeroscope_v2_576w --out owl
  python -m g4v.export --preset tiny --base runs/tiny --out bundles/tiny
  python -m g4v.export --preset small --llm SmolLM2-135M-Instruct.gguf --out bundles/small
  python -m g4v.export --base runs/mine --llm llama.gguf --adapter lora --adapter style=0.5 --out mine

exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted"""


class _Parser(Utf8Parser):
    program = "g4v.export"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command `python -m g4v.export`."""
    from g4v.model.presets import PRESETS
    from g4v.model.prompt_presets import PRESETS as TEMPLATES

    parser = _Parser(
        prog="python -m g4v.export",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="the bundle's name (default: the run's own); all sizes are those of the run",
    )
    parser.add_argument(
        "--base",
        "--checkpoint",
        dest="base",
        metavar="X",
        help="a training run, a published checkpoint of mPLUG-Owl, SmolVLM2, LLaVA-NeXT-Video or "
        "Video-LLaVA, or what `python -m g4v.model.bases convert` made: a folder or a hub name (default: the "
        "preset's own weights, in a clone of the repository; without a preset, the parts that are named)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the bundle's directory")
    parts = parser.add_argument_group(
        "parts in place of the base's", "X is a folder or a hub name; the network is used for hub names only"
    )
    parts.add_argument("--llm", metavar="X", help="LlamaForCausalLM, or a GGUF file")
    parts.add_argument(
        "--adapter",
        metavar="A",
        action="append",
        help="PEFT LoRA folder or hub name, or A=WEIGHT; repeatable: all are merged (default: the base's "
        "own); none: no adapter",
    )
    parts.add_argument("--vision", metavar="X", help="CLIPVisionModel, or a g4v encoder")
    parts.add_argument("--t2v", metavar="X", help="diffusers text-to-video pipeline")
    parts.add_argument(
        "--variant",
        metavar="V",
        help="take the text-to-video weights of this variant, such as fp16, where its parts have it",
    )
    parts.add_argument(
        "--video-lora",
        metavar="FILE",
        action="append",
        help="LoRA of the text-to-video model in safetensors, as diffusers or kohya's scripts write it, or "
        "FILE:WEIGHT; repeatable: all are merged into UNet and text encoder",
    )
    parts.add_argument(
        "--mix",
        action="store_true",
        help="join parts that were not trained together: another tower or language model under an abstractor",
    )
    parser.add_argument(
        "--template",
        choices=TEMPLATES,
        help="prompt template of a base or a language model that was not trained with g4v (default: the "
        "base's, or the chat template of the tokenizer)",
    )
    parser.add_argument(
        "--system",
        metavar="TEXT|FILE",
        help="text that opens every conversation, or a file that holds it (default: the run's, or one with "
        "examples that teach an untrained language model to send videos)",
    )
    video = parser.add_argument_group(
        "videos that are made",
        "defaults of the bundle; engines take at most so many frames, and only this size",
    )
    video.add_argument("--frames", type=int, metavar="N", help="of a video that is made (default: the run's)")
    video.add_argument("--video-size", metavar="WxH", help="in pixels (default: the run's)")
    video.add_argument(
        "--video-to-video",
        action="store_true",
        help="export the VAE's encoder too: videos can then be made from a video or a picture, too",
    )
    parser.add_argument(
        "--precision",
        action="append",
        metavar="P",
        help="fp32, fp16 or bf16 (neither on the CPU), bf16x2 (encoder and abstractor on the CPU: products "
        "with 16 of float32's 24 bits, where there is AMX), int8 or int4 (weights of the decoder), fp8 "
        "(engines of encoder and UNet), or COMPONENT=P; encoder=int8, abstractor=int8 and unet=int8 quantise "
        "activations, too (on the CPU only); other engines are in fp8 if they are named; repeatable "
        "(default: fp32 for the CPU, fp16 for all others)",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="T",
        help="cpu, cuda (ONNX Runtime's CUDA provider), tensorrt-rtx (engines for NVIDIA GPUs; none is "
        "needed to build them) or tensorrt (engines for the GPU that builds them); repeatable: the bundle "
        "then has a variant for each (default: cpu)",
    )
    engines = parser.add_argument_group(
        "engines",
        "of targets tensorrt-rtx and tensorrt; two builds of an engine of encoder, UNet or autoencoder may "
        "differ in some bytes",
    )
    engines.add_argument(
        "--compute-capability",
        metavar="CC",
        action="append",
        help="of the GPUs to build for, repeatable: 8.6, 8.9, 12.0 or 12.1 for tensorrt-rtx (default: one "
        "engine for all of them); 8.0+ for tensorrt (default: this machine's GPU)",
    )
    engines.add_argument(
        "--builder-optimization-level",
        type=int,
        metavar="0-5",
        help="a higher level takes longer to build and may run faster (default: the library's, 3)",
    )
    engines.add_argument(
        "--workspace",
        type=int,
        metavar="MIB",
        help="largest scratch memory of a layer on the GPU (default: no limit)",
    )
    engines.add_argument(
        "--timing-cache",
        metavar="FILE",
        help="file of tensorrt's measurements: later builds on the same GPU are faster and choose the same "
        "kernels (without it, two exports for tensorrt may differ)",
    )
    parser.add_argument(
        "--store-as-float16",
        action="store_true",
        help="store weights of graphs for the CPU as float16 where that is exact; they become float32 when "
        "the bundle is loaded",
    )
    # The option's name before.
    parser.add_argument("--compact", dest="store_as_float16", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--no-decoder-graph",
        dest="decoder_graph",
        action="store_false",
        help="compare the decoder's graph and then leave it out: the bundle has the packed weights alone, is "
        "smaller, and its decoder runs on the CPU alone (target cpu)",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="calibration text of int8 and int4 weights (GPTQ); own: text that the language model writes "
        "itself (the default up to 1 billion weights); none: round to nearest (the default above)",
    )
    parser.add_argument(
        "--calibration-video",
        metavar="FILE",
        action="append",
        help="video from which real inputs are made: to compare graphs, to measure ranges of values and to "
        "calibrate FP8; repeatable (default: a few drawn clips)",
    )
    parser.add_argument("--force", action="store_true", help="replace a bundle that exists at --out")
    parser.add_argument(
        "--component",
        action="append",
        metavar="C",
        help="export only this component (repeatable); with --force a bundle at --out keeps its others",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="write nothing: check the bundle at --out (files against their hashes, graphs against RUN)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: estimate disk, memory and time of export and runs, and say what is missing",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser
