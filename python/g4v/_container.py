"""Opens a video file, chooses the track that is the film, and says why there is none."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

from ._forks import forks_wait
from .errors import VideoError

if TYPE_CHECKING:
    from av import VideoCodecContext
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_FRAME_PIXELS = 8192 * 8192
"""Larger frames are refused before they are decoded."""

# Demuxers of files that hold their own pictures. Playlists (hls, concat, dash) are left out because they make
# the reader open other files or the network, and tty because it turns any text into a film. Sound formats are
# in, so that a song is refused for what it is.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h263,h264,hevc,vvc,av1,obu,ivf,flv,"
    "asf,ogg,nut,mxf,dv,rm,wtv,yuv4mpegpipe,gif,apng,mjpeg,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,"
    "mp3,wav,flac,aac,aiff,caf,w64,ac3,eac3,amr,tta,wv"
)

# Decoders of FFmpeg that also read the alpha channel that WebM stores beside each frame; the usual ones leave
# it out in silence.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def open_container(file: IO[bytes], name: str) -> tuple[InputContainer, VideoStream]:
    """The container, from its first byte on, and the film in it, with its decoder set up. `VideoError`."""
    try:
        import av
    except ImportError as error:
        raise VideoError(f"PyAV cannot be loaded ({error}); install it with: pip install av") from None

    file.seek(0)
    options = {"format_whitelist": _FORMATS}
    # A title that is no UTF-8 is no fault of the film. PyAV 19 has no such option any more.
    titles: dict[str, Any] = (
        {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "ignore"}
    )
    try:
        with forks_wait:
            container = av.open(file, mode="r", options=options, buffer_size=1 << 16, **titles)
    except av.error.EOFError:
        raise VideoError(f"{name} has no frames: it ends before the first one; pass another file") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{name} cannot be opened as a video: it is no video file, or it was cut off before its index "
            f"({reason_of(error)}); pass a file that a player can show"
        ) from None
    try:
        return container, _prepared(_film(container, name), name)
    except BaseException:
        container.close()
        raise


def reason_of(error: BaseException) -> str:
    """What an exception of FFmpeg or of the system says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def _film(container: InputContainer, name: str) -> VideoStream:
    """The track that a player shows: one that is marked as default, else the largest.

    Covers, thumbnails on a time line, and tracks that only complete another are stored as video too, and are
    none. A track without a decoder is taken only where it alone is marked, or where there is no other.
    """
    from av.stream import Disposition

    aside = Disposition.attached_pic | Disposition.timed_thumbnails | getattr(Disposition, "dependent", 0)
    streams = [s for s in container.streams.video if not s.disposition & aside]
    if not streams:
        if container.streams.audio:
            raise VideoError(f"{name} holds sound but no picture that moves; pass a file with a video track")
        raise VideoError(f"{name} has no video track and so not one frame; pass another file")
    marked = [s for s in streams if s.disposition & Disposition.default]
    return max(marked or streams, key=_pixels)  # the first of several as large


def _pixels(stream: VideoStream) -> int:
    context = stream.codec_context
    return -1 if context is None else int(context.width * context.height)


def _prepared(stream: VideoStream, name: str) -> VideoStream:
    context = stream.codec_context
    if context is None:
        raise VideoError(
            f"{name} can be opened, but its video track is coded in a way that this FFmpeg has no decoder "
            "for; convert it to H.264"
        )
    if context.width * context.height > MAX_FRAME_PIXELS:
        raise VideoError(
            f"{name} has frames of {context.width} x {context.height} pixels; at most 8192 x 8192 are read"
        )
    _limit(context)
    return stream


def _limit(context: VideoCodecContext) -> None:
    # The header may lie about the size; the decoder holds to the same limit.
    context.options = {**(context.options or {}), "max_pixels": str(MAX_FRAME_PIXELS)}
    context.thread_type = "AUTO"
    # More threads hold more frames at once and gain little for so few frames.
    context.thread_count = min(4, os.cpu_count() or 1)


def decoder_of(stream: VideoStream, name: str) -> VideoCodecContext:
    """The decoder of a track: its own, or one that also reads an alpha channel that is stored apart.

    VideoError: there is such a channel, and no decoder for it.
    """
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") != "1" or context.name not in _WITH_ALPHA:
        return context
    import av

    wanted = _WITH_ALPHA[context.name]
    try:
        decoder: Any = av.CodecContext.create(wanted, "r")
    except (av.FFmpegError, ValueError):
        raise VideoError(
            f"{name} has transparent pixels, and this PyAV lacks the decoder for them ({wanted}); convert it "
            "to H.264 over a background"
        ) from None
    decoder.extradata = context.extradata
    _limit(decoder)
    return decoder  # type: ignore[no-any-return]


def nothing_decodes(name: str, decoder: VideoCodecContext, fault: str) -> VideoError:
    """The error of a file that opens, and of which no frame decodes. fault: of the first packet, or ""."""
    found = f"{name} can be opened, but has no frame that decodes as {decoder.codec.name}"
    if not fault:
        return VideoError(f"{found}: it is empty or damaged; get it again")
    return VideoError(
        f"{found} ({fault}): it is damaged, or this FFmpeg lacks a part of the format; get it again, or "
        "convert it to H.264"
    )


def undecodable_tracks(container: InputContainer) -> int:
    """Number of video tracks that this FFmpeg has no decoder for."""
    return sum(stream.codec_context is None for stream in container.streams.video)


def is_encrypted(packet: Any) -> bool:
    """Whether a packet is encrypted, as files for sale are: its decoder would only find it damaged."""
    try:
        return bool(packet.has_sidedata("encryption_info"))
    except ValueError:  # a PyAV that does not know this kind
        return False
