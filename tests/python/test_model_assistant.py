"""The assistant: where video tokens go, what is trained, and the reference conversation."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.model.abstractor import VideoAbstractor
from g4v.model.assistant import Gpt4Video, ReferenceConversation
from g4v.model.config import AbstractorConfig, VideoTowerConfig
from g4v.model.prompt import VIDEO_ID, PromptTemplate
from g4v.model.vision import build_encoder

TEMPLATE = PromptTemplate(turn_end_id=2, bos_id=1, system="S")
TOWER = VideoTowerConfig(
    hidden_size=24, num_layers=1, num_heads=3, intermediate_size=40, image_size=24, patch_size=8
)


def encode(text, first_segment=True):
    return [3 + b % 40 for b in text.encode()]


@pytest.fixture
def model():
    torch.manual_seed(3)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=48,
            max_position_embeddings=160,
            initializer_range=0.4,
        )
    )
    abstractor = VideoAbstractor(AbstractorConfig(24, 2, 3, 40, 4, 4, 24, 32))
    return Gpt4Video(build_encoder(TOWER), abstractor, llm).eval()


@torch.no_grad()
def test_video_tokens_stand_where_the_ids_say(model):
    ids = torch.tensor([[1, 5, *[VIDEO_ID] * 5, 6], [1, *[VIDEO_ID] * 5, 7, 8]])
    clips = torch.randn(2, 5, 32)
    embeds = model.embed(ids, clips)
    assert torch.equal(embeds[0, 2:7], clips[0]) and torch.equal(embeds[1, 1:6], clips[1])
    table = model.llm.get_input_embeddings().weight
    assert torch.equal(embeds[0, [0, 1, 7]], table[[1, 5, 6]])
    with pytest.raises(ValueError, match="10 video positions, but 5 video tokens"):
        model.embed(ids, clips[:1])


@torch.no_grad()
def test_loss_is_the_mean_over_labels(model):
    ids = torch.tensor([[1, *[VIDEO_ID] * 5, 9, 10, 11]])
    labels = torch.full_like(ids, -100)
    labels[0, -2:] = ids[0, -2:]
    pixels = torch.randn(1, 3, 3, 24, 24)
    out = model(ids, labels, pixel_values=pixels)
    logs = out.logits[0].log_softmax(-1)
    assert out.loss.item() == pytest.approx(-(logs[6, 10] + logs[7, 11]).item() / 2, rel=1e-5)
    features = model.encoder(pixels)
    again = model(ids, labels, features=features)
    assert torch.equal(out.logits, again.logits)
    tokens = model.encode_video(features=features)
    assert torch.equal(model(ids, labels, video_tokens=tokens).logits, out.logits)


def test_encoder_is_frozen_and_the_abstractor_learns(model):
    model.train()
    assert not model.encoder.training and model.abstractor.training
    ids = torch.tensor([[1, *[VIDEO_ID] * 5, 9, 10]])
    model(ids, ids.masked_fill(ids < 0, -100), pixel_values=torch.randn(1, 2, 3, 24, 24)).loss.backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.abstractor.parameters())


@torch.no_grad()
def test_reference_conversation_equals_recomputation_from_scratch(model):
    features = torch.randn(3, 10, 24)
    chat = ReferenceConversation(model, TEMPLATE, encode)
    first = chat.send("what", features, max_new_tokens=6)
    second = chat.send("and", max_new_tokens=5)
    assert first and second

    ids = TEMPLATE.opening_ids(encode) + TEMPLATE.turn_ids("what", True, 5, encode)
    for answer, question in ((first, "and"), (second, None)):
        for token in answer:
            logits = model(torch.tensor([ids]), features=features[None]).logits[0, -1]
            assert int(logits.argmax()) == token
            ids.append(token)
        ids.append(2)
        if question:
            ids += TEMPLATE.turn_ids(question, False, 5, encode)
    assert chat.ids == ids


@torch.no_grad()
def test_reference_conversation_stays_within_the_context(model):
    chat = ReferenceConversation(model, TEMPLATE, encode)
    answer = chat.send("x" * 100, max_new_tokens=1000)
    assert len(chat.ids) <= 160 and len(answer) < 60
    with pytest.raises(ValueError, match="does not fit into 160"):
        chat.send("y" * 100)
