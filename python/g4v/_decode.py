"""Decodes the sampled frames of one video file, by seeking or by reading it through.

python/g4v/video.py documents the result, _container.py opens the file.
"""

from __future__ import annotations

import operator
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._container import decoder_of, is_encrypted, nothing_decodes, reason_of, undecodable_tracks
from ._forks import forks_wait
from ._pixels import Frames, RgbConverter
from ._sampling import FrameSampling, VideoInfo
from .errors import Cancelled, VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SCAN_LIMIT = 256 << 20
"""Files up to this many bytes are scanned for the exact time of every frame (no decoding)."""


class Reader:
    """One reading of one file of `size` bytes; `open_file` opens it anew from its first byte."""

    def __init__(
        self,
        open_file: Callable[[], tuple[InputContainer, VideoStream]],
        name: str,
        size: int,
        sampling: FrameSampling,
        cancelled: Callable[[], bool] | None = None,
        span: tuple[float, float | None] | None = None,
        max_decoded_bytes: int = 0,
    ) -> None:
        self._open_file = open_file
        self._container, self._stream = open_file()
        self._decoder = decoder_of(self._stream, name)
        self._untouched = True
        self._fault = ""  # of the first packet that did not decode
        self._unordered = False  # the times of the frames do not tell their order
        self._name, self._size, self._sampling = name, size, sampling
        self._taken = 0  # frames to take
        self._cancelled = cancelled or (lambda: False)
        self._span = span
        self._max_decoded_bytes = max_decoded_bytes
        self._damaged = 0
        self._frames: Frames | None = None
        self._to_rgb = RgbConverter()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def read(self) -> tuple[Frames, VideoInfo]:
        """The sampled frames, uint8 [T, H, W, 3]. Raises `VideoError` where not one frame decodes."""
        if self._span is not None:
            return self._read_span(*self._span)
        if self._size > SCAN_LIMIT and (found := self._read_evenly_in_time()):
            return found
        times, keys, packets = self._scan()
        cut = self._damaged > 0 or self._stream.frames > packets
        if len(times):
            indices = self._choose(len(times))
            # Both ways give the same frames of a sound file; reading through also survives wrong times.
            if 2 * _decoded_by_seeking(times, keys, indices) < len(times):
                if self._take_at([times[i] for i in indices], keys):
                    return self._result(len(times), indices, cut)
        return self._read_through(max(len(times) or packets, 1), cut)

    def _result(self, count: int, indices: Sequence[int], cut: bool) -> tuple[Frames, VideoInfo]:
        if self._frames is None:
            raise nothing_decodes(self._name, self._decoder, self._fault)
        warnings = []
        if tracks := undecodable_tracks(self._container):
            what = f"{tracks} video tracks" if tracks > 1 else "a video track"
            warnings.append(f"{self._name} has {what} more, which this FFmpeg has no decoder for")
        if cut or self._damaged:
            declared = self._stream.frames
            of = f"{count} of {declared}" if declared > count else f"{count}"
            warnings.append(
                f"{self._name} is damaged or cut off: {of} frames decode, and the answer is about those"
            )
        return self._frames, VideoInfo(self._name, count, tuple(indices), self._rate(), tuple(warnings))

    def _rate(self) -> float | None:
        """Frames per second on average; None where the file does not say it."""
        rate = self._stream.average_rate
        return float(rate) if rate else None

    def _choose(self, count: int) -> list[int]:
        """The indices of the frames to take of `count`."""
        indices = self._sampling.choose(count, self._rate())
        self._taken = len(indices)
        return indices

    def _read_span(self, start: float, end: float | None) -> tuple[Frames, VideoInfo]:
        """The frames that are shown between two times, in seconds after the first one."""
        times, keys, _ = self._scan()
        base = float(self._stream.time_base or 0)
        if not len(times) or not base:
            why = "has times that go back" if self._unordered else "does not say when its frames are shown"
            raise VideoError(f"{self._name} {why}, and a part of it was asked for; convert it to mp4")
        # Half a tick of tolerance: the times of a data file are decimal fractions.
        first = bisect_left(times, times[0] + start / base - 0.5)
        last = len(times) if end is None else bisect_right(times, times[0] + end / base + 0.5)
        if first >= last:
            until = "its end" if end is None else f"{end:g} s"
            seconds = (times[-1] - times[0]) * base
            raise VideoError(
                f"{self._name} has no frame between {start:g} s and {until}: its last is at {seconds:g} s"
            )
        indices = [first + place for place in self._choose(last - first)]
        if not self._take_at([times[index] for index in indices], keys):
            raise VideoError(f"{self._name} cannot be decoded between the times asked for; it is damaged")
        return self._result(len(times), indices, cut=False)

    # Reading every frame.

    def _read_through(self, expected: int, cut: bool) -> tuple[Frames, VideoInfo]:
        """Decodes the whole file and keeps the sampled frames; again where the count was not as expected."""
        for _ in range(3):
            indices = self._choose(expected)
            self._frames, self._damaged, decoded = None, 0, 0
            for frame in self._decode(None):
                self._keep(frame, [k for k, index in enumerate(indices) if index == decoded])
                decoded += 1
            if decoded == 0:
                raise nothing_decodes(self._name, self._decoder, self._fault)
            if decoded == expected:
                return self._result(decoded, indices, cut)
            expected = decoded
        raise VideoError(f"{self._name} decodes to another number of frames each time; convert it to mp4")

    # Reading by seeking.

    def _scan(self) -> tuple[array[int], array[int], int]:
        """Sorted presentation times of all frames and of the key frames, and the number of packets.

        No times where the file does not carry one for every frame, or where they start anew in the middle, as
        in files that were appended to each other: the frames are then read in their order in the file.
        """
        times, keys, packets, timed = array("q"), array("q"), 0, True
        decoded_at = None
        for packet in self._packets(None):
            packets += 1
            # An edit list tells the player to decode these frames and not to show them.
            if packet.is_discard:
                continue
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None:
                timed = False
                continue
            times.append(time)
            if packet.is_keyframe:
                keys.append(time)
            if packet.dts is not None:
                self._unordered |= decoded_at is not None and packet.dts < decoded_at
                decoded_at = packet.dts
        times = array("q", sorted(times))
        self._unordered |= any(map(operator.eq, times, times[1:]))
        if not timed or self._unordered:
            return array("q"), array("q"), packets
        return times, array("q", sorted(keys)), packets

    def _read_evenly_in_time(self) -> tuple[Frames, VideoInfo] | None:
        """Reads frames that are evenly spaced in time, of a file too large to scan. None where the file does
        not hold what its header says.
        """
        stream, base = self._stream, self._stream.time_base
        if not base or not stream.average_rate:
            return None
        if stream.duration:
            seconds = float(stream.duration * base)
        else:
            seconds = (self._container.duration or 0) / 1e6
        count = stream.frames or round(seconds * float(stream.average_rate))
        if count < 1 or seconds <= 0:
            return None
        indices = self._choose(count)
        # Half a frame early: the computed time may fall a rounding error after the frame that it means.
        start, per_frame = stream.start_time or 0, seconds / float(base) / count
        targets = [start + int(per_frame * (index - 0.5)) for index in indices]
        # A frame that is much later than its place means a gap in the times; half a frame where it is sound.
        late = int(seconds / float(base) / (2 * self._taken))
        return self._result(count, indices, cut=False) if self._take_at(targets, None, late) else None

    def _take_at(self, targets: Sequence[int], keys: array[int] | None, late: int | None = None) -> bool:
        """Keeps the first frame not before each of the ascending times; False where one is missing.

        late: False also where a frame is later than its time by more than this, in units of the time base.
        """
        self._frames, self._damaged = None, 0
        frame: VideoFrame | None = None
        decoder: Iterator[VideoFrame] = iter(())
        for place, target in enumerate(targets):
            key = keys[max(bisect_right(keys, target) - 1, 0)] if keys else target
            if frame is None or (frame.pts is not None and frame.pts < key):
                decoder, frame = self._decode_before(target, key)
            while frame is not None and frame.pts is not None and frame.pts < target:
                frame = next(decoder, None)
            if frame is None or frame.pts is None:
                return False
            if late is not None and frame.pts > target + late:
                return False
            self._keep(frame, [place])
        return True

    def _decode_before(self, target: int, key: int) -> tuple[Iterator[VideoFrame], VideoFrame | None]:
        """A decoder and its first frame, which is not after the target where the file has such a frame.

        Some containers index key frames by decoding time, which is before the presentation time; a seek may
        then land one key frame too late and is repeated from earlier places.
        """
        base = float(self._stream.time_base or 1)
        for seconds in (0.0, 2.0, 10.0, 60.0, None):
            decoder = self._decode(None if seconds is None else key - int(seconds / base))
            frame = next(decoder, None)
            if frame is not None and frame.pts is not None and frame.pts <= target:
                break
        return decoder, frame

    # Packets and frames.

    def _packets(self, start: int | None) -> Iterator[Packet[VideoStream]]:
        """The stream's packets from the key frame before a time, or from the beginning of the file."""
        import av

        try:
            if start is not None:
                self._container.seek(start, stream=self._stream, backward=True)
                self._decoder.flush_buffers()
            elif not self._untouched:
                # A seek to the start is not exact in every container, a new opening is.
                self._container.close()
                self._container, self._stream = self._open_file()
                self._decoder = decoder_of(self._stream, self._name)
            self._untouched = False
            for packet in self._container.demux(self._stream):
                if self._cancelled():
                    raise Cancelled("cancelled while the video was read")
                # A packet that the end of the file cuts is not worth decoding: it would show half a picture.
                if packet.is_corrupt:
                    self._damaged += 1
                elif packet.size:
                    if is_encrypted(packet):
                        raise VideoError(f"{self._name} is encrypted; pass a copy without protection")
                    yield packet
        except (av.FFmpegError, OSError):
            self._damaged += 1

    def _decode(self, start: int | None) -> Iterator[VideoFrame]:
        """Frames in the order of presentation; what does not decode is counted and left out."""
        for packet in self._packets(start):
            yield from self._decode_packet(packet)
        yield from self._decode_packet(None)

    def _decode_packet(self, packet: Packet[VideoStream] | None) -> Iterator[VideoFrame]:
        import av

        try:
            with forks_wait:
                frames = self._decoder.decode(packet)
        except (av.FFmpegError, EOFError) as error:
            self._damaged += packet is not None
            self._fault = self._fault or reason_of(error)
            return
        for frame in frames:
            if frame.is_corrupt:
                self._damaged += 1
            else:
                yield frame

    def _keep(self, frame: VideoFrame, places: Sequence[int]) -> None:
        if not places:
            return
        size = None if self._frames is None else self._frames.shape[1:3]
        try:
            with forks_wait:
                image = self._to_rgb(frame, size)
        except (OSError, ValueError) as error:  # FFmpeg's own are among them
            colours = f"{frame.format.name}, colour matrix {int(frame.colorspace)}"
            raise VideoError(
                f"{self._name} has pixels ({colours}) of which no RGB can be made ({reason_of(error)}); "
                "convert it to H.264"
            ) from None
        if self._frames is None:
            shape = (self._taken, *image.shape)
            self._sampling.check(self._name, shape, self._max_decoded_bytes)
            self._frames = np.empty(shape, np.uint8)
        for place in places:
            self._frames[place] = image


def _decoded_by_seeking(times: array[int], keys: array[int], indices: Sequence[int]) -> int:
    """How many frames are decoded to reach all of the indices from the key frames before them."""
    decoded, position = 0, -1
    for index in indices:
        key = bisect_left(times, keys[max(bisect_right(keys, times[index]) - 1, 0)]) if keys else 0
        decoded += max(index - max(position, key - 1), 0)
        position = max(position, index)
    return decoded
