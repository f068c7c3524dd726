"""Certified verdicts computed anew from bundle, gallery version and photographs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hallmark.config import config_hash, validate
from hallmark.data.listing import read_bytes
from hallmark.errors import CertificateError
from hallmark.evaluation.expert import Expert
from hallmark.serving.certificate import Certificate, compared
from hallmark.verdict.decide import DecisionConfig
from hallmark.verdict.items import fuse

_NUMBERS = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Difference:
    """The first field that came out otherwise."""

    field: str
    """Dotted, such as verdicts.0.scores.decision."""
    certified: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.field}: certified {self.certified!r}, recomputed {self.recomputed!r}"


@dataclass(frozen=True)
class Recomputed:
    """How certified verdicts compare with those computed anew."""

    difference: Difference | None
    """None where they are the same, within the tolerance."""
    largest: float
    """Largest difference of two numbers; 0 where the verdicts are the same to the bit."""


def recompute(
    certificate: Certificate, bundle: Path, gallery: Path | None, photographs: Sequence[Path], tolerance: float = 0.0
) -> Recomputed:
    """Compute a certificate's verdicts anew.

    Args:
        certificate: checked.
        bundle: the folder that it was given by.
        gallery: that holds the certified version; None where it names none.
        photographs: the certified ones, in any order.
        tolerance: by how much numbers may differ, for machines that round otherwise; texts are compared without the
            numbers in them then.

    Raises:
        CertificateError: bundle, gallery or a photograph is not the certified one; names both ids.
        BundleError, GalleryError: what is wrong with them.
    """
    decision = validate(DecisionConfig, dict(certificate.decision), "decision of the certificate")
    expert = _certified_expert(certificate, bundle, gallery, decision)
    contents = _certified_photographs(certificate, photographs)
    verdicts = [
        expert.examine(contents[image_id], box, certificate.product_asked)
        for image_id, box in zip(certificate.image_ids, certificate.boxes, strict=True)
    ]
    item = None if certificate.item is None else fuse(verdicts, expert.calibration)
    comparison = _Comparison(tolerance)
    for number, (ours, theirs) in enumerate(zip(certificate.verdicts, verdicts, strict=True)):
        comparison.compare(f"verdicts.{number}", compared(ours), compared(theirs))
    comparison.compare(
        "item",
        certificate.item and certificate.item.model_dump(mode="json"),
        item and item.model_dump(mode="json"),
    )
    return Recomputed(comparison.first, comparison.largest)


def _certified_expert(certificate: Certificate, bundle: Path, gallery: Path | None, decision: DecisionConfig) -> Expert:
    # Version 0 is that of no gallery.
    expert = Expert.open(bundle, gallery, certificate.gallery_version or None, decision)
    for name, place, found, wanted in (
        ("bundle_id", bundle, expert.bundle.bundle_id, certificate.bundle_id),
        ("gallery_content_id", gallery, expert.gallery.content_id, certificate.gallery_content_id),
        ("config_hash", bundle, config_hash(expert.calibration), certificate.config_hash),
    ):
        if found != wanted:
            raise CertificateError(
                f"{name}: found {found or 'none'} in {place}; the certificate names {wanted or 'none'}"
            )
    return expert


def _certified_photographs(certificate: Certificate, photographs: Sequence[Path]) -> dict[str, bytes]:
    contents = {}
    for path in photographs:
        data = read_bytes(str(path))
        image_id = hashlib.sha256(data).hexdigest()
        if image_id not in certificate.image_ids:
            raise CertificateError(
                f"{path}: has the SHA-256 {image_id}, which the certificate does not name; wanted "
                f"{' or '.join(certificate.image_ids)}: the very file, not a copy saved anew"
            )
        contents[image_id] = data
    missing = [image_id for image_id in certificate.image_ids if image_id not in contents]
    if missing:
        raise CertificateError(f"photographs: {', '.join(missing)} missing; wanted every certified photograph")
    return contents


class _Comparison:
    def __init__(self, tolerance: float):
        self._tolerance = tolerance
        self.first: Difference | None = None
        self.largest = 0.0

    def compare(self, name: str, certified: Any, recomputed: Any) -> None:
        """Note the first difference below a field, and the largest of numbers."""
        for field, ours, theirs in _leaves(name, certified, recomputed):
            if ours == theirs:
                continue
            if _is_number(ours) and _is_number(theirs):
                apart = abs(ours - theirs)
                self.largest = max(self.largest, apart)
                if apart <= self._tolerance:
                    continue
            elif (
                self._tolerance
                and isinstance(ours, str)
                and isinstance(theirs, str)
                and _wording(ours) == _wording(theirs)
            ):
                continue
            if self.first is None:
                self.first = Difference(field, ours, theirs)


def _leaves(name: str, ours: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, ours, theirs) of everything that is no mapping and no list, or that differs in shape."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key in ours:
            yield from _leaves(f"{name}.{key}", ours[key], theirs[key])
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _leaves(f"{name}.{number}", one, other)
    elif isinstance(ours, list) and isinstance(theirs, list):
        yield f"{name} (length)", len(ours), len(theirs)
    else:
        yield name, ours, theirs


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wording(text: str) -> str:
    return _NUMBERS.sub("#", text)
