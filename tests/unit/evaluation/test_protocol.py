"""Calibration and examination with an untrained bundle and plain coloured pictures, in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hallmark.data.manifest import MANIFEST_SCHEMA, manifest_hash, read_manifest, rows_with
from hallmark.errors import BundleError, DataError, DecodeError, GalleryError
from hallmark.evaluation.protocol import EvaluateConfig, calibrate, examine_files, examine_photographs, shorten
from hallmark.gallery.describe import Describer, describe_located, located
from hallmark.gallery.store import enrolable, open_gallery, write_references
from hallmark.training.bundle import open_bundle, write_bundle
from hallmark.training.reduction import ReductionConfig
from hallmark.types import VerdictLabel
from hallmark.verdict.calibration import CalibrationConfig, calibration_of

ROLES = ("train", "train", "val", "test")


def describe(bundle, photographs):
    """The in-process stand-in for the cluster."""
    return describe_located(Describer(bundle), photographs)


def draw(file: Path, product: str, genuine: bool, seed: int) -> None:
    """A colour of the product's own, and a stripe where it is a counterfeit."""
    rng = np.random.default_rng(seed)
    base = {"a": (200, 60, 40), "b": (40, 80, 210), "": (90, 200, 90)}[product]
    image = np.clip(np.array(base) + rng.normal(0, 25, (64, 64, 3)), 0, 255)
    if not genuine:
        image[20:40] = 255 - image[20:40]
    Image.fromarray(image.astype(np.uint8)).save(file)


def write_manifest(folder: Path) -> Path:
    rows = []
    kinds = [(p, kind) for p in ("a", "b") for kind in ("genuine", "counterfeit")]
    told = [(p, kind, role) for p, kind in kinds for role in ROLES for _ in range(2)]
    told += [("", "unrelated", "test")] * 2
    for number, (product, kind, role) in enumerate(told):
        file = folder / f"{number}.png"
        draw(file, product, kind == "genuine", number)
        row = dict.fromkeys(MANIFEST_SCHEMA.names)
        row |= {"image_id": f"{number:064x}", "uri": str(file), "product": product, "part": "whole", "role": role}
        rows.append(row | {"authenticity": kind, "item_id": f"item{number}", "width": 64, "height": 64})
    path = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), path)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory, bundle, tiny_run):
    """A manifest, a bundle trained on nothing and calibrated on it, and a gallery of its training photographs."""
    folder = tmp_path_factory.mktemp("world")
    manifest = write_manifest(folder)
    run = tiny_run.model_copy(update={"manifest": str(manifest)})
    raw = write_bundle(folder / "bundle", bundle.build_method().state_dict(), run, ["a", "b"], {"epochs": []}, {})
    calibrated = calibrate(raw, CalibrationConfig(num_candidates=3), describe)
    train = rows_with(read_manifest(manifest), ("train",), ("genuine", "counterfeit"))
    references = enrolable(train, describe(calibrated, located(train)))
    gallery = write_references(folder / "g.lance", references, calibrated.bundle_id, calibrated.embedding_id)
    return folder, calibrated, gallery


def config_of(folder: Path, **settings) -> EvaluateConfig:
    paths = {"manifest": f"{folder}/manifest.parquet", "bundle": f"{folder}/bundle", "gallery": f"{folder}/g.lance"}
    return EvaluateConfig(**(paths | {"out": "out"} | settings))


def test_calibration_is_of_the_validation_photographs(world):
    folder, calibrated, _ = world
    fitted = calibration_of(calibrated)
    assert (fitted.num_genuine, fitted.num_counterfeit, fitted.num_candidates) == (4, 4, 3)
    assert fitted.data_hash == manifest_hash(read_manifest(folder / "manifest.parquet"))
    assert 0 < fitted.threshold_match <= 1


def test_calibration_is_reproducible_and_keeps_the_embedding(world, tmp_path):
    _, calibrated, _ = world
    shutil.copytree(calibrated.path, tmp_path / "copy")
    again = calibrate(open_bundle(tmp_path / "copy"), CalibrationConfig(num_candidates=3), describe)
    assert again.calibration == calibrated.calibration
    assert again.bundle_id == calibrated.bundle_id
    other = calibrate(open_bundle(tmp_path / "copy"), CalibrationConfig(num_candidates=1), describe)
    assert other.embedding_id == calibrated.embedding_id
    assert other.bundle_id != calibrated.bundle_id


def test_every_photograph_of_the_role_is_examined(world):
    folder, calibrated, gallery = world
    found = examine_photographs(calibrated, gallery, config_of(folder), describe)
    examined = found.examined
    assert found.unread == []
    table = rows_with(read_manifest(folder / "manifest.parquet"), ("test",), ("genuine", "counterfeit", "unrelated"))
    assert [photograph.uri for photograph in examined] == table.column("uri").to_pylist()
    assert len(examined) == 10
    assert [photograph.product for photograph in examined[-2:]] == [None, None]
    for photograph in examined:
        assert photograph.verdict.bundle_id == calibrated.bundle_id
        assert photograph.verdict.gallery_version == gallery.version


def test_evaluation_and_the_command_line_give_the_same_verdict(world):
    folder, calibrated, gallery = world
    examined = examine_photographs(calibrated, gallery, config_of(folder), describe).examined
    paths = [Path(photograph.uri) for photograph in examined]
    for photograph, verdict in zip(examined, examine_files(calibrated.path, Path(gallery.uri), paths), strict=True):
        same = photograph.verdict
        assert (verdict.verdict, verdict.product) == (same.verdict, same.product)
        assert verdict.config_hash == same.config_hash
        assert verdict.scores.decision == pytest.approx(same.scores.decision, abs=2e-3)


def test_settings_of_the_run_are_in_force(world):
    folder, calibrated, gallery = world
    decision = {"threshold_global": 1.0}
    examined = examine_photographs(calibrated, gallery, config_of(folder, decision=decision), describe).examined
    assert {photograph.verdict.verdict for photograph in examined} == {VerdictLabel.NOT_IN_GALLERY}


def test_unreadable_photographs_are_set_aside(world, tmp_path):
    folder, calibrated, gallery = world
    table = read_manifest(folder / "manifest.parquet").to_pylist()
    (tmp_path / "torn.png").write_bytes(b"torn")
    torn = next(row for row in table if row["role"] == "test")
    torn["uri"] = str(tmp_path / "torn.png")
    pq.write_table(pa.Table.from_pylist(table, MANIFEST_SCHEMA), tmp_path / "manifest.parquet")
    config = config_of(folder, manifest=str(tmp_path / "manifest.parquet"))
    found = examine_photographs(calibrated, gallery, config, describe)
    assert len(found.examined) == 9
    assert [outcome.uri for outcome in found.unread] == [torn["uri"]]
    assert "torn.png" in found.unread[0].error


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda row: row["role"] != "val", "no photograph has the role val"),
        (lambda row: row["role"] != "val" or row["authenticity"] == "genuine", "found 4 genuine and 0 counterfeit"),
    ],
)
def test_too_little_to_calibrate_on_is_told(world, tmp_path, tiny_run, kept, said):
    folder, calibrated, _ = world
    rows = [row for row in read_manifest(folder / "manifest.parquet").to_pylist() if kept(row)]
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), tmp_path / "manifest.parquet")
    run = tiny_run.model_copy(update={"manifest": str(tmp_path / "manifest.parquet")})
    weights = calibrated.build_method().state_dict()
    raw = write_bundle(tmp_path / "bundle", weights, run, ["a", "b"], {"epochs": []}, {})
    with pytest.raises(DataError, match=said):
        calibrate(raw, CalibrationConfig(), describe)
    assert open_bundle(raw.path).calibration is None


def test_a_role_without_photographs_is_told(world):
    folder, calibrated, gallery = world
    with pytest.raises(DataError, match="no photograph has the role reference"):
        examine_photographs(calibrated, gallery, config_of(folder, role="reference"), describe)


def test_files_that_cannot_be_examined_are_named(world, tmp_path):
    _, calibrated, gallery = world
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(DecodeError, match=r"text\.jpg"):
        examine_files(calibrated.path, Path(gallery.uri), [tmp_path / "text.jpg"])
    with pytest.raises(DataError, match=r"gone\.jpg"):
        examine_files(calibrated.path, Path(gallery.uri), [tmp_path / "gone.jpg"])
    with pytest.raises(GalleryError, match="no gallery there"):
        examine_files(calibrated.path, tmp_path / "none.lance", [])
    with pytest.raises(BundleError, match="no bundle there"):
        examine_files(tmp_path / "none", Path(gallery.uri), [])
    assert open_gallery(gallery.uri) == gallery


def test_a_shortened_bundle_says_what_that_costs(world, tmp_path):
    folder, bundle, _ = world
    shutil.copytree(folder / "bundle", tmp_path / "b")
    (tmp_path / "b" / "calibration.json").unlink()
    raw = open_bundle(tmp_path / "b")
    assert shorten(raw, ReductionConfig(), describe) == raw
    short = shorten(raw, ReductionConfig(dimensions=4), describe)
    stated = short.reduction().stated
    assert stated["short"]["dimensions"] == 4 < stated["full"]["dimensions"]
    for told in (stated["full"], stated["short"]):
        assert told["num_photographs"] == 8
        assert 0 <= told["recall_at_1"] <= 1
        assert 0 <= told["separation"] <= 1
    # Two colours apart: the first component already tells the products.
    assert stated["short"]["recall_at_1"] == 1.0
    calibrated = calibrate(short, CalibrationConfig(num_candidates=3), describe)
    assert calibrated.embedding_id == short.embedding_id != bundle.embedding_id
    assert (
        len(Describer(calibrated).describe([Describer(calibrated).read((folder / "0.png").read_bytes())])[0].descriptor)
        == 4
    )
