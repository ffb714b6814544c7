"""Files with several tracks, odd times, odd pixels or no decoder: read right, or refused in one line."""

from __future__ import annotations

import io
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

import g4v
from g4v import _decode
from g4v.video import read_video

from .video_samples import gray_frames, level, write_audio, write_video

DEFAULT, COVER, THUMBNAILS = Disposition.default, Disposition.attached_pic, Disposition.timed_thumbnails
NONE = Disposition(0)


def gray(value: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def tracks(container: str, *wanted: tuple[int, int, Any], count: int = 20) -> bytes:
    """A file with one track for each (width, gray level, disposition)."""
    out = io.BytesIO()
    with av.open(out, "w", container) as output:
        streams = []
        for width, _, disposition in wanted:
            stream = output.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, width * 3 // 4, "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for _ in range(count):
            for stream, (_, value, _) in zip(streams, wanted, strict=True):
                picture = gray(value, stream.width, stream.height)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        for stream in streams:
            output.mux(stream.encode(None))
    return out.getvalue()


def encoded(
    container: str, codec: str, frames: list[np.ndarray], pixels: str = "yuv420p", **options: str
) -> bytes:
    """A file of RGB or RGBA frames, 10 in a second; options are the container's."""
    out = io.BytesIO()
    with av.open(out, "w", container, options=options) as output:
        stream = output.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for k, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgba" if frame.shape[2] == 4 else "rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 10)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return out.getvalue()


def levels(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean())) for frame in frames]


class TestWhichTrack:
    """The film, as players choose it: the track marked as default, else the largest; covers are none."""

    @pytest.mark.parametrize(
        ("wanted", "width"),
        [
            # A small preview before the film, which alone is marked.
            ([(64, 40, NONE), (320, 200, DEFAULT)], 320),
            ([(320, 40, NONE), (64, 200, DEFAULT)], 64),
            # Nothing is marked, or all of them.
            ([(64, 40, NONE), (320, 200, NONE)], 320),
            ([(64, 40, DEFAULT), (320, 200, DEFAULT), (128, 90, DEFAULT)], 320),
            ([(320, 200, NONE), (64, 40, NONE)], 320),
            # Of two as large, the first.
            ([(128, 200, NONE), (128, 40, NONE)], 128),
        ],
    )
    def test_default_else_the_largest(self, wanted, width):
        frames, _ = read_video(tracks("matroska", *wanted), 4)
        assert frames.shape[2] == width and abs(levels(frames)[0] - 200) < 4

    # Where no track is marked, mp4 marks the first.
    @pytest.mark.parametrize(
        ("container", "mark"), [("mpegts", NONE), ("avi", NONE), ("nut", NONE), ("mp4", DEFAULT)]
    )
    def test_in_other_containers(self, container, mark):
        frames, _ = read_video(tracks(container, (64, 40, mark), (320, 200, mark)), 4)
        assert frames.shape[2] == 320 and abs(levels(frames)[0] - 200) < 4

    def test_reading_again_from_the_start_keeps_the_track(self, monkeypatch):
        data = tracks("matroska", (64, 40, NONE), (320, 200, DEFAULT))
        for limit in (0, 1 << 30):  # evenly in time, and by a scan
            monkeypatch.setattr(_decode, "SCAN_LIMIT", limit)
            assert read_video(data, 4)[0].shape[2] == 320

    @pytest.mark.parametrize("disposition", [COVER, COVER | DEFAULT, THUMBNAILS])
    def test_covers_and_thumbnails_are_none(self, disposition):
        """As no container keeps all of these marks, they are set on the tracks that were opened."""
        from g4v import _container

        film = tracks("matroska", (320, 40, NONE), (64, 200, NONE))
        with av.open(io.BytesIO(film)) as container:
            first, second = container.streams.video

            marked = SimpleNamespace(disposition=disposition, codec_context=first.codec_context)
            opened: Any = SimpleNamespace(streams=SimpleNamespace(video=[marked, second], audio=[]))
            assert _container._film(opened, "x") is second
            opened.streams.video = [marked]
            with pytest.raises(g4v.VideoError, match="has no video track and so not one frame"):
                _container._film(opened, "x")

    def test_sound_with_a_cover(self, tmp_path):
        sound = write_audio(tmp_path / "sound.m4a")
        song = tmp_path / "song.mp4"
        with av.open(str(sound)) as source, av.open(str(song), "w") as output:
            copy = output.add_stream_from_template(source.streams.audio[0])
            cover = output.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
            cover.disposition = COVER
            output.mux(cover.encode(av.VideoFrame.from_ndarray(gray(90), "rgb24")))
            output.mux(cover.encode(None))
            for packet in source.demux(source.streams.audio[0]):
                if packet.size:
                    packet.stream = copy
                    output.mux(packet)
        with pytest.raises(
            g4v.VideoError, match="holds sound but no picture that moves; pass a file with a video"
        ):
            read_video(song, 4)


class TestNoDecoder:
    """Files that open and do not decode: the message says which of the two it is."""

    @pytest.mark.parametrize(
        ("container", "written", "changed"),
        [("avi", b"FMP4", b"ZZZZ"), ("matroska", b"V_MPEG4/ISO/ASP", b"V_XYZW4/ISO/ASP")],
    )
    def test_an_unknown_coding(self, container, written, changed):
        data = tracks(container, (64, 40, DEFAULT))
        assert written in data
        with pytest.raises(
            g4v.VideoError, match="can be opened, but its video track is .*no decoder for; convert it"
        ):
            read_video(data.replace(written, changed), 4)

    def test_beside_a_track_that_decodes(self):
        data = tracks("avi", (64, 40, NONE), (320, 200, NONE))
        place = data.index(b"FMP4", data.index(b"FMP4") + 4)  # the first track names it twice
        place = data.index(b"FMP4", place + 4)
        frames, info = read_video(data[:place] + data[place:].replace(b"FMP4", b"ZZZZ"), 4)
        assert frames.shape[2] == 64
        assert info.warnings == ("the video has a video track more, which this FFmpeg has no decoder for",)

    @pytest.mark.parametrize("container", ["mp4", "mov"])
    def test_encryption(self, container):
        protection = {
            "encryption_scheme": "cenc-aes-ctr", "encryption_key": "00" * 16, "encryption_kid": "11" * 16,
        }  # fmt: skip
        data = encoded(container, "libx264", [gray(level(k)) for k in range(20)], **protection)
        with pytest.raises(g4v.VideoError, match="is encrypted; pass a copy without protection"):
            read_video(data, 4)

    def test_packets_that_do_not_decode(self):
        data = bytearray(encoded("mp4", "libx264", [gray(level(k)) for k in range(20)]))
        start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
        data[start:end] = bytes(end - start)
        with pytest.raises(
            g4v.VideoError, match=r"can be opened, but has no frame that decodes as h264 \(Invalid"
        ):
            read_video(bytes(data), 4)

    @pytest.mark.parametrize("matrix", [8, 10, 14])  # YCgCo, BT.2020 constant luminance, ICtCp
    def test_colours_that_cannot_be_converted(self, matrix):
        with pytest.raises(g4v.VideoError, match=f"colour matrix {matrix}\\) of which no RGB can be made"):
            read_video(coloured(matrix, 1), 2)


def coloured(matrix: int, colour_range: int, sample: tuple[int, int, int] = (120, 90, 170)) -> bytes:
    """A lossless film whose Y, Cb and Cr are `sample` everywhere."""
    out = io.BytesIO()
    with av.open(out, "w", "matroska") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, colour_range
        for k in range(2):
            frame = av.VideoFrame(64, 48, "yuv444p")
            for plane, value in zip(frame.planes, sample, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.colorspace, frame.color_range, frame.pts = matrix, colour_range, k
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return out.getvalue()


class TestPixels:
    @pytest.mark.parametrize(
        ("matrix", "red", "blue"),
        [(1, 0.2126, 0.0722), (4, 0.30, 0.11), (5, 0.299, 0.114), (7, 0.212, 0.087), (9, 0.2627, 0.0593)],
    )
    @pytest.mark.parametrize("full", [False, True])
    def test_colours_by_the_formula(self, matrix, red, blue, full):
        """From ITU-R BT.2100, table 6 and 9: Y = kr R + kg G + kb B, and the two differences."""
        y, cb, cr = 120.0, 90.0, 170.0
        luma, chroma = (y / 255, 255.0) if full else ((y - 16) / 219, 224.0)
        r = luma + 2 * (1 - red) * (cr - 128) / chroma
        b = luma + 2 * (1 - blue) * (cb - 128) / chroma
        g = (luma - red * r - blue * b) / (1 - red - blue)
        frames, _ = read_video(coloured(matrix, 2 if full else 1), 2)
        np.testing.assert_allclose(frames[0, 0, 0], [255 * r, 255 * g, 255 * b], atol=1)

    @pytest.mark.parametrize(
        ("container", "codec", "pixels"),
        [
            ("mp4", "libx264", "yuv420p10le"),
            ("mov", "prores_ks", "yuv422p10le"),
            ("matroska", "ffv1", "yuv444p12le"),
            ("matroska", "ffv1", "rgb48le"),
            ("avi", "rawvideo", "uyvy422"),
        ],
    )
    def test_wide_and_packed_samples(self, container, codec, pixels):
        colour = np.full((48, 64, 3), (200, 40, 30), np.uint8)
        frames, _ = read_video(encoded(container, codec, [colour] * 4, pixels), 4)
        np.testing.assert_allclose(frames[:, 10:20, 10:20].mean((0, 1, 2)), (200, 40, 30), atol=4)

    @pytest.mark.parametrize(
        ("container", "codec", "pixels"),
        [
            ("webm", "libvpx-vp9", "yuva420p"),  # the alpha is a second picture beside each frame
            ("matroska", "libvpx-vp9", "yuva420p"),
            ("mov", "prores_ks", "yuva444p10le"),
            ("matroska", "ffv1", "yuva420p"),
            ("apng", "apng", "rgba"),
        ],
    )
    def test_alpha_lies_over_black(self, container, codec, pixels):
        clear = [np.dstack([gray(level(k)), np.full((48, 64), 128, np.uint8)]) for k in range(20)]
        data = encoded(container, codec, clear, pixels)
        frames, info = read_video(data, 4)
        np.testing.assert_allclose(levels(frames), [level(k) / 2 for k in info.indices], atol=3)
        if container in ("webm", "matroska"):  # the decoder is flushed by a seek
            part, info = read_video(data, 4, span=(0.5, 1.2))
            np.testing.assert_allclose(levels(part), [level(k) / 2 for k in info.indices], atol=3)

    def test_alpha_without_a_decoder_for_it_is_refused(self, monkeypatch):
        from g4v import _container

        monkeypatch.setattr(_container, "_WITH_ALPHA", {"vp9": "none-such"})
        clear = [np.dstack([gray(90), np.full((48, 64), 128, np.uint8)])] * 4
        with pytest.raises(
            g4v.VideoError, match="transparent pixels, and this PyAV lacks the decoder .*none-such"
        ):
            read_video(encoded("webm", "libvpx-vp9", clear, "yuva420p"), 4)

    @pytest.mark.parametrize("size", [(1, 64), (63, 3), (35, 33)])
    @pytest.mark.parametrize(
        ("container", "codec", "pixels"), [("matroska", "ffv1", "gbrp10le"), ("apng", "apng", "rgb24")]
    )
    def test_odd_sizes(self, size, container, codec, pixels):
        picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        frames, _ = read_video(encoded(container, codec, [picture] * 4, pixels), 4)
        np.testing.assert_allclose(frames[1], picture, atol=1)

    @pytest.mark.parametrize("order", ["tff", "bff"])
    def test_interlaced_frames_are_taken_as_they_are(self, tmp_path, order):
        options = {"x264-params": f"{order}=1:log-level=none"}
        path = write_video(tmp_path / "a.mkv", gray_frames(20), options=options)
        frames, info = read_video(path, 4)
        np.testing.assert_allclose(levels(frames), [level(k) for k in info.indices], atol=3)


class TestTimes:
    """Times that jump, go back or stand still: the frames are taken in their order all the same."""

    @pytest.mark.parametrize("codec", ["mpeg2video", "libx264", "mpeg4"])
    def test_files_that_were_appended_to_each_other(self, codec):
        first = encoded("mpegts", codec, [gray(40 + 4 * k) for k in range(20)])
        second = encoded("mpegts", codec, [gray(200)] * 20)
        frames, info = read_video(first + second, 4)
        # At the seam one frame may be lost, of which the warning tells.
        assert info.frame_count >= 38 and (info.frame_count == 40 or info.warnings)
        wanted = [40 + 4 * k if k < 19 else 200 for k in info.indices]
        np.testing.assert_allclose(levels(frames), wanted, atol=5)
        with pytest.raises(g4v.VideoError, match="has times that go back, and a part of it was asked for"):
            read_video(first + second, 4, span=(0.0, 1.0))

    @pytest.mark.parametrize("gap", [1_000, 10_000_000])
    @pytest.mark.parametrize("at", [1, 10, 19])
    def test_a_jump(self, tmp_path, gap, at, monkeypatch):
        times = [40 * k + (gap if k >= at else 0) for k in range(20)]
        path = write_video(tmp_path / "a.mkv", gray_frames(20), times=times)
        frames, info = read_video(path, 4)
        assert info.indices == (2, 7, 12, 16)
        np.testing.assert_allclose(levels(frames), [level(k) for k in info.indices], atol=3)

    def test_a_jump_in_a_file_that_is_too_large_to_scan_first(self, tmp_path, monkeypatch):
        """Evenly in time nearly all samples would be the one frame after the gap."""
        times = [40 * k + (10_000_000 if k >= 10 else 0) for k in range(20)]
        path = write_video(tmp_path / "a.mkv", gray_frames(20), times=times)
        monkeypatch.setattr(_decode, "SCAN_LIMIT", 0)
        frames, info = read_video(path, 4)
        assert info.indices == (2, 7, 12, 16)
        np.testing.assert_allclose(levels(frames), [level(k) for k in info.indices], atol=3)

    def test_frames_of_one_time(self, tmp_path):
        data = bytearray(encoded("avi", "mpeg4", [gray(level(k)) for k in range(20)]))
        assert read_video(bytes(data), 4)[1].indices == (2, 7, 12, 16)
        out = io.BytesIO()
        with av.open(io.BytesIO(bytes(data))) as source, av.open(out, "w", "matroska") as output:
            copy = output.add_stream_from_template(source.streams.video[0])
            for k, packet in enumerate(p for p in source.demux(video=0) if p.size):
                packet.pts = packet.dts = k // 2
                packet.time_base, packet.stream = Fraction(1, 10), copy
                output.mux(packet)
        frames, info = read_video(out.getvalue(), 4)
        assert info.frame_count == 20
        np.testing.assert_allclose(levels(frames), [level(k) for k in info.indices], atol=3)
