"""A belt buckle: brushed, bevelled metal with engraved lettering and screws, on a leather strap, with its prong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.lettering import Lettering, straight
from hallmark.data.drawing.noise import Textures, fbm, fibres, grain, pebbles, streaks
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface, filled, linear, painted, raised

Planes = dict[str, np.ndarray]
_SCREWS = ((124.0, 118.0), (388.0, 118.0), (124.0, 394.0), (388.0, 394.0))


@dataclass(frozen=True)
class MetalBuckle:
    """The design of a buckle. Lengths in units, angles in degrees."""

    PART: ClassVar[str] = "metal_buckle"

    brand: Lettering
    left: Lettering
    right: Lettering
    alloy: str = "#c9cdd2"
    strap: str = "#2b211c"
    bevel: float = 11.0
    corner: float = 46.0
    hollow_half: tuple[float, float] = (100.0, 112.0)
    ring_radius: float = 19.0
    ring_stroke: float = 2.4
    star_tips: float = 5.0
    mark_shift: tuple[float, float] = (0.0, 0.0)
    screw_radius: float = 11.0
    slot_angle: float = 35.0
    size: tuple[int, int] = (512, 512)

    def planes(self, frame: Frame) -> Planes:
        """What every item of the design shares, as (H, W) float32 planes."""
        outer = shapes.round_rect(frame, (256, 256), (172, 180), self.corner)
        inner = shapes.round_rect(frame, (256, 256), self.hollow_half, 26)
        x, y = frame.axes()
        # The prong is a tapering rod from the left bar to the right one, with a sleeve round the left bar.
        along = np.clip(x, 106, 402)
        prong = np.hypot(x - along, y - 256) - (15.5 - 0.018 * (along - 106))
        sleeve = shapes.round_rect(frame, (120, 256), (38, 27), 9)
        return {
            "frame": np.maximum(outer, -inner),
            "prong": prong.astype(np.float32),
            "sleeve": sleeve,
            "engraved": self._engraved(frame),
            "screws": self._screws(frame),
            "slots": self._slots(frame),
            "strap": np.abs(y - 256) - 96 + 0 * x,
        }

    def _engraved(self, frame: Frame) -> np.ndarray:
        centre = (256.0 + self.mark_shift[0], 402.0 + self.mark_shift[1])
        ring = shapes.circle(frame, centre, self.ring_radius)
        cut = shapes.band(ring, frame, self.ring_stroke)
        size = 0.62 * self.ring_radius
        cut = np.maximum(cut, shapes.polygon(frame, shapes.star(centre, size, 0.42 * size, round(self.star_tips))))
        cut = np.maximum(cut, straight(self.brand, frame, (256, 110)))
        cut = np.maximum(cut, straight(self.left, frame, (188, 402)))
        return np.maximum(cut, straight(self.right, frame, (324, 402)))

    def _screws(self, frame: Frame) -> np.ndarray:
        nearest = np.full(frame.shape, 1e3, np.float32)
        for centre in _SCREWS:
            nearest = np.minimum(nearest, shapes.circle(frame, centre, self.screw_radius))
        return nearest

    def _slots(self, frame: Frame) -> np.ndarray:
        ends = []
        for k, (x, y) in enumerate(_SCREWS):
            angle = np.deg2rad(self.slot_angle + 90 * k)
            reach = 0.72 * self.screw_radius
            dx, dy = reach * np.cos(angle), reach * np.sin(angle)
            ends.append((x - dx, y - dy, x + dx, y + dy))
        return shapes.capsules(frame, np.array(ends), 3.0)

    def surface(self, frame: Frame, planes: Planes, textures: Textures) -> Surface:
        """One item: its own brushing, scratches and strap."""
        unit = frame.unit
        colour, height = self._strap(frame, planes, textures)
        gloss = np.full(frame.shape, 0.05, np.float32)
        metal = np.zeros(frame.shape, np.float32)
        brushed = textures.of("brushing", streaks, max(3, round(34 * unit)))
        brushed = 0.8 * brushed + 0.25 * textures.of("grit", grain, 0.0)
        tarnish = textures.of("tarnish", fbm, 70 * unit, 4, gain=0.6)
        alloy = linear(self.alloy) * np.clip(1 + 0.05 * tarnish + 0.035 * brushed, 0.3, 1.4)[..., None]
        for name, top in (
            ("frame", self._frame_height),
            ("sleeve", self._sleeve_height),
            ("prong", self._prong_height),
        ):
            distance = planes[name]
            inside = shapes.cover(distance, frame)
            shade = _cast(distance) * (1 - inside)
            worn = 1 - 0.55 * np.exp(np.clip(distance, None, 0) / 1.5)
            colour = painted(colour * (1 - 0.72 * shade)[..., None], alloy * worn[..., None], inside)
            height = height * (1 - inside) + inside * unit * top(planes, distance)
            metal = np.maximum(metal, inside) * (1 - 0.55 * shade * (metal > 0))
        colour, metal = self._cut(frame, planes, colour, metal)
        outline = np.maximum(shapes.cover(planes["strap"], frame), shapes.cover(planes["frame"], frame))
        made = raised(colour, height, outline, gloss, metal, 0.62, 13.0, 0.035, 4 * unit)
        # Brushing runs along x, so it scatters the reflection along y.
        made.relief[..., 1] += 0.045 * brushed * shapes.cover(planes["frame"] + 3, frame)
        made.relief[..., 0] += 0.010 * tarnish * metal
        made.relief[..., :2] += (0.10 * textures.of("scratches", fibres, 40, 60 * unit) * metal)[..., None]
        return made

    def _strap(self, frame: Frame, planes: Planes, textures: Textures) -> tuple[np.ndarray, np.ndarray]:
        unit, shape = frame.unit, frame.shape
        edge = -planes["strap"]
        pebble = textures.of("pebbles", pebbles, 5.0 * unit)
        pores = textures.of("pores", grain, 0.35 * unit)
        mottle = textures.of("mottle", fbm, 100 * unit, 4, gain=0.6)
        groove = np.exp(-(((edge - 12) / 2.2) ** 2))
        height = unit * (0.8 * pebble + 0.8 * mottle + 0.07 * pores - 3 * groove)
        height = height + unit * 8 * (1 - np.exp(-np.clip(edge, 0, None) / 6))
        tone = 1 + 0.14 * mottle + 0.05 * pores - 0.20 * (1 - pebble) - 0.35 * groove
        colour = filled(shape, linear(self.strap)) * np.clip(tone, 0.1, 2)[..., None]
        return colour, (height * shapes.cover(planes["strap"], frame)).astype(np.float32)

    def _frame_height(self, planes: Planes, distance: np.ndarray) -> np.ndarray:
        rise = np.clip(-distance / self.bevel, 0, 1)
        shape = self.bevel * (0.72 * rise + 0.28 * np.sin(rise * np.pi / 2))
        engraved = cv2.GaussianBlur(planes["engraved"], (0, 0), 0.7)
        head = np.clip(-planes["screws"], 0, None)
        screw = np.where(planes["screws"] < 0, 1.2 + 2.6 * (1 - np.exp(-head / 3)), 0)
        moat = np.exp(-((planes["screws"] - 0.8) ** 2) / 1.2)
        slot = cv2.GaussianBlur(planes["slots"], (0, 0), 0.7)
        return shape - 2.6 * engraved + screw - 1.8 * moat - 3.0 * slot

    def _sleeve_height(self, planes: Planes, distance: np.ndarray) -> np.ndarray:
        return 12 + 9 * np.sqrt(np.clip(1 - (1 - np.clip(-distance / 20, 0, 1)) ** 2, 0, 1))

    def _prong_height(self, planes: Planes, distance: np.ndarray) -> np.ndarray:
        return 16 + 12 * np.sqrt(np.clip(1 - (1 - np.clip(-distance / 14, 0, 1)) ** 2, 0, 1))

    def _cut(
        self, frame: Frame, planes: Planes, colour: np.ndarray, metal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Engraving is filled with dark enamel; slots and the moats of the screws are in shade."""
        moat = np.exp(-((planes["screws"] - 0.8) ** 2) / 1.2)
        dark = np.maximum(np.maximum(planes["engraved"], planes["slots"]), 0.7 * moat)
        return painted(colour, linear("#15130f"), 0.88 * dark), metal * (1 - 0.75 * dark)


def _cast(distance: np.ndarray) -> np.ndarray:
    """Shade beside a part that lies over another, 0 to 1."""
    away = np.clip(distance, 0, None)
    return 0.65 * np.exp(-away / 5) + 0.35 * np.exp(-away / 16)
