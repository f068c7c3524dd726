"""The names of a version, taken over from another one, against the same read anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.gallery import store
from hallmark.gallery.catalogue import Catalogue
from hallmark.gallery.store import Gallery, GalleryWriter, open_gallery, write_references
from hallmark.types import Authenticity

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT


def told(catalogue: Catalogue) -> list[tuple]:
    return [
        (
            catalogue.reference_id[row].as_py(),
            catalogue.image_id[row].as_py(),
            catalogue.item_id[row].as_py(),
            catalogue.products[catalogue.product[row]],
            catalogue.parts[catalogue.part[row]],
            catalogue.authenticity(row),
        )
        for row in range(len(catalogue))
    ]


def stored(gallery: Gallery) -> list[tuple]:
    names = ("reference_id", "image_id", "item_id", "product", "part", "authenticity")
    return [
        tuple(row[name] for name in names) for row in open_gallery(gallery.uri, gallery.version).metadata().to_pylist()
    ]


def change(writer: GalleryWriter, rng: np.random.Generator, enrolled_as, kept: list[Gallery]) -> Gallery:
    """One random change."""
    latest = kept[-1]
    names = latest.catalogue.reference_id.to_pylist()
    kind = rng.choice(["enrol", "retire", "rollback"], p=[0.5, 0.3, 0.2])
    if kind == "retire" and names:
        return writer.retire(rng.choice(names, size=min(len(names), rng.integers(1, 4)), replace=False).tolist())
    if kind == "rollback":
        return writer.rollback(int(rng.choice([gallery.version for gallery in kept])))
    numbers = rng.integers(0, 60, rng.integers(1, 5)).tolist()
    return writer.enrol(
        [
            enrolled_as(n, "abc"[n % 3], COUNTERFEIT if n % 5 == 0 else GENUINE, part=f"p{n % 2}", item_id=f"i{n % 7}")
            for n in numbers
        ]
    )[0]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_what_is_taken_over_is_what_would_be_read(tmp_path_factory, enrolled_as, monkeypatch, seed):
    monkeypatch.setattr(store, "_MOST_FRAGMENTS", 4)
    rng = np.random.default_rng(seed)
    with GalleryWriter(tmp_path_factory.mktemp("c") / "g.lance", "bundle", "embedding") as writer:
        kept = [
            writer.enrol([enrolled_as(n, "abc"[n % 3], part=f"p{n % 2}", item_id=f"i{n % 7}") for n in (1, 2, 3)])[0]
        ]
        for _ in range(14):
            kept.append(change(writer, rng, enrolled_as, kept))
            assert told(kept[-1].catalogue) == stored(kept[-1])
        for _ in range(6):  # from any version to any other
            one, other = (kept[number] for number in rng.integers(0, len(kept), 2))
            fresh = open_gallery(other.uri, other.version)
            fresh.follow(one)
            assert told(fresh.catalogue) == stored(other)
            origin = fresh.catalogue.origin(one.catalogue)
            names, older = fresh.catalogue.reference_id.to_pylist(), one.catalogue.reference_id.to_pylist()
            assert origin.tolist() == [older.index(name) if name in older else -1 for name in names]
            both = one.catalogue.addresses.extended(fresh.catalogue.addresses)
            half = np.arange(0, len(both), 2)
            for addresses in (both, both.taken(half)):
                found = fresh.catalogue.layout.origin(addresses)
                wanted = [(addresses.names[f], o) for f, o in zip(addresses.files, addresses.offsets, strict=True)]
                own = fresh.catalogue.addresses
                for row, number in enumerate(found):
                    place = own.names[own.files[row]], own.offsets[row]
                    assert number == max((n for n, known in enumerate(wanted) if known == place), default=-1)


@pytest.fixture
def gallery(tmp_path: Path, enrolled_as) -> Gallery:
    references = [
        enrolled_as(n, "ab"[n % 2], COUNTERFEIT if n in (3, 8) else GENUINE, part="tag" if n > 5 else "whole")
        for n in range(10)
    ]
    return write_references(tmp_path / "g.lance", references, "bundle", "embedding")


def slow_rows(gallery: Gallery, **wanted) -> list[int]:
    rows = enumerate(gallery.metadata().to_pylist())
    return [
        row for row, entry in rows if all(entry[name] == value for name, value in wanted.items() if value is not None)
    ]


@pytest.mark.parametrize("product", [None, "a", "b", "none"])
@pytest.mark.parametrize("part", [None, "whole", "tag", "none"])
@pytest.mark.parametrize("authenticity", [None, GENUINE, COUNTERFEIT, "counterfeit", "unknown"])
def test_rows_and_listings_are_of_what_is_named(gallery, product, part, authenticity):
    wanted = {"product": product, "part": part, "authenticity": authenticity}
    rows = slow_rows(gallery, **wanted)
    assert gallery.catalogue.rows(product, part, authenticity).tolist() == rows
    names = gallery.metadata().column("reference_id").to_pylist()
    listed, after = [], None
    while True:
        page, after = gallery.listing(**wanted, limit=2, after=after)
        listed += page
        assert len(page) == 2 or after is None
        if after is None:
            break
    assert [record.reference_id for record in listed] == sorted(names[row] for row in rows)
    whole = {row["reference_id"]: row for row in gallery.metadata().to_pylist()}
    for record in listed:
        assert record.model_dump(include=set(whole[record.reference_id])) == whole[record.reference_id]
        assert record.bundle_id == "bundle"
        assert record.enrolled_at.tzinfo is not None


def test_a_page_goes_on_where_its_last_reference_was_retired(gallery):
    page, after = gallery.listing(limit=4)
    with GalleryWriter(gallery.uri, "bundle", "embedding") as writer:
        fewer = writer.retire([record.reference_id for record in page])
    rest, last = fewer.listing(limit=100, after=after)
    assert last is None
    names = gallery.metadata().column("reference_id").to_pylist()
    assert sorted(names) == [record.reference_id for record in [*page, *rest]]


def test_products_are_counted_by_part(gallery):
    counts = {(count.product, count.part): (count.genuine, count.counterfeit) for count in gallery.products()}
    assert list(counts) == sorted(counts)
    assert counts == {("a", "tag"): (1, 1), ("a", "whole"): (3, 0), ("b", "tag"): (2, 0), ("b", "whole"): (2, 1)}


def test_thumbnails_by_reference(gallery):
    names = gallery.metadata().column("reference_id").to_pylist()
    assert [gallery.thumbnail(name) for name in names] == [f"jpeg{n}".encode() for n in range(10)]
    assert gallery.thumbnail("ref-none") is None
    assert gallery.catalogue.find([names[4], "none", names[0], names[4]]) == [4, None, 0, 4]
    assert gallery.catalogue.find([]) == []


def test_a_gallery_that_has_no_names_yet_takes_nothing_from_another_place(gallery, tmp_path, enrolled_as):
    other = write_references(tmp_path / "other.lance", [enrolled_as(77)], "bundle", "embedding")
    gallery.catalogue  # noqa: B018
    other.follow(gallery)
    assert len(other.catalogue) == 1
