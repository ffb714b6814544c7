"""The abstractor with 8-bit weights and activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from g4v.export.abstractor import export_abstractor
from g4v.export.eight_bit import EightBitGraph, round_columns
from g4v.export.errors import ExportError
from g4v.export.graph import Graph
from g4v.export.precision import parse_precisions
from g4v.export.verify import EIGHT_BIT_TOLERANCE, check, verify_abstractor

from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig


def test_columns_are_rounded_to_half_a_step() -> None:
    weight = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    weight[:, 3] = 0
    codes, scales = round_columns(weight)
    assert codes.dtype == np.int8 and np.abs(codes).max() == 63  # no two products overflow 16 bits
    assert (np.abs(codes * scales - weight) <= scales / 2 * 1.001).all()


def test_the_abstractor_at_real_sizes_stays_within_its_tolerance(tmp_path: Path) -> None:
    torch.manual_seed(0)
    abstractor = VideoAbstractor(AbstractorConfig(num_layers=2, output_size=256)).eval()
    export_abstractor(abstractor, tmp_path, "rounded", EightBitGraph)
    export_abstractor(abstractor, tmp_path, "exact", Graph)
    sizes = {
        stem: sum((tmp_path / f"{stem}{part}.data").stat().st_size for part in ("", "_memory"))
        for stem in ("rounded", "exact")
    }
    assert sizes["rounded"] < 0.75 * sizes["exact"]
    error = verify_abstractor(abstractor, tmp_path, 8, 257, "rounded")
    assert 1e-5 < error < EIGHT_BIT_TOLERANCE / 4


def test_it_is_a_precision_of_the_abstractor() -> None:
    assert parse_precisions("abstractor=int8")["abstractor"] == {"cpu": "int8"}
    assert parse_precisions("abstractor=int8")["decoder"] == {"cpu": "fp32"}
    assert parse_precisions("int8")["abstractor"] == {"cpu": "fp32"}  # only where it is named
    with pytest.raises(ExportError, match="encoder cannot be written in 'int8'"):
        parse_precisions("encoder=int8")
    with pytest.raises(ExportError, match="abstractor: the graph differs from PyTorch by 3.0e-02"):
        check("abstractor", 3e-2, EIGHT_BIT_TOLERANCE)
