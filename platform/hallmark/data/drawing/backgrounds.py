"""What the products lie on: a library of drawn surfaces, the same for genuine and counterfeit."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from hallmark.data.drawing.noise import cell_borders, displaced, fbm, fibres, grain, lattice, spots, streaks, stream
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface, filled, linear, painted, raised

_SIDE = 1000
_UNIT = 1.75
_SHAPE = (_SIDE, _SIDE)
Drawn = tuple[np.ndarray, np.ndarray, float]
"""colour (H, W, 3) linear RGB, height (H, W) px, gloss"""


def ground(name: str, frame: Frame, seed: int) -> Surface:
    """A surface of the library under the product: a piece of it, turned and scaled by the seed."""
    colour, slope, gloss = _tile(name)
    rng = stream(seed, "ground")
    turn, scale = rng.uniform(0, 2 * np.pi), frame.unit / _UNIT * rng.uniform(0.95, 1.5)
    flip = rng.choice([-1.0, 1.0])
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn) * flip, np.cos(turn) * flip]]) * scale
    centre = np.array([frame.width, frame.height]) / 2 + rng.uniform(-60, 60, 2) * frame.unit
    move = np.column_stack([turned, centre - turned @ np.array([_SIDE / 2, _SIDE / 2])])
    size = (frame.width, frame.height)
    shown = cv2.warpAffine(colour, move, size, borderMode=cv2.BORDER_REFLECT_101)
    tilt = cv2.warpAffine(slope, move, size, borderMode=cv2.BORDER_REFLECT_101)
    tint = rng.uniform(0.80, 1.12) * (1 + rng.normal(0, 0.025, 3))
    matter = np.empty((*frame.shape, 4), np.float32)
    matter[..., :3] = cv2.LUT(shown, (_LINEAR[:, None] * tint).astype(np.float32)[:, None])
    matter[..., 3] = 1
    relief = np.zeros((*frame.shape, 4), np.float32)
    # The slopes turn with the piece; on the tile they are stored about 128.
    turn_slopes = turned / scale / 127
    relief[..., :2] = cv2.transform(tilt.astype(np.float32), np.column_stack([turn_slopes, turn_slopes @ [-128, -128]]))
    relief[..., 2] = gloss
    return Surface(matter, relief, 0.3, 0.0)


_LINEAR = ((np.arange(256) / 255) ** 2.2).astype(np.float32)


@lru_cache(maxsize=32)
def _tile(name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """One surface as uint8: sRGB-like colours and slopes about 128, so that the whole library stays small."""
    colour, height, gloss = SURFACES[name](name)
    made = raised(colour, height, np.ones(_SHAPE, np.float32), hollow=0.10, reach_px=4)
    shown = np.clip(made.matter[..., :3], 0, 1) ** (1 / 2.2) * 255
    slope = np.clip(made.relief[..., :2] * 127 + 128, 0, 255)
    return np.rint(shown).astype(np.uint8), np.rint(slope).astype(np.uint8), gloss


def _seeded(name: str, effect: str) -> np.random.Generator:
    return stream(sum(map(ord, name)), f"{name}/{effect}")


def _wood(light: str, dark: str, plank: float) -> Callable[[str], Drawn]:
    def draw(name: str) -> Drawn:
        y = np.arange(_SIDE, dtype=np.float32)[:, None]
        bend = lattice(_SHAPE, (80, 420), _seeded(name, "bend")) * 26
        board = (y // plank).astype(int)
        shift = _seeded(name, "boards").uniform(-400, 400, 99)[board].astype(np.float32)
        rings = np.sin((y + bend + shift) / 7.5 + 2 * lattice(_SHAPE, (30, 500), _seeded(name, "rings")))
        pores = streaks(_SHAPE, 55, _seeded(name, "pores"))
        tone = np.clip(0.5 + 0.22 * rings + 0.16 * pores + 0.10 * np.sin(shift), 0, 1)
        gap = np.exp(-(((y % plank) - plank / 2) ** 2 / 3.0)) + 0 * rings
        colour = painted(filled(_SHAPE, linear(light)), linear(dark), tone)
        return colour * (1 - 0.75 * gap)[..., None], 0.5 * rings - 0.5 * pores - 4 * gap, 0.05

    return draw


def _cloth(first: str, second: str, pitch: int, slack: float) -> Callable[[str], Drawn]:
    def draw(name: str) -> Drawn:
        rows, cols = np.indices(_SHAPE, dtype=np.float32)
        over = ((rows // pitch + cols // pitch) % 2).astype(np.float32)
        weft = np.sin(np.pi * (rows % pitch + 0.5) / pitch)
        warp = np.sin(np.pi * (cols % pitch + 0.5) / pitch)
        body = over * weft + (1 - over) * warp
        thick = 0.6 * streaks(_SHAPE, 60, _seeded(name, "weft")) * over
        thick += 0.6 * streaks(_SHAPE, 60, _seeded(name, "warp"), vertical=True) * (1 - over)
        folds = fbm(_SHAPE, 260, 3, _seeded(name, "folds"), 0.4)
        colour = painted(filled(_SHAPE, linear(first)), linear(second), over)
        colour = colour * np.clip(0.55 + 0.45 * body + 0.10 * thick, 0.1, 1.5)[..., None]
        weave = displaced(1.3 * body + 0.3 * thick, slack, 40, _seeded(name, "slack"))
        return displaced(colour, slack, 40, _seeded(name, "slack")), weave + 5 * folds, 0.01

    return draw


def _denim(name: str) -> Drawn:
    rows, cols = np.indices(_SHAPE, dtype=np.float32)
    slub = 0.5 * streaks(_SHAPE, 60, _seeded(name, "yarn"), vertical=True)
    twill = 0.5 + 0.5 * np.sin((cols + rows * 0.9) * 2 * np.pi / 6 + 0.5 * slub)
    bright = np.clip(np.sin(cols * 2 * np.pi / 5.1 + slub) * 0.5 + 0.5, 0, 1) * twill
    faded = fbm(_SHAPE, 200, 4, _seeded(name, "faded"))
    pale = np.clip(0.30 * bright + 0.05 * slub + 0.05 * faded, 0, 1)
    return painted(filled(_SHAPE, linear("#2c3f63")), linear("#a9b7c9"), pale), 1.3 * bright + 1.5 * faded, 0.01


def _felt(name: str) -> Drawn:
    hairs = fibres(_SHAPE, 16000, 26, _seeded(name, "hairs"))
    nap = grain(_SHAPE, 0.8, _seeded(name, "nap"))
    cloud = fbm(_SHAPE, 200, 3, _seeded(name, "cloud"))
    tone = np.clip(0.85 + 0.22 * hairs + 0.05 * nap + 0.03 * cloud, 0, 2)
    return filled(_SHAPE, linear("#5c6b58")) * tone[..., None], 0.7 * hairs + 0.15 * nap + 0.4 * cloud, 0.0


def _slate(name: str) -> Drawn:
    layers = fbm(_SHAPE, 220, 7, _seeded(name, "layers"), 0.62)
    steps = np.floor(layers * 3) / 3
    steps = cv2.GaussianBlur(steps, (0, 0), 1.0)
    rust = np.clip(fbm(_SHAPE, 160, 5, _seeded(name, "rust")) - 1.1, 0, 1)
    colour = filled(_SHAPE, linear("#474b50")) * (1 + 0.10 * layers)[..., None]
    return painted(colour, linear("#6b5546"), 0.4 * rust), 4 * steps + 1.2 * layers, 0.05


def _marble(name: str) -> Drawn:
    slant = np.indices(_SHAPE, dtype=np.float32).sum(axis=0) / 230
    bent = slant + 0.55 * fbm(_SHAPE, 260, 6, _seeded(name, "field"), 0.55)
    veins = np.exp(-((np.sin(np.pi * bent) / 0.035) ** 2)) * np.clip(
        fbm(_SHAPE, 90, 3, _seeded(name, "strength")), 0, 1
    )
    haze = np.exp(-((np.sin(np.pi * bent) / 0.35) ** 2))
    cloud = fbm(_SHAPE, 150, 5, _seeded(name, "cloud"))
    colour = filled(_SHAPE, linear("#e9e7e3")) * (1 + 0.04 * cloud)[..., None]
    return painted(colour, linear("#85868c"), np.clip(0.6 * veins + 0.25 * haze, 0, 1)), 0.02 * cloud, 0.10


def _granite(name: str) -> Drawn:
    rng = _seeded(name, "grains")
    first, second = grain(_SHAPE, 3.0, rng), grain(_SHAPE, 2.0, rng)
    colour = painted(filled(_SHAPE, linear("#9a948e")), linear("#d8d0c8"), np.clip(first - 0.2, 0, 1))
    colour = painted(colour, linear("#2b2a2c"), np.clip(3 * (second - 0.9), 0, 1))
    return painted(colour, linear("#a77a66"), np.clip(2 * (-first - 1.0), 0, 0.7)), 0.05 * first, 0.10


def _concrete(name: str) -> Drawn:
    cloud = fbm(_SHAPE, 200, 7, _seeded(name, "cloud"), 0.6)
    holes = spots(_SHAPE, 46, 2.2, _seeded(name, "holes"), 0.8, 1.6)
    sand = grain(_SHAPE, 0.8, _seeded(name, "sand"))
    tone = np.clip(1 + 0.07 * cloud + 0.05 * sand - 0.5 * holes, 0.2, 2)
    colour = filled(_SHAPE, linear("#a5a39d")) * tone[..., None]
    return colour, 0.6 * cloud + 0.25 * sand - 3 * holes, 0.01


def _paper(shade: str, strength: float) -> Callable[[str], Drawn]:
    def draw(name: str) -> Drawn:
        lint = fibres(_SHAPE, 2600, 40, _seeded(name, "lint"))
        cloud = fbm(_SHAPE, 60, 5, _seeded(name, "cloud"), 0.65)
        flecks = fibres(_SHAPE, 260, 12, _seeded(name, "flecks"))
        tone = 1 + strength * (0.35 * lint + 0.10 * cloud) - 0.9 * strength * flecks
        return filled(_SHAPE, linear(shade)) * tone[..., None], strength * (1.6 * lint + 1.2 * cloud), 0.01

    return draw


def _mat(name: str) -> Drawn:
    rows, cols = np.indices(_SHAPE, dtype=np.float32)
    line = np.maximum(np.abs(rows % 60 - 30) < 0.9, np.abs(cols % 60 - 30) < 0.9).astype(np.float32)
    tooth = grain(_SHAPE, 1.2, _seeded(name, "tooth"))
    cuts = np.clip(fibres(_SHAPE, 60, 260, _seeded(name, "cuts")), 0, 1)
    colour = painted(filled(_SHAPE, linear("#2f6156")), linear("#b9cdbd"), 0.7 * cv2.GaussianBlur(line, (0, 0), 0.7))
    return painted(colour, linear("#1f4038"), 0.4 * cuts), 0.4 * tooth - cuts, 0.05


def _steel(name: str) -> Drawn:
    brushed = streaks(_SHAPE, 120, _seeded(name, "brushed"))
    cloud = fbm(_SHAPE, 200, 3, _seeded(name, "cloud"))
    colour = filled(_SHAPE, linear("#9ea3a8")) * np.clip(1 + 0.10 * brushed + 0.05 * cloud, 0.3, 2)[..., None]
    return colour, 0.25 * brushed, 0.14


def _cork(name: str) -> Drawn:
    borders = cell_borders(_SHAPE, 15, _seeded(name, "cells"))
    granules = displaced(1 - np.exp(-borders / 1.8), 2.5, 12, _seeded(name, "bent"))
    tone = lattice(_SHAPE, 13, _seeded(name, "tone"))
    pores = grain(_SHAPE, 0.7, _seeded(name, "pores"))
    bark = np.clip(1.6 * (grain(_SHAPE, 3.0, _seeded(name, "bark")) - 2.0), 0, 1)
    light = np.clip(1 + 0.07 * tone + 0.05 * pores, 0, 2) * (0.82 + 0.18 * granules)
    colour = painted(filled(_SHAPE, linear("#c39a66")) * light[..., None], linear("#6b4526"), 0.8 * bark)
    return colour, 0.6 * granules + 0.25 * pores - 0.8 * bark, 0.01


def _tile_floor(name: str) -> Drawn:
    rows, cols = np.indices(_SHAPE, dtype=np.float32)
    edge = np.minimum(np.abs(rows % 240 - 120), np.abs(cols % 240 - 120))
    joint = np.clip(1 - edge / 5, 0, 1)
    cloud = fbm(_SHAPE, 90, 6, _seeded(name, "cloud"), 0.6)
    colour = filled(_SHAPE, linear("#a8623f")) * np.clip(1 + 0.13 * cloud, 0.3, 2)[..., None]
    return painted(colour, linear("#b8ad9c"), joint), 0.8 * cloud - 5 * joint, 0.04


SURFACES: dict[str, Callable[[str], Drawn]] = {
    "oak": _wood("#c79a63", "#8a5c30", 180),
    "walnut": _wood("#7b5235", "#3a2416", 260),
    "grey_boards": _wood("#a19a90", "#5f5850", 140),
    "linen": _cloth("#d8ccb4", "#c9bb9f", 7, 2.0),
    "navy_cloth": _cloth("#2b3550", "#36415f", 6, 1.5),
    "denim": _denim,
    "felt": _felt,
    "slate": _slate,
    "marble": _marble,
    "granite": _granite,
    "concrete": _concrete,
    "kraft_paper": _paper("#b68c5a", 0.30),
    "white_paper": _paper("#e9e6df", 0.08),
    "cutting_mat": _mat,
    "steel": _steel,
    "cork": _cork,
    "floor_tiles": _tile_floor,
}
