"""Rows of a manifest to batches."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from hallmark.data import batches as batches_module
from hallmark.data.backgrounds import BackgroundConfig, BackgroundLibrary, BackgroundReplacement
from hallmark.data.batches import load_photographs, plain_batches, source_columns, to_batch, training_rows
from hallmark.data.composite import CompositeConfig
from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.preprocess import Augmentation, Preprocessing, normalise, prepare
from hallmark.data.sampling import BatchSampler, Labels, SamplingConfig, label
from hallmark.data.scramble import ScrambleConfig
from hallmark.data.tone import ToneConfig
from hallmark.data.transforms import Transforms, photograph_seed, prepared, varied
from hallmark.errors import ConfigError, DecodeError

LIMITS = DecodeLimits()
PREPROCESSING = Preprocessing(side_px=24)
PLAIN = Transforms(LIMITS, PREPROCESSING)
VARIED = Transforms(LIMITS, PREPROCESSING, Augmentation())
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
            rows.append({"uri": str(path), "image_id": path.stem, "box": None, "mask_uri": None, **shared})
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
    assert columns["box"].tolist() == columns["mask_uri"].tolist() == [None] * 48
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
    yielded = list(plain_batches(columns, 8, VARIED))
    assert len(yielded) == 3
    for number, batch in enumerate(yielded):
        assert set(batch) == {*NAMES, "image"}
        assert batch["image"].shape == (8, 24, 24, 3)
        for place in range(8):
            row = number * 8 + place
            seed = int(columns["seed"][row])
            wanted = varied(prepared(columns["uri"][row], None, None, VARIED, seed), VARIED, seed)
            assert np.array_equal(batch["image"][place], wanted.pixels)
            assert all(batch[name][place] == columns[name][row] for name in NAMES)


def test_without_an_augmentation_photographs_are_only_prepared(table: pa.Table) -> None:
    uris = np.array(table.column("uri").to_pylist(), dtype=object)
    loaded = load_photographs({"uri": uris}, PLAIN)
    assert set(loaded) == {"image"}
    for uri, image in zip(uris, loaded["image"], strict=True):
        assert np.array_equal(image, prepare(decode(Path(uri).read_bytes(), LIMITS), PREPROCESSING).pixels)


def test_what_is_remembered_is_neither_varied_nor_confused_between_settings(table: pa.Table) -> None:
    columns = {"uri": np.array([table.column("uri")[0].as_py()] * 2, dtype=object), "seed": np.array([1, 2])}
    before = load_photographs(columns, PLAIN)["image"]
    varied = load_photographs(columns, VARIED)["image"]
    assert not np.array_equal(varied[0], varied[1])
    assert np.array_equal(load_photographs(columns, PLAIN)["image"], before)
    padded = load_photographs(columns, Transforms(LIMITS, Preprocessing(side_px=24, fill="gray")))
    assert not np.array_equal(padded["image"], before)
    boxed = columns | {"box": np.array([None, (0.0, 0.0, 20.0, 20.0)], dtype=object)}
    loaded = load_photographs(boxed, PLAIN)["image"]
    assert np.array_equal(loaded[0], before[0])
    assert not np.array_equal(loaded[1], before[1])
    with pytest.raises(DecodeError):
        load_photographs(columns, Transforms(DecodeLimits(max_bytes=10), PREPROCESSING))


def test_memory_is_bounded_and_the_bound_changes_no_photograph(
    table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"uri": np.array(table.column("uri").to_pylist(), dtype=object)}
    roomy = load_photographs(columns, PLAIN)["image"]
    monkeypatch.setattr(batches_module, "_PREPARED", type(batches_module._PREPARED)())
    monkeypatch.setattr(batches_module, "_PREPARED_BYTES", 3 * 24 * 24 * 3)
    assert np.array_equal(load_photographs(columns, PLAIN)["image"], roomy)
    assert len(batches_module._PREPARED) == 3


def test_a_photograph_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(DecodeError, match=r"broken\.jpg") as caught:
        load_photographs({"uri": np.array([str(path)], dtype=object)}, PLAIN)
    assert caught.value.reason == "corrupt"


def test_columns_become_a_batch(table: pa.Table, labels: Labels, sampler: BatchSampler) -> None:
    columns = training_rows(table, labels, sampler, range(1), 0, 1, seed=0)
    loaded = next(plain_batches(columns, 8, VARIED))
    batch = to_batch(loaded, PREPROCESSING, torch.device("cpu"))
    assert set(batch) == {*NAMES, "images"}
    assert torch.equal(batch["images"], normalise(torch.from_numpy(loaded["image"]), PREPROCESSING))
    assert batch["genuine"].dtype == torch.bool
    for name in NAMES:
        assert batch[name].tolist() == columns[name][:8].tolist()
        if name != "genuine":
            assert batch[name].dtype == torch.int64


EVERYTHING = Transforms(
    LIMITS,
    Preprocessing(side_px=24, fill="random", tone=ToneConfig(gamma=True, stretch=True, ace=True)),
    Augmentation(),
    ScrambleConfig(degree=4),
    BackgroundReplacement(BackgroundLibrary(BackgroundConfig(probability=0.7)), CompositeConfig()),
)


@pytest.fixture
def masked(table: pa.Table, tmp_path: Path) -> pa.Table:
    """The same photographs with a foreground mask and a box each."""
    masks = []
    for number, uri in enumerate(table.column("uri").to_pylist()):
        width, height = Image.open(uri).size
        mask = np.zeros((height, width), np.uint8)
        mask[4:-4, 8:-8] = 255
        masks.append(str(tmp_path / f"mask{number}.png"))
        Image.fromarray(mask).save(masks[-1])
    boxes = pa.array([[2.0, 2.0, 38.0, 28.0]] * len(masks), pa.list_(pa.float32()))
    return table.set_column(table.column_names.index("mask_uri"), "mask_uri", pa.array(masks)).set_column(
        table.column_names.index("box"), "box", boxes
    )


@pytest.mark.parametrize("num_workers", [2, 4])
def test_augmented_pixels_do_not_depend_on_the_number_of_workers(
    masked: pa.Table, labels: Labels, sampler: BatchSampler, num_workers: int
) -> None:
    """Every random stage on; each worker loads its own part, in batches of its own size."""
    whole = training_rows(masked, labels, sampler, range(2), 0, 1, seed=7)
    wanted = load_photographs(whole, EVERYTHING)
    assert wanted["scrambled"].any()
    assert not wanted["scrambled"].all()
    share = 8 // num_workers
    for rank in range(num_workers):
        own = training_rows(masked, labels, sampler, range(2), rank, num_workers, seed=7)
        for step, part in enumerate(plain_batches(own, share, EVERYTHING)):
            place = step * 8 + rank * share
            for name, values in part.items():
                assert np.array_equal(values, wanted[name][place : place + share]), name


def test_a_photograph_shown_twice_in_an_epoch_is_shown_in_two_ways(table: pa.Table, labels: Labels) -> None:
    """8 genuine places for 4 genuine photographs of each product."""
    twice = BatchSampler(table, labels, SamplingConfig(products=2, genuine=8, counterfeit=2, steps_per_epoch=1), seed=0)
    columns = training_rows(table, labels, twice, range(1), 0, 1, seed=0)
    shown = columns["uri"].tolist()
    assert len(set(shown)) < len(shown)
    assert len(set(columns["seed"].tolist())) == len(shown)


def test_seeds_follow_from_run_epoch_photograph_and_copy_alone() -> None:
    known = {photograph_seed(*key) for key in itertools.product((0, 1), (0, 1), ("a", "b"), (0, 1))}
    assert len(known) == 16
    assert photograph_seed(3, 4, "a") == photograph_seed(3, 4, "a", 0)
    assert all(0 <= seed < 2**63 for seed in known)


@pytest.mark.parametrize(("policy", "kept"), [("counterfeit", False), ("keep", True), ("ignore", True)])
def test_a_scrambled_photograph_has_the_label_of_the_policy(
    masked: pa.Table, labels: Labels, policy: str, kept: bool
) -> None:
    columns = source_columns(masked, np.arange(masked.num_rows)) | {
        "product": labels.product, "genuine": labels.genuine, "class_index": labels.class_index,
        "identity": labels.identity, "seed": np.arange(masked.num_rows),
    }  # fmt: skip
    transforms = Transforms(LIMITS, PREPROCESSING, scramble=ScrambleConfig(degree=4, main_label=policy))
    loaded = load_photographs(columns, transforms)
    scrambled = loaded["scrambled"]
    assert scrambled.any()
    assert np.array_equal(loaded["genuine"], labels.genuine & (~scrambled | kept))
    wanted = {"counterfeit": 2 * labels.product, "keep": labels.class_index, "ignore": -1}[policy]
    assert np.array_equal(loaded["class_index"], np.where(scrambled, wanted, labels.class_index))
    assert np.array_equal(loaded["identity"], np.where(scrambled, -1, labels.identity))


def test_the_mask_of_the_content_follows_the_photograph(table: pa.Table) -> None:
    """Where the fill is white and the photograph black, the mask is the photograph."""
    path = Path(table.column("uri")[0].as_py()).with_name("black.png")
    Image.fromarray(np.zeros((20, 60, 3), np.uint8)).save(path)
    augmentation = Augmentation(brightness=0, gamma=0, blur_px=0, noise=0, rotation_deg=20)
    transforms = Transforms(LIMITS, Preprocessing(side_px=60, fill="white"), augmentation)
    columns = {"uri": np.array([str(path)] * 4, dtype=object), "seed": np.arange(4)}
    loaded = load_photographs(columns, transforms)
    dark = loaded["image"].max(axis=3) < 128
    assert (loaded["content"] == dark).mean() > 0.985
    assert 0.2 < loaded["content"].mean() < 0.5
