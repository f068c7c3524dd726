"""A leather tag: pebbled hide, blind-stamped lettering, a saddle-stitched border, a brass eyelet and its cord."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.lettering import Lettering, straight
from hallmark.data.drawing.noise import Textures, fbm, fibres, grain, pebbles
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface, filled, linear, painted, raised, turned_hue

Planes = dict[str, np.ndarray]


@dataclass(frozen=True)
class LeatherTag:
    """The design of a tag. Lengths in units, colours `#rrggbb`."""

    PART: ClassVar[str] = "leather_tag"

    brand: Lettering
    motto: Lettering
    serial: Lettering
    monogram: Lettering
    hide: str = "#8a4f2a"
    thread: str = "#e9dcc0"
    foil: bool = False
    """lettering filled with gilt instead of burnt in"""
    foil_hue: float = 0.0
    thread_hue: float = 0.0
    ring_radius: float = 50.0
    ring_stroke: float = 3.0
    mark_shift: tuple[float, float] = (0.0, 0.0)
    stitch_pitch: float = 15.0
    stitch_slant: float = 0.16
    stitch_width: float = 4.4
    size: tuple[int, int] = (384, 512)
    tag_half: tuple[float, float] = (150.0, 222.0)
    corner: float = 30.0
    middle: tuple[float, float] = field(default=(192.0, 262.0))

    def planes(self, frame: Frame) -> Planes:
        """What every item of the design shares, as (H, W) float32 planes."""
        outline = shapes.round_rect(frame, self.middle, self.tag_half, self.corner)
        eyelet = (192.0, 96.0)
        hole = shapes.circle(frame, eyelet, 14.0)
        return {
            "edge": -outline,
            "outline": shapes.cover(outline, frame) * (1 - shapes.cover(hole, frame)),
            "stamp": self._stamp(frame),
            "thread": self._stitches(frame),
            "eyelet": hole,
            "cord": _cord(frame, eyelet),
        }

    def _stamp(self, frame: Frame) -> np.ndarray:
        centre = (192.0 + self.mark_shift[0], 206.0 + self.mark_shift[1])
        ring = shapes.circle(frame, centre, self.ring_radius)
        stamp = shapes.band(ring, frame, self.ring_stroke)
        stamp = np.maximum(stamp, shapes.band(ring + 8, frame, 1.5))
        stamp = np.maximum(stamp, straight(self.monogram, frame, centre))
        for line, y in ((self.brand, 314.0), (self.motto, 356.0), (self.serial, 412.0)):
            stamp = np.maximum(stamp, straight(line, frame, (192.0, y)))
        for side in (-1, 1):
            rule = np.array([[192 + side * 34, 384, 192 + side * 96, 384]])
            stamp = np.maximum(stamp, shapes.capsules(frame, rule, 1.8))
        lozenge = shapes.star((192, 384), 8, 4, 4)
        return np.maximum(stamp, shapes.polygon(frame, lozenge))

    def _stitches(self, frame: Frame) -> np.ndarray:
        half = (self.tag_half[0] - 17, self.tag_half[1] - 17)
        points, heading = shapes.along_round_rect(self.middle, half, self.corner - 14, self.stitch_pitch)
        heading = heading + self.stitch_slant
        reach = 0.37 * self.stitch_pitch * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        return shapes.capsules(frame, np.hstack([points - reach, points + reach]), self.stitch_width)

    def surface(self, frame: Frame, planes: Planes, textures: Textures) -> Surface:
        """One item: the design on its own piece of hide."""
        unit, shape = frame.unit, frame.shape
        pebble = textures.of("pebbles", pebbles, 6.2 * unit)
        mottle = textures.of("mottle", fbm, 110 * unit, 5, gain=0.5)
        fine = textures.of("pores", grain, 0.32 * unit)
        stamp = cv2.GaussianBlur(planes["stamp"], (0, 0), 0.5 * unit)
        edge = planes["edge"]
        height = unit * (1.5 * pebble * (1 - 0.9 * stamp) + 0.10 * fine + 0.6 * mottle)
        height += unit * 7 * (1 - np.exp(-np.clip(edge, 0, None) / 5))
        # The die squeezes the hide up around each stroke.
        lip = np.clip(cv2.GaussianBlur(planes["stamp"], (0, 0), 1.6 * unit) - stamp, 0, None)
        height += unit * 4.0 * lip
        height -= unit * (3.8 * stamp + 3.0 * np.exp(-(((edge - 17) / 4.0) ** 2)))
        colour = filled(shape, linear(self.hide))
        tone = 1 + 0.09 * mottle + 0.05 * fine - 0.28 * (1 - pebble) * (1 - stamp)
        scuffs = textures.of("scuffs", fibres, 14, 46 * unit)
        tone += 0.22 * scuffs
        tone *= 1 - 0.55 * np.exp(-np.clip(edge, 0, None) / 4.5)
        colour *= np.clip(tone, 0.1, 2)[..., None]
        metal = np.zeros(shape, np.float32)
        if self.foil:
            worn = np.clip(1.1 - 0.10 * np.abs(mottle) - 0.12 * (1 - pebble), 0, 1)
            metal = np.clip(planes["stamp"] * worn, 0, 1)
            gilt = turned_hue(linear("#e3bd6b"), self.foil_hue)
            colour = painted(colour, gilt, metal)
        else:
            # Heat darkens the floor of the stamp; its walls keep the hide's colour and catch the light.
            floor = np.clip(2 * cv2.GaussianBlur(planes["stamp"], (0, 0), 0.55 * unit) - 0.75, 0, 1)
            colour *= (1 - 0.66 * floor)[..., None]
        return self._sewn(frame, planes, textures, colour, height, metal)

    def _sewn(
        self,
        frame: Frame,
        planes: Planes,
        textures: Textures,
        colour: np.ndarray,
        height: np.ndarray,
        metal: np.ndarray,
    ) -> Surface:
        unit = frame.unit
        thread = planes["thread"]
        dome = cv2.GaussianBlur(thread, (0, 0), 1.1 * unit)
        shade = np.clip(cv2.GaussianBlur(thread, (0, 0), 3.0 * unit) * 1.5, 0, 1) * (1 - thread)
        colour = colour * (1 - 0.6 * shade)[..., None]
        x, y = frame.axes()
        ply = 0.86 + 0.14 * np.sin((x + y) * 2 * np.pi / 2.6)
        yarn = turned_hue(linear(self.thread), self.thread_hue)
        fuzz = 1 + 0.07 * textures.of("fuzz", grain, 0.7 * unit)
        colour = painted(colour, yarn * (ply * fuzz)[..., None], thread)
        height = height + unit * 5.0 * dome + unit * 0.5 * thread * ply
        metal = metal * (1 - thread)
        gloss = 0.075 * (1 - 0.8 * thread) * (1 + 0.5 * planes["stamp"])
        # The eyelet is a torus around the hole; the cord lies over its upper rim.
        from_hole = planes["eyelet"]
        rim = shapes.cover(from_hole - 15, frame) * (1 - shapes.cover(from_hole, frame))
        torus = np.sqrt(np.clip(7.5**2 - (from_hole - 7.5) ** 2, 0, None))
        height = height * (1 - rim) + rim * unit * (6 + 0.9 * torus)
        colour = colour * (1 - 0.5 * np.exp(-np.clip(from_hole - 15, 0, None) / 4) * (from_hole > 15))[..., None]
        scratch = 1 + 0.04 * textures.of("brass", fbm, 12 * unit, 3)
        colour = painted(colour, linear("#d8b062") * scratch[..., None], rim)
        metal = metal * (1 - rim) + rim
        return self._hung(frame, planes, textures, colour, height, gloss, metal)

    def _hung(
        self,
        frame: Frame,
        planes: Planes,
        textures: Textures,
        colour: np.ndarray,
        height: np.ndarray,
        gloss: np.ndarray,
        metal: np.ndarray,
    ) -> Surface:
        unit, distance = frame.unit, planes["cord"]
        over = shapes.cover(distance - 6.5, frame)
        round_ = np.sqrt(np.clip(6.5**2 - distance**2, 0, None))
        x, y = frame.axes()
        twist = 0.5 + 0.5 * np.sin((y + 1.2 * x) * 2 * np.pi / 9)
        wax = linear(self.hide) * 0.45 * (0.75 + 0.4 * twist)[..., None]
        wax *= (1 + 0.10 * textures.of("cord", grain, 0.8 * unit))[..., None]
        shade = np.exp(-np.clip(distance - 5, 0, None) / 5) * (1 - over)
        colour = painted(colour * (1 - 0.45 * shade)[..., None], wax, over)
        height = height * (1 - over) + over * unit * (12 + 1.1 * round_ + 1.2 * twist)
        outline = np.maximum(planes["outline"], over)
        return raised(
            colour, height, outline, gloss * (1 - over) + 0.05 * over, metal * (1 - over), 0.35, 7.0, 0.07, 4 * unit
        )


def _cord(frame: Frame, eyelet: tuple[float, float]) -> np.ndarray:
    """Distance in units to the cord's middle line: two strands from the eyelet to the picture's upper edge."""
    x, y = frame.axes()
    nearest = np.full(frame.shape, 1e3, np.float32)
    for lean, sway in ((-13.0, 7.0), (15.0, -8.0)):
        up = np.clip(eyelet[1] - y, -2, None)
        # Upright at the upper edge, where the camera takes the cord to go on as its mirror image.
        rise = up / eyelet[1]
        line = eyelet[0] + lean * np.sin(0.5 * np.pi * rise) + 0.5 * sway * (1 - np.cos(2 * np.pi * rise))
        ahead = np.clip(y - eyelet[1] - 2, 0, None)
        nearest = np.minimum(nearest, np.hypot((x - line) * 0.96, ahead))
    return nearest.astype(np.float32)
