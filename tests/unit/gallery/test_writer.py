"""The one writer: what it answers is there, what it refuses leaves no trace, and nobody writes beside it."""

from __future__ import annotations

import datetime
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import lance
import numpy as np
import pytest

from hallmark.errors import EnrolmentError, GalleryError, OutputError, UnknownReferenceError, UnknownVersionError
from hallmark.gallery import store
from hallmark.gallery.store import (
    Gallery,
    GalleryWriter,
    latest_version,
    open_gallery,
    versions,
    write_references,
)
from hallmark.types import Authenticity

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "g.lance")


@pytest.fixture
def writer(place):
    with GalleryWriter(place, "bundle", "embedding") as writer:
        yield writer


def images(gallery: Gallery) -> list[int]:
    """The numbers of the references, in row order; the store is asked anew."""
    fresh = open_gallery(gallery.uri, gallery.version)
    column = fresh.metadata().column("image_id").to_pylist()
    assert column == [gallery.catalogue.image_id[row].as_py() for row in range(len(gallery.catalogue))]
    return [int(image_id[:24], 16) for image_id in column]


def test_what_is_enrolled_is_there(writer, place, enrolled_as):
    assert not Path(place).exists()
    first, names = writer.enrol([enrolled_as(1), enrolled_as(2, "b")])
    assert images(open_gallery(place, None, "embedding")) == [1, 2]
    second, more = writer.enrol([enrolled_as(3, authenticity=COUNTERFEIT)])
    assert second.version == first.version + 1 == latest_version(place)
    assert images(second) == [1, 2, 3]
    assert images(first) == [1, 2]
    assert open_gallery(place).metadata().column("reference_id").to_pylist() == [*names, *more]
    assert [entry["authenticity"] for entry in second.metadata().to_pylist()] == ["genuine", "genuine", "counterfeit"]


def test_a_photograph_is_enrolled_once(writer, enrolled_as):
    first, names = writer.enrol([enrolled_as(1), enrolled_as(2)])
    again, same = writer.enrol([enrolled_as(2), enrolled_as(1), enrolled_as(2)])
    assert again == first
    assert same == [names[1], names[0], names[1]]
    mixed, three = writer.enrol([enrolled_as(1), enrolled_as(3), enrolled_as(3)])
    assert images(mixed) == [1, 2, 3]
    assert three[0] == names[0]
    assert three[1] == three[2]


@pytest.mark.parametrize("told", [{"product": "b"}, {"part": "buckle"}, {"authenticity": COUNTERFEIT}])
def test_a_photograph_shows_one_thing(writer, place, enrolled_as, told):
    first, _ = writer.enrol([enrolled_as(1)])
    with pytest.raises(EnrolmentError, match=r"is enrolled as genuine a, whole; found it again as .*retire ref-") as no:
        writer.enrol([enrolled_as(2), enrolled_as(1, **told)])
    assert no.value.http_status == 409
    with pytest.raises(EnrolmentError):
        writer.enrol([enrolled_as(3), enrolled_as(3, **told)])
    assert latest_version(place) == first.version
    assert images(writer.enrol([enrolled_as(2)])[0]) == [1, 2]


def test_a_reference_id_names_all_that_a_verdict_reads(writer, enrolled_as):
    told = [{}, {"product": "b"}, {"part": "p"}, {"item_id": "i"}, {"authenticity": COUNTERFEIT}, {"surface": b"x"}]
    names = {store.table_of([enrolled_as(1, **one)], "b", "e").column("reference_id")[0].as_py() for one in told}
    assert len(names) == len(told)
    # Taken out and enrolled again from another box of the same photograph, it is another reference.
    _, (former,) = writer.enrol([enrolled_as(1)])
    writer.retire([former])
    _, (later,) = writer.enrol([enrolled_as(1, surface=b"other")])
    assert later != former
    writer.retire([later])
    assert writer.enrol([enrolled_as(1)])[1] == [former]


def test_what_is_retired_is_gone_from_the_next_version_alone(writer, enrolled_as):
    whole, names = writer.enrol([enrolled_as(number) for number in range(5)])
    fewer = writer.retire([names[1], names[3], names[1]])
    assert images(fewer) == [0, 2, 4]
    assert images(whole) == [0, 1, 2, 3, 4]
    assert fewer.content_id != whole.content_id
    assert fewer.details([1])[0].image_id == whole.details([2])[0].image_id
    assert fewer.thumbnails([2]) == [b"jpeg4"]
    assert np.array_equal(fewer.descriptors(), whole.descriptors()[[0, 2, 4]])
    assert np.array_equal(fewer.descriptors_of([2, 0, 2]), whole.descriptors()[[4, 0, 4]].astype(np.float16))
    with pytest.raises(UnknownReferenceError, match=f"has no reference {names[3]}") as no:
        writer.retire([names[0], names[3]])
    assert no.value.http_status == 404
    with pytest.raises(UnknownReferenceError):
        writer.retire(["'; drop"])
    with pytest.raises(GalleryError, match="no reference to retire"):
        writer.retire([])
    assert images(writer.enrol([enrolled_as(1)])[0]) == [0, 2, 4, 1]


def test_a_gallery_may_become_empty_and_fill_again(writer, enrolled_as):
    _, names = writer.enrol([enrolled_as(1), enrolled_as(2)])
    empty = writer.retire(names)
    assert (images(empty), empty.num_references, empty.products(), empty.listing()) == ([], 0, [], ([], None))
    assert empty.descriptors().shape == (0, 8)
    assert images(writer.enrol([enrolled_as(3)])[0]) == [3]


def test_a_rollback_is_a_new_version_with_the_old_content(writer, place, enrolled_as):
    first, names = writer.enrol([enrolled_as(1), enrolled_as(2)])
    writer.retire(names[:1])
    third, _ = writer.enrol([enrolled_as(3)])
    back = writer.rollback(first.version)
    assert back.version == third.version + 1
    assert images(back) == [1, 2]
    assert images(third) == [2, 3]
    assert images(writer.rollback(third.version)) == [2, 3]
    assert [(entry.change, entry.num_references) for entry in versions(place)] == [
        ("rolled_back", 2),
        ("rolled_back", 2),
        ("enrolled", 2),
        ("retired", 1),
        ("created", 2),
    ]
    told = versions(place, 2)
    assert [entry.version for entry in told] == [5, 4]
    assert abs(told[0].at - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=5)


def test_a_rollback_to_a_version_that_is_gone_is_refused(writer, place, enrolled_as):
    first, _ = writer.enrol([enrolled_as(1)])
    latest, _ = writer.enrol([enrolled_as(2)])
    with pytest.raises(UnknownVersionError, match="has no version 99") as no:
        writer.rollback(99)
    assert no.value.http_status == 404
    lance.dataset(place).cleanup_old_versions(datetime.timedelta(0), delete_unverified=True)
    with pytest.raises(UnknownVersionError, match=f"has no version {first.version}"):
        writer.rollback(first.version)
    assert latest_version(place) == latest.version
    assert images(writer.enrol([enrolled_as(3)])[0]) == [1, 2, 3]


def test_a_gallery_of_another_bundle_is_refused(place, enrolled_as):
    first = write_references(place, [enrolled_as(1)], "bundle", "embedding")
    write_references(place, [enrolled_as(1)], "other", "embedding2")
    with pytest.raises(GalleryError, match="was built with the bundle embedding embedding2"):
        GalleryWriter(place, "bundle", "embedding")
    with (
        GalleryWriter(place, "other", "embedding2") as writer,
        pytest.raises(GalleryError, match="was built with the bundle embedding embedding,"),
    ):
        writer.rollback(first.version)
    assert latest_version(place) == 2


def test_descriptors_of_another_length_are_refused(writer, place, enrolled_as, make_described):
    writer.enrol([enrolled_as(1)])
    other = enrolled_as(2)
    other = type(other)(make_described("f" * 64, [1.0, 0.0]), *list(vars(other).values())[1:])
    with pytest.raises(GalleryError, match="descriptors of 2 numbers; wanted 8"):
        writer.enrol([other])
    assert latest_version(place) == 1


def test_there_is_one_writer(place, enrolled_as):
    writer = GalleryWriter(place, "bundle", "embedding")
    for another in (
        lambda: GalleryWriter(place, "bundle", "embedding"),
        lambda: write_references(place, [enrolled_as(1)], "bundle", "embedding"),
    ):
        with pytest.raises(GalleryError, match=rf"g\.lance\.lock: another writer \(process {os.getpid()}\)") as no:
            another()
        assert no.value.http_status == 409
    assert not Path(place).exists()
    writer.enrol([enrolled_as(1)])
    writer.close()
    writer.close()
    with pytest.raises(GalleryError, match="this writer is closed"):
        writer.enrol([enrolled_as(2)])
    with GalleryWriter(place, "bundle", "embedding") as after:
        assert images(after.enrol([enrolled_as(2)])[0]) == [1, 2]


def test_a_writer_that_cannot_open_lets_the_next_one_in(place, enrolled_as):
    write_references(place, [enrolled_as(1)], "bundle", "embedding")
    for _ in range(2):
        with pytest.raises(GalleryError, match="was built with"):
            GalleryWriter(place, "bundle", "other")
    GalleryWriter(place, "bundle", "embedding").close()


def test_nothing_is_there_before_the_first_enrolment(writer, place, enrolled_as):
    for call in (lambda: writer.retire(["ref-1"]), lambda: writer.rollback(1)):
        with pytest.raises(GalleryError, match="no gallery there yet"):
            call()
    with pytest.raises(GalleryError, match="no reference to enrol"):
        writer.enrol([])
    with pytest.raises(GalleryError, match="is unknown; wanted"):
        writer.enrol([enrolled_as(1, authenticity=Authenticity.UNKNOWN)])
    with pytest.raises(GalleryError, match="no gallery there"):
        latest_version(place)
    assert not Path(place).exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path, enrolled_as):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    with (
        GalleryWriter(place, "bundle", "embedding") as writer,
        pytest.raises(OutputError, match="mine: exists and is no gallery"),
    ):
        writer.enrol([enrolled_as(1)])
    assert [file.name for file in place.iterdir()] == ["letter.txt"]


@contextmanager
def no_room(num_bytes: int):
    """No file may grow beyond so many bytes; the system's own refusal, as of a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def rows_left(place: str) -> list[str]:
    """Files of rows, and the one that the latest version is made of."""
    return sorted(path.name for path in (Path(place) / "data").iterdir())


@pytest.mark.parametrize("num_bytes", [0, 300, 3000])
def test_a_full_disk_adds_nothing_and_loses_nothing(writer, place, enrolled_as, num_bytes):
    first, names = writer.enrol([enrolled_as(1)])
    there = rows_left(place)
    changes = [lambda: writer.enrol([enrolled_as(2, surface=b"x" * 5000)]), lambda: writer.retire(names)]
    for change in changes if num_bytes < 3000 else changes[:1]:
        with no_room(num_bytes), pytest.raises(OutputError, match=r"g\.lance: the gallery cannot be written"):
            change()
        assert latest_version(place) == first.version
        assert images(open_gallery(place)) == [1]
        assert rows_left(place) == there
    assert images(writer.enrol([enrolled_as(9)])[0]) == [1, 9]
    writer.close()
    GalleryWriter(place, "bundle", "embedding").close()


def test_a_disk_that_is_full_before_the_manifest_adds_nothing(writer, place, enrolled_as):
    for number in range(100):  # so that the manifest, which names them all, is larger than a file of rows
        latest, _ = writer.enrol([enrolled_as(number)])
    there, manifests = rows_left(place), sorted((Path(place) / "_versions").glob("*.manifest"))
    rows = max((Path(place) / "data" / name).stat().st_size for name in there)
    assert rows + 1000 < manifests[0].stat().st_size
    with no_room(rows + 500), pytest.raises(OutputError, match="cannot be written"):
        writer.enrol([enrolled_as(200)])
    assert latest_version(place) == latest.version
    assert rows_left(place) == there
    assert images(writer.enrol([enrolled_as(201)])[0]) == [*range(100), 201]


@pytest.mark.parametrize("left", ["data", "_versions", "_transactions"])
def test_what_a_killed_first_enrolment_left_is_no_hindrance(place, enrolled_as, left):
    (Path(place) / left).mkdir(parents=True)
    (Path(place) / left / "18446744073709551614.manifest#1").write_bytes(b"begun")
    with GalleryWriter(place, "bundle", "embedding") as writer:
        with pytest.raises(GalleryError, match="no gallery there"):
            latest_version(place)
        assert images(writer.enrol([enrolled_as(1)])[0]) == [1]


def test_a_first_enrolment_on_a_full_disk_can_be_tried_again(writer, enrolled_as):
    with no_room(0), pytest.raises(OutputError, match="cannot be written"):
        writer.enrol([enrolled_as(1)])
    assert images(writer.enrol([enrolled_as(1)])[0]) == [1]


def test_many_small_enrolments_are_merged_and_nothing_changes(writer, place, enrolled_as, monkeypatch):
    monkeypatch.setattr(store, "_MOST_FRAGMENTS", 5)
    told, names = [], []
    for number in range(14):
        gallery, (name,) = writer.enrol([enrolled_as(number)])
        names.append(name)
        told.append(gallery)
        if number == 3:
            writer.retire([names[1]])
    latest = open_gallery(place)
    assert images(latest) == [0, 2, 3, *range(4, 14)]
    assert latest.metadata().column("reference_id").to_pylist() == [*names[:1], *names[2:]]
    assert len(lance.dataset(place).get_fragments()) <= 7
    assert "compacted" in {entry.change for entry in versions(place)}
    for number, gallery in enumerate(told):
        rows = [one for one in range(number + 1) if one != 1 or number <= 3]
        assert images(gallery) == rows
        assert [details.surface for details in gallery.details(range(len(rows)))] == [b"surface%d" % r for r in rows]


def test_threads_take_turns(writer, place, enrolled_as):
    told = {}

    def enrol(number: int) -> None:
        told[number] = writer.enrol([enrolled_as(number)])

    threads = [threading.Thread(target=enrol, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(images(open_gallery(place))) == list(range(8))
    assert sorted(gallery.version for gallery, _ in told.values()) == list(range(1, 9))


def test_the_latest_version_is_told_by_the_names_of_files(writer, place, enrolled_as):
    for number in range(12):
        writer.enrol([enrolled_as(number)])
        assert latest_version(place) == lance.dataset(place).version == number + 1
    (Path(place) / "_versions" / "18446744073709551000.manifest#1").write_bytes(b"begun")
    (Path(place) / "_versions" / ".tmp").write_bytes(b"begun")
    assert latest_version(place) == 12


def test_killed_writers_lose_nothing_that_was_answered(root, tmp_path):
    command = [sys.executable, "-W", "ignore", str(root / "benchmarks" / "killed_enrolment.py"), "--times", "20"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    figures = json.loads(run.stdout.splitlines()[-1])["figures"]
    assert figures["kills"] == 20
    assert figures["answered"] > 0
