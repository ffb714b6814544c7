"""With how many threads PyTorch works on small matrices."""

import pytest
import torch

from g4v.export.checkpoint.threads import threads_for


def test_small_matrices_get_one_thread_and_large_ones_all():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with threads_for(1000):
            assert torch.get_num_threads() == 1
            with threads_for(10**9):
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with threads_for(10**9):
            assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), threads_for(1):
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
