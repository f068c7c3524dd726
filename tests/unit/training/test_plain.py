"""The plain trainer: a manifest in, a bundle out, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from hallmark.config import validate
from hallmark.data.manifest import manifest_hash, read_manifest
from hallmark.errors import DataError, DecodeError, OutputError
from hallmark.methods.fod import FoD
from hallmark.training import epochs, plain
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.training.epochs import begin, plan_training
from hallmark.training.plain import train_plain
from hallmark.training.run import FoDRun, RunConfig

Settings = Callable[..., RunConfig]
EPOCHS = 3


@pytest.fixture(scope="module")
def settings(manifest: Path, tiny_run: RunConfig) -> Settings:
    def make(out: Path, **changes: Any) -> RunConfig:
        sampling = {"products": 2, "genuine": 2, "counterfeit": 2, "unrelated": 1, "steps_per_epoch": 2}
        own = {
            "manifest": str(manifest),
            "out": str(out),
            "sampling": sampling,
            "optimiser": {"epochs": EPOCHS, "learning_rate": 1e-3},
            "workers": {"num_workers": 2},
            "validate_every": 2,
        }
        return validate(FoDRun, tiny_run.model_dump() | own | changes, "plain run")

    return make


@pytest.fixture(scope="module")
def trained(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train_plain(settings(tmp_path_factory.mktemp("out") / "bundle"), progress=False)


def test_it_leaves_a_whole_bundle(trained: Bundle, manifest: Path) -> None:
    assert open_bundle(trained.path) == trained
    assert len(trained.products) == 2
    assert trained.calibration is None
    assert trained.run.workers.num_workers == 1
    assert trained.run.manifest == str(manifest)
    assert trained.provenance["manifest_hash"] == manifest_hash(read_manifest(manifest))
    assert trained.build_method().config == trained.run.method


def test_it_validates_when_it_should_and_keeps_the_best(trained: Bundle) -> None:
    records = trained.metrics["epochs"]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["epoch"] for record in records if "separation" in record] == [2, 3]
    assert all({"loss", "gradient_norm", "learning_rate", "alarms"} <= record.keys() for record in records)
    best = max((record for record in records if "separation" in record), key=lambda r: (r["separation"], r["epoch"]))
    assert trained.metrics["validation"] == {"epoch": best["epoch"], "separation": best["separation"]}


def test_the_same_run_gives_the_same_bundle(trained: Bundle, settings: Settings, tmp_path: Path) -> None:
    again = train_plain(settings(tmp_path / "bundle"), progress=False)
    assert again.embedding_id == trained.embedding_id
    assert again.metrics == trained.metrics
    other = train_plain(settings(tmp_path / "other", seed=1), progress=False)
    assert other.embedding_id != trained.embedding_id


def test_it_trains(trained: Bundle) -> None:
    plan = plan_training(trained.run)
    start = begin(trained.run, plan, torch.device("cpu")).method.state_dict()
    ended = trained.build_method().state_dict()
    assert any(not torch.equal(start[name], ended[name]) for name in start)


@pytest.mark.parametrize(("separations", "kept"), [([0.9, 0.5], 2), ([0.5, 0.9], 3), ([0.7, 0.7], 3)])
def test_the_weights_of_the_best_epoch_are_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separations: list[float], kept: int
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def judge(_validation: object, method: FoD) -> SimpleNamespace:
        seen.append({name: weight.clone() for name, weight in method.state_dict().items()})
        return SimpleNamespace(figures={"separation": separations[len(seen) - 1]})

    monkeypatch.setattr(epochs.Validation, "judge", judge)
    bundle = train_plain(settings(tmp_path / "bundle"), progress=False)
    assert bundle.metrics["validation"] == {"epoch": kept, "separation": max(separations)}
    built = bundle.build_method().state_dict()
    assert all(torch.equal(built[name], seen[kept - 2][name]) for name in built)


def test_batches_come_in_order_and_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "plain_batches", lambda columns, size, _transforms: iter(columns["x"].reshape(-1, size)))
    with plain.ThreadPoolExecutor(1) as loader:
        for count in (0, 1, 2, 5):
            rows = np.arange(3 * count)
            batches = list(plain._stream(loader, {"x": rows}, 3, None, list))
            assert batches == rows.reshape(-1, 3).tolist()


def test_a_photograph_that_is_gone_is_named(settings: Settings, manifest: Path, tmp_path: Path) -> None:
    table = pq.read_table(manifest)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photograph")
    uris = [str(broken)] * table.num_rows
    place = table.schema.get_field_index("uri")
    pq.write_table(table.set_column(place, table.schema.field("uri"), [uris]), tmp_path / "manifest.parquet")
    with pytest.raises((DecodeError, DataError), match=r"broken\.jpg"):
        train_plain(settings(tmp_path / "bundle", manifest=str(tmp_path / "manifest.parquet")), progress=False)
    assert not (tmp_path / "bundle").exists()


def test_a_place_that_cannot_be_written_is_refused_before_training(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        train_plain(settings(tmp_path / "file" / "bundle"), progress=False)


def test_adapters_are_trained_and_come_back_from_a_bundle(settings: Settings, tmp_path: Path) -> None:
    run = settings(tmp_path / "bundle")
    method = run.method.model_dump() | {"backbone": {"name": "test_vit", "pretrained": False, "lora": {"rank": 2}}}
    bundle = train_plain(settings(tmp_path / "bundle", method=method, validate_every=3), progress=False)
    start = begin(bundle.run, plan_training(bundle.run), torch.device("cpu")).method.backbone.state_dict()
    ended = bundle.build_method().backbone.state_dict()
    changed = {name for name in start if not torch.equal(start[name], ended[name])}
    assert changed
    assert all(name.endswith((".up", ".down")) for name in changed)
