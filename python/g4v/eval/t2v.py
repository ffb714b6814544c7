"""`python -m g4v.eval t2v`: videos made from captions, against the captions and against real videos."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from g4v._command import at_least, exit_code
from g4v._console import ProgressBar, report_error
from g4v._files import make_folder, write_bytes
from g4v.data.formats import DataError, Problem
from g4v.errors import Error, VideoError
from g4v.eval import bootstrap
from g4v.eval.caption_clips import CaptionedClip, add_caption_arguments, read_clips
from g4v.eval.clip_folder import ClipFolder, clipsim
from g4v.eval.features import load_features
from g4v.eval.figures import Figures, LeftOut
from g4v.eval.frechet import frechet_distance
from g4v.eval.options import add_data_arguments, new_parser
from g4v.eval.pictures import Frames, resize
from g4v.eval.published import T2V
from g4v.eval.replies import bundle_key, ends_the_run
from g4v.eval.report import Row
from g4v.video import read_video

if TYPE_CHECKING:
    from g4v import Assistant

_EPILOG = """The first caption of every clip is made into a video. Weights are local; nothing is downloaded.

figures, each where its weights are given:
  CLIPSIM  mean cosine of caption and frames (--clip: a Hugging Face folder of a CLIPModel, safetensors)
  FID      frames against frames of the real clips (--fid-features: an ONNX file of Inception v3 up to its
           2048 pooled values, for the field's FID; or a CLIP folder, for a CLIP-FID)
  FVD      videos against the real clips (--fvd-features: an ONNX file, of I3D for the field's FVD)
An ONNX file has one input, uint8 (0 to 255) or float32 (-1 to 1), [n, 3, H, W] for pictures and
[n, 3, T, H, W] or [n, T, 3, H, W] for videos, and gives [n, D].

example:
  python -m g4v.data shapes --format msrvtt --out t2v --count 100
  python -m g4v.eval t2v t2v/test_videodatainfo.json --videos t2v/videos --clip clip-vit-base-patch32
"""


@dataclass
class Pair:
    """A video that was made, and the real clip of the same caption: uint8 [T, H, W, 3] of equal shape."""

    caption: str
    made: Frames
    real: Frames


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = new_parser("t2v", "Makes videos of captions and compares them with the real clips.", _EPILOG)
    add_caption_arguments(result)
    add = result.add_argument
    add("--clip", type=Path, metavar="DIR", help="CLIP's folder, for CLIPSIM")
    add("--fid-features", type=Path, metavar="PATH", help="an ONNX file, or a CLIP folder")
    add("--fvd-features", type=Path, metavar="FILE", help="an ONNX file")
    add("--steps", type=at_least(1), metavar="N", help="denoising steps (default: the bundle's)")
    add_data_arguments(result)
    return result


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(arguments)
    if not (options.clip or options.fid_features or options.fvd_features):
        ways = "--clip, --fid-features or --fvd-features"
        report_error(f"nothing to measure: give {ways} (see: {parser().prog} --help)")
        return 2
    return exit_code(lambda: _run(options), "; the videos made are kept" if options.out else "")


def _run(options: argparse.Namespace) -> None:
    import g4v

    figures = Figures(published=T2V)
    # Weights that cannot be loaded are an error before the work.
    clip = ClipFolder(options.clip) if options.clip else None
    pictures = load_features(options.fid_features, video=False) if options.fid_features else None
    motion = load_features(options.fvd_features, video=True) if options.fvd_features else None
    clips = read_clips(options, figures.left_out)
    assistant = g4v.load(options.bundle, device=options.device, threads=options.threads)
    pairs = make_pairs(assistant, clips, options, figures.left_out)
    if len(pairs) < 2:
        figures.left_out.warn()
        raise DataError(
            Problem(options.captions, f"{len(pairs)} videos could be made and compared; two are needed")
        )
    figures.title = f"{options.captions.name} with {assistant.name} on {assistant.device}"
    if clip is not None:
        scores = clipsim(clip, [pair.made for pair in pairs], [pair.caption for pair in pairs])
        _similarity(figures, "CLIPSIM", scores, options.seed)
        real = clipsim(clip, [pair.real for pair in pairs], [pair.caption for pair in pairs])
        _similarity(figures, "  of the real clips", real, options.seed)
        figures.notes.append(f"CLIPSIM by {options.clip.name}")
    if pictures is not None:
        ours, theirs = (pictures(np.concatenate(frames)) for frames in _sides(pairs))
        _distance(figures, "FID", pictures.name, ours, theirs)
    if motion is not None:
        ours, theirs = (motion(np.stack(frames)) for frames in _sides(pairs))
        _distance(figures, "FVD", motion.name, ours, theirs)
    about: dict[str, Any] = {
        "g4v": g4v.__version__,
        "assistant": assistant.info,
        "file": options.captions.name,
    }
    about |= {"split": options.split, "seed": options.seed, "steps": options.steps}
    figures.finish(options.json, about)


def _sides(pairs: Sequence[Pair]) -> tuple[list[Frames], list[Frames]]:
    return [pair.made for pair in pairs], [pair.real for pair in pairs]


def _similarity(figures: Figures, name: str, scores: np.ndarray, seed: int) -> None:
    low, high = bootstrap.of_mean(scores, seed)
    figures.rows.append(Row(name, float(scores.mean()), None, False, "", low, high, len(scores)))


def _distance(figures: Figures, name: str, network: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    figures.rows.append(Row(name, frechet_distance(ours, theirs), unit="", count=len(ours)))
    figures.notes.append(f"{name} by {network}, {ours.shape[1]} features")
    if len(ours) <= ours.shape[1]:
        figures.notes.append(
            f"{name} of {len(ours)} samples with {ours.shape[1]} features each is biased upwards; "
            "compare it with the same number of samples alone"
        )


def make_pairs(
    assistant: Assistant, clips: Sequence[CaptionedClip], options: argparse.Namespace, left_out: LeftOut
) -> list[Pair]:
    """The videos of the first captions, each beside the real clip, sampled to as many frames and scaled to
    their size. Clips that cannot be read and captions of which no video could be made are left out.
    """
    pairs = []
    store = _Store(options, bundle_key(options.bundle))
    with ProgressBar("videos", len(clips), lines=True) as progress:
        for number, clip in enumerate(clips):
            caption = clip.captions[0]
            try:
                made = store.make(assistant, caption, options.seed + number)
                real, _ = read_video(clip.path, len(made))
                pairs.append(Pair(caption, made, resize(real, *made.shape[1:3])))
            except Error as error:
                problem = Problem(clip.first.source, str(error), clip.first.line, clip.first.row)
                if ends_the_run(error):
                    raise
                if options.on_error == "stop":
                    raise DataError(problem) from None
                sort = "broken clips" if isinstance(error, VideoError) else "captions without a video"
                left_out.add(sort, str(problem))
            progress.step()
    return pairs


class _Store:
    """Makes videos, or takes them from --out, where each is one .npz file of its frames."""

    def __init__(self, options: argparse.Namespace, key: str) -> None:
        self._out, self._steps, self._key = options.out, options.steps, key
        if self._out is not None:
            make_folder(self._out)

    def make(self, assistant: Assistant, caption: str, seed: int) -> Frames:
        """uint8 [T, H, W, 3]."""
        named = json.dumps([self._key, self._steps, caption, seed])
        name = f"video-{hashlib.sha256(named.encode()).hexdigest()[:24]}.npz"
        path = None if self._out is None else self._out / name
        if path is not None and (kept := _load(path)) is not None:
            return kept
        made: Frames = assistant.generate(caption, seed=seed, steps=self._steps).frames
        if path is not None:
            data = io.BytesIO()
            np.savez_compressed(data, frames=made)
            write_bytes(path, data.getvalue())
        return made


def _load(path: Path) -> Frames | None:
    """The frames of a file of ours; None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            frames = file["frames"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    good = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3 and frames.size
    return frames if good else None
