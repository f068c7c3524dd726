"""The page before a real gateway with a graph that makes up its verdicts, in Debian's Chromium.

The photographs are drawn, so what is said of them is true: cue pairs are the same point of the product in both, and
the residual map lies where the counterfeit was edited.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from hallmark.data.decode import decode
from hallmark.data.drawing import camera
from hallmark.data.drawing.shapes import Frame
from hallmark.data.synthetic import DrawConfig, Drawn, Shot, draw_shot, plan
from hallmark.errors import DecodeError, EnrolmentError, UnknownReferenceError, UnknownVersionError
from hallmark.serving import schema
from hallmark.serving.problems import document
from hallmark.serving.stages import Answered, Ask, Enrolment, Examined, Listing, Overlays, Query, Source
from hallmark.types import (
    AttentionMap,
    AttentionWindow,
    Authenticity,
    CuePair,
    GalleryVersion,
    NearestReference,
    ProductCount,
    Quality,
    ReferenceRecord,
    ResidualMap,
    Scores,
    Verdict,
    VerdictLabel,
)
from hallmark.verdict.calibration import Calibration
from hallmark.verdict.items import fuse

_DRAWN = DrawConfig(photographs=300, shots_per_item=1, side_px=512, difficulty=0.3, unrelated_share=0.1)
_SOLD_AS = {
    "aurelle-leather-tag": ("aurelle-bag", "leather_tag"),
    "corvane-metal-buckle": ("aurelle-bag", "metal_buckle"),
    "mirelune-round-label": ("mirelune-jam", "round_label"),
}
"""Product and part by what was drawn: one product has two parts here."""
_BUNDLE, _CONFIG = "5f0c2e9ab41d", "b7a91c02dd10"
_SOURCE = Source(name="drawn", bundle="bundle", bundle_id=_BUNDLE, embedding_id="e1", gallery="gallery.lance")
_LOW, _HIGH = -0.35, 0.2
_MAP_SIDE = 32


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True)
class Picture:
    """A drawn photograph with what was drawn."""

    shot: Shot
    drawn: Drawn

    @property
    def sold_as(self) -> tuple[str, str]:
        """Product and part."""
        return _SOLD_AS[self.shot.product]

    @property
    def view(self) -> tuple[np.ndarray, Frame]:
        """How the product lies in the photograph."""
        height, width = (round(side * camera.SUPERSAMPLE) for side in self.drawn.image.shape[:2])
        frame = Frame(height, width, max(height, width) / 512)
        return camera.homography(self.shot.seed, frame), frame


@pytest.fixture(scope="session")
def pictures() -> dict[str, list[Picture]]:
    """Drawn photographs by `<product>/<authenticity>`, and `unrelated`."""
    found: dict[str, list[Picture]] = {}
    wanted = {"aurelle-leather-tag": 4, "mirelune-round-label": 2, "corvane-metal-buckle": 2, "": 1}
    for shot in plan(_DRAWN):
        name = f"{shot.product}/{shot.authenticity}" if shot.product else "unrelated"
        drawn = found.setdefault(name, [])
        if len(drawn) < wanted.get(shot.product, 0):
            drawn.append(Picture(shot, draw_shot(shot, _DRAWN)))
    return found


@pytest.fixture(scope="session")
def photographs(pictures: dict[str, list[Picture]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files to ask about; the made-up graph answers by the first word of a name."""
    folder = tmp_path_factory.mktemp("photographs")
    tag, buckle, label = _SOLD_AS
    shown = {
        "genuine": pictures[f"{tag}/genuine"][3],
        "genuine-buckle": pictures[f"{buckle}/genuine"][1],
        "genuine-label": pictures[f"{label}/genuine"][1],
        "counterfeit": pictures[f"{tag}/counterfeit"][2],
        "inconclusive": pictures[f"{tag}/counterfeit"][3],
        "stranger": pictures["unrelated"][0],
        "classified": pictures[f"{tag}/genuine"][3],
        "classified-beside-references": pictures[f"{tag}/genuine"][3],
    }
    files = {}
    for name, picture in shown.items():
        files[name] = folder / f"{name}.jpg"
        files[name].write_bytes(picture.drawn.jpeg)
    blurred = cv2.GaussianBlur(shown["genuine"].drawn.image, (0, 0), 9)
    files["blurred"] = folder / "blurred.jpg"
    Image.fromarray(blurred).resize((320, 240)).save(files["blurred"])
    files["damaged"] = folder / "damaged.jpg"
    files["damaged"].write_bytes(shown["genuine"].drawn.jpeg[:2000])
    files["gif"] = folder / "gif.jpg"
    files["gif"].write_bytes(b"GIF89a" + bytes(200))
    files["heavy"] = folder / "heavy.jpg"
    files["heavy"].write_bytes(shown["genuine"].drawn.jpeg + bytes(2_100_000))
    files["text"] = folder / "notes.txt"
    files["text"].write_text("not a photograph")
    return files


@pytest.fixture(scope="session")
def make_graph(pictures: dict[str, list[Picture]], calibration: Calibration) -> Callable[[], MadeUpGraph]:
    """Stages with a fresh gallery."""
    return lambda: MadeUpGraph(pictures, calibration)


@dataclass
class MadeUpGraph:
    """Stages that know the drawn photographs; references are in memory, with a version for each change."""

    pictures: dict[str, list[Picture]]
    calibration: Calibration
    versions_: list[tuple[GalleryVersion, tuple[ReferenceRecord, ...]]] = field(default_factory=list)
    thumbnails: dict[str, bytes] = field(default_factory=dict)
    idempotency_keys: list[str | None] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    delay_s: float = 0.0
    refuses: Exception | None = None
    """Raised once by the next change or verdict."""

    def __post_init__(self) -> None:
        self._at = datetime.now(UTC) - timedelta(days=9)
        for name, drawn in self.pictures.items():
            if drawn and name != "unrelated":
                self._add([self._record(picture) for picture in drawn[:3]])

    @property
    def latest(self) -> tuple[ReferenceRecord, ...]:
        return self.versions_[-1][1]

    def _record(self, picture: Picture) -> ReferenceRecord:
        image_id = hashlib.sha256(picture.drawn.jpeg).hexdigest()
        self.thumbnails[f"ref-{image_id[:12]}"] = _thumbnail(picture.drawn.image)
        shot = picture.shot
        return self._reference(image_id, *picture.sold_as, shot.item_id.split("/")[-1], shot.authenticity)

    def _reference(self, image_id: str, product: str, part: str, item: str, kind: Authenticity) -> ReferenceRecord:
        self._at += timedelta(hours=5)
        told = {"product": product, "part": part, "item_id": item, "authenticity": kind}
        return ReferenceRecord(
            reference_id=f"ref-{image_id[:12]}", image_id=image_id, bundle_id=_BUNDLE, enrolled_at=self._at, **told
        )

    def _add(self, records: Sequence[ReferenceRecord]) -> None:
        known = self.latest if self.versions_ else ()
        self._write("enrolled" if self.versions_ else "created", (*known, *records))

    def _write(self, change: str, records: tuple[ReferenceRecord, ...]) -> None:
        version = GalleryVersion(
            version=len(self.versions_) + 1, at=self._at, change=change, num_references=len(records)
        )
        self.versions_.append((version, records))

    def _may_refuse(self) -> None:
        refused, self.refuses = self.refuses, None
        if refused is not None:
            raise refused

    async def examine(self, queries: Sequence[Query], ask: Ask) -> Examined:
        self.asks.append(ask)
        await asyncio.sleep(self.delay_s)
        self._may_refuse()
        answered = [self._answered(query.photograph.name, await query.photograph.read(), ask) for query in queries]
        item = fuse([one.verdict for one in answered], self.calibration) if len(answered) > 1 else None
        return Examined(tuple(answered), item)

    def _answered(self, name: str, data: bytes, ask: Ask) -> Answered:
        image = decode(data)
        known = [p for drawn in self.pictures.values() for p in drawn if p.drawn.jpeg == data]
        kind = name.split("-")[0].split(".")[0]
        drawn, is_classified = known[0] if known else None, kind == "classified"
        verdict = made_up("genuine" if is_classified else kind, data, drawn, self.pictures, ask.request_id)
        if is_classified:
            verdict = by_classes(verdict, has_gallery="references" in name)
        overlays = Overlays(None, None, photograph=_thumbnail(image), reference=None) if ask.overlays else None
        unusable = "blurred" in verdict.reason
        return Answered(verdict, _SOURCE, "c0ffee", decision={}, unusable=unusable, overlays=overlays)

    async def enrol(self, photographs: Sequence[Any], enrolment: Enrolment) -> schema.EnrolmentAnswer:
        self.idempotency_keys.append(enrolment.idempotency_key)
        self._may_refuse()
        told: list[schema.EnrolledReference] = []
        refused: list[schema.RefusedReference] = []
        new: list[ReferenceRecord] = []
        for photograph in photographs:
            data = await photograph.read()
            try:
                record, created = self._enrolled(photograph.name, data, enrolment)
            except (DecodeError, EnrolmentError) as error:
                problem = document(error, enrolment.request_id)
                refused.append(schema.RefusedReference(file=photograph.name, problem=problem))
                continue
            new += [record] * created
            names = {"reference_id": record.reference_id, "image_id": record.image_id}
            told.append(schema.EnrolledReference(file=photograph.name, created=created, **names))
        if new:
            self._add(new)
        return schema.EnrolmentAnswer(gallery_version=len(self.versions_), references=told, refused=refused)

    def _enrolled(self, name: str, data: bytes, enrolment: Enrolment) -> tuple[ReferenceRecord, bool]:
        image = decode(data)
        image_id = hashlib.sha256(data).hexdigest()
        for known in self.latest:
            if known.image_id == image_id:
                if (known.product, known.authenticity) != (enrolment.product, enrolment.authenticity):
                    raise EnrolmentError(
                        f"{name}: is enrolled as {known.authenticity} {known.product}; wanted the same"
                    )
                return known, False
        self.thumbnails[f"ref-{image_id[:12]}"] = _thumbnail(image)
        told = (enrolment.product, enrolment.part, enrolment.item_id, enrolment.authenticity)
        return self._reference(image_id, *told), True

    async def retire(self, reference_id: str, bundle: str | None) -> schema.RetiredAnswer:
        self._may_refuse()
        kept = tuple(one for one in self.latest if one.reference_id != reference_id)
        if len(kept) == len(self.latest):
            raise UnknownReferenceError(f"reference {reference_id}: the gallery has none of that name")
        self._write("retired", kept)
        return schema.RetiredAnswer(gallery_version=len(self.versions_), reference_id=reference_id)

    async def rollback(self, version: int, bundle: str | None) -> schema.RollbackAnswer:
        self._may_refuse()
        if not 1 <= version <= len(self.versions_):
            raise UnknownVersionError(f"gallery version {version}: is gone")
        self._write("rolled_back", self.versions_[version - 1][1])
        return schema.RollbackAnswer(gallery_version=len(self.versions_), restored=version)

    async def references(self, listing: Listing, bundle: str | None) -> schema.ReferencesAnswer:
        wanted = {"product": listing.product, "part": listing.part, "authenticity": listing.authenticity}
        fit = [one for one in self.latest if all(v is None or getattr(one, k) == v for k, v in wanted.items())]
        start = int(listing.after or 0)
        page = fit[start : start + listing.limit]
        after = str(start + len(page)) if start + len(page) < len(fit) else None
        return schema.ReferencesAnswer(gallery_version=len(self.versions_), references=page, after=after)

    async def thumbnail(self, reference_id: str, bundle: str | None) -> bytes | None:
        return self.thumbnails.get(reference_id)

    async def products(self, bundle: str | None) -> schema.ProductsAnswer:
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for one in self.latest:
            counts.setdefault((one.product, one.part), {"genuine": 0, "counterfeit": 0})[one.authenticity] += 1
        told = [ProductCount(product=name, part=part, **count) for (name, part), count in sorted(counts.items())]
        return schema.ProductsAnswer(gallery_version=len(self.versions_), products=told)

    async def versions(self, bundle: str | None) -> schema.VersionsAnswer:
        told = [version for version, _ in reversed(self.versions_)]
        return schema.VersionsAnswer(current=len(self.versions_), versions=told)

    async def ready(self) -> schema.Health:
        return schema.Health(status="ready")


def made_up(
    kind: str, data: bytes, picture: Picture | None, pictures: dict[str, list[Picture]], request_id: str | None
) -> Verdict:
    """The verdict that a photograph's name asks for, with evidence as the drawing has it."""
    drawn = picture.shot.product if picture and picture.shot.product else "aurelle-leather-tag"
    product, part = _SOLD_AS[drawn]
    near = {a: pictures[f"{drawn}/{a}"][:3] for a in ("genuine", "counterfeit")}
    decision, p = {"genuine": (0.74, 0.973), "counterfeit": (-1.12, 0.018), "inconclusive": (-0.08, 0.46)}.get(
        kind, (None, None)
    )
    height, width = Image.open(io.BytesIO(data)).size[::-1]
    label, reason = {
        "genuine": (VerdictLabel.GENUINE, f"Decision score +0.740 as {product}, genuine from {_HIGH:+.3f}."),
        "counterfeit": (
            VerdictLabel.COUNTERFEIT,
            f"Decision score -1.120 as {product}, counterfeit below {_LOW:+.3f}.",
        ),
        "inconclusive": (
            VerdictLabel.INCONCLUSIVE,
            f"Decision score -0.080 as {product}, between {_LOW:+.3f} and {_HIGH:+.3f}.",
        ),
        "blurred": (
            VerdictLabel.INCONCLUSIVE,
            "The photograph is too blurred (sharpness 0.00011, at least 0.0032): hold the camera still, focus on the "
            "print and take it again.",
        ),
        "stranger": (
            VerdictLabel.NOT_IN_GALLERY,
            "No enrolled product is near: global similarity 0.214, threshold 0.431.",
        ),
    }[kind]
    known = kind != "stranger"
    is_seen = picture is not None and known
    return Verdict(
        verdict=label,
        reason=reason,
        p_genuine=p,
        product=product if known else None,
        part=part if known else None,
        scores=_scores(known, decision),
        references=_nearest(near, 0.91 if known else 0.21),
        cue_pairs=_pairs(picture, near["genuine"][0]) if is_seen else [],
        residual_map=_residual(picture, near["genuine"][0]) if is_seen else None,
        quality=Quality(
            width=width,
            height=height,
            sharpness=0.00011 if kind == "blurred" else 0.021,
            brightness=0.47,
            clipped=0.012,
        ),
        image_id=hashlib.sha256(data).hexdigest(),
        bundle_id=_BUNDLE,
        gallery_version=6,
        config_hash=_CONFIG,
        request_id=request_id,
        timings_ms={"decode": 9.4, "embed": 41.2, "search": 0.6, "verify": 63.1},
    )


def by_classes(verdict: Verdict, has_gallery: bool) -> Verdict:
    """The same verdict, as a bundle that classifies gives it."""
    near = ("global_similarity", "global_genuine", "global_counterfeit")
    kept = {name: getattr(verdict.scores, name) if has_gallery else None for name in near}
    thresholds = {name: getattr(verdict.scores, name) for name in Scores.model_fields if name.startswith("threshold_")}
    rest = dict.fromkeys(("match_genuine", "match_counterfeit"))
    scores = Scores(**kept, **thresholds, **rest, classifier_logit=3.25, decision=3.25)
    told = {"scores": scores, "cue_pairs": [], "residual_map": None, "attention": _attention(verdict.quality)}
    told["reason"] = f"Log odds of genuine +3.250 as {verdict.product}, genuine from {_HIGH:+.3f}."
    if has_gallery:
        shown = [one.model_copy(update={"match_score": 0.0, "num_matches": 0}) for one in verdict.references]
        return verdict.model_copy(update=told | {"references": shown})
    return verdict.model_copy(update=told | {"references": [], "part": None, "gallery_version": 0})


def _attention(quality: Quality) -> AttentionMap:
    """Hottest in the middle, on a square that was padded, with windows that overlap."""
    wide, high = quality.width, quality.height
    side, places = max(wide, high), np.linspace(-1, 1, 16)
    heat = np.exp(-3.5 * (places[:, None] ** 2 + places**2))
    windows = (
        (0.2, 0.25, 0.55, 0.6, 0.46),
        (0.35, 0.3, 0.7, 0.65, 0.31),
        (0.6, 0.55, 0.95, 0.9, 0.16),
        (0.0, 0.6, 0.2, 1.0, 0.07),
    )
    left, top = (wide - side) / 2, (high - side) / 2
    return AttentionMap(
        rows=16,
        columns=16,
        values=np.round(heat.ravel() / heat.max(), 4).tolist(),
        box=(left, top, left + side, top + side),
        windows=[
            AttentionWindow(x0=int(a * wide), y0=int(b * high), x1=int(c * wide), y1=int(d * high), weight=weight)
            for a, b, c, d, weight in windows
        ],
    )


def _scores(known: bool, decision: float | None) -> Scores:
    told = {} if decision is None else {"match_genuine": 0.62 + 0.1 * decision, "match_counterfeit": 0.55}
    if decision is not None:
        told |= {
            "inlier_ratio": 0.41,
            "cue_agreement": 0.88,
            "cue_agreement_z": 2.4 * decision,
            "surface_agreement": 0.93,
            "surface_agreement_z": 4.1 * decision,
            "surface_margin": 0.3 * decision,
        }
    return Scores(
        global_similarity=0.914 if known else 0.214,
        global_genuine=0.914 if known else 0.214,
        global_counterfeit=0.873 if known else 0.187,
        decision=decision,
        threshold_global=0.431,
        threshold_inliers=0.08,
        threshold_genuine=_HIGH,
        threshold_counterfeit=_LOW,
        **{"match_genuine": None, "match_counterfeit": None, **told},
    )


def _nearest(near: dict[str, list[Picture]], most: float) -> list[NearestReference]:
    return [
        NearestReference(
            reference_id=f"ref-{hashlib.sha256(picture.drawn.jpeg).hexdigest()[:12]}",
            image_id=hashlib.sha256(picture.drawn.jpeg).hexdigest(),
            product=picture.sold_as[0],
            part=picture.sold_as[1],
            authenticity=picture.shot.authenticity,
            global_similarity=most - 0.011 * place - (0.04 if kind == "counterfeit" else 0),
            match_score=0.6 - 0.05 * place,
            num_matches=37 - 6 * place,
        )
        for kind, drawn in near.items()
        for place, picture in enumerate(drawn)
    ]


def _pairs(query: Picture, reference: Picture) -> list[CuePair]:
    """The same points of the product in both photographs."""
    rng = np.random.default_rng(3)
    places = rng.uniform(0.2, 0.8, (12, 2))
    seen = []
    for picture in (query, reference):
        view, frame = picture.view
        on_product = (places * [frame.width, frame.height])[None].astype(np.float32)
        seen.append(cv2.perspectiveTransform(on_product, view)[0] / [frame.width, frame.height])
    similarities = np.linspace(0.97, 0.61, len(places))
    return [
        CuePair(query=tuple(map(float, a)), reference=tuple(map(float, b)), similarity=float(s))
        for a, b, s in zip(*seen, similarities, strict=True)
    ]


def _residual(query: Picture, reference: Picture) -> ResidualMap:
    """Noise on the product, and more where it was edited."""
    rng = np.random.default_rng(5)
    small = {"dsize": (_MAP_SIDE, _MAP_SIDE), "interpolation": cv2.INTER_AREA}
    product = cv2.resize(query.drawn.foreground_mask.astype(np.float32), **small)
    edits = cv2.resize(query.drawn.edit_mask.astype(np.float32), **small)
    values = product * (0.5 * np.abs(rng.normal(size=product.shape)) + 5.5 * edits)
    return ResidualMap(rows=_MAP_SIDE, columns=_MAP_SIDE, values=np.round(values, 4).ravel().tolist())


def _thumbnail(image: np.ndarray) -> bytes:
    small = Image.fromarray(image)
    small.thumbnail((256, 256))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()
