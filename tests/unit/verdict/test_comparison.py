"""One gallery version and the queries that are held against it: by hand, and all the way from encoded bytes."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from hallmark.gallery.describe import Describer
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import GalleryWriter, Reference, write_references
from hallmark.types import Authenticity, Retrieved, VerdictLabel
from hallmark.verdict import comparison as compared
from hallmark.verdict.comparison import Comparison, Examiner
from hallmark.verdict.gates import QualityGate
from hallmark.verdict.template import VerificationConfig

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT


class Shelf:
    """References in memory, and how often it was asked for what."""

    def __init__(self, genuine, counterfeit=()):
        self._sides = {GENUINE: list(genuine), COUNTERFEIT: list(counterfeit)}
        self.asked = Counter()

    def details(self, rows):
        self.asked["details"] += 1
        everything = [*self._sides[GENUINE], *self._sides[COUNTERFEIT]]
        return [everything[row].details for row in rows]

    def members(self, product, part, authenticity, limit):
        self.asked[product, part, authenticity] += 1
        return self._sides[authenticity][:limit]

    def member_ids(self, product, part, authenticity, limit):
        return [member.reference_id for member in self._sides[authenticity][:limit]]

    def follow(self, older):
        self.asked["follow"] += 1


@pytest.fixture
def shelf(genuine, counterfeit) -> Shelf:
    return Shelf(genuine[:4], counterfeit)


def test_a_template_is_made_once(studio, shelf, genuine, counterfeit):
    comparison = Comparison(shelf, 0.5, VerificationConfig(num_members=3))
    found = studio.retrieved(genuine[:4], counterfeit)
    first = comparison.evidence(studio.described(studio.photographed("genuine", 100)), found)
    again = comparison.evidence(studio.described(studio.photographed("genuine", 100)), found)
    assert first.features() == again.features()
    assert shelf.asked == {"details": 2, ("a", "whole", GENUINE): 1, ("a", "whole", COUNTERFEIT): 1}
    assert len(comparison.template("a", "whole").genuine) == 3


def test_threads_share_one_template(studio, shelf, genuine, counterfeit):
    comparison = Comparison(shelf, 0.5, VerificationConfig())
    found = studio.retrieved(genuine[:4], counterfeit)
    query = studio.described(studio.photographed("counterfeit", 100))
    told = []
    threads = [threading.Thread(target=lambda: told.append(comparison.evidence(query, found))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shelf.asked["a", "whole", GENUINE] == 1
    assert len(told) == 4
    assert all(one.features() == told[0].features() for one in told)


def test_parts_have_templates_of_their_own(studio, shelf, genuine):
    comparison = Comparison(shelf, 0.5, VerificationConfig(geometry={"apple": "none"}))
    assert comparison.template("a", "apple").kind == "none"
    assert comparison.template("a", "whole").kind == "homography"
    assert comparison.template("a", "apple") is comparison.template("a", "apple")


def test_a_template_is_kept_where_its_members_are_the_same(shelf, genuine, counterfeit):
    comparison = Comparison(shelf, 0.5, VerificationConfig())
    made = comparison.template("a", "whole")
    same = Shelf(genuine[:4], counterfeit)
    after = comparison.updated(same)
    assert after.template("a", "whole") is made
    assert same.asked == {"follow": 1}
    # Asked for in none of the versions between, it is kept all the same.
    assert after.updated(Shelf(genuine[:4], counterfeit)).updated(shelf).template("a", "whole") is made
    for others in (Shelf(genuine[:3], counterfeit), Shelf(genuine[:4]), Shelf(genuine[1:5], counterfeit)):
        fresh = after.updated(others).template("a", "whole")
        assert fresh is not made
        assert [placed.member for placed in fresh.genuine] == others.members("a", "whole", GENUINE, 12)
    assert comparison.template("a", "whole") is made


def test_rows_of_another_version_are_not_confused(studio, genuine):
    """The row that one version has for a reference is another's in the next."""
    comparison = Comparison(Shelf(genuine[:4]), 0.5, VerificationConfig())
    query = studio.described(studio.photographed("genuine", 100))
    comparison.evidence(query, studio.retrieved(genuine[:4]))
    fewer = Shelf(genuine[1:4])
    found = studio.retrieved(genuine[1:4])
    updated = comparison.updated(fewer).evidence(query, found)
    anew = Comparison(fewer, 0.5, VerificationConfig()).evidence(query, found)
    assert updated.features() == anew.features()
    assert updated.cue_pairs == anew.cue_pairs
    assert updated.residual_map == anew.residual_map


def test_no_more_templates_are_kept_than_there_is_room_for(shelf, monkeypatch):
    monkeypatch.setattr(compared, "_TEMPLATES", 3)
    comparison = Comparison(shelf, 0.5, VerificationConfig())
    made = {part: comparison.template("a", part) for part in "pqrst"}
    assert comparison.template("a", "r") is made["r"]
    comparison.template("a", "u")
    assert comparison.template("a", "r") is made["r"]
    assert comparison.template("a", "s") is not made["s"]
    assert len(comparison._templates) == 3


@pytest.fixture
def in_force(calibration):
    """A calibration that rejects, gates and judges."""
    gate = QualityGate(least_sharpness=1e-4, least_brightness=0.2, most_brightness=0.97, most_clipped=0.9)
    return calibration.model_copy(update={"threshold_global": 0.5, "quality": gate, "threshold_match": 0.5})


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, float("nan")])
@pytest.mark.parametrize("sharpness", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("kind", ["genuine", "counterfeit"])
def test_stopping_early_changes_no_verdict(studio, shelf, genuine, counterfeit, in_force, similarity, sharpness, kind):
    query = studio.described(studio.photographed(kind, 100))
    query = dataclasses.replace(query, quality=query.quality.model_copy(update={"sharpness": sharpness}))
    found = studio.retrieved(genuine[:2], counterfeit, similarity)
    verdicts = []
    for stop in (True, False):
        verification = VerificationConfig(stop_when_settled=stop, num_members=2)
        told = in_force.model_copy(update={"verification": verification})
        shelf.asked.clear()
        verdicts.append(Examiner(shelf, told, "bundle").examine(query, found))
        settled = similarity < 0.5 or sharpness < 1e-4
        assert bool(shelf.asked) == (not settled or not stop)
    one, other = verdicts
    assert (one.verdict, one.reason, one.p_genuine) == (other.verdict, other.reason, other.p_genuine)
    assert (one.product, one.part) == (other.product, other.part)
    assert [reference.reference_id for reference in one.references] == [r.reference_id for r in other.references]


def test_an_empty_gallery_is_asked_for_nothing(studio, calibration):
    shelf = Shelf([])
    query = studio.described(studio.photographed("genuine", 100))
    nothing = Retrieved(None, None, -1.0, (), 1)
    for stop in (True, False):
        told = calibration.model_copy(update={"verification": VerificationConfig(stop_when_settled=stop)})
        verdict = Examiner(shelf, told, "bundle").examine(query, nothing)
        assert verdict.verdict == VerdictLabel.NOT_IN_GALLERY
        assert (verdict.references, verdict.residual_map, verdict.product) == ([], None, None)
    assert not any(isinstance(key, tuple) for key in shelf.asked)


def test_a_counterfeit_alone_is_no_standard(studio, counterfeit, calibration):
    query = studio.described(studio.photographed("genuine", 100))
    verdict = Examiner(Shelf([], counterfeit), calibration, "b").examine(query, studio.retrieved([], counterfeit))
    assert verdict.verdict == VerdictLabel.INCONCLUSIVE
    assert "No genuine reference" in verdict.reason


# From encoded bytes, through a network with random weights, a store and an index.


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def describer(bundle) -> Describer:
    return Describer(bundle)


@pytest.fixture(scope="module")
def photograph(studio):
    """An encoded shot of a label."""
    return lambda kind, seed: encoded(np.repeat(studio.shot(studio.label(kind), seed)[:, :, None], 3, axis=2))


@pytest.fixture(scope="module")
def gallery_of(describer, tmp_path_factory):
    """A gallery of encoded photographs."""

    def enrol(*photographs: tuple[bytes, Authenticity]):
        described = describer.describe([describer.read(data) for data, _ in photographs])
        references = [
            Reference(one, "a", "whole", f"item{number}", side, b"")
            for number, (one, (_, side)) in enumerate(zip(described, photographs, strict=True))
        ]
        return write_references(tmp_path_factory.mktemp("enrolled") / "g.lance", references, "bundle", "embedding")

    return enrol


@pytest.fixture(scope="module")
def enrolled(gallery_of, photograph):
    shots = [(photograph("genuine", seed), GENUINE) for seed in range(4)]
    return gallery_of(*shots, (photograph("counterfeit", 50), COUNTERFEIT))


@pytest.fixture(scope="module")
def examine(describer, calibration):
    """The verdict about encoded bytes."""

    def verdict(gallery, data: bytes, told=calibration):
        query = describer.describe([describer.read(data)])[0]
        found = GalleryIndex(gallery).retrieve(query.descriptor, 5)
        return Examiner(gallery, told, "bundle").examine(query, found)

    return verdict


def is_whole(verdict) -> None:
    """Nothing in it that is not finite, and it can be sent."""
    numbers = [value for value in verdict.scores.model_dump().values() if value is not None]
    numbers += verdict.residual_map.values if verdict.residual_map else []
    numbers += [number for pair in verdict.cue_pairs for number in (*pair.query, *pair.reference, pair.similarity)]
    assert np.isfinite(numbers).all()
    text = verdict.model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_an_enrolled_photograph_is_genuine(examine, gallery_of, photograph):
    """The very bytes: alone, among others, and against an enrolled counterfeit."""
    own = photograph("genuine", 0)
    galleries = [
        gallery_of((own, GENUINE)),
        gallery_of((own, GENUINE), (photograph("genuine", 1), GENUINE)),
        gallery_of((own, GENUINE), (photograph("counterfeit", 50), COUNTERFEIT)),
    ]
    for gallery in galleries:
        verdict = examine(gallery, own)
        is_whole(verdict)
        assert verdict.verdict == VerdictLabel.GENUINE
        scores = verdict.scores
        assert scores.match_genuine == pytest.approx(1.0, abs=5e-3)
        assert scores.inlier_ratio == pytest.approx(1.0, abs=0.05)
        assert scores.cue_agreement == pytest.approx(1.0, abs=5e-3)
        assert scores.surface_agreement == pytest.approx(1.0, abs=5e-3)
        assert scores.global_genuine == pytest.approx(1.0, abs=1e-3)
        assert verdict.references[0].image_id == verdict.image_id


def test_one_photograph_enrolled_as_both_is_defined(examine, gallery_of, photograph):
    own = photograph("genuine", 0)
    verdict = examine(gallery_of((own, GENUINE), (own, COUNTERFEIT)), own)
    is_whole(verdict)
    assert verdict.scores.decision == pytest.approx(0.0, abs=1e-6)


def strange_pictures(side: int = 120) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    print_like = cv2.resize(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (side, side))
    return {
        "black": np.zeros((side, side, 3), np.uint8),
        "white": np.full((side, side, 3), 255, np.uint8),
        "uniform": np.full((side, side, 3), (30, 120, 200), np.uint8),
        "tiny": print_like[:16, :16],
        "panoramic": cv2.resize(print_like, (800, 40)),
        "upright strip": cv2.resize(print_like, (40, 800)),
        "noise": rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
        "gradient": np.repeat(np.linspace(0, 255, side, dtype=np.uint8)[None, :, None], side, axis=0).repeat(3, axis=2),
    }


@pytest.mark.parametrize("name", strange_pictures())
def test_strange_photographs_get_a_defined_verdict(examine, enrolled, calibration, name):
    for stop in (True, False):
        told = calibration.model_copy(update={"verification": VerificationConfig(stop_when_settled=stop)})
        verdict = examine(enrolled, encoded(strange_pictures()[name]), told)
        is_whole(verdict)
        if name in ("black", "white", "uniform"):
            assert verdict.verdict == VerdictLabel.INCONCLUSIVE
            assert "no texture" in verdict.reason
            assert not verdict.scores.match_genuine
            assert not verdict.scores.inlier_ratio
            assert verdict.residual_map is None
            assert verdict.p_genuine is None


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_turned_photograph_gets_a_defined_verdict(examine, enrolled, studio, quarter):
    turned = np.rot90(studio.shot(studio.label("genuine"), 100), quarter)
    verdict = examine(enrolled, encoded(np.ascontiguousarray(np.repeat(turned[:, :, None], 3, axis=2))))
    is_whole(verdict)
    # Keypoints are found whichever way up, so that it is registered all the same.
    assert verdict.scores.inlier_ratio > 0.3
    assert verdict.scores.surface_agreement > 0.95


@pytest.mark.parametrize("name", ["white", "uniform", "tiny", "panoramic"])
def test_strange_references_do_no_harm(examine, gallery_of, photograph, name):
    """Enrolled by mistake beside good ones, and alone."""
    strange = encoded(strange_pictures()[name])
    for others in ([], [(photograph("genuine", seed), GENUINE) for seed in range(3)]):
        gallery = gallery_of((strange, GENUINE), *others)
        for data in (photograph("genuine", 100), strange):
            verdict = examine(gallery, data)
            is_whole(verdict)
            if name in ("white", "uniform") and data is strange:
                assert verdict.verdict == VerdictLabel.INCONCLUSIVE


def test_two_blank_photographs_do_not_match(examine, gallery_of, calibration):
    told = calibration.model_copy(update={"verification": VerificationConfig(stop_when_settled=False)})
    white, grey = (encoded(np.full((100, 100, 3), level, np.uint8)) for level in (250, 128))
    gallery = gallery_of((white, GENUINE))
    for data in (white, grey):
        verdict = examine(gallery, data, told)
        is_whole(verdict)
        assert (verdict.scores.match_genuine, verdict.scores.inlier_ratio) == (0.0, 0.0)
        assert verdict.verdict == VerdictLabel.INCONCLUSIVE


def test_the_batch_a_query_is_described_in_changes_no_verdict(describer, enrolled, calibration, photograph):
    read = [describer.read(photograph(kind, seed)) for kind in ("genuine", "counterfeit") for seed in (100, 101)]
    together = describer.describe(read)
    index, examiner = GalleryIndex(enrolled), Examiner(enrolled, calibration, "bundle")
    for one, query in zip(read, together, strict=True):
        alone = describer.describe([one])[0]
        verdicts = [examiner.examine(each, index.retrieve(each.descriptor, 5)) for each in (alone, query)]
        scores = [verdict.scores.model_dump() for verdict in verdicts]
        for name, value in scores[0].items():
            assert scores[1][name] == (None if value is None else pytest.approx(value, rel=1e-2, abs=5e-3)), name
        assert verdicts[0].residual_map == verdicts[1].residual_map


@pytest.mark.parametrize("where", ["descriptor", "local", "both"])
def test_descriptors_that_are_not_finite_are_never_judged(describer, enrolled, calibration, photograph, where):
    query = describer.describe([describer.read(photograph("genuine", 100))])[0]
    if where != "local":
        query = dataclasses.replace(query, descriptor=np.full_like(query.descriptor, np.nan))
    if where != "descriptor":
        broken = dataclasses.replace(query.details, local=np.full_like(query.details.local, np.nan))
        query = dataclasses.replace(query, details=broken)
    found = GalleryIndex(enrolled).retrieve(query.descriptor, 5)
    verdict = Examiner(enrolled, calibration, "bundle").examine(query, found)
    is_whole(verdict)
    assert verdict.p_genuine is None
    assert verdict.verdict in (VerdictLabel.INCONCLUSIVE, VerdictLabel.NOT_IN_GALLERY)
    if where == "local":
        assert verdict.verdict == VerdictLabel.INCONCLUSIVE


def test_verdicts_of_an_updated_examiner_are_those_of_a_new_one(describer, calibration, studio, photograph, tmp_path):
    """Over enrolment, retirement and rollback, to the bit."""

    def reference(kind: str, seed: int, side=GENUINE, product: str = "a") -> Reference:
        shot = studio.shot(studio.label(kind, product), seed)
        data = encoded(np.repeat(shot[:, :, None], 3, axis=2))
        return Reference(describer.describe([describer.read(data)])[0], product, "whole", f"i{seed}", side, b"")

    queries = [describer.describe([describer.read(photograph(kind, 100))])[0] for kind in ("genuine", "counterfeit")]
    with GalleryWriter(tmp_path / "g.lance", "bundle", "embedding") as writer:
        first, names = writer.enrol([reference("genuine", seed) for seed in range(4)])
        index, examiner = GalleryIndex(first), Examiner(first, calibration, "bundle")
        changes = [
            lambda: first,
            lambda: writer.enrol([reference("leaf", 7, product="b")])[0],
            lambda: writer.retire(names[:1]),
            lambda: writer.enrol([reference("counterfeit", 50, COUNTERFEIT), reference("genuine", 8)])[0],
            lambda: writer.rollback(first.version),
            lambda: writer.retire(names[1:3]),
        ]
        templates = []
        for change in changes:
            gallery = change()
            index, examiner = index.updated(gallery), examiner.updated(gallery)
            for query in queries:
                found = GalleryIndex(gallery).retrieve(query.descriptor, 5)
                assert index.retrieve(query.descriptor, 5) == found
                anew = Examiner(gallery, calibration, "bundle").examine(query, found)
                assert examiner.examine(query, found) == anew
                assert examiner.examine(query, found).model_dump_json() == anew.model_dump_json()
            templates.append(examiner._comparison.template("a", "whole"))
    assert templates[0] is templates[1]
    assert len({id(template) for template in templates}) == 5
