"""g4v: talk about a video, get a new video back.

    import g4v

    assistant = g4v.load("tiny")
    chat = assistant.chat(seed=0)
    for event in chat.send("What moves here?", video="clip.mp4"):
        if isinstance(event, g4v.Text):
            print(event.text, end="")

    reply = chat.ask("Show me a red circle moving left")
    reply.videos[0].save("out.mp4")

Importing g4v loads neither NumPy nor ONNX Runtime nor PyAV; each is loaded when it is first needed.
"""

# The first import: it also answers Ctrl-C while the others are under way.
from . import _start  # noqa: F401
from .assistant import Assistant, load
from .chat import Chat
from .errors import (
    ArgumentError,
    BundleError,
    Cancelled,
    ContextFull,
    DeadlineExceeded,
    Error,
    GeneratorError,
    InternalError,
    OutputError,
    RuntimeUnavailable,
    UnsafeVideo,
    VideoError,
)
from .events import (
    Done,
    Event,
    Progress,
    Refusal,
    Reply,
    Text,
    Timings,
    Token,
    TopToken,
    Video,
    VideoFailed,
    VideoFrames,
    VideoPrompt,
    Withheld,
)
from .generators import RemoteGenerator

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "Assistant",
    "BundleError",
    "Cancelled",
    "Chat",
    "ContextFull",
    "DeadlineExceeded",
    "Done",
    "Error",
    "Event",
    "GeneratorError",
    "InternalError",
    "OutputError",
    "Progress",
    "Refusal",
    "RemoteGenerator",
    "Reply",
    "RuntimeUnavailable",
    "Text",
    "Timings",
    "Token",
    "TopToken",
    "UnsafeVideo",
    "Video",
    "VideoError",
    "VideoFailed",
    "VideoFrames",
    "VideoPrompt",
    "Withheld",
    "load",
]
