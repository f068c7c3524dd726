"""The plain trainer with a method that classifies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hallmark.config import validate
from hallmark.data.batches import source_columns, to_images
from hallmark.data.manifest import products, read_manifest, rows_with
from hallmark.data.sampling import label
from hallmark.data.transforms import photograph_seed
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.training.epochs import begin, plan_training
from hallmark.training.plain import plain_batches, train_plain
from hallmark.training.run import KAGRun, RunConfig, Transforms
from hallmark.types import Authenticity, Role

Settings = Callable[..., RunConfig]
EPOCHS = 3


@pytest.fixture(scope="module")
def settings(manifest: Path, tiny_classifier_run: RunConfig) -> Settings:
    def make(out: Path, **changes: Any) -> RunConfig:
        own = {
            "manifest": str(manifest),
            "out": str(out),
            "scramble": {"degree": 4},
            "sampling": {"batch_size": 16, "showings": 2},
            "optimiser": {"epochs": EPOCHS, "learning_rate": 1e-3},
            "validate_every": 1,
        }
        return validate(KAGRun, tiny_classifier_run.model_dump() | own | changes, "plain run")

    return make


@pytest.fixture(scope="module")
def trained(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train_plain(settings(tmp_path_factory.mktemp("out") / "bundle"), progress=False)


def test_it_leaves_a_whole_bundle_without_the_auxiliary_head(trained: Bundle) -> None:
    assert open_bundle(trained.path) == trained
    assert trained.classifies
    method = trained.build_method()
    assert method.auxiliary_head is None
    start = begin(trained.run, plan_training(trained.run), torch.device("cpu")).method
    assert {name.split(".")[0] for name in start.state_dict().keys() - method.state_dict().keys()} == {"auxiliary_head"}
    assert any(not torch.equal(weight, start.state_dict()[name]) for name, weight in method.state_dict().items())


def test_both_tasks_are_told_and_the_best_epoch_is_that_of_the_classes(trained: Bundle) -> None:
    records = trained.metrics["epochs"]
    wanted = {"loss", "main", "auxiliary", "diagnostics/auxiliary_accuracy", "accuracy", "separation"}
    assert all(wanted <= record.keys() for record in records)
    best = max(records, key=lambda record: (record["accuracy"], record["epoch"]))
    assert trained.metrics["validation"] == {name: best[name] for name in ("epoch", "accuracy", "separation")}


def test_validation_is_what_the_bundle_says_of_the_photographs(trained: Bundle, manifest: Path) -> None:
    """Photograph by photograph, in plain loops."""
    table = read_manifest(manifest)
    judged = rows_with(table, (Role.VAL,), (Authenticity.GENUINE, Authenticity.COUNTERFEIT))
    run, method = trained.run, trained.build_method()
    seeds = np.array([photograph_seed(run.seed, 0, one) for one in judged["image_id"].to_pylist()], dtype=np.int64)
    columns = source_columns(judged, np.arange(judged.num_rows)) | {"seed": seeds}
    truth = label(judged, products(table), "class").class_index
    right: dict[int, list[bool]] = {}
    batches = plain_batches(columns, 1, Transforms(run.limits, run.preprocessing))
    for batch, own in zip(batches, truth, strict=True):
        with torch.inference_mode():
            logits = method.classify(to_images(batch, run.preprocessing, "cpu")).logits[0]
        right.setdefault(int(own), []).append(int(logits.argmax()) == own)
    accuracy = float(np.mean([np.mean(told) for told in right.values()]))
    assert trained.metrics["validation"]["accuracy"] == pytest.approx(accuracy)


def test_the_same_run_gives_the_same_bundle(trained: Bundle, settings: Settings, tmp_path: Path) -> None:
    again = train_plain(settings(tmp_path / "bundle"), progress=False)
    assert (again.embedding_id, again.metrics) == (trained.embedding_id, trained.metrics)


def test_without_disturbance_the_auxiliary_task_has_nothing_to_tell(settings: Settings, tmp_path: Path) -> None:
    bundle = train_plain(settings(tmp_path / "bundle", scramble={"degree": 4, "share": 0.0}), progress=False)
    assert all(record["diagnostics/auxiliary_accuracy"] > 0.9 for record in bundle.metrics["epochs"][1:])
