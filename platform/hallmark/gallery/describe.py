"""Photographs to descriptors: the one path that enrolment, evaluation and serving share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from hallmark.data.decode import decode
from hallmark.data.manifest import read_bytes
from hallmark.data.preprocess import luminance, normalise, prepare, to_photograph
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

    def read(self, data: bytes, thumbnail: bool = True) -> Photograph:
        """Decode and prepare one photograph.

        Args:
            data: the encoded file.
            thumbnail: whether to make one; it is empty otherwise.

        Raises:
            DecodeError: the bytes are not an acceptable photograph.
        """
        image = decode(data, self._input.limits)
        prepared = prepare(image, self._input.preprocessing)
        return Photograph(
            image_id=hashlib.sha256(data).hexdigest(),
            prepared=prepared,
            quality=_quality(image, prepared),
            thumbnail=_thumbnail(image) if thumbnail else b"",
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
                positions=to_photograph(
                    positions[row], photograph.quality.width, photograph.quality.height, self._input.preprocessing
                ).astype(np.float32),
                quality=photograph.quality,
            )
            for row, photograph in enumerate(photographs)
        ]


def describe_uris(describer: Describer, uris: list[str]) -> list[Outcome]:
    """Read and describe photographs as one batch in this process."""
    read: list[Any] = []
    for uri in uris:
        try:
            read.append(describer.read(read_bytes(uri)))
        except DecodeError as error:
            read.append(DecodeError(error.reason, f"{uri}: {error}"))
        except HallmarkError as error:
            read.append(error)
    described = iter(describer.describe([entry for entry in read if not isinstance(entry, HallmarkError)]))
    return [
        Outcome(uri, None, b"", str(entry))
        if isinstance(entry, HallmarkError)
        else Outcome(uri, next(described), entry.thumbnail, "")
        for uri, entry in zip(uris, read, strict=True)
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
