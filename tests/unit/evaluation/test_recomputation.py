"""Certificates computed anew: identical, different, or of something else."""

from __future__ import annotations

import shutil

import pytest

from hallmark.errors import CertificateError, GalleryError
from hallmark.evaluation.expert import Expert
from hallmark.evaluation.recomputation import recompute
from hallmark.serving.certificate import Issuer, check_certificate, make_key
from hallmark.training.bundle import open_bundle, write_calibration
from hallmark.types import VerdictLabel
from hallmark.verdict.decide import DecisionConfig
from hallmark.verdict.items import fuse

BOX = (4.0, 4.0, 60.0, 50.0)


@pytest.fixture
def certify(bundle, gallery, photographs, tmp_path):
    """Issues a certificate about two photographs, one of them boxed."""
    make_key(tmp_path / "key.pem")
    issuer = Issuer(tmp_path / "key.pem", "desk")

    def make(numbers=(6, 7), change=lambda verdict: verdict, decision=None, **told):
        settings = DecisionConfig(**(decision or {}))
        expert = Expert.open(bundle.path, gallery.uri, None, settings)
        boxes = [BOX, None][: len(numbers)]
        verdicts = [
            expert.examine((photographs / f"photo-{number}.png").read_bytes(), box)
            for number, box in zip(numbers, boxes, strict=True)
        ]
        item = fuse(verdicts, expert.calibration) if len(verdicts) > 1 else None
        content_id = told.pop("content_id", gallery.content_id)
        verdicts = [verdict.model_copy(update={"request_id": "r"}) for verdict in map(change, verdicts)]
        issued = issuer.issue(verdicts, item, content_id, boxes=boxes, decision=decision, **told)
        return check_certificate(issued.model_dump_json().encode(), issuer.public_key)

    return make


@pytest.fixture
def again(bundle, gallery, photographs):
    """Recomputes with the photographs 7 and 6."""

    def run(certificate, numbers=(7, 6), **told):
        paths = [photographs / f"photo-{number}.png" for number in numbers]
        return recompute(certificate, told.pop("bundle", bundle.path), told.pop("gallery", gallery.uri), paths, **told)

    return run


def test_the_same_verdicts_to_the_bit(certify, again):
    told = again(certify())
    assert (told.difference, told.largest) == (None, 0.0)


def test_settings_of_the_service_are_in_the_certificate(certify, again):
    certificate = certify(decision={"threshold_global": 0.9999, "num_candidates": 2})
    assert again(certificate).difference is None
    without = certificate.model_copy(update={"decision": {}})
    with pytest.raises(CertificateError, match="config_hash: found"):
        again(without)


def test_the_first_difference_is_named_with_both_values(certify, again):
    def change(verdict):
        scores = verdict.scores.model_copy(update={"global_similarity": verdict.scores.global_similarity - 0.25})
        return verdict.model_copy(update={"scores": scores})

    told = again(certify(change=change))
    assert told.difference.field == "verdicts.0.scores.global_similarity"
    assert told.difference.certified == pytest.approx(told.difference.recomputed - 0.25)
    assert told.largest == pytest.approx(0.25)
    assert str(told.difference).startswith("verdicts.0.scores.global_similarity: certified 0.")


def test_lists_of_other_lengths_and_other_words_are_differences(certify, again):
    told = again(certify(change=lambda verdict: verdict.model_copy(update={"references": verdict.references[:-1]})))
    assert told.difference.field == "verdicts.0.references (length)"
    told = again(certify(change=lambda verdict: verdict.model_copy(update={"reason": "because"})))
    assert told.difference.field == "verdicts.0.reason"


def test_a_tolerance_is_for_numbers_alone(certify, again):
    def nudge(verdict):
        scores = verdict.scores.model_copy(update={"global_similarity": verdict.scores.global_similarity + 1e-6})
        return verdict.model_copy(update={"scores": scores, "reason": verdict.reason.replace("0", "1")})

    certificate = certify(change=nudge)
    assert again(certificate).difference is not None
    told = again(certificate, tolerance=1e-5)
    assert told.difference is None
    assert told.largest == pytest.approx(1e-6, rel=0.1)
    assert again(certificate, tolerance=1e-7).difference is not None
    changed = certify(change=lambda verdict: verdict.model_copy(update={"verdict": VerdictLabel.INCONCLUSIVE}))
    assert again(changed, tolerance=0.5).difference.field == "verdicts.0.verdict"


def test_an_item_that_was_certified_otherwise_is_a_difference(certify, again):
    certificate = certify()
    item = certificate.item.model_copy(update={"reason": "other"})
    assert again(certificate.model_copy(update={"item": item})).difference.field == "item.reason"


def test_only_the_certified_things_are_compared(certify, again, bundle, tmp_path):
    certificate = certify()
    with pytest.raises(CertificateError, match=r"photo-5\.png: has the SHA-256 .*does not name"):
        again(certificate, numbers=(7, 6, 5))
    with pytest.raises(CertificateError, match=r"photographs: [0-9a-f]{64} missing"):
        again(certificate, numbers=(7,))
    with pytest.raises(CertificateError, match="gallery_content_id: found"):
        again(certify(content_id="0" * 16))
    with pytest.raises(GalleryError, match="version 9"):
        again(certificate.model_copy(update={"gallery_version": 9}))
    other = tmp_path / "other"
    shutil.copytree(bundle.path, other)
    write_calibration(other, open_bundle(other).calibration | {"f1": 0.5})
    with pytest.raises(CertificateError, match=f"bundle_id: found .* the certificate names {bundle.bundle_id}"):
        again(certificate, bundle=other)
