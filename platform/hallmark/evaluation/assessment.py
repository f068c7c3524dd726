"""A whole evaluation: every photograph of a role examined, measured, tabulated and reported."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from hallmark.data.manifest import manifest_hash, read_bytes, read_manifest
from hallmark.data.splits import split_hash
from hallmark.errors import DataError
from hallmark.evaluation.costs import costs_of
from hallmark.evaluation.localisation import read_edit_mask
from hallmark.evaluation.metrics import Evaluation, Examined, evaluate_examined
from hallmark.evaluation.protocol import Describe, EvaluateConfig, examine_photographs
from hallmark.evaluation.report import Example, write_report
from hallmark.evaluation.tables import write_tables
from hallmark.gallery.describe import Outcome
from hallmark.gallery.store import Gallery, gallery_of
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.verdict.calibration import calibration_of

_METHODS = {"fod": "FoD", "kag_mtln": "KAG-MTLN", "mgfen": "MGFEN"}
"""What the values of `method.method` are called in titles."""


def assess(config: EvaluateConfig, describe: Describe) -> tuple[Evaluation, Path]:
    """Examine, measure and write metrics.json, metrics.csv, metrics.md, verdicts.csv and report.html.

    Returns:
        The figures and the report's path.

    Raises:
        BundleError, GalleryError, DataError, OutputError: what is wrong with the input or the output folder.
    """
    bundle = open_bundle(config.bundle)
    gallery = gallery_of(bundle, config.gallery, config.gallery_version)
    examination = examine_photographs(bundle, gallery, config, describe)
    examined = examination.examined
    costs = costs_of(bundle.build_method(), bundle.input.preprocessing, gallery)
    evaluation = evaluate_examined(
        examined, config.seed, rankings=examination.rankings, items=examination.items, costs=costs
    )
    out = Path(config.out)
    write_tables(out, evaluation, examined)
    report = write_report(
        out / "report.html",
        evaluation,
        examined,
        bundle.metrics.get("epochs", []),
        _examples(examined, gallery, config.num_examples),
        _told(bundle, config, examination.unread),
    )
    return evaluation, report


def _examples(examined: list[Examined], gallery: Gallery, count: int) -> list[Example]:
    """Wrong ones first, then as even a choice of product and truth as there is."""
    kinds: dict[tuple[str | None, str], list[Examined]] = defaultdict(list)
    for photograph in sorted(examined, key=lambda photograph: photograph.image_id):
        if photograph.is_right:
            kinds[photograph.product, photograph.authenticity].append(photograph)
    right = [photograph for photograph in chain.from_iterable(zip_longest(*kinds.values())) if photograph]
    wrong = [photograph for photograph in examined if not photograph.is_right]
    chosen = [*wrong[: count // 2], *right]
    return [_example(photograph, gallery) for photograph in chosen[:count]]


def _example(photograph: Examined, gallery: Gallery) -> Example:
    references = photograph.verdict.references
    thumbnail = gallery.thumbnail(references[0].reference_id) if references else None
    return Example(photograph, read_bytes(photograph.uri), thumbnail, edit_mask=_edit_mask(photograph))


def _edit_mask(photograph: Examined) -> np.ndarray | None:
    try:
        return read_edit_mask(photograph.edit_mask) if photograph.edit_mask else None
    except DataError:  # the measure has counted and told it
        return None


def _told(bundle: Bundle, config: EvaluateConfig, unread: list[Outcome]) -> dict[str, object]:
    table = read_manifest(Path(config.manifest))
    return {
        "title": f"{_METHODS[bundle.run.method.method]} on {len(bundle.products)} products",
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "roles": dict(Counter(table.column("role").to_pylist())),
        "seeds": {"training": bundle.run.seed, "bootstrap": config.seed},
        "hashes": {"manifest": manifest_hash(table), "split": split_hash(table)},
        "calibration": calibration_of(bundle).model_dump(mode="json"),
        "quarantine": [{"uri": outcome.uri, "reason": outcome.error} for outcome in unread],
        "provenance": bundle.provenance,
    }
