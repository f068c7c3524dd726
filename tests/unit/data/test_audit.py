"""The audit on small sets whose faults are planted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.data.auditing import controls
from hallmark.data.auditing.audit import Audit, AuditConfig, audit
from hallmark.data.auditing.controls import ControlConfig, Evidence, examine
from hallmark.data.auditing.measurement import BACKGROUND_FEATURES, Border, Exif, Measured
from hallmark.data.duplicates import NearDuplicateConfig
from hallmark.data.manifest import MANIFEST_SCHEMA
from hallmark.errors import DataError

FAST = ControlConfig(shuffles=199, resamples=200, repeats=2)
STILL = NearDuplicateConfig(aligned_neighbours=0)


def _measured(rng: np.random.Generator, number: int) -> Measured:
    coarse = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    return Measured(
        image_id=f"{number:04d}",
        width=int(rng.integers(400, 800)),
        height=int(rng.integers(400, 800)),
        num_bytes=int(rng.integers(20_000, 90_000)),
        format="JPEG",
        jpeg_quality=int(rng.integers(70, 95)),
        subsampling="4:2:0",
        sharpness=float(rng.uniform(300, 600)),
        brightness=0.5,
        contrast=0.2,
        background=tuple(rng.normal(size=BACKGROUND_FEATURES).tolist()),
        thumbnail=np.kron(coarse, np.ones((8, 8), dtype=np.uint8)),
    )


def _set(num_items: int = 12, shots: int = 2, seed: int = 0) -> tuple[list[dict], list[Measured]]:
    """Two products, as many items of each label, drawn without looking at the label."""
    rng = np.random.default_rng(seed)
    rows, measured = [], []
    for product in ("tag", "buckle"):
        for label in ("genuine", "counterfeit"):
            for item in range(num_items):
                for shot in range(shots):
                    one = _measured(rng, len(rows))
                    measured.append(one)
                    rows.append(
                        {
                            "image_id": one.image_id,
                            "uri": f"{product}/{label}/{item}_{shot}.jpg",
                            "product": product,
                            "part": "whole",
                            "authenticity": label,
                            "item_id": f"{product}/{label}/{item}",
                            "source_id": "maker" if label == "genuine" else "forger",
                            "device_id": f"phone-{rng.integers(3)}",
                            "role": ("train", "val", "test")[item % 3],
                            "width": one.width,
                            "height": one.height,
                        }
                    )
    return rows, measured


def _audit(rows: list[dict], measured: list[Measured], config: ControlConfig = FAST) -> Audit:
    return audit(
        pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), measured, AuditConfig(controls=config, duplicates=STILL)
    )


def _codes(found: Audit) -> set[str]:
    return {finding.code for finding in found.findings}


def _of(found: Audit, code: str):
    return next(finding for finding in found.findings if finding.code == code)


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_set_has_no_findings(seed):
    found = _audit(*_set(seed=seed))
    assert found.findings == ()
    assert (found.photographs, found.items) == (96, 48)
    assert len(found.controls) == 9


def _leak(rows: list[dict], measured: list[Measured], how: str) -> None:
    for position, row in enumerate(rows):
        fake = row["authenticity"] == "counterfeit"
        one = measured[position]
        if how == "bytes" and fake:
            measured[position] = replace(one, num_bytes=one.num_bytes * 3)
        elif how == "software":
            measured[position] = replace(one, exif=Exif(present=True, software="scanner" if fake else "camera"))
        elif how == "background":
            shifted = np.array(one.background) + np.where(np.arange(BACKGROUND_FEATURES) < 6, 1.0 * fake, 0)
            measured[position] = replace(one, background=tuple(shifted.tolist()))
        elif how == "device" and (position % 7 > 0):
            row["device_id"] = "phone-a" if fake else "phone-b"
        elif how == "quality, against each other":
            high = fake == (row["product"] == "tag")
            measured[position] = replace(one, jpeg_quality=one.jpeg_quality + (20 if high else 0))


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("bytes", "gives_away_bytes"),
        ("software", "gives_away_file_facts"),
        ("background", "gives_away_background"),
        ("device", "gives_away_device"),
        ("quality, against each other", "gives_away_file_facts"),
    ],
)
def test_what_gives_the_label_away_is_found(how, code):
    rows, measured = _set()
    _leak(rows, measured, how)
    found = _audit(rows, measured)
    finding = _of(found, code)
    assert finding.severity == "error"
    assert "AUROC" in finding.sentence
    wanted = {"bytes": {"bytes", "bits per pixel", "file facts"}, "background": {"background"}, "device": {"device"}}
    flagged = {control.name for control in found.controls if control.gives_away}
    assert flagged <= wanted.get(how, {"JPEG quality", "file facts"})


def test_a_session_an_item_is_no_leak():
    """All photographs of an item share what they show: with few items, only shuffles by item keep this quiet."""
    alarms = 0
    for seed in range(12):
        rows, measured = _set(num_items=5, shots=8, seed=seed)
        rng = np.random.default_rng(100 + seed)
        level = {row["item_id"]: rng.normal(size=BACKGROUND_FEATURES) for row in rows}
        for position, row in enumerate(rows):
            one = measured[position]
            near = level[row["item_id"]] + 0.1 * np.array(one.background)
            quality = 80 + int(5 * level[row["item_id"]][0])
            measured[position] = replace(one, background=tuple(near.tolist()), jpeg_quality=quality)
        alarms += any(control.gives_away for control in _audit(rows, measured).controls)
    assert alarms <= 1


def _slow_auroc(scores, genuine, strata) -> float:
    won = pairs = 0.0
    for i in range(len(scores)):
        for j in range(len(scores)):
            if genuine[i] and not genuine[j] and strata[i] == strata[j]:
                pairs += 1
                won += 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return won / pairs if pairs else 0.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2)), min_size=1, max_size=20))
def test_auroc_agrees_with_the_slow_twin(rows):
    scores, genuine, strata = (np.array(column) for column in zip(*rows, strict=True))
    labels = np.stack([genuine, ~genuine])
    fast = controls._aurocs(controls._Scored(scores[None].astype(float), strata), labels)
    assert fast == pytest.approx([_slow_auroc(scores, each, strata) for each in labels])


def test_predictions_are_ridge_regression_out_of_fold():
    """Fold by fold against the normal equations of a linear kernel."""
    rng = np.random.default_rng(0)
    values, cells, folds = rng.normal(size=(30, 4)), np.zeros(30, dtype=int), np.arange(30) % 3
    labels = rng.random((2, 30)) < 0.5
    found = controls._predicted(values @ values.T, labels, folds, cells, ridge=0.7)
    for fold in range(3):
        train, test = folds != fold, folds == fold
        target = labels[:, train].astype(float)
        target -= target.mean(axis=1, keepdims=True)
        weights = np.linalg.solve(values[train].T @ values[train] + 0.7 * np.eye(4), values[train].T @ target.T)
        np.testing.assert_allclose(found[:, test], (values[test] @ weights).T, atol=1e-9)


def test_shuffles_keep_items_whole_and_cells_balanced():
    rows, _ = _set(num_items=6, shots=3)
    cells, items = np.array([row["product"] for row in rows]), np.array([row["item_id"] for row in rows])
    genuine = np.array([row["authenticity"] == "genuine" for row in rows])
    subject = controls._subject(genuine, cells, items, np.arange(len(rows)))
    labels = controls._labellings(subject, 40, np.random.default_rng(0))
    np.testing.assert_array_equal(labels[0], genuine)
    assert len({tuple(row) for row in labels}) > 30
    for labelling in labels:
        for item in set(items):
            assert len(set(labelling[items == item])) == 1
        for cell in set(cells):
            assert labelling[cells == cell].sum() == 18


def test_corrected_p_values_grow_with_the_number_of_controls():
    rng = np.random.default_rng(0)
    statistics = rng.normal(size=(30, 400))
    statistics[0, 0] = 2.6
    alone, among = controls._corrected(statistics[:1])[0], controls._corrected(statistics)[0]
    assert alone < 0.02
    assert among > 5 * alone
    assert controls._corrected(np.full((2, 50), 0.5)).tolist() == [1.0, 1.0]


def test_examination_repeats_and_bounds_its_size():
    rows, measured = _set(num_items=30)
    values = np.array([[one.num_bytes] for one in measured], dtype=float)
    genuine = np.array([row["authenticity"] == "genuine" for row in rows])
    columns = [[row["product"] for row in rows], [row["item_id"] for row in rows]]
    config = FAST.model_copy(update={"max_photographs": 100})
    evidence = [Evidence("bytes", "", values, False), Evidence("classifier", "", values, True)]
    first, second = (examine(evidence, genuine, *columns, config) for _ in range(2))
    assert first == second
    assert first[0].photographs == 100
    assert all(control.low <= control.auroc <= control.high or not control.gives_away for control in first)


@pytest.mark.parametrize("num_items", [1, 3])
def test_too_few_items_are_said_not_judged(num_items):
    found = _audit(*_set(num_items=num_items))
    assert found.controls == ()
    assert "controls_not_examined" in _codes(found)


def test_item_in_two_roles_and_under_two_labels():
    rows, measured = _set()
    rows[0] |= {"role": "test"}
    rows[1] |= {"role": "train"}
    rows[-1]["item_id"] = rows[4]["item_id"]
    found = _audit(rows, measured)
    assert _of(found, "item_crosses_authenticities").k == 1
    assert _of(found, "item_crosses_roles").severity == "error"
    assert rows[0]["uri"] in _of(found, "item_crosses_roles").uris


def test_near_duplicates_and_what_they_cross():
    rows, measured = _set()
    pairs = [(0, 1), (2, 9), (4, 30), (6, 60)]
    for one, other in pairs:
        measured[other] = replace(measured[other], thumbnail=measured[one].thumbnail)
    found = _audit(rows, measured)
    assert _of(found, "near_duplicates").k == 8
    assert len(found.duplicate_groups) == 4
    assert _of(found, "near_duplicates_cross_item_id").k == 3
    assert _of(found, "near_duplicates_cross_authenticity").k == 1
    assert _of(found, "near_duplicates_cross_product").k == 1
    crossing = sum(rows[one]["role"] != rows[other]["role"] for one, other in pairs)
    assert _of(found, "near_duplicates_cross_role").k == crossing > 0


def test_products_with_one_label_or_few_of_one():
    rows, measured = _set()
    keep = [k for k, row in enumerate(rows) if row["product"] == "tag" or row["authenticity"] == "genuine"]
    keep = [k for k in keep if rows[k]["authenticity"] == "genuine" or rows[k]["item_id"].endswith("/1")]
    found = _audit([rows[k] for k in keep], [measured[k] for k in keep])
    assert "buckle (24 genuine and 0 counterfeit)" in _of(found, "one_label_only").sentence
    assert "tag (24 genuine and 2 counterfeit)" in _of(found, "unbalanced").sentence


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("small", {"width": 90}),
        ("blurred", {"sharpness": 20.0}),
        ("dark", {"dark": 0.7}),
        ("bright", {"bright": 0.7}),
        ("flat", {"contrast": 0.01}),
        ("framed", {"border": Border(0.2, 0.0, 0.2, 0.0)}),
        ("gps", {"exif": Exif(present=True, has_position=True)}),
    ],
)
def test_unfit_photographs(code, change):
    rows, measured = _set()
    measured[5] = replace(measured[5], **change)
    finding = _of(_audit(rows, measured), code)
    assert finding.uris == (rows[5]["uri"],)
    assert finding.sentence.startswith("1 of 96 photographs")


def test_unreadable_photographs_and_masks():
    rows, measured = _set()
    measured[3] = Measured("", reason="corrupt", detail="found a damaged JPEG")
    measured[4] = replace(measured[4], reason="mask", detail="mask: found no known format")
    found = _audit(rows, measured)
    assert _of(found, "unusable_corrupt").uris == (rows[3]["uri"],)
    assert _of(found, "unusable_mask").severity == "warning"
    assert sum(map(len, found.spreads["brightness"].values())) == 95


def test_counts_add_up():
    rows, measured = _set()
    rows[0]["source_id"] = None
    found = _audit(rows, measured)
    assert sum(count.photographs for count in found.counts) == 96
    by_role = Counter(row["role"] for row in rows)
    assert sum(count.photographs for count in found.counts if count.role == "val") == by_role["val"]


def test_audit_is_written_and_read_back():
    rows, measured = _set()
    _leak(rows, measured, "bytes")
    found = _audit(rows, measured)
    assert Audit.model_validate_json(found.model_dump_json()) == found


def test_empty_set_and_wrong_number_of_measurements():
    found = _audit([], [])
    assert (found.photographs, found.controls) == (0, ())
    rows, measured = _set()
    with pytest.raises(DataError, match="95 measurements for 96 rows"):
        _audit(rows, measured[:-1])


def test_unrelated_photographs_are_left_out_of_the_controls():
    rows, measured = _set()
    for position in range(0, 96, 10):
        rows[position] |= {"authenticity": "unrelated"}
    found = _audit(rows, measured)
    assert found.controls[0].photographs == 86


def test_errors_come_first():
    rows, measured = _set()
    _leak(rows, measured, "bytes")
    measured[5] = replace(measured[5], exif=Exif(present=True, has_position=True), contrast=0.0)
    words = [finding.severity for finding in _audit(rows, measured).findings]
    assert words == sorted(words, key=["error", "warning", "note"].index)
    assert set(words) == {"error", "warning", "note"}
