"""Keys, scopes, rates, quotas and the audit log, the same for every place of the route table."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from hallmark.serving import auth
from hallmark.serving.auth import Scope, revoke_key
from hallmark.serving.gateway import PUBLIC, make_app
from hallmark.serving.limits import WRONG_KEYS_PER_MINUTE
from hallmark.serving.stages import NotReadyError

_SCOPES = {
    ("POST", "/v1/verdicts"): Scope.VERIFY,
    ("POST", "/v1/certificates"): Scope.VERIFY,
    ("POST", "/v1/references"): Scope.ENROL,
    ("GET", "/v1/references"): Scope.VERIFY,
    ("GET", "/v1/references/{reference_id}/thumbnail"): Scope.VERIFY,
    ("DELETE", "/v1/references/{reference_id}"): Scope.ENROL,
    ("GET", "/v1/products"): Scope.VERIFY,
    ("GET", "/v1/gallery/versions"): Scope.VERIFY,
    ("POST", "/v1/gallery/versions/{version}/rollback"): Scope.ADMIN,
    ("GET", "/v1/key"): None,
}
"""What each place wants; one that is missing here fails the test of the route table."""


def _guarded() -> list[tuple[str, str]]:
    routes = [route for route in make_app(lambda: None, 1).routes if route.path not in PUBLIC]
    return sorted((method, route.path) for route in routes for method in getattr(route, "methods", None) or {"GET"})


GUARDED = _guarded()


def ask(door, method: str, path: str, token: str | None, **request: Any):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    place = path.replace("{reference_id}", "ref-1").replace("{version}", "7")
    return door.send(method, place, headers=headers, anonymous=True, **request)


def test_the_route_table_is_known():
    assert set(GUARDED) == set(_SCOPES)
    assert {"/", "/page", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"} <= PUBLIC


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_every_place_refuses_whoever_may_not(door, is_problem, method, path):
    revoked = door.add(Scope.ADMIN)
    revoke_key(door.keys, revoked.split("_")[1])
    for token in (None, "hallmark_000000000000_unknown", revoked):
        is_problem(ask(door, method, path, token), 401)
    wanted = _SCOPES[method, path]
    for scope in (Scope.VERIFY, Scope.ENROL):
        answer = ask(door, method, path, door.add(scope))
        if wanted in (None, scope):
            assert answer.status_code not in (401, 403)
        else:
            is_problem(answer, 403)
    assert ask(door, method, path, door.add(Scope.ADMIN)).status_code not in (401, 403)


def test_wrong_keys_are_limited_and_right_ones_are_not_in_the_way(door, is_problem, monkeypatch):
    assert ask(door, "GET", "/v1/key", door.token).status_code == 200
    hashed = []
    whole = auth._hash
    monkeypatch.setattr(auth, "_hash", lambda *told: hashed.append(1) or whole(*told))
    wrong = door.token[:-4] + "none"
    for _ in range(WRONG_KEYS_PER_MINUTE):
        is_problem(ask(door, "GET", "/v1/key", wrong), 401)
    assert len(hashed) == WRONG_KEYS_PER_MINUTE
    answer = ask(door, "GET", "/v1/key", wrong)
    assert is_problem(answer, 429).reason == "wrong_keys"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len(hashed) == WRONG_KEYS_PER_MINUTE
    assert ask(door, "GET", "/v1/key", door.token).status_code == 200
    assert door.send("GET", "/v1/key", client="10.0.0.9").status_code == 200
    assert ask(door, "GET", "/v1/key", wrong, client="10.0.0.9").status_code == 401


def test_a_keys_rate_holds_and_says_when_to_come_again(door, is_problem, photograph):
    token = door.add(Scope.VERIFY, rate_per_minute=2)
    for _ in range(2):
        assert ask(door, "POST", "/v1/verdicts", token, files=photograph).status_code == 200
    answer = ask(door, "POST", "/v1/verdicts", token, files=photograph)
    assert is_problem(answer, 429).reason == "rate"
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert len(door.graph.seen) == 2
    assert door.post(files=photograph).status_code == 200
    assert ask(door, "GET", "/v1/key", token).status_code == 200


def test_reading_costs_a_tenth(door):
    token = door.add(Scope.VERIFY, rate_per_minute=1)
    told = [ask(door, "GET", "/v1/products", token).status_code for _ in range(11)]
    assert told == [200] * 10 + [429]


def test_a_keys_quota_is_of_photographs(door, is_problem, photograph):
    token = door.add(Scope.VERIFY, Scope.ENROL, daily_quota=3)
    two = [("photograph", ("a", b"a")), ("photograph", ("b", b"b"))]
    assert ask(door, "POST", "/v1/verdicts", token, files=two).status_code == 200
    answer = ask(door, "POST", "/v1/verdicts", token, files=two)
    assert is_problem(answer, 429).reason == "quota"
    assert int(answer.headers["retry-after"]) <= 86_400
    assert ask(door, "GET", "/v1/key", token).json()["used_today"] == 2
    enrol = {"data": {"product": "p", "authenticity": "genuine"}, "files": photograph}
    assert ask(door, "POST", "/v1/references", token, **enrol).status_code == 201
    assert ask(door, "POST", "/v1/verdicts", token, files=photograph).status_code == 429
    assert ask(door, "GET", "/v1/key", token).json()["used_today"] == 3


def test_a_key_tells_what_it_may(door, make_door):
    token = door.add(Scope.VERIFY, detail=auth.Detail.LABEL, rate_per_minute=60, daily_quota=5)
    told = ask(door, "GET", "/v1/key", token).json()
    assert told == {
        "key_id": token.split("_")[1],
        "name": "shop",
        "scopes": ["verify"],
        "detail": "label",
        "rate_per_minute": 60,
        "daily_quota": 5,
        "used_today": 0,
    }


def test_anyone_on_this_machine_has_every_scope(make_door):
    door = make_door(keys=False)
    told = door.send("GET", "/v1/key").json()
    assert told["key_id"] is None
    assert set(told["scopes"]) == set(Scope)
    assert door.send("POST", "/v1/gallery/versions/7/rollback").status_code == 200


def test_verdicts_changes_and_refused_keys_are_logged(door, photograph):
    verifier = door.add(Scope.VERIFY)
    door.post(files=photograph, headers={"x-request-id": "r-1"})
    door.post("/v1/references", files=photograph, data={"product": "p", "authenticity": "genuine"})
    door.send("DELETE", "/v1/references/ref-1")
    door.send("GET", "/v1/products")
    ask(door, "POST", "/v1/gallery/versions/7/rollback", verifier)
    ask(door, "GET", "/v1/products", None)
    verdict, enrolled, retired, refused, unknown = door.audited()
    key_id = door.token.split("_")[1]
    assert verdict.pop("time").startswith("20")
    assert verdict.pop("milliseconds") >= 0
    assert verdict == {
        "request_id": "r-1",
        "key_id": key_id,
        "route": "POST /v1/verdicts",
        "status": 200,
        "image_ids": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        "verdict": "genuine",
        "product": "Neverfull",
        "bundle_id": "3f2c9a0d41b7e865",
        "gallery_version": 7,
        "config_hash": "5d41402abc4b2a76",
    }
    assert (enrolled["status"], enrolled["product"], enrolled["gallery_version"]) == (201, "p", 8)
    assert (enrolled["reference_ids"], enrolled["num_refused"]) == (["ref-60303ae22b998861bce3b28f"], 1)
    assert (retired["route"], retired["reference_ids"]) == ("DELETE /v1/references/{reference_id}", ["ref-1"])
    assert (refused["status"], refused["key_id"]) == (403, verifier.split("_")[1])
    assert (unknown["status"], unknown["key_id"], unknown["route"]) == (401, None, "GET /v1/products")


def test_the_log_holds_no_key_and_no_photograph(door, photograph):
    wrong = "hallmark_000000000000_wrongsecret"
    door.post(files={"photograph": ("p.jpg", b"SECRETPIXELS")}, headers={"Idempotency-Key": "x"})
    ask(door, "POST", "/v1/verdicts", wrong, files=photograph)
    text = json.dumps(door.audited())
    for secret in ("SECRETPIXELS", "wrongsecret", door.token.split("_", 2)[2], "Bearer"):
        assert secret not in text


def test_a_log_that_cannot_be_written_stops_the_service(door, is_problem, photograph):
    assert door.post(files=photograph).status_code == 200
    folder = door.folder / "audit"
    (log,) = folder.iterdir()
    log.unlink()
    folder.rmdir()
    folder.write_text("in the way")
    for answer in (door.post(files=photograph), door.send("GET", "/readyz"), door.send("DELETE", "/v1/references/a")):
        told = is_problem(answer, 503)
        assert str(folder) not in told.detail
    assert len(door.graph.seen) == 1
    folder.unlink()
    assert door.post(files=photograph).status_code == 200


def test_a_verdict_that_cannot_be_logged_is_not_given(door, is_problem, photograph, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    assert door.post(files=photograph).status_code == 200
    monkeypatch.setattr(os, "write", full)
    answer = door.post(files=photograph)
    assert "genuine" not in answer.text
    is_problem(answer, 503)
    monkeypatch.undo()
    assert door.post(files=photograph).status_code == 200
    assert [line.get("event") for line in door.audited()] == [None, "resumed", None]


def test_figures_count_requests_and_verdicts_by_place(door, photograph):
    door.post(files=photograph)
    door.send("GET", "/v1/references/ref-1/thumbnail")
    door.graph.error = NotReadyError("loading")
    door.post(files=photograph)
    answer = door.send("GET", "/metrics", anonymous=True)
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'hallmark_requests_total{method="POST",place="/v1/verdicts",status="200"} 1.0' in lines
    assert 'hallmark_requests_total{method="POST",place="/v1/verdicts",status="503"} 1.0' in lines
    place = "/v1/references/{reference_id}/thumbnail"
    assert f'hallmark_requests_total{{method="GET",place="{place}",status="200"}} 1.0' in lines
    assert 'hallmark_verdicts_total{bundle="default",verdict="genuine"} 1.0' in lines
    assert 'hallmark_stage_seconds_count{stage="describe"} 1.0' in lines
    assert door.token.split("_")[1] not in answer.text
