"""A woven damask label: every thread of the lettering and ground, selvedges, and the stitches that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.lettering import Lettering, straight
from hallmark.data.drawing.noise import Textures, fbm, grain
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface, linear, painted, raised, turned_hue

Planes = dict[str, np.ndarray]


@dataclass(frozen=True)
class WovenLabel:
    """The design of a label. Lengths in units, colours `#rrggbb`, hues in degrees."""

    PART: ClassVar[str] = "woven_label"

    brand: Lettering
    motto: Lettering
    ground: str = "#14161c"
    yarn: str = "#d9b46a"
    yarn_hue: float = 0.0
    thread_pitch: float = 2.4
    rule_inset: float = 20.0
    rule_stroke: float = 3.2
    mark_tips: int = 4
    mark_radius: float = 10.0
    mark_shift: tuple[float, float] = (0.0, 0.0)
    stitch_pitch: float = 13.0
    brand_y: float = 112.0
    motto_y: float = 172.0
    half: tuple[float, float] = (222.0, 92.0)
    size: tuple[int, int] = (512, 256)

    @property
    def middle(self) -> tuple[float, float]:
        """The label's centre in units."""
        return self.size[0] / 2, self.size[1] / 2

    def planes(self, frame: Frame) -> Planes:
        """What every item of the design shares, as (H, W) float32 planes."""
        outline = shapes.round_rect(frame, self.middle, self.half, 3)
        design = self._design(frame)
        pitch = max(2, round(self.thread_pitch * frame.unit))
        rows, cols = frame.height // pitch + 1, frame.width // pitch + 1
        padded = cv2.copyMakeBorder(
            design, 0, rows * pitch - frame.height, 0, cols * pitch - frame.width, cv2.BORDER_REPLICATE
        )
        picks = (cv2.resize(padded, (cols, rows), interpolation=cv2.INTER_AREA) > 0.5).astype(np.float32)
        woven = cv2.resize(picks, (cols * pitch, rows * pitch), interpolation=cv2.INTER_NEAREST)
        return {
            "edge": -outline,
            "outline": shapes.cover(outline, frame),
            "woven": woven[: frame.height, : frame.width].copy(),
            "stitches": self._stitches(frame),
        }

    def _design(self, frame: Frame) -> np.ndarray:
        x0 = self.middle[0]
        design = straight(self.brand, frame, (x0, self.brand_y))
        design = np.maximum(design, straight(self.motto, frame, (x0, self.motto_y)))
        inner = (self.half[0] - 34, self.half[1] - self.rule_inset)
        rule = shapes.round_rect(frame, self.middle, inner, 4)
        design = np.maximum(design, shapes.band(rule, frame, self.rule_stroke))
        for side in (-1, 1):
            centre = (x0 + side * (inner[0] - 17) + self.mark_shift[0], self.motto_y + self.mark_shift[1])
            tips = shapes.star(centre, self.mark_radius, 0.42 * self.mark_radius, self.mark_tips)
            design = np.maximum(design, shapes.polygon(frame, tips))
        return design

    def _stitches(self, frame: Frame) -> np.ndarray:
        x0, y0 = self.middle
        y = np.arange(y0 - self.half[1] + 7, y0 + self.half[1] - 7, self.stitch_pitch)
        ends = []
        for side in (-1, 1):
            x = np.full_like(y, x0 + side * (self.half[0] - 14))
            ends.append(np.stack([x - 0.5, y, x + 0.5, y + 0.62 * self.stitch_pitch], axis=1))
        return shapes.capsules(frame, np.concatenate(ends), 3.6)

    def surface(self, frame: Frame, planes: Planes, textures: Textures) -> Surface:
        """One item: its own yarn tone, slack threads and fuzz."""
        unit, shape = frame.unit, frame.shape
        pitch = max(2, round(self.thread_pitch * unit))
        woven = planes["woven"]
        rng = textures.stream("yarn")
        rows = np.arange(shape[0], dtype=np.float32)[:, None]
        cols = np.arange(shape[1], dtype=np.float32)[None, :]
        pick, end = (rows // pitch).astype(int), (cols // pitch).astype(int)
        # A pick floats over three ends in the figure (satin) and one in the ground (twill).
        across = np.sin(np.pi * ((rows % pitch) + 0.5) / pitch)
        figure = np.abs(np.sin(np.pi * (cols / pitch + pick % 3) / 3 + 0.35)) ** 0.5
        twill = np.where((end + pick) % 3 == 0, 0.35, 1.0) * np.sin(np.pi * ((cols % pitch) + 0.5) / pitch) ** 0.5
        body = woven * across * (0.55 + 0.45 * figure) + (1 - woven) * (0.25 + 0.75 * across) * twill
        slack = 1 + 0.09 * rng.standard_normal(shape[0] // pitch + 1)[pick].astype(np.float32)
        slack = slack * (1 + 0.04 * rng.standard_normal(shape[1] // pitch + 1)[end].astype(np.float32))
        cloud = textures.of("cloud", fbm, 80 * unit, 4)
        fuzz = textures.of("fuzz", grain, 0.6 * unit)
        lift = cv2.GaussianBlur(woven, (0, 0), 1.3 * unit)
        height = unit * (1.5 * body * slack + 1.5 * lift + 1.3 * cloud + 0.10 * fuzz)
        edge = np.clip(planes["edge"], 0, None)
        height = height + unit * (4 * (1 - np.exp(-edge / 3)))
        tone = np.clip((0.42 + 0.62 * body) * slack * (1 + 0.05 * cloud + 0.05 * fuzz), 0, 2)[..., None]
        yarn = turned_hue(linear(self.yarn), self.yarn_hue)
        colour = painted(np.broadcast_to(linear(self.ground), (*shape, 3)) * tone, yarn * tone, woven)
        colour *= (1 - 0.35 * np.exp(-edge / 2.5))[..., None]
        return self._sewn(frame, planes, colour, height.astype(np.float32), body)

    def _sewn(self, frame: Frame, planes: Planes, colour: np.ndarray, height: np.ndarray, body: np.ndarray) -> Surface:
        unit = frame.unit
        stitches = planes["stitches"]
        dent = cv2.GaussianBlur(stitches, (0, 0), 3.5 * unit)
        dome = cv2.GaussianBlur(stitches, (0, 0), 1.0 * unit)
        x, y = frame.axes()
        ply = 0.84 + 0.16 * np.sin((y - x) * 2 * np.pi / 2.4)
        thread = 0.6 * linear(self.ground) + 0.4 * turned_hue(linear(self.yarn), self.yarn_hue)
        colour = painted(colour * (1 - 0.7 * dent * (1 - stitches))[..., None], thread * ply[..., None], stitches)
        height = height - unit * 5 * dent + unit * 5 * dome
        gloss = 0.03 + 0.07 * body * planes["woven"]
        return raised(colour, height, planes["outline"], gloss, 0.0, 0.15, 4.0, 0.10, 2.5 * unit)
