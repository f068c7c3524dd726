"""Where the product lies in a photograph: given masks, and the guards that a segmenter's masks are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.data.decode import decode
from hallmark.data.listing import read_bytes
from hallmark.errors import DataError, DecodeError

Box = tuple[float, float, float, float]


class ForegroundConfig(Config):
    """How the product is told from its background, and which masks are trusted."""

    backend: Literal["given", "proto", "pca", "persam"] = Field(
        "given",
        description="given: only masks and boxes of the manifest; proto: likeness to masked references; "
        "pca: first principal component of the features; persam: Segment Anything prompted by masked references",
    )
    features: str = Field("resnet18", description="proto and pca: a timm model with feature maps")
    stage: int = Field(-2, ge=-8, le=32, description="proto and pca: index of the feature map; -1 = the last")
    pretrained: bool | str = Field(
        True, description="true: timm's hub by name; false: random weights; otherwise the path of a .safetensors file"
    )
    side_px: int = Field(448, ge=64, le=1536, description="proto and pca: side of the square that is segmented, px")
    sam_weights: str | None = Field(None, description="persam: local folder with a SamModel of transformers")
    min_similarity: float = Field(0.5, ge=-1, le=1, description="lowest top cosine to the reference that is accepted")
    min_area: float = Field(0.02, ge=0, le=1, description="smallest accepted share of the photograph")
    max_area: float = Field(0.95, ge=0, le=1, description="largest accepted share of the photograph")
    min_predicted_iou: float = Field(0.7, ge=0, le=1, description="persam: lowest predicted IoU that is accepted")


@dataclass(frozen=True)
class Foreground:
    """A photograph's foreground and whether it is to be trusted."""

    probability: np.ndarray
    """(H, W) float32 in [0, 1]."""
    similarity: float | None
    """Highest cosine to the reference, -1 to 1; None where no reference was used."""
    area: float
    """Share of the photograph with a probability above one half."""
    predicted_iou: float | None
    accepted: bool
    reason: str
    """`accepted`, or why not: `no_mask`, `low_similarity`, `too_small`, `too_large`, `low_predicted_iou`."""


@dataclass(frozen=True)
class Reference:
    """A photograph whose foreground is known: image (H, W, 3) uint8 RGB, mask (H, W) bool."""

    image: np.ndarray
    mask: np.ndarray


class Segmenter(Protocol):
    """Finds the foreground of a photograph, (H, W, 3) uint8 RGB; the same photograph gives the same bits."""

    def segment(self, image: np.ndarray) -> Foreground: ...


def given_mask(image: np.ndarray, mask: np.ndarray | None, box: Box | None = None) -> Foreground:
    """The foreground as the manifest gives it; a mask stands before a box.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, or uint8 with the product above 127; None where there is none.
        box: (x0, y0, x1, y1) px; None where there is none.

    Raises:
        DataError: the mask is of another size than the photograph.
    """
    height, width = image.shape[:2]
    inside = np.zeros((height, width), np.float32)
    if mask is not None:
        if mask.shape != (height, width):
            found = " x ".join(str(length) for length in mask.shape[1::-1])
            raise DataError(
                f"foreground mask: found {found} px; wanted {width} x {height} px, the size of its photograph; draw "
                "the mask on the upright photograph, or leave mask_uri empty"
            )
        inside[mask if mask.dtype == bool else mask > 127] = 1
    elif box is not None:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
        inside[y0:y1, x0:x1] = 1
    area = float(inside.mean())
    return Foreground(inside, None, area, None, area > 0, "accepted" if area > 0 else "no_mask")


def read_mask(uri: str) -> np.ndarray:
    """Read a foreground mask as (H, W) uint8.

    Raises:
        DataError: the file cannot be read or is no picture; names it.
    """
    try:
        return np.ascontiguousarray(decode(read_bytes(uri))[..., 0])
    except DecodeError as error:
        raise DataError(f"{uri}: no foreground mask ({error}); wanted an 8-bit grey PNG") from None


def judged(
    probability: np.ndarray,
    config: ForegroundConfig,
    similarity: float | None = None,
    predicted_iou: float | None = None,
) -> Foreground:
    """Hold a segmenter's answer against the guards: it always finds something, also where there is no product."""
    area = float((probability > 0.5).mean())
    reason = "accepted"
    if similarity is not None and similarity < config.min_similarity:
        reason = "low_similarity"
    elif area < config.min_area:
        reason = "too_small"
    elif area > config.max_area:
        reason = "too_large"
    elif predicted_iou is not None and predicted_iou < config.min_predicted_iou:
        reason = "low_predicted_iou"
    return Foreground(probability, similarity, area, predicted_iou, reason == "accepted", reason)


def build_segmenter(config: ForegroundConfig, references: Sequence[Reference] = ()) -> Segmenter:
    """The segmenter that the config names.

    Raises:
        ConfigError: timm has no such model or feature map, or sam_weights is not given.
        DataError: the back-end needs references and there are none, or a mask is empty or of another size.
        WeightsError: the weights, or the package that reads them, are missing.
    """
    if config.backend == "given":
        return _NothingGiven()
    # Networks and their packages are loaded only where they are asked for.
    if config.backend == "pca":
        from hallmark.data.segmenters import PrincipalComponent

        return PrincipalComponent(config)
    if not references:
        raise DataError(
            f"foreground.backend {config.backend}: found no reference with a foreground mask; wanted at least one; "
            "give mask_uri for a photograph of the product, or choose pca or given"
        )
    for reference in references:
        if given_mask(reference.image, reference.mask).reason == "no_mask":
            raise DataError("foreground reference: found an empty mask; wanted the product above 127 in it")
    if config.backend == "proto":
        from hallmark.data.segmenters import Prototype

        return Prototype(config, references)
    from hallmark.data.sam import PersonalisedSam

    return PersonalisedSam(config, references)


class _NothingGiven:
    """Stands where only the manifest's masks count: a photograph without one has no foreground."""

    def segment(self, image: np.ndarray) -> Foreground:
        return given_mask(image, None)
