"""Photographs and verdicts made by hand, for the tests of what is measured and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hallmark.config import validate
from hallmark.data.manifest import MANIFEST_SCHEMA
from hallmark.evaluation.metrics import Examined
from hallmark.training.validation import Judged
from hallmark.tuning.judged import judged_file, write_judged
from hallmark.tuning.ledger import Stage, Status, Trial
from hallmark.tuning.result import SweepResult, trial_folder
from hallmark.tuning.selection import Candidate, Contender, winner
from hallmark.tuning.settings import SweepConfig, trial_run
from hallmark.types import (
    Authenticity,
    CuePair,
    NearestReference,
    Quality,
    ResidualMap,
    Role,
    Scores,
    Verdict,
    VerdictLabel,
)

ExaminedMaker = Callable[..., Examined]
ManifestWriter = Callable[[Path, Sequence[str]], Path]


_SWEEP_EPOCHS = 9


@pytest.fixture(scope="session")
def sweeps() -> SimpleNamespace:
    """Sweeps made by hand: `judged_of`, `config_of`, `sweep_of`, which write what trials said of photographs."""
    return SimpleNamespace(judged_of=_judged_of, config_of=_config_of, sweep_of=_sweep_of)


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


def _judged_of(skill: float, seed: int, items: int = 24, classifies: bool = True, truths: int = 2) -> Judged:
    """Two photographs an item, of two products; the higher the skill, the better they are told."""
    rng = np.random.default_rng([7, seed])
    item = np.repeat(np.arange(items), 2)
    class_index = 2 * (item // 2 % 2) + (item % 2 if truths == 2 else 1)
    score = rng.normal(0, 1, 2 * items) + skill * np.where(class_index % 2 == 1, 1.2, -1.2)
    right = rng.random(2 * items) < 0.5 + 0.45 * skill
    told = np.where(right, class_index, class_index ^ 1) if classifies else None
    ids = [f"{place:064x}" for place in range(2 * items)]
    return Judged(ids, np.array([f"i{one}" for one in item]), class_index.astype(np.int64), score, told)


def _config_of(out: Path, space: Mapping[str, Any], **settings: Any) -> SweepConfig:
    """A sweep of the smallest KAG-MTLN with 9 epochs and a validation each."""
    run = {"preset": "tiny", "manifest": "photographs/manifest.parquet", "validate_every": 1}
    run["optimiser"] = {"epochs": _SWEEP_EPOCHS}
    given = {"method": "kag_mtln", "run": run, "out": str(out), "space": dict(space), "resamples": 100}
    return validate(SweepConfig, given | settings, "sweep")


def _sweep_of(
    config: SweepConfig,
    tried: Sequence[Mapping[str, Any]],
    skill: Callable[[Mapping[str, Any]], float],
    ends: Mapping[int, tuple[Status, int, str]] | None = None,
    default_failed: bool = False,
    top: int = 2,
    metric: str = "accuracy",
    **judging: Any,
) -> SweepResult:
    """A sweep whose trials are as good as `skill` says; `ends` by place of what did not come to the end.

    `judging` goes to `_judged_of` for the test photographs.
    """
    run = trial_run(config, {}, config.seed, Path("."))
    classifies = judging.get("classifies", True)

    def trained(
        name: str, stage: Stage, values: dict[str, Any], seed: int, end: tuple[Status, int, str] | None
    ) -> Trial:
        status, epochs, reason = end or (Status.FINISHED, _SWEEP_EPOCHS, "")
        told = _judged_of(skill(values), seed, classifies=classifies)
        best = told.figures[metric]
        curve = tuple((epoch, round(best - 0.3 / epoch + 0.3 / _SWEEP_EPOCHS, 6)) for epoch in range(1, epochs + 1))
        curve = (*curve[:-1], (epochs, best)) if status is Status.FINISHED else curve
        if status is Status.FINISHED:
            folder = trial_folder(Path(config.out), name)
            folder.mkdir(parents=True, exist_ok=True)
            write_judged(judged_file(folder, Role.VAL), told)
            write_judged(judged_file(folder, Role.TEST), _judged_of(skill(values), seed + 1000, **judging))
        return Trial(name, stage, dict(values), seed, status, curve, reason, 12.5 * epochs, f"{len(name):016x}")

    ends = ends or {}
    search = [
        trained(f"s{place:03}", Stage.SEARCH, values, config.seed, ends.get(place))
        for place, values in enumerate(tried)
    ]
    ordered = sorted(
        (one for one in search if one.score is not None and one.status is not Status.FAILED),
        key=lambda one: (one.status is not Status.FINISHED, -one.score),
    )
    chosen = [Candidate(one.values, False) for one in ordered[:top]] + [Candidate({}, True)]
    contending = []
    for place, one in enumerate(chosen):
        end = (Status.FAILED, 0, "out of memory") if default_failed and one.is_default else None
        seeds = config.choice.seeds
        names = [f"c{place * len(seeds) + number:03}" for number in range(len(seeds))]
        trials = [trained(n, Stage.CHOICE, one.values, seed, end) for n, seed in zip(names, seeds, strict=True)]
        contending.append(Contender(one, tuple(trials)))
    return SweepResult(config, run, metric, [3, _SWEEP_EPOCHS], search, contending, winner(contending))
