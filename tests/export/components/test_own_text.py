"""Calibration text that a language model writes itself."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.own_text import _sample, write_own_text
from g4v.export.errors import ExportError
from g4v.export.quantisation.calibration import SEQUENCES, calibrate


@pytest.fixture
def model():
    """A Llama with logits that mean something."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    config = LlamaConfig(
        vocab_size=90, num_hidden_layers=2, intermediate_size=96, max_position_embeddings=48, **sizes
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.15)
    return model


def saved(model, folder):
    model.save_pretrained(folder)
    return LlamaWeights(folder)


def test_a_model_writes_its_own_text(model, tmp_path):
    weights, place = saved(model, tmp_path / "llm"), tmp_path / "out"
    place.mkdir()
    first, again = (write_own_text(weights, None, place) for _ in range(2))
    assert first.ids.shape == (SEQUENCES, 48)  # as long as its context
    assert torch.equal(first.ids, again.ids) and first.about["tokens"] == SEQUENCES * 48
    assert len(first.ids[:, 0].unique()) > SEQUENCES / 4 and len(first.ids.unique(dim=0)) == SEQUENCES
    assert not any(place.iterdir())  # the file of rounded weights is gone
    # Drawn from the model: as likely under it as what it writes is, and far likelier than by chance.
    with torch.no_grad():
        chances = model(first.ids).logits[:, :-1].log_softmax(-1)
    entropy = -(chances.exp() * chances).sum(-1).mean()
    told = -chances.gather(-1, first.ids[:, 1:, None]).mean()
    assert told == pytest.approx(float(entropy), abs=0.15) and entropy < np.log(90) - 0.5


def test_threads_change_nothing(model, tmp_path):
    weights, threads = saved(model, tmp_path / "llm"), torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(write_own_text(weights, 7, tmp_path).ids)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found) and (found[0][:, 0] == 7).all()


def test_tokens_are_drawn_with_the_chances_of_softmax():
    logits = np.array([1.0, -np.inf, 3.0, 2.0], np.float32)
    drawn = _sample([logits] * 20000, np.random.default_rng(0))
    wanted = torch.tensor(logits).softmax(-1).numpy()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20000, wanted, atol=0.02)


def test_numbers_that_are_not_finite_are_refused(model, tmp_path):
    with torch.no_grad():
        model.model.norm.weight.fill_(3e38)
    weights = saved(model, tmp_path)
    with pytest.raises(ExportError, match="numbers that are not finite"):
        write_own_text(weights, 0, tmp_path)
    assert not list(tmp_path.glob("*.packed"))


def test_it_is_written_where_it_is_chosen(model, tmp_path):
    weights, written = saved(model, tmp_path), object()
    for choice, wanted in ((None, written), ("own", written), ("none", None)):
        assert calibrate(weights, None, choice, own_text=lambda: written) is wanted
