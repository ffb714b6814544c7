"""How a text-to-video model takes captions: their length, and what becomes of the padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from g4v._files import read_json
from g4v.export.checkpoint import ltx, wan
from g4v.export.checkpoint.pipelines import pipeline_of
from g4v.export.checkpoint.t5 import is_t5
from g4v.export.errors import ExportError

_CLIP_POSITIONS = 77  # the default of transformers' CLIPTextConfig
_T5_LENGTH = 512  # tokens of the texts that T5 was trained on; its positions have no end
_MOST_LENGTH = 4096


class Captions(NamedTuple):
    """length: tokens to which a caption is cut and padded. attention_mask: whether the text encoder is told
    what is padding. zero_padding: whether the states of the padding are set to zero.
    """

    length: int
    attention_mask: bool = False
    zero_padding: bool = False


# Pipelines that say it themselves of a T5, by diffusers' defaults. CLIP's graph takes no mask.
# LTX-Video's transformer is told what is padding; the T5 of its first pipeline reads that as any other token.
_PIPELINES = {
    wan.PIPELINE: Captions(512, attention_mask=True, zero_padding=True),
    ltx.PIPELINE: Captions(128),
    ltx.CONDITION_PIPELINE: Captions(256, attention_mask=True),
}


def read_captions(t2v: Path) -> Captions:
    """Reads how the pipeline of a text-to-video folder of diffusers takes captions.

    ExportError: a file is missing or damaged, a length is out of range, or as for `pipeline_of`.
    """
    config = read_json(t2v / "text_encoder" / "config.json", ExportError)
    if is_t5(config) and (said := _PIPELINES.get(pipeline_of(t2v))):
        return said
    settings = t2v / "tokenizer" / "tokenizer_config.json"
    given = read_json(settings, ExportError).get("model_max_length") if settings.exists() else None
    if not isinstance(given, (int, float)) or isinstance(given, bool) or given < 1:
        given = None
    if not is_t5(config):
        positions = config.get("max_position_embeddings", _CLIP_POSITIONS)
        return Captions(int(positions if given is None else min(positions, given)))
    # transformers writes 1e30 where there is no limit.
    if given is None or given > 1e9:
        given = _T5_LENGTH
    if given > _MOST_LENGTH:
        raise ExportError(f"{settings}: model_max_length is {given:g} but must be at most {_MOST_LENGTH}")
    return Captions(int(given), attention_mask=_asks_for_mask(t2v, config))


def _asks_for_mask(t2v: Path, config: dict[str, Any]) -> bool:
    value = config.get("use_attention_mask", False)
    if not isinstance(value, bool):
        raise ExportError(f"{t2v / 'text_encoder' / 'config.json'}: use_attention_mask must be true or false")
    return value
