"""Drawn pictures of nothing that a gallery knows, which fill the frame: pages, pebbles, plaid, circuits, books."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hallmark.data.drawing import shapes
from hallmark.data.drawing.lettering import Lettering, straight
from hallmark.data.drawing.noise import cell_borders, displaced, fbm, grain, stream
from hallmark.data.drawing.shapes import Frame, dome
from hallmark.data.drawing.surface import Surface, bright, filled, linear, painted, raised

_WORDS = ("harvest", "river", "letter", "window", "garden", "morning", "silver", "paper", "cloud", "stone", "winter")


def _text_page(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    ink = np.zeros(frame.shape, np.float32)
    font = str(rng.choice(["roman", "didone", "typewriter", "sans"]))
    cap = float(rng.uniform(8, 14))
    for y in np.arange(70, 470, 2.5 * cap):
        words = " ".join(rng.choice(_WORDS, max(2, int(330 / (5.6 * cap)))))
        ink = np.maximum(ink, straight(Lettering(words, font, cap, glyph=-1), frame, (256, float(y))))
    page = shapes.round_rect(frame, (256, 256), (205, 232), 2)
    ink = ink * shapes.cover(page + 22, frame)
    tooth = grain(frame.shape, 1.0, stream(seed, "tooth"))
    colour = painted(
        filled(frame.shape, linear("#eee8d9")) * (1 + 0.02 * tooth)[..., None], linear("#201d1b"), 0.9 * ink
    )
    height = frame.unit * (0.15 * tooth + 6 * fbm(frame.shape, 300, 2, stream(seed, "curl")))
    return raised(colour, height, shapes.cover(page, frame), 0.02, 0.0, 0.2, 3.0)


def _pebbles(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    borders = cell_borders(frame.shape, float(rng.uniform(50, 90)) * frame.unit, stream(seed, "cells"))
    bent = displaced(borders, 6 * frame.unit, 40 * frame.unit, stream(seed, "bent"))
    inside = np.clip(bent / (22 * frame.unit), 0, 1)
    height = 16 * frame.unit * np.sqrt(np.clip(1 - (1 - inside) ** 2, 0, 1))
    tone = fbm(frame.shape, 60 * frame.unit, 5, stream(seed, "tone"), 0.6)
    colour = painted(filled(frame.shape, linear("#b3a795")), linear("#5d6468"), np.clip(0.5 + 0.35 * tone, 0, 1))
    colour = colour * np.clip(0.25 + inside, 0, 1)[..., None]
    return raised(colour, height, np.ones(frame.shape, np.float32), 0.08, 0.0, 0.4, 4.0, 0.03)


def _plaid(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    x, y = frame.axes()
    colour = filled(frame.shape, bright(rng) * 0.6)
    for _ in range(int(rng.integers(3, 6))):
        pitch, width, paint = rng.uniform(60, 150), rng.uniform(6, 40), bright(rng)
        for axis in (x + 0 * y, y + 0 * x):
            colour = painted(colour, paint, 0.45 * ((axis % pitch) < width).astype(np.float32))
    twill = 0.5 + 0.5 * np.sin((x + y) * 2 * np.pi / 4.2)
    folds = fbm(frame.shape, 200 * frame.unit, 3, stream(seed, "folds"), 0.4)
    height = frame.unit * (0.8 * twill + 9 * folds)
    colour = colour * (0.8 + 0.25 * twill)[..., None]
    return raised(colour, height, np.ones(frame.shape, np.float32), 0.01, 0.0, 0.2, 4.0, 0.06)


def _circuit(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    board = shapes.round_rect(frame, (256, 256), (228, 228), 8)
    ends = []
    for _ in range(120):
        x, y = rng.integers(4, 45, 2) * 10.5
        reach = rng.integers(2, 10) * 10.5
        ends.append((x, y, x + reach, y) if rng.random() < 0.5 else (x, y, x, y + reach))
    traces = shapes.capsules(frame, np.array(ends), 3.0)
    colour = painted(filled(frame.shape, linear("#14532f")), linear("#2f8f57"), traces)
    height, metal = frame.unit * 0.8 * traces, np.zeros(frame.shape, np.float32)
    for _ in range(14):
        centre = tuple(float(v) for v in rng.uniform(60, 452, 2))
        half = tuple(float(v) for v in rng.uniform(9, 44, 2))
        chip = shapes.round_rect(frame, centre, half, 2)
        pins = shapes.cover(np.abs(chip - 3) - 3, frame) * (np.sin(sum(frame.axes()) * 1.1) > 0)
        inside = shapes.cover(chip, frame)
        colour = painted(painted(colour, linear("#c8ccd0"), pins), linear("#1b1b1e"), inside)
        metal = np.maximum(metal * (1 - inside), pins)
        height = height * (1 - inside) + dome(chip, frame, 3, 7)
    return raised(colour, height.astype(np.float32), shapes.cover(board, frame), 0.12, metal, 0.6, 7.0, 0.06)


def _books(frame: Frame, seed: int) -> Surface:
    rng = stream(seed, "things")
    x, y = frame.axes()
    colour, height = filled(frame.shape, linear("#1a1512")), np.zeros(frame.shape, np.float32)
    left = -10.0
    while left < 512:
        width = float(rng.uniform(44, 92))
        spine = np.abs(x - left - width / 2) - width / 2 + 1 + 0 * y
        inside, paint = shapes.cover(spine, frame), bright(rng) * rng.uniform(0.3, 0.9)
        title = Lettering(" ".join(rng.choice(_WORDS, 2)), "roman-bold", 0.30 * width, 1.0, glyph=-1)
        letters = straight(title, frame, (left + width / 2, 256), np.pi / 2)
        bars = ((np.abs(y - 60) < 4) | (np.abs(y - 452) < 4)).astype(np.float32)
        printed = np.maximum(letters, bars * shapes.cover(spine + 3, frame))
        colour = painted(colour, painted(filled(frame.shape, paint), linear("#e3c987"), printed), inside)
        height = np.maximum(height, dome(spine, frame, 0.5 * width, 16))
        left += width + 2
    weave = grain(frame.shape, 0.8 * frame.unit, stream(seed, "weave"))
    colour *= (1 + 0.06 * weave)[..., None]
    return raised(colour, height + 0.3 * weave, np.ones(frame.shape, np.float32), 0.05, 0.0, 0.3, 4.0, 0.02)


SCENES: dict[str, Callable[[Frame, int], Surface]] = {
    "text_page": _text_page,
    "pebbles": _pebbles,
    "plaid": _plaid,
    "circuit": _circuit,
    "books": _books,
}
