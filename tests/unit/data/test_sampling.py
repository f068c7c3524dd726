"""Which photographs stand together in a batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.data.sampling import BatchSampler, SamplingConfig, ShuffleConfig, ShuffleSampler, label, worker_slice
from hallmark.errors import ConfigError, DataError


def photographs(product: str | None, authenticity: str, items: int, shots: int, sources: list | None = None) -> list:
    """`items` items with `shots` photographs each; the sources take turns."""
    sources = sources or [None]
    return [
        {
            "product": product or "",
            "authenticity": authenticity,
            "item_id": f"{product}-{authenticity}-{item}",
            "source_id": sources[item % len(sources)],
        }
        for item in range(items)
        for _ in range(shots)
    ]


def table_of(*groups: list) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in ("product", "authenticity", "item_id", "source_id")])
    return pa.Table.from_pylist([row for group in groups for row in group], schema=schema)


def sampler_of(table: pa.Table, seed: int = 0, **settings) -> BatchSampler:
    config = SamplingConfig(**settings)
    products = sorted({p for p in table.column("product").to_pylist() if p})
    return BatchSampler(table, label(table, products, config.identity), config, seed)


def usual() -> pa.Table:
    groups = [photographs(p, "genuine", 4, 2) + photographs(p, "counterfeit", 4, 2, ["s", "t"]) for p in "abcde"]
    return table_of(*groups, photographs(None, "unrelated", 6, 1))


@pytest.mark.parametrize(
    ("policy", "identities"),
    [
        ("negatives_only", {"a-genuine": 0, "a-s": None, "a-None": None}),
        ("class", {"a-genuine": 0, "a-s": 1, "a-None": 1}),
        ("source", {"a-genuine": 0, "a-s": 1, "a-None": None}),
    ],
)
def test_labels_say_who_is_whose_positive(policy: str, identities: dict) -> None:
    table = table_of(
        photographs("a", "genuine", 2, 1),
        photographs("a", "counterfeit", 2, 1, ["s", None]),
        photographs("b", "genuine", 1, 1),
        photographs("b", "counterfeit", 1, 1, ["s"]),
        photographs(None, "unrelated", 1, 1),
    )
    labels = label(table, ["a", "b"], policy)
    assert labels.product.tolist() == [0, 0, 0, 0, 1, 1, -1]
    assert labels.genuine.tolist() == [True, True, False, False, True, False, False]
    assert labels.class_index.tolist() == [1, 1, 0, 0, 3, 2, -1]
    names = ["a-genuine", "a-genuine", "a-s", "a-None"]
    for i, first in enumerate(names):
        assert (labels.identity[i] == -1) == (identities[first] is None)
        for j, second in enumerate(names):
            expected = identities[first] is not None and identities[first] == identities[second]
            assert (labels.identity[i] == labels.identity[j] and labels.identity[i] >= 0) == expected
    assert labels.identity[-1] == -1
    # The same source under another product is another identity; so are its genuine photographs.
    assert not set(labels.identity[:4]) & set(labels.identity[4:6]) - {-1}


@given(
    products=st.integers(1, 7), genuine=st.integers(2, 5), counterfeit=st.integers(0, 5), unrelated=st.integers(0, 3)
)
def test_every_batch_has_the_wanted_composition(products: int, genuine: int, counterfeit: int, unrelated: int) -> None:
    table = usual()
    wanted = {"products": products, "genuine": genuine, "counterfeit": counterfeit, "unrelated": unrelated}
    sampler = sampler_of(table, **wanted, steps_per_epoch=4)
    rows = table.to_pylist()
    batches = sampler.epoch(0)
    num_products = min(products, 5)
    assert batches.shape == (4, num_products * (genuine + counterfeit) + unrelated) == (4, sampler.batch_size)
    for batch in batches:
        counts = Counter((rows[row]["product"], rows[row]["authenticity"]) for row in batch)
        assert counts.pop(("", "unrelated"), 0) == unrelated
        assert sum(kind == "genuine" for _, kind in counts) == num_products
        for (_, kind), count in counts.items():
            assert count == {"genuine": genuine, "counterfeit": counterfeit}[kind]


@pytest.mark.parametrize("genuine", [2, 3, 4, 6])
def test_photographs_of_a_product_span_as_many_items_as_there_are(genuine: int) -> None:
    table = table_of(photographs("a", "genuine", 3, 3))
    items = np.array(table.column("item_id").to_pylist())
    for batch in sampler_of(table, genuine=genuine, counterfeit=0, steps_per_epoch=30).epoch(0):
        assert len(set(items[batch])) == min(genuine, 3)
        assert len(set(batch.tolist())) == genuine


@pytest.mark.parametrize(("products", "steps"), [(2, 5), (3, 5), (4, 10), (5, 3)])
def test_products_come_equally_often_and_once_a_batch(products: int, steps: int) -> None:
    table = usual()
    names = np.array(table.column("product").to_pylist())
    batches = sampler_of(table, products=products, genuine=2, counterfeit=2, steps_per_epoch=steps).epoch(3)
    per_batch = [sorted(set(names[batch])) for batch in batches]
    assert all(len(chosen) == products for chosen in per_batch)
    assert set(Counter(name for chosen in per_batch for name in chosen).values()) == {products * steps // 5}


@pytest.mark.parametrize("sources", [["s", "t"], ["s", "t", "u", "v"], ["s", None]])
def test_counterfeits_have_positives_in_their_batch(sources: list) -> None:
    table = table_of(photographs("a", "genuine", 4, 1), photographs("a", "counterfeit", 8, 2, sources))
    config = SamplingConfig(genuine=2, counterfeit=4, steps_per_epoch=20)
    labels = label(table, ["a"], config.identity)
    for batch in BatchSampler(table, labels, config, 0).epoch(0):
        counts = Counter(labels.identity[batch][2:].tolist())
        assert all(count >= 2 for count in counts.values())


def test_few_photographs_are_repeated_and_not_invented() -> None:
    table = table_of(photographs("a", "genuine", 2, 1), photographs("a", "counterfeit", 1, 1))
    for batch in sampler_of(table, genuine=5, counterfeit=3, steps_per_epoch=5).epoch(0):
        assert set(batch[:5].tolist()) == {0, 1}
        assert batch[5:].tolist() == [2, 2, 2]


def test_a_product_without_counterfeits_fills_its_places_with_genuine_ones() -> None:
    table = table_of(photographs("a", "genuine", 6, 1), photographs("b", "genuine", 6, 1))
    batches = sampler_of(table, genuine=2, counterfeit=3, steps_per_epoch=5).epoch(0)
    assert batches.shape == (5, 10)
    assert all(len(set(batch.tolist())) == 10 for batch in batches)


def test_a_product_with_one_genuine_photograph_is_left_out() -> None:
    table = table_of(
        photographs("a", "genuine", 3, 1), photographs("b", "genuine", 1, 1), photographs("b", "counterfeit", 5, 1)
    )
    assert sampler_of(table, genuine=2, counterfeit=2, steps_per_epoch=20).epoch(0).max() < 3


def test_what_nobody_knows_is_never_drawn() -> None:
    table = table_of(
        photographs("a", "genuine", 3, 1), photographs("a", "unknown", 5, 1), photographs(None, "unknown", 5, 1)
    )
    assert sampler_of(table, genuine=2, counterfeit=2, unrelated=2, steps_per_epoch=20).epoch(0).max() < 3


def test_without_unrelated_photographs_none_are_wanted() -> None:
    table = table_of(photographs("a", "genuine", 4, 1))
    assert sampler_of(table, genuine=2, counterfeit=0, unrelated=7).batch_size == 2


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [photographs(None, "unrelated", 5, 2)],
        [photographs("a", "counterfeit", 5, 2)],
        [photographs("a", "genuine", 1, 1), photographs("b", "genuine", 1, 1)],
    ],
    ids=["empty", "unrelated only", "counterfeit only", "one genuine each"],
)
def test_a_set_that_teaches_nothing_is_refused(groups: list) -> None:
    with pytest.raises(DataError, match="no product has 2 genuine photographs"):
        sampler_of(table_of(*groups))


def test_the_plan_follows_seed_and_epoch_alone() -> None:
    table = usual()
    first, again, other = (sampler_of(table, seed=seed, products=3) for seed in (1, 1, 2))
    first.epoch(0)  # what was asked before must not matter
    assert np.array_equal(first.epoch(4), again.epoch(4))
    assert not np.array_equal(first.epoch(4), first.epoch(5))
    assert not np.array_equal(first.epoch(4), other.epoch(4))


def test_an_epoch_shows_every_photograph_once_on_average() -> None:
    sampler = sampler_of(usual(), products=5, genuine=2, counterfeit=2)
    assert sampler.steps_per_epoch == 80 // 20
    assert sampler_of(table_of(photographs("a", "genuine", 2, 1)), genuine=8, counterfeit=0).steps_per_epoch == 1


@pytest.mark.parametrize("num_workers", [1, 2, 3, 4, 6, 12])
def test_slices_rejoin_to_the_global_batch(num_workers: int) -> None:
    batches = sampler_of(usual(), products=3, genuine=2, counterfeit=2).epoch(0)
    parts = [worker_slice(batches, rank, num_workers) for rank in range(num_workers)]
    assert {part.shape for part in parts} == {(len(batches), 12 // num_workers)}
    assert np.array_equal(np.concatenate(parts, axis=1), batches)


def test_a_batch_that_cannot_be_shared_out_names_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"batch of 12 photographs cannot be shared by 5 workers"):
        worker_slice(np.zeros((2, 12), dtype=np.int64), 0, 5)


@pytest.mark.parametrize("key", ["genuine", "products", "steps_per_epoch", "unrelated"])
def test_numbers_out_of_range_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        validate(SamplingConfig, {key: -1}, "sampling")


def shuffled(table: pa.Table, seed: int = 0, **settings: int) -> ShuffleSampler:
    products = sorted({p for p in table.column("product").to_pylist() if p})
    return ShuffleSampler(label(table, products, "class"), ShuffleConfig(**settings), seed)


@given(batch_size=st.integers(1, 300), showings=st.integers(1, 4), seed=st.integers(0, 2**20 - 1))
def test_a_shuffle_shows_every_photograph_alike_but_for_what_fills_no_batch(batch_size, showings, seed) -> None:
    table = usual()
    sampler = shuffled(table, seed, batch_size=batch_size, showings=showings)
    batches = sampler.epoch(1)
    classed = 80  # of five products; the six unrelated ones have no class
    assert batches.shape == (sampler.steps_per_epoch, sampler.batch_size)
    assert sampler.batch_size == min(batch_size, showings * classed)
    assert showings * classed - batches.size < sampler.batch_size
    counts = np.bincount(batches.ravel(), minlength=table.num_rows)
    assert counts[classed:].sum() == 0
    assert counts.max() <= showings


def test_a_shuffle_follows_seed_and_epoch_alone() -> None:
    first, again, other = (shuffled(usual(), seed) for seed in (1, 1, 2))
    assert np.array_equal(first.epoch(3), again.epoch(3))
    assert not np.array_equal(first.epoch(3), first.epoch(4))
    assert not np.array_equal(first.epoch(3), other.epoch(3))


@pytest.mark.parametrize("authenticity", ["genuine", "counterfeit"])
def test_one_authenticity_alone_teaches_no_classifier(authenticity: str) -> None:
    table = table_of(photographs("a", authenticity, 3, 1), photographs("b", authenticity, 3, 1))
    with pytest.raises(DataError, match=r"found (6 genuine and 0|0 genuine and 6) counterfeit .*wanted some of each"):
        shuffled(table)
