"""What a generator is called with."""

from __future__ import annotations

from typing import Protocol


class VideoJob(Protocol):
    """A video that a generator is asked for.

    Attributes:
        caption: what the video shall show.
        seed: the same seed shall make the same video, where the generator can do that.
        max_pixels: frames x height x width that the video may have; 0 for any number.
        frames: number of frames; here and below None leaves it to the generator.
        width: in pixels.
        height: in pixels.
        fps: frames per second.
        steps: denoising steps.
        guidance_scale: of classifier-free guidance, 0 to 100.
        negative_prompt: text that the video is guided away from.
        cancelled: nobody waits for the video any more; return soon, with any exception.
    """

    @property
    def caption(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def frames(self) -> int | None: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def guidance_scale(self) -> float | None: ...
    @property
    def negative_prompt(self) -> str | None: ...
    @property
    def cancelled(self) -> bool: ...

    def progress(self, step: int, steps: int) -> None:
        """Tells those who wait that `step` of `steps` are done. ArgumentError unless 0 <= step <= steps."""

    def wait(self, seconds: float) -> bool:
        """Waits until `cancelled` is True, at most so long; returns `cancelled`."""
