"""Drawn things that no gallery knows, lying on a surface: toys, plants, gadgets, cups, tools ..."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.noise import fbm, streaks, stream
from hallmark.data.drawing.shapes import Frame, dome
from hallmark.data.drawing.surface import Surface, bright, filled, linear, painted, raised


def _toy_bricks(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    colour, height = filled(frame.shape, linear("#cccccc")), np.zeros(frame.shape, np.float32)
    outline = np.zeros(frame.shape, np.float32)
    for _ in range(int(rng.integers(2, 5))):
        cols, rows = int(rng.integers(2, 5)), int(rng.integers(1, 3))
        cx, cy = rng.uniform(150, 362, 2)
        body = shapes.round_rect(frame, (cx, cy), (cols * 28, rows * 28), 4)
        inside, paint = shapes.cover(body, frame), bright(rng)
        colour = painted(colour * (1 - 0.5 * np.exp(-np.clip(body, 0, None) / 7))[..., None], paint, inside)
        top = dome(body, frame, 4, 6)
        for k in range(cols * rows):
            stud = (cx + (k % cols - (cols - 1) / 2) * 56, cy + (k // cols - (rows - 1) / 2) * 56)
            top = top + dome(shapes.circle(frame, stud, 17), frame, 3, 7)
        height = height * (1 - inside) + inside * top
        outline = np.maximum(outline, inside)
    return raised(colour, height, outline, 0.25, 0.0, 0.8, 16.0, 0.05, 5 * frame.unit)


def _leaves(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    x, y = frame.axes()
    colour, height = filled(frame.shape, linear("#3d6b2e")), np.zeros(frame.shape, np.float32)
    outline = np.zeros(frame.shape, np.float32)
    for _ in range(int(rng.integers(3, 8))):
        cx, cy = rng.uniform(110, 402, 2)
        turn, long = rng.uniform(0, 2 * np.pi), rng.uniform(80, 160)
        along = ((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)) / long
        across = ((y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)) / long
        width = 0.36 * np.cos(np.clip(along, -1, 1) * np.pi / 2) ** 0.8
        body = (np.abs(across) - width) * long + 40 * np.clip(np.abs(along) - 1, 0, None) * long
        vein = np.exp(-((across * long / 2.2) ** 2))
        ribs = np.exp(-(np.sin((along - np.abs(across)) * 22) ** 2) * 18)
        inside = shapes.cover(body, frame)
        green = linear("#4f8a36") * rng.uniform(0.5, 1.3) * np.array([rng.uniform(0.7, 2.2), 1, 0.8], np.float32)
        shaded = painted(filled(frame.shape, green), 1.7 * green, np.clip(vein + 0.4 * ribs, 0, 1))
        colour = painted(colour * (1 - 0.5 * np.exp(-np.clip(body, 0, None) / 6))[..., None], shaded, inside)
        height = height * (1 - inside) + inside * frame.unit * (8 - 12 * np.abs(across) - 2 * vein - ribs)
        outline = np.maximum(outline, inside)
    return raised(colour, height.astype(np.float32), outline, 0.10, 0.0, 0.4, 8.0, 0.05, 4 * frame.unit)


def _remote(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    half = (float(rng.uniform(70, 110)), 215.0)
    body = shapes.round_rect(frame, (256, 256), half, 34)
    height = dome(body, frame, 22, 16)
    colour = filled(frame.shape, linear("#26282c") * rng.uniform(0.6, 4.0))
    for row in range(8):
        for col in range(3):
            centre = (256 + (col - 1) * half[0] * 0.58, 120 + row * 40.0)
            key = shapes.circle(frame, centre, 13.0)
            inside = shapes.cover(key, frame)
            paint = linear("#c23a2e") if (row, col) == (0, 0) else linear("#7d8187")
            colour = painted(colour * (1 - 0.4 * np.exp(-np.clip(key, 0, None) / 2))[..., None], paint, inside)
            height = height + dome(key, frame, 8, 6)
    return raised(colour, height, shapes.cover(body, frame), 0.16, 0.0, 0.6, 18.0, 0.05, 4 * frame.unit)


def _mug(frame: Frame, seed: int) -> Surface:
    """A cup of coffee from above, with its handle and saucer."""
    rng = stream(seed, "things")
    glaze = bright(rng)
    saucer = shapes.circle(frame, (256, 256), 205)
    height = dome(saucer, frame, 70, 20) - dome(shapes.circle(frame, (256, 256), 165), frame, 60, 10)
    colour = filled(frame.shape, glaze)
    turn = rng.uniform(0, 2 * np.pi)
    tip = (256 + 165 * np.cos(turn), 256 + 165 * np.sin(turn))
    handle = shapes.capsules(frame, np.array([[256, 256, *tip]]), 24)
    cup, tea = shapes.circle(frame, (256, 256), 128), shapes.circle(frame, (256, 256), 112)
    shade = np.exp(-np.clip(cup, 0, None) / 14)
    colour = colour * (1 - 0.55 * shade)[..., None]
    colour = painted(colour, glaze, np.maximum(handle, shapes.cover(cup, frame)))
    foam = fbm(frame.shape, 60 * frame.unit, 5, stream(seed, "foam"))
    drink = painted(filled(frame.shape, linear("#3a1d0d")), linear("#b98a56"), np.clip(0.3 + 0.4 * foam, 0, 1))
    colour = painted(colour, drink * (1 - 0.4 * np.exp(tea / 12))[..., None], shapes.cover(tea, frame))
    rim = np.sqrt(np.clip(1 - ((cup + 8) / 8) ** 2, 0, 1))
    height = height + frame.unit * (10 * rim + 8 * cv2.GaussianBlur(handle, (0, 0), 5 * frame.unit))
    outline = np.maximum(shapes.cover(saucer, frame), handle)
    return raised(colour, height.astype(np.float32), outline, 0.22, 0.0, 0.85, 18.0, 0.02)


def _spanner(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    x, y = frame.axes()
    turn = rng.uniform(0, np.pi)
    along = (x - 256) * np.cos(turn) + (y - 256) * np.sin(turn)
    across = (y - 256) * np.cos(turn) - (x - 256) * np.sin(turn)
    bar = np.maximum(np.abs(along) - 170, np.abs(across) - 24)
    head = np.hypot(along - 175, across) - 58
    jaw = np.maximum(np.abs(across) - 24, -(along - 165))
    ring = np.hypot(along + 180, across) - 48
    hole = np.hypot(along + 180, across) - 26
    body = np.maximum(np.maximum(np.minimum(np.minimum(bar, head), ring), -jaw), -hole)
    groove = np.maximum(np.abs(along) - 110, np.abs(across) - 10)
    height = dome(body, frame, 10, 9) - dome(groove, frame, 6, 4)
    brushed = streaks(frame.shape, max(3, round(20 * frame.unit)), stream(seed, "brushed"))
    colour = filled(frame.shape, linear("#b9bcc0")) * (1 + 0.05 * brushed)[..., None]
    return raised(colour, height.astype(np.float32), shapes.cover(body, frame), 0.0, 0.95, 0.6, 10.0, 0.03)


def _pencils(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    x, y = frame.axes()
    colour, height = filled(frame.shape, linear("#808080")), np.zeros(frame.shape, np.float32)
    outline = np.zeros(frame.shape, np.float32)
    for k in range(int(rng.integers(5, 9))):
        turn, cx = rng.normal(0, 0.06), 90 + k * 46 + rng.normal(0, 4)
        across = np.abs((x - cx) + (y - 256) * turn)
        start = rng.uniform(50, 110)
        width = 17 * np.clip((y - start) / 46, 0, 1)
        body = np.maximum(across - width, y - rng.uniform(440, 480))
        inside = shapes.cover(body, frame)
        paint = bright(rng)
        cone = painted(
            filled(frame.shape, paint), linear("#dcb888"), ((y - start) < 44 + 3 * np.sin(across)).astype(np.float32)
        )
        cone = painted(cone, paint, ((y - start) < 15).astype(np.float32) + 0 * across)
        colour = painted(colour * (1 - 0.5 * np.exp(-np.clip(body, 0, None) / 6))[..., None], cone, inside)
        facets = 14 - np.maximum(np.abs(across - 8), 5.5 * np.abs(np.floor(across / 6)))
        height = height * (1 - inside) + inside * frame.unit * facets
        outline = np.maximum(outline, inside)
    return raised(colour, height.astype(np.float32), outline, 0.14, 0.0, 0.6, 10.0, 0.03)


def _buttons(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    colour, height = filled(frame.shape, linear("#808080")), np.zeros(frame.shape, np.float32)
    outline = np.zeros(frame.shape, np.float32)
    marbled = 1 + 0.15 * fbm(frame.shape, 40 * frame.unit, 3, stream(seed, "marbled"))
    for _ in range(int(rng.integers(3, 7))):
        centre, radius = tuple(float(v) for v in rng.uniform(90, 422, 2)), float(rng.uniform(34, 68))
        disc = shapes.circle(frame, centre, radius)
        holes = np.full(frame.shape, 1e3, np.float32)
        for k in range(4):
            angle = np.pi / 4 + k * np.pi / 2
            spot = (centre[0] + 0.22 * radius * np.cos(angle), centre[1] + 0.22 * radius * np.sin(angle))
            holes = np.minimum(holes, shapes.circle(frame, spot, 0.09 * radius))
        inside, bored = shapes.cover(disc, frame), shapes.cover(holes, frame)
        swirl = bright(rng) * marbled[..., None]
        colour = painted(colour * (1 - 0.5 * np.exp(-np.clip(disc, 0, None) / 7))[..., None], swirl, inside)
        colour = painted(colour, linear("#14110f"), bored)
        top = dome(disc, frame, 8, 9) - dome(disc + 0.28 * radius, frame, 8, 5)
        height = height * (1 - inside) + inside * (top + 3)
        outline = np.maximum(outline, inside)
    return raised(colour, height, outline, 0.22, 0.0, 0.75, 8.0, 0.05)


def _biscuits(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    x, y = frame.axes()
    colour, height = filled(frame.shape, linear("#b57f42")), np.zeros(frame.shape, np.float32)
    outline = np.zeros(frame.shape, np.float32)
    crumb = fbm(frame.shape, 26 * frame.unit, 5, stream(seed, "crumb"), 0.7)
    for _ in range(int(rng.integers(1, 4))):
        cx, cy = rng.uniform(170, 342, 2)
        radius = rng.uniform(95, 150)
        heading = np.arctan2(y - cy, x - cx)
        body = np.hypot(x - cx, y - cy) - radius - 4 * np.sin(5 * heading + rng.uniform(0, 6)) - 2 * crumb
        inside = shapes.cover(body, frame)
        baked = (
            linear("#c8934f") * np.clip(1 + 0.22 * crumb - 0.5 * np.exp(np.clip(body, None, 0) / 16), 0.1, 2)[..., None]
        )
        colour = painted(colour * (1 - 0.5 * np.exp(-np.clip(body, 0, None) / 8))[..., None], baked, inside)
        top = dome(body, frame, 40, 16) + frame.unit * 1.8 * crumb
        chips = np.full(frame.shape, 1e3, np.float32)
        for _ in range(12):
            angle, far = rng.uniform(0, 2 * np.pi), radius * 0.85 * np.sqrt(rng.random())
            spot = (cx + far * np.cos(angle), cy + far * np.sin(angle))
            chips = np.minimum(chips, shapes.circle(frame, spot, rng.uniform(6, 14)))
        colour = painted(colour, linear("#2c150b"), shapes.cover(chips + crumb, frame) * inside)
        top = top + dome(chips + crumb, frame, 7, 4)
        height = height * (1 - inside) + inside * top
        outline = np.maximum(outline, inside)
    return raised(colour, height.astype(np.float32), outline, 0.05, 0.0, 0.3, 12.0, 0.05)


ODDMENTS: dict[str, Callable[[Frame, int], Surface]] = {
    "toy_bricks": _toy_bricks,
    "leaves": _leaves,
    "remote": _remote,
    "mug": _mug,
    "spanner": _spanner,
    "pencils": _pencils,
    "buttons": _buttons,
    "biscuits": _biscuits,
}
