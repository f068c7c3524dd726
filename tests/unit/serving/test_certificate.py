"""Certificates: what is signed, and every way in which one is refused."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hallmark.errors import CertificateError
from hallmark.serving.certificate import (
    Certificate,
    Issuer,
    Pictures,
    certificate_html,
    check_certificate,
    compared,
    fingerprint,
    make_key,
    read_public_key,
)
from hallmark.types import CuePair, NearestReference, Quality, ResidualMap, Scores, Verdict
from hallmark.verdict.items import ItemVerdict

PNG = b"\x89PNG\r\n\x1a\n and the rest"


def verdict(image: str = "a", **told) -> Verdict:
    nearest = {"reference_id": "ref-1", "image_id": "1" * 64, "product": "bag", "part": "tag"}
    scores = {"global_similarity": 0.1 + 0.2, "global_genuine": 1e-7, "global_counterfeit": None}
    scores |= {"match_genuine": 1.0, "match_counterfeit": -0.0, "decision": -4.6416}
    scores |= {"threshold_global": 0.25, "threshold_genuine": 1.5, "threshold_counterfeit": -1.5}
    content = {
        "verdict": "counterfeit",
        "reason": "Decision score -4.642 as bag <script>alert(1)</script>.",
        "p_genuine": 0.01,
        "product": "bag",
        "part": "tag",
        "scores": Scores(**scores),
        "references": [
            NearestReference(**nearest, authenticity="genuine", global_similarity=0.5, match_score=0.25, num_matches=7)
        ],
        "cue_pairs": [CuePair(query=(0.25, 0.5), reference=(0.5, 0.75), similarity=0.9)],
        "residual_map": ResidualMap(rows=1, columns=2, values=[0.0, 2.5]),
        "quality": Quality(width=40, height=30, sharpness=100.0, brightness=0.5, clipped=0.0),
        "image_id": image * 64,
        "bundle_id": "b" * 16,
        "gallery_version": 3,
        "config_hash": "c" * 16,
        "request_id": "request-1",
        "timings_ms": {"describe": 20.5},
    }
    return Verdict(**content | told)


ITEM = ItemVerdict(
    verdict="inconclusive",
    reason="Log-likelihood ratio +0.10 over 2 photographs.",
    p_genuine=0.52,
    product="bag",
    log_likelihood_ratio=0.1,
    threshold_genuine=1.0,
    threshold_counterfeit=-1.0,
    parts=[{"part": "tag", "image_ids": ["a" * 64], "log_likelihood_ratio": 0.1, "p_genuine": 0.52}],
    set_aside=[],
    config_hash="c" * 16,
)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    make_key(tmp_path / "key.pem")
    return Issuer(tmp_path / "key.pem", "Zollstelle Zürich")


@pytest.fixture
def certificate(issuer: Issuer) -> Certificate:
    return issuer.issue([verdict()], None, "d" * 16, embedding_id="e" * 16, decision={"threshold_global": 0.25})


def plain(certificate: Certificate) -> dict:
    return json.loads(certificate.model_dump_json())


def test_a_key_is_its_owners_alone_and_made_once(tmp_path):
    file = tmp_path / "new" / "key.pem"
    public_key = make_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert make_key(file) == public_key == Issuer(file, "x").public_key
    assert make_key(tmp_path / "other.pem") != public_key
    assert re.fullmatch(r"([0-9a-f]{4} ){3}[0-9a-f]{4}", fingerprint(public_key))


def test_a_certificate_survives_every_layout_of_its_json(issuer, certificate):
    for data in (
        certificate.model_dump_json().encode(),
        json.dumps(plain(certificate)).encode(),
        json.dumps(plain(certificate), indent=3, sort_keys=True, ensure_ascii=False).encode(),
        plain(certificate),
    ):
        assert check_certificate(data, issuer.public_key) == certificate
    assert check_certificate(certificate.model_dump_json().encode()) == certificate


def test_whole_numbers_may_lose_their_point_on_the_way(issuer, certificate):
    # As JavaScript prints them.
    text = certificate.model_dump_json().replace('"match_genuine":1.0', '"match_genuine":1')
    assert text != certificate.model_dump_json()
    assert check_certificate(text.encode(), issuer.public_key) == certificate


def test_it_holds_what_it_takes_to_recompute(issuer):
    told = issuer.issue(
        [verdict("a"), verdict("b")],
        ITEM,
        "d" * 16,
        embedding_id="e" * 16,
        boxes=[(1, 2, 30.5, 40), None],
        product_asked="bag",
    )
    assert told.image_ids == ["a" * 64, "b" * 64]
    assert told.boxes == [(1.0, 2.0, 30.5, 40.0), None]
    assert (told.bundle_id, told.gallery_version, told.config_hash) == ("b" * 16, 3, "c" * 16)
    assert (told.gallery_content_id, told.embedding_id, told.product_asked) == ("d" * 16, "e" * 16, "bag")
    assert (told.issuer, told.item, told.public_key) == ("Zollstelle Zürich", ITEM, issuer.public_key)
    assert told.issued_at.utcoffset().total_seconds() == 0


def changes(content, path=()):
    """Every single change of a leaf, and every field left out: (where, changed copy)."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*path, key), {k: v for k, v in content.items() if k != key}
            for where, changed in changes(value, (*path, key)):
                yield where, content | {key: changed}
    elif isinstance(content, list) and content:
        yield path, content[:-1]
        for place, value in enumerate(content):
            for where, changed in changes(value, (*path, place)):
                yield where, [*content[:place], changed, *content[place + 1 :]]
    elif isinstance(content, str):
        yield path, content + "0"
    elif isinstance(content, int | float):
        yield path, content + 1
    else:
        yield path, "x"


def test_no_field_can_be_changed_or_left_out(issuer):
    content = plain(issuer.issue([verdict("a"), verdict("b")], ITEM, "d" * 16, boxes=[(1, 2, 3, 4), None]))
    check_certificate(content)
    accepted, tried = [], 0
    for where, changed in changes(content):
        tried += 1
        with suppress(CertificateError):
            accepted.append((where, check_certificate(changed)))
    assert accepted == []
    assert tried > 150


def test_no_byte_can_be_flipped(certificate):
    data = certificate.model_dump_json().encode()
    content = json.loads(data)
    for place in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 0x01
        try:
            said = check_certificate(bytes(flipped))
        except CertificateError:
            continue
        assert plain(said) == content, place


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c | {"format": "hallmark-certificate/9"},
            r"format: found 'hallmark-certificate/9'; wanted 'hallmark",
        ),
        (lambda c: {k: v for k, v in c.items() if k != "format"}, "format: found None"),
        (lambda c: {k: v for k, v in c.items() if k not in ("issuer", "boxes")}, "issuer, boxes: missing"),
        (lambda c: c | {"more": 1}, "more: unknown field"),
        (lambda c: c | {"issuer": "someone else"}, "signature: does not fit the content"),
        (lambda c: c | {"signature": "00" * 64}, "signature: does not fit"),
        (lambda c: c | {"signature": "short"}, "signature: found 'short'"),
        (lambda c: c | {"public_key": "00" * 32}, "signature: does not fit"),
        (lambda c: c | {"gallery_version": "3"}, "gallery_version: found '3'"),
        (lambda c: c | {"gallery_version": True}, "gallery_version: found True"),
        (lambda c: c | {"verdicts": []}, "verdicts: found"),
    ],
)
def test_what_is_wrong_is_said(certificate, change, said):
    with pytest.raises(CertificateError, match=said):
        check_certificate(change(plain(certificate)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[1]", "found a list at the top"),
        ("[" * 100_000, "is no JSON"),
        ('{"format": NaN}', "found the number NaN"),
        ('{"format": 1, "format": 2}', "'format': is there twice"),
        ('{"format": ' + "9" * 5000 + "}", "is no JSON"),
    ],
)
def test_what_is_no_certificate_is_refused(text, said):
    with pytest.raises(CertificateError, match=said):
        check_certificate(text.encode())


def test_numbers_that_are_not_finite_are_refused(certificate):
    text = certificate.model_dump_json().replace('"p_genuine":0.01', '"p_genuine":1e999')
    with pytest.raises(CertificateError, match="not finite"):
        check_certificate(text.encode())
    with pytest.raises(CertificateError):
        check_certificate(b"\xff\xfe")


def test_another_key_than_expected_is_refused(tmp_path, certificate):
    other = make_key(tmp_path / "other.pem")
    with pytest.raises(CertificateError, match=rf"wanted {other}.*another issuer"):
        check_certificate(plain(certificate), other)
    # The forger signs again, with a key of his own.
    forged = Issuer(tmp_path / "other.pem", certificate.issuer).issue([verdict(verdict="genuine")], None, "d" * 16)
    assert check_certificate(plain(forged)) == forged
    with pytest.raises(CertificateError, match="another issuer"):
        check_certificate(plain(forged), certificate.public_key)


@pytest.mark.parametrize("field", ["bundle_id", "gallery_version", "config_hash"])
def test_verdicts_that_do_not_go_together_are_not_certified(issuer, field):
    with pytest.raises(CertificateError, match=field):
        issuer.issue([verdict(), verdict(**{field: 9 if field == "gallery_version" else "f" * 16})], ITEM, "d" * 16)
    with pytest.raises(CertificateError, match="no verdict"):
        issuer.issue([], None, "d" * 16)
    with pytest.raises(CertificateError, match="boxes: found 2 for 1"):
        issuer.issue([verdict()], None, "d" * 16, boxes=[None, None])
    with pytest.raises(CertificateError, match="cannot be certified"):
        issuer.issue([verdict(p_genuine=float("nan"))], None, "d" * 16)


def test_times_and_request_ids_are_not_compared():
    one, other = verdict(), verdict(request_id="request-2", timings_ms={"describe": 1.0})
    assert one != other
    assert compared(one) == compared(other)
    assert compared(one) != compared(verdict(p_genuine=0.02))


def test_a_key_file_that_is_not_one_is_refused(tmp_path):
    open_to_all, torn, other = (tmp_path / name for name in ("open.pem", "torn.pem", "rsa.pem"))
    make_key(open_to_all)
    os.chmod(open_to_all, 0o644)
    torn.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n")
    key = rsa.generate_private_key(65537, 2048)
    kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    other.write_bytes(key.private_bytes(serialization.Encoding.PEM, *kinds))
    for file in (torn, other):
        file.chmod(0o600)
    for file, said in (
        (open_to_all, "chmod 600"),
        (torn, "no Ed25519"),
        (other, "no Ed25519"),
        (tmp_path / "gone", "gone"),
    ):
        with pytest.raises(CertificateError, match=said):
            Issuer(file, "x")
    with pytest.raises(CertificateError, match="no Ed25519"):
        make_key(torn)
    assert torn.read_text().startswith("-----BEGIN")


def test_public_keys_are_read_as_hex_or_from_files(tmp_path):
    public_key = make_key(tmp_path / "key.pem")
    (tmp_path / "public.txt").write_text(public_key.upper() + "\n")
    pem = Issuer(tmp_path / "key.pem", "x")._key.public_key()
    encoded = pem.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(encoded)
    for text in (public_key, public_key.upper(), str(tmp_path / "public.txt"), str(tmp_path / "public.pem")):
        assert read_public_key(text) == public_key
    (tmp_path / "torn").write_text("deadbeef")
    for text in (str(tmp_path / "torn"), str(tmp_path / "none"), "zz", str(tmp_path / "key.pem")):
        with pytest.raises(CertificateError):
            read_public_key(text)


def test_the_page_prints_by_itself(issuer):
    told = issuer.issue([verdict("a"), verdict("b", verdict="genuine")], ITEM, "d" * 16, boxes=[(1, 2, 30.5, 40), None])
    page = certificate_html(told, [Pictures(PNG, b"\xff\xd8\xff", PNG, PNG), Pictures()])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert not re.search(r"https?://|@import|url\(", page)
    assert page.count("<img") == page.count("data:image/") == 4
    assert "size: A4" in page
    assert "@media print" in page
    # In words and with a sign, not by colour alone.
    assert "Inconclusive" in page
    assert ">?</div>" in page
    assert "✕ Counterfeit" in page
    assert "✓ Genuine" in page
    for said in (
        told.bundle_id,
        told.gallery_content_id,
        told.config_hash,
        told.signature,
        "a" * 64,
        "1, 2, 30.5, 40 px",
    ):
        assert said in page, said
    assert re.search(r"Decision score</th><td[^>]*>.4\.642</td><td>genuine from 1\.5, counterfeit below .1\.5", page)


def test_pictures_must_be_as_many_and_such_as_browsers_show(certificate):
    assert "<img" not in certificate_html(certificate)
    with pytest.raises(CertificateError, match="found 2 for 1"):
        certificate_html(certificate, [Pictures(), Pictures()])
    with pytest.raises(CertificateError, match="no PNG"):
        certificate_html(certificate, [Pictures(b"<svg onload=...>")])
