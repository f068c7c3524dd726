"""Photographs of nothing in the gallery, by family: drawn oddments and the photographs that scikit-image carries."""

from __future__ import annotations

from functools import lru_cache
from importlib import util
from itertools import chain, zip_longest
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hallmark.data.drawing.noise import stream
from hallmark.data.drawing.oddments import ODDMENTS
from hallmark.data.drawing.scenes import SCENES
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface

_DRAWN = {**ODDMENTS, **SCENES}
_PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "coffee": "coffee.png",
    "cat": "chelsea.png",
    "rocket": "rocket.jpg",
    "galaxies": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "tissue": "ihc.png",
    "coins": "coins.png",
    "cameraman": "camera.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "grass": "grass.png",
    "brick_wall": "brick.png",
}


def _folder() -> Path | None:
    found = util.find_spec("skimage")
    return Path(found.origin).parent / "data" if found and found.origin else None


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """The families there are, drawn ones and photographs in turn; without scikit-image only the drawn ones."""
    folder = _folder()
    carried = [name for name, file in _PHOTOGRAPHS.items() if folder is not None and (folder / file).is_file()]
    return tuple(name for name in chain.from_iterable(zip_longest(_DRAWN, carried)) if name)


def unrelated_surface(family: str, frame: Frame, seed: int) -> Surface:
    """One picture of a family."""
    return _DRAWN[family](frame, seed) if family in _DRAWN else _photograph(family, frame, seed)


@lru_cache(maxsize=4)
def _loaded(family: str) -> np.ndarray:
    with Image.open(_folder() / _PHOTOGRAPHS[family]) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((1024, 1024))
        return np.asarray(picture)


def _photograph(family: str, frame: Frame, seed: int) -> Surface:
    """A random piece of a photograph, as a picture without relief that fills the frame."""
    rng = stream(seed, "piece")
    picture = _loaded(family)
    height, width = picture.shape[:2]
    fit = max(frame.height / height, frame.width / width) * rng.uniform(1.0, 1.6)
    shown = np.array([frame.width, frame.height]) / fit
    left = rng.uniform(0, 1, 2) * np.maximum(np.array([width, height]) - shown, 0)
    move = np.array([[fit, 0, -left[0] * fit], [0, fit, -left[1] * fit]])
    piece = cv2.warpAffine(picture, move, (frame.width, frame.height), borderMode=cv2.BORDER_REFLECT_101)
    matter = np.ones((*frame.shape, 4), np.float32)
    matter[..., :3] = (piece.astype(np.float32) / 255) ** 2.2
    return Surface(matter, np.zeros((*frame.shape, 4), np.float32), 0.3, 0.0)
