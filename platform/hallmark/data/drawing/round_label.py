"""A round paper label: guilloche rosette, lettering on a circle, wreath and crest, printed in two inks and gilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.lettering import Lettering, on_circle, straight
from hallmark.data.drawing.noise import Textures, fbm, fibres, grain
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface, filled, linear, painted, raised, turned_hue

Planes = dict[str, np.ndarray]
_MIDDLE = (256.0, 256.0)


@dataclass(frozen=True)
class RoundLabel:
    """The design of a label. Lengths in units, colours `#rrggbb`, hues in degrees."""

    PART: ClassVar[str] = "round_label"

    upper: Lettering
    lower: Lettering
    crest: Lettering
    year: Lettering
    paper: str = "#efe6d0"
    ink: str = "#17402f"
    second_ink: str = "#a4352b"
    ink_hue: float = 0.0
    radius: float = 214.0
    scallops: int = 48
    ring_radius: float = 150.0
    ring_stroke: float = 3.0
    guilloche_waves: int = 24
    guilloche_depth: float = 11.0
    guilloche_stroke: float = 0.9
    leaves: int = 9
    crest_shift: tuple[float, float] = (0.0, 0.0)
    star_tips: int = 5
    size: tuple[int, int] = (512, 512)

    def planes(self, frame: Frame) -> Planes:
        """What every item of the design shares, as (H, W) float32 planes."""
        x, y = frame.axes()
        heading = np.arctan2(y - 256, x - 256)
        edge = shapes.circle(frame, _MIDDLE, self.radius) + 3.0 * np.cos(self.scallops * heading)
        return {
            "edge": -edge,
            "outline": shapes.cover(edge, frame),
            "ink": self._first_ink(frame),
            "second": self._second_ink(frame),
            "gilt": self._gilt(frame),
        }

    def _first_ink(self, frame: Frame) -> np.ndarray:
        outer = shapes.circle(frame, _MIDDLE, self.radius - 13)
        inner = shapes.circle(frame, _MIDDLE, self.ring_radius)
        ground = shapes.cover(np.maximum(outer, -inner), frame)
        middle = (self.radius - 13 + self.ring_radius) / 2
        letters = on_circle(self.upper, frame, _MIDDLE, middle, 0.0)
        letters = np.maximum(letters, on_circle(self.lower, frame, _MIDDLE, middle, np.pi, outward=False))
        for side in (-1, 1):
            centre = (256 + side * middle, 256.0)
            letters = np.maximum(letters, shapes.polygon(frame, shapes.star(centre, 11, 4.6, self.star_tips)))
        fine = shapes.band(inner + 6, frame, 1.2)
        wreath = np.maximum(fine, self._wreath(frame))
        return np.maximum(ground * (1 - letters), wreath)

    def _wreath(self, frame: Frame) -> np.ndarray:
        covered = np.zeros(frame.shape, np.float32)
        for side in (-1, 1):
            stem = []
            for k in range(self.leaves):
                angle = np.pi / 2 - side * (0.22 + 1.75 * k / max(1, self.leaves - 1))
                point = np.array([256 + 92 * np.cos(angle), 262 + 92 * np.sin(angle)])
                stem.append(point)
                for lean in (-0.55, 0.55):
                    heading = angle - side * (np.pi / 2) + lean
                    covered = np.maximum(covered, shapes.polygon(frame, _leaf(point, heading, 25 - 0.9 * k)))
            covered = np.maximum(covered, shapes.curve(frame, np.array(stem), 1.5))
        return covered

    def _second_ink(self, frame: Frame) -> np.ndarray:
        centre = (256.0 + self.crest_shift[0], 248.0 + self.crest_shift[1])
        covered = straight(self.crest, frame, centre)
        covered = np.maximum(covered, straight(self.year, frame, (256, 312)))
        angle = np.linspace(0, 2 * np.pi, 1441)
        for phase in np.linspace(0, 2 * np.pi / self.guilloche_waves, 5)[:-1]:
            for sign in (-1, 1):
                wave = self.guilloche_depth * np.sin(self.guilloche_waves * (angle + sign * phase))
                radius = self.ring_radius - 22 + wave
                points = np.stack([256 + radius * np.cos(angle), 256 + radius * np.sin(angle)], axis=1)
                covered = np.maximum(covered, 0.9 * shapes.curve(frame, points, self.guilloche_stroke))
        return covered

    def _gilt(self, frame: Frame) -> np.ndarray:
        rim = shapes.band(shapes.circle(frame, _MIDDLE, self.radius - 9), frame, 5.0)
        ring = shapes.band(shapes.circle(frame, _MIDDLE, self.ring_radius), frame, self.ring_stroke)
        crown = shapes.polygon(frame, shapes.star((256, 186), 13, 5.4, self.star_tips))
        return np.maximum(np.maximum(rim, ring), crown)

    def surface(self, frame: Frame, planes: Planes, textures: Textures) -> Surface:
        """One item: its own sheet of paper, ink tone and register between the two inks."""
        unit, shape = frame.unit, frame.shape
        fibre = textures.of("fibres", fibres, 900, 26 * unit)
        fibre = cv2.GaussianBlur(fibre, (0, 0), 0.6 * unit)
        cloud = textures.of("cloud", fbm, 40 * unit, 5, gain=0.65)
        tooth = textures.of("tooth", grain, 0.5 * unit)
        rng = textures.stream("press")
        tone, register = rng.uniform(-0.05, 0.05, 2), rng.uniform(-0.9, 0.9, 2) * unit
        second = _moved(planes["second"], register)
        gilt = _moved(planes["gilt"], 0.6 * rng.uniform(-0.9, 0.9, 2) * unit)
        paper = filled(shape, linear(self.paper)) * (1 + 0.022 * cloud + 0.018 * tooth + 0.05 * fibre)[..., None]
        # Ink sinks into the sheet unevenly: its cover follows the tooth.
        take = np.clip(0.94 + tone[0] + 0.022 * cloud + 0.03 * tooth, 0, 1)
        colour = painted(paper, turned_hue(linear(self.ink), self.ink_hue), planes["ink"] * take)
        take = np.clip(0.90 + tone[1] + 0.03 * cloud + 0.04 * tooth, 0, 1)
        colour = painted(colour, turned_hue(linear(self.second_ink), self.ink_hue), second * take)
        colour = painted(colour, linear("#dcb565") * (1 + 0.05 * tooth)[..., None], gilt)
        stamped = cv2.GaussianBlur(gilt, (0, 0), 0.9 * unit)
        height = unit * (0.11 * tooth + 0.30 * fibre + 0.8 * cloud * 0.4 - 2.2 * stamped)
        height += unit * 2.2 * (1 - np.exp(-np.clip(planes["edge"], 0, None) / 2.5))
        height -= unit * 0.35 * cv2.GaussianBlur(np.maximum(planes["ink"], second), (0, 0), 0.8 * unit)
        gloss = 0.035 + 0.05 * np.maximum(planes["ink"], second)
        return raised(colour, height, planes["outline"], gloss, gilt * 0.95, 0.45, 2.2, 0.06, 4 * unit)


def _leaf(point: np.ndarray, heading: float, length: float) -> np.ndarray:
    along = np.linspace(0, 1, 12)
    bulge = 0.19 * length * np.sin(np.pi * along**0.8)
    outline = np.concatenate(
        [np.stack([along * length, bulge], axis=1), np.stack([along * length, -bulge], axis=1)[::-1]]
    )
    turn = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
    return outline @ turn.T + point


def _moved(plane: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    move = np.array([[1, 0, shift_px[0]], [0, 1, shift_px[1]]])
    return cv2.warpAffine(plane, move, (plane.shape[1], plane.shape[0]))
