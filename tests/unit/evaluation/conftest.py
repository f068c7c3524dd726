"""Photographs and verdicts made by hand, for the tests of what is measured and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hallmark.data.manifest import MANIFEST_SCHEMA
from hallmark.evaluation.metrics import Examined
from hallmark.types import Authenticity, CuePair, NearestReference, Quality, ResidualMap, Scores, Verdict, VerdictLabel

ExaminedMaker = Callable[..., Examined]
ManifestWriter = Callable[[Path, Sequence[str]], Path]


@pytest.fixture(scope="session")
def write_manifest() -> ManifestWriter:
    """`write_manifest(folder, roles)` draws a picture of either product, genuine and counterfeit, for each role listed,
    and two unrelated ones to test, and gives the path of the manifest.
    """
    return _write_manifest


def _write_manifest(folder: Path, roles: Sequence[str]) -> Path:
    rows = []
    told = [(product, kind, role) for product in "ab" for kind in ("genuine", "counterfeit") for role in roles]
    for number, (product, kind, role) in enumerate([*told, *[("", "unrelated", "test")] * 2]):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 60, (64, 64, 3)) + {"a": 20, "b": 120, "": 190}[product]
        if kind == "counterfeit":
            image[::8] = 255
        file = folder / f"{number}.png"
        Image.fromarray(image.astype(np.uint8)).save(file)
        row = dict.fromkeys(MANIFEST_SCHEMA.names)
        row |= {"image_id": f"{number:064x}", "uri": str(file), "product": product, "part": "whole", "role": role}
        rows.append(row | {"authenticity": kind, "item_id": f"item{number}", "width": 64, "height": 64})
    path = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), path)
    return path


def _verdict(
    label: str,
    product: str | None,
    p: float | None,
    decision: float | None,
    similarity: float,
    inliers: float | None,
    residual: list[list[float]] | None,
) -> Verdict:
    judged = decision is not None
    nearest = NearestReference(
        reference_id="ref-1",
        image_id="1" * 64,
        product=product or "a",
        part="front",
        authenticity=Authenticity.GENUINE,
        global_similarity=similarity,
        match_score=0.5,
        num_matches=2,
    )
    return Verdict(
        verdict=VerdictLabel(label),
        reason="because the cues agree",
        p_genuine=p,
        product=product,
        part="front" if product else None,
        scores=Scores(
            global_similarity=similarity,
            global_genuine=similarity if judged else None,
            global_counterfeit=similarity - decision if judged else None,
            match_genuine=0.5 if judged else None,
            match_counterfeit=0.25 if judged else None,
            inlier_ratio=inliers,
            cue_agreement_z=None if inliers is None else 4 * inliers - 2,
            decision=decision,
            threshold_global=0.25,
            threshold_genuine=0.1,
            threshold_counterfeit=-0.1,
        ),
        references=[nearest] if judged else [],
        cue_pairs=[CuePair(query=(0.25, 0.5), reference=(0.5, 0.75), similarity=0.9)] if judged else [],
        residual_map=residual
        and ResidualMap(
            rows=len(residual), columns=len(residual[0]), values=[value for row in residual for value in row]
        ),
        quality=Quality(width=40, height=30, sharpness=100.0, brightness=0.5, clipped=0.0),
        image_id="0" * 64,
        bundle_id="b" * 16,
        gallery_version=3,
        config_hash="c" * 16,
        timings_ms={"describe": 20.0, "retrieve": 3.5},
    )


@pytest.fixture(scope="session")
def make_examined() -> ExaminedMaker:
    """One examined photograph from its truth, its verdict and whatever else matters."""

    def make(
        truth: str = "genuine",
        label: str = "genuine",
        product: str | None = "a",
        item: str = "item-1",
        source: str | None = None,
        part: str = "front",
        found: str | None = "same",
        p: float | None = 0.5,
        decision: float | None = 0.0,
        similarity: float = 0.5,
        uri: str = "photographs/one.jpg",
        inliers: float | None = None,
        residual: list[list[float]] | None = None,
    ) -> Examined:
        named = product if found == "same" else found
        return Examined(
            image_id="0" * 64,
            uri=uri,
            product=product,
            part=part,
            authenticity=Authenticity(truth),
            item_id=item,
            source_id=source,
            verdict=_verdict(
                label, None if label == "not_in_gallery" else named, p, decision, similarity, inliers, residual
            ),
        )

    return make


@pytest.fixture(scope="session")
def examined_set(make_examined: ExaminedMaker) -> list[Examined]:
    """90 photographs of 30 items of two products, and of none; every verdict happens to every truth."""
    rng = np.random.default_rng(0)
    photographs = []
    for number in range(90):
        truth = ("genuine", "counterfeit", "unrelated")[number % 3]
        decision = float(rng.normal({"genuine": 0.3, "counterfeit": -0.3}.get(truth, 0.0), 0.4))
        label = "genuine" if decision >= 0.1 else "counterfeit" if decision < -0.1 else "inconclusive"
        similarity = float(np.clip(rng.normal(0.2 if truth == "unrelated" else 0.6, 0.2), -1, 1))
        inside = similarity >= 0.25
        product = None if truth == "unrelated" else "ab"[number % 2]
        photographs.append(
            make_examined(
                truth,
                label if inside else "not_in_gallery",
                product=product,
                item=f"{truth}-{number // 9}",
                source=(None, "s", "t")[number // 3 % 3] if truth == "counterfeit" else None,
                found="ab"[number % 2 if rng.random() < 0.9 else (number + 1) % 2],
                p=float(1 / (1 + np.exp(-5 * decision))) if inside else None,
                decision=decision if inside else None,
                similarity=similarity,
                uri=f"photographs/{number:03}.jpg",
                inliers=float(rng.random() / 2 + inside / 4) if number % 9 else None,
            )
        )
    return photographs
