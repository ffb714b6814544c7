"""Published LLaVA-NeXT-Video and Video-LLaVA checkpoints as they are: every part is read in place.

Of the towers that of videos is read: what is for still pictures alone (Video-LLaVA's image_tower,
LLaVA-NeXT's image_newline) is left out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llava_config import NEXT_VIDEO, read_llava_config
from g4v.model.bases.llava_processor import read_llava_processor
from g4v.model.bases.llava_prompt import llava_template
from g4v.model.bases.video_language_checkpoint import TowerSizes, VideoLanguageCheckpoint, meta_shapes
from g4v.model.clip_features import ClipFeatures
from g4v.model.connector import MlpConfig, MlpConnector
from g4v.model.prompt import PromptTemplate

# The names of the published files, and those of the model itself, which begin with "model.".
_TENSOR = re.compile(
    r"(?:model\.)?(?P<tower>vision_tower|video_tower|image_tower)\.(?:vision_model\.)?(?P<of_tower>.+)"
    r"|(?:model\.)?(?:multi_modal_projector|vision_resampler)\.(?P<of_connector>.+)"
    r"|language_model\.(?P<published>(?:model|lm_head)\..+)"
    r"|model\.language_model\.(?P<own>.+)"
    r"|(?P<head>lm_head\..+)"
    r"|(?:model\.)?(?P<newline>image_newline)"
)
_TABLES = re.compile(r".*(?:rotary_emb\.inv_freq|position_ids)")  # buffers of older transformers
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")


class LlavaCheckpoint(VideoLanguageCheckpoint):
    """The parts of a checkpoint of the LLaVA family.

    config: attribute, a LlavaConfig. processor: attribute, a LlavaProcessor.
    """

    title = "LLaVA"

    def _read_settings(self) -> None:
        self.config = read_llava_config(self.folder)
        config, vision = self.config, self.config.vision
        self._tower = "vision_tower" if config.kind == NEXT_VIDEO else "video_tower"
        self._connector = MlpConfig(
            hidden_size=vision.hidden_size * len(config.layers),
            tokens_per_frame=self.tokens_per_frame,
            output_size=config.text.hidden_size,
            activation=config.activation,
            bias=config.bias,
            pooling=config.pooling,
            stride=config.stride,
        )
        self.processor = read_llava_processor(self.folder, config, self.video_tokens)
        if self.processor.counted != self.video_tokens:
            self.notes.append(
                f"a frame has the {self.video_tokens} tokens that the connector makes; transformers' "
                f"processor counts {self.processor.counted}"
            )

    def _place(self, name: str) -> tuple[str, str] | None:
        if _TABLES.fullmatch(name):
            return None
        found = _TENSOR.fullmatch(name)
        if found is None or found["tower"] not in (None, self._tower, *self._unused_towers):
            raise CheckpointError(f"{self.folder}: unexpected tensor {name}")
        if found["tower"]:
            return ("encoder", found["of_tower"]) if found["tower"] == self._tower else None
        if found["of_connector"]:
            return "abstractor", found["of_connector"]
        if found["newline"]:
            return None
        return "llm", found["published"] or found["head"] or f"model.{found['own']}"

    @property
    def _unused_towers(self) -> tuple[str, ...]:
        return () if self.config.kind == NEXT_VIDEO else ("image_tower",)

    @cached_property
    def _shapes(self) -> dict[str, Mapping[str, tuple[int, ...]]]:
        from transformers import CLIPVisionModel

        vision = copy.deepcopy(self.config.vision)
        return {
            "encoder": meta_shapes(self.folder, lambda: CLIPVisionModel(vision)),
            "abstractor": meta_shapes(self.folder, lambda: MlpConnector(self._connector)),
        }

    def _wanted(self, part: str) -> Mapping[str, tuple[int, ...]]:
        return self._shapes[part]

    def _used(self, part: str) -> Mapping[str, tuple[int, ...]]:
        """Without the layers of the tower behind the last one that is read."""
        found = self._shapes[part]
        if part != "encoder":
            return found
        layers = {name: _LAYER.match(name) for name in found}
        last = max(self.config.layers)
        return {name: found[name] for name, at in layers.items() if at is None or int(at[1]) < last}

    def _stored_name(self, part: str, own: str) -> str:
        if part == "encoder":
            return f"{self._tower}.{own}"
        return f"{'vision_resampler' if own.startswith('pool.') else 'multi_modal_projector'}.{own}"

    @property
    def image_size(self) -> int:
        return int(self.config.vision.image_size)

    @property
    def tokens_per_frame(self) -> int:
        vision = self.config.vision
        return int((vision.image_size // vision.patch_size) ** 2) + self.config.class_token

    @property
    def video_tokens(self) -> int:
        return self._connector.output_tokens

    @property
    def tower_sizes(self) -> TowerSizes:
        vision, states = self.config.vision, max(self.config.layers) + 1
        features = self._connector.hidden_size
        return TowerSizes(vision.hidden_size, vision.intermediate_size, states, features)

    @property
    def frame_sampling(self) -> dict[str, Any]:
        by_time = {} if self.processor.fps is None else {"fps": self.processor.fps}
        return {"frames": self.processor.frames, **by_time, "rule": "floor"}

    @property
    def resizing(self) -> dict[str, Any]:
        found: dict[str, Any] = {"resampling": self.processor.resampling}
        if self.processor.shortest_edge is not None:
            found["shortest_edge"] = self.processor.shortest_edge
        return found

    @property
    def image_statistics(self) -> tuple[list[float], list[float]]:
        return self.processor.mean, self.processor.std

    def template(self, tokenizer: Any) -> PromptTemplate:
        return llava_template(self.folder, tokenizer, self.processor.video_token, self.config.video_token_id)

    def encoder(self) -> ClipFeatures:
        config = copy.deepcopy(self.config.vision)
        config.num_hidden_layers = max(self.config.layers)
        tensors = dict(self._tensors("encoder"))
        return ClipFeatures.from_tensors(config, self.config.layers, self.config.class_token, tensors)

    def connector(self) -> MlpConnector:
        module = MlpConnector(self._connector)
        module.load_state_dict(dict(self._tensors("abstractor")))
        return module.eval()

    def text_config(self) -> Any:
        return copy.deepcopy(self.config.text)
