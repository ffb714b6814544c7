"""The components that a checkpoint has."""

from __future__ import annotations

from collections.abc import Callable

from g4v.export.checkpoint import ltx, wan
from g4v.export.checkpoint.pipelines import UNET_PIPELINE, pipeline_of
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.abstractor import Abstractor
from g4v.export.components.causal_vae import CausalVaeDecoder
from g4v.export.components.component import Component
from g4v.export.components.decoder import Decoder
from g4v.export.components.encoder import Encoder
from g4v.export.components.frame_checker import FrameChecker
from g4v.export.components.ltx_transformer import LtxTransformer
from g4v.export.components.precision import Precisions
from g4v.export.components.text_encoder import TextEncoder
from g4v.export.components.unet import UNet
from g4v.export.components.vae import VaeDecoder, VaeEncoder
from g4v.export.components.video_transformer import VideoTransformer
from g4v.export.components.whole_vae import WholeVaeDecoder

# Part of a checkpoint -> its components but the decoder, in the order of the manifest.
_VISION: tuple[type[Component], ...] = (Encoder, Abstractor)
_TEXT_TO_VIDEO: dict[str, tuple[type[Component], ...]] = {  # by the pipeline
    UNET_PIPELINE: (TextEncoder, UNet, VaeDecoder, VaeEncoder),
    wan.PIPELINE: (TextEncoder, VideoTransformer, CausalVaeDecoder),
    **{name: (TextEncoder, LtxTransformer, WholeVaeDecoder) for name in ltx.PIPELINES},
}


def components_of(
    checkpoint: Checkpoint,
    precisions: Precisions,
    progress: Callable[[float], None] = lambda share: None,
    calibration: str | None = None,
) -> list[Component]:
    """What the checkpoint has, in the order of the manifest. precisions: the variants of every component.
    progress: called with the share that is done of the component that is being written and compared, where it
    takes long. calibration: as in g4v.export.quantisation.calibration.
    """
    found: list[Component] = []
    if checkpoint.has("encoder"):
        found += [kind(checkpoint, precisions[kind.name]) for kind in _VISION]
    if checkpoint.has("llm"):
        found.append(Decoder(checkpoint, precisions[Decoder.name], progress, calibration))
    if checkpoint.has("t2v"):
        found += [
            kind(checkpoint, precisions[kind.name])
            for kind in _TEXT_TO_VIDEO[pipeline_of(checkpoint.parts["t2v"])]
        ]
    if checkpoint.has("frame_checker"):
        found.append(FrameChecker(checkpoint, precisions[FrameChecker.name]))
    return found
