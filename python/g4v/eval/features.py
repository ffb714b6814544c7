"""Features of pictures and videos from weights on this machine: an ONNX file or a Hugging Face folder.

Nothing is downloaded, and nothing is unpickled: a .pth or TorchScript file is refused with the way to
convert it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g4v._files import one_line, sha256
from g4v.errors import ArgumentError, RuntimeUnavailable
from g4v.eval.clip_folder import ClipFolder
from g4v.eval.pictures import Frames, resize
from g4v.video import sample_frames

Features = npt.NDArray[np.float64]
_PICKLES = (".pth", ".pt", ".bin", ".pkl", ".ckpt")
_BATCH = 8


class OnnxFeatures:
    """A network in an ONNX file, run by ONNX Runtime on the CPU.

    Input: one tensor, uint8 (0 to 255) or float32 (-1 to 1, as Inception and I3D are fed); of pictures
    [n, 3, H, W], of videos [n, 3, T, H, W] or [n, T, 3, H, W]. Where T, H, W are fixed, clips are sampled and
    frames scaled to them. Output: the first one, [n, D] after unit axes are dropped.
    Raises `ArgumentError` for a file that is no such network.
    """

    def __init__(self, path: Path, video: bool) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeUnavailable(
                "onnxruntime is missing; install it with: pip install onnxruntime"
            ) from None
        self.path = path
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a family of its own
            raise ArgumentError(f"{path} cannot be loaded by ONNX Runtime: {one_line(error)[:200]}") from None
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape)
        rank = 5 if video else 4
        kind = "[n, 3, T, H, W] or [n, T, 3, H, W]" if video else "[n, 3, H, W]"
        self._type = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}.get(inputs[0].type)
        if len(inputs) != 1 or len(shape) != rank or 3 not in shape[1 : rank - 2] or self._type is None:
            raise ArgumentError(
                f"{path} has {len(inputs)} inputs, the first {inputs[0].type} {shape}; "
                f"one of uint8 or float32 {kind} is wanted"
            )
        self._input, self._video = inputs[0].name, video
        self._batch = shape[0] if isinstance(shape[0], int) else _BATCH
        self._padded = isinstance(shape[0], int)
        self._channels_first = shape[1] == 3
        lengths = shape[2 if self._channels_first else 1] if video else None
        self._frames = lengths if isinstance(lengths, int) else None
        high, wide = shape[-2:]
        self._size = (high, wide) if isinstance(high, int) and isinstance(wide, int) else None

    @property
    def name(self) -> str:
        """The file and the start of its SHA-256: figures of different networks are not comparable."""
        return f"{self.path.name} {sha256(self.path)[:12]}"

    def __call__(self, clips: Frames) -> Features:
        """Features [n, D] of pictures uint8 [n, H, W, 3] or videos uint8 [n, T, H, W, 3]."""
        found = [self._run(clips[i : i + self._batch]) for i in range(0, len(clips), self._batch)]
        return np.concatenate(found)

    def _run(self, clips: Frames) -> Features:
        count = len(clips)
        if self._frames is not None and clips.shape[1] != self._frames:
            clips = clips[:, sample_frames(clips.shape[1], self._frames)]
        if self._size is not None:
            flat = resize(clips.reshape(-1, *clips.shape[-3:]), *self._size)
            clips = flat.reshape(*clips.shape[:-3], *flat.shape[1:])
        if self._padded and count < self._batch:
            clips = np.concatenate([clips, np.repeat(clips[-1:], self._batch - count, axis=0)])
        if self._video:
            values = clips.transpose((0, 4, 1, 2, 3) if self._channels_first else (0, 1, 4, 2, 3))
        else:
            values = clips.transpose(0, 3, 1, 2)
        given: npt.NDArray[np.generic] = values
        if self._type is np.float32:
            given = (values.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
        try:
            (found, *_) = self._session.run(None, {self._input: np.ascontiguousarray(given)})
        except Exception as error:
            raise ArgumentError(f"{self.path} does not run: {one_line(error)[:200]}") from None
        found = np.asarray(found, np.float64)
        if found.ndim < 2 or found[0].size != max(found.shape[1:]):
            raise ArgumentError(f"{self.path} gives {list(found.shape)}; features are [n, D]")
        return found.reshape(len(found), -1)[:count]


class ClipFeatures:
    """Features of pictures by the picture half of a CLIP folder: the distance is then a "CLIP-FID"."""

    def __init__(self, folder: Path) -> None:
        self._clip = ClipFolder(folder)
        self.name = f"CLIP {folder.name}"

    def __call__(self, pictures: Frames) -> Features:
        """Features [n, D] of pictures uint8 [n, H, W, 3]."""
        return self._clip.pictures(pictures)


def load_features(path: Path, video: bool) -> OnnxFeatures | ClipFeatures:
    """The network of a path. Raises `ArgumentError` where it is none or a pickle."""
    if path.is_dir() and not video:
        return ClipFeatures(path)
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder; features of videos come from an ONNX file")
    if path.suffix in _PICKLES:
        raise ArgumentError(
            f"{path} is a pickle or TorchScript, which can run code; load it where you trust it, and write "
            "it with torch.onnx.export(model, example, 'features.onnx', dynamo=True)"
        )
    if not path.is_file():
        raise ArgumentError(f"{path}: no such file")
    return OnnxFeatures(path, video)
