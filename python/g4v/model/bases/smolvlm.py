"""A published SmolVLM2 checkpoint as it is: every part is read in place, tensor by tensor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.smolvlm_config import read_smolvlm_config
from g4v.model.bases.smolvlm_processor import read_video_processor
from g4v.model.bases.smolvlm_prompt import smolvlm_template
from g4v.model.bases.video_language_checkpoint import TowerSizes, VideoLanguageCheckpoint, meta_shapes
from g4v.model.connector import PixelShuffle, PixelShuffleConfig
from g4v.model.prompt import PromptTemplate
from g4v.model.siglip import SiglipEncoder

# Part -> how its tensors' names begin in the checkpoint, and what stands for that in the part's class.
_PREFIXES = {
    "encoder": (("model.vision_model.", ""),),
    "abstractor": (("model.connector.modality_projection.", ""),),
    "llm": (("model.text_model.", "model."), ("lm_head.", "lm_head.")),
}
_VISUAL = ("encoder", "abstractor")


class SmolVlmCheckpoint(VideoLanguageCheckpoint):
    """The parts of a SmolVLM2 checkpoint. config: attribute, a SmolVlmConfig. processor: a VideoProcessor."""

    title = "SmolVLM2"

    def _read_settings(self) -> None:
        self.config = read_smolvlm_config(self.folder)
        self.processor = read_video_processor(self.folder)
        self._check_sizes()

    def _check_sizes(self) -> None:
        vision, size = self.config.vision, self.processor.size
        scale, patch = self.config.scale_factor, vision.patch_size
        place = self.folder
        side = size // patch  # a rest of pixels is in no patch
        if side == 0 or side % scale:
            raise CheckpointError(
                f"{place}: max_image_size is {size} pixels, which are {side} patches of {patch}, no "
                f"multiple of {scale}, of which a token is made"
            )
        made = (side // scale) ** 2
        if self.processor.image_seq_len != made:
            raise CheckpointError(
                f"{place}: image_seq_len is {self.processor.image_seq_len}, and the connector makes {made} "
                "tokens of a frame"
            )

    def _place(self, name: str) -> tuple[str, str]:
        for part, prefixes in _PREFIXES.items():
            for prefix, own in prefixes:
                if name.startswith(prefix):
                    return part, own + name[len(prefix) :]
        raise CheckpointError(f"{self.folder}: unexpected tensor {name}")

    @cached_property
    def _shapes(self) -> dict[str, Mapping[str, tuple[int, ...]]]:
        found = {part: meta_shapes(self.folder, partial(self._make, part)) for part in _VISUAL}
        return {
            part: {name.removeprefix("model."): shape for name, shape in shapes.items()}
            for part, shapes in found.items()
        }

    def _wanted(self, part: str) -> Mapping[str, tuple[int, ...]]:
        return self._shapes[part]

    def _stored_name(self, part: str, own: str) -> str:
        return _PREFIXES[part][0][0] + own

    @property
    def image_size(self) -> int:
        return self.processor.size

    @property
    def tokens_per_frame(self) -> int:
        return int((self.processor.size // self.config.vision.patch_size) ** 2)

    @property
    def video_tokens(self) -> int:
        return self.processor.image_seq_len

    @property
    def tower_sizes(self) -> TowerSizes:
        vision = self.config.vision
        return TowerSizes(vision.hidden_size, vision.intermediate_size, 0, vision.hidden_size)

    @property
    def frame_sampling(self) -> dict[str, Any]:
        processor = self.processor
        return {"frames": processor.frames, "fps": processor.fps, "skip_seconds": processor.skip_seconds}

    @property
    def resizing(self) -> dict[str, Any]:
        return {"resampling": self.processor.resampling, "longest_edge": self.processor.longest_edge}

    @property
    def image_statistics(self) -> tuple[list[float], list[float]]:
        return self.processor.mean, self.processor.std

    def template(self, tokenizer: Any) -> PromptTemplate:
        return smolvlm_template(self.folder, tokenizer)

    def encoder(self) -> SiglipEncoder:
        module = self._make("encoder")
        module.load_state_dict({f"model.{name}": tensor for name, tensor in self._tensors("encoder")})
        return module.eval()

    def connector(self) -> PixelShuffle:
        module = self._make("abstractor")
        module.load_state_dict(dict(self._tensors("abstractor")))
        return module.eval()

    def text_config(self) -> Any:
        return copy.deepcopy(self.config.text)

    def _make(self, part: str) -> Any:
        if part == "abstractor":
            config = PixelShuffleConfig(
                self.config.vision.hidden_size,
                self.tokens_per_frame,
                self.config.scale_factor,
                self.config.text.hidden_size,
            )
            return PixelShuffle(config)
        from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionTransformer

        try:
            return SiglipEncoder(
                SmolVLMVisionTransformer(copy.deepcopy(self.config.vision)), self.processor.size
            )
        except Exception as error:  # sizes of which PyTorch can make no tensor
            raise CheckpointError(
                f"{self.folder}: config.json: no such tower can be made: {one_line(error)}"
            ) from None
