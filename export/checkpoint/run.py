"""The layout of a training run, and how its parts are read.

    RUN/g4v_train.json   what no configuration file says (below)
    RUN/encoder/         CLIPVisionModel.save_pretrained or MplugOwlVideoTower.save_pretrained;
                         preprocessor_config.json with image_mean and image_std where they are not CLIP's
    RUN/abstractor/      VideoAbstractor.save_pretrained
    RUN/frame_checker/   FrameChecker.save_pretrained (may be absent); it reads the encoder's tokens
    RUN/llm/             LlamaForCausalLM.save_pretrained, with its tokenizer
    RUN/adapter/         a PEFT LoRA folder (may be absent)
    RUN/t2v/             a diffusers text-to-video folder: unet/ or transformer/, vae/, text_encoder/,
                         tokenizer/, scheduler/

encoder and abstractor may be absent together (an assistant that sees no videos), and so may t2v (one that
sends no videos). Weights may be stored in float16; everything is computed from them in float32, though large
ones stay in float16 until they are written. Parts may also stand elsewhere (g4v.export.checkpoint.overrides).

g4v_train.json:
    name, assistant, description   texts of the manifest
    prompt                         PromptTemplate.to_manifest()
    frames                         frames sampled from a clip
    generation                     {"text": {...}, "video": {...}} as in the manifest, without the scheduler's
                                   settings; video may have "scheduler": {"type": "dpmsolver++"} to choose
                                   the sampler
    licences                       [{"component": ..., "licence": ...}]
    provenance                     free; "llm" is the name of a language model that is not in the run and must
                                   be named (Overrides)
    parts                          may be absent: {"encoder": "../other/encoder", ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g4v._files import read_json
from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.base import DESCRIPTION, open_base
from g4v.export.checkpoint.description import checked_description, describe_parts, open_prompt, video_settings
from g4v.export.checkpoint.loading import load_part
from g4v.export.checkpoint.mixing import check_mix
from g4v.export.checkpoint.overrides import NO_OVERRIDES, Overrides, adapters_of, check_sources, named_parts
from g4v.export.checkpoint.pipelines import check_text_to_video, denoiser_of
from g4v.export.checkpoint.samplers import SAMPLERS, check_samplers, one_of, sensible_samplers
from g4v.export.checkpoint.scheduler import read_scheduler
from g4v.export.checkpoint.text_to_video import (
    check_variant,
    load_text_encoder,
    load_transformer,
    load_unet,
    load_vae,
    open_parts,
)
from g4v.export.checkpoint.video_lora import VideoLora, VideoLoraMerge
from g4v.export.checkpoint.video_sizes import check_video_size
from g4v.export.errors import ExportError
from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.layout import encoder_config
from g4v.model.bases.video_language import is_video_language, open_video_language
from g4v.model.bases.video_language_checkpoint import VideoLanguageCheckpoint
from g4v.model.bases.vision import check_abstractor, check_vision, load_connector, load_frame_checker
from g4v.model.connector import Connector
from g4v.model.frame_checker import FrameChecker
from g4v.model.prompt import PromptTemplate
from g4v.model.vision import VideoEncoder

if TYPE_CHECKING:
    from g4v.export.checkpoint.llama import LlamaWeights

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


@dataclass
class Checkpoint:
    """A training run that is open for export. Its description is read; models are loaded when asked for.

    run: the run's folder, or what stands for it in messages.
    about: content of g4v_train.json, with the user's overrides applied.
    prompt: the prompt template.
    parts: folder of each part that exists, or the GGUF file of "llm".
    adapters: LoRA adapters that are merged into the language model.
    notes: sentences about what was assumed of a published checkpoint.
    variant: of the text-to-video model's weights, such as "fp16".
    video_loras: LoRA files that are merged into UNet or transformer, and text encoder.
    video_to_video: whether videos are to be made from videos and pictures, which takes the VAE's encoder.

    Every method that loads a model returns a new one, so that only one need be in memory. They raise
    ExportError where files are damaged or weights are not finite.
    """

    run: Path
    about: dict[str, Any]
    prompt: PromptTemplate
    parts: dict[str, Path]
    adapters: Sequence[Adapter]
    notes: Sequence[str] = ()
    variant: str | None = None
    video_to_video: bool = False
    video_loras: Sequence[VideoLora] = ()
    _tokenizers: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def open(
        cls, run: str | Path | None, overrides: Overrides = NO_OVERRIDES, weights: bool = True
    ) -> Checkpoint:
        """Finds the parts of an assistant, reads its description, and checks that they belong together.

        run: a training run, a published checkpoint (of mPLUG-Owl, SmolVLM2, LLaVA-NeXT-Video or
            Video-LLaVA), or what `python -m g4v.model.bases convert` made of one: a folder, or a name on the
            Hugging Face hub; None where `overrides` names the parts.
        overrides: parts and settings that take the place of the run's.
        weights: False where sizes are all that is asked for (`open_base`).
        ExportError: a file, a key or a part is missing or wrong; the message names it.
        """
        check_sources(run, overrides)
        base = open_base(run, overrides, weights)
        named = named_parts(overrides)
        check_mix(base, named, overrides)
        parts = {**base.parts, **named}
        if "t2v" in parts:
            check_text_to_video(parts["t2v"])
        described = base.about is not None
        about = checked_description(base) if described else describe_parts(base, parts, overrides)
        if "t2v" in named or ("t2v" in parts and "video" not in about["generation"]):
            settings = video_settings(overrides.t2v or str(parts["t2v"]), parts["t2v"])
            about["generation"] = {**about["generation"], "video": settings}
        prompt = open_prompt(base, about, overrides)
        place = base.folder or Path(base.name)
        if "t2v" not in parts and (overrides.frames, overrides.video_size) != (None, None):
            raise ExportError(
                f"{place}: t2v/ is missing: frames and size are those of the videos that it makes; name one "
                "with --t2v"
            )
        if "t2v" not in parts and overrides.variant is not None:
            raise ExportError(
                f"{place}: t2v/ is missing: --variant chooses among its weights; name one with --t2v"
            )
        if "t2v" not in parts and overrides.video_to_video:
            raise ExportError(
                f"{place}: t2v/ is missing: --video-to-video writes the encoder of its VAE; name one with "
                "--t2v"
            )
        if "t2v" not in parts and overrides.video_loras:
            raise ExportError(
                f"{place}: t2v/ is missing: --video-lora changes its denoising network; name one with --t2v"
            )
        overrides.apply_video(about)
        if (overrides.frames, overrides.video_size) != (None, None):
            video = about["generation"]["video"]
            sizes = (video.get("frames", 1), video.get("height", 0), video.get("width", 0))
            check_video_size(parts["t2v"], "videos of this t2v: ", *sizes)
        if overrides.video_to_video and denoiser_of(parts["t2v"]) == "transformer":
            raise ExportError(
                f"{parts['t2v']}: a video transformer makes videos of texts alone; leave --video-to-video out"
            )
        checkpoint = cls(
            place,
            about,
            prompt,
            parts,
            adapters_of(base.folder, overrides),
            base.notes,
            overrides.variant,
            overrides.video_to_video,
            tuple(overrides.video_loras),
        )
        checkpoint._check_parts()
        return checkpoint

    def _check_parts(self) -> None:
        """Raises ExportError where a part needs another one that is not there."""
        run, has = self.run, self.has
        if not has("llm") and not has("t2v"):
            raise ExportError(f"{run}: neither llm/ nor t2v/ is there: nothing to export")
        if has("encoder") != has("abstractor"):
            raise ExportError(f"{run}: encoder/ and abstractor/ must be there together")
        if has("frame_checker") and not has("encoder"):
            raise ExportError(f"{run}: encoder/ is missing: frame_checker/ reads its tokens")
        provenance = self.about["provenance"]
        base = provenance.get("llm") if isinstance(provenance, dict) else None
        if base is not None and not has("llm"):
            raise ExportError(
                f"{run}: its language model, {base}, is not stored with it: name a folder or a GGUF file "
                "(--llm)"
            )
        if has("encoder") and not has("llm"):
            raise ExportError(f"{run}: llm/ is missing: encoder and abstractor serve it")
        if self.adapters and not has("llm"):
            raise ExportError(f"{run}: llm/ is missing: the adapter changes it")
        if has("encoder"):
            places = [self.parts[part].resolve() for part in ("encoder", "abstractor")]
            published = [place for place in places if is_video_language(place)]
            if published and places[0] != places[1]:
                title = open_video_language(published[0]).title
                raise ExportError(f"{run}: tower and connector of {title} belong together")
            try:
                check_vision(self.parts["encoder"])
                check_abstractor(self.parts["abstractor"])
            except CheckpointError as error:
                raise ExportError(str(error)) from None
        if has("t2v"):
            if self.variant is not None:
                check_variant(self.parts["t2v"], self.variant)
            self.schedulers()
            self._video_lora_merge  # noqa: B018 (it checks the files)

    def has(self, part: str) -> bool:
        """Whether the run has a part: "encoder", "abstractor", "frame_checker", "llm" or "t2v"."""
        return part in self.parts

    def files(self) -> list[Path]:
        """Returns the files and folders that a bundle of this run is made from."""
        return [
            *([self.run / DESCRIPTION] if (self.run / DESCRIPTION).is_file() else []),
            *dict.fromkeys(self.parts.values()),
            *(adapter.folder for adapter in self.adapters),
            *(lora.file for lora in self.video_loras),
        ]

    def encoder(self) -> VideoEncoder:
        """Loads the vision encoder, float32."""
        from g4v.model.bases.vision import load_vision

        return load_part(self.parts["encoder"], load_vision).float()

    def image_size(self) -> int:
        """Returns the edge of the encoder's square input in pixels."""
        if self._published is not None:
            return self._published.image_size
        return int(self._vision().get("image_size", 224))

    def tokens_per_frame(self) -> int:
        """Returns how many tokens the encoder makes of one frame: one for each patch, and the class token of
        towers that have one.
        """
        if self._published is not None:
            return self._published.tokens_per_frame
        return int((self.image_size() // int(self._vision().get("patch_size", 32))) ** 2 + 1)

    def _vision(self) -> dict[str, Any]:
        config = read_json(self.parts["encoder"] / "config.json", ExportError)
        if config.get("model_type") == "mplug-owl":
            return asdict(encoder_config(config))
        found: dict[str, Any] = config.get("vision_config", config)  # of both halves of a CLIP model
        return found

    def require_weights(self) -> None:
        """Raises ExportError where a published checkpoint has no weight files: a dry run needs none."""
        try:
            if self._published is not None:
                self._published.require_weights()
        except CheckpointError as error:
            raise ExportError(str(error)) from None

    @cached_property
    def _published(self) -> VideoLanguageCheckpoint | None:
        """The checkpoint of SmolVLM2 or of the LLaVA family that the encoder is of, if it is."""
        place = self.parts.get("encoder")
        if place is None or not is_video_language(place):
            return None
        try:
            return open_video_language(place)
        except CheckpointError as error:
            raise ExportError(str(error)) from None

    def resizing(self) -> dict[str, Any]:
        """Returns how frames are resized, as the manifest's encoder has it, where it is not bicubically to
        the encoder's square at once.
        """
        return {} if self._published is None else self._published.resizing

    def frame_sampling(self) -> dict[str, Any]:
        """Returns "frame_sampling" of the manifest."""
        own = {} if self._published is None else self._published.frame_sampling
        return {**own, "frames": int(self.about["frames"])}

    def has_frame_tokens(self) -> bool:
        """Returns whether each frame of a clip has video tokens of its own."""
        return self._published is not None

    def compared_frames(self) -> int:
        """Returns how many frames the clips have that graphs are compared on: the run's own number, but where
        frames have nothing to do with each other, 2.
        """
        frames = int(self.about["frames"])
        return frames if self._published is None else min(frames, 2)

    def image_statistics(self) -> tuple[list[float], list[float]]:
        """Returns mean and standard deviation by which pixels are normalised: three channels each."""
        if self._published is not None:
            return self._published.image_statistics
        path = self.parts["encoder"] / "preprocessor_config.json"
        if not path.exists():
            return CLIP_MEAN, CLIP_STD
        values = read_json(path, ExportError)
        return values.get("image_mean", CLIP_MEAN), values.get("image_std", CLIP_STD)

    def abstractor(self) -> VideoAbstractor | Connector:
        """Loads what makes video tokens of the encoder's, float32."""
        return load_part(self.parts["abstractor"], load_connector)

    def video_tokens(self) -> int:
        """Returns how many tokens a clip has in a prompt; of one frame where frames have their own."""
        if self._published is not None:
            return self._published.video_tokens
        return self._num_queries() + 1  # and the one that ends it

    def _num_queries(self) -> int:
        config = read_json(self.parts["abstractor"] / "config.json", ExportError)
        return int(config.get("num_query_tokens", config.get("num_queries", 64)))

    def frame_checker(self) -> FrameChecker:
        """Loads the classifier that finds unsafe frames in the encoder's tokens."""
        return load_part(self.parts["frame_checker"], load_frame_checker)

    def llm(self) -> LlamaWeights:
        """Returns the language model's weights with the adapters merged; they are read when asked for."""
        return self._llm

    @cached_property
    def _llm(self) -> LlamaWeights:
        from g4v.export.checkpoint.llama import LlamaWeights

        return LlamaWeights(self.parts["llm"], self.adapters)

    def text_encoder(self) -> Any:
        """Loads the CLIPTextModel of the text-to-video model in its stored data type; in float32 where a LoRA
        is merged into it.
        """
        return self._with_loras("text_encoder", load_text_encoder(self.parts["t2v"], self.variant))

    def unet(self) -> Any:
        """Loads the UNet3DConditionModel; data type and LoRA as for `text_encoder`."""
        return self._with_loras("unet", load_unet(self.parts["t2v"], self.variant))

    def transformer(self) -> Any:
        """Loads the WanTransformer3DModel or LTXVideoTransformer3DModel; data type and LoRA as for
        `text_encoder`.
        """
        return self._with_loras("transformer", load_transformer(self.parts["t2v"], self.variant))

    def _with_loras(self, part: str, module: Any) -> Any:
        merge = self._video_lora_merge
        return module if merge is None else merge.apply(part, module)

    @cached_property
    def _video_lora_merge(self) -> VideoLoraMerge | None:
        if not self.video_loras:
            return None
        return VideoLoraMerge(self.video_loras, open_parts(self.parts["t2v"], self.variant))

    def merged_video_loras(self, part: str) -> list[dict[str, Any]]:
        """Returns what the manifest says of the LoRA files in "unet", "transformer" or "text_encoder"."""
        merge = self._video_lora_merge
        return [] if merge is None else merge.describe(part)

    def vae(self) -> Any:
        """Loads the AutoencoderKL in its stored data type."""
        return load_vae(self.parts["t2v"], self.variant)

    def tokenizer(self, part: str) -> Any:
        """Returns the transformers fast tokenizer of the component "decoder" or "text_encoder".

        It is loaded once, which takes seconds where it is in a GGUF file, and must not be changed.
        """
        if part not in self._tokenizers:
            self._tokenizers[part] = self._load_tokenizer(part)
        return self._tokenizers[part]

    def _load_tokenizer(self, part: str) -> Any:
        from transformers import AutoTokenizer

        from g4v.model.bases.llm import load_tokenizer

        folder = self._decoder_tokenizer() if part == "decoder" else self.parts["t2v"] / "tokenizer"
        if part == "decoder" and folder == self.parts["llm"]:
            return load_part(folder, load_tokenizer)
        return load_part(folder, AutoTokenizer.from_pretrained, local_files_only=True, use_fast=True)

    def tokenizer_source(self, part: str) -> Any:
        """Returns the folder or tokenizer that `write_tokenizer` reads for "decoder" or "text_encoder"."""
        if part != "decoder":
            return self.parts["t2v"] / "tokenizer"
        place = self._decoder_tokenizer()
        return place if (place / "tokenizer.json").is_file() else self.tokenizer(part)

    def _decoder_tokenizer(self) -> Path:
        return self.llm().tokenizer_place if self.adapters else self.parts["llm"]

    def scheduler(self) -> dict[str, Any]:
        """Returns the manifest's scheduler object: "type" and diffusers' settings (`read_scheduler`)."""
        video = self.about["generation"].get("video", {})
        chosen = video.get("scheduler", {})
        known = isinstance(chosen, dict) and set(chosen) <= {"type"}
        if not known or chosen.get("type", "ddim") not in tuple(SAMPLERS):
            raise ExportError(
                f"{self.run / 'g4v_train.json'}: generation.video.scheduler is {chosen!r} but must be "
                f'{{"type": NAME}}, where NAME is {one_of(list(SAMPLERS))}'
            )
        steps = video.get("steps")
        return read_scheduler(
            self.parts["t2v"], chosen.get("type"), steps if isinstance(steps, int) else None
        )

    def schedulers(self) -> list[str]:
        """Returns the samplers that a request may choose, the default one first: those that the run lists, or
        `sensible_samplers`.
        """
        given = self.about["generation"].get("video", {}).get("schedulers")
        if given is None:
            return sensible_samplers(self.scheduler())
        return check_samplers(str(self.run / "g4v_train.json"), given, self.scheduler())
