"""The HTTP door before a graph that answers at once: every refusal is a problem document, never a 500."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import httpx
import pytest

from hallmark.errors import DecodeError
from hallmark.serving.auth import KeyRing, Scope, add_key
from hallmark.serving.gateway import NotReadyError, OverloadedError, make_app
from hallmark.serving.schema import Health, Problem
from hallmark.types import Quality, Scores, Verdict, VerdictLabel

LIMIT = 2_000
OVERHEAD = 64 * 1024
PLACE = "/v1/verdicts"


class Stages:
    """A graph that answers, or fails as told; keeps what it was given."""

    def __init__(self):
        self.error: Exception | None = None
        self.seen: list[bytes] = []

    async def verdict(self, data: bytes, box: object, request_id: str) -> Verdict:
        if self.error:
            raise self.error
        self.seen.append(data)
        thresholds = {"threshold_global": 0, "threshold_genuine": 0, "threshold_counterfeit": 0}
        unknown = dict.fromkeys(
            ["global_genuine", "global_counterfeit", "match_genuine", "match_counterfeit", "decision"]
        )
        return Verdict(
            verdict=VerdictLabel.NOT_IN_GALLERY,
            reason="The gallery is empty.",
            p_genuine=None,
            product=None,
            part=None,
            scores=Scores(global_similarity=-1, **unknown, **thresholds),
            references=[],
            cue_pairs=[],
            quality=Quality(width=1, height=1, sharpness=0, brightness=0, clipped=0),
            image_id="0",
            bundle_id="b",
            gallery_version=1,
            config_hash="c",
            request_id=request_id,
            timings_ms={},
        )

    async def ready(self) -> Health:
        if self.error:
            raise self.error
        return Health(status="ready", bundle_id="b", gallery_version=1, num_references=2)


class Door:
    """The application and a client of it."""

    def __init__(self, keys: KeyRing | None, token: str | None):
        self.stages, self.token = Stages(), token
        self.app = make_app(lambda: self.stages, keys, LIMIT)

    def send(self, method: str, path: str, client: str = "127.0.0.1", anonymous: bool = False, **request):
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://hallmark.test") as session:
                headers = httpx.Headers(request.pop("headers", {}))
                if self.token and not anonymous and "authorization" not in headers:
                    headers["authorization"] = f"Bearer {self.token}"
                return await session.request(method, path, headers=headers, **request)

        return asyncio.run(sent())

    def post(self, **request) -> httpx.Response:
        return self.send("POST", PLACE, **request)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    file = tmp_path / "keys.json"
    token = add_key(file, "shop", [Scope.VERIFY])
    return Door(KeyRing(file), token)


PHOTOGRAPH = {"photograph": ("p.jpg", b"bytes", "image/jpeg")}


def is_problem(answer: httpx.Response, status: int) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = Problem.model_validate(answer.json())
    assert told.status == status
    assert told.instance == answer.headers["x-request-id"] != ""
    assert told.title
    assert told.detail
    return told


def test_a_photograph_gets_a_verdict(door):
    answer = door.post(files=PHOTOGRAPH, headers={"x-request-id": "mine-1"})
    assert answer.status_code == 200
    assert Verdict.model_validate(answer.json()).request_id == "mine-1"
    assert answer.headers["x-request-id"] == "mine-1"
    assert door.stages.seen == [b"bytes"]


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
def test_without_a_valid_key_nothing_is_examined(door, authorization):
    headers = {} if authorization is None else {"authorization": authorization}
    answer = door.post(files=PHOTOGRAPH, headers=headers, anonymous=True)
    is_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert door.stages.seen == []


def test_a_key_of_another_scope_is_not_allowed(door, tmp_path):
    other = add_key(tmp_path / "keys.json", "curator", [Scope.ENROL])
    is_problem(door.post(files=PHOTOGRAPH, headers={"authorization": f"Bearer {other}"}), 403)


def test_an_unreadable_key_file_is_the_services_fault(door, tmp_path):
    (tmp_path / "keys.json").write_text("torn")
    told = is_problem(door.post(files=PHOTOGRAPH), 503)
    assert str(tmp_path) not in told.detail


@pytest.mark.parametrize(
    ("client", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.0.0.7", 403), ("127.0.0.1.evil", 403)]
)
def test_anonymous_mode_answers_its_own_machine_only(client, status):
    door = Door(None, None)
    answer = door.post(files=PHOTOGRAPH, client=client)
    assert answer.status_code == status
    assert len(door.stages.seen) == (status == 200)


def test_unknown_places_and_methods(door):
    is_problem(door.send("GET", "/v1/nothing"), 404)
    answer = door.send("GET", PLACE)
    is_problem(answer, 405)
    assert answer.headers["allow"] == "POST"
    is_problem(door.send("DELETE", "/healthz"), 405)


def test_health_needs_no_key_and_readiness_tells(door):
    assert door.send("GET", "/healthz", anonymous=True).json()["status"] == "ok"
    assert door.send("GET", "/readyz", anonymous=True).json()["num_references"] == 2
    door.stages.error = NotReadyError("the gallery is loading")
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
def test_what_a_stage_refuses_is_passed_on(door, error, status, reason):
    door.stages.error = error
    answer = door.post(files=PHOTOGRAPH)
    assert is_problem(answer, status).reason == reason
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_a_fault_of_the_service_tells_nothing_and_is_logged(door, caplog):
    door.stages.error = RuntimeError("secret path /srv/x")
    with caplog.at_level(logging.ERROR):
        told = is_problem(door.post(files=PHOTOGRAPH), 500)
    assert "secret" not in told.detail
    assert told.instance in caplog.text
    assert "secret path" in caplog.text


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused(door, announced):
    async def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="photograph"; filename="p.jpg"\r\n\r\n'
        for _ in range(80):
            yield b"x" * 1024

    content = b"x" * (LIMIT + OVERHEAD + 1) if announced else pieces()
    answer = door.post(content=content, headers={"content-type": "multipart/form-data; boundary=x"})
    told = is_problem(answer, 413)
    assert str(LIMIT + OVERHEAD) in told.detail
    assert door.stages.seen == []


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
    "two files": (form(FILE, FILE), MULTIPART, {422}),
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
def test_nasty_bodies_are_refused_by_a_problem_document(door, name):
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
def test_an_odd_content_length_is_refused(door, length):
    answer = door.post(content=b"x", headers={"content-length": length, "content-type": MULTIPART})
    is_problem(answer, 400)


def test_an_empty_file_reaches_the_decoder(door):
    door.post(files={"photograph": ("p.jpg", b"")})
    assert door.stages.seen == [b""]


def test_no_key_and_no_token_reaches_the_log(door, caplog):
    with caplog.at_level(logging.DEBUG):
        door.post(files=PHOTOGRAPH)
        door.post(files=PHOTOGRAPH, headers={"authorization": "Bearer hallmark_000000000000_wrongsecret"})
        door.stages.error = RuntimeError("boom")
        door.post(files=PHOTOGRAPH)
    assert door.token not in caplog.text
    assert door.token.split("_", 2)[2] not in caplog.text
    assert "wrongsecret" not in caplog.text


def test_the_documentation_needs_no_outside_address(door):
    page = door.send("GET", "/docs", anonymous=True)
    assert page.status_code == 200
    assert "https://" not in page.text
