"""The versioned store: what was written is read, under every version, or named."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hallmark.errors import GalleryError, OutputError
from hallmark.gallery.store import Gallery, Reference, open_gallery, write_references
from hallmark.types import Authenticity, Described, Quality


def reference(number: int, product: str = "a", authenticity: Authenticity = Authenticity.GENUINE, cues: int = 3):
    rng = np.random.default_rng(number)
    descriptor = rng.normal(size=8).astype(np.float32)
    described = Described(
        image_id=f"{number:024x}{0:040x}",
        descriptor=descriptor / np.linalg.norm(descriptor),
        local=rng.normal(size=(cues, 4)).astype(np.float16),
        positions=rng.random((cues, 2)).astype(np.float32),
        quality=Quality(width=8, height=8, sharpness=1, brightness=0.5, clipped=0),
    )
    return Reference(described, product, "whole", f"item{number}", authenticity, f"jpeg{number}".encode())


REFERENCES = [reference(1), reference(2, "b"), reference(3, "a", Authenticity.COUNTERFEIT), reference(4)]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return write_references(tmp_path / "g.lance", REFERENCES, "bundle", "embedding")


def test_reads_what_was_written(gallery):
    rows = open_gallery(gallery.uri, None, "embedding").metadata().to_pylist()
    assert [row["image_id"] for row in rows] == [r.described.image_id for r in REFERENCES]
    assert [row["product"] for row in rows] == ["a", "b", "a", "a"]
    assert [row["authenticity"] for row in rows] == ["genuine", "genuine", "counterfeit", "genuine"]
    assert [row["item_id"] for row in rows] == ["item1", "item2", "item3", "item4"]
    assert len({row["reference_id"] for row in rows}) == 4
    wanted = np.stack([r.described.descriptor for r in REFERENCES]).astype(np.float16).astype(np.float32)
    assert gallery.descriptors().dtype == np.float32
    assert np.array_equal(gallery.descriptors(), wanted)


@pytest.mark.parametrize("rows", [[], [0], [3, 0, 2], [1, 1, 3, 1], [3, 2, 1, 0]])
def test_local_descriptors_come_in_the_order_asked(gallery, rows):
    found = gallery.local(rows)
    assert len(found) == len(rows)
    for row, (local, positions) in zip(rows, found, strict=True):
        assert local.dtype == np.float16
        assert positions.dtype == np.float32
        assert np.array_equal(local, REFERENCES[row].described.local)
        assert np.array_equal(positions, REFERENCES[row].described.positions)
    assert gallery.thumbnails(rows) == [REFERENCES[row].thumbnail for row in rows]


def test_an_older_version_stays_readable(gallery):
    newer = write_references(gallery.uri, [reference(9, "z")], "other", "embedding2")
    assert newer.version > gallery.version
    assert open_gallery(gallery.uri) == newer
    older = open_gallery(gallery.uri, gallery.version, "embedding")
    assert older == gallery
    assert older.metadata().num_rows == 4
    assert older.local([2])[0][0].tolist() == REFERENCES[2].described.local.tolist()
    assert newer.metadata().num_rows == 1


def test_content_id_tells_galleries_of_one_place_apart(gallery, tmp_path):
    first = gallery.content_id
    assert open_gallery(gallery.uri).content_id == first
    assert write_references(gallery.uri, REFERENCES, "bundle", "embedding").content_id != first
    assert gallery.content_id == first
    shutil.rmtree(gallery.uri)
    again = write_references(gallery.uri, REFERENCES, "bundle", "embedding")
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
        gallery.local([0])


def test_a_torn_manifest_is_told(gallery):
    for file in (Path(gallery.uri) / "_versions").iterdir():
        file.write_bytes(b"torn")
    with pytest.raises(GalleryError, match=r"g\.lance: cannot be read"):
        open_gallery(gallery.uri)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="mine: exists and is no gallery"):
        write_references(place, REFERENCES, "bundle", "embedding")
    assert [file.name for file in place.iterdir()] == ["letter.txt"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_references(tmp_path / "file" / "g.lance", REFERENCES, "bundle", "embedding")


def test_only_references_of_known_authenticity_are_enrolled(tmp_path):
    with pytest.raises(GalleryError, match="no reference to enrol"):
        write_references(tmp_path / "g.lance", [], "bundle", "embedding")
    for authenticity in (Authenticity.UNKNOWN, Authenticity.UNRELATED):
        wrong = dataclasses.replace(REFERENCES[0], authenticity=authenticity)
        with pytest.raises(GalleryError, match=f"is {authenticity}; wanted"):
            write_references(tmp_path / "g.lance", [*REFERENCES, wrong], "bundle", "embedding")
    assert not (tmp_path / "g.lance").exists()


def test_a_refused_write_leaves_the_last_version_the_latest(gallery):
    with pytest.raises(GalleryError):
        write_references(gallery.uri, [], "bundle", "embedding")
    assert open_gallery(gallery.uri) == gallery
