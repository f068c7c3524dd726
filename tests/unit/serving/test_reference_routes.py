"""The gallery over HTTP: enrolment, listing, thumbnails, retirement, products and versions."""

from __future__ import annotations

import pytest

from hallmark.errors import EnrolmentError, GalleryError
from hallmark.serving import examples
from hallmark.serving.auth import Scope
from hallmark.serving.stages import Listing
from hallmark.types import Authenticity

FIELDS = {"product": "Neverfull", "authenticity": "genuine"}


def test_photographs_are_enrolled_with_what_is_said_of_them(door, photograph):
    fields = FIELDS | {"part": "leather_tag", "item_id": "bag-17", "bundle": "fod"}
    answer = door.post("/v1/references", files=photograph, data=fields, headers={"Idempotency-Key": "k-1"})
    assert answer.status_code == 201
    assert answer.json() == examples.ENROLLED
    (told,) = door.graph.enrolments
    assert (told.product, told.part, told.item_id, told.bundle) == ("Neverfull", "leather_tag", "bag-17", "fod")
    assert (told.authenticity, told.idempotency_key) == (Authenticity.GENUINE, "k-1")
    assert told.key_id == door.token.split("_")[1]
    assert door.graph.seen == [b"bytes"]


def test_what_need_not_be_said_has_defaults(door, photograph):
    door.post("/v1/references", files=photograph, data=FIELDS)
    (told,) = door.graph.enrolments
    assert (told.part, told.item_id, told.bundle, told.idempotency_key) == ("whole", "", None, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"product": ""}, "product: missing"),
        ({"product": None}, "product: missing"),
        ({"authenticity": None}, "authenticity: missing"),
        ({"authenticity": "unrelated"}, "authenticity: found 'unrelated'; wanted genuine or counterfeit"),
        ({"authenticity": "Genuine"}, "authenticity: found 'Genuine'"),
        ({"part": "a\x00b"}, "part: found"),
        ({"item_id": "x" * 201}, "item_id: found"),
        ({"box": "1,2,3,4"}, "'box': unknown field"),
    ],
)
def test_a_wrong_field_is_named(door, is_problem, photograph, change, said):
    fields = {name: value for name, value in (FIELDS | change).items() if value is not None}
    assert said in is_problem(door.post("/v1/references", files=photograph, data=fields), 422).detail
    assert door.graph.enrolments == []


@pytest.mark.parametrize("name", ["", "with space", "x" * 129, "ümlaut".encode()])
def test_an_idempotency_key_is_of_visible_ascii(door, is_problem, photograph, name):
    answer = door.post("/v1/references", files=photograph, data=FIELDS, headers={"Idempotency-Key": name})
    is_problem(answer, 422)
    assert door.graph.enrolments == []


def test_thirty_two_photographs_and_no_more(door, is_problem):
    many = [("photograph", (f"{place}.jpg", b"x")) for place in range(33)]
    told = is_problem(door.post("/v1/references", files=many, data=FIELDS), 422)
    assert "at most 32" in told.detail
    assert door.post("/v1/references", files=many[:32], data=FIELDS).status_code == 201
    assert len(door.graph.seen) == 32


@pytest.mark.parametrize("error", [EnrolmentError("is enrolled as counterfeit"), GalleryError("another writer")])
def test_a_conflict_is_told(door, is_problem, photograph, error):
    door.graph.error = error
    assert is_problem(door.post("/v1/references", files=photograph, data=FIELDS), 409).detail == str(error)


def test_a_page_of_references(door):
    asked = {"product": "a", "part": "b", "authenticity": "counterfeit", "limit": "5", "after": "ref-0", "bundle": "x"}
    answer = door.send("GET", "/v1/references", params=asked)
    assert answer.json() == examples.REFERENCES
    door.send("GET", "/v1/references")
    assert door.graph.listings == [
        (Listing("a", "b", Authenticity.COUNTERFEIT, 5, "ref-0"), "x"),
        (Listing(None, None, None, 100, None), None),
    ]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=many", "authenticity=real", f"product={'x' * 201}"])
def test_a_wrong_query_is_named(door, is_problem, query):
    assert query.split("=")[0] in is_problem(door.send("GET", f"/v1/references?{query}"), 422).detail


def test_thumbnails(door, is_problem):
    answer = door.send("GET", "/v1/references/ref-1/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"].startswith("private")
    assert answer.content.startswith(b"\xff\xd8\xff")
    is_problem(door.send("GET", "/v1/references/none/thumbnail"), 404)


def test_retirement(door, is_problem):
    assert door.send("DELETE", "/v1/references/ref-1").json() == {"gallery_version": 9, "reference_id": "ref-1"}
    is_problem(door.send("DELETE", "/v1/references/none"), 404)
    is_problem(door.send("DELETE", f"/v1/references/{'x' * 300}"), 422)


def test_products_and_versions(door):
    assert door.send("GET", "/v1/products").json() == examples.PRODUCTS
    assert door.send("GET", "/v1/gallery/versions").json() == examples.VERSIONS


@pytest.mark.parametrize(("version", "status"), [("7", 200), ("99", 404), ("0", 422), ("-1", 422), ("x", 422)])
def test_rollback(door, version, status):
    admin = {"authorization": f"Bearer {door.add(Scope.ADMIN)}"}
    answer = door.post(f"/v1/gallery/versions/{version}/rollback", headers=admin)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json() == {"gallery_version": 10, "restored": 7}
