"""Colour families of the shapes world, read from measured RGB values.

The families are bands of hue, saturation and value instead of reference colours, because every word
stands for a range of shades. The limits lie half way between neighbouring families as people use the
words.
"""

from __future__ import annotations

import colorsys

import numpy as np

# (family, first hue, last hue) in degrees; 172 to 190 (cyan) belongs to nobody.
_HUES = (
    ("red", -25.0, 16.0),
    ("orange", 16.0, 43.0),
    ("yellow", 43.0, 72.0),
    ("green", 72.0, 172.0),
    ("blue", 190.0, 256.0),
    ("purple", 256.0, 335.0),
)
_WHITE_SATURATION = 0.25  # below: no hue to speak of
_WHITE_VALUE = 165.0  # below: gray, which is no object's colour
_DARKEST = 75.0  # a darker object has no nameable colour
_BROWN = 140.0  # orange below this value is brown


def object_colour(rgb: np.ndarray) -> tuple[str | None, float]:
    """Family of an object's colour [3] (0..255) and a confidence 0..1; None when no word of the world
    fits.
    """
    red, green, blue = (float(np.clip(v, 0, 255)) for v in rgb)
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < _DARKEST:
        return None, 0.0
    if saturation < _WHITE_SATURATION:
        if value < _WHITE_VALUE:
            return None, 0.0
        return "white", min(1.0, (_WHITE_SATURATION - saturation) / 0.1, (value - _WHITE_VALUE) / 25.0)
    degrees = hue * 360.0
    if degrees >= 335.0:
        degrees -= 360.0
    for family, first, last in _HUES:
        if first <= degrees < last:
            if family == "orange" and value < _BROWN:
                return None, 0.0
            margin = min(degrees - first, last - degrees) / 6.0
            return family, float(min(1.0, margin, (saturation - _WHITE_SATURATION) / 0.1))
    return None, 0.0


def background_colour(rgb: np.ndarray) -> str | None:
    """Family of a background's colour [3] (0..255): black, gray, navy or None."""
    red, green, blue = (float(v) for v in rgb)
    value = max(red, green, blue)
    chroma = value - min(red, green, blue)
    if blue - max(red, green) >= 24.0 and 40.0 <= value <= 170.0:
        return "navy"
    if chroma < 30.0 and value < 62.0:
        return "black"
    if chroma < 36.0 and 62.0 <= value < 195.0:
        return "gray"
    return None
