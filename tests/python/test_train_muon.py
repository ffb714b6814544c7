"""The optimiser of matrices, against the singular value decomposition in float64."""

import copy

import pytest
import torch
from torch import nn

from g4v.train.muon import Muon, matrices_of, orthogonalise


@pytest.mark.parametrize("shape", [(16, 16), (24, 96), (96, 24), (2, 48, 432)])
def test_singular_vectors_stay_and_values_become_one(shape):
    torch.manual_seed(sum(shape))
    matrices = torch.randn(shape)
    made = orthogonalise(matrices).double()
    u, _, vh = torch.linalg.svd(matrices.double(), full_matrices=False)
    values = torch.linalg.svdvals(made)
    # The iteration brings the smallest values of a square random matrix up last.
    least = 0.02 if shape[-1] == shape[-2] else 0.6
    assert least < values.min() and values.max() < 1.25
    # In the basis of the singular vectors the result is diagonal.
    inner = u.mT @ made @ vh.mT
    outside = inner - torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1))
    assert outside.abs().max() < 1e-4


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 1),
        nn.Conv2d(24, 32, 3, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(32 * 36, 20),
        nn.Linear(20, 2),
    )


def test_which_weights_are_matrices():
    net = model()
    assert matrices_of(net) == [net[1].weight, net[4].weight]  # not what reads pixels or has 2 rows
    net[1].requires_grad_(False)
    assert matrices_of(net) == [net[4].weight]


def optimiser(net, lr=0.01):
    matrices = matrices_of(net)
    rest = [p for p in net.parameters() if all(p is not m for m in matrices)]
    return Muon([{"params": matrices, "matrices": True}, {"params": rest}], lr=lr, weight_decay=0.0)


def train(net, steps, optimizer, first=0):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(16, 3, 6, 6, generator=generator)
        y = torch.stack([x.mean((1, 2, 3)), x[:, 0, 2, 2]], -1)
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_it_learns_and_resumes_exactly():
    whole = model()
    first = train(copy.deepcopy(whole), 1, optimiser(whole))
    last = train(whole, 40, optimiser(whole))
    assert last < first / 2

    broken = model()
    before = optimiser(broken)
    train(broken, 25, before)
    after = optimiser(broken)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    train(broken, 15, after, first=25)
    for one, other in zip(whole.parameters(), broken.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_an_update_has_the_size_of_the_learning_rate():
    net = model()
    matrices = matrices_of(net)
    before = [weight.detach().clone() for weight in matrices]
    for weight in matrices:
        weight.grad = torch.randn_like(weight)  # of full rank, as those of real batches are
    optimiser(net, lr=0.003).step()
    for old, new in zip(before, matrices, strict=True):
        size = (new.detach() - old).square().mean().sqrt()
        assert float(size) == pytest.approx(0.003, rel=0.3)


def test_without_gradient_nothing_moves():
    net = model()
    before = copy.deepcopy(net.state_dict())
    optimiser(net).step()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
