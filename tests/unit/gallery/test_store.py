"""The versioned store: what was written is read, under every version, or named."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.data.preprocess import Preprocessing, fit
from hallmark.data.surface import SurfaceConfig, encode_surface
from hallmark.data.synthetic import DrawConfig, draw_shot, plan
from hallmark.errors import GalleryError, OutputError
from hallmark.gallery.catalogue import Catalogue, Layout, Names
from hallmark.gallery.store import Gallery, Reference, open_gallery, write_references
from hallmark.types import Authenticity, Details

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT


@pytest.fixture(scope="module")
def reference(make_described):
    """A reference told by its number, with as many cues."""

    def make(number: int, product: str = "a", authenticity: Authenticity = GENUINE, **told) -> Reference:
        rng = np.random.default_rng(number)
        descriptor = rng.normal(size=8)
        details = {
            "local": rng.normal(size=(number, 4)),
            "positions": rng.random((number, 2)).astype(np.float32),
            "weights": rng.random(number).astype(np.float16),
            "stride": 1 / (3 + number),
            "frame": rng.normal(size=4).astype(np.float32),
            "surface": rng.bytes(20 * number),
        }
        described = make_described(
            f"{number:024x}{0:040x}", descriptor / np.linalg.norm(descriptor), **{**details, **told.pop("details", {})}
        )
        names = {"part": "whole", "item_id": f"item{number}", "thumbnail": f"jpeg{number}".encode()}
        return Reference(described, product, authenticity=authenticity, **{**names, **told})

    return make


@pytest.fixture(scope="module")
def references(reference) -> list[Reference]:
    return [reference(1), reference(2, "b"), reference(3, "a", COUNTERFEIT), reference(4)]


@pytest.fixture
def gallery(tmp_path: Path, references) -> Gallery:
    return write_references(tmp_path / "g.lance", references, "bundle", "embedding")


def same(one: Details, other: Details) -> bool:
    """Equal to the bit, types too."""
    for field in dataclasses.fields(Details):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, np.ndarray):
            if (ours.dtype, ours.shape, ours.tobytes()) != (theirs.dtype, theirs.shape, theirs.tobytes()):
                return False
        elif ours != theirs:
            return False
    return True


def test_reads_what_was_written(gallery, references):
    rows = open_gallery(gallery.uri, None, "embedding").metadata().to_pylist()
    assert [row["image_id"] for row in rows] == [r.described.image_id for r in references]
    assert [row["product"] for row in rows] == ["a", "b", "a", "a"]
    assert [row["authenticity"] for row in rows] == ["genuine", "genuine", "counterfeit", "genuine"]
    assert [row["item_id"] for row in rows] == ["item1", "item2", "item3", "item4"]
    assert len({row["reference_id"] for row in rows}) == 4
    wanted = np.stack([r.described.descriptor for r in references]).astype(np.float16).astype(np.float32)
    assert gallery.descriptors().dtype == np.float32
    assert np.array_equal(gallery.descriptors(), wanted)


@pytest.mark.parametrize("rows", [[], [0], [3, 0, 2], [1, 1, 3, 1], [3, 2, 1, 0]])
def test_details_come_as_they_were_written_in_the_order_asked(gallery, references, rows):
    found = gallery.details(rows)
    assert len(found) == len(rows)
    for row, details in zip(rows, found, strict=True):
        assert same(details, references[row].described.details)
    assert gallery.thumbnails(rows) == [references[row].thumbnail for row in rows]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), cues=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_what_a_described_photograph_says_survives_the_store_to_the_bit(tmp_path_factory, reference, seed, cues):
    rng = np.random.default_rng(seed)
    enrolled = []
    for number, count in enumerate(cues):
        local = rng.normal(size=(count, 6)).astype(np.float32)
        local /= np.linalg.norm(local, axis=1, keepdims=True)
        weights = np.where(rng.random(count) < 0.3, 0, rng.random(count)).astype(np.float16)
        positions = rng.random((count, 2)).astype(np.float32)
        told = {"local": local, "positions": positions, "weights": weights, "stride": float(rng.random())}
        enrolled.append(reference(number, details=told))
    written = write_references(tmp_path_factory.mktemp("store") / "g.lance", enrolled, "bundle", "embedding")
    for details, one in zip(written.details(range(len(cues))), enrolled, strict=True):
        assert same(details, one.described.details)


def test_a_photograph_without_a_cue_is_read_again(tmp_path, reference):
    enrolled = [reference(3), reference(0), reference(2)]
    written = write_references(tmp_path / "g.lance", enrolled, "bundle", "embedding")
    for details, one in zip(written.details([0, 1, 2]), enrolled, strict=True):
        assert same(details, one.described.details)


def test_members_are_those_of_a_product_part_and_authenticity(tmp_path, reference):
    enrolled = [
        reference(1),
        reference(2, "b"),
        reference(3, "a", COUNTERFEIT),
        reference(4, part="buckle"),
        reference(5),
    ]
    written = write_references(tmp_path / "g.lance", enrolled, "bundle", "embedding")
    names = written.metadata().column("reference_id").to_pylist()

    def rows(*asked) -> list[int]:
        return [names.index(member.reference_id) for member in written.members(*asked)]

    assert rows("a", "whole", GENUINE, 9) == [0, 4]
    assert rows("a", "whole", COUNTERFEIT, 9) == [2]
    assert rows("a", "buckle", GENUINE, 9) == [3]
    assert rows("b", "whole", GENUINE, 9) == [1]
    assert rows("b", "whole", COUNTERFEIT, 9) == rows("c", "whole", GENUINE, 9) == rows("a", "whole", GENUINE, 0) == []
    member = written.members("a", "whole", GENUINE, 9)[1]
    assert member.item_id == "item5"
    assert same(member.details, enrolled[4].described.details)


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.integers(0, 4), min_size=1, max_size=14), limit=st.integers(1, 16))
def test_members_are_of_as_many_items_as_there_are(items, limit):
    told = Gallery("nowhere", 1, "embedding")  # no store behind it: only the choice of rows matters
    columns = {
        "reference_id": pa.chunked_array([[str(row) for row in range(len(items))]]),
        "image_id": pa.chunked_array([[""] * len(items)]),
        "item_id": pa.chunked_array([[str(item) for item in items]]),
        "product": np.zeros(len(items), np.int32),
        "part": np.zeros(len(items), np.int32),
        "genuine": np.ones(len(items), bool),
    }
    told.__dict__["catalogue"] = Catalogue(Layout([]), columns, Names(("a",)), Names(("whole",)))
    told.__dict__["details"] = lambda rows: [None] * len(rows)
    chosen = [int(member.reference_id) for member in told.members("a", "whole", GENUINE, limit)]
    assert chosen == sorted(chosen)
    assert len(chosen) == min(limit, len(items))
    shots = {item: sum(items[row] == item for row in chosen) for item in set(items)}
    # An item is shown once more than another only where that one has no further photograph.
    most = max(shots.values())
    assert all(count >= min(most - 1, items.count(item)) for item, count in shots.items())
    # Of one item the first rows are taken.
    for item in set(items):
        own = [row for row, other in enumerate(items) if other == item]
        taken = [row for row in chosen if items[row] == item]
        assert taken == own[: len(taken)]


def test_a_reference_of_preset_small_takes_less_than_64_kb(tmp_path, reference):
    """225 cues of 64 numbers, a global descriptor of 2176, and the surface of a drawn photograph."""
    shot = next(shot for shot in plan(DrawConfig(size="smoke")) if shot.authenticity == GENUINE)
    image = draw_shot(shot, DrawConfig(size="smoke")).image
    preprocessing = Preprocessing(side_px=SurfaceConfig().side_px)
    surface = encode_surface(fit(image, preprocessing).pixels, preprocessing.surface)
    rng = np.random.default_rng(0)
    local = rng.normal(size=(225, 64))
    details = {"local": local, "positions": rng.random((225, 2)).astype(np.float32), "surface": surface}
    details["weights"] = np.ones(225, np.float16)
    one = reference(1, details=details)
    thumbnail = cv2.imencode(".jpg", cv2.resize(image, (192, 192)), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    described = dataclasses.replace(one.described, descriptor=rng.normal(size=2176).astype(np.float32))
    one = dataclasses.replace(one, described=described, thumbnail=thumbnail)
    written = write_references(tmp_path / "g.lance", [one], "bundle", "embedding")
    assert lance.dataset(written.uri).to_table().nbytes < 64 * 1024


def test_an_older_version_stays_readable(gallery, references, reference):
    newer = write_references(gallery.uri, [reference(9, "z")], "other", "embedding2")
    assert newer.version > gallery.version
    assert open_gallery(gallery.uri) == newer
    older = open_gallery(gallery.uri, gallery.version, "embedding")
    assert older == gallery
    assert older.metadata().num_rows == 4
    assert same(older.details([2])[0], references[2].described.details)
    assert newer.metadata().num_rows == 1


def test_content_id_tells_galleries_of_one_place_apart(gallery, tmp_path, references):
    first = gallery.content_id
    assert open_gallery(gallery.uri).content_id == first
    assert write_references(gallery.uri, references, "bundle", "embedding").content_id != first
    assert gallery.content_id == first
    shutil.rmtree(gallery.uri)
    again = write_references(gallery.uri, references, "bundle", "embedding")
    assert again.version == gallery.version
    assert again.content_id != first


def test_a_gallery_of_another_bundle_is_refused_naming_both(gallery):
    with pytest.raises(GalleryError, match=r"embedding embedding, the bundle in use has other.*build"):
        open_gallery(gallery.uri, None, "other")


def test_a_missing_gallery_is_named(tmp_path):
    with pytest.raises(GalleryError, match=r"none\.lance: no gallery there"):
        open_gallery(tmp_path / "none.lance")
    (tmp_path / "folder.lance").mkdir()
    with pytest.raises(GalleryError, match=r"folder\.lance: no gallery there"):
        open_gallery(tmp_path / "folder.lance")


def test_a_missing_version_is_named(gallery):
    with pytest.raises(GalleryError, match=r"g\.lance: has no version 77"):
        open_gallery(gallery.uri, 77)


@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_a_damaged_gallery_is_told(gallery, damage):
    for file in (Path(gallery.uri) / "data").iterdir():
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(GalleryError, match=r"g\.lance: cannot be read"):
        gallery.metadata()
    with pytest.raises(GalleryError, match=r"g\.lance: cannot be read"):
        gallery.details([0])


def test_a_torn_manifest_is_told(gallery):
    for file in (Path(gallery.uri) / "_versions").iterdir():
        file.write_bytes(b"torn")
    with pytest.raises(GalleryError, match=r"g\.lance: cannot be read"):
        open_gallery(gallery.uri)


def test_a_folder_with_something_else_is_left_alone(tmp_path, references):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="mine: exists and is no gallery"):
        write_references(place, references, "bundle", "embedding")
    assert [file.name for file in place.iterdir()] == ["letter.txt"]


def test_an_unwritable_place_is_named(tmp_path, references):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_references(tmp_path / "file" / "g.lance", references, "bundle", "embedding")


def test_only_references_of_known_authenticity_are_enrolled(tmp_path, references):
    with pytest.raises(GalleryError, match="no reference to enrol"):
        write_references(tmp_path / "g.lance", [], "bundle", "embedding")
    for authenticity in (Authenticity.UNKNOWN, Authenticity.UNRELATED):
        wrong = dataclasses.replace(references[0], authenticity=authenticity)
        with pytest.raises(GalleryError, match=f"is {authenticity}; wanted"):
            write_references(tmp_path / "g.lance", [*references, wrong], "bundle", "embedding")
    assert not (tmp_path / "g.lance").exists()


def test_a_refused_write_leaves_the_last_version_the_latest(gallery):
    with pytest.raises(GalleryError):
        write_references(gallery.uri, [], "bundle", "embedding")
    assert open_gallery(gallery.uri) == gallery
