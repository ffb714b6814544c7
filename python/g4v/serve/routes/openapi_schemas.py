"""The shapes of requests and answers in JSON Schema, for the OpenAPI description."""

from __future__ import annotations

from typing import Any

from ..chats.request import MOST_TOKENS, REFUSED, WITHOUT_EFFECT
from ..videos.request import MOST_SEED
from ..videos.request import REFUSED as REFUSED_OF_VIDEOS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "integer", "minimum": 0, "description": "seconds since 1970"}
FILE_ID: Schema = {"type": "string", "pattern": "^file-[0-9a-f]{32}$"}
VIDEO_ID: Schema = {"type": "string", "pattern": "^video_[0-9a-f]{32}$"}


def integer(low: int, high: int | None = None, **more: Any) -> Schema:
    """An integer of a range."""
    return {"type": "integer", "minimum": low} | ({} if high is None else {"maximum": high}) | more


def number(low: float, high: float) -> Schema:
    """A number of a range."""
    return {"type": "number", "minimum": low, "maximum": high}


def ref(name: str) -> Schema:
    """A schema of this file."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema, **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items} | more


def shape(optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def fields(required: tuple[str, ...], **properties: Schema) -> Schema:
    """An object that is sent: null is as good as not given, and what is not known is left out."""
    given = {name: s if name in required else nullable(s) for name, s in properties.items()}
    return {"type": "object", "properties": given, "required": list(required)}


def _part(kind: str, inner: Schema, name: str | None = None) -> Schema:
    """A part of a message."""
    properties = {"type": {"const": kind}, name or kind: inner}
    return {"type": "object", "properties": properties, "required": ["type", name or kind]}


def _of(key: str, **more: str) -> Schema:
    return {"type": "object", "properties": {key: TEXT | more}, "required": [key]}


_OPTIONS_OF_VIDEOS: dict[str, Schema] = {
    "num_inference_steps": integer(1, 100_000),
    "guidance_scale": number(0, 100),
    "negative_prompt": TEXT | {"maxLength": 100_000},
    "scheduler": TEXT | {"maxLength": 100, "description": "a sampler of the bundle"},
    "num_frames": integer(1, 1024),
    "width": integer(1, 4096),
    "height": integer(1, 4096),
}
_SEED = integer(-(2**63), MOST_SEED)


def _without(values: dict[str, tuple[Any, ...]] | tuple[str, ...], why: str) -> dict[str, Schema]:
    """Fields that are refused but for values that ask for nothing."""
    given = values if isinstance(values, dict) else {name: () for name in values}
    return {
        name: {"description": why} | ({"enum": [*allowed, None]} if allowed else {"type": "null"})
        for name, allowed in given.items()
    }


_TOP: Schema = shape(token=TEXT, logprob={"type": "number"}, bytes=array(integer(0, 255)))
_TOKEN: Schema = shape(**_TOP["properties"], top_logprobs=array(_TOP))
_FAULT: Schema = shape(code=TEXT, message=TEXT)

SCHEMAS: dict[str, Schema] = {
    "Error": shape(
        error=shape(message=TEXT, type=TEXT, param=nullable(TEXT), code=TEXT, request_id=TEXT),
    ),
    "Model": shape(
        id=TEXT,
        object={"const": "model"},
        created=TIME,
        owned_by={"const": "g4v"},
        root=TEXT,
        parent={"type": "null"},
        max_model_len=integer(0, description="tokens of a chat; 0 where the bundle only makes videos"),
    ),
    "Models": shape(object={"const": "list"}, data=array(ref("Model"))),
    "Part": {
        "anyOf": [
            _part("text", TEXT | {"maxLength": 100_000}),
            _part("video_url", _of("url", description="a data URL, an id or link of this server, or https")),
            _part("image_url", _of("url", description="as of a video; one frame of it is looked at")),
            _part("input_video", _of("data", description="base64")),
            _part("file", _of("file_id")),
            _part("file", _of("file_data", description="a data URL")),
        ]
    },
    "Message": {
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"anyOf": [TEXT | {"maxLength": 100_000}, array(ref("Part")), {"type": "null"}]},
            "videos": {"description": "of an answer, as they came"},
        },
        "required": ["role"],
    },
    "ChatRequest": fields(
        ("messages",),
        messages=array(ref("Message"), minItems=1, maxItems=4096),
        model=TEXT,
        max_completion_tokens=integer(1, MOST_TOKENS),
        max_tokens=integer(1, MOST_TOKENS),
        temperature=number(0, 100),
        top_p=number(0, 1),
        top_k=integer(-1, MOST_TOKENS),
        repetition_penalty=number(0, 10),
        seed=_SEED,
        stop={
            "anyOf": [
                TEXT | {"minLength": 1, "maxLength": 1000},
                array(TEXT | {"minLength": 1, "maxLength": 1000}, maxItems=4),
            ]
        },
        stream=FLAG,
        stream_options=fields((), include_usage=FLAG),
        logprobs=FLAG,
        top_logprobs=integer(0, 20),
        modalities={"enum": [["text"], ["text", "video"], ["video", "text"]]},
        **_OPTIONS_OF_VIDEOS,
        **_without(REFUSED, "not supported"),
        **{name: {"description": "changes nothing"} for name in WITHOUT_EFFECT},
    ),
    "VideoOfAnswer": shape(
        ("error",),
        index=integer(0),
        id=nullable(VIDEO_ID),
        status={"enum": ["queued", "in_progress", "completed", "withheld", "failed", "skipped"]},
        progress=integer(0, 100),
        caption=TEXT,
        seed=integer(0, MOST_SEED),
        offset=integer(0, description="its place in the answer's content, in characters"),
        type={"const": "video_url"},
        video_url=nullable(shape(url=TEXT)),
        error=_FAULT,
    ),
    "ChatCompletion": shape(
        id={"type": "string", "pattern": "^chatcmpl-[0-9a-f]{32}$"},
        object={"const": "chat.completion"},
        created=TIME,
        model=TEXT,
        choices=array(
            shape(
                index={"const": 0},
                message=shape(
                    ("videos",),
                    role={"const": "assistant"},
                    content=TEXT,
                    refusal=nullable(TEXT),
                    videos=array(ref("VideoOfAnswer")),
                ),
                logprobs=nullable(shape(content=array(_TOKEN), refusal={"type": "null"})),
                finish_reason={"enum": ["stop", "length", "content_filter"]},
            ),
            minItems=1,
            maxItems=1,
        ),
        usage=shape(
            prompt_tokens=integer(0),
            completion_tokens=integer(0),
            total_tokens=integer(0),
            prompt_tokens_details=shape(cached_tokens=integer(0)),
        ),
    ),
    "File": shape(
        id=FILE_ID,
        object={"const": "file"},
        status={"const": "processed"},
        bytes=integer(1),
        created_at=TIME,
        expires_at=TIME,
        filename=TEXT,
        purpose={"enum": ["user_data", "vision", "assistants"]},
    ),
    "VideoRequest": fields(
        ("prompt",),
        prompt=TEXT | {"minLength": 1, "maxLength": 100_000, "pattern": r"\S"},
        model=TEXT,
        size={"type": "string", "pattern": "^[0-9]{1,5}x[0-9]{1,5}$"},
        seconds={"anyOf": [number(0.01, 1024), TEXT]},
        fps=number(1, 120),
        seed=_SEED,
        **_OPTIONS_OF_VIDEOS,
        input_reference={
            "description": "a video or picture to make this one from: a data URL, an id or link of this "
            "server, or https; in a form a file too",
            "anyOf": [TEXT | {"minLength": 1}, _of("file_id"), _of("image_url"), _of("video_url")],
        },
        strength={
            "description": "with input_reference: the share of the steps that is done",
            **{"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        },
        **_without(REFUSED_OF_VIDEOS, "not supported"),
        user={"description": "changes nothing"},
    ),
    "Video": shape(
        ("position",),
        id=VIDEO_ID,
        object={"const": "video"},
        model=TEXT,
        status={"enum": ["queued", "in_progress", "completed", "failed"]},
        progress=integer(0, 100),
        position=integer(0, description="how many are made before it"),
        created_at=TIME,
        completed_at=nullable(TIME),
        expires_at=TIME,
        prompt=TEXT,
        error=nullable(_FAULT),
        seed=integer(0, MOST_SEED),
        seconds=TEXT,
        size=TEXT,
        quality={"const": "standard"},
        remixed_from_video_id={"type": "null"},
    ),
}
for _name, _id in (("File", FILE_ID), ("Video", VIDEO_ID)):
    SCHEMAS[f"{_name}s"] = shape(
        object={"const": "list"},
        data=array(ref(_name)),
        has_more=FLAG,
        first_id=nullable(_id),
        last_id=nullable(_id),
    )
    _kind = "file" if _name == "File" else "video.deleted"
    SCHEMAS[f"Deleted{_name}"] = shape(id=_id, object={"const": _kind}, deleted={"const": True})
