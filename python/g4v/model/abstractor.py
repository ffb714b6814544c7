"""The video abstractor: learned queries that read all tokens of all frames through cross-attention.

Parameter names are those of the public mPLUG-Owl checkpoint below `abstractor.`, with `query_tokens` and
`temporal_query_tokens` (at the top level there) as members. Per layer, with queries x and memory M:

    q = norm1(x)                          keys and values = concat(q, normk(M))
    y = q + out_proj(attention(q, kv))    the residual is the normalised q
    x = y + w2(ffn_ln(silu(w1 n) * w3 n)), n = norm2(y)
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from g4v.model.config import AbstractorConfig
from g4v.model.storage import load_tensors, save_module, typed_list


class _Attention(nn.Module):
    """Multi-head attention with separate query, key and value projections, all with biases."""

    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.memory_size, config.hidden_size)
        self.value = nn.Linear(config.memory_size, config.hidden_size)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """queries [B, Q, d], keys [B, K, d], mask bool [B, 1, 1, K] (True = take part) -> [B, Q, d]."""
        q, k, v = (
            x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x in (self.query(queries), self.key(keys), self.value(keys))
        )
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class _MLP(nn.Module):
    """Gated MLP with a LayerNorm before its last product."""

    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_ln = nn.LayerNorm(config.intermediate_size, eps=config.ffn_layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(self.ffn_ln(F.silu(self.w1(x)) * self.w3(x)))


class _Output(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _MLP(config)


class _CrossAttention(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.output = _Output(config)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.normk = nn.LayerNorm(config.memory_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        q = self.norm1(x)
        keys = torch.cat([q, self.normk(memory)], dim=1)
        y = q + self.output.out_proj(self.attention(q, keys, mask))
        return y + self.output.mlp(self.output.norm2(y))


class _Layer(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.crossattention = _CrossAttention(config)


class _Encoder(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.layers = typed_list([_Layer(config) for _ in range(config.num_layers)])


class VideoAbstractor(nn.Module):
    """Resamples all tokens of a clip to `config.output_tokens` embeddings of the language model.

    Learned queries read the encoder's tokens of all frames through cross-attention, as in mPLUG-Owl's visual
    abstractor: spatial queries, and for clips of several frames temporal ones, whose results are added.
    """

    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.randn(1, config.num_queries, config.hidden_size) * 0.02)
        self.temporal_query_tokens = nn.Parameter(
            torch.randn(1, config.num_temporal_queries, config.hidden_size) * 0.02
        )
        self.encoder = _Encoder(config)
        self.visual_fc = nn.Linear(config.hidden_size, config.output_size)
        self.temporal_visual_fc = nn.Linear(config.hidden_size, config.output_size)
        self.vit_eos = nn.Parameter(torch.randn(1, 1, config.output_size) * 0.02)

    def forward(self, features: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Video tokens of clips, float [B, num_queries + 1, output_size]; the last row is vit_eos.

        features: float [B, T, N, memory_size], N tokens of the encoder for each of T frames.
        frame_mask: bool [B, T], False for padding frames, at least one True in each clip; None: all are real.
        A clip with one real frame is read by the spatial queries alone, whether or not it is padded.
        """
        batch, frames, tokens, _ = features.shape
        spatial = self.config.num_queries
        x = self.query_tokens.expand(batch, -1, -1)
        if frames > 1:
            x = torch.cat([x, self.temporal_query_tokens.expand(batch, -1, -1)], dim=1)
        mask = several = None
        if frame_mask is not None and frames > 1:
            several = frame_mask.sum(dim=1, keepdim=True) > 1  # [B, 1]
            own = torch.cat(
                [torch.ones_like(several).expand(-1, spatial), several.expand(-1, x.shape[1] - spatial)], 1
            )
            mask = torch.cat([own, frame_mask.repeat_interleave(tokens, dim=1)], dim=1)[:, None, None]
        memory = features.flatten(1, 2)
        for layer in self.encoder.layers:
            x = layer.crossattention(x, memory, mask)
        out = self.visual_fc(x[:, :spatial])
        if frames > 1:
            temporal = self.temporal_visual_fc(x[:, spatial:])
            out = out + (temporal if several is None else temporal * several[..., None].to(temporal.dtype))
        return torch.cat([out, self.vit_eos.expand(batch, -1, -1)], dim=1)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Writes config.json and model.safetensors into `folder`."""
        save_module(self, asdict(self.config), folder, dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> VideoAbstractor:
        """Reads what `save_pretrained` wrote, as float32. RuntimeError names missing or extra tensors."""
        model = cls(AbstractorConfig.from_file(Path(folder) / "config.json"))
        model.load_state_dict(load_tensors(folder))
        return model.eval()
