"""What the subcommands of `g4v` share: arguments, loading the assistant, JSON output, the output folder."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._command import at_least, seconds, size
from ..errors import ArgumentError, OutputError
from ..frame_checkers import FRAME_CHECKERS, frame_checker
from ..generators import KEY_VARIABLE, RemoteGenerator

if TYPE_CHECKING:
    from ..assistant import Assistant
    from ..events import Video


def add_video_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --seed, --steps, --guidance-scale, --frame-checker and --generator with its options."""
    group = parser.add_argument_group("making videos")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same result (default: 0)")
    group.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the bundle's)")
    group.add_argument(
        "--guidance-scale",
        type=float,
        metavar="X",
        help="how closely to follow the words (default: the bundle's)",
    )
    group.add_argument(
        "--frame-checker",
        choices=tuple(FRAME_CHECKERS),
        help="a further look at generated videos, before they are written: nudenet finds nudity (pip install "
        "nudenet), open-nsfw pornography (pip install 'g4v[nsfw]') (default: the bundle's own checker alone)",
    )
    add_generator_arguments(parser)


def add_generator_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds another server that makes the videos."""
    group = parser.add_argument_group("videos of another server")
    group.add_argument(
        "--generator",
        metavar="URL",
        help="makes the videos in place of the bundle: a server's /v1/videos, as https://host/v1/videos; "
        f"captions are sent there. Its key is ${KEY_VARIABLE} (default: none)",
    )
    group.add_argument(
        "--generator-model", metavar="NAME", help="the model's name there (default: the server's)"
    )
    group.add_argument(
        "--generator-api-key-file",
        type=Path,
        metavar="FILE",
        help=f"its first line is the key, in place of ${KEY_VARIABLE} (default: none)",
    )
    group.add_argument(
        "--generator-timeout",
        type=seconds,
        metavar="TIME",
        help="longest time of one video (default: 10m)",
    )
    group.add_argument(
        "--generator-max-bytes",
        type=size,
        metavar="SIZE",
        help="of a video's file (default: 256M)",
    )
    group.add_argument(
        "--generator-allow-http",
        action="store_true",
        help="http:// may name other machines than this one: everything is sent unencrypted then",
    )


def generator_of(arguments: argparse.Namespace) -> RemoteGenerator | None:
    """The server of --generator. ArgumentError: it cannot be used, or only its options are given."""
    key_file: Path | None = arguments.generator_api_key_file
    given = {
        "model": arguments.generator_model,
        "timeout": arguments.generator_timeout,
        "max_bytes": arguments.generator_max_bytes,
        "allow_http": arguments.generator_allow_http or None,
        "api_key_file": key_file,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.generator is None:
        for name in given:
            option = f"--generator-{name.replace('_', '-')}"
            raise ArgumentError(f"{option} is of another server that makes videos; name it with --generator")
        return None
    if key_file is not None:
        del given["api_key_file"]
        given["api_key"] = _first_line(key_file)
    return RemoteGenerator(arguments.generator, **given)


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ArgumentError(f"--generator-api-key-file {path}: cannot be read: {reason}") from None
    if not lines:
        raise ArgumentError(f"--generator-api-key-file {path}: has no key")
    return lines[0]


def add_limit_arguments(group: Any) -> None:
    """Adds the limits of a conversation to a group of arguments; 0 is no limit."""
    group.add_argument(
        "--max-decoded-bytes",
        type=size,
        default=1 << 30,
        metavar="SIZE",
        help="decoded frames of a question's video (default: 1G; as in all of these, 0 is no limit)",
    )
    group.add_argument(
        "--max-prompt-tokens",
        type=at_least(0, 1 << 24),
        default=0,
        metavar="N",
        help="that an answer follows, those of the chat so far too (default: what the context holds)",
    )
    group.add_argument(
        "--max-chat-kv-bytes",
        type=size,
        default=0,
        metavar="SIZE",
        help="keys and values of one chat (default: as the context is long)",
    )
    group.add_argument(
        "--max-videos",
        type=at_least(0, 1 << 24),
        default=8,
        metavar="N",
        help="made of one answer (default: 8)",
    )
    group.add_argument(
        "--max-video-pixels",
        type=at_least(0, 2**63 - 1),
        default=1 << 28,
        metavar="N",
        help="frames x height x width of a video that is made (default: 268435456)",
    )


def limits_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The limits among the arguments, as options of `g4v.load`."""
    names = (
        "max_decoded_bytes",
        "max_prompt_tokens",
        "max_chat_kv_bytes",
        "max_turn_ms",
        "max_videos",
        "max_video_pixels",
    )
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def load(arguments: argparse.Namespace) -> Assistant:
    """The assistant that the arguments name. Raises what `g4v.load` raises."""
    from .. import load as load_assistant

    name = getattr(arguments, "frame_checker", None)
    return load_assistant(
        arguments.bundle,
        device=arguments.device,
        threads=arguments.threads,
        frame_checker=frame_checker(name) if name else None,
        generator=generator_of(arguments) if hasattr(arguments, "generator") else None,
        **limits_of(arguments),
    )


def print_json(values: dict[str, Any]) -> None:
    """Prints an object as one line of JSON, with escapes where the stream's encoding lacks a character.

    What could steer a terminal (control characters above ASCII, marks of direction) is escaped too.

    A path that is no UTF-8 has escapes of lone surrogates, of which os.fsencode makes the path again.
    """
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(values)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    print(text, flush=True)


class OutputFolder:
    """The folder that videos are written to, as a context manager.

    A folder that was named is made and checked when entered, before any work; where it was made and nothing
    was written, it is removed again. Without a name it is the current folder, at which only `check` looks: a
    command that writes nothing works anywhere.
    OutputError: it cannot be written to.
    """

    def __init__(self, path: str | None) -> None:
        self._path = Path("." if path is None else path)
        self._checked = path is not None
        self._made: list[Path] = []

    def __enter__(self) -> OutputFolder:
        from .._encode import check_folder

        if self._checked:
            self._made = [p for p in (self._path, *self._path.parents) if not p.exists()]
            check_folder(self._path)
        return self

    def check(self) -> None:
        """Proves that files can be written, if that is not known yet: before a video is made."""
        from .._encode import check_folder

        if not self._checked:
            try:
                check_folder(self._path)
            except OutputError as error:
                raise OutputError(f"{error} with --out") from None
            self._checked = True

    def __exit__(self, *_: object) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return

    def save(self, video: Video) -> Path:
        """Writes the video under the first free name: video-1.mp4, video-2.mp4, ..."""
        number = 1
        while (path := self._path / f"video-{number}.mp4").exists():
            number += 1
        return video.save(path)
