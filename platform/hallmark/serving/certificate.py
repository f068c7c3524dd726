"""Certificates: verdicts with all that it takes to recompute them, signed with Ed25519.

The signature is of the certificate's canonical JSON without the field `signature`: keys sorted, no white space, UTF-8,
numbers as Python prints them. So a certificate may be laid out anew, but not changed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hallmark.errors import CertificateError
from hallmark.serving.signing import fingerprint, make_key, public_hex, read_key, read_public_key
from hallmark.types import Verdict, VerdictLabel
from hallmark.verdict.items import ItemVerdict

__all__ = [
    "Certificate",
    "Issuer",
    "Pictures",
    "certificate_html",
    "check_certificate",
    "compared",
    "fingerprint",
    "make_key",
    "read_key",
    "read_public_key",
]

FORMAT = "hallmark-certificate/1"
Box = tuple[float, float, float, float]

_PASSING = frozenset({"request_id", "timings_ms"})
_MOST_BYTES = 64 * 2**20


class Certificate(BaseModel):
    """Verdicts about the photographs of one item, or about one photograph, as they were given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["hallmark-certificate/1"]
    hallmark_version: str = Field(description="that gave the verdicts")
    issued_at: datetime = Field(description="UTC, to the second")
    issuer: str = Field(description="whose service it was, in its own words")
    bundle_id: str
    embedding_id: str = Field(description="of the bundle's embedding, which the gallery was built with")
    gallery_version: int = Field(description="0: the bundle classifies, and no gallery was asked")
    gallery_content_id: str = Field(description="of that version's content; empty for version 0")
    config_hash: str = Field(description="of the thresholds in force")
    decision: dict[str, float] = Field(description="settings that were laid over the bundle's calibration")
    product_asked: str | None = Field(description="the one product that was asked about; null = all")
    image_ids: list[str] = Field(min_length=1, description="SHA-256 of each photograph's bytes")
    boxes: list[Box | None] = Field(description="by photograph: the part of it that was examined, px; null = all")
    verdicts: list[Verdict] = Field(min_length=1, description="by photograph")
    item: ItemVerdict | None = Field(description="of the photographs together; null where there is one")
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$", description="Ed25519, of the key that signed")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")

    @property
    def fingerprint(self) -> str:
        """Of the public key, short enough to read out."""
        return fingerprint(self.public_key)


class Issuer:
    """Signs verdicts with the key of a file.

    Args:
        key_file: made by `make_key`.
        issuer: whose service this is; goes into every certificate.

    Raises:
        CertificateError: the file holds no Ed25519 key, or others than its owner can read it.
    """

    def __init__(self, key_file: Path, issuer: str):
        self._key, self._issuer = read_key(key_file), issuer
        self.public_key = public_hex(self._key.public_key())

    def issue(
        self,
        verdicts: Sequence[Verdict],
        item: ItemVerdict | None,
        gallery_content_id: str,
        *,
        embedding_id: str = "",
        boxes: Sequence[Box | None] | None = None,
        decision: Mapping[str, float] | None = None,
        product_asked: str | None = None,
    ) -> Certificate:
        """A signed certificate.

        Args:
            verdicts: by photograph; of one bundle, gallery version and set of thresholds.
            item: of several photographs together.
            gallery_content_id: of that gallery version.
            embedding_id: of the bundle.
            boxes: by photograph; None = all of every photograph was examined.
            decision: the settings of `DecisionConfig` that were not None.
            product_asked: the product that retrieval was limited to.

        Raises:
            CertificateError: the verdicts do not go together.
        """
        if not verdicts:
            raise CertificateError("found no verdict to certify; wanted one a photograph")
        one = verdicts[0]
        for name in ("bundle_id", "gallery_version", "config_hash"):
            found = sorted({str(getattr(verdict, name)) for verdict in verdicts})
            if len(found) > 1:
                raise CertificateError(f"{name}: found {' and '.join(found)} in one certificate; wanted one; ask again")
        boxes = [None] * len(verdicts) if boxes is None else list(boxes)
        if len(boxes) != len(verdicts):
            raise CertificateError(f"boxes: found {len(boxes)} for {len(verdicts)} verdicts; wanted one a photograph")
        content = {
            "format": FORMAT,
            "hallmark_version": metadata.version("hallmark"),
            "issued_at": datetime.now(UTC).replace(microsecond=0),
            "issuer": self._issuer,
            "bundle_id": one.bundle_id,
            "embedding_id": embedding_id,
            "gallery_version": one.gallery_version,
            "gallery_content_id": gallery_content_id,
            "config_hash": one.config_hash,
            "decision": dict(decision or {}),
            "product_asked": product_asked,
            "image_ids": [verdict.image_id for verdict in verdicts],
            "boxes": boxes,
            "verdicts": list(verdicts),
            "item": item,
            "public_key": self.public_key,
            "signature": "0" * 128,
        }
        try:
            draft = Certificate.model_validate(content)
            signature = self._key.sign(_signed_bytes(draft)).hex()
        except (ValidationError, ValueError) as error:
            raise CertificateError(f"the verdicts cannot be certified: {_first(error)}") from None
        return draft.model_copy(update={"signature": signature})


def check_certificate(data: bytes | Mapping[str, Any], public_key: str | None = None) -> Certificate:
    """The certificate, if it is whole and unchanged since it was signed.

    Args:
        data: its JSON.
        public_key: the issuer's, as published; None checks against the key that the certificate itself names, which
            shows that it is unchanged, not who signed it.

    Raises:
        CertificateError: what is wrong with it.
    """
    content = _parsed(bytes(data)) if isinstance(data, bytes | bytearray | memoryview) else dict(data)
    if content.get("format") != FORMAT:
        found = content.get("format")
        raise CertificateError(f"format: found {_short(found)}; wanted {FORMAT!r}; is this a hallmark certificate?")
    missing = [name for name in Certificate.model_fields if name not in content]
    if missing:
        raise CertificateError(f"{', '.join(missing)}: missing; wanted a whole certificate")
    try:
        certificate = Certificate.model_validate_json(json.dumps(content, allow_nan=False), strict=True)
        signed = _signed_bytes(certificate)
    except (ValidationError, ValueError, RecursionError) as error:
        raise CertificateError(_first(error)) from None
    if _plain(certificate) != content:
        raise CertificateError("a field of a verdict is missing or written otherwise than it was signed")
    if public_key is not None and public_key.lower() != certificate.public_key:
        raise CertificateError(
            f"public_key: was signed with the key {certificate.public_key} ({certificate.fingerprint}); wanted "
            f"{public_key.lower()}: it is of another issuer, or a forgery"
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(certificate.public_key)).verify(
            bytes.fromhex(certificate.signature), signed
        )
    except (InvalidSignature, ValueError):
        raise CertificateError(
            "signature: does not fit the content; the certificate was changed after it was signed"
        ) from None
    return certificate


def compared(verdict: Verdict) -> dict[str, Any]:
    """What of a verdict must come out the same when it is recomputed: all but times and request ids.

    Where a classifier looked is among it: the same photograph by the same bundle gives it again to the bit.
    """
    return verdict.model_dump(mode="json", exclude=set(_PASSING))


@dataclass(frozen=True)
class Pictures:
    """What a printed certificate shows of one photograph: PNG, JPEG or WebP files; None where there is nothing."""

    photograph: bytes | None = None
    reference: bytes | None = None
    """The nearest reference's thumbnail."""
    residual: bytes | None = None
    matches: bytes | None = None
    attention: bytes | None = None


def certificate_html(certificate: Certificate, pictures: Sequence[Pictures] = ()) -> str:
    """The certificate as one page to print, A4, that loads nothing and runs nothing.

    Args:
        certificate: as issued.
        pictures: by photograph; none at all leaves them out.
    """
    shown = list(pictures) or [Pictures()] * len(certificate.verdicts)
    if len(shown) != len(certificate.verdicts):
        raise CertificateError(f"pictures: found {len(shown)} for {len(certificate.verdicts)} verdicts; wanted as many")
    photographs = [
        {"verdict": verdict, "box": _box(box), "pictures": _figures(one), "stages": _stages(verdict)}
        for verdict, box, one in zip(certificate.verdicts, certificate.boxes, shown, strict=True)
    ]
    answer = certificate.item or certificate.verdicts[0]
    return _template().render(
        certificate=certificate,
        answer=answer,
        said=_SAID[answer.verdict],
        words=_SAID,
        photographs=photographs,
    )


_SAID = {
    VerdictLabel.GENUINE: ("✓", "Genuine", "The evidence agrees with what is known to be genuine."),
    VerdictLabel.COUNTERFEIT: ("✕", "Counterfeit", "The evidence differs from what is known to be genuine."),
    VerdictLabel.INCONCLUSIVE: ("?", "Inconclusive", "The evidence does not decide; a person must look."),
    VerdictLabel.NOT_IN_GALLERY: ("∅", "Not in the gallery", "This is none of the products that are known."),
}
"""By verdict: a sign, a heading and a sentence."""


def _figures(pictures: Pictures) -> list[tuple[str, str, bool]]:
    """(source, caption, whether it wants the page's width) of what there is to show."""
    told = (
        (pictures.photograph, "The photograph", False),
        (pictures.reference, "The nearest enrolled reference", False),
        (pictures.residual, "Where it differs from the genuine references", True),
        (pictures.matches, "Cues that match the nearest reference", True),
        (pictures.attention, "Where the classifier looked, and what each window counts", True),
    )
    return [(_data_uri(data), caption, is_wide) for data, caption, is_wide in told if data]


def _data_uri(data: bytes) -> str:
    kinds = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
    kind = next((kind for head, kind in kinds if data.startswith(head)), None)
    if kind is None:
        raise CertificateError("pictures: found a file that is no PNG, JPEG or WebP; wanted one that a browser shows")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _stages(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Rows of (stage, value, threshold) for the printed table; stages without a value are left out."""
    scores = verdict.scores
    if scores is None:
        return []
    genuine, fake = _number(scores.threshold_genuine), _number(scores.threshold_counterfeit)
    least = scores.threshold_inliers
    rows = (
        ("Global similarity to the product", scores.global_similarity, f"at least {_number(scores.threshold_global)}"),
        ("Similarity to the nearest genuine reference", scores.global_genuine, ""),
        ("Similarity to the nearest counterfeit reference", scores.global_counterfeit, ""),
        ("Match with a genuine reference", scores.match_genuine, ""),
        ("Match with a counterfeit reference", scores.match_counterfeit, ""),
        ("Cues under one geometry", scores.inlier_ratio, "" if least is None else f"at least {_number(least)}"),
        ("Agreement of the worst cues", scores.cue_agreement, ""),
        ("Agreement of the surface", scores.surface_agreement, ""),
        ("Surface nearer to genuine than to counterfeits by", scores.surface_margin, ""),
        ("Classifier, log odds of genuine", scores.classifier_logit, ""),
        ("Decision score", scores.decision, f"genuine from {genuine}, counterfeit below {fake}"),
    )
    return [(stage, _number(value), threshold) for stage, value, threshold in rows if value is not None]


def _box(box: Box | None) -> str:
    return "" if box is None else ", ".join(f"{edge:g}" for edge in box)


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


@cache
def _template() -> Template:
    loader = PackageLoader("hallmark", "serving")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("certificate.html.jinja")


def _plain(certificate: Certificate) -> dict[str, Any]:
    return certificate.model_dump(mode="json")


def _signed_bytes(certificate: Certificate) -> bytes:
    content = _plain(certificate)
    del content["signature"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > _MOST_BYTES:
        raise CertificateError(f"found {len(data)} bytes; wanted a certificate of at most {_MOST_BYTES}")
    try:
        content = json.loads(data.decode(), parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"is no JSON that can be read ({_short(str(error))}); wanted a certificate") from None
    if not isinstance(content, dict):
        raise CertificateError(f"found a {type(content).__name__} at the top; wanted a certificate")
    return content


def _refuse_constant(name: str) -> None:
    raise CertificateError(f"found the number {name}; wanted finite numbers alone")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CertificateError(f"{_short(twice)}: is there twice; wanted every field once")
    return told


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"holds a value that is not finite or too deep ({_short(str(error))}); wanted plain JSON values"
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "certificate"
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown field; wanted a certificate of {FORMAT}"
    if first["type"] == "missing":
        return f"{place}: missing; wanted a whole certificate"
    return f"{place}: found {_short(first['input'])}; {first['msg'][0].lower()}{first['msg'][1:]}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text[:80]) if isinstance(value, str) else text[:80]
