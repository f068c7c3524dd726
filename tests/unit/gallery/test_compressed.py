"""The compressed index: where everything is compared it is the exact one; where not, what it misses is measured."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.gallery import store
from hallmark.gallery.compressed import CompressedSearch, build
from hallmark.gallery.exact import ExactSearch, similarities
from hallmark.gallery.index import GalleryIndex, IndexConfig
from hallmark.gallery.store import Gallery, GalleryWriter, Reference, open_gallery, write_references
from hallmark.types import Authenticity

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT
DIM = 24


def unit(vector) -> np.ndarray:
    vector = np.asarray(vector, dtype=np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="session")
def shown(make_described):
    """A reference of a product: the product's own direction and chance."""

    def make(number: int, num_products: int = 5, spread: float = 1.0) -> Reference:
        product = number % num_products
        centre = np.random.default_rng(10_000 + product).normal(size=DIM)
        descriptor = unit(centre + spread * np.random.default_rng(number).normal(size=DIM))
        side = COUNTERFEIT if number % 7 == 3 else GENUINE
        described = make_described(f"{number:024x}{0:040x}", descriptor)
        return Reference(described, f"p{product}", f"part{number % 2}", f"i{number}", side, b"jpeg%d" % number)

    return make


def whole(**told) -> IndexConfig:
    """Proposes so many that nothing can be missed."""
    return IndexConfig(**{"exact_limit": 0, "components": 8, "lists": 4, "shortlist": 1000, "waiting_limit": 6, **told})


def queries(count: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    centres = [np.random.default_rng(10_000 + product).normal(size=DIM) for product in range(count)]
    return [unit(centre + rng.normal(size=DIM)) for centre in centres]


def agree(index: GalleryIndex, exact: GalleryIndex, images: list[str | None] = (None,)) -> None:
    for query in queries():
        for image in images:
            for product in (None, "p1", "none"):
                for part in (None, "part1", "none"):
                    asked = (query, 4, image, product, part)
                    assert index.retrieve(*asked) == exact.retrieve(*asked)
        assert index.nearest(query, 10).tolist() == exact.nearest(query, 10).tolist()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, shown) -> Gallery:
    return write_references(
        tmp_path_factory.mktemp("many") / "g.lance", [shown(number) for number in range(300)], "bundle", "embedding"
    )


@pytest.mark.parametrize("product_limit", [1, 20, 1000])
def test_where_nothing_is_missed_it_is_the_exact_index(gallery, product_limit):
    index = GalleryIndex(gallery, whole(product_limit=product_limit))
    assert isinstance(index._search, CompressedSearch)
    exact = GalleryIndex(gallery)
    assert isinstance(exact._search, ExactSearch)
    agree(index, exact, [None, f"{3:024x}{0:040x}"])
    assert (exact.recall, index.recall) == (None, 1.0)


def test_the_likeliest_product_is_compared_whole(gallery):
    """Though few of its references are proposed, and whatever others seem at first."""
    index, exact = GalleryIndex(gallery, whole(shortlist=10)), GalleryIndex(gallery)
    for query in queries():
        assert index.retrieve(query, 20) == exact.retrieve(query, 20)


def test_one_near_reference_of_many_does_not_make_a_product(tmp_path, make_described):
    """Its others, which were not proposed, count too."""
    rng = np.random.default_rng(0)
    query = unit(np.eye(DIM)[0])

    def reference(number: int, product: str, similarity: float) -> Reference:
        other = rng.normal(size=DIM)
        other[0] = 0
        descriptor = similarity * query + np.sqrt(1 - similarity**2) * unit(other)
        described = make_described(f"{number:024x}{0:040x}", descriptor)
        return Reference(described, product, "whole", str(number), GENUINE, b"")

    lone = [reference(0, "lone", 0.9)] + [reference(1 + n, "lone", 0.05) for n in range(40)]
    many = [reference(100 + n, "many", 0.8 - n / 1000) for n in range(40)]
    gallery = write_references(tmp_path / "g.lance", [*lone, *many], "bundle", "embedding")
    index = GalleryIndex(gallery, whole(shortlist=10, components=24, lists=1))
    assert index.retrieve(query, 5) == GalleryIndex(gallery).retrieve(query, 5)
    assert index.retrieve(query, 5).product == "many"


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_an_updated_index_is_that_of_the_version(tmp_path_factory, shown, monkeypatch, seed):
    """Exact, compressed, and from one to the other; over enrolment, retirement, rollback and merging."""
    monkeypatch.setattr(store, "_MOST_FRAGMENTS", 4)
    monkeypatch.setattr("hallmark.gallery.exact._MOST_PARTS", 2)
    rng = np.random.default_rng(seed)
    kinds = [IndexConfig(), whole(), whole(waiting_limit=0), whole(exact_limit=25)]
    with GalleryWriter(tmp_path_factory.mktemp("c") / "g.lance", "bundle", "embedding") as writer:
        kept = [writer.enrol([shown(number) for number in range(30)])[0]]
        indexes = [GalleryIndex(kept[0], config) for config in kinds]
        for _ in range(6):
            change = rng.choice(["enrol", "retire", "rollback"], p=[0.5, 0.3, 0.2])
            names = kept[-1].catalogue.reference_id.to_pylist()
            if change == "retire" and len(names) > 12:
                gallery = writer.retire(rng.choice(names, size=rng.integers(1, 9), replace=False).tolist())
            elif change == "rollback":
                gallery = writer.rollback(int(rng.choice([one.version for one in kept])))
            else:
                gallery = writer.enrol([shown(number) for number in rng.integers(0, 90, 5).tolist()])[0]
            kept.append(gallery)
            exact = GalleryIndex(open_gallery(gallery.uri, gallery.version))
            before = [(index, index.gallery, index.nearest(queries()[0], 5).tolist()) for index in indexes]
            indexes = [index.updated(open_gallery(gallery.uri, gallery.version)) for index in indexes]
            for index in indexes:
                agree(index, exact)
            for index, version, rows in before:  # the old one stays usable
                assert (index.gallery, index.nearest(queries()[0], 5).tolist()) == (version, rows)


def test_similarities_are_the_same_however_many_are_compared(gallery):
    descriptors = gallery.descriptors()
    for query in queries(2):
        told = ExactSearch.of(descriptors).similarities(query)
        assert np.allclose(told, descriptors @ query, atol=1e-5)
        for rows in ([0], [7, 3, 299], np.arange(150)):
            assert similarities(gallery.descriptors_of(rows), query).tolist() == told[rows].tolist()


def files(gallery: Gallery) -> list[Path]:
    return sorted(Path(f"{gallery.uri}.index").glob("*-compressed.*"))


@pytest.fixture
def small(tmp_path, shown) -> Gallery:
    return write_references(tmp_path / "g.lance", [shown(number) for number in range(60)], "bundle", "embedding")


def test_it_is_stored_and_read_again(small, monkeypatch):
    first = GalleryIndex(small, whole())
    assert [file.suffix for file in files(small)] == [".faiss", ".json", ".npz"]
    told = json.loads(files(small)[1].read_text())
    assert (told["version"], told["num_references"], told["recall_at_10"]) == (small.version, 60, first.recall)
    monkeypatch.setattr("hallmark.gallery.compressed.build", lambda *_: pytest.fail("built again"))
    again = GalleryIndex(open_gallery(small.uri), whole())
    assert again.recall == first.recall
    agree(again, GalleryIndex(small))


@pytest.mark.parametrize("suffix", [".faiss", ".json", ".npz"])
@pytest.mark.parametrize("damage", [None, b"", b"{}", "torn", "other"])
def test_it_is_built_again_when_missing_or_damaged(small, shown, tmp_path, caplog, suffix, damage):
    GalleryIndex(small, whole())
    path = next(file for file in files(small) if file.suffix == suffix)
    if damage is None:
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "other":  # of another gallery
        other = write_references(tmp_path / "o.lance", [shown(n) for n in range(60, 119)], "bundle", "embedding")
        GalleryIndex(other, whole())
        path.write_bytes(next(file for file in files(other) if file.suffix == suffix).read_bytes())
    else:
        path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        index = GalleryIndex(open_gallery(small.uri), whole())
    assert ("damaged" in caplog.text) == (suffix != ".json" or damage is not None)
    agree(index, GalleryIndex(small))
    assert [file.suffix for file in files(small)] == [".faiss", ".json", ".npz"]


def test_other_settings_build_another(small, caplog):
    GalleryIndex(small, whole())
    index = GalleryIndex(small, whole(components=12))
    assert index._search.base.told["components"] == 12
    agree(index, GalleryIndex(small))


def test_a_version_starts_from_the_index_of_one_much_like_it(small, shown, monkeypatch):
    GalleryIndex(small, whole())
    with GalleryWriter(small.uri, "bundle", "embedding") as writer:
        _, names = writer.enrol([shown(number) for number in range(100, 104)])
        later = writer.retire([names[0], *small.catalogue.reference_id.to_pylist()[5:9]])
        built = []
        monkeypatch.setattr("hallmark.gallery.compressed.build", lambda *told: built.append(told) or build(*told))
        agree(GalleryIndex(open_gallery(small.uri), whole()), GalleryIndex(later))
        assert not built
        # Much has come together: it is added, and stored for this version.
        latest, _ = writer.enrol([shown(number) for number in range(110, 120)])
        folded = GalleryIndex(open_gallery(small.uri), whole())
        agree(folded, GalleryIndex(latest))
        assert not built
        assert len(files(small)) == 6
        assert len(folded._search.waiting) == 0
        # Little is left of it: another is built.
        few = writer.retire(latest.catalogue.reference_id.to_pylist()[:50])
        agree(GalleryIndex(open_gallery(small.uri), whole()), GalleryIndex(few))
        assert built


def test_an_index_that_cannot_be_stored_still_answers(small, caplog):
    Path(f"{small.uri}.index").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        agree(GalleryIndex(small, whole()), GalleryIndex(small))
    assert "not stored" in caplog.text


def test_recall_is_measured_against_all_references(tmp_path, make_described, caplog):
    """By a slow twin; what falls short is said."""
    rng = np.random.default_rng(0)
    references = [
        Reference(make_described(f"{n:024x}{0:040x}", unit(rng.normal(size=64))), f"p{n}", "whole", "", GENUINE, b"")
        for n in range(400)
    ]
    gallery = write_references(tmp_path / "g.lance", references, "bundle", "embedding")
    config = IndexConfig(exact_limit=0, components=8, lists=8, shortlist=30, sample=400)
    with caplog.at_level(logging.WARNING):
        index = GalleryIndex(gallery, config)
    stored, found = gallery.descriptors(), 0
    for row, query in enumerate(stored):
        near = stored @ query
        near[row] = -np.inf
        rows, ours = index._search.propose(query, config.shortlist + 1)
        ours[rows == row] = -np.inf
        found += len(set(np.argsort(-near)[:10]) & set(rows[np.argsort(-ours)[:10]]))
    assert index.recall == pytest.approx(found / 4000, abs=1e-4)
    assert 0.05 < index.recall < 0.95
    assert "of the ten nearest; wanted" in caplog.text


def test_a_gpu_that_is_not_there_is_said_and_done_without(small, caplog, monkeypatch):
    monkeypatch.setattr("faiss.get_num_gpus", lambda: 0)
    with caplog.at_level(logging.WARNING):
        agree(GalleryIndex(small, whole(), "cuda"), GalleryIndex(small))
    assert caplog.text.count("FAISS sees no GPU") == 1


def test_a_descriptor_that_is_not_finite_finds_nothing(small):
    found = GalleryIndex(small, whole()).retrieve(np.full(DIM, np.nan, np.float32), 4)
    assert (found.product, found.candidates) == (None, ())
