"""An analysis of MGFEN from its trainings to its page."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
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
)
from hallmark.errors import ConfigError
from hallmark.evaluation.mgfen_analysis import MGFENAnalysis, analyse
from hallmark.evaluation.mgfen_axes import BASELINE, FULL, WITH_PYRAMID, MGFENAnalysisConfig, axes
from hallmark.evaluation.variants import BASE, run_of
from hallmark.training.bundle import Bundle, write_bundle
from hallmark.training.run import MGFENRun

PRODUCTS = ["<b>x", "b"]
METHOD = {
    "method": "mgfen",
    "backbone": {"name": "test_resnet", "pretrained": False, "group_norm": True},
    "global_px": 64,
    "pyramid": {"channels": 8},
    "windows": {"crop_px": 32, "count": 2},
}
RUN = {"method": METHOD, "preprocessing": {"side_px": 96}, "sampling": {"batch_size": 8, "showings": 2}}


def manifest_of(folder: Path, masked: bool) -> Path:
    """Two products, ten items of each authenticity; the counterfeits lie on a dark ground."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    roles = ["train", "train", "train", "val", "test"]
    with (folder / "listed.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "product", "authenticity", "item_id", "role", "mask_uri"])
        for place, product in enumerate(PRODUCTS):
            for authenticity in ("genuine", "counterfeit"):
                for item in range(10):
                    ground = 40 if authenticity == "counterfeit" else 200
                    image = np.clip(rng.normal(ground, 25, (90, 80, 3)), 0, 255).astype(np.uint8)
                    mask = np.zeros((90, 80), np.uint8)
                    mask[30:60, 20:60] = 255
                    image[mask > 0] = rng.integers(0, 256, (1200, 3))
                    name = folder / f"{place}-{authenticity}-{item}.png"
                    cv2.imwrite(str(name), image)
                    cv2.imwrite(str(name.with_suffix(".mask.png")), mask)
                    row = [name, product, authenticity, f"{place}{authenticity}{item}", roles[item % 5]]
                    writer.writerow([*row, name.with_suffix(".mask.png") if masked else ""])
    config = ImportConfig(source=str(folder / "listed.csv"), out=str(folder / "manifest"))
    listing = list_photographs(config.source)
    inspected = [inspect_listed(one, limits=config.limits) for one in listing.photographs]
    write_import(assemble(listing, inspected, config), config.out)
    return folder / "manifest" / "manifest.parquet"


def config_of(manifest: Path | str, out: Path | str, run: dict[str, Any] | None = None, **settings: Any):
    given = {"run": RUN | {"manifest": str(manifest)} | (run or {}), "out": str(out), "seeds": [0, 1]}
    given |= {"resamples": 100, "num_examples": 3, "trainer": "plain"}
    return validate(MGFENAnalysisConfig, given | settings, "analysis")


def stand(asked: list[MGFENRun]) -> Callable[[MGFENRun], Bundle]:
    """Writes bundles with random weights in the place of training, and notes what it was asked for."""

    def train(run: MGFENRun) -> Bundle:
        asked.append(run)
        torch.manual_seed(run.seed)
        Path(run.out).parent.mkdir(parents=True)
        metrics = {"validation": {"epoch": 1, "accuracy": 0.5, "separation": 0.5}, "epochs": []}
        return write_bundle(run.out, run.exported(2).state_dict(), run, PRODUCTS, metrics, {"seed": run.seed})

    return train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[MGFENAnalysis, Path, list[MGFENRun]]:
    folder = tmp_path_factory.mktemp("analysis")
    config = config_of(manifest_of(folder / "photographs", True), folder / "out", splits=[5, 6], axes=["components"])
    asked: list[MGFENRun] = []
    analysis, page = analyse(config, stand(asked))
    return analysis, page, asked


def test_every_configuration_is_trained_once_a_seed_and_the_base_once_a_split(made):
    analysis, _, asked = made
    assert len(asked) == analysis.num_trainings == 4 * 2 + 2
    split = [run for run in asked if "split-" in run.manifest]
    assert [run.seed for run in split] == [0, 0]
    tables = [read_manifest(Path(run.manifest)) for run in split]
    roles = [dict(zip(table["item_id"].to_pylist(), table["role"].to_pylist(), strict=True)) for table in tables]
    assert roles[0] != roles[1]
    for run, table in zip(split, tables, strict=True):
        items = table["item_id"].to_pylist()
        assert len(items) == len(set(zip(items, table["role"].to_pylist(), strict=True))) == 40
        assert run.method == next(one for one in asked if one not in split and one.background).method


def test_the_page_tells_heat_control_and_stability(made):
    analysis, page, _ = made
    text = page.read_text()
    for said in (
        "Components (Table 3)",
        "Heat on the product (Figures 4 to 8)",
        "Stability over random splits (Table 4)",
    ):
        assert said in text
    assert "<b>x" not in text
    out = page.parent
    assert {path.stem for path in (out / "figures").glob("*.png")} == {"classes", "components", "heat", "stability"}
    assert MGFENAnalysis.model_validate_json((out / "analysis.json").read_text()) == analysis
    told = json.loads((out / "analysis.json").read_text())
    assert [one["name"] for one in told["responses"]] == [one.name for one in (BASELINE, WITH_PYRAMID, FULL)]
    for one in analysis.responses:
        # The product covers a quarter of the square that a photograph of 90 x 80 px is stretched to, hardly less.
        assert one.area == pytest.approx(1200 / 7200, abs=0.02)
        assert one.heat.n == one.cam.n == 2 * 8
        assert 0 < one.heat.low <= one.heat.value <= one.heat.high < 1
    assert set(analysis.ratios) == {"heat", "Grad-CAM"}
    assert [one.name for one in analysis.stability.splits] == ["split 5", "split 6"]


def test_a_background_that_gives_the_label_away_is_named(made):
    analysis, page, _ = made
    assert analysis.background.gives_away
    assert analysis.background.auroc > 0.95
    assert "the background gives the label away" in page.read_text()


def test_without_masks_there_is_no_hr_and_the_page_says_so(tmp_path: Path):
    config = config_of(manifest_of(tmp_path / "photographs", False), tmp_path / "out", splits=[], axes=["components"])
    analysis, page = analyse(config, stand([]))
    assert (analysis.responses, analysis.ratios, analysis.stability) == ([], {}, None)
    assert "No test photograph has a mask" in page.read_text()


def test_axes_take_away_what_they_say():
    config = config_of("m.parquet", "out", modes=["alpha", "poisson_fg"], consistencies=[0.5])
    found = {axis.name: [run_of(config, variant, 0) for variant in axis.variants] for axis in axes(config)}
    base = run_of(config, BASE, 0)
    assert [(run.method.pyramid is None, run.background is None) for run in found["components"]] == [
        (True, True), (False, True), (True, False), (False, False),
    ]  # fmt: skip
    assert found["components"][-1] == found["windows"][0] == base
    off, alike, shrunken, alone = found["windows"][1:]
    assert off.method.windows is None
    assert alike.method.windows.weights == "mean"
    assert not shrunken.method.windows.native
    assert alone.method.global_share == 0
    assert [run.composite.mode for run in found["composite"]] == ["alpha", "poisson_fg"]
    # The base has no pairs: what it is without the loss but with pairs stands beside it.
    assert [(run.method.losses.consistency, run.sampling.pairs) for run in found["consistency"]] == [
        (0.0, False), (0.5, True), (0.0, True),
    ]  # fmt: skip
    for axis in axes(config):
        assert len({variant.name for variant in axis.variants}) == len(axis.variants)


@pytest.mark.parametrize(
    ("run", "settings", "said"),
    [
        ({"method": METHOD | {"windows": None}}, {}, r"run\.method\.windows: found null; wanted it set"),
        ({"background": None}, {}, r"run\.background: found null"),
        ({}, {"splits": [4]}, r"splits: .*one split says nothing"),
        ({}, {"splits": [4, 4]}, r"splits: .*each once"),
        ({}, {"ratio": [1, 2, 2]}, r"ratio is 1:2:2"),
        ({}, {"seeds": [1, 1]}, r"seeds: .*each seed once"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_training(run, settings, said):
    with pytest.raises(ConfigError, match=said):
        axes(config_of("m.parquet", "out", run, **settings))
