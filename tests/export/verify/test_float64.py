"""Modules that run in float64 while their weights stay as they are stored."""

import pytest
import torch
from torch import nn

from g4v.export.verify.float64 import _LARGE, in_float64


class Model(nn.Module):
    """Large and small layers, a weight of its own, one that two layers share, and a table of indices."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 1200)
        self.large = nn.Linear(1200, 1200)
        self.again = nn.Linear(1200, 1200)
        self.again.weight = self.large.weight
        self.shift = nn.Parameter(torch.randn(1200))
        self.register_buffer("table", torch.arange(3))
        self.register_buffer("scale", torch.tensor(0.3))
        self.seen = []

    def forward(self, x):
        assert x.dtype == self.first.weight.dtype  # as models ask for their own type
        x = self.large(torch.tanh(self.first(x))) * self.scale + self.shift[self.table].sum()
        self.seen.append((self.large.weight.dtype, x.dtype))
        return self.again(torch.tanh(x))


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
@torch.no_grad()
def test_results_are_those_of_a_model_in_float64(stored):
    torch.manual_seed(0)
    model = Model().to(stored)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(2, 8)
    with in_float64(model):
        found = [model(x.double()) for _ in range(2)]
        assert model.large.weight.numel() >= _LARGE and model.large.weight.dtype == stored
    assert model.seen[0] == (stored, torch.float64)  # the large layer was wide only while it ran
    after = model.state_dict()
    assert all(
        torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items()
    )
    wanted = Model()
    wanted.load_state_dict(before)
    wanted = wanted.double()(x.double())
    for result in found:
        assert result.dtype == torch.float64
        torch.testing.assert_close(result, wanted, rtol=1e-12, atol=1e-12)


def test_weights_come_back_after_an_error():
    model = Model().half()
    with pytest.raises(RuntimeError):
        with in_float64(model):
            model.large(torch.randn(2, 7).double())
    assert {p.dtype for p in model.parameters()} == {torch.float16}
