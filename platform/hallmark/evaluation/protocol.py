"""Calibration and examination of a manifest's photographs, by the code that serving runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator
from tqdm import tqdm

from hallmark.config import Config
from hallmark.data.manifest import manifest_hash, read_bytes, read_manifest, rows_with
from hallmark.data.preprocess import Box
from hallmark.errors import ConfigError, DataError, DecodeError
from hallmark.evaluation.expert import Expert
from hallmark.evaluation.metrics import Examined
from hallmark.evaluation.ranking import Ranking, rerank
from hallmark.gallery.describe import Located, Outcome, located
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import Gallery, Reference, enrolable, write_references
from hallmark.training.bundle import Bundle, open_bundle, write_calibration, write_classifier, write_reduction
from hallmark.training.reduction import ReductionConfig, fit_reduction
from hallmark.training.run import FoDRun, KAGRun, MGFENRun, RunConfig, read_run
from hallmark.training.validation import global_margin, separation
from hallmark.types import Authenticity, Described, Retrieved, Role, Verdict
from hallmark.verdict.calibration import Calibration, CalibrationConfig, Sample, calibration_of
from hallmark.verdict.comparison import Comparison
from hallmark.verdict.decide import DecisionConfig
from hallmark.verdict.fitting import fit_calibration, fit_match_threshold
from hallmark.verdict.items import fuse
from hallmark.verdict.matching import mutual_cosines
from hallmark.verdict.retrieval import retrieve

Describe = Callable[[Bundle, Sequence[Located]], Iterable[Outcome]]
"""Describes photographs, in order: on the cluster or in this process."""

_FOREIGN_PAIRS = 2000
_IN_DOMAIN = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)


class TrainJob(RunConfig):
    """A training run, and the reduction and calibration that follow it; one class a method."""

    reduction: ReductionConfig = ReductionConfig()
    calibration: CalibrationConfig = CalibrationConfig()

    @model_validator(mode="after")
    def _fitting_mode(self) -> Self:
        check_mode(self.calibration, self.classifies)
        return self

    @property
    def run(self) -> RunConfig:
        """The training run alone."""
        return read_run(self.model_dump(exclude={"reduction", "calibration"}), "job")


class FoDJob(FoDRun, TrainJob):
    """Training FoD, and what follows it."""


class KAGJob(KAGRun, TrainJob):
    """Training KAG-MTLN, and what follows it."""

    calibration: CalibrationConfig = CalibrationConfig(mode="classifier")


class MGFENJob(MGFENRun, TrainJob):
    """Training MGFEN, and what follows it."""

    calibration: CalibrationConfig = CalibrationConfig(mode="classifier")


class EvaluateConfig(Config):
    """Which photographs are examined, with what."""

    manifest: str = Field(description="path of manifest.parquet")
    bundle: str = Field(description="folder of the bundle, calibrated")
    gallery: str | None = Field(
        None, description="the gallery, a folder ending in .lance; null: none, for a bundle that classifies"
    )
    gallery_version: int | None = Field(None, ge=1, description="null: the latest")
    out: str = Field(description="folder for report.html, metrics.json, metrics.md and verdicts.csv")
    role: Role = Field(Role.TEST, description="photographs of this role are examined")
    decision: DecisionConfig = DecisionConfig()
    num_workers: int = Field(1, ge=1, description="actors that describe photographs")
    seed: int = Field(0, ge=0, description="of the bootstrap intervals")
    num_examples: int = Field(12, ge=0, description="photographs shown with their matched cues in the report")


def shorten(bundle: Bundle, config: ReductionConfig, describe: Describe) -> Bundle:
    """Fit the reduction on the training photographs, with what it costs on the validation photographs stated in it.

    Raises:
        ConfigError: more dimensions than the descriptors spread over.
        DataError: there are no validation photographs, or none of either could be read.
    """
    if config.dimensions is None:
        return bundle
    table = read_manifest(Path(bundle.run.manifest))
    rows, descriptors = [], []
    for role in (Role.TRAIN, Role.VAL):
        chosen = rows_with(table, (role,), _IN_DOMAIN)
        outcomes = list(describe(bundle, located(chosen)))
        known = [place for place, outcome in enumerate(outcomes) if outcome.described is not None]
        if not known:
            raise DataError(f"{bundle.run.manifest}: no photograph of role {role} can be used; wanted some")
        rows.append(chosen.take(known))
        descriptors.append(np.stack([outcomes[place].described.descriptor for place in known]))
    fitted = fit_reduction(descriptors[0], config)
    short = [np.stack([fitted(descriptor) for descriptor in part]) for part in descriptors]
    stated = {"full": _retrieval(rows, descriptors), "short": _retrieval(rows, short)}
    return write_reduction(bundle.path, replace(fitted, stated=fitted.stated | stated))


def _retrieval(rows: Sequence[pa.Table], descriptors: Sequence[np.ndarray]) -> dict[str, float | int]:
    """What the global descriptor alone is worth, validation photographs asked of training photographs."""
    (references, queries), (enrolled, asked) = rows, descriptors
    names = np.array(references.column("product").to_pylist()), np.array(queries.column("product").to_pylist())
    genuine = [np.array(part.column("authenticity").to_pylist()) == Authenticity.GENUINE for part in rows]
    nearest = (asked @ enrolled.T).argmax(axis=1)
    margin = global_margin(asked, names[1], enrolled, names[0], genuine[0])
    return {
        "dimensions": asked.shape[1],
        "num_photographs": len(asked),
        "recall_at_1": float((names[0][nearest] == names[1]).mean()),
        "separation": separation(margin, genuine[1]),
    }


def calibrate(bundle: Bundle, config: CalibrationConfig, describe: Describe) -> Bundle:
    """Fit every threshold on the validation photographs of the bundle's manifest, against its training photographs.

    Raises:
        ConfigError: the mode is not one for such a bundle.
        BundleError: `classifier` names no bundle that classifies.
        DataError: there are too few validation photographs.
    """
    check_mode(config, bundle.classifies)
    bundle = write_classifier(bundle.path, None if config.classifier is None else open_bundle(config.classifier))
    table = read_manifest(Path(bundle.run.manifest))
    enrolled = rows_with(table, (Role.TRAIN, Role.REFERENCE), _IN_DOMAIN)
    judged = rows_with(table, (Role.VAL,), _IN_DOMAIN)
    if not judged.num_rows:
        raise DataError(f"{bundle.run.manifest}: no photograph has the role val; wanted some to calibrate on")
    outcomes = list(describe(bundle, [*located(enrolled), *located(judged)]))
    references = enrolable(enrolled, outcomes[: enrolled.num_rows])
    queries = [
        (row, outcome.described)
        for row, outcome in zip(judged.to_pylist(), outcomes[enrolled.num_rows :], strict=True)
        if outcome.described is not None
    ]
    foreign = foreign_cosines(references, queries, bundle.run.seed)
    threshold_match = fit_match_threshold(foreign, config.match_quantile)
    with tempfile.TemporaryDirectory() as folder:
        gallery = write_references(f"{folder}/calibration.lance", references, bundle.bundle_id, bundle.embedding_id)
        index = GalleryIndex(gallery)
        comparison = Comparison(gallery, threshold_match, config.verification)
        progress = tqdm(queries, desc="calibrating", unit="photo", mininterval=2, ascii=True)
        samples = [sample_of(row, query, index, comparison, config) for row, query in progress]
    fitted = fit_calibration(samples, threshold_match, config, manifest_hash(table), bundle.run.seed)
    return write_calibration(bundle.path, fitted.model_dump(mode="json"))


def check_mode(config: CalibrationConfig, classifies: bool) -> None:
    """Raises ConfigError where a bundle that classifies is to be calibrated by cues that it has not, or the reverse."""
    if (config.mode == "classifier") != classifies:
        found, wanted = config.mode, "classifier" if classifies else "fused, paper_match or one_class"
        does = "classifies and has no cues" if classifies else "does not classify"
        raise ConfigError(f"calibration.mode: found {found}, and the bundle {does}; wanted {wanted}")


def training_outcome(bundle: Bundle) -> list[str]:
    """What a training job says of a calibrated bundle, line by line."""
    fitted, reduction = calibration_of(bundle), bundle.reduction()
    judged = dict(bundle.metrics["validation"])
    epoch = judged.pop("epoch")
    told = ", ".join(f"{name} {value:.3f}" for name, value in judged.items())
    f1 = "not defined" if fitted.f1 is None else f"{fitted.f1:.3f}"
    return [
        *([] if reduction is None else [f"reduction: {reduction.stated}"]),
        *(f"calibration: {warning}" for warning in fitted.warnings),
        f"bundle {bundle.bundle_id} in {bundle.path}: epoch {epoch}, {told}; on {fitted.num_genuine} genuine and "
        f"{fitted.num_counterfeit} counterfeit validation photographs F1 {f1} out of fold (for test figures: "
        "jobs/evaluate.py)",
    ]


@dataclass(frozen=True)
class Examination:
    """What became of a role's photographs."""

    examined: list[Examined]
    items: list[Examined]
    """The in-domain items: the verdict of all their photographs together, shown by one of them."""
    rankings: list[Ranking]
    """Of the in-domain photographs; none where there is no reference."""
    unread: list[Outcome]


def examine_photographs(bundle: Bundle, gallery: Gallery, config: EvaluateConfig, describe: Describe) -> Examination:
    """Verdicts about every photograph of a role, unrelated ones too."""
    table = rows_with(read_manifest(Path(config.manifest)), (config.role,), (*_IN_DOMAIN, Authenticity.UNRELATED))
    if not table.num_rows:
        raise DataError(f"{config.manifest}: no photograph has the role {config.role}; nothing to examine")
    expert = Expert(bundle, gallery, config.decision)
    examined, rankings, unread = [], [], []
    for row, outcome in zip(table.to_pylist(), describe(bundle, located(table)), strict=True):
        query = outcome.described
        if query is None:
            unread.append(outcome)
            continue
        retrieved, verdict = expert.judge(query, outcome.timings_ms)
        examined.append(_examined(row, verdict))
        if examined[-1].in_domain and len(expert.index):
            rankings.append(_ranking(examined[-1], query, retrieved, expert.index))
    return Examination(examined, _fused(examined, expert.calibration), rankings, unread)


def examine_files(
    bundle_path: Path, gallery_uri: Path | None, photographs: Sequence[Path], box: Box | None = None
) -> list[Verdict]:
    """Verdicts about photographs of unknown authenticity, in this process; the box is every photograph's.

    Raises:
        BundleError, GalleryError: what is wrong with them.
        DataError, DecodeError: a photograph cannot be read; names it.
    """
    expert = Expert.open(bundle_path, gallery_uri)
    return [examine_file(expert, path, box) for path in photographs]


def examine_file(expert: Expert, path: Path, box: Box | None = None, product: str | None = None) -> Verdict:
    """The verdict about a photograph in a file; errors name it.

    Raises:
        DataError, DecodeError: it cannot be read.
    """
    data = read_bytes(str(path))
    try:
        return expert.examine(data, box, product)
    except DecodeError as error:
        raise DecodeError(error.reason, f"{path}: {error}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _examined(row: dict[str, Any], verdict: Verdict) -> Examined:
    return Examined(
        image_id=row["image_id"],
        uri=row["uri"],
        product=row["product"] or None,
        part=row["part"],
        authenticity=row["authenticity"],
        item_id=row["item_id"],
        source_id=row["source_id"],
        verdict=verdict,
        edit_mask=row["edit_mask_uri"],
    )


def _fused(examined: Sequence[Examined], calibration: Calibration) -> list[Examined]:
    by_item: dict[tuple[str | None, str], list[Examined]] = {}
    for photograph in examined:
        if photograph.in_domain:
            by_item.setdefault((photograph.product, photograph.item_id), []).append(photograph)
    items = []
    for photographs in by_item.values():
        answer = fuse([photograph.verdict for photograph in photographs], calibration)
        told = answer.model_dump(include={"verdict", "reason", "p_genuine", "product"})
        shown = photographs[0]
        items.append(replace(shown, verdict=shown.verdict.model_copy(update=told)))
    return items


def _ranking(photograph: Examined, query: Described, retrieved: Retrieved, index: GalleryIndex) -> Ranking:
    before = index.rank(query.descriptor, query.image_id)
    rows = [candidate.row for candidate in retrieved.candidates]
    scores = [reference.match_score for reference in photograph.verdict.references]
    return Ranking(
        image_id=photograph.image_id,
        before=before,
        after=rerank(before, rows, scores),
        relevant=index.relevant(photograph.product, photograph.authenticity, query.image_id),
    )


def sample_of(
    row: dict[str, Any], query: Described, index: GalleryIndex, comparison: Comparison, config: CalibrationConfig
) -> Sample:
    """All that calibration wants to know of one photograph of known authenticity; `row` is its row of the manifest."""
    retrieved = retrieve(index, query, config.mode, config.num_candidates)
    evidence = comparison.evidence(query, retrieved)
    return Sample(
        features=evidence.features(),
        genuine=row["authenticity"] == Authenticity.GENUINE,
        product=retrieved.product,
        item_id=row["item_id"],
        global_similarity=retrieved.global_similarity,
        inlier_ratio=evidence.inlier_ratio,
        sharpness=query.quality.sharpness,
        brightness=query.quality.brightness,
        clipped=query.quality.clipped,
    )


def foreign_cosines(
    references: list[Reference], queries: list[tuple[dict[str, Any], Described]], seed: int
) -> np.ndarray:
    """Mutual-nearest-neighbour cosines of random pairs of different products."""
    rng = np.random.default_rng(seed)
    cosines = [np.empty(0, dtype=np.float32)]
    for _ in range(_FOREIGN_PAIRS if references and queries else 0):
        row, query = queries[rng.integers(len(queries))]
        reference = references[rng.integers(len(references))]
        if reference.product != row["product"]:
            ours, theirs = query.details, reference.described.details
            cosines.append(mutual_cosines((ours.local, ours.weights), (theirs.local, theirs.weights)))
    return np.concatenate(cosines)
