"""The client at the real door: what it sends is understood, what is answered it reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from hallmark.client import AsyncClient
from hallmark.errors import ServiceError
from hallmark.serving.auth import Detail, Scope
from hallmark.serving.certificate import Issuer, check_certificate, make_key
from hallmark.serving.schema import ItemAnswer, VerdictAnswer
from hallmark.types import VerdictLabel


@pytest.fixture
def ask(door):
    """Runs calls of a client with a key of every scope, or with the key given."""

    def run(calls: Callable[[AsyncClient], Awaitable], key: str | None = None):
        async def asked():
            transport = httpx.ASGITransport(door.app, raise_app_exceptions=False, client=("127.0.0.1", 1))
            token = key or door.add(*Scope)
            async with AsyncClient("http://localhost:8000", token, retries=0, transport=transport) as client:
                return await calls(client)

        return asyncio.run(asked())

    return run


def test_verdicts(ask, door):
    one = ask(lambda client: client.verdict(b"one", product="bag", boxes=[(1, 2, 3.5, 4)]))
    assert one.verdict == VerdictLabel.GENUINE
    assert door.graph.seen == [b"one"]
    assert door.graph.boxes == [(1.0, 2.0, 3.5, 4.0)]
    assert door.graph.asks[0].product == "bag"
    seen = ask(lambda client: client.verdict(b"one", overlays=True))
    assert isinstance(seen, VerdictAnswer)
    assert seen.overlays.residual
    item = ask(lambda client: client.verdict(b"one", b"two", boxes=[None, (1, 2, 3, 4)]))
    assert isinstance(item, ItemAnswer)
    assert len(item.photographs) == 2
    assert door.graph.boxes[-2:] == [None, (1.0, 2.0, 3.0, 4.0)]


def test_a_key_that_sees_the_label_alone(ask, door):
    key = door.add(Scope.VERIFY, detail=Detail.LABEL)
    told = ask(lambda client: client.verdict(b"one"), key)
    assert (told.scores, told.p_genuine, told.references) == (None, None, [])
    assert ask(lambda client: client.key(), key).detail == Detail.LABEL


def test_certificates(ask, door, tmp_path):
    with pytest.raises(ServiceError, match="No certificates"):
        ask(lambda client: client.certificate(b"one"))
    public_key = make_key(tmp_path / "key.pem")
    door.services.issuer = Issuer(tmp_path / "key.pem", "desk")
    told = ask(lambda client: client.certificate(b"one", boxes=[(1, 2, 3, 4)], product="bag", public_key=public_key))
    assert check_certificate(told.model_dump_json().encode(), public_key) == told
    assert (told.issuer, told.boxes, told.product_asked) == ("desk", [(1.0, 2.0, 3.0, 4.0)], "bag")
    page = ask(lambda client: client.certificate_html(b"one"))
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/") == 4


def test_the_gallery(ask, door):
    async def calls(client: AsyncClient) -> None:
        enrolled = await client.enrol([b"one", b"two"], product="bag", part="tag", item_id="7", authenticity="genuine")
        assert enrolled.gallery_version > 0
        records = [record async for record in client.references(product="bag")]
        assert await client.thumbnail(records[0].reference_id) == b"\xff\xd8\xff of nothing"
        assert (await client.retire("a?b c")).reference_id == "a?b c"
        assert (await client.products()).products
        assert (await client.versions()).versions
        assert (await client.rollback(3)).restored == 3
        assert (await client.ready()).status == "ready"
        with pytest.raises(ServiceError, match="has no version 99") as ended:
            await client.rollback(99)
        assert (ended.value.status, len(ended.value.request_id)) == (404, 32)

    door.graph.references = _one_page(door.graph.references)
    ask(calls)
    enrolment = door.graph.enrolments[0]
    assert (enrolment.product, enrolment.part, enrolment.item_id) == ("bag", "tag", "7")
    assert len(enrolment.idempotency_key) == 32
    assert door.graph.listings[0][0].limit == 500


def _one_page(references):
    async def last_page(listing, bundle):
        return (await references(listing, bundle)).model_copy(update={"after": None})

    return last_page


def test_a_wrong_key_is_told_as_such(ask):
    with pytest.raises(ServiceError) as ended:
        ask(lambda client: client.verdict(b"one"), "hallmark_000000000000_wrong")
    assert ended.value.status == 401
