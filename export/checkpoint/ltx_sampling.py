"""Noise levels and times of latent frames as diffusers' pipelines of LTX-Video give them to scheduler and
transformer. The core has them too: csrc/diffusion/noise_schedule.cc and video_shape.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from g4v.export.checkpoint.ltx import CONDITION_PIPELINE


def time_shift(settings: Mapping[str, Any], tokens: int) -> float:
    """The shift of the noise levels of a video of so many latents, or its logarithm: what the scheduler is
    given as mu. settings: the manifest's scheduler object.
    """
    low, high = settings.get("base_image_seq_len", 256), settings.get("max_image_seq_len", 4096)
    base, most = settings.get("base_shift", 0.5), settings.get("max_shift", 1.15)
    return float(base + (most - base) / (high - low) * (tokens - low))


def linear_quadratic_sigmas(steps: int) -> np.ndarray:
    """The noise levels that LTXConditionPipeline gives to its scheduler, float64 [steps]: half of them go
    evenly from 1 to 0.975, and the others in a parabola to 0, which is not among them.
    """
    even = steps // 2
    if even == 0:
        return np.ones(steps)
    at, rest = np.arange(steps), steps - even
    slope = 0.025 / even
    bend = (1 - 0.025 - slope * rest) / rest**2
    sigmas: np.ndarray = 1 - slope * at - bend * np.maximum(at - even, 0) ** 2
    return sigmas


def frame_seconds(pipeline: str, frames: int, between: int, fps: float) -> np.ndarray:
    """float32 [frames]: when each latent frame is shown, as a pipeline of LTX-Video has it. between:
    frames for one latent, but for the first.
    """
    at: np.ndarray = np.arange(frames, dtype=np.float32)
    if pipeline == CONDITION_PIPELINE:
        return np.maximum(at * between + 1 - between, 0).astype(np.float32) * np.float32(1 / fps)
    return at * np.float32(between / fps)
