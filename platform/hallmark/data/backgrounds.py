"""What a product may be laid on: photographs of a folder, drawn surfaces, and other photographs' own backgrounds.

No draw looks at a label: genuine and counterfeit photographs draw from one pool with one distribution, else the
background would tell them apart.
"""

from __future__ import annotations

import posixpath
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import fsspec
import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.data.composite import CompositeConfig, replace_background
from hallmark.data.decode import decode
from hallmark.data.drawing import camera
from hallmark.data.drawing.backgrounds import SURFACES, ground
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface
from hallmark.data.foreground import given_mask, read_mask
from hallmark.data.listing import read_bytes
from hallmark.errors import DataError, HallmarkError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_SIDE_PX = 640
_VARIANTS = 3
_CACHE_BYTES = 96 * 2**20
_SMALLEST_PIECE = 0.08
_LARGEST_ZOOM = 1.6


class BackgroundConfig(Config):
    """How often a training photograph's background is replaced, and by what."""

    probability: float = Field(
        0.5, ge=0, le=1, description="share of training photographs whose background is replaced"
    )
    folder: str | None = Field(None, description="folder of background photographs, a path or fsspec URI")
    drawn: bool = Field(True, description="draw from the library of drawn surfaces too")
    own_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the draws that take another photograph's own background, where there are any",
    )


@dataclass(frozen=True)
class Masked:
    """A photograph of the set and its foreground mask, as URIs; nothing says whether it is genuine."""

    uri: str
    mask_uri: str


class BackgroundLibrary:
    """A pool of backgrounds, drawn at random; light to pickle, since pixels are read where they are drawn.

    Args:
        config: which sources there are.
        own: photographs of the set, genuine and counterfeit alike, whose own backgrounds are shared out.

    Raises:
        DataError: the folder cannot be listed or holds no photograph, or there is no source at all.
    """

    def __init__(self, config: BackgroundConfig, own: Sequence[Masked] = ()):
        self.config = config
        self.own = tuple(own) if config.own_share > 0 else ()
        self.files = () if config.folder is None else _listed(config.folder)
        self.skipped: Counter[str] = Counter()
        """Times that a file could not be used, by its URI and the reason; of this process."""
        self._cache: OrderedDict[str, np.ndarray | None] = OrderedDict()
        if not (self.own or self.files or config.drawn):
            raise DataError(
                "backgrounds: found no source; wanted a folder (backgrounds.folder), drawn surfaces "
                "(backgrounds.drawn: true) or photographs with foreground masks (mask_uri)"
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": OrderedDict(), "skipped": Counter()}

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A random piece of a random background that covers (height, width), as (height, width, 3) uint8 RGB.

        A file that cannot be used is counted in `skipped`, and the next one of its source takes its place.

        Raises:
            DataError: no file of the source that was drawn can be used.
        """
        own, rest, kind = rng.random(), rng.random(), rng.random()
        start = int(rng.integers(2**31))
        if self.own and (own < self.config.own_share or not (self.files or self.config.drawn)):
            picture = self._usable([f"{pair.uri}\n{pair.mask_uri}" for pair in self.own], start, _own_background)
        elif self.files and (kind < 0.5 or not self.config.drawn):
            picture = self._usable(self.files, start, _photograph)
        else:
            names = list(SURFACES)
            name, variant = names[start % len(names)], int(rest * _VARIANTS)
            picture = self._kept(f"{name}\n{variant}", _drawn_surface)
        return _piece(picture, rng, height, width)

    def _usable(self, keys: Sequence[str], start: int, load: Callable[[str], np.ndarray]) -> np.ndarray:
        for step in range(len(keys)):
            picture = self._kept(keys[(start + step) % len(keys)], load)
            if picture is not None:
                return picture
        first = next(iter(self.skipped), keys[0])
        raise DataError(
            f"backgrounds: none of {len(keys)} files can be used; the first: {first}; wanted photographs with "
            "background beside the product; mend backgrounds.folder, or set backgrounds.own_share to 0"
        )

    def _kept(self, key: str, load: Callable[[str], np.ndarray]) -> np.ndarray | None:
        """The picture of a key from memory or its source; None where it cannot be used."""
        if key not in self._cache:
            try:
                self._cache[key] = load(key)
            except HallmarkError as error:
                self.skipped[f"{key.splitlines()[0]}: {error}"] += 1
                self._cache[key] = None
        self._cache.move_to_end(key)
        while len(self._cache) > 1 and self._cached_bytes() > _CACHE_BYTES:
            self._cache.popitem(last=False)
        return self._cache[key]

    def _cached_bytes(self) -> int:
        return sum(0 if picture is None else picture.nbytes for picture in self._cache.values())


class BackgroundReplacement:
    """Replaces the background of a training photograph with the library's probability."""

    def __init__(self, library: BackgroundLibrary, composite: CompositeConfig):
        self.library, self.composite = library, composite

    def __call__(self, image: np.ndarray, probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 RGB and its foreground probability (H, W) -> (H, W, 3) uint8 RGB."""
        return self.replaced(image, probability, rng) if self.due(rng) else image

    def due(self, rng: np.random.Generator) -> bool:
        """Whether it is a photograph's turn: drawn before anything is known of it, its label and mask alike."""
        return rng.random() < self.library.config.probability

    def replaced(self, image: np.ndarray, probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """As a call whose turn it is."""
        background = self.library.draw(rng, *image.shape[:2])
        return replace_background(image, probability, background, self.composite)


def largest_free_rectangle(taken: np.ndarray) -> tuple[int, int, int, int]:
    """The largest rectangle free of taken pixels: (H, W) bool -> (x0, y0, x1, y1), half open; empty if none.

    Row by row, each column's run of free pixels is the bar of a histogram, whose largest rectangle a stack finds.
    """
    height, width = taken.shape
    best, best_area = (0, 0, 0, 0), 0
    bars = np.zeros(width + 1, int)
    for row in range(height):
        bars[:width] = np.where(taken[row], 0, bars[:width] + 1)
        rising: list[tuple[int, int]] = []  # (first column, height of the bar)
        for column, bar in enumerate(bars.tolist()):
            first = column
            while rising and rising[-1][1] >= bar:
                first, tall = rising.pop()
                if tall * (column - first) > best_area:
                    best, best_area = (first, row + 1 - tall, column, row + 1), tall * (column - first)
            rising.append((first, bar))
    return best


def _listed(folder: str) -> tuple[str, ...]:
    try:
        filesystem, root = fsspec.core.url_to_fs(folder)
        found = sorted(filesystem.find(root))
    except Exception as error:  # each storage has errors of its own
        line = " ".join(str(error).split())[:160]
        raise DataError(f"backgrounds.folder {folder}: cannot be listed ({line}); check the address") from None
    files = [name for name in found if posixpath.splitext(name)[1].lower() in _SUFFIXES]
    if not files:
        raise DataError(
            f"backgrounds.folder {folder}: found {len(found)} files and no photograph among them; wanted photographs "
            f"({', '.join(_SUFFIXES)}); put some there, or leave backgrounds.folder empty"
        )
    return tuple(filesystem.unstrip_protocol(name) for name in files)


def _photograph(uri: str) -> np.ndarray:
    return _shrunk(decode(read_bytes(uri)))


def _own_background(key: str) -> np.ndarray:
    """The largest rectangle of a photograph beside its product, mirrored until it covers the photograph.

    Filling the hole from its rim would leave the product's outline to be seen.
    """
    uri, mask_uri = key.split("\n")
    image = decode(read_bytes(uri))
    inside = given_mask(image, read_mask(mask_uri)).probability
    image = _shrunk(image)
    height, width = image.shape[:2]
    # Any share of a cell counts, and a margin takes the product's shadow and rim with it.
    taken = (cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    margin = max(2, round(0.02 * max(height, width)))
    taken = cv2.dilate(taken, np.ones((2 * margin + 1,) * 2, np.uint8)).astype(bool)
    x0, y0, x1, y1 = largest_free_rectangle(taken)
    if min(x1 - x0, y1 - y0) < _SMALLEST_PIECE * min(height, width):
        raise DataError(f"found {x1 - x0} x {y1 - y0} px of background; wanted more beside the product")
    rows, columns = (_mirrored(length, piece) for length, piece in ((height, y1 - y0), (width, x1 - x0)))
    return np.ascontiguousarray(image[y0:y1, x0:x1][rows][:, columns])


def _mirrored(length: int, piece: int) -> np.ndarray:
    """Indices 0 .. piece-1 .. 0 .. , `length` of them."""
    phase = np.arange(length) % (2 * piece)
    return np.minimum(phase, 2 * piece - 1 - phase)


def _drawn_surface(key: str) -> np.ndarray:
    """A surface of the drawn sets under their lamps and cameras, with nothing on it."""
    name, variant = key.split("\n")
    seed = 1_000 * list(SURFACES).index(name) + int(variant)
    side = (_SIDE_PX, _SIDE_PX)
    canvas = round(_SIDE_PX * camera.SUPERSAMPLE)
    frame = Frame(canvas, canvas, canvas / 512)
    nothing = Surface(np.zeros((*frame.shape, 4), np.float32), np.zeros((*frame.shape, 4), np.float32))
    below = ground(name, camera.ground_frame(frame), seed)
    scene = camera.lit(nothing, below, np.eye(3), frame, side, seed)
    return camera.exposed(scene, camera.DEVICES[seed % len(camera.DEVICES)], seed)


def _shrunk(image: np.ndarray) -> np.ndarray:
    scale = _SIDE_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _piece(picture: np.ndarray, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random piece with the wanted proportions, flipped and turned at random: a background has no right way up."""
    picture = np.rot90(picture, int(rng.integers(4)))
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    largest = min(picture.shape[0] / height, picture.shape[1] / width)
    scale = largest / rng.uniform(1.0, _LARGEST_ZOOM)
    rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
    top = int(rng.integers(picture.shape[0] - rows + 1))
    left = int(rng.integers(picture.shape[1] - columns + 1))
    piece = np.ascontiguousarray(picture[top : top + rows, left : left + columns])
    interpolation = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return cv2.resize(piece, (width, height), interpolation=interpolation)
