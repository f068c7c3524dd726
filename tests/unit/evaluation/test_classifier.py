"""An untrained bundle that classifies: calibrated, examined, assessed and certified, with a gallery and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hallmark.data.manifest import read_manifest, rows_with
from hallmark.errors import BundleError, CertificateError, ConfigError, GalleryError
from hallmark.evaluation.assessment import assess
from hallmark.evaluation.batch import VerifyBatchConfig, verify_batch
from hallmark.evaluation.expert import Expert
from hallmark.evaluation.protocol import EvaluateConfig, calibrate, examine_files
from hallmark.evaluation.recomputation import recompute
from hallmark.gallery.describe import Describer, describe_located, located
from hallmark.gallery.store import enrolable, write_references
from hallmark.serving.certificate import Issuer, certificate_html, check_certificate, make_key
from hallmark.training.bundle import open_bundle, write_bundle
from hallmark.types import VerdictLabel
from hallmark.verdict.calibration import CalibrationConfig, calibration_of
from hallmark.verdict.items import fuse

BY_CLASSES = CalibrationConfig(mode="classifier")


def describe(bundle, photographs):
    """The in-process stand-in for the cluster."""
    return describe_located(Describer(bundle), photographs)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, write_manifest) -> Path:
    """Two of each product and authenticity in each role."""
    return write_manifest(tmp_path_factory.mktemp("pictures"), ["train", "val", "test"] * 2)


def raw_copy(bundle, manifest, place):
    """The same weights, uncalibrated, as if trained on the manifest."""
    run = bundle.run.model_copy(update={"manifest": str(manifest)})
    return write_bundle(place, bundle.build_method().state_dict(), run, bundle.products, {"epochs": []}, {})


@pytest.fixture(scope="module")
def calibrated(classifier, manifest, tmp_path_factory):
    return calibrate(raw_copy(classifier, manifest, tmp_path_factory.mktemp("kag") / "b"), BY_CLASSES, describe)


@pytest.fixture(scope="module")
def enrolled(calibrated, manifest, tmp_path_factory):
    """A gallery of the training photographs."""
    train = rows_with(read_manifest(manifest), ("train",), ("genuine", "counterfeit"))
    references = enrolable(train, describe(calibrated, located(train)))
    place = tmp_path_factory.mktemp("gallery") / "g.lance"
    return write_references(place, references, calibrated.bundle_id, calibrated.embedding_id)


@pytest.fixture(scope="module")
def tests(manifest) -> list[Path]:
    """The in-domain test photographs."""
    return [
        Path(row["uri"])
        for row in rows_with(read_manifest(manifest), ("test",), ("genuine", "counterfeit")).to_pylist()
    ]


def test_it_is_calibrated_by_its_log_odds(calibrated):
    fitted = calibration_of(calibrated)
    assert (fitted.mode, fitted.fused, fitted.one_class) == ("classifier", None, None)
    assert (fitted.num_genuine, fitted.num_counterfeit) == (4, 4)
    assert 0 < fitted.slope <= 1
    assert -1 < fitted.threshold_global < 1
    assert fitted.threshold_inliers is None


def test_modes_and_bundles_that_do_not_go_together_are_refused_by_name(bundle, classifier):
    with pytest.raises(ConfigError, match=r"calibration\.mode: found fused, and the bundle classifies"):
        calibrate(classifier, CalibrationConfig(), describe)
    with pytest.raises(ConfigError, match=r"calibration\.mode: found classifier, and the bundle does not classify"):
        calibrate(bundle, BY_CLASSES, describe)


def test_without_a_gallery_it_judges_every_photograph(calibrated, tests):
    expert = Expert.open(calibrated.path)
    described = describe(calibrated, located(pa.table({"uri": [str(path) for path in tests], "box": [None] * 8})))
    for outcome, path in zip(described, tests, strict=True):
        verdict = expert.examine(path.read_bytes())
        classified = outcome.described.classified
        assert verdict.product == classified.product
        assert verdict.scores.decision == pytest.approx(classified.log_odds(), abs=1e-4)
        assert verdict.gallery_version == 0
        assert (verdict.references, verdict.scores.global_similarity, verdict.part) == ([], None, None)
        assert verdict.verdict != VerdictLabel.NOT_IN_GALLERY
        for product in "ab":
            asked = expert.examine(path.read_bytes(), product=product)
            assert asked.product == product
            assert asked.scores.decision == pytest.approx(classified.log_odds(product), abs=1e-4)
    unknown = expert.examine(tests[0].read_bytes(), product="c")
    assert (unknown.verdict, unknown.product) == (VerdictLabel.NOT_IN_GALLERY, None)
    assert "not trained on" in unknown.reason


def test_a_gallery_changes_what_is_shown_and_not_the_score(calibrated, enrolled, tests):
    without, with_gallery = Expert.open(calibrated.path), Expert.open(calibrated.path, enrolled.uri)
    for path in tests:
        ours, theirs = without.examine(path.read_bytes()), with_gallery.examine(path.read_bytes())
        assert ours.scores.decision == theirs.scores.decision
        assert theirs.gallery_version == enrolled.version
        assert theirs.references
        assert theirs.scores.global_similarity is not None
        if theirs.product is not None:
            assert {reference.product for reference in theirs.references} == {theirs.product} == {ours.product}
        assert (theirs.scores.match_genuine, theirs.cue_pairs, theirs.residual_map) == (None, [], None)


def test_another_bundle_wants_its_gallery(bundle, tests):
    with pytest.raises(GalleryError, match="gallery: missing"):
        examine_files(bundle.path, None, tests)


@pytest.mark.parametrize("has_gallery", [False, True])
def test_a_whole_evaluation(calibrated, enrolled, manifest, tmp_path, has_gallery):
    paths = {"manifest": str(manifest), "bundle": str(calibrated.path), "out": str(tmp_path / "out")}
    config = EvaluateConfig(**paths, gallery=enrolled.uri if has_gallery else None, num_examples=4)
    evaluation, report = assess(config, describe)
    assert evaluation.photographs == 10
    assert (evaluation.retrieval_global is not None) == has_gallery
    assert bool(evaluation.rejection.rules) == has_gallery
    assert evaluation.costs.num_references == (8 if has_gallery else 0)
    assert (evaluation.costs.bytes_per_reference is not None) == has_gallery
    assert evaluation.gallery_versions == [1 if has_gallery else 0]
    assert evaluation.class_accuracy.n == 8
    assert evaluation.class_accuracy.k <= min(evaluation.accuracy.k, evaluation.product_accuracy.k)
    assert {"classifier_logit", "decision"} <= set(evaluation.evidence)
    text = report.read_text()
    assert "KAG-MTLN on 2 products" in text
    assert "product and authenticity told rightly" in text
    json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_batch_without_a_gallery(calibrated, manifest, tmp_path):
    config = VerifyBatchConfig(photographs=str(manifest), bundle=str(calibrated.path), out=str(tmp_path))
    assert len(verify_batch(config, describe)) == 26
    rows = pq.read_table(tmp_path / "verdicts.parquet").to_pylist()
    assert {(row["gallery_version"], row["global_similarity"], row["error"]) for row in rows} == {(0, None, None)}


@pytest.mark.parametrize("has_gallery", [False, True])
def test_certificates_are_recomputed_to_the_bit(calibrated, enrolled, tests, tmp_path, has_gallery):
    make_key(tmp_path / "key.pem")
    issuer, gallery = Issuer(tmp_path / "key.pem", "desk"), enrolled.uri if has_gallery else None
    expert = Expert.open(calibrated.path, gallery)
    verdicts = [expert.examine(path.read_bytes()) for path in tests[:2]]
    issued = issuer.issue(verdicts, fuse(verdicts, expert.calibration), expert.gallery.content_id)
    certificate = check_certificate(issued.model_dump_json().encode(), issuer.public_key)
    told = recompute(certificate, calibrated.path, gallery, tests[:2])
    assert (told.difference, told.largest) == (None, 0.0)
    page = certificate_html(certificate)
    assert ("none: the bundle classifies by itself" in page) == (not has_gallery)
    if has_gallery:
        with pytest.raises(GalleryError, match=r"gallery: missing; wanted the one that version 1 is of"):
            recompute(certificate, calibrated.path, None, tests[:2])
    else:
        with pytest.raises(CertificateError, match=r"gallery_content_id: found \w+ in .*; the certificate names none"):
            recompute(certificate, calibrated.path, enrolled.uri, tests[:2])


def test_its_log_odds_are_evidence_of_another_bundle(bundle, calibrated, manifest, tests, tmp_path):
    raw = raw_copy(bundle, manifest, tmp_path / "fod")
    plain = calibrate(raw, CalibrationConfig(num_candidates=3), describe)
    whole = calibrate(raw, CalibrationConfig(num_candidates=3, classifier=str(calibrated.path)), describe)
    assert (whole.embedding_id, whole.classifier.bundle_id) == (plain.embedding_id, calibrated.bundle_id)
    assert whole.bundle_id != plain.bundle_id
    assert "classifier_logit" in calibration_of(whole).fused.terms
    assert "classifier_logit" in calibration_of(plain).fused.left_out
    # The copy inside is all that is needed.
    shutil.copytree(whole.path, tmp_path / "elsewhere")
    train = rows_with(read_manifest(manifest), ("train",), ("genuine", "counterfeit"))
    gallery = write_references(
        tmp_path / "g.lance",
        enrolable(train, describe(plain, located(train))),
        plain.bundle_id,
        plain.embedding_id,
    )
    expert, own = Expert.open(tmp_path / "elsewhere", gallery.uri), Describer(calibrated)
    for path in tests:
        verdict = expert.examine(path.read_bytes())
        (alone,) = own.describe([own.read(path.read_bytes())])
        product = verdict.references[0].product
        assert verdict.scores.classifier_logit == alone.classified.log_odds(product)
    again = calibrate(open_bundle(whole.path), CalibrationConfig(num_candidates=3), describe)
    assert (again.classifier, again.calibration) == (None, plain.calibration)


def test_only_a_bundle_that_classifies_can_be_evidence(bundle, manifest, tmp_path):
    raw = raw_copy(bundle, manifest, tmp_path / "fod")
    with pytest.raises(BundleError, match="does not classify"):
        calibrate(raw, CalibrationConfig(classifier=str(bundle.path)), describe)
    assert open_bundle(raw.path) == raw
