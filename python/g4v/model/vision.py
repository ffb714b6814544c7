"""The video encoders of g4v and CLIP (that of SigLIP is in siglip.py, that of LLaVA in clip_features.py).

All map frames to all tokens of the last layer, after post_layernorm.

clip              transformers' CLIPVisionModel: every frame on its own.
mplug-owl-video   the tower of the public mPLUG-Owl video checkpoint: a fused query_key_value product,
                  LayerNorm eps 1e-6, and before each layer a temporal block (x = x + temporal(x)) when a clip
                  has more than one frame.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from g4v.model.clip_features import ClipFeatures
from g4v.model.config import VideoTowerConfig
from g4v.model.siglip import SiglipEncoder
from g4v.model.storage import load_tensors, save_module, typed_list


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), the approximation of GELU that CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


class ClipEncoder(nn.Module):
    """A `transformers.CLIPVisionModel` that returns every token of every frame, after post_layernorm."""

    flavour = "clip"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    def image_size(self) -> int:
        return self.model.config.image_size

    @property
    def hidden_size(self) -> int:
        return self.model.config.hidden_size

    @property
    def tokens_per_frame(self) -> int:
        return (self.model.config.image_size // self.model.config.patch_size) ** 2 + 1

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Tokens of frames, float [T, N, d] or [B, T, N, d].

        pixel_values: float [T, 3, S, S] (one clip) or [B, T, 3, S, S], normalised RGB.
        """
        frames = pixel_values.flatten(0, -4)
        hidden = self.model(pixel_values=frames).last_hidden_state
        return self.model.post_layernorm(hidden).unflatten(0, pixel_values.shape[:-3])

    def save_pretrained(self, folder: str | Path) -> None:
        self.model.save_pretrained(folder)


class _Temporal(nn.Module):
    """LayerNorm, 1x1x1 convolution to half width, depthwise one over time, QuickGELU, and one back."""

    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        half = config.hidden_size // 2
        self.ln = nn.LayerNorm(config.hidden_size, eps=config.temporal_layer_norm_eps)
        self.down_proj = nn.Conv3d(config.hidden_size, half, kernel_size=1)
        self.conv = nn.Conv3d(half, half, kernel_size=(3, 1, 1), padding=(1, 0, 0), groups=half)
        self.up_proj = nn.Conv3d(half, config.hidden_size, kernel_size=1)
        for parameter in self.up_proj.parameters():  # the block starts as the identity
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, N, d] -> the same shape; the class token passes through as it is.

        The 1x1x1 convolutions are matrix products over the last axis and the depthwise one is three shifted
        products: the same numbers as Conv3d, several times faster on a CPU.
        """
        patches = self.ln(x[:, :, 1:])
        patches = F.linear(patches, self.down_proj.weight.flatten(1), self.down_proj.bias)
        before, now, after = self.conv.weight[:, 0, :, 0, 0].unbind(1)  # [d/2] each
        padded = F.pad(patches, (0, 0, 0, 0, 1, 1))
        patches = padded[:, :-2] * before + patches * now + padded[:, 2:] * after
        patches = patches + self.conv.get_parameter("bias")
        patches = F.linear(quick_gelu(patches), self.up_proj.weight.flatten(1), self.up_proj.bias)
        return torch.cat([x[:, :, :1], patches], dim=2)


class _Attention(nn.Module):
    """Self-attention whose fused projection is laid out as [heads, 3, head_dim]."""

    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.query_key_value(x).unflatten(-1, (self.num_heads, 3, -1))  # [F, N, heads, 3, head_dim]
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        return self.dense(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(quick_gelu(self.fc1(x)))


class _Layer(nn.Module):
    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        self.temporal = _Temporal(config)
        self.self_attn = _Attention(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _MLP(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, N, d] -> the same shape."""
        if x.shape[1] > 1:
            x = x + self.temporal(x)
        shape = x.shape
        x = x.flatten(0, 1)
        x = x + self.self_attn(self.input_layernorm(x))
        x = x + self.mlp(self.post_attention_layernorm(x))
        return x.view(shape)


def _sine_positions(config: VideoTowerConfig) -> Tensor:
    """First position embeddings [1, 1 + P, d]: sines and cosines of row and column (as in MAE, He et al.,
    2021), zero for the class token. From random ones a small tower has to learn first what lies beside what.
    """
    side, quarter = config.image_size // config.patch_size, -(-config.hidden_size // 4)
    frequencies = 10_000.0 ** (-torch.arange(quarter) / quarter)
    angles = torch.arange(side)[:, None] * frequencies  # [side, d/4]
    waves = torch.cat([angles.sin(), angles.cos()], -1)
    rows, columns = waves[:, None].expand(side, side, -1), waves[None].expand(side, side, -1)
    patches = torch.cat([rows, columns], -1).reshape(side * side, -1)[:, : config.hidden_size]
    return F.pad(patches, (0, 0, 1, 0))[None].contiguous()


class _PatchEmbeddings(nn.Module):
    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.hidden_size) * 0.02)
        self.patch_embed = nn.Conv2d(
            3, config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )
        self.position_embedding = nn.Parameter(_sine_positions(config))
        self.pre_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, frames: Tensor) -> Tensor:
        """frames [F, 3, S, S] -> [F, N, d]."""
        patches = self.patch_embed(frames).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(frames), -1, -1), patches], dim=1)
        return self.pre_layernorm(tokens + self.position_embedding)


class _LayerStack(nn.Module):
    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        self.layers = typed_list([_Layer(config) for _ in range(config.num_layers)])


class MplugOwlVideoTower(nn.Module):
    """The tower of the mPLUG-Owl video checkpoint; parameter names are those below `vision_model.` there."""

    flavour = "mplug-owl-video"

    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _PatchEmbeddings(config)
        self.encoder = _LayerStack(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @property
    def image_size(self) -> int:
        return self.config.image_size

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size

    @property
    def tokens_per_frame(self) -> int:
        return self.config.tokens_per_frame

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Tokens of frames, float [T, N, d] or [B, T, N, d].

        pixel_values: float [T, 3, S, S] (one clip) or [B, T, 3, S, S], normalised RGB.
        """
        clips = pixel_values if pixel_values.dim() == 5 else pixel_values[None]
        x = self.embeddings(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x).view(*pixel_values.shape[:-3], x.shape[2], x.shape[3])

    def load_public(self, tensors: dict[str, Tensor], prefix: str = "vision_model.") -> None:
        """Loads the tensors below `prefix`, ignoring others (a whole assistant's checkpoint may be given).

        Where the temporal weights are missing (the image checkpoint), the temporal path is left out by
        zeroing its last convolution, with a warning. ValueError names other missing, extra or misshapen
        tensors.
        """
        own = {n[len(prefix) :]: t.float() for n, t in tensors.items() if n.startswith(prefix)}
        for name in ("cls_token", "position_embedding"):
            key = f"embeddings.{name}"
            if key in own:
                own[key] = own[key].reshape(self.get_parameter(key).shape)
        wanted = set(self.state_dict())
        missing = wanted - set(own)
        temporal = {name for name in wanted if ".temporal." in name}
        if temporal and temporal <= missing:
            warnings.warn(
                "the checkpoint has no temporal weights: frames are encoded independently", stacklevel=2
            )
            own.update({name: torch.zeros_like(self.get_parameter(name)) for name in temporal})
            missing -= temporal
        extra = set(own) - wanted
        if missing or extra:
            kind, names = ("missing", missing) if missing else ("unexpected", extra)
            raise ValueError(f"{kind} tensor {prefix}{sorted(names)[0]} ({len(names)} in all)")
        try:
            self.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())) from None

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Writes config.json (with its flavour) and model.safetensors into `folder`."""
        save_module(self, asdict(self.config), folder, dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MplugOwlVideoTower:
        """Reads what `save_pretrained` wrote; weights become float32."""
        model = cls(VideoTowerConfig.from_file(Path(folder) / "config.json"))
        model.load_public(load_tensors(folder), prefix="")
        return model.eval()


VideoEncoder = ClipEncoder | ClipFeatures | MplugOwlVideoTower | SiglipEncoder


def load_encoder(folder: str | Path) -> VideoEncoder:
    """The encoder in a folder that g4v wrote, of either flavour, in float32 and evaluation mode.

    `g4v.model.bases.load_vision` reads public models too, and checks what it reads.
    """
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text("utf-8-sig"))
    if config.get("flavour") == "mplug-owl-video":
        return MplugOwlVideoTower.from_pretrained(folder)
    from transformers import CLIPVisionModel

    return ClipEncoder(CLIPVisionModel.from_pretrained(folder, dtype=torch.float32)).eval()


def build_encoder(config: Any) -> VideoEncoder:
    """A freshly initialised encoder from a `VideoTowerConfig` or a `transformers.CLIPVisionConfig`."""
    if isinstance(config, VideoTowerConfig):
        return MplugOwlVideoTower(config)
    from transformers import CLIPVisionModel

    return ClipEncoder(CLIPVisionModel(config))
