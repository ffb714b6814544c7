"""`g4v chat`: one turn with --prompt, a conversation in the terminal without it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .._command import add_assistant_arguments, at_least, system_text
from .common import OutputFolder, add_limit_arguments, add_video_arguments, load

if TYPE_CHECKING:
    from ..chat import Chat

_EXAMPLES = """examples:
  g4v chat --video clip.mp4 --prompt "What moves here?"
  g4v chat --prompt "Show me a red circle moving left" --out videos
  g4v chat --prompt "Show me a green star growing" --json
  g4v chat --system "You are terse." --video clip.mp4 --frames 16
  g4v chat --bundle /srv/bundles/full --device cuda

Without --prompt a conversation starts; /help lists its commands. Ctrl-C stops the turn that is under way,
at the prompt Ctrl-D or a second Ctrl-C leaves. Where standard input is no terminal, each line is a turn."""


def add_parser(commands: Any) -> None:
    """Adds `g4v chat` to the subcommands of the parser."""
    parser = commands.add_parser(
        "chat",
        help="talk with the assistant",
        description="Talks with the assistant about a video; it answers in text and videos.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--video", metavar="FILE", help="the video that the first question is about")
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="how many frames of a question's video are looked at (default: the bundle's); not the length of "
        "videos that are made",
    )
    parser.add_argument(
        "--system",
        metavar="TEXT|FILE",
        help="opens the chat in place of the bundle's system text: a text, or a file that holds it",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="ask this one thing, print the answer and leave")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where videos are written, as video-1.mp4, ... (default: here)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on a line for each event")
    group = parser.add_argument_group("sampling of the answer (default: the bundle's)")
    group.add_argument("--temperature", type=float, metavar="X", help="0 takes the likeliest token")
    group.add_argument("--top-k", type=int, metavar="N", help="out of the N likeliest tokens; 0: of all")
    group.add_argument("--top-p", type=float, metavar="X", help="out of the likeliest that sum to X")
    group.add_argument("--repetition-penalty", type=float, metavar="X", help="above 1 makes repeats rarer")
    group.add_argument("--max-new-tokens", type=int, metavar="N", help="length limit of one answer")
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max-turn-ms",
        type=at_least(0, 1 << 30),
        default=0,
        metavar="N",
        help="milliseconds that a turn may take, videos included (default: any)",
    )
    add_limit_arguments(group)
    add_video_arguments(parser)
    add_assistant_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v chat`; returns its exit code. Raises `g4v.Error`."""
    from .turn import TurnPrinter

    with OutputFolder(arguments.out) as folder:
        assistant = load(arguments)
        system = None if arguments.system is None else system_text(arguments.system)

        def open_chat() -> Chat:
            return assistant.chat(
                seed=arguments.seed,
                temperature=arguments.temperature,
                top_k=arguments.top_k,
                top_p=arguments.top_p,
                repetition_penalty=arguments.repetition_penalty,
                max_new_tokens=arguments.max_new_tokens,
                steps=arguments.steps,
                guidance_scale=arguments.guidance_scale,
                system=system,
            )

        printer = TurnPrinter(folder, as_json=arguments.json)
        if arguments.prompt is not None:
            chat = open_chat()
            printer.show(chat.send(arguments.prompt, video=arguments.video, frames=arguments.frames))
            return 1 if printer.failed else 0
        from .conversation import converse

        return converse(open_chat, printer, video=arguments.video, frames=arguments.frames)
