"""Verdicts and certificates over HTTP: one photograph and several, what a key sees of them, and what is refused."""

from __future__ import annotations

import base64

import pytest

from hallmark.serving import examples
from hallmark.serving.auth import Detail, Scope
from hallmark.serving.certificate import Issuer, check_certificate, make_key
from hallmark.serving.schema import ItemAnswer
from hallmark.serving.verdict_routes import prefers_html
from hallmark.types import Verdict

TWO = [("photograph", ("a.jpg", b"a")), ("photograph", ("b.jpg", b"b"))]


def test_one_photograph_is_answered_by_a_verdict_alone(door, photograph):
    told = door.post(files=photograph).json()
    assert set(told) == set(Verdict.model_fields)
    (ask,) = door.graph.asks
    assert (ask.product, ask.bundle, ask.overlays, ask.single, ask.canary) == (None, None, False, False, True)
    assert ask.request_id == told["request_id"]


def test_several_photographs_are_answered_as_an_item(door):
    answer = door.post(files=TWO, headers={"x-request-id": "r"})
    told = ItemAnswer.model_validate(answer.json())
    assert told.request_id == "r"
    assert told.item.product == "Neverfull"
    assert len(told.photographs) == 2
    assert door.graph.seen == [b"a", b"b"]
    assert door.audited()[-1]["verdict"] == "genuine"
    assert len(door.audited()[-1]["image_ids"]) == 2


def test_product_and_bundle_are_passed_on(door, photograph):
    door.post(files=photograph, data={"product": " Neverfull ", "bundle": "kag"})
    door.post(files=photograph, data={"product": "", "bundle": ""})
    assert [(ask.product, ask.bundle) for ask in door.graph.asks] == [("Neverfull", "kag"), (None, None)]


@pytest.mark.parametrize(
    ("boxes", "wanted"),
    [
        ([], [None, None]),
        (["1,2,3,4"], [(1, 2, 3, 4)] * 2),
        (["1,2,3,4", ""], [(1, 2, 3, 4), None]),
        (["", ""], [None, None]),
    ],
)
def test_a_box_is_of_all_photographs_or_of_one(door, boxes, wanted):
    assert door.post(files=TWO, data={"box": boxes}).status_code == 200
    assert door.graph.boxes == wanted


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"box": ["1,2,3,4"] * 3}, "box: found 3 for 2 photographs"),
        ({"box": "4,3,2,1"}, "box: found '4,3,2,1'"),
        ({"box": "x" * 5000}, "box: found"),
        ({"product": "x" * 201}, "product: found"),
        ({"product": "a\nb"}, "product: found"),
        ({"product": ["a", "b"]}, "product: found it 2 times"),
        ({"bundel": "x"}, "did you mean 'bundle'"),
    ],
)
def test_a_wrong_field_is_named(door, is_problem, fields, said):
    told = is_problem(door.post(files=TWO, data=fields), 422)
    assert said in told.detail
    assert len(told.detail) < 600
    assert door.graph.seen == []


def test_overlays_come_in_base64_where_they_are_wanted(door, photograph):
    told = door.post(files=photograph, params={"overlays": "true"}).json()
    assert base64.b64decode(told["overlays"]["residual"]).startswith(b"\x89PNG")
    assert told["overlays"]["matches"] is None
    assert base64.b64decode(told["overlays"]["attention"]).startswith(b"\x89PNG")
    assert "overlays" not in door.post(files=photograph, params={"overlays": "false"}).json()
    several = door.post(files=TWO, params={"overlays": "true"}).json()
    assert all(one["overlays"]["residual"] for one in several["photographs"])


def test_a_wrong_query_is_named(door, is_problem, photograph):
    told = is_problem(door.post(files=photograph, params={"overlays": "perhaps"}), 422)
    assert "overlays: found 'perhaps'" in told.detail


def sent_with(door, detail: Detail, files, **request):
    token = door.add(Scope.VERIFY, detail=detail)
    return door.post(files=files, headers={"authorization": f"Bearer {token}", **request.pop("headers", {})}, **request)


def test_scores_without_evidence(door, photograph):
    told = sent_with(door, Detail.SCORES, photograph, params={"overlays": "true"}).json()
    assert (told["references"], told["cue_pairs"], told["residual_map"]) == ([], [], None)
    assert told["attention"] is None
    assert told["overlays"] == {"residual": None, "matches": None, "attention": None}
    assert told["scores"] == examples.VERDICT["scores"]
    assert door.graph.asks[0].overlays is False


def test_a_label_without_anything_that_teaches(door, photograph):
    told = sent_with(door, Detail.LABEL, photograph).json()
    Verdict.model_validate(told)
    withheld = ("scores", "p_genuine", "residual_map", "attention")
    assert all(told[name] is None for name in withheld)
    assert (told["references"], told["cue_pairs"], told["timings_ms"]) == ([], [], {})
    assert (told["verdict"], told["product"]) == ("genuine", "Neverfull")
    assert not any(letter.isdigit() for letter in told["reason"])
    door.graph.unusable = True
    assert sent_with(door, Detail.LABEL, photograph).json()["reason"] == examples.VERDICT["reason"]
    assert door.audited()[-1]["verdict"] == "genuine"


def test_an_item_without_anything_that_teaches(door):
    told = ItemAnswer.model_validate(sent_with(door, Detail.LABEL, TWO).json())
    assert told.item.log_likelihood_ratio is None
    assert told.item.p_genuine is None
    assert told.item.parts == []
    assert not any(letter.isdigit() for letter in told.item.reason)
    assert all(one.scores is None for one in told.photographs)
    whole = ItemAnswer.model_validate(sent_with(door, Detail.SCORES, TWO).json())
    assert whole.item.log_likelihood_ratio is not None


@pytest.fixture
def issuing(door, tmp_path):
    make_key(tmp_path / "certificate.key")
    door.services.issuer = Issuer(tmp_path / "certificate.key", "the shop")
    return door


def test_a_certificate_can_be_checked(issuing, photograph):
    answer = issuing.post("/v1/certificates", files=photograph, data={"product": "Neverfull", "box": "1,2,3,4"})
    assert answer.status_code == 200, answer.text
    told = check_certificate(answer.content)
    assert (told.issuer, told.product_asked, told.boxes) == ("the shop", "Neverfull", [(1, 2, 3, 4)])
    assert (told.gallery_content_id, told.embedding_id) == ("c0ffee", "e0")
    assert told.item is None
    (ask,) = issuing.graph.asks
    assert (ask.single, ask.canary, ask.overlays) == (True, False, False)
    assert check_certificate(issuing.post("/v1/certificates", files=TWO).content).item is not None


def test_a_certificate_can_be_printed(issuing, photograph):
    answer = issuing.post("/v1/certificates", files=photograph, headers={"accept": "text/html,*/*;q=0.1"})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.count("data:image/png") == 2
    assert "Where the classifier looked" in answer.text
    assert "unsafe-inline" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("detail", [Detail.SCORES, Detail.LABEL])
def test_a_certificate_is_not_for_keys_that_see_less(issuing, is_problem, photograph, detail):
    token = issuing.add(Scope.VERIFY, detail=detail)
    headers = {"authorization": f"Bearer {token}"}
    assert str(detail) in is_problem(issuing.post("/v1/certificates", files=photograph, headers=headers), 403).detail
    assert issuing.graph.seen == []


def test_without_a_key_to_sign_with_there_are_no_certificates(door, is_problem, photograph):
    told = is_problem(door.post("/v1/certificates", files=photograph), 409)
    assert told.reason == "certificates_off"
    assert door.graph.seen == []


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json, text/html;q=0.5", False),
        ("application/json;q=0.5, text/html;q=0.6", True),
        ("text/html;q=nonsense", False),
        ("text/html;q=0", False),
    ],
)
def test_what_accept_prefers(accept, wanted):
    assert prefers_html(accept) is wanted
