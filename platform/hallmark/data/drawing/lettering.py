"""Words as coverage masks, set letter by letter in the fonts that matplotlib carries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hallmark.data.drawing.shapes import Frame

FONTS = {
    "didone": "cmr10",
    "didone-bold": "cmb10",
    "didone-italic": "cmti10",
    "typewriter": "cmtt10",
    "roman": "STIXGeneral",
    "roman-bold": "STIXGeneralBol",
    "roman-italic": "STIXGeneralItalic",
    "slab": "DejaVuSerif",
    "slab-bold": "DejaVuSerif-Bold",
    "sans": "DejaVuSans",
    "sans-bold": "DejaVuSans-Bold",
    "mono": "DejaVuSansMono",
}
_FINE = 4


@dataclass(frozen=True)
class Lettering:
    """One line of lettering. Lengths in units (512 to the photograph's long side)."""

    text: str
    font: str
    cap: float
    """height of a capital"""
    spacing: float = 0.0
    """extra space between letters"""
    weight: float = 0.0
    """what the stroke is widened by; negative thins it"""
    glyph: int = 0
    """the letter that `glyph_scale`, `glyph_lift` and `cut` change"""
    glyph_scale: float = 1.0
    glyph_lift: float = 0.0
    cut: float = 0.0
    """share of the letter's left foot serif that is missing, 0 to 1"""


@lru_cache(maxsize=64)
def _font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{FONTS[name]}.ttf"), size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=32)
def _cap_share(name: str) -> float:
    box = _font(name, 400).getbbox("H", anchor="ls")
    return -box[1] / 400


def advances(line: Lettering, unit: float) -> np.ndarray:
    """Left edges of the letters and the end of the line, (N + 1,) px; `unit` is px in one unit."""
    font = _font(line.font, max(4, round(line.cap * unit / _cap_share(line.font))))
    widths = [font.getlength(letter) + line.spacing * unit for letter in line.text]
    return np.concatenate([[0.0], np.cumsum(widths)])


@lru_cache(maxsize=128)
def strip(line: Lettering, unit: float) -> np.ndarray:
    """The line on a strip of its own: (3·cap, width) float32 coverage; the baseline lies 2 caps below the top."""
    fine = unit * _FINE
    left = advances(line, fine)
    pad = round(line.cap * fine)
    height, width = round(3 * line.cap * fine), int(left[-1]) + 2 * pad
    height, width = height + -height % _FINE, width + -width % _FINE
    base = round(2 * line.cap * fine)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    size = max(4, round(line.cap * fine / _cap_share(line.font)))
    for k, letter in enumerate(line.text):
        x = pad + left[k]
        if k != line.glyph:
            draw.text((x, base), letter, fill=255, font=_font(line.font, size), anchor="ls")
            continue
        # A letter that is larger keeps its middle, so its neighbours stay where they are.
        font = _font(line.font, max(4, round(size * line.glyph_scale)))
        x += (_font(line.font, size).getlength(letter) - font.getlength(letter)) / 2
        draw.text((x, base - line.glyph_lift * fine), letter, fill=255, font=font, anchor="ls")
        if line.cut > 0:
            box = draw.textbbox((x, base), letter, font=font, anchor="ls")
            wide = 0.24 * (box[2] - box[0]) * min(1.0, line.cut)
            draw.rectangle((box[0] - 1, base - 0.16 * line.cap * fine, box[0] + wide, base + fine), fill=0)
    mask = np.asarray(canvas)
    if line.weight:
        mask = _widened(mask, line.weight * fine)
    return cv2.resize(mask, (width // _FINE, height // _FINE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _widened(mask: np.ndarray, by_px: float) -> np.ndarray:
    inside = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((mask <= 127).astype(np.uint8), cv2.DIST_L2, 5)
    return (np.clip(inside - outside + by_px + 0.5, 0, 1) * 255).astype(np.uint8)


def straight(
    line: Lettering, frame: Frame, centre: tuple[float, float], turn: float = 0.0, squeeze: float = 1.0
) -> np.ndarray:
    """The line centred on a point (the middle of its capitals), turned by `turn` radians clockwise."""
    letters = strip(line, frame.unit)
    middle = np.array([letters.shape[1] / 2, 1.5 * line.cap * frame.unit])
    if line.spacing:
        middle[0] -= line.spacing * frame.unit / 2
    turned = np.array([[np.cos(turn) * squeeze, -np.sin(turn)], [np.sin(turn) * squeeze, np.cos(turn)]])
    shift = np.array(centre) * frame.unit - turned @ middle
    return cv2.warpAffine(letters, np.column_stack([turned, shift]), (frame.width, frame.height))


def on_circle(
    line: Lettering, frame: Frame, centre: tuple[float, float], radius: float, angle: float, outward: bool = True
) -> np.ndarray:
    """The line on a circle; `radius` runs through the middle of the capitals.

    Args:
        angle: radians clockwise from the top, where the middle of the line lies.
        outward: the letters' heads point away from the centre; False for the lower half of a label.
    """
    letters = strip(line, frame.unit)
    x, y = frame.axes()
    dx, dy = x - centre[0], y - centre[1]
    heading = np.arctan2(dx, -dy) - angle
    heading = np.mod(heading + np.pi, 2 * np.pi) - np.pi
    away = np.hypot(dx, dy) - radius
    sign = 1.0 if outward else -1.0
    map_x = letters.shape[1] / 2 + (sign * heading * radius - line.spacing / 2) * frame.unit
    map_y = (1.5 * line.cap - sign * away) * frame.unit
    return cv2.remap(letters, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
