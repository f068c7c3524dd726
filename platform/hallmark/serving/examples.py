"""Examples that the documentation shows with each place."""

from __future__ import annotations

from typing import Any

from hallmark.types import (
    AttentionMap,
    AttentionWindow,
    Authenticity,
    CuePair,
    NearestReference,
    Quality,
    ResidualMap,
    Scores,
    Verdict,
    VerdictLabel,
)
from hallmark.verdict.items import ItemVerdict, PartEvidence

_IMAGE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_REQUEST = "0f8fad5bd9cb469fa16570867728950e"
_REFERENCE = "ref-60303ae22b998861bce3b28f"
_PRODUCT = "Neverfull"
_PART = "leather_tag"
_AT = "2026-01-31T09:30:00Z"

_VERDICT = Verdict(
    verdict=VerdictLabel.GENUINE,
    reason=f"Decision score +2.310 as {_PRODUCT}, genuine from +0.420.",
    p_genuine=0.91,
    product=_PRODUCT,
    part=_PART,
    scores=Scores(
        global_similarity=0.87,
        global_genuine=0.87,
        global_counterfeit=0.61,
        match_genuine=0.44,
        match_counterfeit=0.21,
        inlier_ratio=0.72,
        decision=2.31,
        threshold_global=0.55,
        threshold_inliers=0.08,
        threshold_genuine=0.42,
        threshold_counterfeit=-0.35,
    ),
    references=[
        NearestReference(
            reference_id=_REFERENCE,
            image_id="60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
            product=_PRODUCT,
            part=_PART,
            authenticity=Authenticity.GENUINE,
            global_similarity=0.87,
            match_score=0.44,
            num_matches=37,
        )
    ],
    cue_pairs=[CuePair(query=(0.31, 0.42), reference=(0.30, 0.44), similarity=0.93)],
    residual_map=ResidualMap(rows=1, columns=2, values=[0.2, 1.4]),
    attention=AttentionMap(
        rows=2,
        columns=2,
        values=[0.1, 1.0, 0.2, 0.4],
        box=(0, 0, 3024, 4032),
        windows=[
            AttentionWindow(x0=1512, y0=0, x1=3024, y1=2016, weight=0.6),
            AttentionWindow(x0=756, y0=1008, x1=2268, y1=3024, weight=0.4),
        ],
    ),
    quality=Quality(width=3024, height=4032, sharpness=0.012, brightness=0.48, clipped=0.01),
    image_id=_IMAGE,
    bundle_id="3f2c9a0d41b7e865",
    gallery_version=7,
    config_hash="5d41402abc4b2a76",
    request_id=_REQUEST,
    timings_ms={"decode": 21.0, "describe": 180.0, "retrieve": 0.8, "verify": 35.0, "total": 246.0},
)
VERDICT: dict[str, Any] = _VERDICT.model_dump(mode="json")
ITEM: dict[str, Any] = {
    "item": ItemVerdict(
        verdict=VerdictLabel.GENUINE,
        reason=f"Log-likelihood ratio +2.31 over 2 photographs of 1 part of {_PRODUCT}, genuine from +0.42.",
        p_genuine=0.91,
        product=_PRODUCT,
        log_likelihood_ratio=2.31,
        threshold_genuine=0.42,
        threshold_counterfeit=-0.35,
        parts=[PartEvidence(part=_PART, image_ids=[_IMAGE], log_likelihood_ratio=2.31, p_genuine=0.91)],
        set_aside=[],
        config_hash="5d41402abc4b2a76",
    ).model_dump(mode="json"),
    "photographs": [VERDICT, VERDICT],
    "request_id": _REQUEST,
}
ENROLLED: dict[str, Any] = {
    "gallery_version": 8,
    "references": [{"reference_id": _REFERENCE, "image_id": _IMAGE, "file": "tag.jpg", "created": True}],
    "refused": [
        {
            "file": "torn.jpg",
            "problem": {
                "type": "about:blank",
                "title": "Unusable photograph",
                "status": 422,
                "detail": "found a damaged JPEG of 2000 bytes; wanted a complete photograph; export or copy it again",
                "instance": _REQUEST,
                "reason": "corrupt",
            },
        }
    ],
}
REFERENCES: dict[str, Any] = {
    "gallery_version": 8,
    "references": [
        {
            "reference_id": _REFERENCE,
            "image_id": _IMAGE,
            "product": _PRODUCT,
            "part": _PART,
            "item_id": "bag-17",
            "authenticity": "genuine",
            "bundle_id": "3f2c9a0d41b7e865",
            "enrolled_at": _AT,
        }
    ],
    "after": _REFERENCE,
}
RETIRED: dict[str, Any] = {"gallery_version": 9, "reference_id": _REFERENCE}
PRODUCTS: dict[str, Any] = {
    "gallery_version": 8,
    "products": [{"product": _PRODUCT, "part": _PART, "genuine": 24, "counterfeit": 3}],
}
VERSIONS: dict[str, Any] = {
    "current": 8,
    "versions": [{"version": 8, "at": _AT, "change": "enrolled", "num_references": 27}],
}
ROLLED_BACK: dict[str, Any] = {"gallery_version": 10, "restored": 7}
KEY: dict[str, Any] = {
    "key_id": "0123456789ab",
    "name": "shop",
    "scopes": ["verify"],
    "detail": "full",
    "rate_per_minute": 60,
    "daily_quota": 1000,
    "used_today": 17,
}
ALIVE: dict[str, Any] = {"status": "ok", "bundles": []}
READY: dict[str, Any] = {
    "status": "ready",
    "bundle_id": "3f2c9a0d41b7e865",
    "gallery_version": 8,
    "num_references": 27,
    "bundles": [{"name": "default", "bundle_id": "3f2c9a0d41b7e865", "gallery_version": 8, "num_references": 27}],
}


def answer(description: str, *examples: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A successful answer with its examples, as `responses` of a route want it."""
    shown = {name: {"value": value} for name, value in examples}
    return {"description": description, "content": {"application/json": {"examples": shown}}}
