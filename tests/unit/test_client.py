"""The client against a service that is played by httpx: what it sends, returns, repeats and says."""

from __future__ import annotations

import asyncio
import email
import inspect
import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from hallmark.client import AsyncClient, Client
from hallmark.errors import CertificateError, DataError, ServiceError
from hallmark.serving.certificate import Issuer, make_key
from hallmark.serving.schema import EnrolmentAnswer, ItemAnswer, VerdictAnswer
from hallmark.types import Quality, Scores, Verdict

KEY = "hallmark_0123456789ab_secret"
Handler = Callable[[httpx.Request], httpx.Response]


def a_verdict(**told) -> Verdict:
    scores = {"global_similarity": 0.5, "global_genuine": None, "global_counterfeit": None, "match_genuine": None}
    scores |= {"match_counterfeit": None, "decision": None, "threshold_global": 0.2, "threshold_genuine": 1.0}
    content = {
        "verdict": "inconclusive",
        "reason": "too dark",
        "p_genuine": None,
        "product": None,
        "part": None,
        "scores": Scores(**scores, threshold_counterfeit=0.0),
        "references": [],
        "cue_pairs": [],
        "quality": Quality(width=8, height=8, sharpness=1, brightness=0.1, clipped=0),
        "image_id": "a" * 64,
        "bundle_id": "b",
        "gallery_version": 1,
        "config_hash": "c",
        "timings_ms": {},
    }
    return Verdict(**content | told)


VERDICT = json.loads(a_verdict().model_dump_json())
ITEM = {"verdict": "inconclusive", "reason": "r", "p_genuine": None, "product": None, "log_likelihood_ratio": None}
ITEM |= {"threshold_genuine": None, "threshold_counterfeit": None, "parts": [], "set_aside": [], "config_hash": "c"}
RECORD = {"image_id": "a", "product": "bag", "part": "tag", "item_id": "", "authenticity": "genuine", "bundle_id": "b"}
RECORD |= {"enrolled_at": "2026-01-02T03:04:05Z"}
ENROLLED = {"gallery_version": 2, "references": [], "refused": []}


class Service:
    """Answers in turn with what it was given, the last one for ever; keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception):
        self.answers, self.requests = list(answers), []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A response is used up once it was read.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, key: str | None = KEY, **settings) -> Client:
        return Client("http://service:1/", key, transport=httpx.MockTransport(self), **settings)


def ok(content) -> httpx.Response:
    return httpx.Response(200, json=content)


def refusal(status: int, retry_after: str | None = None, **told) -> httpx.Response:
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    problem = {"title": "Too many requests", "status": status, "detail": "wait", "instance": "request-1"} | told
    return httpx.Response(status, headers={"content-type": "application/problem+json", **headers}, json=problem)


def form_of(request: httpx.Request) -> list[tuple[str, str | None, bytes]]:
    """(field, file name, content) of a multipart form, in order."""
    head = b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
    parts = email.message_from_bytes(head + request.content).get_payload()
    return [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in parts
    ]


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """Waits take no time; this is how long they would have been."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("hallmark.client.time.sleep", waited.append)
    monkeypatch.setattr("hallmark.client.asyncio.sleep", sleep)
    return waited


def test_a_verdict_about_a_file(tmp_path):
    (tmp_path / "tag.jpg").write_bytes(b"JPEG")
    service = Service(ok(VERDICT))
    with service.client() as client:
        assert client.verdict(tmp_path / "tag.jpg") == client.verdict(str(tmp_path / "tag.jpg")) == a_verdict()
    (sent, _) = service.requests
    assert (sent.method, str(sent.url)) == ("POST", "http://service:1/v1/verdicts")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert form_of(sent) == [("photograph", "tag.jpg", b"JPEG")]


def test_several_photographs_with_all_that_can_be_said_of_them():
    pictures = {"residual": "cG5n", "matches": None}
    answer = {"item": ITEM, "photographs": [VERDICT, VERDICT | {"overlays": pictures}], "request_id": "r"}
    service = Service(ok(answer))
    told = service.client(bundle="small").verdict(
        b"one", b"two", product="bag", boxes=[(1, 2.5, 30, 40), None], overlays=True
    )
    assert isinstance(told, ItemAnswer)
    assert isinstance(told.photographs[1], VerdictAnswer)
    assert told.photographs[1].overlays.residual == "cG5n"
    (sent,) = service.requests
    assert sent.url.params["overlays"] == "true"
    form = form_of(sent)
    assert [part for part in form if part[0] == "photograph"] == [
        ("photograph", "photograph-1", b"one"),
        ("photograph", "photograph-2", b"two"),
    ]
    assert [content for name, _, content in form if name == "box"] == [b"1.0,2.5,30.0,40.0", b""]
    assert {(name, content) for name, _, content in form} >= {("product", b"bag"), ("bundle", b"small")}


def test_verdicts_with_pictures_or_without_scores_are_read():
    service = Service(ok(VERDICT | {"overlays": {"residual": None, "matches": None}}), ok(VERDICT | {"scores": None}))
    client = service.client()
    assert client.verdict(b"x", overlays=True).overlays.matches is None
    assert client.verdict(b"x").scores is None


def test_enrolment_names_itself_and_keeps_its_name_when_repeated(pauses):
    service = Service(httpx.ReadError("cut off"), refusal(503), httpx.Response(201, json=ENROLLED))
    client = service.client()
    answer = client.enrol([b"x"], product="bag", part="tag", authenticity="genuine", item_id="i")
    assert answer == EnrolmentAnswer(**ENROLLED)
    names = {sent.headers["idempotency-key"] for sent in service.requests}
    assert len(service.requests) == 3
    assert len(names) == 1
    assert len(pauses) == 2
    assert {(name, content) for name, _, content in form_of(service.requests[-1])} == {
        ("photograph", b"x"),
        ("product", b"bag"),
        ("part", b"tag"),
        ("authenticity", b"genuine"),
        ("item_id", b"i"),
    }
    client.enrol([b"x"], product="bag", idempotency_key="mine")
    client.enrol([b"x"], product="bag")
    assert service.requests[3].headers["idempotency-key"] == "mine"
    assert service.requests[4].headers["idempotency-key"] not in {"mine", *names}


def test_references_come_by_the_page():
    pages = [
        {"gallery_version": 1, "references": [RECORD | {"reference_id": "1"}], "after": "next"},
        {"gallery_version": 1, "references": [RECORD | {"reference_id": "2"}], "after": None},
    ]
    service = Service(*map(ok, pages))
    found = list(service.client().references(product="a/b", authenticity="genuine"))
    assert [reference.reference_id for reference in found] == ["1", "2"]
    assert [dict(sent.url.params) for sent in service.requests] == [
        {"product": "a/b", "authenticity": "genuine", "limit": "500"},
        {"product": "a/b", "authenticity": "genuine", "limit": "500", "after": "next"},
    ]


@pytest.mark.parametrize(
    ("ask", "method", "path", "answer"),
    [
        (lambda c: c.retire("a/b"), "DELETE", "/v1/references/a%2Fb", {"gallery_version": 2, "reference_id": "a/b"}),
        (lambda c: c.products(), "GET", "/v1/products", {"gallery_version": 2, "products": []}),
        (lambda c: c.versions(), "GET", "/v1/gallery/versions", {"current": 2, "versions": []}),
        (lambda c: c.rollback(1), "POST", "/v1/gallery/versions/1/rollback", {"gallery_version": 3, "restored": 1}),
        (lambda c: c.ready(), "GET", "/readyz", {"status": "ready"}),
    ],
)
def test_the_other_calls(ask, method, path, answer):
    service = Service(ok(answer))
    told = ask(service.client()).model_dump(mode="json")
    assert answer.items() <= told.items()
    (sent,) = service.requests
    assert (sent.method, sent.url.raw_path.decode()) == (method, path)


def test_a_thumbnail_is_bytes():
    service = Service(httpx.Response(200, content=b"\xff\xd8"))
    assert service.client().thumbnail("ref-1") == b"\xff\xd8"


def test_certificates_are_checked(tmp_path):
    public_key = make_key(tmp_path / "key.pem")
    issued = Issuer(tmp_path / "key.pem", "desk").issue([a_verdict()], None, "content")
    forged = issued.model_copy(update={"issuer": "someone else"})
    service = Service(*[httpx.Response(200, content=one.model_dump_json()) for one in (issued, issued, forged)])
    client = service.client()
    assert client.certificate(b"x", public_key=public_key) == issued
    with pytest.raises(CertificateError, match="another issuer"):
        client.certificate(b"x", public_key="0" * 64)
    with pytest.raises(CertificateError, match="changed"):
        client.certificate(b"x")
    page = Service(httpx.Response(200, text="<html>"))
    assert page.client().certificate_html(b"x") == "<html>"
    assert page.requests[0].headers["accept"] == "text/html"


def test_a_refusal_for_now_is_waited_out(pauses):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    service = Service(refusal(429, "3"), refusal(503, later), refusal(503), ok(VERDICT))
    assert service.client().verdict(b"x") == a_verdict()
    assert pauses[0] == 3
    assert 15 < pauses[1] <= 20
    assert 0 < pauses[2] <= 8
    assert [form_of(sent)[0][2] for sent in service.requests] == [b"x"] * 4


def test_patience_ends(pauses):
    service = Service(refusal(429, "1"))
    with pytest.raises(ServiceError) as ended:
        service.client(retries=2).verdict(b"x")
    assert len(service.requests) == 3
    assert (ended.value.status, ended.value.retry_after) == (429, 1.0)
    # A quota that is spent for today is no reason to wait till tomorrow.
    quota = Service(refusal(429, "50000", reason="quota"))
    with pytest.raises(ServiceError) as ended:
        quota.client().verdict(b"x")
    assert len(quota.requests) == 1
    assert (ended.value.retry_after, ended.value.reason) == (50_000, "quota")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500, 502])
def test_other_errors_are_told_at_once(pauses, status):
    service = Service(refusal(status, title="Unusable photograph", detail="found a cat", reason="corrupt"))
    with pytest.raises(ServiceError, match="Unusable photograph: found a cat") as ended:
        service.client().verdict(b"x")
    error = ended.value
    assert (error.status, error.title, error.detail) == (status, "Unusable photograph", "found a cat")
    assert (error.reason, error.request_id) == ("corrupt", "request-1")
    assert len(service.requests) == 1
    assert pauses == []
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_an_answer_that_is_no_problem_document_is_an_error_too(pauses):
    for answer in (httpx.Response(502, text="<h1>proxy</h1>"), httpx.Response(502, json=["x"])):
        with pytest.raises(ServiceError, match="Bad Gateway"):
            Service(answer).client(retries=1).products()
    for answer in (httpx.Response(200, text="<h1>hello</h1>"), ok({"other": "service"}), ok([])):
        with pytest.raises(ServiceError, match="Unintelligible answer"):
            Service(answer).client().products()
        with pytest.raises(ServiceError, match="Unintelligible answer"):
            Service(answer).client().verdict(b"x")
    with pytest.raises(ServiceError, match="301"):
        Service(httpx.Response(301, headers={"location": "http://elsewhere"})).client().products()


def test_an_error_of_the_proxy_in_place_of_an_answer_is_tried_again(pauses):
    died = httpx.Response(500, text="Internal Server Error")
    service = Service(died, ok(VERDICT))
    assert service.client().verdict(b"x") == a_verdict()
    assert len(service.requests) == 2
    service = Service(died, ok({"gallery_version": 3, "restored": 1}))
    with pytest.raises(ServiceError, match="Internal Server Error"):
        service.client().rollback(1)
    assert len(service.requests) == 1


def test_what_may_not_be_done_twice_is_not_repeated(pauses):
    for failure in (httpx.ReadError("cut"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("gone")):
        for ask in (lambda client: client.rollback(1), lambda client: client.retire("r")):
            service = Service(failure)
            with pytest.raises(ServiceError, match=r"No answer: http://service:1/: \w+") as ended:
                ask(service.client())
            assert len(service.requests) == 1
            assert ended.value.status == 0
    service = Service(refusal(503))
    with pytest.raises(ServiceError):
        service.client().rollback(1)
    assert len(service.requests) == 1
    # What never left may be sent again.
    service = Service(httpx.ConnectError("refused"), ok({"gallery_version": 3, "restored": 1}))
    assert service.client().rollback(1).restored == 1


def test_lost_connections_are_made_again_where_that_does_no_harm(pauses):
    service = Service(httpx.ReadError("cut"), httpx.ConnectError("refused"), ok(VERDICT))
    assert service.client().verdict(b"x") == a_verdict()
    assert [form_of(sent)[0][2] for sent in service.requests] == [b"x"] * 3
    service = Service(httpx.ConnectError("refused"))
    with pytest.raises(ServiceError, match="is the service running there"):
        service.client(retries=3).ready()
    assert len(service.requests) == 4
    assert all(0 < pause <= 8 for pause in pauses)


def test_the_key_is_told_to_nobody(caplog, pauses):
    service = Service(refusal(429, "1"), refusal(401, title="Not authenticated"))
    client = service.client()
    with caplog.at_level(logging.DEBUG), pytest.raises(ServiceError) as ended:
        client.verdict(b"x")
    assert "secret" not in caplog.text + repr(client) + str(ended.value) + repr(ended.value) + repr(vars(ended.value))
    for key in ("two words", "new\nline", "", "schlüssel"):
        with pytest.raises(DataError) as refused:
            service.client(key=key)
        assert not key or key not in str(refused.value)


def test_without_a_key_none_is_sent():
    service = Service(ok({"status": "ready"}))
    service.client(key=None).ready()
    assert "authorization" not in service.requests[0].headers


@pytest.mark.parametrize("url", ["", "service:8000", "ftp://service", "http://", "http://[::1"])
def test_a_wrong_address_is_told_at_once(url):
    with pytest.raises(DataError, match="url: found"):
        Client(url)


def test_wrong_arguments_send_nothing(tmp_path):
    service = Service(ok(VERDICT))
    client = service.client()
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read"):
        client.verdict(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match="found none"):
        client.verdict()
    with pytest.raises(DataError, match="found 2 for 1"):
        client.verdict(b"x", boxes=[None, None])
    assert service.requests == []


def test_the_asynchronous_client_does_the_same(pauses, tmp_path):
    (tmp_path / "tag.jpg").write_bytes(b"JPEG")
    page = {"gallery_version": 1, "references": [RECORD | {"reference_id": "1"}], "after": None}
    service = Service(
        refusal(429, "2"), httpx.ReadError("cut"), ok(VERDICT), httpx.Response(201, json=ENROLLED), ok(page)
    )

    async def ask() -> None:
        transport = httpx.MockTransport(service)
        async with AsyncClient("http://service:1", KEY, transport=transport) as client:
            assert await client.verdict(tmp_path / "tag.jpg", overlays=True) == a_verdict()
            assert await client.enrol([b"x"], product="bag") == EnrolmentAnswer(**ENROLLED)
            assert [reference.reference_id async for reference in client.references()] == ["1"]
            service.answers = [refusal(403, title="Not allowed")]
            with pytest.raises(ServiceError, match="Not allowed"):
                await client.rollback(1)

    asyncio.run(ask())
    assert pauses[0] == 2
    assert service.requests[0].url.params["overlays"] == "true"
    assert form_of(service.requests[2]) == [("photograph", "tag.jpg", b"JPEG")]


def test_both_clients_have_the_same_calls():
    def calls(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(call).parameters)
            for name, call in vars(kind).items()
            if not name.startswith("_") and callable(call)
        }

    assert calls(Client) == calls(AsyncClient)


def test_threads_share_a_client():
    from concurrent.futures import ThreadPoolExecutor

    client = Service(ok(VERDICT)).client()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: client.verdict(b"x").image_id, range(50))) == {"a" * 64}


def test_it_is_there_without_torch_and_ray():
    code = (
        "import sys, hallmark; assert 'httpx' not in sys.modules; hallmark.Client, hallmark.AsyncClient; "
        "print([name for name in ('torch', 'ray', 'lance', 'cryptography') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
    with pytest.raises(ImportError):
        from hallmark import Clients  # noqa: F401


def test_a_real_connection_that_is_refused_is_told(pauses):
    with pytest.raises(ServiceError, match="No answer"), Client("http://127.0.0.1:9", retries=1) as client:
        client.ready()
