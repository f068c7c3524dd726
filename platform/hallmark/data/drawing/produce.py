"""A fruit: a sphere with pored or speckled skin, its calyx, and a laser-etched mark of origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.lettering import Lettering, on_circle, straight
from hallmark.data.drawing.noise import Textures, fbm, grain, lattice, spots
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface, cavity, filled, linear, normals, painted

Planes = dict[str, np.ndarray]


@dataclass(frozen=True)
class Produce:
    """The look of a fruit. Lengths in units, colours `#rrggbb`."""

    PART: ClassVar[str] = "produce"

    brand: Lettering
    origin: Lettering
    skin: str = "#e8791a"
    blush: str = "#d9530f"
    etched: str = "#f3c98a"
    speck: str = "#ffe2a6"
    pore_pitch: float = 9.0
    pore_radius: float = 2.4
    pore_depth: float = 1.5
    """0 = smooth skin that shows the pores as pale specks only"""
    speck_strength: float = 0.10
    streaks: float = 0.0
    stem: bool = False
    """a stem in its hollow instead of a star-shaped calyx"""
    calyx_tips: int = 5
    calyx_radius: float = 25.0
    ring_radius: float = 66.0
    ring_stroke: float = 3.2
    mark_shift: tuple[float, float] = (0.0, 0.0)
    radius: float = 212.0
    size: tuple[int, int] = (512, 512)

    def planes(self, frame: Frame) -> Planes:
        """What every item of the design shares, as (H, W) float32 planes; skin coordinates in px."""
        x, y = frame.axes()
        across, down = (x - 256) / self.radius, (y - 262) / (0.965 * self.radius)
        reach = np.hypot(across, down)
        inside = np.clip(reach, 0, 0.995)
        # Arc length from the middle: a texture laid flat on the skin shrinks towards the limb as it does in life.
        stretch = np.where(inside > 1e-3, np.arcsin(inside) / np.maximum(inside, 1e-3), 1.0)
        skin_x = (256 + across * self.radius * stretch) * frame.unit
        skin_y = (262 + down * self.radius * stretch) * frame.unit
        return {
            "reach": reach.astype(np.float32),
            "nx": (across * np.minimum(1, 0.995 / np.maximum(reach, 1e-3))).astype(np.float32),
            "ny": (down * np.minimum(1, 0.995 / np.maximum(reach, 1e-3))).astype(np.float32),
            "skin_x": skin_x.astype(np.float32),
            "skin_y": skin_y.astype(np.float32),
            "mark": self._mark(frame),
            "calyx": self._calyx(frame),
        }

    def _mark(self, frame: Frame) -> np.ndarray:
        centre = (256.0 + self.mark_shift[0], 300.0 + self.mark_shift[1])
        ring = shapes.circle(frame, centre, self.ring_radius)
        mark = shapes.band(ring, frame, self.ring_stroke)
        mark = np.maximum(mark, shapes.band(ring + 21, frame, 1.6))
        mark = np.maximum(mark, straight(self.brand, frame, centre))
        return np.maximum(mark, on_circle(self.origin, frame, centre, self.ring_radius - 11, 0.0))

    def _calyx(self, frame: Frame) -> np.ndarray:
        if self.stem:
            bend = np.linspace(0, 1, 9)
            line = np.stack([256 + 22 * bend**2, 134 - 0.72 * (40 + self.calyx_radius) * bend], axis=1)
            return cv2.GaussianBlur(shapes.curve(frame, line, 9.0), (0, 0), 0.8 * frame.unit)
        star = shapes.star((256, 130), self.calyx_radius, 0.5 * self.calyx_radius, self.calyx_tips, 0.3)
        return cv2.GaussianBlur(shapes.polygon(frame, star), (0, 0), 1.2 * frame.unit)

    def surface(self, frame: Frame, planes: Planes, textures: Textures) -> Surface:
        """One item: its own pores, blush and blemishes."""
        unit, shape = frame.unit, frame.shape
        wide = (round(shape[0] * 1.5), round(shape[1] * 1.5))
        pores = spots(wide, self.pore_pitch * unit, self.pore_radius * unit, textures.stream("pores"), 0.45, 1.1)
        fine = np.clip(textures.of("fine", grain, 0.8 * unit) - 0.8, 0, 1)
        pores = self._on_skin(pores, planes, (wide[1] - shape[1]) / 2, (wide[0] - shape[0]) / 2)
        mark = self._on_skin(planes["mark"], planes)
        raster = 0.78 + 0.22 * np.cos(frame.axes()[1] * 2 * np.pi / 2.6)
        mark_tone = mark * raster * np.clip(1 + 0.10 * textures.of("laser", grain, 1.2 * unit), 0, 1)
        mottle = textures.of("mottle", fbm, 130 * unit, 5, gain=0.55)
        colour = painted(filled(shape, linear(self.skin)), linear(self.blush), np.clip(0.35 + 0.35 * mottle, 0, 1))
        if self.streaks:
            lines = textures.of("streaks", lattice, (90 * unit, 5 * unit))
            lines = self._on_skin(lines, planes)
            colour = painted(colour, linear("#e0913a"), self.streaks * np.clip(0.5 * lines + 0.25 * mottle, 0, 1))
        colour = painted(colour, linear(self.speck), self.speck_strength * np.clip(pores + 0.12 * fine, 0, 1))
        scar = np.clip(textures.of("scars", lattice, 30 * unit) - 2.3, 0, 1)
        colour = painted(colour, linear("#7a5a34"), 0.5 * scar)
        colour = painted(colour, linear(self.etched), 0.78 * mark_tone)
        return self._shaped(frame, planes, textures, colour, pores, fine, mark)

    def _on_skin(self, flat: np.ndarray, planes: Planes, left: float = 0.0, top: float = 0.0) -> np.ndarray:
        return cv2.remap(
            flat,
            planes["skin_x"] + np.float32(left),
            planes["skin_y"] + np.float32(top),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )

    def _shaped(
        self,
        frame: Frame,
        planes: Planes,
        textures: Textures,
        colour: np.ndarray,
        pores: np.ndarray,
        fine: np.ndarray,
        mark: np.ndarray,
    ) -> Surface:
        unit = frame.unit
        x, y = frame.axes()
        away = np.hypot(x - 256, (y - 130) * 1.25)
        heading = np.arctan2(y - 130, x - 256)
        wide, deep = (62, 30) if self.stem else (46, 15)
        pucker = np.exp(-((away / wide) ** 2))
        pleats = np.sin(11 * heading + 1.5 * np.sin(3 * heading)) * np.exp(-(((away - 40) / 20) ** 2))
        folds = 0.5 * pucker if self.stem else pleats
        calyx = planes["calyx"]
        height = -unit * self.pore_depth * (pores + 0.25 * fine) * (1 - mark * 0.6)
        height += unit * (1.3 * textures.of("bumps", fbm, 50 * unit, 3) - deep * pucker + 1.4 * folds)
        height += unit * (6 * cv2.GaussianBlur(calyx, (0, 0), 2 * unit) - 0.9 * cv2.GaussianBlur(mark, (0, 0), unit))
        rough = textures.of("calyx", grain, 1.4 * unit)
        height += unit * 0.5 * rough * calyx
        colour = colour * np.clip(1 - 0.45 * pucker - 0.10 * folds, 0.2, 1.2)[..., None]
        wood = linear("#5b4024" if self.stem else "#6d7038")
        if self.stem:
            russet = np.exp(-((away / 30) ** 2)) * np.clip(0.7 + 0.25 * rough, 0, 1)
            colour = painted(colour, linear("#a8793f"), 0.75 * russet)
        colour = painted(colour, wood * np.clip(1 + 0.25 * rough, 0, 2)[..., None], calyx)
        if not self.stem:
            button = shapes.cover(shapes.circle(frame, (256, 130), 0.28 * self.calyx_radius), frame, 3)
            colour = painted(colour, linear("#c9b27c"), 0.8 * button)
        colour *= np.clip(1 - 0.07 * cavity(height.astype(np.float32), 4 * unit), 0.4, 1.2)[..., None]
        relief = _on_sphere(planes, height.astype(np.float32))
        relief[..., 2] = 0.20 * (1 - 0.7 * calyx) * (1 - 0.4 * mark)
        outline = shapes.cover((planes["reach"] - 1) * self.radius, frame, 1.5)
        # Less light reaches the eye from the limb, where the skin is seen at a slant.
        colour *= np.clip(0.68 + 0.36 * _facing(planes), 0, 1)[..., None]
        return Surface(np.dstack([colour, outline]).astype(np.float32), relief, 0.55, 34.0)


def _facing(planes: Planes) -> np.ndarray:
    """z of the sphere's normal, 1 in the middle and 0.1 at the limb."""
    return np.sqrt(np.clip(1 - planes["reach"] ** 2, 0.01, 1))


def _on_sphere(planes: Planes, height_px: np.ndarray) -> np.ndarray:
    """A relief without gloss or metal: the sphere's normals, tilted by the skin's own height."""
    bump_x, bump_y = normals(height_px)
    facing = _facing(planes)
    relief = np.zeros((*height_px.shape, 4), np.float32)
    relief[..., 0] = np.clip(planes["nx"] + 0.8 * bump_x * facing, -0.99, 0.99)
    relief[..., 1] = np.clip(planes["ny"] + 0.8 * bump_y * facing, -0.99, 0.99)
    return relief
