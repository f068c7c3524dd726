"""One photograph's way from encoded bytes to network input: every stage in order, each with its own random stream."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hallmark.data.backgrounds import BackgroundReplacement
from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.foreground import Foreground, ForegroundConfig, given_mask, judged, read_mask
from hallmark.data.listing import read_bytes
from hallmark.data.preprocess import Augmentation, Box, Fitted, Preprocessing, content_mask, cut, fit, fit_mask, vary
from hallmark.data.scramble import ScrambleConfig, scramble
from hallmark.data.tone import adjust
from hallmark.errors import DataError, DecodeError
from hallmark.types import Backdrop

_GUARDS = ForegroundConfig()


class _Stage(IntEnum):
    """Numbers of the random streams; one stage's draws do not move another's."""

    BACKGROUND = 0
    SCRAMBLE = 1
    FILL = 2
    VARY = 3


@dataclass(frozen=True)
class Transforms:
    """What is done to a photograph; what is None is left out. Serving has `limits` and `preprocessing` alone."""

    limits: DecodeLimits
    preprocessing: Preprocessing
    augmentation: Augmentation | None = None
    scramble: ScrambleConfig | None = None
    background: BackgroundReplacement | None = None

    @property
    def same_every_time(self) -> bool:
        """Whether a photograph is the same at every showing, but for its augmentation."""
        return self.scramble is None and self.background is None and self.preprocessing.fill != "random"


@dataclass(frozen=True)
class Prepared:
    """A photograph at network size, not yet augmented."""

    fitted: Fitted
    scrambled: bool
    backdrop: Backdrop = Backdrop.KEPT
    foreground: np.ndarray | None = None
    """(S, S) bool: where the product lies; None where no backgrounds are replaced, or no mask can be trusted."""


@dataclass(frozen=True)
class Transformed:
    """A photograph as network input."""

    pixels: np.ndarray
    """(side, side, 3) uint8 RGB."""
    content: np.ndarray | None
    """(side, side) bool: True where the photograph is, False where padding is; None where nothing can be padded."""
    scrambled: bool
    backdrop: Backdrop = Backdrop.KEPT
    foreground: np.ndarray | None = None
    """(side, side) bool: where the product lies; None where no backgrounds are replaced, or no mask can be trusted."""


def photograph_seed(seed: int, epoch: int, image_id: str, copy: int = 0) -> int:
    """The seed (0 to 2^63 - 1) of all that is random about one showing of a photograph.

    It follows from these four alone, so augmented pixels do not depend on workers, batches or order.

    Args:
        seed: of the run.
        epoch: from 0.
        image_id: of the photograph.
        copy: from 0, where an epoch shows the photograph more than once.
    """
    text = f"{seed}/{epoch}/{image_id}/{copy}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def prepared(uri: str, box: Box | None, mask_uri: str | None, transforms: Transforms, seed: int) -> Prepared:
    """Read and decode a photograph, replace its background, cut it, correct its tone, scramble it and fit it.

    Args:
        uri: of the photograph.
        box: (x0, y0, x1, y1) px of the product, or None.
        mask_uri: of its foreground mask, or None.
        transforms: what is done.
        seed: of this showing, see `photograph_seed`.

    Raises:
        DecodeError, DataError: the photograph cannot be used; names it.
    """
    image, backdrop = read_photograph(uri, transforms.limits), Backdrop.KEPT
    foreground = None
    if transforms.background is not None:
        rng = _stream(seed, _Stage.BACKGROUND)
        image, backdrop, mask = with_other_background(image, mask_uri, box, transforms.background, rng)
        foreground = None if mask is None else fit_mask(mask, transforms.preprocessing, box)
    image = adjust(cut(image, box, transforms.preprocessing.margin), transforms.preprocessing.tone)
    scrambled = False
    if transforms.scramble is not None:
        rng = _stream(seed, _Stage.SCRAMBLE)
        if rng.random() < transforms.scramble.share:
            outcome = scramble(image, transforms.scramble, rng)
            image, scrambled = outcome.image, outcome.disturbed
    fitted = fit(image, transforms.preprocessing, _stream(seed, _Stage.FILL))
    return Prepared(fitted, scrambled, backdrop, foreground)


def varied(photograph: Prepared, transforms: Transforms, seed: int) -> Transformed:
    """Augment a prepared photograph, and the masks of its content and its product with it."""
    pixels, masks = photograph.fitted.pixels, {}
    if transforms.preprocessing.fill != "none":
        masks["content"] = content_mask(photograph.fitted)
    if photograph.foreground is not None:
        masks["foreground"] = photograph.foreground
    if transforms.augmentation is not None:
        rng = _stream(seed, _Stage.VARY)
        pixels, *warped = vary(pixels, transforms.augmentation, rng, *masks.values())
        masks = dict(zip(masks, warped, strict=True))
    return Transformed(pixels, masks.get("content"), photograph.scrambled, photograph.backdrop, masks.get("foreground"))


def with_other_background(
    image: np.ndarray,
    mask_uri: str | None,
    box: Box | None,
    replacement: BackgroundReplacement,
    rng: np.random.Generator,
) -> tuple[np.ndarray, Backdrop, np.ndarray | None]:
    """A photograph on another background where it is its turn and its foreground can be trusted.

    It cannot where there is neither mask nor box, the mask cannot be read or has another size than the photograph, or
    the product takes less than 2 % or more than 95 % of it; one cut off by the photograph's border is as good as any.

    Returns:
        (H, W, 3) uint8 RGB; what became of its background; and (H, W) bool, the product, None where it is not known.
    """
    due = replacement.due(rng)
    try:
        found = foreground_of(image, mask_uri, box)
        reason = judged(found.probability, _GUARDS).reason if found.accepted else found.reason
    except DataError:
        reason = "unreadable"
    if reason != "accepted":
        return image, Backdrop[reason.upper()] if due else Backdrop.KEPT, None
    product = found.probability > 0.5
    if not due:
        return image, Backdrop.KEPT, product
    return replacement.replaced(image, found.probability, rng), Backdrop.REPLACED, product


def _stream(seed: int, stage: _Stage) -> np.random.Generator:
    return np.random.default_rng([seed, stage])


def foreground_of(image: np.ndarray, mask_uri: str | None, box: Box | None) -> Foreground:
    """Where the manifest says the product is; not accepted where it says nothing.

    Raises:
        DataError: the mask cannot be read or has another size than the photograph; names it.
    """
    if mask_uri is None:
        return given_mask(image, None, box)
    try:
        return given_mask(image, read_mask(mask_uri), box)
    except DataError as error:
        raise DataError(f"{mask_uri}: {error}") from None


def read_photograph(uri: str, limits: DecodeLimits) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        DecodeError, DataError: it cannot be decoded, or not be read; names it.
    """
    try:
        return decode(read_bytes(uri), limits)
    except DecodeError as error:
        raise DecodeError(error.reason, f"{uri}: {error}") from None
