"""One path from bytes to descriptors, for one photograph or many."""

from __future__ import annotations

import hashlib
import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from hallmark.data.preprocess import normalise, to_photograph
from hallmark.data.surface import decode_surface
from hallmark.errors import DataError, DecodeError
from hallmark.gallery.describe import Describer, Located, describe_located
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import Reference, write_references
from hallmark.methods.fod import FoD
from hallmark.nets.backbone import BackboneConfig
from hallmark.training.bundle import write_bundle, write_classifier
from hallmark.types import Authenticity


def encoded(seed: int, width: int = 90, height: int = 70, kind: str = "PNG") -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (7, 9, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def describer(bundle) -> Describer:
    return Describer(bundle)


def test_a_description_has_the_promised_form(describer):
    data = encoded(0)
    photograph = describer.read(data)
    found = describer.describe([photograph])[0]
    assert found.image_id == hashlib.sha256(data).hexdigest()
    assert found.descriptor.dtype == np.float32
    assert np.linalg.norm(found.descriptor) == pytest.approx(1, abs=1e-5)
    details = found.details
    assert details.image_id == found.image_id
    assert (details.local.dtype, details.positions.dtype, details.weights.dtype) == (np.float16, np.float32, np.float16)
    assert np.linalg.norm(details.local.astype(np.float32), axis=1) == pytest.approx(1, abs=5e-3)
    assert details.positions.shape == (len(details.local), 2)
    assert ((details.positions >= 0) & (details.positions <= 1)).all()
    assert details.weights.shape == (len(details.local),)
    assert ((details.weights > 0) & (details.weights <= 1)).all()
    assert details.frame.tolist() == [1, 0, 1, 0]
    assert details.stride == pytest.approx(1 / 4)
    assert decode_surface(details.surface).shape == (384, 384)
    assert (found.quality.width, found.quality.height) == (90, 70)


def test_a_photograph_is_described_the_same_alone_or_in_a_batch(describer):
    photographs = [describer.read(encoded(seed)) for seed in range(4)]
    together = describer.describe(photographs)
    for photograph, found in zip(photographs, together, strict=True):
        alone = describer.describe([photograph])[0]
        assert alone.image_id == found.image_id
        assert alone.descriptor == pytest.approx(found.descriptor, abs=1e-5)
        for name in ("local", "positions", "weights"):
            ours, theirs = (getattr(one.details, name).astype(np.float32) for one in (alone, found))
            assert ours == pytest.approx(theirs, abs=2e-3)
        assert alone.details.surface == found.details.surface
    assert not np.allclose(together[0].descriptor, together[1].descriptor, atol=1e-4)
    turned = describer.describe(photographs[::-1])[::-1]
    assert np.allclose([f.descriptor for f in turned], [f.descriptor for f in together], atol=1e-5)


def test_threads_that_describe_at_once_do_not_disturb_each_other(tiny_run, tmp_path):
    # A transformer: the input of its last attention is kept aside during a pass.
    transformer = BackboneConfig(name="test_vit", pretrained=False)
    run = tiny_run.model_copy(update={"method": tiny_run.method.model_copy(update={"backbone": transformer})})
    describer = Describer(write_bundle(tmp_path / "bundle", FoD(run.method).state_dict(), run, ["a"], {}, {}))
    photographs = [describer.read(encoded(seed)) for seed in range(4)]
    alone = [describer.describe([photograph])[0] for photograph in photographs]
    with ThreadPoolExecutor(4) as threads:
        at_once = list(threads.map(lambda number: describer.describe([photographs[number % 4]])[0], range(200)))
    for number, found in enumerate(at_once):
        assert np.array_equal(found.descriptor, alone[number % 4].descriptor)
        assert np.array_equal(found.details.positions, alone[number % 4].details.positions)


def test_nothing_is_described_as_nothing(describer):
    assert describer.describe([]) == []
    assert describe_located(describer, []) == []


def test_quality_says_what_is_wrong_with_a_photograph(describer):
    def quality(image: np.ndarray):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        return describer.read(stream.getvalue()).quality

    black, white = quality(np.zeros((64, 64, 3), np.uint8)), quality(np.full((64, 64, 3), 255, np.uint8))
    assert (black.brightness, black.clipped, black.sharpness) == (0.0, 1.0, 0.0)
    assert white.brightness == pytest.approx(1.0)
    assert white.clipped == 1.0
    noise = np.random.default_rng(0).integers(60, 180, (64, 64, 3), dtype=np.uint8)
    assert quality(noise).sharpness > 5 * quality(cv2.GaussianBlur(noise, (9, 9), 0)).sharpness


@pytest.mark.parametrize(
    ("width", "height", "wanted"), [(600, 300, (192, 96)), (40, 20, (40, 20)), (3000, 16, (192, 1))]
)
def test_thumbnails_fit_and_are_never_enlarged(describer, width, height, wanted):
    thumbnail = Image.open(io.BytesIO(describer.read(encoded(0, width, height)).thumbnail))
    assert thumbnail.format == "JPEG"
    assert thumbnail.size == wanted
    assert describer.read(encoded(0, width, height), thumbnail=False).thumbnail == b""


def test_a_box_is_described_as_the_part_it_cuts_out(describer):
    """Positions are told on the whole photograph all the same."""
    whole = np.array(Image.open(io.BytesIO(encoded(5, 200, 160))))
    box = (60.0, 50.0, 140.0, 110.0)  # its margin of 5 % is 4 and 3 px
    part = io.BytesIO()
    Image.fromarray(whole[47:113, 56:144]).save(part, "PNG")
    boxed = describer.describe([describer.read(encoded(5, 200, 160), box)])[0]
    alone = describer.describe([describer.read(part.getvalue())])[0]
    assert np.array_equal(boxed.descriptor, alone.descriptor)
    assert np.array_equal(boxed.details.local, alone.details.local)
    assert boxed.details.surface == alone.details.surface
    ours, theirs = (to_photograph(one.details.positions, one.details.frame) for one in (boxed, alone))
    assert np.allclose(ours * (200, 160), theirs * (88, 66) + (56, 47), atol=1e-3)
    assert (boxed.quality.width, boxed.quality.height) == (200, 160)
    with pytest.raises(DataError, match="box"):
        describer.read(encoded(5, 200, 160), (300.0, 10.0, 400.0, 90.0))


@pytest.mark.parametrize("data", [b"", b"no image at all", encoded(0)[:200]])
def test_what_is_no_photograph_is_refused(describer, data):
    with pytest.raises(DecodeError):
        describer.read(data)


def test_a_bad_file_does_not_stop_the_good_ones(describer, tmp_path: Path):
    files = {
        "good.png": encoded(1),
        "torn.png": encoded(2)[:300],
        "text.jpg": b"hello",
        "last.jpg": encoded(3, kind="JPEG"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    uris = [str(tmp_path / name) for name in (*files, "missing.png")]
    outcomes = describe_located(describer, [Located(uri) for uri in uris])
    assert [outcome.uri for outcome in outcomes] == uris
    assert [outcome.described is not None for outcome in outcomes] == [True, False, False, True, False]
    for outcome in outcomes:
        assert bool(outcome.error) == (outcome.described is None)
        assert bool(outcome.thumbnail) == (outcome.described is not None)
        assert not outcome.error or outcome.uri in outcome.error
    assert outcomes[3].described.image_id == hashlib.sha256(files["last.jpg"]).hexdigest()


def test_a_bundle_that_classifies_says_so_and_keeps_no_details(classifier):
    describer, photographs = Describer(classifier), [encoded(0), encoded(1)]
    read = [describer.read(data) for data in photographs]
    assert all(photograph.surface is None for photograph in read)
    embedding = classifier.build_method().embed(
        normalise(torch.from_numpy(np.stack([one.prepared for one in read])), classifier.input.preprocessing)
    )
    for place, found in enumerate(describer.describe(read)):
        assert found.classified.products == ("a", "b")
        logits = embedding.class_logits[place].detach().numpy()
        np.testing.assert_allclose(found.classified.logits, [logits[:2], logits[2:]], atol=1e-5)
        assert np.linalg.norm(found.descriptor) == pytest.approx(1, abs=1e-5)
        details = found.details
        assert (details.local.shape, details.positions.shape, details.weights.shape) == ((0, 1), (0, 2), (0,))
        assert (details.surface, details.keypoints) == (b"", None)


def test_what_a_bundle_describes_without_cues_can_be_enrolled(classifier, tmp_path):
    describer = Describer(classifier)
    described = describer.describe([describer.read(encoded(seed)) for seed in range(2)])
    references = [
        Reference(one, "a", "whole", f"i{place}", Authenticity.GENUINE, b"jpeg") for place, one in enumerate(described)
    ]
    gallery = write_references(tmp_path / "g.lance", references, classifier.bundle_id, classifier.embedding_id)
    assert [details.local.shape for details in gallery.details([1, 0])] == [(0, 1)] * 2
    found = GalleryIndex(gallery).retrieve(described[1].descriptor, 5)
    assert found.candidates[0].image_id == described[1].image_id


def test_a_classifier_inside_a_bundle_sees_the_photograph_as_it_was_trained_to(bundle, classifier, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "b")
    whole = write_classifier(tmp_path / "b", classifier)
    data, box = encoded(2), (10.0, 5.0, 80.0, 60.0)
    alone, inside, without = (Describer(one) for one in (classifier, whole, bundle))
    (told,) = inside.describe([inside.read(data, box)])
    (wanted,) = alone.describe([alone.read(data, box)])
    (plain,) = without.describe([without.read(data, box)])
    assert told.classified.products == wanted.classified.products
    assert np.array_equal(told.classified.logits, wanted.classified.logits)
    assert np.array_equal(told.descriptor, plain.descriptor)
    assert told.details.surface == plain.details.surface != b""
    assert plain.classified is None
