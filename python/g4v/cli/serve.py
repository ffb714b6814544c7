"""`g4v serve`: an OpenAI-compatible server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._command import add_assistant_arguments, at_least, seconds, size
from ..errors import ArgumentError, RuntimeUnavailable
from ..frame_checkers import FRAME_CHECKERS, frame_checker
from .common import add_generator_arguments, add_limit_arguments, generator_of, limits_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..assistant import Assistant
    from ..serve.options import Options

_EXAMPLES = """examples:
  g4v serve
  g4v serve --bundle /srv/bundles/full --max-running 8 --kv-memory 4G
  g4v serve --host 0.0.0.0 --api-key-file keys.txt --allowed-media-domain media.example.org

SIGTERM ends it in order: nothing new is begun, answers and videos have --drain to be done. A second signal
ends it at once."""


def add_parser(commands: Any) -> None:
    """Adds `g4v serve` to the subcommands of the parser."""
    parser = commands.add_parser(
        "serve",
        help="serve the assistant to OpenAI's clients",
        description="Serves chats and videos over HTTP, with the routes of OpenAI's API. "
        "Needs the extra g4v[serve].",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port",
        type=at_least(0, 65535),
        default=8000,
        metavar="N",
        help="0 takes a free one (default: 8000)",
    )
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds all but where the server listens."""
    group = parser.add_argument_group("who may ask")
    group.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="keys, one on a line; read again when it changes"
    )
    group.add_argument(
        "--no-auth", action="store_true", help="needs no key, on an address of a network either"
    )
    group.add_argument(
        "--allowed-media-domain",
        action="append",
        default=[],
        metavar="HOST",
        help="host that videos of requests may be fetched from, over HTTPS; may be repeated (default: none)",
    )
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max-running", type=at_least(1, 1024), default=4, metavar="N", help="answers at once (default: 4)"
    )
    group.add_argument(
        "--max-queued",
        type=at_least(0, 65536),
        default=16,
        metavar="N",
        help="requests that wait (default: 16)",
    )
    group.add_argument(
        "--max-queued-videos",
        type=at_least(1, 65536),
        default=16,
        metavar="N",
        help="videos that wait (default: 16)",
    )
    group.add_argument(
        "--max-upload",
        type=size,
        default=64 << 20,
        metavar="SIZE",
        help="largest body and file (default: 64M)",
    )
    group.add_argument(
        "--kv-memory",
        type=size,
        default=1 << 30,
        metavar="SIZE",
        help="keys and values of all chats (default: 1G)",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=600.0,
        metavar="TIME",
        help="longest time of one answer (default: 10m)",
    )
    add_limit_arguments(group)
    group.add_argument(
        "--drain",
        type=seconds,
        default=30.0,
        metavar="TIME",
        help="for what is under way, after SIGTERM (default: 30s)",
    )
    group = parser.add_argument_group("files and videos")
    group.add_argument(
        "--media-dir", type=Path, metavar="DIR", help="where they are kept (default: ~/.cache/g4v/media)"
    )
    group.add_argument(
        "--share-media-dir", action="store_true", help="other servers with this option use the folder, too"
    )
    group.add_argument(
        "--media-ttl", type=seconds, default=86400.0, metavar="TIME", help="how long (default: 24h)"
    )
    group.add_argument(
        "--media-bytes",
        type=size,
        default=2 << 30,
        metavar="SIZE",
        help="how much; the oldest go (default: 2G)",
    )
    group.add_argument(
        "--videos-in-text", action="store_true", help="links to videos are in the answer's text too, signed"
    )
    group.add_argument("--frame-checker", choices=tuple(FRAME_CHECKERS), help="as in g4v generate")
    add_generator_arguments(parser)
    parser.add_argument("--log-content", action="store_true", help="prompts go into the log")
    parser.add_argument("--no-page", action="store_true", help="no page for browsers at /")
    add_assistant_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v serve`; returns its exit code. Raises `g4v.Error`."""
    try:
        from ..serve.server import check_open, listen, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "g4v":
            raise
        raise RuntimeUnavailable(
            f'{error.name} is missing; install it with: pip install "g4v[serve]"'
        ) from None
    options = options_of(arguments)
    check_open(arguments.host, arguments.api_key_file, arguments.no_auth)
    load = loader_of(arguments, options)
    return serve(load, arguments.host, listen(arguments.host, arguments.port), options)


def options_of(arguments: argparse.Namespace) -> Options:
    """The server's options. ArgumentError: one of them cannot be used."""
    from ..serve.media.addresses import is_domain
    from ..serve.options import Options, default_media_dir

    for host in arguments.allowed_media_domain:
        if not is_domain(host.lower()):
            raise ArgumentError(
                f"--allowed-media-domain {host}: is not a domain name, such as media.example.org"
            )
    return Options(
        media_dir=arguments.media_dir or default_media_dir(),
        share_media=arguments.share_media_dir,
        media_ttl=arguments.media_ttl,
        media_bytes=arguments.media_bytes,
        max_upload=arguments.max_upload,
        max_running=arguments.max_running,
        max_queued=arguments.max_queued,
        max_queued_videos=arguments.max_queued_videos,
        kv_memory=arguments.kv_memory,
        max_videos=arguments.max_videos,
        allowed_media_domains=tuple(arguments.allowed_media_domain),
        api_key_file=arguments.api_key_file,
        timeout=arguments.timeout,
        drain=arguments.drain,
        videos_in_text=arguments.videos_in_text,
        log_content=arguments.log_content,
        page=not arguments.no_page,
        loopback=not arguments.no_auth,
    )


def loader_of(arguments: argparse.Namespace, options: Options) -> Callable[[], Assistant]:
    """Loads the assistant when it is called, and raises what loading raises then."""
    checker = frame_checker(arguments.frame_checker) if arguments.frame_checker else None
    generator = generator_of(arguments)

    def load(kv_memory: int = options.kv_memory) -> Assistant:
        from .. import load as load_assistant

        try:
            return load_assistant(
                arguments.bundle,
                device=arguments.device,
                threads=arguments.threads,
                frame_checker=checker,
                generator=generator,
                turns=options.max_running,
                kv_memory=kv_memory,
                **limits_of(arguments),
            )
        except ArgumentError as error:
            if not kv_memory or "kv_memory" not in str(error):
                raise
            return load(0)  # a decoder that ONNX Runtime runs: the server counts by itself

    return load
