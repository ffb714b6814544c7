"""Contact sheets: all frames of several videos with their captions, as a PNG, with NumPy and zlib alone."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from g4v._files import write_bytes

# 5x8 letters, one byte a column from left to right, lowest bit on top. Text is drawn in lower case.
_FONT = {
    "a": "2054547840", "b": "7f28444438", "c": "3844444428", "d": "384444287f", "e": "3854545418",
    "f": "00087e0902", "g": "18a4a49c78", "h": "7f08040478", "i": "00447d4000", "j": "2040403d00",
    "k": "7f10284400", "l": "00417f4000", "m": "7c04780478", "n": "7c08040478", "o": "3844444438",
    "p": "fc18242418", "q": "18242418fc", "r": "7c08040408", "s": "4854545424", "t": "04043f4424",
    "u": "3c4040207c", "v": "1c2040201c", "w": "3c4030403c", "x": "4428102844", "y": "4c9090907c",
    "z": "4464544c44", "0": "3e5149453e", "1": "00427f4000", "2": "7249494946", "3": "2141494d33",
    "4": "1814127f10", "5": "2745454539", "6": "3c4a494931", "7": "4121110907", "8": "3649494936",
    "9": "464949291e", ".": "0060600000", ",": "0080703000", "-": "0808080808", ":": "0000140000",
    "/": "2010080402", "'": "0000070000", "(": "001c224100", ")": "0041221c00",
}  # fmt: skip
_ADVANCE, _LINE = 6, 10
_PAPER, _INK, _EDGE = 255, 40, 4


def _letters(text: str) -> np.ndarray:
    """The text as bool [8, 6 * len]; unknown characters are blank."""
    image = np.zeros((8, _ADVANCE * max(1, len(text))), bool)
    for i, letter in enumerate(text.lower()):
        for column, byte in enumerate(bytes.fromhex(_FONT.get(letter, ""))):
            image[:, i * _ADVANCE + column] = [byte >> bit & 1 for bit in range(8)]
    return image


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line[:width] for line in lines]


def _strip(caption: str, frames: np.ndarray, scale: int, gap: int) -> np.ndarray:
    """One video: caption above its frames side by side, uint8 [h, w, 3]."""
    large = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = large.shape
    total = count * width + (count - 1) * gap
    lines = _wrap(caption, max(1, total // _ADVANCE))
    image = np.full((len(lines) * _LINE + height, total, 3), _PAPER, np.uint8)
    for row, line in enumerate(lines):
        drawn = _letters(line)[:, :total]
        image[row * _LINE : row * _LINE + 8, : drawn.shape[1]][drawn] = _INK
    for i, frame in enumerate(large):
        image[len(lines) * _LINE :, i * (width + gap) : i * (width + gap) + width] = frame
    return image


def contact_sheet(
    videos: Sequence[tuple[str, np.ndarray]],
    path: str | os.PathLike[str],
    columns: int = 2,
    scale: int = 1,
    gap: int = 2,
) -> None:
    """Writes a PNG of (caption, frames uint8 [T, H, W, 3]) videos, `columns` next to each other.

    scale: screen pixels per pixel. gap: pixels between frames. Raises ValueError for no videos or frames of
    another kind and OSError where the file cannot be written; the file appears whole or not at all.
    """
    if not videos:
        raise ValueError("a contact sheet needs at least one video")
    for _, frames in videos:
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    strips = [_strip(caption, frames, scale, gap) for caption, frames in videos]
    rows = [strips[i : i + columns] for i in range(0, len(strips), columns)]
    cell = max(strip.shape[1] for strip in strips) + 4 * _EDGE
    heights = [max(strip.shape[0] for strip in row) + 2 * _EDGE for row in rows]
    sheet = np.full((sum(heights) + _EDGE, cell * min(columns, len(strips)), 3), _PAPER, np.uint8)
    top = _EDGE
    for row, height in zip(rows, heights, strict=True):
        for i, strip in enumerate(row):
            left = i * cell + 2 * _EDGE
            sheet[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
        top += height
    write_png(sheet, path)


def write_png(image: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Writes uint8 [H, W, 3] as an RGB PNG; the file appears whole or not at all. Raises OSError."""
    height, width, _ = image.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each line opens with its filter: none
    lines[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    write_bytes(path, data)
