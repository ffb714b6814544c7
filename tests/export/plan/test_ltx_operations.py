"""Operations of LTX-Video's networks as they are estimated, against PyTorch's own count."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from g4v.export.checkpoint import ltx
from g4v.export.plan.operations import transformed, whole_convolved

from ...ltx_folder import VAE, VAE_0_9_1, transformer, vae


def counted(run):
    # The counter knows no fused attention of the CPU's.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def shapes(module, prefix=""):
    return {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("config", [VAE, VAE_0_9_1], ids=["0.9", "0.9.1"])
def test_the_decoder(config):
    """All but the layers of the time step, which are computed once."""
    model, latents = vae(config), torch.randn(1, 8, 6, 4, 4)
    step = torch.tensor([0.05]) if config is VAE_0_9_1 else None
    wanted = counted(lambda: model.decode(latents, step))
    found = whole_convolved(shapes(model.decoder, "decoder."), ltx.doublings(dict(model.config)), 16, 6)
    assert found == pytest.approx(wanted, rel=0.02)


def test_the_transformer():
    model, length = transformer(num_layers=3), 7
    given = (torch.randn(1, 60, 8), torch.randn(1, length, 48), torch.ones(1), torch.ones(1, length))
    wanted = counted(lambda: model(*given, num_frames=3, height=5, width=4))
    assert transformed(shapes(model), 60, length) == pytest.approx(wanted, rel=0.05)
