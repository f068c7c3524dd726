"""The plain trainer with MGFEN: a bundle that classifies, and what became of backgrounds in its records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hallmark.config import load_config, validate
from hallmark.data.manifest import read_manifest
from hallmark.errors import ConfigError
from hallmark.evaluation.protocol import MGFENJob
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.training.diagnostics import backdrops
from hallmark.training.plain import train_plain
from hallmark.training.run import MGFENRun, read_run
from hallmark.types import Backdrop

Settings = Callable[..., MGFENRun]
METHOD = {
    "method": "mgfen",
    "backbone": {"name": "test_resnet", "pretrained": False, "group_norm": True},
    "global_px": 64,
    "pyramid": {"channels": 8},
    "windows": {"crop_px": 32},
    "losses": {"consistency": 0.5, "start": 0.4},
}


def settings_of(**changes: Any) -> dict[str, Any]:
    return {
        "manifest": "manifest.parquet",
        "out": "bundle",
        "method": METHOD,
        "preprocessing": {"side_px": 96},
        "sampling": {"batch_size": 16, "showings": 2, "pairs": True},
        "optimiser": {"epochs": 2, "learning_rate": 1e-3},
        "validate_every": 1,
        **changes,
    }


@pytest.fixture(scope="module")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("out") / "bundle"
    return train_plain(validate(MGFENRun, settings_of(manifest=str(manifest), out=str(out)), "run"), progress=False)


def test_it_leaves_a_bundle_that_classifies(trained: Bundle) -> None:
    assert open_bundle(trained.path) == trained
    assert trained.classifies
    assert isinstance(trained.run, MGFENRun)
    with torch.inference_mode():
        told = trained.build_method().classify(torch.zeros(2, 3, 96, 96))
    assert told.logits.shape == (2, 2 * len(trained.products))
    assert told.attended.windows.shape == (2, 4, 4)


def test_terms_join_at_their_time_and_backgrounds_are_counted(trained: Bundle) -> None:
    first, second = trained.metrics["epochs"]
    assert not {"local", "vote", "consistency"} & first.keys()
    assert {"global", "local", "vote", "consistency", "accuracy", "separation"} <= second.keys()
    assert {"diagnostics/heat_spread", "diagnostics/vote_accuracy", "diagnostics/padded_windows"} <= second.keys()
    for record in (first, second):
        # The drawn sets have a mask for every photograph.
        assert 0.2 < record["diagnostics/backdrop_replaced"] < 0.8
        assert record["diagnostics/backdrop_refused"] == record["diagnostics/backdrop_bare"] == 0.0
        assert not any("dead term" in alarm for alarm in record["alarms"])


def test_refused_masks_are_counted_and_alarming(manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    table = read_manifest(manifest)
    bare = table
    for name in ("mask_uri", "box"):
        field = table.schema.field(name)
        bare = bare.set_column(table.column_names.index(name), field, pa.nulls(table.num_rows, field.type))
    pq.write_table(bare, tmp_path / "manifest.parquet")
    given = settings_of(manifest=str(tmp_path / "manifest.parquet"), out=str(tmp_path / "bundle"))
    given["optimiser"] = {"epochs": 1}
    with caplog.at_level(logging.WARNING):
        bundle = train_plain(validate(MGFENRun, given, "run"), progress=False)
    (record,) = bundle.metrics["epochs"]
    assert record["diagnostics/backdrop_replaced"] == 0.0
    assert record["diagnostics/backdrop_refused"] == record["diagnostics/backdrop_no_mask"] > 0.2
    assert any(alarm.startswith("no foreground") for alarm in record["alarms"])
    assert "have neither mask nor box" in caplog.text


def test_backgrounds_of_a_step() -> None:
    outcomes = torch.tensor([Backdrop.KEPT, Backdrop.REPLACED, Backdrop.NO_MASK, Backdrop.TOO_LARGE])
    assert backdrops({"backdrop": outcomes}) == {
        "diagnostics/backdrop_replaced": 0.25,
        "diagnostics/backdrop_refused": 0.5,
        "diagnostics/backdrop_no_mask": 0.25,
        "diagnostics/backdrop_too_small": 0.0,
        "diagnostics/backdrop_too_large": 0.25,
        "diagnostics/backdrop_unreadable": 0.0,
        "diagnostics/backdrop_bare": 0.0,
    }
    assert backdrops({"backdrop": outcomes[2:]})["diagnostics/backdrop_bare"] == 1.0
    assert backdrops({}) == {}


def test_a_run_comes_back_from_its_settings() -> None:
    run = validate(MGFENRun, settings_of(), "run")
    assert read_run(run.model_dump(mode="json"), "config.yaml") == run


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preprocessing": {"side_px": 48}}, r"method\.global_px: found 64; wanted at most preprocessing\.side_px, 48"),
        ({"background": None}, r"method\.losses\.consistency: found 0\.5, and no photograph comes on two backgrounds"),
        ({"background": {"probability": 0.0}}, r"method\.losses\.consistency: found 0\.5"),
        ({"sampling": {"batch_size": 16}}, r"method\.losses\.consistency: found 0\.5"),
        ({"sampling": {"batch_size": 15, "showings": 2, "pairs": True}}, r"wanted both even"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        validate(MGFENRun, settings_of(**changes), "run")


def test_small_photographs_and_idle_heat_are_warned_of(manifest: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = read_manifest(manifest)
    laid = ["manifest=m", "out=o", "preset=paper", "method.losses.activation=0"]
    run = load_config(MGFENJob, None, laid, presets="mgfen").run
    with caplog.at_level(logging.WARNING):
        run.check(table)
    assert f"{table.num_rows} of {table.num_rows} training photographs have a shorter side below 523 px" in caplog.text
    assert "method.losses.activation: found 0, and no vote by heat" in caplog.text


def test_own_backgrounds_come_from_all_masked_photographs_whatever_they_show(manifest: Path) -> None:
    table = read_manifest(manifest)
    run = validate(MGFENRun, settings_of(), "run")
    library = run.transforms(table).background.library
    masked = {uri for uri in table.column("mask_uri").to_pylist() if uri is not None}
    assert {one.mask_uri for one in library.own} == masked
    assert len(np.unique(table.column("authenticity").to_pylist())) > 1
