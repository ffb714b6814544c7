"""The body of POST /v1/chat/completions: what is obeyed, what is known to change nothing, what is refused."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from ..base.errors import ApiError, bad_request
from ..base.fields import Fields, checked_text
from ..videos.request import MOST_SEED, video_options
from .history import Settings
from .messages import Caption, Talk, parse_messages

# Fields of OpenAI's API that g4v cannot obey, with the values that ask for nothing.
REFUSED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logit_bias": ({},),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "best_of": (1,),
    "min_p": (0, 0.0),
}
# These say nothing about the answer.
WITHOUT_EFFECT = ("user", "metadata", "store", "safety_identifier", "service_tier", "parallel_tool_calls")
MOST_TOKENS = 1 << 24


@dataclass(frozen=True)
class ChatRequest:
    """A request for an answer. videos: whether videos are made; video_options: of `Assistant.generate`."""

    talk: Talk
    settings: Settings
    stream: bool
    include_usage: bool
    videos: bool
    video_options: dict[str, Any]
    unknown: int


def parse_chat(body: Any, model: str, caption: Caption, own_host: str) -> ChatRequest:
    """The request of a JSON body. ApiError (400, 404) names the field that is at fault."""
    fields = _fields(body)
    check_model(fields, model)
    for name, without_effect in REFUSED.items():
        fields.refuse(name, without_effect)
    for name in WITHOUT_EFFECT:
        fields.value(name)
    talk = parse_messages(fields.value("messages"), caption, own_host)
    stream = fields.boolean("stream") or False
    options = fields.inner("stream_options")
    include_usage = bool(options and options.boolean("include_usage"))
    if options is not None and not stream:
        raise bad_request("stream_options needs stream to be true", "stream_options")
    limits = [fields.integer(name, 1, MOST_TOKENS) for name in ("max_completion_tokens", "max_tokens")]
    top_k = fields.integer("top_k", -1, MOST_TOKENS)
    seed = fields.integer("seed", -(2**63), MOST_SEED)
    settings = Settings(
        seed=secrets.randbits(32) if seed is None else seed % (MOST_SEED + 1),
        max_new_tokens=limits[0] if limits[0] is not None else limits[1],
        temperature=fields.number("temperature", 0, 100),
        top_k=0 if top_k == -1 else top_k,
        top_p=fields.number("top_p", 0, 1),
        repetition_penalty=fields.number("repetition_penalty", 0, 10),
        stop=_stop(fields.value("stop")),
        logprobs=_logprobs(fields),
    )
    modalities = _modalities(fields.value("modalities"))
    return ChatRequest(
        talk,
        settings,
        stream,
        include_usage,
        "video" in modalities,
        video_options(fields),
        len(fields.unknown()) + (len(options.unknown()) if options else 0),
    )


def check_model(fields: Fields, model: str) -> None:
    """Refuses another model than the one that is served. ApiError (404)."""
    asked = fields.text("model")
    if asked is not None and asked != model:
        raise ApiError(
            404, f"the model {asked!r} does not exist; this server has {model!r}", "model_not_found", "model"
        )


def _fields(body: Any) -> Fields:
    if not isinstance(body, dict):
        raise bad_request("the body must be a JSON object")
    return Fields(body)


def _stop(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or len(texts) > 4:
        raise bad_request("stop must be a string or a list of at most 4", "stop")
    for text in texts:
        if not checked_text(text, "stop", 1000):
            raise bad_request("stop has an empty string", "stop")
    return tuple(texts)


def _logprobs(fields: Fields) -> int | None:
    wanted, count = fields.boolean("logprobs"), fields.integer("top_logprobs", 0, 20)
    if count is not None and not wanted:
        raise bad_request("top_logprobs needs logprobs to be true", "top_logprobs")
    return (count or 0) if wanted else None


def _modalities(value: Any) -> list[str]:
    if value is None:
        return ["text", "video"]
    if value not in (["text"], ["text", "video"], ["video", "text"]):
        raise bad_request(
            'modalities must be ["text"] or ["text", "video"]', "modalities", "unsupported_parameter"
        )
    return list(value)
