"""Rows of a manifest to batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from hallmark.data import batches as batches_module
from hallmark.data.batches import load_photographs, plain_batches, to_batch, training_rows
from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.preprocess import Augmentation, Preprocessing, normalise, prepare, vary
from hallmark.data.sampling import BatchSampler, Labels, SamplingConfig, label
from hallmark.errors import ConfigError, DecodeError

LIMITS = DecodeLimits()
PREPROCESSING = Preprocessing(side_px=24)
NAMES = ("product", "genuine", "class_index", "identity")


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    """Two products with four genuine photographs and two counterfeits each, as files of different sizes."""
    rows = []
    for product in ("a", "b"):
        for number, kind in enumerate(["genuine"] * 4 + ["counterfeit"] * 2):
            path = tmp_path / f"{product}{number}.png"
            rng = np.random.default_rng(len(rows))
            Image.fromarray(rng.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8)).save(path)
            shared = {"product": product, "authenticity": kind, "item_id": path.name, "source_id": "s"}
            rows.append({"uri": str(path), **shared})
    return pa.Table.from_pylist(rows)


@pytest.fixture
def labels(table: pa.Table) -> Labels:
    return label(table, ["a", "b"], "source")


@pytest.fixture
def sampler(table: pa.Table, labels: Labels) -> BatchSampler:
    config = SamplingConfig(products=2, genuine=2, counterfeit=2, steps_per_epoch=3)
    return BatchSampler(table, labels, config, seed=0)


@pytest.mark.parametrize("num_workers", [1, 2, 4, 8])
def test_the_parts_of_all_ranks_rejoin_to_the_global_batches(
    table: pa.Table, labels: Labels, sampler: BatchSampler, num_workers: int
) -> None:
    whole = training_rows(table, labels, sampler, range(2), 0, 1, seed=7)
    parts = [training_rows(table, labels, sampler, range(2), rank, num_workers, seed=7) for rank in range(num_workers)]
    for name, column in whole.items():
        steps = [part[name].reshape(6, 8 // num_workers) for part in parts]
        assert np.array_equal(np.concatenate(steps, axis=1).ravel(), column), name


def test_rows_follow_the_sampler(table: pa.Table, labels: Labels, sampler: BatchSampler) -> None:
    columns = training_rows(table, labels, sampler, range(1, 3), 0, 1, seed=0)
    order = np.concatenate([sampler.epoch(1).ravel(), sampler.epoch(2).ravel()])
    assert columns["uri"].tolist() == [table.column("uri")[int(row)].as_py() for row in order]
    for name in NAMES:
        assert np.array_equal(columns[name], getattr(labels, name)[order])


def test_a_photograph_is_varied_anew_each_time_it_is_shown(
    table: pa.Table, labels: Labels, sampler: BatchSampler
) -> None:
    first = training_rows(table, labels, sampler, range(5), 0, 1, seed=0)["seed"]
    other = training_rows(table, labels, sampler, range(5), 0, 1, seed=1)["seed"]
    assert len(set(first.tolist()) | set(other.tolist())) == len(first) + len(other)
    # An epoch that is resumed gets the seeds it had.
    resumed = training_rows(table, labels, sampler, range(3, 5), 0, 1, seed=0)["seed"]
    assert np.array_equal(resumed, first[3 * 24 :])
    largest = training_rows(table, labels, sampler, range(1), 0, 1, seed=2**20 - 1)["seed"]
    assert (largest >= 0).all()


def test_workers_that_cannot_share_a_batch_are_refused(table: pa.Table, labels: Labels, sampler: BatchSampler) -> None:
    with pytest.raises(ConfigError, match="cannot be shared by 3 workers"):
        training_rows(table, labels, sampler, range(1), 0, 3, seed=0)


def test_plain_batches_yield_the_prepared_and_varied_photographs(
    table: pa.Table, labels: Labels, sampler: BatchSampler
) -> None:
    columns = training_rows(table, labels, sampler, range(1), 0, 1, seed=3)
    yielded = list(plain_batches(columns, 8, LIMITS, PREPROCESSING, Augmentation()))
    assert len(yielded) == 3
    for number, batch in enumerate(yielded):
        assert set(batch) == {*NAMES, "image"}
        assert batch["image"].shape == (8, 24, 24, 3)
        for place in range(8):
            row = number * 8 + place
            image = prepare(decode(Path(columns["uri"][row]).read_bytes(), LIMITS), PREPROCESSING)
            varied = vary(image, Augmentation(), np.random.default_rng(int(columns["seed"][row])))
            assert np.array_equal(batch["image"][place], varied)
            assert all(batch[name][place] == columns[name][row] for name in NAMES)


def test_without_an_augmentation_photographs_are_only_prepared(table: pa.Table) -> None:
    uris = np.array(table.column("uri").to_pylist(), dtype=object)
    loaded = load_photographs({"uri": uris}, LIMITS, PREPROCESSING)
    assert set(loaded) == {"image"}
    for uri, image in zip(uris, loaded["image"], strict=True):
        assert np.array_equal(image, prepare(decode(Path(uri).read_bytes(), LIMITS), PREPROCESSING))


def test_what_is_remembered_is_neither_varied_nor_confused_between_settings(table: pa.Table) -> None:
    columns = {"uri": np.array([table.column("uri")[0].as_py()] * 2, dtype=object), "seed": np.array([1, 2])}
    before = load_photographs(columns, LIMITS, PREPROCESSING)["image"]
    varied = load_photographs(columns, LIMITS, PREPROCESSING, Augmentation())["image"]
    assert not np.array_equal(varied[0], varied[1])
    assert np.array_equal(load_photographs(columns, LIMITS, PREPROCESSING)["image"], before)
    padded = load_photographs(columns, LIMITS, Preprocessing(side_px=24, fit="pad"))["image"]
    assert not np.array_equal(padded, before)
    with pytest.raises(DecodeError):
        load_photographs(columns, DecodeLimits(max_bytes=10), PREPROCESSING)


def test_memory_is_bounded_and_the_bound_changes_no_photograph(
    table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"uri": np.array(table.column("uri").to_pylist(), dtype=object)}
    roomy = load_photographs(columns, LIMITS, PREPROCESSING)["image"]
    monkeypatch.setattr(batches_module, "_PREPARED", type(batches_module._PREPARED)())
    monkeypatch.setattr(batches_module, "_PREPARED_BYTES", 3 * 24 * 24 * 3)
    assert np.array_equal(load_photographs(columns, LIMITS, PREPROCESSING)["image"], roomy)
    assert len(batches_module._PREPARED) == 3


def test_a_photograph_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(DecodeError, match=r"broken\.jpg") as caught:
        load_photographs({"uri": np.array([str(path)], dtype=object)}, LIMITS, PREPROCESSING)
    assert caught.value.reason == "corrupt"


def test_columns_become_a_batch(table: pa.Table, labels: Labels, sampler: BatchSampler) -> None:
    columns = training_rows(table, labels, sampler, range(1), 0, 1, seed=0)
    loaded = next(plain_batches(columns, 8, LIMITS, PREPROCESSING, Augmentation()))
    batch = to_batch(loaded, PREPROCESSING, torch.device("cpu"))
    assert set(batch) == {*NAMES, "images"}
    assert torch.equal(batch["images"], normalise(torch.from_numpy(loaded["image"]), PREPROCESSING))
    assert batch["genuine"].dtype == torch.bool
    for name in NAMES:
        assert batch[name].tolist() == columns[name][:8].tolist()
        if name != "genuine":
            assert batch[name].dtype == torch.int64
