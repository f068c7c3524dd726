"""A whole evaluation of drawn pictures: every file, the report by itself, and the examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hallmark.data.manifest import MANIFEST_SCHEMA, read_manifest, rows_with
from hallmark.errors import GalleryError, OutputError
from hallmark.evaluation.assessment import assess
from hallmark.evaluation.costs import forward_flops, reference_bytes
from hallmark.evaluation.metrics import Evaluation
from hallmark.evaluation.protocol import EvaluateConfig, examine_photographs
from hallmark.gallery.describe import Describer, describe_located, located
from hallmark.gallery.store import enrolable, open_gallery, write_references


def describe(bundle, photographs):
    """The in-process stand-in for the cluster."""
    return describe_located(Describer(bundle), photographs)


@pytest.fixture(scope="module")
def config(tmp_path_factory, bundle, write_manifest) -> EvaluateConfig:
    """24 coloured pictures of two products and two unrelated ones; the training half is enrolled."""
    folder = tmp_path_factory.mktemp("assessment")
    manifest = write_manifest(folder, ["train", "test"] * 3)
    train = rows_with(read_manifest(manifest), ("train",), ("genuine", "counterfeit"))
    references = enrolable(train, describe(bundle, located(train)))
    gallery = write_references(folder / "g.lance", references, bundle.bundle_id, bundle.embedding_id)
    return EvaluateConfig(
        manifest=str(manifest), bundle=str(bundle.path), gallery=gallery.uri, out=str(folder / "out"), num_examples=4
    )


@pytest.fixture(scope="module")
def assessed(config):
    return assess(config, describe)


def untimed(evaluation: Evaluation) -> Evaluation:
    """All but the times, which differ from run to run."""
    assert list(evaluation.timings) == ["read", "describe", "retrieve", "verify", "total"]
    return evaluation.model_copy(update={"timings": {}})


def test_every_file_is_written(config, assessed):
    _, report = assessed
    out = Path(config.out)
    assert report == out / "report.html"
    assert {"report.html", "metrics.json", "metrics.csv", "metrics.md", "verdicts.csv"} <= {
        file.name for file in out.iterdir()
    }
    json.loads((out / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert len((out / "verdicts.csv").read_text().strip().splitlines()) == 1 + 14


def test_the_report_stands_by_itself(assessed, bundle):
    text = assessed[1].read_text()
    assert "<script" not in text.lower()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:|#)[a-z/.]""", text, re.IGNORECASE)
    assert "url(http" not in text
    assert "FoD on 2 products" in text
    assert bundle.bundle_id in text or bundle.calibration["data_hash"] in text


def test_examples_are_shown(config, assessed, tmp_path):
    without, bare = assess(config.model_copy(update={"num_examples": 0, "out": str(tmp_path)}), describe)
    assert assessed[1].read_text().count("data:image") > bare.read_text().count("data:image")
    assert untimed(without) == untimed(assessed[0])


def test_figures_do_not_depend_on_where_they_are_made(config, assessed, tmp_path):
    again, _ = assess(config.model_copy(update={"out": str(tmp_path / "new" / "place")}), describe)
    assert untimed(again) == untimed(assessed[0])


def test_figures_are_of_the_verdicts(config, assessed, bundle):
    examined = examine_photographs(bundle, open_gallery(config.gallery), config, describe).examined
    judged = [photograph for photograph in examined if photograph.in_domain]
    accuracy = assessed[0].accuracy
    assert (accuracy.k, accuracy.n) == (sum(photograph.is_right for photograph in judged), len(judged))
    assert accuracy.n == 12


def test_costs_are_those_of_the_bundle_and_the_gallery(config, assessed, bundle):
    costs = assessed[0].costs
    assert costs.forward_flops == forward_flops(bundle.build_method(), bundle.input.preprocessing)
    assert costs.bytes_per_reference == reference_bytes(open_gallery(config.gallery))
    assert costs.num_references == 12


def test_unreadable_photographs_are_told_in_the_report(config, tmp_path):
    rows = read_manifest(Path(config.manifest)).to_pylist()
    torn = next(row for row in rows if row["role"] == "test")
    torn["uri"] = str(tmp_path / "torn.png")
    (tmp_path / "torn.png").write_bytes(b"torn")
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), tmp_path / "manifest.parquet")
    changed = {"manifest": str(tmp_path / "manifest.parquet"), "out": str(tmp_path / "out")}
    _, report = assess(config.model_copy(update=changed), describe)
    assert "torn.png" in report.read_text()


def test_an_unwritable_folder_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        assess(config.model_copy(update={"out": str(tmp_path / "file" / "out")}), describe)


def test_a_missing_gallery_version_is_named(config):
    with pytest.raises(GalleryError, match="has no version 9"):
        assess(config.model_copy(update={"gallery_version": 9}), describe)
