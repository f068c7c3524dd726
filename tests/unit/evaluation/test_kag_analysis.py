"""An analysis of KAG-MTLN from its trainings to its page."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from hallmark.config import validate
from hallmark.data.manifest import (
    ImportConfig,
    assemble,
    inspect_listed,
    list_photographs,
    read_manifest,
    write_import,
    write_manifest,
)
from hallmark.errors import ConfigError, DataError
from hallmark.evaluation.kag_analysis import analyse
from hallmark.evaluation.kag_axes import KAGAnalysisConfig, axes
from hallmark.evaluation.trainings import Trainings
from hallmark.evaluation.variants import BASE, Variant
from hallmark.training.bundle import Bundle, write_bundle
from hallmark.training.run import RunConfig

PRODUCTS = ["<b>x", "b"]
AUXILIARY = {"with the auxiliary task", "KAG for the main task alone", "without KAG"}
Train = Callable[[RunConfig], Bundle]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products, five items of each authenticity, some of them long."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    roles = ["train", "train", "train", "val", "test"]
    with (folder / "listed.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "product", "authenticity", "item_id", "role"])
        for place, product in enumerate(PRODUCTS):
            for authenticity in ("genuine", "counterfeit"):
                for item in range(10):
                    name = f"{place}-{authenticity}-{item}.png"
                    cv2.imwrite(str(folder / name), rng.integers(0, 256, (90, 40 + 60 * (item % 2), 3), np.uint8))
                    role = roles[item % 5]
                    writer.writerow([folder / name, product, authenticity, f"{place}{authenticity}{item}", role])
    config = ImportConfig(source=str(folder / "listed.csv"), out=str(folder / "manifest"))
    listing = list_photographs(config.source)
    inspected = [inspect_listed(one, limits=config.limits) for one in listing.photographs]
    write_import(assemble(listing, inspected, config), config.out)
    return folder / "manifest" / "manifest.parquet"


@pytest.fixture
def config_of(manifest: Path, tiny_classifier_run: RunConfig, tmp_path: Path) -> Callable[..., KAGAnalysisConfig]:
    run = tiny_classifier_run.model_dump(mode="json", exclude={"out", "seed", "manifest", "preset"})
    run["scramble"]["degree"], run["preprocessing"]["fill"] = 4, "gray"

    def make(**settings: Any) -> KAGAnalysisConfig:
        given = {"run": run | {"manifest": str(manifest)}, "out": str(tmp_path / "out"), "seeds": [0, 1]}
        given |= {"resamples": 100, "num_examples": 3, "trainer": "plain"}
        return validate(KAGAnalysisConfig, given | settings, "analysis")

    return make


class Stand:
    """Writes bundles with random weights, which follow from the run, in the place of training."""

    def __init__(self, breaks_at: int | None = None):
        self.runs: list[RunConfig] = []
        self._breaks_at = breaks_at

    def __call__(self, run: RunConfig) -> Bundle:
        if len(self.runs) == self._breaks_at:
            raise KeyboardInterrupt
        self.runs.append(run)
        recipe = run.model_dump_json(exclude={"manifest", "out"})  # not of where files lie
        torch.manual_seed(run.seed + 100 * len(recipe))
        (Path(run.out).parent / "training").mkdir(parents=True)
        metrics = {"validation": {"epoch": 1, "accuracy": 0.5, "separation": 0.5}, "epochs": []}
        return write_bundle(run.out, run.exported(2).state_dict(), run, PRODUCTS, metrics, {"seed": run.seed})


def test_an_analysis_is_written_whole_and_its_files_agree(config_of):
    config = config_of(
        axes=["classes", "samples", "alpha", "fill", "auxiliary"],
        shares=[0.4],
        alphas=[1.0],
        fills=["white"],
        degrees=[2, 6],
    )
    train, out = Stand(), Path(config.out)
    analysis, page = analyse(config, train)
    assert len(train.runs) == analysis.num_trainings == 2 * 5  # alpha 1 and KAG for the main task alone are the same
    text = page.read_text()
    assert "&lt;b&gt;x" in text
    assert "<b>x" not in text
    assert not re.search(
        r"""(src|href|action|data)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//|@import|<script""", text
    )
    names = {"classes", "samples", "alpha", "fill", "auxiliary"}
    assert {path.stem for path in (out / "figures").glob("*.png")} == names | {"scrambles", "features", "attention"}
    assert {path.name for path in (out / "tables").iterdir()} == {
        f"{a}.{b}" for a in names for b in ("json", "csv", "md")
    }
    told = json.loads((out / "analysis.json").read_text())
    assert set(told["neighbourhoods"]) == set(told["energy"]) == AUXILIARY
    assert told["energy"]["without KAG"]["n"] > 0
    for table in told["tables"]:
        with (out / "tables" / f"{table['axis']}.csv").open(newline="") as file:
            rows = {(row[table["axis"]], row["figure"]): row for row in csv.DictReader(file)}
        for variant in table["variants"]:
            row = rows[variant["name"], "accuracy"]
            assert (float(row["value"]), int(row["k"]), int(row["n"])) == tuple(
                variant["accuracy"][part] for part in ("value", "k", "n")
            )
            assert variant["accuracy"]["n"] == 2 * table["photographs"]
    report = told["classes"]
    assert sum(map(sum, report["confusion"])) == report["accuracy"]["n"] == 2 * report["photographs"] == 16


def test_what_was_broken_off_goes_on_where_it_was(config_of):
    config = config_of(axes=["alpha"], alphas=[0.3, 1.0])
    variants = list(axes(config)[0].variants)
    first = Stand(breaks_at=3)
    with pytest.raises(KeyboardInterrupt):
        Trainings(config, variants).make(first)
    second = Stand()
    trainings = Trainings(config, variants)
    trainings.make(second)
    assert len(first.runs) == 3
    assert len(second.runs) == 3
    assert {run.out for run in first.runs}.isdisjoint(run.out for run in second.runs)
    again = Stand()
    later = Trainings(config, variants)
    for training in later.distinct:
        shutil.rmtree(training.run.out)  # an outcome is enough: nothing is judged again
    later.make(again)
    assert again.runs == []
    assert [later.outcomes(one) for one in variants] == [trainings.outcomes(one) for one in variants]
    assert not list(Path(config.out).glob("trainings/*/training"))


def test_a_bundle_that_was_trained_but_not_judged_is_judged(config_of):
    config = config_of(seeds=[0])
    trainings = Trainings(config, [BASE])
    trainings.make(Stand())
    (training,) = trainings.distinct
    (training.folder / "outcome.json").unlink()
    later, train = Trainings(config, [BASE]), Stand()
    later.make(train)
    assert train.runs == []
    assert later.outcomes(BASE) == trainings.outcomes(BASE)


def test_a_damaged_outcome_is_named(config_of):
    config = config_of(seeds=[0])
    trainings = Trainings(config, [BASE])
    trainings.make(Stand())
    (training,) = trainings.distinct
    (training.folder / "outcome.json").write_text('{"seed": 0')
    with pytest.raises(DataError, match=r"outcome\.json: is no outcome of this version .*delete it"):
        Trainings(config, [BASE]).make(Stand())


def test_variants_that_come_to_the_same_run_share_a_training(config_of):
    config = config_of()
    same = Variant("the same", ("method.losses.alpha=0.5",))
    trainings = Trainings(config, [BASE, same, Variant("workers", ("workers.num_workers=3",))])
    assert len(trainings.distinct) == 2
    other = Trainings(config, [BASE, Variant("other", ("method.losses.alpha=0.25",))])
    assert len(other.distinct) == 4


def test_a_smaller_training_set_has_the_same_test_photographs(config_of):
    config = config_of(axes=["samples"], shares=[0.4])
    whole, part = axes(config)[0].variants
    trainings = Trainings(config, [whole, part])
    trainings.make(Stand())
    one, other = trainings.outcomes(whole)[0], trainings.outcomes(part)[0]
    assert [answer.image_id for answer in one.answers] == [answer.image_id for answer in other.answers]
    assert (one.training_items, other.training_items) == (24, 8)


def test_a_variant_that_does_not_suit_a_photograph_is_told_before_any_training(config_of):
    run = config_of().run | {"preprocessing": {"side_px": 96, "fill": "gray"}}
    config = config_of(axes=["degree"], degrees=[4, 40], run=run)
    assert Trainings(config, list(axes(config)[0].variants)).distinct
    config = config_of(axes=["degree"], degrees=[4, 64], run=run)
    with pytest.raises(DataError, match="its shorter side has 40 px"):
        Trainings(config, list(axes(config)[0].variants))
    with pytest.raises(ConfigError, match=r"alpha"):
        analyse(config_of(axes=["alpha"], alphas=[1.5]), Stand())


@pytest.mark.parametrize("kept", [[], ["counterfeit"]])
def test_test_photographs_of_one_kind_suffice_and_none_are_told_before_any_training(
    config_of, manifest, tmp_path, kept
):
    table = read_manifest(manifest)
    rows = [row["role"] != "test" or row["authenticity"] in kept for row in table.to_pylist()]
    write_manifest(table.filter(pa.array(rows)), tmp_path)
    config, train = config_of(axes=["classes"], seeds=[0], degrees=[2]), Stand()
    config = config.model_copy(update={"run": config.run | {"manifest": str(tmp_path / "manifest.parquet")}})
    if not kept:
        with pytest.raises(DataError, match=r"manifest\.parquet: no photograph has the role test"):
            analyse(config, train)
        assert train.runs == []
        return
    analysis, page = analyse(config, train)
    assert page.is_file()
    assert analysis.classes.photographs == 4
    assert [one.recall.n for one in analysis.classes.classes] == [2, 0, 2, 0]
    assert analysis.classes.classes[1].f1.value is None


def test_a_folder_that_holds_another_s_outcomes_is_left_alone(config_of, tmp_path):
    config = config_of(seeds=[0])
    Trainings(config, [BASE]).make(Stand())
    moved = tmp_path / "moved"
    shutil.copytree(config.out, moved)
    train = Stand()
    Trainings(config_of(seeds=[0], out=str(moved)), [BASE]).make(train)
    assert train.runs == []  # what decides the outcome is the same: neither folder nor machine
