"""diffusers' schedulers as a reference: in float64, and with noise that is given to them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import torch

from g4v._core import testing
from g4v.export.checkpoint.samplers import SAMPLERS

Model = Callable[[np.ndarray, float], np.ndarray]


class _Double:
    """torch as a scheduler's module sees it: what is cast to float32 is float64."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name == "float32" else getattr(torch, name)


def make(sampler: str, config: dict[str, Any]) -> Any:
    """diffusers' scheduler of a configuration, of the class of our sampler."""
    changes: dict[str, Any] = {}
    if "dpmsolver" in sampler:
        changes["algorithm_type"] = sampler
    flow = config.get("prediction_type") == "flow_prediction" or "shift" in config
    if sampler == "unipc" and flow:
        changes |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
        changes["flow_shift"] = config.get("flow_shift", config.get("shift", 1.0))
    if sampler == "flow_match_euler" and "flow_shift" in config:
        changes["shift"] = config["flow_shift"]
    return getattr(diffusers, SAMPLERS[sampler].diffusers).from_config(config, **changes)


@contextlib.contextmanager
def replayed(scheduler: Any, noise: Iterator[torch.Tensor], double: bool = True) -> Iterator[None]:
    """While it is open the scheduler takes its noise from the iterator, and computes in float64."""
    module = sys.modules[type(scheduler).__module__]
    patches = [mock.patch.object(module, "torch", _Double())] if double else []
    patches.append(mock.patch.object(module, "randn_tensor", lambda *_, **__: next(noise), create=True))
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def start(
    scheduler: Any, steps: int, set_timesteps: Callable[[int], None] | None = None, begin: int = 0
) -> None:
    """Sets the time steps. Without an index, of two equal first ones a pipeline would take the second."""
    (set_timesteps or scheduler.set_timesteps)(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)


def noised(scheduler: Any, image: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """What image-to-image pipelines make of an image; flow matching has another name for it."""
    if hasattr(scheduler, "add_noise"):
        found: torch.Tensor = scheduler.add_noise(image, noise, timestep)
    else:
        found = scheduler.scale_noise(image, timestep, noise)
    return found


def theirs(
    scheduler: Any,
    steps: int,
    model: Model,
    first: np.ndarray,
    noise: np.ndarray,
    image: np.ndarray | None = None,
    begin: int = 0,
) -> list[np.ndarray]:
    """The samples after each step, float64. noise: [steps, n], what each step may add. image: what step
    `begin` starts from, under the noise `first`.
    """
    start(scheduler, steps, begin=begin)
    for name in ("sigmas", "alphas_cumprod", "final_alpha_cumprod"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).double())
    x = torch.from_numpy(first)[None].double() * float(getattr(scheduler, "init_noise_sigma", 1.0))
    timesteps = scheduler.timesteps[begin:]
    if image is not None:
        given = [torch.from_numpy(values)[None].double() for values in (image, first)]
        x = noised(scheduler, *given, timesteps[:1])
    samples = []
    for index, timestep in enumerate(timesteps, begin):
        scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
        prediction = torch.from_numpy(model(scale(x, timestep)[0].numpy(), float(timestep)))[None]
        with replayed(scheduler, iter([torch.from_numpy(noise[index])[None].double()])):
            x = scheduler.step(prediction, timestep, x).prev_sample
        samples.append(x[0].numpy())
    return samples


def ours(
    sampler: str,
    settings: dict[str, Any],
    steps: int,
    model: Model,
    first: np.ndarray,
    noise: np.ndarray,
    image: np.ndarray | None = None,
    begin: int = 0,
) -> tuple[list[float], list[np.ndarray]]:
    """The runtime's time steps, and its samples after each step, float32."""
    scheduler = testing.Scheduler(sampler, steps, begin, **settings)
    x = (first * scheduler.init_noise_sigma).astype(np.float32)
    if image is not None:
        of_image, of_noise = scheduler.noise_at(begin)
        x = (of_image * image.astype(np.float64) + of_noise * first).astype(np.float32)
    samples = []
    for index, timestep in enumerate(scheduler.timesteps[begin:], begin):
        prediction = model(x.astype(np.float64) * scheduler.input_scale(index), timestep)
        x = scheduler.step(index, prediction.astype(np.float32), x, noise[index])
        samples.append(x)
    return scheduler.timesteps, samples


def model(x: np.ndarray, timestep: float) -> np.ndarray:
    """Stands in for a denoising network: not linear, and each number depends on its neighbours."""
    return 0.6 * np.sin(1.3 * x + 0.002 * timestep) + 0.3 * np.tanh(np.roll(x, 1) - np.roll(x, 2))


def compare(
    sampler: str,
    settings: dict[str, Any],
    scheduler: Any,
    steps: int,
    tolerance: float = 1e-5,
    begin: int | None = None,
) -> None:
    """Compares time steps, and the samples of all steps from the same noise. begin: the step that starts from
    an image, under that noise; None starts from noise alone.
    """
    random = np.random.default_rng(steps)
    first = random.standard_normal(48).astype(np.float32)
    noise = random.standard_normal((steps, 48)).astype(np.float32)
    image = None if begin is None else random.standard_normal(48).astype(np.float32)
    given = (steps, model, first, noise, image, begin or 0)
    expected = theirs(scheduler, *given)
    timesteps, made = ours(sampler, settings, *given)
    wanted = scheduler.timesteps.double().numpy()
    assert len(timesteps) == len(wanted)
    if scheduler.timesteps.is_floating_point():
        assert np.allclose(timesteps, wanted, rtol=1e-6, atol=1e-4), (steps, timesteps, wanted)
    else:
        assert timesteps == wanted.tolist(), steps
    for index, (x, y) in enumerate(zip(made, expected, strict=True)):
        assert np.isfinite(y).all()
        assert np.abs(x - y).max() <= tolerance * np.abs(y).max(), (steps, index)
