"""The HTTP door before a graph that answers at once: every refusal is a problem document, never a 500."""

from __future__ import annotations

import logging

import pytest

from hallmark.errors import DecodeError
from hallmark.serving.auth import Scope
from hallmark.serving.gateway import PAGE
from hallmark.serving.stages import NotReadyError, OverloadedError
from hallmark.types import Verdict

LIMIT = 2_000
OVERHEAD = 64 * 1024
PLACE = "/v1/verdicts"
PHOTOGRAPH = {"photograph": ("p.jpg", b"bytes", "image/jpeg")}


def test_a_photograph_gets_a_verdict(door):
    answer = door.post(files=PHOTOGRAPH, headers={"x-request-id": "mine-1"})
    assert answer.status_code == 200
    assert Verdict.model_validate(answer.json()).request_id == "mine-1"
    assert answer.headers["x-request-id"] == "mine-1"
    assert door.graph.seen == [b"bytes"]


@pytest.mark.parametrize("sent", ["", "with space", "x" * 65, "a/b", 'quote"', "ümlaut".encode("latin-1"), b"\xff"])
def test_unacceptable_request_ids_are_replaced(door, sent):
    answer = door.post(files=PHOTOGRAPH, headers={"x-request-id": sent})
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 32


def test_request_ids_differ(door):
    assert len({door.post(files=PHOTOGRAPH).headers["x-request-id"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic aGFsbG1hcms6eA==",
        "hallmark",
        b"Bearer \xff\xfe",
        "Bearer a b",
    ],
)
def test_without_a_valid_key_nothing_is_examined(door, authorization, is_problem):
    headers = {} if authorization is None else {"authorization": authorization}
    answer = door.post(files=PHOTOGRAPH, headers=headers, anonymous=True)
    is_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert door.graph.seen == []


def test_a_key_of_another_scope_is_not_allowed(door, is_problem):
    other = door.add(Scope.ENROL)
    is_problem(door.post(files=PHOTOGRAPH, headers={"authorization": f"Bearer {other}"}), 403)


def test_an_unreadable_key_file_is_the_services_fault(door, tmp_path, is_problem):
    (tmp_path / "keys.json").write_text("torn")
    told = is_problem(door.post(files=PHOTOGRAPH), 503)
    assert str(tmp_path) not in told.detail


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("127.0.0.1", {"host": "127.0.0.1:8000"}, 200),
        ("127.0.0.1", {"host": "[::1]:8000"}, 200),
        ("127.0.0.1", {"origin": "http://localhost:8000"}, 200),
        ("10.0.0.7", {}, 403),
        ("127.0.0.1.evil", {}, 403),
        ("127.0.0.1", {"host": "evil.test:8000"}, 403),
        ("127.0.0.1", {"origin": "http://evil.test"}, 403),
        ("127.0.0.1", {"origin": "http://localhost:9000"}, 403),
        ("127.0.0.1", {"origin": "null"}, 403),
    ],
)
def test_without_keys_it_answers_its_own_machine_and_page_only(make_door, client, headers, status):
    door = make_door(keys=False)
    answer = door.post(files=PHOTOGRAPH, client=client, headers=headers)
    assert answer.status_code == status
    assert len(door.graph.seen) == (status == 200)


def test_unknown_places_and_methods(door, is_problem):
    is_problem(door.send("GET", "/v1/nothing"), 404)
    answer = door.send("GET", PLACE)
    is_problem(answer, 405)
    assert answer.headers["allow"] == "POST"
    is_problem(door.send("DELETE", "/healthz"), 405)


def test_health_needs_no_key_and_readiness_tells(door, is_problem):
    assert door.send("GET", "/healthz", anonymous=True).json()["status"] == "ok"
    assert door.send("GET", "/readyz", anonymous=True).json()["num_references"] == 2
    door.graph.error = NotReadyError("the gallery is loading")
    assert door.send("GET", "/healthz", anonymous=True).status_code == 200
    answer = door.send("GET", "/readyz", anonymous=True)
    assert is_problem(answer, 503).detail == "the gallery is loading"
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (DecodeError("too_many_pixels", "too many"), 413, "too_many_pixels"),
        (DecodeError("too_many_bytes", "too many"), 413, "too_many_bytes"),
        (DecodeError("unknown_format", "a GIF"), 415, "unknown_format"),
        (DecodeError("corrupt", "torn"), 422, "corrupt"),
        (DecodeError("empty", "no bytes"), 422, "empty"),
        (OverloadedError("too many"), 429, None),
        (NotReadyError("loading"), 503, None),
    ],
)
def test_what_a_stage_refuses_is_passed_on(door, error, status, reason, is_problem):
    door.graph.error = error
    answer = door.post(files=PHOTOGRAPH)
    assert is_problem(answer, status).reason == reason
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_a_fault_of_the_service_tells_nothing_and_is_logged(door, caplog, is_problem):
    door.graph.error = RuntimeError("secret path /srv/x")
    with caplog.at_level(logging.ERROR):
        told = is_problem(door.post(files=PHOTOGRAPH), 500)
    assert "secret" not in told.detail
    assert told.instance in caplog.text
    assert "secret path" in caplog.text


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused(door, announced, is_problem):
    most = 8 * LIMIT + OVERHEAD

    async def pieces():
        for _ in range(3):
            yield b'--x\r\nContent-Disposition: form-data; name="box"\r\n\r\n' + b"x" * 60_000 + b"\r\n"

    content = b"x" * (most + 1) if announced else pieces()
    answer = door.post(content=content, headers={"content-type": "multipart/form-data; boundary=x"})
    told = is_problem(answer, 413)
    assert str(most) in told.detail
    assert door.graph.seen == []


def test_a_photograph_over_the_limit_is_refused_as_it_comes_in(door, is_problem):
    told = is_problem(door.post(files={"photograph": ("p.jpg", b"x" * (LIMIT + 1))}), 413)
    assert told.reason == "too_many_bytes"
    assert str(LIMIT) in told.detail
    assert door.post(files={"photograph": ("p.jpg", b"x" * LIMIT)}).status_code == 200
    assert [len(data) for data in door.graph.seen] == [LIMIT]


def test_the_limit_is_that_of_the_place(door, is_problem):
    many = [("photograph", (f"{place}.jpg", b"x" * 1_900)) for place in range(32)]
    fields = {"product": "a", "authenticity": "genuine"}
    assert door.post("/v1/references", files=many, data=fields).status_code == 201
    told = is_problem(door.send("DELETE", "/v1/references/x", content=b"x" * (OVERHEAD + 1)), 413)
    assert str(OVERHEAD) in told.detail


def test_whoever_may_not_come_in_is_told_before_the_body_is_read(door, is_problem):
    read = []

    async def pieces():
        for _ in range(5):
            read.append(1)
            yield b"x" * 1_000

    kind = {"content-type": "multipart/form-data; boundary=x", "authorization": "Bearer wrong"}
    is_problem(door.post(content=pieces(), headers=kind), 401)
    assert not read


def form(*parts: bytes, boundary: bytes = b"B") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


FILE = b'Content-Disposition: form-data; name="photograph"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\nbytes'
TEXT = b'Content-Disposition: form-data; name="photograph"\r\n\r\nbytes'
MULTIPART = "multipart/form-data; boundary=B"
NASTY = {
    "no form": (b"{}", "application/json", {415}),
    "bare bytes": (b"\xff\xd8\xff", "image/jpeg", {415}),
    "no content type": (b"bytes", None, {415}),
    "urlencoded": (b"photograph=x", "application/x-www-form-urlencoded", {415}),
    "no boundary": (form(FILE), "multipart/form-data", {400}),
    "another boundary": (form(FILE), "multipart/form-data; boundary=C", {400, 422}),
    "odd boundary": (form(FILE), 'multipart/form-data; boundary="\\"', {400, 422}),
    "empty": (b"", MULTIPART, {400, 422}),
    "only the end": (b"--B--\r\n", MULTIPART, {400, 422}),
    "torn": (form(FILE)[:-12], MULTIPART, {200, 400, 422}),
    "torn in a header": (b"--B\r\nContent-Dispo", MULTIPART, {400, 422}),
    "text field": (form(TEXT), MULTIPART, {422}),
    "nine files": (form(*[FILE] * 9), MULTIPART, {422}),
    "text beside a file": (form(FILE, TEXT), MULTIPART, {422}),
    "an unknown field": (form(FILE, TEXT.replace(b"photograph", b"boxx")), MULTIPART, {422}),
    "a file as box": (form(FILE, FILE.replace(b"photograph", b"box")), MULTIPART, {422}),
    "file and text": (form(FILE, TEXT), MULTIPART, {422}),
    "other field": (form(FILE.replace(b'"photograph"', b'"photo"')), MULTIPART, {422}),
    "no name": (form(b"Content-Disposition: form-data\r\n\r\nx"), MULTIPART, {400, 422}),
    "no disposition": (form(b"Content-Type: image/jpeg\r\n\r\nx"), MULTIPART, {400, 422}),
    "nested": (form(FILE.replace(b"image/jpeg", b"multipart/mixed; boundary=C")), MULTIPART, {200}),
    "huge header name": (form(b"X" * 20_000 + b": y\r\n" + FILE), MULTIPART, {200, 400, 422}),
    "many headers": (form(b"X: y\r\n" * 2_000 + FILE), MULTIPART, {200, 400, 422}),
    "many fields": (form(*[TEXT.replace(b"photograph", b"f")] * 800), MULTIPART, {400, 422}),
    "text over a megabyte's share": (form(TEXT + b"x" * 60_000), MULTIPART, {400, 422}),
    "random": (bytes(range(256)) * 8, MULTIPART, {400, 422}),
    "latin-1 file name": (form(FILE.replace(b"p.jpg", b"\xff\xfe.jpg")), MULTIPART, {200, 400, 422}),
    "nul in the name": (form(FILE.replace(b"p.jpg", b"..\x00/../etc")), MULTIPART, {200, 400, 422}),
    "bad charset": (form(TEXT), f"{MULTIPART}; charset=nonsense", {400, 422}),
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_bodies_are_refused_by_a_problem_document(door, name, is_problem):
    content, kind, wanted = NASTY[name]
    answer = door.post(content=content, headers={"content-type": kind} if kind else {})
    assert answer.status_code in wanted, answer.text
    if answer.status_code != 200:
        is_problem(answer, answer.status_code)


def test_a_bad_charset_around_a_text_field_is_no_fault_of_the_service(door):
    bare = form(TEXT.replace(b"bytes", b"\xff\xfe\x00"))
    for charset in ("nonsense", "utf-16", "idna", "zlib_codec", "undefined", "\x00"):
        kind = f"multipart/form-data; charset={charset}; boundary=B".encode()
        answer = door.post(content=bare, headers={b"content-type": kind})
        assert 400 <= answer.status_code < 500, (charset, answer.text)


@pytest.mark.parametrize("length", ["-1", "many", "1e3", "9" * 40, "", "+5", "٣".encode()])
def test_an_odd_content_length_is_refused(door, length, is_problem):
    answer = door.post(content=b"x", headers={"content-length": length, "content-type": MULTIPART})
    is_problem(answer, 400)


def test_an_empty_file_reaches_the_decoder(door):
    door.post(files={"photograph": ("p.jpg", b"")})
    assert door.graph.seen == [b""]


def test_no_key_and_no_token_reaches_the_log(door, caplog):
    with caplog.at_level(logging.DEBUG):
        door.post(files=PHOTOGRAPH)
        door.post(files=PHOTOGRAPH, headers={"authorization": "Bearer hallmark_000000000000_wrongsecret"})
        door.graph.error = RuntimeError("boom")
        door.post(files=PHOTOGRAPH)
    assert door.token not in caplog.text
    assert door.token.split("_", 2)[2] not in caplog.text
    assert "wrongsecret" not in caplog.text


def test_the_documentation_needs_no_outside_address(door):
    page = door.send("GET", "/docs", anonymous=True)
    assert page.status_code == 200
    assert "https://" not in page.text


def test_the_page_comes_with_a_strict_policy(door):
    for place in ("/", "/page/page.js", "/page/icon.svg"):
        answer = door.send("GET", place, anonymous=True)
        assert answer.status_code == 200, place
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert door.send("GET", "/", anonymous=True).text == (PAGE / "index.html").read_text()


@pytest.mark.parametrize("path", ["/page/none.js", "/page/../gateway.py", "/page/%2e%2e/gateway.py", "/page/"])
def test_nothing_but_the_page_is_served(door, path):
    answer = door.send("GET", path, anonymous=True)
    assert answer.status_code in (404, 405)
    assert "import" not in answer.text


def test_answers_are_kept_by_nobody(door):
    answer = door.post(files=PHOTOGRAPH)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_a_place_of_two_methods_names_both(door, is_problem):
    answer = door.send("PATCH", "/v1/references")
    is_problem(answer, 405)
    assert answer.headers["allow"] == "GET, POST"
