"""The runtime's greedy answers against PyTorch's, over several turns with and without videos."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from g4v import _core
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.checkpoint.run import Checkpoint
from g4v.model.assistant import Gpt4Video, ReferenceConversation
from g4v.model.prompt import PromptTemplate, plain_encoder

from ..export.conftest import SMALL
from .talking import ask, load, text_of

# Long enough for several turns, and for the KV cache to grow twice.
PRESET = replace(SMALL, llama={**SMALL.llama, "max_position_embeddings": 1024})
TURNS = 14


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    return write_random_checkpoint(tmp_path_factory.mktemp("reference") / "run", PRESET, seed=3)


@pytest.fixture(scope="module")
def assistant(run):
    export_bundle(run, run.parent / "bundle")
    return load(run.parent / "bundle")


@pytest.fixture(scope="module")
def model(run):
    return Gpt4Video.from_checkpoint(run)


@pytest.fixture(scope="module")
def tokenizer(run):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(run / "llm")


def expected_text(tokenizer, ids):
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.lstrip(" \t\n\r\f\v")


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("case", range(3))
def test_greedy_tokens_are_those_of_pytorch(run, assistant, model, tokenizer, case, penalty):
    """Random weights are the harshest case: their largest logits lie closest together."""
    template = PromptTemplate.from_manifest(json.loads((run / "g4v_train.json").read_text())["prompt"])
    reference = ReferenceConversation(model, template, plain_encoder(tokenizer), penalty)
    chat = assistant.chat(text_options=_core.TextOptions(repetition_penalty=penalty, max_new_tokens=24))
    samples = json.loads(assistant.info())["frame_samples"]
    mean, std = Checkpoint.open(run).image_statistics()
    random = np.random.default_rng(case)
    for turn in range(TURNS):
        words = " ".join(random.choice(["red", "moves", "What", "circle?", "\u00e9t\u00e9", "show"], 3))
        frames = features = None
        if (case + turn) % 2:
            count = samples if turn > 1 else 1
            frames = random.integers(0, 256, (count, 40, 56, 3), dtype=np.uint8)
            pixels = _core.preprocess(frames, SMALL.encoder["image_size"], mean, std)
            with torch.no_grad():
                features = model.encoder(torch.from_numpy(pixels)[None])[0]
        ids = reference.send(words, features, max_new_tokens=24)
        events = ask(chat, words, frames)
        assert text_of(events) == expected_text(tokenizer, ids)
        assert events[-1].new_tokens == len(ids) + (events[-1].finish_reason == "stop")
        assert chat.context_used == len(reference.ids)
    assert chat.context_used > 512
