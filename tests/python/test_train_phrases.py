"""The text encoder's own task: at the end of each object's phrase it knows that object."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel

from g4v.model.presets import TINY
from g4v.shapes.recipe.phrases import PhraseReader, find_phrases
from g4v.shapes.recipe.text_to_video import TextToVideoPart
from g4v.shapes.recipe.tokenizers import caption_tokenizer, encode_captions
from g4v.shapes.world.world import COLOURS, MOTIONS, SHAPES, caption, object_phrase, sample_scene

LENGTH = 32


@pytest.fixture(scope="module")
def tokenizer():
    return caption_tokenizer()


def test_phrases_end_where_their_motion_does(tokenizer):
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, "all", background=None) for _ in range(60)]
    texts = [caption(scene) for scene in scenes]
    ids = encode_captions(tokenizer, texts, LENGTH)
    phrases = find_phrases(tokenizer, texts)
    objects = [(row, item) for row, scene in enumerate(scenes) for item in scene.objects]
    assert len(phrases.rows) == len(objects) > 60
    for row, column, (colour, shape, motion), (wanted_row, item) in zip(
        *(field.tolist() for field in phrases), objects, strict=True
    ):
        assert row == wanted_row
        assert (COLOURS[colour], SHAPES[shape], MOTIONS[motion]) == (item.colour, item.shape, item.motion)
        assert tokenizer.decode(ids[row, 1 : column + 1]).endswith(object_phrase(item))


def test_texts_that_are_no_caption_have_no_phrases(tokenizer):
    phrases = find_phrases(tokenizer, ["", "a skull sign and a red circle standing still", "two objects"])
    assert [field.shape for field in phrases] == [(0,), (0,), (0, 3)]
    states = torch.randn(3, LENGTH, 8)
    loss, right = PhraseReader(8)(states, phrases)
    assert (float(loss), float(right)) == (0.0, 0.0)


@pytest.mark.slow
def test_the_text_encoder_learns_which_words_go_together(tokenizer):
    """Of two objects in one caption, from nothing, on captions that differ from those it is asked about."""
    torch.manual_seed(0)
    small = {**TINY.text_encoder, "num_hidden_layers": 2}
    config = type(TINY.text_config(len(tokenizer)))(vocab_size=len(tokenizer), **small)
    encoder, reader = CLIPTextModel(config), PhraseReader(config.hidden_size)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *reader.parameters()], lr=2e-3)
    rng = np.random.default_rng(1)

    def step(split):
        texts = [caption(sample_scene(rng, split, objects=2)) for _ in range(48)]
        states = encoder(input_ids=encode_captions(tokenizer, texts, LENGTH)).last_hidden_state
        return reader(states, find_phrases(tokenizer, texts))

    for _ in range(120):
        loss, _ = step("train")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert step("test")[1] > 0.9


@pytest.mark.slow
def test_most_of_the_clips_show_two_objects(tmp_path, tokenizer):
    one, two = "a red star moving left", "a red star moving left and a blue circle growing"
    save_file({"latents": torch.zeros(512, 8, 8, 8, 8).half()}, tmp_path / "0000.safetensors")
    (tmp_path / "0000.json").write_text(json.dumps([one] * 500 + [two] * 12), "utf-8")
    part = TextToVideoPart(TINY, tokenizer, tmp_path, 1.0, 2, 400, 0.8, drop_text=0.0)
    _, _, steps, _, phrases = part.batch(np.random.default_rng(0))
    assert 0.6 < len(phrases.rows) / 400 - 1 < 0.8
    noisier = (steps >= len(part.alphas) // 2).float().mean()
    assert 0.7 < noisier < 0.8  # three times the share of the other half


def test_latents_of_single_objects_alone_are_enough(tmp_path, tokenizer):
    save_file({"latents": torch.zeros(512, 8, 8, 8, 8).half()}, tmp_path / "0000.safetensors")
    (tmp_path / "0000.json").write_text(json.dumps(["a red star moving left"] * 512), "utf-8")
    part = TextToVideoPart(TINY, tokenizer, tmp_path, 1.0, 1, 8, drop_text=0.0)
    loss, figures = part.loss(part.batch(np.random.default_rng(0)))
    assert torch.isfinite(loss) and 0 <= figures["phrases_right"] <= 1
    loss.backward()
    assert part.model["phrases"].linear.weight.grad.abs().sum() > 0
