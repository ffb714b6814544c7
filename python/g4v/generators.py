"""Generators of videos for `g4v.load(generator=...)`, in place of a bundle's text-to-video components.

A generator is called with a `VideoJob` on threads of the core, for several videos at once. It returns frames,
uint8 [T, H, W, 3] in RGB, and frames per second. What it raises is why there is no video: `GeneratorError`
with a sentence for people. The frame checkers look at its frames before anybody sees them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _remote_end
from ._video_job import VideoJob
from .errors import ArgumentError, GeneratorError

if TYPE_CHECKING:
    import ssl

    import numpy as np
    import numpy.typing as npt

    from ._remote_job import RemoteJob

    Generator = Callable[[VideoJob], tuple[npt.NDArray[np.uint8], float]]

KEY_VARIABLE = "G4V_GENERATOR_API_KEY"
"""Environment variable with the key of a server that makes videos."""


class RemoteGenerator:
    """Videos of another server that has the routes of OpenAI's /v1/videos: vLLM-Omni, SGLang, `g4v serve`.

    Captions, seeds and options leave this machine; nothing is sent before a video is asked for.

        assistant = g4v.load("tiny", generator=g4v.RemoteGenerator("https://host/v1/videos", model="wan"))

    A video is a job there: POST with a form, GET until it is completed, GET of its content, DELETE. The job
    is deleted when its video is here, and when nobody wants it any more, also at the end of the program. The
    content is decoded by g4v's own reader.

    There are fields for frames, width, height, fps, steps, guidance_scale, negative_prompt and seed; which of
    them the server obeys is its own business.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        max_bytes: int = 256 << 20,
        allow_http: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Checks the arguments; nothing is looked up or sent.

        Args:
            url: of the route that makes videos, such as "https://host/v1/videos".
            model: its name there; None leaves the field out.
            api_key: sent as "Authorization: Bearer KEY"; None for the environment variable
                G4V_GENERATOR_API_KEY, "" for none.
            timeout: seconds from asking for a video until it is here.
            max_bytes: of a video's file.
            allow_http: lets http:// name other machines than this one: captions and the key are sent
                unencrypted then.
            ssl_context: of https; None for the certificates of the system.

        Raises:
            ArgumentError: the URL or another argument cannot be used.
        """
        from ._http_address import Address

        if not isinstance(url, str):
            raise ArgumentError(f"the URL of a generator is a {type(url).__name__}; it must be a string")
        self._address = Address(url, allow_http)
        if not self._address.path.endswith("/videos"):
            raise ArgumentError(f"the URL {url!r} must end in /videos, as https://host/v1/videos does")
        self._url, self._model = url, model
        key = os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key
        if not isinstance(key, str) or not (key.isascii() and key.isprintable() and " " not in key) and key:
            raise ArgumentError("the key of the generator has characters that a key does not have")
        if model is not None and (not isinstance(model, str) or not model.isprintable() or not model):
            raise ArgumentError(f"model is {model!r}; it must be a name")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < 1e9:
            raise ArgumentError(f"timeout is {timeout!r}; it must be seconds above 0")
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
            raise ArgumentError(f"max_bytes is {max_bytes!r}; it must be an integer of at least 1")
        self._key, self._timeout, self._most, self._context = key, float(timeout), max_bytes, ssl_context

    @property
    def url(self) -> str:
        """The route that makes videos."""
        return self._url

    def __repr__(self) -> str:
        return f"<g4v.RemoteGenerator {self._url}>"

    def __call__(self, job: VideoJob) -> tuple[npt.NDArray[np.uint8], float]:
        """Makes one video: frames, uint8 [T, H, W, 3] in RGB, and frames per second.

        Raises:
            GeneratorError: the server cannot be reached, refuses, fails, takes too long, or sends no video.
            Cancelled: nobody wants the video any more.
        """
        with _remote_end.under_way():
            remote = self._remote(job)
            data = remote.make()
            return self._decoded(data, job, remote)

    def _remote(self, job: VideoJob) -> RemoteJob:
        from ._remote_job import RemoteJob

        return RemoteJob(
            self._address,
            self._key,
            self._model,
            self._context,
            job,
            until=time.monotonic() + self._timeout,
            seconds=self._timeout,
            most=self._most,
        )

    def _decoded(self, data: bytes, job: VideoJob, remote: Any) -> tuple[npt.NDArray[np.uint8], float]:
        from ._sampling import ASSUMED_RATE, EveryFrame
        from .errors import VideoError
        from .video import read_video

        if not data:
            raise GeneratorError(f"{remote.name} sent an empty file in place of the video; ask again")
        try:
            frames, read = read_video(data, EveryFrame(max_pixels=job.max_pixels), remote.stopped)
        except VideoError as error:
            raise GeneratorError(f"{remote.name} sent no video that can be used: {error}") from None
        if read.warnings:
            raise GeneratorError(f"{remote.name} sent a video that is not whole: {read.warnings[0]}")
        return frames, read.fps or ASSUMED_RATE


def generator_of(given: Any) -> Generator | None:
    """What `g4v.load` takes as a generator: a URL, a callable, or None. Raises `ArgumentError`."""
    if given is None or callable(given):
        return given  # type: ignore[no-any-return]
    if isinstance(given, str):
        return RemoteGenerator(given)
    raise ArgumentError(f"generator must be a URL or callable, not {type(given).__name__}")
