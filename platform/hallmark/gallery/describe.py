"""Photographs to descriptors: the one path that enrolment, evaluation and serving share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter

import cv2
import numpy as np
import pyarrow as pa
import torch

from hallmark.data.decode import decode
from hallmark.data.manifest import read_bytes
from hallmark.data.preprocess import Box, Preprocessing, cut, fit, input_frame, luminance, normalise
from hallmark.data.surface import contrast, decode_surface, encode_surface, find_keypoints
from hallmark.data.tone import adjust
from hallmark.errors import DecodeError, HallmarkError
from hallmark.gallery.attention import attention_map
from hallmark.methods.base import Attended, Embedding
from hallmark.training.bundle import Bundle
from hallmark.types import AttentionMap, Classified, Described, Details, Quality

_THUMBNAIL_PX = 192
_BLACK, _WHITE = 4 / 255, 251 / 255


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph at network size, and what must be kept of the original."""

    image_id: str
    prepared: np.ndarray
    """(side, side, 3) uint8 RGB."""
    surface: np.ndarray | None
    """(S, S, 3) uint8 RGB, the same at the surface's size; None where the bundle compares no details."""
    quality: Quality
    thumbnail: bytes
    """JPEG, longest side at most 192 px."""
    box: Box | None = None
    """What was cut out of the original, px; None = all of it."""
    classifier_input: np.ndarray | None = None
    """(side', side', 3) uint8 RGB, as the classifier inside the bundle wants it; None where there is none."""


@dataclass(frozen=True)
class Embedded:
    """What the network says of one photograph; see `methods.base.Embedding`. The bundle may have a shorter D."""

    descriptor: np.ndarray
    """(D,) float32, unit norm."""
    local: np.ndarray
    """(T, l) float32."""
    positions: np.ndarray
    """(T, 2) float32."""
    weights: np.ndarray
    """(T,) float32; 0 is padding."""
    stride: float
    class_logits: np.ndarray | None = None
    """(2P,) float32; None where the method does not classify."""
    attended: Attended | None = None
    """Of this photograph alone, B = 1; None where the network that classifies does not tell."""


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
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Reading it, and its share of describing its batch."""


class Describer:
    """A bundle's network on a device, from encoded bytes to descriptors; safe to share between threads."""

    def __init__(self, bundle: Bundle, device: torch.device | str = "cpu"):
        self._input, self._reduction = bundle.input, bundle.reduction()
        self._network = _Network(bundle, device)
        self._classifier = None if bundle.classifier is None else _Network(bundle.classifier, device)
        self._products = tuple((bundle.classifier or bundle).products)
        # What a classifier says rests on no detail of the photograph that could be compared.
        self._has_details = not bundle.classifies

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
        config = self._input.preprocessing
        toned = adjust(cut(image, box, config.margin), config.tone)
        prepared = _fitted(toned, config, image_id)
        finer = config.model_copy(update={"side_px": config.surface.side_px})
        return Photograph(
            image_id=image_id,
            prepared=prepared,
            surface=_fitted(toned, finer, image_id) if self._has_details else None,
            quality=_quality(image, prepared),
            thumbnail=_thumbnail(image) if thumbnail else b"",
            box=box,
            classifier_input=None if self._classifier is None else self._classifier.prepare(image, box, image_id),
        )

    def describe(self, photographs: Sequence[Photograph]) -> list[Described]:
        """Descriptors of a batch; each is that of the photograph alone up to rounding."""
        return [self.detail(*pair) for pair in zip(photographs, self.embed(photographs), strict=True)]

    def embed(self, photographs: Sequence[Photograph]) -> list[Embedded]:
        """The first half of `describe`: one pass of each network over a batch."""
        if not photographs:
            return []
        embedding = self._network([photograph.prepared for photograph in photographs])
        telling = embedding
        if self._classifier is not None:
            telling = self._classifier([photograph.classifier_input for photograph in photographs])
        descriptors = embedding.descriptor.float().cpu().numpy()
        if self._reduction is not None:
            descriptors = [self._reduction(descriptor) for descriptor in descriptors]
        columns = (embedding.local, embedding.positions, embedding.weights)
        none = [None] * len(photographs)
        logits = none if telling.class_logits is None else telling.class_logits.float().cpu().numpy()
        attended = none if telling.attended is None else _one_by_one(telling.attended)
        seen = zip(descriptors, *(column.float().cpu().numpy() for column in columns), strict=True)
        told = zip(logits, attended, strict=True)
        return [Embedded(*row, embedding.stride, *said) for row, said in zip(seen, told, strict=True)]

    def detail(self, photograph: Photograph, embedded: Embedded) -> Described:
        """The second half of `describe`, of one photograph: its classes, what is kept of its cues and its surface."""
        logits, classified = embedded.class_logits, None
        if logits is not None:
            classified = Classified(self._products, logits.reshape(len(self._products), 2))
        details, attention = self._details(photograph, embedded), self._attention(photograph, embedded)
        return Described(photograph.image_id, embedded.descriptor, details, photograph.quality, classified, attention)

    def _attention(self, photograph: Photograph, embedded: Embedded) -> AttentionMap | None:
        """As the network that classifies saw the photograph, which has a preprocessing of its own."""
        if embedded.attended is None:
            return None
        config, quality = (self._classifier or self._network).preprocessing, photograph.quality
        return attention_map(embedded.attended, quality.width, quality.height, config, photograph.box)

    def _details(self, photograph: Photograph, embedded: Embedded) -> Details:
        config, quality = self._input.preprocessing, photograph.quality
        there = embedded.weights > 0
        local, positions, weights = embedded.local[there], embedded.positions[there], embedded.weights[there]
        surface, keypoints = b"", None
        if self._has_details:
            texture = contrast(photograph.surface, positions, embedded.stride) >= config.surface.least_contrast
            weights = np.where(texture, weights, 0.0)
            surface = encode_surface(photograph.surface, config.surface)
            # As they will be found on the stored surface, which compression has changed.
            keypoints = find_keypoints(decode_surface(surface))
        return Details(
            image_id=photograph.image_id,
            local=local.astype(np.float16),
            positions=positions,
            weights=weights.astype(np.float16),
            stride=embedded.stride,
            frame=input_frame(quality.width, quality.height, config, photograph.box),
            surface=surface,
            keypoints=keypoints,
        )


class _Network:
    """A bundle's method on a device, and photographs as it wants them."""

    def __init__(self, bundle: Bundle, device: torch.device | str):
        self.preprocessing, self._device = bundle.input.preprocessing, torch.device(device)
        self._method = bundle.build_method(device)
        # The backbone keeps what its layers say until the end of a pass: one pass at a time.
        self._turn = Lock()

    def prepare(self, image: np.ndarray, box: Box | None, image_id: str) -> np.ndarray:
        """(side, side, 3) uint8 RGB of a decoded photograph."""
        config = self.preprocessing
        return _fitted(adjust(cut(image, box, config.margin), config.tone), config, image_id)

    def __call__(self, prepared: Sequence[np.ndarray]) -> Embedding:
        """One pass over a batch of prepared photographs."""
        images = torch.from_numpy(np.stack(prepared)).to(self._device)
        with self._turn, torch.inference_mode():
            return self._method.embed(normalise(images, self.preprocessing))


def _one_by_one(attended: Attended) -> list[Attended]:
    """Of a batch, by photograph, B = 1 each and off the device."""
    columns = (attended.heat.cpu(), attended.windows.cpu(), attended.weights.cpu())
    return [Attended(*row) for row in zip(*(column.split(1) for column in columns), strict=True)]


def _fitted(toned: np.ndarray, config: Preprocessing, image_id: str) -> np.ndarray:
    # A random fill is drawn from the photograph itself, so that its descriptor is the same each time.
    return fit(toned, config, np.random.default_rng(int(image_id[:16], 16))).pixels


def located(table: pa.Table) -> list[Located]:
    """The photographs of a manifest's rows, in their order."""
    rows = table.select(["uri", "box"]).to_pylist()
    return [Located(row["uri"], None if row["box"] is None else tuple(row["box"])) for row in rows]


def describe_located(describer: Describer, photographs: Sequence[Located]) -> list[Outcome]:
    """Read and describe photographs as one batch in this process; a bad one comes back with its error."""
    read, spent = [], []
    for photograph in photographs:
        began = perf_counter()
        read.append(_read(describer, photograph))
        spent.append(1e3 * (perf_counter() - began))
    usable = [entry for entry in read if not isinstance(entry, HallmarkError)]
    began = perf_counter()
    described = iter(describer.describe(usable))
    share = 1e3 * (perf_counter() - began) / max(1, len(usable))
    return [
        Outcome(photograph.uri, None, b"", str(entry))
        if isinstance(entry, HallmarkError)
        else Outcome(photograph.uri, next(described), entry.thumbnail, "", {"read": reading, "describe": share})
        for photograph, entry, reading in zip(photographs, read, spent, strict=True)
    ]


def _read(describer: Describer, photograph: Located) -> Photograph | HallmarkError:
    try:
        return describer.read(read_bytes(photograph.uri), photograph.box)
    except DecodeError as error:
        return DecodeError(error.reason, f"{photograph.uri}: {error}")
    except HallmarkError as error:
        return error


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
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
