"""Exact retrieval against brute force."""

from __future__ import annotations

import logging
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.gallery.index import GalleryIndex, index_path
from hallmark.gallery.store import Gallery, GalleryWriter, Reference, open_gallery, write_references
from hallmark.types import Authenticity, Retrieved

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT
NOUGHT = "0" * 64


def unit(vector) -> np.ndarray:
    vector = np.asarray(vector, dtype=np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="session")
def written(make_described):
    """Writes a gallery of (descriptor, product, authenticity)."""

    def write(place: Path, entries) -> Gallery:
        references = [
            Reference(
                make_described(f"{number:024x}{0:040x}", unit(descriptor)),
                product,
                f"part-{product}",
                f"item{number}",
                authenticity,
                f"jpeg{number}".encode(),
            )
            for number, (descriptor, product, authenticity) in enumerate(entries)
        ]
        return write_references(place / "g.lance", references, "bundle", "embedding")

    return write


def brute_force(gallery: Gallery, query: np.ndarray, count: int, exclude: str | None):
    """The product whose three nearest references are nearest on average, and its nearest rows of each side."""
    stored, meta = gallery.descriptors(), gallery.metadata().to_pylist()
    hits: dict[str, list[tuple[float, int]]] = {}
    for row, told in enumerate(meta):
        if told["image_id"] != exclude:
            hits.setdefault(told["product"], []).append((min(1.0, float(stored[row] @ query)), row))
    if not hits:
        return None, []
    support = {p: np.mean([s for s, _ in sorted(found, reverse=True)[:3]]) for p, found in hits.items()}
    product = max(sorted(support), key=support.__getitem__)
    ordered = sorted(hits[product], key=lambda hit: (-round(hit[0], 5), hit[1]))
    sides = [[row for _, row in ordered if (meta[row]["authenticity"] == "genuine") == side] for side in (True, False)]
    return product, [row for side in sides for row in side[:count]]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), size=st.integers(1, 25), count=st.sampled_from([1, 2, 5, 40]), exclude=st.booleans())
def test_agrees_with_brute_force(written, tmp_path_factory, seed, size, count, exclude):
    rng = np.random.default_rng(seed)
    entries = [
        (rng.normal(size=6), "abc"[rng.integers(3)], GENUINE if rng.random() < 0.6 else COUNTERFEIT)
        for _ in range(size)
    ]
    gallery = written(tmp_path_factory.mktemp("index"), entries)
    query, left_out = unit(rng.normal(size=6)), NOUGHT if exclude else None
    found = GalleryIndex(gallery).retrieve(query, count, left_out)
    product, rows = brute_force(gallery, query, count, left_out)
    assert found.product == product
    assert [candidate.row for candidate in found.candidates] == rows
    stored = gallery.descriptors()
    for candidate in found.candidates:
        assert candidate.global_similarity == pytest.approx(float(stored[candidate.row] @ query), abs=1e-5)
    best = max((candidate.global_similarity for candidate in found.candidates), default=None)
    assert found.global_similarity == best


def test_the_product_is_chosen_by_three_references_not_by_one(written, tmp_path):
    entries = [([1, 0.0], "lone", GENUINE)] + [([0.2, 1], "lone", GENUINE)] * 2 + [([1, 0.3], "many", GENUINE)] * 3
    found = GalleryIndex(written(tmp_path, entries)).retrieve(unit([1, 0]), 5)
    assert found.product == "many"
    assert found.part == "part-many"


def test_ties_are_broken_by_row_however_many_there_are(written, tmp_path):
    entries = [([1, 0], "a", GENUINE)] * 40 + [([0, 1], "a", GENUINE)]
    found = GalleryIndex(written(tmp_path, entries)).retrieve(unit([1, 0]), 4)
    assert [candidate.row for candidate in found.candidates] == [0, 1, 2, 3]
    assert all(candidate.global_similarity <= 1.0 for candidate in found.candidates)


def test_products_that_tie_are_chosen_by_name(written, tmp_path):
    entries = [([1, 0], "b", GENUINE), ([1, 0], "a", GENUINE)]
    assert GalleryIndex(written(tmp_path, entries)).retrieve(unit([1, 0]), 4).product == "a"


def test_candidates_come_genuine_first(written, tmp_path):
    entries = [([1, 0], "a", COUNTERFEIT), ([1, 0.5], "a", GENUINE), ([1, 0.1], "a", GENUINE)]
    found = GalleryIndex(written(tmp_path, entries)).retrieve(unit([1, 0]), 4)
    assert [candidate.row for candidate in found.candidates] == [2, 1, 0]
    assert found.global_similarity == pytest.approx(1.0, abs=1e-3)
    assert found.candidates[2].authenticity == COUNTERFEIT


def test_a_photograph_does_not_vouch_for_itself(written, tmp_path):
    index = GalleryIndex(written(tmp_path, [([1, 0], "a", GENUINE), ([0, 1], "b", GENUINE)]))
    assert index.retrieve(unit([1, 0]), 4).product == "a"
    assert index.retrieve(unit([1, 0]), 4, exclude_image=NOUGHT).product == "b"
    alone = GalleryIndex(written(tmp_path / "alone", [([1, 0], "a", GENUINE)]))
    found = alone.retrieve(unit([1, 0]), 4, exclude_image=NOUGHT)
    assert (found.product, found.part, found.global_similarity, found.candidates) == (None, None, None, ())


def test_a_version_whose_references_are_all_retired_needs_no_index(written, tmp_path):
    gallery = written(tmp_path, [([1, 0], "a", GENUINE)])
    with GalleryWriter(gallery.uri, "bundle", "embedding") as writer:
        emptied = writer.retire([gallery.catalogue.reference_id[0].as_py()])
    index = GalleryIndex(emptied)
    assert index.retrieve(unit([1, 0]), 3) == Retrieved(None, None, None, (), emptied.version)
    assert not index_path(emptied).exists()
    assert GalleryIndex(gallery).updated(emptied).retrieve(unit([1, 0]), 3).candidates == ()
    assert index.updated(gallery).retrieve(unit([1, 0]), 3) == GalleryIndex(gallery).retrieve(unit([1, 0]), 3)


def test_a_product_without_a_genuine_reference_is_found(written, tmp_path):
    found = GalleryIndex(written(tmp_path, [([1, 0], "a", COUNTERFEIT)])).retrieve(unit([1, 0]), 4)
    assert found.product == "a"
    assert [candidate.authenticity for candidate in found.candidates] == [COUNTERFEIT]


@pytest.mark.parametrize("size", [1, 40])
def test_a_descriptor_that_is_not_finite_finds_nothing(written, tmp_path, size):
    index = GalleryIndex(written(tmp_path, [([1, 0], "a", GENUINE)] * size))
    for bad in ([np.nan, np.nan], [np.nan, 0.0], [np.inf, 0.0]):
        found = index.retrieve(np.array(bad, np.float32), 4)
        assert (found.product, found.candidates) == (None, ())
        assert np.isnan(found.global_similarity)


def test_thumbnails_by_reference(written, tmp_path):
    index = GalleryIndex(written(tmp_path, [([1, 0], "a", GENUINE), ([0, 1], "b", GENUINE)]))
    second = index.retrieve(unit([0, 1]), 1).candidates[0]
    assert index.thumbnail(second.reference_id) == b"jpeg1"
    assert index.thumbnail("ref-none") is None
    assert index.products == ["a", "b"]
    assert len(index) == 2


def test_the_index_is_stored_and_read_again(written, tmp_path, monkeypatch):
    gallery = written(tmp_path, [([1, 0], "a", GENUINE), ([0, 1], "b", GENUINE)])
    GalleryIndex(gallery)
    assert index_path(gallery).is_file()
    monkeypatch.setattr(Gallery, "descriptors", lambda self: pytest.fail("built again"))
    assert GalleryIndex(gallery).retrieve(unit([0, 1]), 1).product == "b"


@pytest.mark.parametrize("damage", [None, b"", b"no index", "shorter"])
def test_the_index_is_built_again_when_missing_or_damaged(written, tmp_path, damage, caplog):
    gallery = written(tmp_path, [([1, 0], "a", GENUINE), ([0, 1], "b", GENUINE)])
    GalleryIndex(gallery)
    path = index_path(gallery)
    if damage is None:
        path.unlink()
    elif damage == "shorter":
        other = written(tmp_path / "other", [([1, 0], "a", GENUINE)])
        GalleryIndex(other)
        path.write_bytes(index_path(other).read_bytes())
    else:
        path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        index = GalleryIndex(gallery)
    assert ("damaged" in caplog.text) == (damage is not None)
    assert index.retrieve(unit([0, 1]), 1).product == "b"
    assert path.stat().st_size > 20
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_index_that_cannot_be_stored_still_answers(written, tmp_path, caplog):
    gallery = written(tmp_path, [([1, 0], "a", GENUINE)])
    Path(f"{gallery.uri}.index").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert GalleryIndex(gallery).retrieve(unit([1, 0]), 1).product == "a"
    assert "not stored" in caplog.text


def test_versions_have_indexes_of_their_own(written, tmp_path):
    first = written(tmp_path, [([1, 0], "a", GENUINE)])
    second = written(tmp_path, [([1, 0], "z", GENUINE), ([0, 1], "y", GENUINE)])
    assert index_path(first) != index_path(second)
    assert GalleryIndex(second).retrieve(unit([1, 0]), 1).product == "z"
    older = GalleryIndex(open_gallery(first.uri, first.version)).retrieve(unit([1, 0]), 1)
    assert (older.product, older.gallery_version) == ("a", first.version)


def selected(gallery: Gallery, query: np.ndarray, rows: list[int]) -> dict[int, float]:
    """What FAISS says of some rows when it is asked for these alone."""
    index = faiss.IndexFlatIP(gallery.descriptor_dim)
    index.add(gallery.descriptors())
    chosen = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.asarray(rows, dtype=np.int64)))
    similarity, found = index.search(query[None], len(rows), params=chosen)
    return {int(row): min(1.0, float(s)) for s, row in zip(similarity[0], found[0], strict=True)}


@pytest.mark.parametrize("dim", [2, 6, 8, 12, 37, 576])
def test_similarities_are_to_the_bit_those_of_a_search_among_a_products_references(written, tmp_path, dim):
    rng = np.random.default_rng(dim)
    entries = [(rng.normal(size=dim), "ab"[n % 2], GENUINE if n % 3 else COUNTERFEIT) for n in range(40)]
    gallery = written(tmp_path, entries)
    query = unit(rng.normal(size=dim))
    found = GalleryIndex(gallery).retrieve(query, 40)
    rows = [row for row, entry in enumerate(entries) if entry[1] == found.product]
    told = selected(gallery, query, rows)
    assert {candidate.row: candidate.global_similarity for candidate in found.candidates} == told
    assert found.global_similarity == max(told.values())


def test_products_and_parts_that_are_asked_for_alone(written, tmp_path):
    rng = np.random.default_rng(0)
    entries = [(rng.normal(size=5), "abc"[n % 3], GENUINE if n % 4 else COUNTERFEIT) for n in range(30)]
    gallery = written(tmp_path, entries)
    index, query = GalleryIndex(gallery), unit(rng.normal(size=5))
    for product in "abc":
        alone = written(tmp_path / product, [entry for entry in entries if entry[1] == product])
        wanted = GalleryIndex(alone).retrieve(query, 6)
        rows = [row for row, entry in enumerate(entries) if entry[1] == product]
        for asked in (
            {"product": product},
            {"part": f"part-{product}"},
            {"product": product, "part": f"part-{product}"},
        ):
            found = index.retrieve(query, 6, **asked)
            assert (found.product, found.part, found.global_similarity) == (
                wanted.product,
                wanted.part,
                wanted.global_similarity,
            )
            assert [one.row for one in found.candidates] == [rows[one.row] for one in wanted.candidates]
    for asked in ({"product": "none"}, {"part": "none"}, {"product": "a", "part": "part-b"}):
        found = index.retrieve(query, 6, **asked)
        assert (found.product, found.part, found.global_similarity, found.candidates) == (None, None, None, ())


def test_an_image_that_must_not_be_found_is_not_however_often_it_is_enrolled(written, tmp_path):
    gallery = written(tmp_path, [([1, 0.0], "a", GENUINE), ([1, 0.1], "a", GENUINE), ([0, 1.0], "a", GENUINE)])
    index = GalleryIndex(gallery)
    image = gallery.metadata().column("image_id")[1].as_py()
    assert [one.row for one in index.retrieve(unit([1, 0]), 5, image).candidates] == [0, 2]
    assert index.rank(unit([1, 0]), image).tolist()[1] == -np.inf
    assert index.relevant("a", GENUINE, image).tolist() == [True, False, True]
    assert index.relevant("a", COUNTERFEIT).tolist() == [False] * 3
