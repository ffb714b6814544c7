"""Reading sampled frames out of every kind of video."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tracemalloc

import av
import numpy as np
import pytest

from g4v import _decode
from g4v.errors import ArgumentError, Cancelled, VideoError
from g4v.video import chosen_frames, read_video, sample_frames

from .video_samples import (
    gray_frames,
    level,
    real_video,
    write_audio,
    write_long_video,
    write_video,
)


def levels(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean())) for frame in frames]


def assert_sampled(frames: np.ndarray, count: int, tolerance: int = 2) -> None:
    """The frames are those that the rule picks of `count` gray frames."""
    wanted = [level(k) for k in chosen_frames(count, len(frames))]
    assert np.abs(np.subtract(levels(frames), wanted)).max() <= tolerance


def test_the_rule_of_the_spec():
    assert sample_frames(250, 8) == [15, 46, 77, 108, 139, 171, 202, 233]
    assert sample_frames(1, 8) == [0] * 8
    assert sample_frames(3, 8) == [0, 0, 0, 1, 1, 1, 2, 2]
    # step 4.5: ties round to even
    assert sample_frames(37, 8) == [2, 6, 11, 16, 20, 24, 29, 34]
    with pytest.raises(VideoError, match="no frames"):
        sample_frames(0, 8)
    with pytest.raises(ArgumentError, match="at least 1"):
        sample_frames(5, 0)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "container"),
    [
        ("mp4", "libx264", "yuv420p", None),
        ("mp4", "libx264", "yuv420p10le", None),
        ("mkv", "ffv1", "yuv420p", None),
        ("webm", "libvpx-vp9", "yuv420p", None),
        ("webm", "libvpx", "yuv420p", None),
        ("avi", "mpeg4", "yuv420p", None),
        ("avi", "mjpeg", "yuvj420p", None),
        ("ts", "mpeg2video", "yuv420p", "mpegts"),
        ("264", "libx264", "yuv420p", "h264"),
        ("gif", "gif", "gray", None),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 41])
def test_containers_and_codecs(tmp_path, suffix, codec, pixels, container, count):
    if container == "mpegts" and count == 2:
        count = 20  # FFmpeg does not recognise a transport stream of less than five packets
    path = write_video(tmp_path / f"clip.{suffix}", gray_frames(count), codec, pixels, container)
    frames, info = read_video(path)
    assert frames.dtype == np.uint8 and frames.shape == (8, 48, 64, 3)
    assert info.frame_count == count and info.warnings == ()
    assert_sampled(frames, count, tolerance=6)


def test_path_bytes_file_and_pipe_give_the_same(tmp_path):
    path = write_video(tmp_path / "clip.mp4", gray_frames(20))
    frames, info = read_video(str(path))
    assert info.name == str(path)
    data = path.read_bytes()
    for source in (path, data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert (read_video(source)[0] == frames).all()
    reader, writer = os.pipe()
    child = subprocess.Popen(["cat", str(path)], stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert (read_video(pipe)[0] == frames).all()
    assert child.wait() == 0


def test_a_video_of_as_many_frames_as_are_sampled_is_taken_whole(tmp_path):
    assert chosen_frames(8, 8) == list(range(8))
    video = np.stack(gray_frames(8))
    assert (read_video(video)[0] == video).all()
    path = write_video(tmp_path / "clip.mkv", list(video), "ffv1", "bgr0")
    assert (read_video(path)[0] == video).all()


def test_arrays():
    video = np.stack(gray_frames(30))
    frames, info = read_video(video)
    assert_sampled(frames, 30, tolerance=0)
    assert info.frame_count == 30
    for bad, message in [
        (video.astype(np.float32), "dtype float32"),
        (video[0], r"\[48, 64, 3\].*array\[None\]"),
        (video[..., :1], r"must be \[T, H, W, 3\]"),
        (video[:0], "empty"),
    ]:
        with pytest.raises(VideoError, match=message):
            read_video(bad)
    with pytest.raises(ArgumentError, match="not int"):
        read_video(3)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (17, 128)])
def test_odd_sizes(tmp_path, size):
    path = write_video(tmp_path / "odd.mkv", gray_frames(9, *size), "ffv1", "bgr0")
    frames, _ = read_video(path)
    assert frames.shape == (8, *size, 3)
    assert_sampled(frames, 9, tolerance=0)


def test_variable_frame_rate_counts_frames_not_seconds(tmp_path):
    # Twenty frames in the first second, twenty more over the next minute.
    times = [50 * k for k in range(20)] + [1000 + 3000 * k for k in range(20)]
    path = write_video(tmp_path / "vfr.mp4", gray_frames(40), times=times)
    frames, info = read_video(path)
    assert info.frame_count == 40
    assert_sampled(frames, 40)


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_rotation(tmp_path, rotation):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[24:, 32:] = (250, 0, 0), (0, 0, 250)
    path = write_video(tmp_path / "turned.mp4", [image] * 3, rotation=rotation)
    frames, _ = read_video(path)
    expected = np.rot90(image, rotation // 90)
    assert frames.shape[1:] == expected.shape
    inner = np.abs(frames[0].astype(int) - expected)[4:20, 4:20]
    assert inner.max() < 12


def test_alpha_lies_over_black(tmp_path):
    image = np.full((32, 32, 4), 200, np.uint8)
    image[:16, :, 3], image[16:, :, 3] = 0, 128
    path = write_video(tmp_path / "alpha.mov", [image] * 2, "png", "rgba")
    frames, _ = read_video(path)
    assert frames.shape == (8, 32, 32, 3)
    assert (frames[:, :16] == 0).all() and (frames[:, 16:] == 100).all()


def test_the_colour_matrix_of_the_file_is_used(tmp_path):
    image = np.empty((32, 32, 3), np.uint8)
    image[:] = (200, 30, 60)
    for matrix in (1, 5):  # BT.709, BT.601
        path = tmp_path / f"{matrix}.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=5, options={"crf": "1"})
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv444p"
            stream.codec_context.colorspace = matrix
            picture = av.VideoFrame.from_ndarray(image).reformat(format="yuv444p", dst_colorspace=matrix)
            output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        assert np.abs(read_video(path)[0].astype(int) - image).max() <= 3


@pytest.mark.slow
def test_frames_above_4k_are_reduced(tmp_path):
    path = write_video(tmp_path / "8k.mp4", gray_frames(1, 4320, 7680), options={"preset": "ultrafast"})
    frames, _ = read_video(path, frames=1)
    height, width = frames.shape[1:3]
    assert height * width <= 4096 * 2304 and abs(width / height - 16 / 9) < 0.01
    assert_sampled(frames, 1)


@pytest.mark.slow
def test_two_hours_are_sampled_without_decoding_or_holding_them(tmp_path, monkeypatch):
    path = write_long_video(tmp_path / "long.mp4", seconds=7200)
    decoded = 0
    decode_packet = _decode.Reader._decode_packet

    def counted(self, packet):
        nonlocal decoded
        decoded += 1
        return decode_packet(self, packet)

    monkeypatch.setattr(_decode.Reader, "_decode_packet", counted)
    tracemalloc.start()
    frames, info = read_video(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert info.frame_count == 180_000
    wanted = [level(k // 50 % 10) for k in info.indices]
    assert np.abs(np.subtract(levels(frames), wanted)).max() <= 2
    assert decoded < 8 * 60
    # Eight frames of 9 KiB and a few words for each of the 180,000 times; the frames alone would be 1.6 GB.
    assert peak < 16 << 20

    # A file too large to be scanned is sampled by time alone; at a constant rate that is the same.
    monkeypatch.setattr(_decode, "SCAN_LIMIT", 1000)
    scanned = frames
    frames, by_time = read_video(path)
    assert (frames == scanned).all() and by_time.indices == info.indices


def test_seeking_and_reading_through_agree(tmp_path, monkeypatch):
    settings = {"g": "10", "keyint_min": "10", "sc_threshold": "0", "bf": "3"}
    path = write_video(tmp_path / "clip.mp4", gray_frames(300), options=settings)
    by_seeking, _ = read_video(path)
    assert_sampled(by_seeking, 300)
    monkeypatch.setattr(_decode, "_decoded_by_seeking", lambda times, keys, indices: len(times))
    assert (read_video(path)[0] == by_seeking).all()


@pytest.mark.parametrize(
    "name",
    [
        "bikes.mp4",
        pytest.param("bigbuckbunny.mp4", marks=pytest.mark.slow),
        "carphone_pristine.mp4",
        "cityCC0.mpg",
    ],
)
def test_real_files(name):
    path = real_video(name)
    frames, info = read_video(path)
    with av.open(str(path)) as container:
        every = list(container.decode(video=0))
    assert info.frame_count == len(every) and info.warnings == ()
    for frame, index in zip(frames, info.indices, strict=True):
        assert (frame == every[index].to_ndarray(format="rgb24")).all()


@pytest.mark.parametrize("part", [0.9, 0.7, 0.4])
@pytest.mark.parametrize("noise", [False, True])
def test_truncated_file_is_read_as_far_as_it_goes(tmp_path, part, noise):
    rng = np.random.default_rng(0)
    frames = (
        [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(60)] if noise else gray_frames(60)
    )
    data = write_video(tmp_path / "clip.mp4", frames, options={"bf": "0", "g": "2"}).read_bytes()
    start = data.index(b"mdat")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: start + int((len(data) - start) * part)])
    frames, info = read_video(cut)
    assert 0 < info.frame_count < 60
    assert info.warnings == (
        f"{cut} is damaged or cut off: {info.frame_count} of 60 frames decode, and the answer is about those",
    )
    if not noise:
        assert_sampled(frames, info.frame_count, tolerance=4)


def test_nothing_of_a_truncated_file_decodes(tmp_path):
    data = write_video(tmp_path / "clip.mp4", gray_frames(30)).read_bytes()
    for end in (data.index(b"mdat") + 8, data.index(b"mdat") + 40):
        with pytest.raises(VideoError, match="has no frame that decodes"):
            read_video(data[:end])
    late_index = write_video(tmp_path / "late.mp4", gray_frames(30), index_first=False).read_bytes()
    with pytest.raises(VideoError, match="cannot be opened as a video.*cut off before its index"):
        read_video(late_index[: len(late_index) // 2])


def test_flipped_bytes_never_crash(tmp_path):
    data = bytearray(write_video(tmp_path / "clip.mp4", gray_frames(30)).read_bytes())
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 12):
            broken[place] = rng.integers(0, 256)
        try:
            frames, info = read_video(bytes(broken))
            assert len(frames) == 8 and info.frame_count > 0
        except VideoError as error:
            assert str(error) and "\n" not in str(error)


def test_what_is_no_video(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    empty = tmp_path / "empty.mp4"
    empty.touch()
    text = tmp_path / "text.mp4"
    text.write_text("hello\n" * 1000)
    page = tmp_path / "page.mp4"
    page.write_text("<!doctype html><html><body>404</body></html>")
    playlist = tmp_path / "list.m3u8"
    clip = write_video(tmp_path / "clip.mp4", gray_frames(3))
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{clip}\n#EXT-X-ENDLIST\n")
    sound = write_audio(tmp_path / "sound.mp4")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in [
        (tmp_path / "missing.mp4", "missing.mp4: no such file; check the path"),
        (folder, "folder is a directory; pass a video file"),
        (empty, r"empty.mp4 is empty \(0 bytes\)"),
        (text, "text.mp4 cannot be opened as a video"),
        (page, "page.mp4 cannot be opened as a video"),
        (playlist, "list.m3u8 cannot be opened as a video"),
        (sound, "sound.mp4 holds sound but no picture"),
        (fifo, "fifo is not a regular file"),
        ("", "'': no such file"),
        ("http://example.com/a.mp4", "no such file"),
        ("bad\0name.mp4", "cannot be read"),
    ]:
        with pytest.raises(VideoError, match=message) as caught:
            read_video(path)
        assert "\n" not in str(caught.value)
    with open(clip, errors="replace") as wrong_mode, pytest.raises(VideoError, match="text mode"):
        read_video(wrong_mode)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi"])
def test_a_video_track_without_frames(tmp_path, suffix):
    path = tmp_path / f"none.{suffix}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    with pytest.raises(VideoError, match=f"none.{suffix} (can be opened, but )?has no"):
        read_video(path)


def test_a_cover_picture_is_no_video(tmp_path):
    sound = write_audio(tmp_path / "sound.mp4")
    path = tmp_path / "song.mp4"
    with av.open(str(sound)) as source, av.open(str(path), "w") as output:
        track = source.streams.audio[0]
        copy = output.add_stream_from_template(track)
        cover = output.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame.from_ndarray(gray_frames(1, 32, 32)[0])))
        output.mux(cover.encode(None))
        for packet in source.demux(track):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    with pytest.raises(VideoError, match="sound but no picture"):
        read_video(path)


def test_reading_can_be_cancelled(tmp_path):
    path = write_video(tmp_path / "clip.mp4", gray_frames(30))
    answers = iter([False] * 5 + [True] * 100)
    with pytest.raises(Cancelled):
        read_video(path, cancelled=lambda: next(answers))


def test_nothing_is_printed(tmp_path):
    data = write_video(tmp_path / "clip.mp4", gray_frames(30), options={"g": "2"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 3 // 4])
    script = (
        "import sys; from g4v.video import read_video; from g4v._encode import save_video\n"
        "frames, info = read_video(sys.argv[1]); save_video(sys.argv[2], frames, 8)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, cut, tmp_path / "out.mp4"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
