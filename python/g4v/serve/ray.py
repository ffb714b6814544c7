"""`g4v serve` as replicas of Ray Serve: the same application, with the same options.

    serve run g4v.serve.ray:app bundle=/srv/bundles/full replicas=2 media_dir=/srv/media api_key_file=keys.txt

Arguments are the options of `g4v serve` with `_` for `-` (`media_dir` for --media-dir); host and port are
those of Ray's own proxy. Some say how Ray runs them: see `Scale`. A talk whose requests have the header
`x-session-id` stays on one replica. Files and videos are found from every replica: all of them need the same
media_dir, on a file system that has locks.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig
from starlette.applications import Starlette

from .._command import Parser
from ..cli.serve import add_server_arguments, loader_of, options_of
from ..errors import ArgumentError
from .app import make_app
from .base.logs import handle_library_logs
from .service import Parts, Service

_ROUTER: Any = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_SHORT = 64  # requests of a replica beside answers and videos: lists, contents, metrics
_SPARE = 15.0  # seconds after --drain before Ray ends a replica's process
_TOO_MUCH = ("host", "port", "share_media_dir")


@dataclass(frozen=True)
class Scale:
    """How Ray runs the replicas.

    replicas: how many. max_replicas: as many at most, by load, and `replicas` at least; None for a fixed
    number. target: requests under way on a replica that Ray aims at, with max_replicas. cpus, gpus: of Ray's
    resources, for each replica.
    """

    replicas: int = 1
    max_replicas: int | None = None
    target: float = 2.0
    cpus: float = 1.0
    gpus: float = 0.0


@serve.deployment
@serve.ingress()
class Server:
    """A replica. arguments: those of `g4v serve`, as on its command line."""

    def __init__(self, arguments: list[str]) -> None:
        parsed = _parser().parse_args(arguments)
        options = options_of(parsed)
        handle_library_logs()
        parts = Parts(options)
        assistant = loader_of(parsed, options)()
        assistant.wait_until_ready()  # no request comes before
        self._app = make_app(assistant, options, parts)

    def __serve_build_asgi_app__(self) -> Starlette:
        return self._app

    async def check_health(self) -> None:
        """Raises where Ray should start another replica in place of this one."""
        service: Service = self._app.state.service
        if service.state == "failed":
            raise RuntimeError("a component did not load; the replica's log says why")


def app(arguments: Mapping[str, Any]) -> serve.Application:
    """The application of Ray Serve; `serve run g4v.serve.ray:app name=value ...` and config files call it.

    arguments: options of `g4v serve` and fields of `Scale`; values are texts, or of their type.
    ArgumentError: one of them is not known or cannot be used.
    """
    values = {name.replace("-", "_"): value for name, value in arguments.items()}
    for name in _TOO_MUCH:
        if name in values:
            raise ArgumentError(f"{name} is no argument here; Ray Serve has its own, and all replicas share")
    scale = Scale(
        **{name: _number(name, values.pop(name)) for name in Scale.__annotations__ if name in values}
    )
    line = _command_line(values)
    parsed = _parser().parse_args(line)
    if parsed.api_key_file is None and not parsed.no_auth:
        raise ArgumentError(
            "Ray's proxy may be reached from other machines: name keys with api_key_file, or let everybody "
            "in with no_auth=true"
        )
    if parsed.media_dir is None:
        raise ArgumentError("media_dir is missing: name a folder that every replica can write")
    options = options_of(parsed)
    # Our own limits answer with 429 before Ray's line of requests is of any length.
    most = options.max_running + options.max_queued + options.max_queued_videos + 1 + _SHORT
    server: Any = Server  # what the decorators make of it
    deployment = server.options(
        name="g4v",
        max_ongoing_requests=most,
        graceful_shutdown_timeout_s=options.drain + _SPARE,
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
        **_replicas(scale),
    )
    return deployment.bind(line)


def _replicas(scale: Scale) -> dict[str, Any]:
    if scale.max_replicas is None:
        return {"num_replicas": scale.replicas}
    if scale.max_replicas < scale.replicas:
        raise ArgumentError(f"max_replicas is {scale.max_replicas}, less than replicas; raise it")
    limits = {"min_replicas": scale.replicas, "max_replicas": scale.max_replicas}
    return {"autoscaling_config": limits | {"target_ongoing_requests": scale.target}}


def _number(name: str, value: Any) -> Any:
    """A field of `Scale`. ArgumentError: it is no number, or none that it can have."""
    whole = name in ("replicas", "max_replicas")
    try:
        number = int(str(value)) if whole else float(str(value))
    except ValueError:
        number = -1
    if not (0 if name in ("cpus", "gpus") else 1 if whole else 1e-3) <= number or math.isinf(number):
        raise ArgumentError(f"{name} is {value!r}; it must be a number of at least {1 if whole else 0}")
    return number


def _command_line(values: Mapping[str, Any]) -> list[str]:
    """The options as words of a command line. A list repeats its option; true sets a flag."""
    words = []
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is True or str(one).lower() == "true":
                words.append(option)
            elif one is not False and str(one).lower() != "false":
                words.append(f"{option}={one}")
    return [*words, "--share-media-dir"]


class _Parser(Parser):
    def error(self, message: str) -> Any:
        raise ArgumentError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="g4v.serve.ray:app", add_help=False, allow_abbrev=False)
    add_server_arguments(parser)
    return parser
