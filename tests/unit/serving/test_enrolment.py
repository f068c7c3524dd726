"""Writing to a real gallery: what is enrolled, what is refused, and requests that are repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hallmark.errors import DecodeError, EnrolmentError, GalleryError, OutputError, UnknownReferenceError
from hallmark.gallery.store import GalleryWriter, Reference, open_gallery, versions, write_references
from hallmark.serving import enrolment as room
from hallmark.serving.enrolment import Answers, Enrolments, KeyReusedError
from hallmark.serving.stages import Enrolment, Entry, MixedStagesError, NotReadyError, Source
from hallmark.types import Authenticity

GENUINE = Enrolment("a", "whole", "i", Authenticity.GENUINE, "r", key_id="k")


@pytest.fixture
def make_entry(make_described) -> Callable[..., Entry]:
    def make(name: str, embedding_id: str = "e", error: Exception | None = None) -> Entry:
        image_id = hashlib.sha256(name.encode()).hexdigest()
        described = None if error else make_described(image_id, np.eye(1, 4)[0])
        at = Source("default", "/bundle", "b", embedding_id, "/g")
        return Entry(f"{name}.jpg", image_id if described else "", at, described, b"thumb", error)

    return make


@pytest.fixture
def uri(tmp_path: Path, make_described) -> str:
    first = Reference(make_described("0" * 64, np.eye(1, 4)[0]), "a", "whole", "i", Authenticity.GENUINE, b"t")
    return write_references(tmp_path / "g.lance", [first], "b", "e").uri


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def enrolments(uri, tmp_path, clock):
    made = Enrolments(Source("default", "/bundle", "b", "e", uri), Answers(tmp_path / "answers.sqlite", clock))
    yield made
    made.close()


def test_photographs_become_references_in_one_version(enrolments, uri, make_entry):
    told = enrolments.enrol([make_entry("x"), make_entry("y")], GENUINE)
    assert [(one.file, one.created) for one in told.references] == [("x.jpg", True), ("y.jpg", True)]
    assert told.refused == []
    assert told.gallery_version == 2
    gallery = open_gallery(uri)
    assert gallery.version == 2
    rows = gallery.listing()[0]
    assert {row.image_id for row in rows} >= {one.image_id for one in told.references}
    assert {row.reference_id for row in rows} >= {one.reference_id for one in told.references}
    assert {(row.product, row.item_id, row.bundle_id) for row in rows} == {("a", "i", "b")}


def test_a_photograph_is_enrolled_once(enrolments, uri, make_entry):
    first = enrolments.enrol([make_entry("x")], GENUINE)
    again = enrolments.enrol([make_entry("x")], GENUINE)
    assert [one.created for one in again.references] == [False]
    assert again.references[0].reference_id == first.references[0].reference_id
    assert again.gallery_version == first.gallery_version == open_gallery(uri).version
    both = enrolments.enrol([make_entry("y"), make_entry("x"), make_entry("y")], GENUINE)
    assert [one.created for one in both.references] == [True, False, False]
    assert len(open_gallery(uri).listing()[0]) == 3


def test_what_cannot_be_used_is_told_apart(enrolments, make_entry):
    enrolments.enrol([make_entry("x")], GENUINE)
    torn = make_entry("torn", error=DecodeError("corrupt", "found a damaged JPEG"))
    told = enrolments.enrol([torn, make_entry("x"), make_entry("y")], replace(GENUINE, product="b"))
    assert [one.file for one in told.references] == ["y.jpg"]
    assert [(one.file, one.problem.status, one.problem.reason) for one in told.refused] == [
        ("torn.jpg", 422, "corrupt"),
        ("x.jpg", 409, None),
    ]
    assert all(one.problem.instance == "r" for one in told.refused)


def test_where_nothing_can_be_used_the_first_says_why(enrolments, uri, make_entry):
    torn = make_entry("torn", error=DecodeError("corrupt", "found a damaged JPEG"))
    with pytest.raises(DecodeError, match="damaged"):
        enrolments.enrol([torn, torn], GENUINE)
    enrolments.enrol([make_entry("x")], GENUINE)
    with pytest.raises(EnrolmentError, match="is enrolled as genuine a"):
        enrolments.enrol([make_entry("x")], replace(GENUINE, authenticity=Authenticity.COUNTERFEIT))
    assert open_gallery(uri).version == 2


def test_a_repeated_request_gets_the_same_answer(enrolments, uri, tmp_path, make_entry):
    named = replace(GENUINE, idempotency_key="first")
    first = enrolments.enrol([make_entry("x")], named)
    assert first.references[0].created
    enrolments.enrol([make_entry("y")], GENUINE)
    assert enrolments.enrol([make_entry("x")], replace(named, request_id="other")) == first
    enrolments.close()
    after = Enrolments(Source("default", "/bundle", "b", "e", uri), Answers(tmp_path / "answers.sqlite", Clock()))
    assert after.enrol([make_entry("x")], named) == first
    after.close()


def test_a_key_that_names_another_enrolment_is_refused(enrolments, uri, clock, make_entry):
    named = replace(GENUINE, idempotency_key="first")
    enrolments.enrol([make_entry("x")], named)
    changes = ({"product": "b"}, {"part": "p"}, {"item_id": "j"}, {"authenticity": Authenticity.COUNTERFEIT})
    for change in changes:
        with pytest.raises(KeyReusedError) as caught:
            enrolments.enrol([make_entry("x")], replace(named, **change))
        assert (caught.value.http_status, caught.value.reason) == (422, "idempotency_key_reused")
    with pytest.raises(KeyReusedError):
        enrolments.enrol([make_entry("x"), make_entry("y")], named)
    assert open_gallery(uri).version == 2
    assert enrolments.enrol([make_entry("y")], replace(named, key_id="another")).references[0].created
    clock.now += 8 * 86_400
    assert enrolments.enrol([make_entry("z")], named).references[0].created


def test_a_refusal_is_not_remembered(enrolments, make_entry):
    named = replace(GENUINE, idempotency_key="first")
    with pytest.raises(DecodeError):
        enrolments.enrol([make_entry("x", error=DecodeError("corrupt", "torn"))], named)
    assert enrolments.enrol([make_entry("x")], named).references[0].created


def test_descriptions_of_another_bundle_are_not_enrolled(enrolments, uri, make_entry):
    with pytest.raises(MixedStagesError):
        enrolments.enrol([make_entry("x"), make_entry("y", embedding_id="other")], GENUINE)
    assert open_gallery(uri).version == 1


def test_retirement_and_rollback_write_further_versions(enrolments, uri, make_entry):
    named = enrolments.enrol([make_entry("x")], GENUINE).references[0].reference_id
    assert enrolments.retire(named).gallery_version == 3
    assert len(open_gallery(uri).listing()[0]) == 1
    with pytest.raises(UnknownReferenceError):
        enrolments.retire(named)
    told = enrolments.rollback(2)
    assert (told.gallery_version, told.restored) == (4, 2)
    assert len(open_gallery(uri).listing()[0]) == 2
    assert not enrolments.enrol([make_entry("x")], GENUINE).references[0].created
    with pytest.raises(GalleryError) as caught:
        enrolments.rollback(99)
    assert caught.value.http_status == 404
    assert [version.version for version in versions(uri)] == [4, 3, 2, 1]


def test_a_second_writer_is_refused_and_comes_in_when_the_first_has_gone(enrolments, uri, make_entry, monkeypatch):
    monkeypatch.setattr(room, "_LOCK_PATIENCE_S", 0.3)
    monkeypatch.setattr(room, "_LOCK_EVERY_S", 0.05)
    first = GalleryWriter(uri, "b", "e")
    with pytest.raises(GalleryError) as caught:
        enrolments.enrol([make_entry("x")], GENUINE)
    assert caught.value.http_status == 409
    first.close()
    assert enrolments.enrol([make_entry("x")], GENUINE).gallery_version == 2


def test_a_full_disk_changes_nothing_and_is_the_services_fault(enrolments, uri, make_entry, monkeypatch):
    def full(*_):
        raise OutputError("No space left on device")

    enrolments.enrol([make_entry("x")], GENUINE)
    monkeypatch.setattr(GalleryWriter, "enrol", full)
    with pytest.raises(NotReadyError, match="nothing was changed") as caught:
        enrolments.enrol([make_entry("y")], GENUINE)
    assert caught.value.http_status == 503
    monkeypatch.undo()
    assert enrolments.enrol([make_entry("y")], GENUINE).references[0].created


def test_a_file_of_answers_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"no database at all, but some text that is long enough" * 50)
    with pytest.raises(OutputError, match=r"answers\.sqlite"):
        Answers(tmp_path / "answers.sqlite")
