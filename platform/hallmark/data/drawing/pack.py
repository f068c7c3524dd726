"""A printed carton: a picture in halftone dots of four inks, gilt hot-foil lettering, small print and a crease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.lettering import Lettering, straight
from hallmark.data.drawing.noise import Textures, fbm, grain, lattice, stream
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface, filled, linear, painted, raised, turned_hue

Planes = dict[str, np.ndarray]
_INKS = ("#0a97d0", "#d4237c", "#f6d71e", "#1d1a18")
_SCREENS = (15.0, 75.0, 0.0, 45.0)


@dataclass(frozen=True)
class Pack:
    """The design of a carton's front. Lengths in units, colours `#rrggbb`, hues in degrees."""

    PART: ClassVar[str] = "pack"

    brand: Lettering
    kind: Lettering
    small: tuple[Lettering, ...]
    sky: tuple[str, str] = ("#f3b46a", "#e8e0c6")
    hills: tuple[str, ...] = ("#7f9a6b", "#4f7a5a", "#2d5748", "#173a36")
    sun: str = "#e2562f"
    board: str = "#f2ecdd"
    text_ink: str = "#2a211c"
    picture_seed: int = 3
    dot_pitch: float = 2.7
    ink_hue: float = 0.0
    foil: str = "#e6c06a"
    sun_radius: float = 46.0
    seal_radius: float = 30.0
    seal_rays: int = 40
    seal_shift: tuple[float, float] = (0.0, 0.0)
    frame_stroke: float = 2.6
    size: tuple[int, int] = (512, 384)

    def planes(self, frame: Frame) -> Planes:
        """What every item of the design shares, as (H, W) float32 planes."""
        outline = shapes.round_rect(frame, (256, 192), (226, 164), 3)
        window = self._window(frame)
        foil, seal = self._foil(frame, window)
        below, small = self._print(frame)
        found = {
            "edge": -outline,
            "outline": shapes.cover(outline, frame),
            "foil": foil,
            "seal": seal,
            "print": below,
            "small": small,
        }
        inks = _separated(self._picture(frame))
        x, y = frame.axes()
        for k, angle in enumerate(np.deg2rad(_SCREENS).tolist()):
            across = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / self.dot_pitch)
            down = (y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / self.dot_pitch)
            threshold = 0.5 + 0.25 * (np.cos(across) + np.cos(down))
            # The dot's edge is about one pixel wide whatever the pitch.
            steep = self.dot_pitch * frame.unit / np.pi
            found[f"ink{k}"] = np.clip((inks[..., k] - threshold) * steep + 0.5, 0, 1) * shapes.cover(window, frame)
        return found

    def _window(self, frame: Frame) -> np.ndarray:
        return shapes.round_rect(frame, (236, 198), (182, 103), 4)

    def _picture(self, frame: Frame) -> np.ndarray:
        """The artwork in continuous tone, (H, W, 3) linear RGB: hills under a low sun."""
        x, y = frame.axes()
        depth = np.clip((y - 92) / 150, 0, 1) + 0 * x
        picture = painted(filled(frame.shape, linear(self.sky[0])), linear(self.sky[1]), depth)
        sun = shapes.circle(frame, (300, 176), self.sun_radius)
        glow = np.exp(-np.clip(sun, 0, None) / 40)
        picture = painted(picture, linear("#ffe3a0"), 0.55 * glow)
        picture = painted(
            picture, linear(self.sun), shapes.cover(shapes.circle(frame, (300, 176), self.sun_radius), frame)
        )
        rng = stream(self.picture_seed, "hills")
        for k, colour in enumerate(self.hills):
            phase = rng.uniform(0, 6.28, 3)
            ridge = (
                196
                + 26 * k
                + 15 * np.sin(x / 62 + phase[0])
                + 9 * np.sin(x / 27 + phase[1])
                + 3 * np.sin(x / 9 + phase[2])
            )
            inside = shapes.cover(ridge - y, frame, 1.5)
            lit = np.clip(1.25 - (y - ridge) / 90, 0.6, 1.3)
            picture = painted(picture, linear(colour) * lit[..., None], inside)
        return picture

    def _foil(self, frame: Frame, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        foil = shapes.band(window - 7, frame, self.frame_stroke)
        foil = np.maximum(foil, straight(self.brand, frame, (236, 58)))
        centre = (384.0 + self.seal_shift[0], 278.0 + self.seal_shift[1])
        disc = shapes.circle(frame, centre, self.seal_radius)
        teeth = shapes.polygon(frame, shapes.star(centre, self.seal_radius + 7, self.seal_radius + 2, self.seal_rays))
        return np.maximum(foil, teeth), disc.astype(np.float32)

    def _print(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        covered = straight(self.kind, frame, (236, 334))
        small = np.zeros_like(covered)
        for k, line in enumerate(self.small):
            small = np.maximum(small, straight(line, frame, (104, 120 + 17 * k)))
        return covered, small

    def surface(self, frame: Frame, planes: Planes, textures: Textures) -> Surface:
        """One item: its own board, ink densities, register of the four inks and foil."""
        unit, shape = frame.unit, frame.shape
        rng = textures.stream("press")
        cloud = textures.of("cloud", fbm, 60 * unit, 4)
        tooth = textures.of("tooth", grain, 0.45 * unit)
        colour = filled(shape, linear(self.board)) * (1 + 0.012 * cloud + 0.007 * tooth)[..., None]
        # The picture is printed on white, also on a dark board.
        white = shapes.cover(self._window(frame), frame)
        colour = painted(colour, linear("#f2ecdd"), white)
        for k, ink in enumerate(_INKS):
            shift = rng.uniform(-0.4, 0.4, 2) * unit
            move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
            dots = cv2.warpAffine(planes[f"ink{k}"], move, (frame.width, frame.height))
            density = np.clip(0.93 + rng.uniform(-0.04, 0.04) + 0.03 * tooth, 0, 1)
            filter_ = turned_hue(linear(ink), self.ink_hue if k < 3 else 0.0)
            colour *= 1 - (dots * density)[..., None] * (1 - filter_)
        take = np.clip(0.92 + 0.05 * tooth, 0, 1)
        colour = painted(colour, linear(self.text_ink), planes["print"] * take)
        colour = painted(colour, linear("#2a211c"), np.clip(1.15 * planes["small"], 0, 1) * take)
        return self._gilded(frame, planes, textures, colour, cloud, tooth)

    def _gilded(
        self, frame: Frame, planes: Planes, textures: Textures, colour: np.ndarray, cloud: np.ndarray, tooth: np.ndarray
    ) -> Surface:
        unit = frame.unit
        foil, disc = planes["foil"], planes["seal"]
        inside = shapes.cover(disc, frame)
        foil = np.maximum(foil, inside)
        wear = np.clip(1.3 - 0.3 * np.abs(textures.of("wear", lattice, 7 * unit)), 0, 1)
        colour = painted(colour, linear(self.foil) * (1 + 0.03 * tooth)[..., None], foil)
        pressed = cv2.GaussianBlur(foil, (0, 0), 1.0 * unit)
        rings = np.sin(np.clip(-disc, 0, None) * 2 * np.pi / 5.5) * inside
        height = unit * (0.035 * tooth + 0.27 * cloud + 1.9 * pressed + 0.55 * rings)
        edge = planes["edge"]
        x, y = frame.axes()
        # The board is folded along a line near the right edge: the side panel beyond lies lower and darker.
        fold = x - 440 + 0 * y
        side = np.clip(fold / 3 + 0.5, 0, 1)
        height += unit * (5 * (1 - np.exp(-np.clip(edge, 0, None) / 2.5)) - 0.55 * np.clip(fold, 0, None))
        chips = textures.of("chips", lattice, 2.5 * unit)
        crack = np.exp(-((fold / 0.8) ** 2)) * np.clip(0.2 + 0.4 * cloud + 0.5 * chips, 0, 1)
        colour = painted(colour * (1 - 0.22 * side)[..., None], linear("#fbf8f0"), 0.5 * crack)
        gloss = np.full(frame.shape, 0.085, np.float32)
        return raised(colour, height, planes["outline"], gloss, foil * wear * 0.97, 0.72, 11.0, 0.05, 4 * unit)


def _separated(picture: np.ndarray) -> np.ndarray:
    """Linear RGB as areas of cyan, magenta, yellow and black dots, (H, W, 4) 0 to 1."""
    light = np.clip(picture, 1e-4, 1) ** (1 / 1.7)
    cmy = 1 - light
    black = np.clip(cmy.min(axis=2) - 0.25, 0, 1) * 0.8
    cmy = (cmy - black[..., None]) / (1 - black[..., None])
    return np.dstack([np.clip(cmy * 1.08, 0, 1), black]).astype(np.float32)
