"""Photographs to descriptors: the one path that enrolment, evaluation and serving share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch

from hallmark.data.decode import decode
from hallmark.data.manifest import read_bytes
from hallmark.data.preprocess import Box, luminance, normalise, prepare, to_photograph
from hallmark.errors import DecodeError, HallmarkError
from hallmark.training.bundle import Bundle
from hallmark.types import Described, Quality

_THUMBNAIL_PX = 256
_BLACK, _WHITE = 4 / 255, 251 / 255


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph at network size, and what must be kept of the original."""

    image_id: str
    prepared: np.ndarray
    """(side, side, 3) uint8 RGB."""
    quality: Quality
    thumbnail: bytes
    """JPEG, longest side at most 256 px."""
    box: Box | None = None
    """What was cut out of the original, px; None = all of it."""


@dataclass(frozen=True)
class Located:
    """Where a photograph is, and where in it the product is."""

    uri: str
    box: Box | None = None


@dataclass(frozen=True)
class Outcome:
    """One photograph described, or why it could not be."""

    uri: str
    described: Described | None
    thumbnail: bytes
    error: str


class Describer:
    """A bundle's network on a device, from encoded bytes to descriptors."""

    def __init__(self, bundle: Bundle, device: torch.device | str = "cpu"):
        self._input, self._device = bundle.input, torch.device(device)
        self._method = bundle.build_method(device)

    def read(self, data: bytes, box: Box | None = None, thumbnail: bool = True) -> Photograph:
        """Decode and prepare one photograph.

        Args:
            data: the encoded file.
            box: where the product is, (x0, y0, x1, y1) px after EXIF orientation; None = everywhere.
            thumbnail: whether to make one; it is empty otherwise.

        Raises:
            DecodeError: the bytes are not an acceptable photograph.
            DataError: the box has no area inside it.
        """
        image = decode(data, self._input.limits)
        image_id = hashlib.sha256(data).hexdigest()
        # A random fill is drawn from the photograph itself, so that its descriptor is the same each time.
        rng = np.random.default_rng(int(image_id[:16], 16))
        prepared = prepare(image, self._input.preprocessing, box, rng).pixels
        return Photograph(
            image_id=image_id,
            prepared=prepared,
            quality=_quality(image, prepared),
            thumbnail=_thumbnail(image) if thumbnail else b"",
            box=box,
        )

    def describe(self, photographs: Sequence[Photograph]) -> list[Described]:
        """Descriptors of a batch; each is that of the photograph alone up to rounding."""
        if not photographs:
            return []
        images = torch.from_numpy(np.stack([photograph.prepared for photograph in photographs])).to(self._device)
        with torch.inference_mode():
            embedding = self._method.embed(normalise(images, self._input.preprocessing))
        descriptors = embedding.descriptor.float().cpu().numpy()
        local = embedding.local.cpu().numpy().astype(np.float16)
        positions = embedding.positions.cpu().numpy()
        return [
            Described(
                image_id=photograph.image_id,
                descriptor=descriptors[row],
                local=local[row],
                positions=self._on_photograph(positions[row], photograph).astype(np.float32),
                quality=photograph.quality,
            )
            for row, photograph in enumerate(photographs)
        ]

    def _on_photograph(self, points: np.ndarray, photograph: Photograph) -> np.ndarray:
        width, height = photograph.quality.width, photograph.quality.height
        return to_photograph(points, width, height, self._input.preprocessing, photograph.box)


def located(table: pa.Table) -> list[Located]:
    """The photographs of a manifest's rows, in their order."""
    rows = table.select(["uri", "box"]).to_pylist()
    return [Located(row["uri"], None if row["box"] is None else tuple(row["box"])) for row in rows]


def describe_located(describer: Describer, photographs: Sequence[Located]) -> list[Outcome]:
    """Read and describe photographs as one batch in this process; a bad one comes back with its error."""
    read: list[Any] = []
    for photograph in photographs:
        try:
            read.append(describer.read(read_bytes(photograph.uri), photograph.box))
        except DecodeError as error:
            read.append(DecodeError(error.reason, f"{photograph.uri}: {error}"))
        except HallmarkError as error:
            read.append(error)
    described = iter(describer.describe([entry for entry in read if not isinstance(entry, HallmarkError)]))
    return [
        Outcome(photograph.uri, None, b"", str(entry))
        if isinstance(entry, HallmarkError)
        else Outcome(photograph.uri, next(described), entry.thumbnail, "")
        for photograph, entry in zip(photographs, read, strict=True)
    ]


def _quality(image: np.ndarray, prepared: np.ndarray) -> Quality:
    light = luminance(prepared)
    return Quality(
        width=image.shape[1],
        height=image.shape[0],
        sharpness=float(cv2.Laplacian(light, cv2.CV_32F).var()),
        brightness=float(light.mean()),
        clipped=float(((light <= _BLACK) | (light >= _WHITE)).mean()),
    )


def _thumbnail(image: np.ndarray) -> bytes:
    scale = min(1.0, _THUMBNAIL_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
