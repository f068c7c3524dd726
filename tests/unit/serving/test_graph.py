"""The real stages on one bundle, in this process, without Ray; what passes between them is pickled as it would be."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from hallmark.errors import ConfigError, DecodeError, GalleryError
from hallmark.evaluation.protocol import examine_files
from hallmark.gallery.describe import Describer
from hallmark.gallery.store import GalleryWriter, Reference, open_gallery, write_references
from hallmark.serving.bundles import Bundles, Served
from hallmark.serving.graph import Enroller, Retriever, Verifier, build, deployment_name
from hallmark.serving.handles import Stages
from hallmark.serving.metrics import Metrics
from hallmark.serving.settings import BundleConfig, GraphConfig
from hallmark.serving.stages import Ask, Enrolment, Listing, MixedStagesError, NoGalleryError, Query
from hallmark.training.bundle import write_calibration
from hallmark.types import Authenticity, VerdictLabel
from hallmark.verdict.calibration import calibration_of
from hallmark.verdict.items import fuse

OWN = {"request_id", "timings_ms"}


@dataclass(frozen=True)
class Upload:
    name: str
    data: bytes

    async def read(self) -> bytes:
        return self.data


def picture(seed: int) -> bytes:
    """A photograph of blocks that are not those of another seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(small, (96, 96), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def uri(tmp_path: Path, bundle) -> str:
    """A gallery of two products, three references each."""
    describer = Describer(bundle)
    references = []
    for seed in range(6):
        photograph = describer.read(picture(seed))
        described = describer.describe([photograph])[0]
        product = "a" if seed < 3 else "b"
        references.append(
            Reference(described, product, "whole", f"i{seed}", Authenticity.GENUINE, photograph.thumbnail)
        )
    return write_references(tmp_path / "g.lance", references, bundle.bundle_id, bundle.embedding_id).uri


@pytest.fixture
def live() -> dict:
    return {}


class OneByOne:
    """Stands for Serve's batching, which wants a replica around it."""

    describer: Describer
    batches = 0

    def set_max_batch_size(self, size: int) -> None:
        assert size >= 1

    def set_batch_wait_timeout_s(self, seconds: float) -> None:
        assert seconds >= 0

    async def __call__(self, photograph):
        self.batches += 1
        return self.describer.embed([photograph])[0]


class Handle:
    """Calls a stage as a DeploymentHandle does: an answer that is still to come may be an argument."""

    def __init__(self, stage: object):
        self._stage = stage

    def __getattr__(self, name: str):
        return SimpleNamespace(remote=partial(self._call, name))

    async def _call(self, name: str, *told):
        arguments = _sent([await one if inspect.isawaitable(one) else one for one in told])
        try:
            answer = getattr(self._stage, name)(*arguments)
            return _sent(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:
            raise _sent(error) from None


def _sent(message):
    return pickle.loads(pickle.dumps(message))


@pytest.fixture
def started(live, monkeypatch):
    """Starts Retriever, Verifier and Enroller of a bundle; the network of the last one is the one that is asked."""
    running = []

    def start(opened, gallery: str | None):
        monkeypatch.setattr(Retriever.func_or_class, "_embed", OneByOne())
        one = BundleConfig(bundle=str(opened.path), gallery=gallery).model_dump(mode="json")
        settings = GraphConfig(bundle=str(opened.path), gallery=gallery, anonymous=True).model_dump(mode="json")
        retriever, verifier = Retriever.func_or_class(one, settings), Verifier.func_or_class(one)
        retriever._embed.describer = retriever._describer
        for stage in (retriever, verifier):
            stage.reconfigure(live)
        running.append((retriever, verifier, Enroller.func_or_class(one, settings)))
        return running[-1]

    yield start
    for retriever, _, enroller in running:
        retriever._follower.stop()
        enroller._enrolments.close()


@pytest.fixture
def stages(uri, bundle, started):
    """Retriever, Verifier and Enroller."""
    return started(bundle, uri)


@pytest.fixture
def graph(uri, stages) -> Bundles:
    return Bundles([Served(Stages("default", uri, *map(Handle, stages), Metrics()))])


def ask(graph: Bundles, *data: bytes, **told):
    queries = [Query(Upload(f"{place}.png", one), None) for place, one in enumerate(data)]
    return asyncio.run(graph.examine(queries, Ask(**{"request_id": "r", **told})))


def enrol(graph: Bundles, *data: bytes, product: str = "c"):
    uploads = [Upload(f"{place}.png", one) for place, one in enumerate(data)]
    return asyncio.run(graph.enrol(uploads, Enrolment(product, "whole", "", Authenticity.GENUINE, "r")))


@pytest.fixture
def alone(uri, bundle, tmp_path) -> Callable:
    def examined(*data: bytes):
        paths = []
        for place, one in enumerate(data):
            paths.append(tmp_path / f"{place}.png")
            paths[-1].write_bytes(one)
        return examine_files(bundle.path, Path(uri), paths)

    return examined


def test_a_verdict_is_that_of_evaluation_to_the_bit(graph, alone, bundle, uri):
    told = ask(graph, picture(10))
    (one,) = told.photographs
    assert one.verdict.model_dump(exclude=OWN) == alone(picture(10))[0].model_dump(exclude=OWN)
    assert one.gallery_content_id == open_gallery(uri).content_id
    assert (one.source.bundle_id, one.source.embedding_id, one.decision) == (bundle.bundle_id, bundle.embedding_id, {})
    assert list(one.verdict.timings_ms) == ["decode", "describe", "retrieve", "verify", "total"]


def test_what_is_certified_is_described_in_no_batch(graph, alone, stages):
    (one,) = ask(graph, picture(10), single=True).photographs
    assert stages[0]._embed.batches == 0
    assert one.verdict.model_dump(exclude=OWN) == alone(picture(10))[0].model_dump(exclude=OWN)
    ask(graph, picture(10))
    assert stages[0]._embed.batches == 1


def test_an_item_is_fused_as_evaluation_does(graph, alone, bundle):
    data = [picture(seed) for seed in (10, 11, 12)]
    told = ask(graph, *data)
    wanted = alone(*data)
    assert [one.verdict.model_dump(exclude=OWN) for one in told.photographs] == [
        one.model_dump(exclude=OWN) for one in wanted
    ]
    assert told.item == fuse(wanted, calibration_of(bundle))


def test_one_product_alone_can_be_asked(graph):
    for product in ("a", "b"):
        (one,) = ask(graph, picture(1), product=product).photographs
        assert {reference.product for reference in one.verdict.references} == {product}
    (one,) = ask(graph, picture(1), product="none").photographs
    assert one.verdict.verdict == VerdictLabel.NOT_IN_GALLERY
    assert one.verdict.references == []


def test_a_photograph_that_cannot_be_read_says_so(graph):
    with pytest.raises(DecodeError) as caught:
        ask(graph, b"torn")
    assert caught.value.reason == "unknown_format"


def test_evidence_is_drawn_on_the_photograph(graph):
    (one,) = ask(graph, picture(1), overlays=True).photographs
    assert one.overlays.photograph.startswith(b"\xff\xd8\xff")
    assert one.overlays.reference.startswith(b"\xff\xd8\xff")
    for drawn, there in (
        (one.overlays.residual, one.verdict.residual_map is not None),
        (one.overlays.matches, bool(one.verdict.cue_pairs)),
    ):
        assert (drawn is not None) == there
        assert drawn is None or drawn.startswith(b"\x89PNG")


def test_what_is_enrolled_can_be_seen_found_and_retired(graph, bundle):
    told = enrol(graph, picture(20), b"torn", picture(21))
    assert [(one.file, one.created) for one in told.references] == [("0.png", True), ("2.png", True)]
    assert [(one.file, one.problem.reason) for one in told.refused] == [("1.png", "unknown_format")]
    listed = asyncio.run(graph.references(Listing("c", None, None, 10, None), None))
    assert listed.gallery_version == told.gallery_version
    assert {one.reference_id for one in listed.references} == {one.reference_id for one in told.references}
    assert {one.bundle_id for one in listed.references} == {bundle.bundle_id}
    reference_id = told.references[0].reference_id
    assert asyncio.run(graph.thumbnail(reference_id, None)).startswith(b"\xff\xd8\xff")
    (one,) = ask(graph, picture(20)).photographs
    assert one.verdict.references[0].reference_id == reference_id
    assert one.verdict.gallery_version == told.gallery_version
    assert [(count.product, count.genuine) for count in asyncio.run(graph.products(None)).products] == [
        ("a", 3),
        ("b", 3),
        ("c", 2),
    ]
    retired = asyncio.run(graph.retire(reference_id, None))
    assert retired.gallery_version == told.gallery_version + 1
    assert asyncio.run(graph.references(Listing("c", None, None, 10, None), None)).gallery_version == 3
    assert asyncio.run(graph.thumbnail(reference_id, None)) is None
    restored = asyncio.run(graph.rollback(1, None))
    versions = asyncio.run(graph.versions(None))
    assert (restored.gallery_version, versions.current) == (4, 4)
    assert [version.change for version in versions.versions] == ["rolled_back", "retired", "enrolled", "created"]
    assert asyncio.run(graph.ready()).num_references == 6


@pytest.mark.parametrize("live", [{"gallery_version": 1, "decision": {"threshold_global": 1.0, "num_candidates": 1}}])
def test_live_settings_are_in_force_and_told(graph, uri, bundle, make_described):
    with GalleryWriter(uri, bundle.bundle_id, bundle.embedding_id) as writer:
        gallery = open_gallery(uri)
        described = make_described("f" * 64, gallery.descriptors()[0], local=np.zeros((2, 8)))
        writer.enrol([Reference(described, "z", "whole", "", Authenticity.GENUINE, b"")])
    (one,) = ask(graph, picture(30)).photographs
    assert one.verdict.verdict == VerdictLabel.NOT_IN_GALLERY
    assert (one.verdict.gallery_version, len(one.verdict.references)) == (1, 1)
    assert one.decision == {"threshold_global": 1.0, "num_candidates": 1}


def test_a_query_is_judged_by_the_bundle_that_described_it(graph, stages, bundle, uri, tmp_path):
    """While one bundle takes over from another, a Verifier of the one may get a query of the other."""
    other = tmp_path / "other"
    shutil.copytree(bundle.path, other)
    looser = bundle.calibration | {"threshold_genuine": -9.0, "threshold_counterfeit": -9.0}
    second = write_calibration(other, looser)
    verifier = Verifier.func_or_class(BundleConfig(bundle=str(other), gallery=uri).model_dump(mode="json"))
    (wanted,) = ask(graph, picture(1)).photographs
    mixed = Bundles([Served(Stages("default", uri, *map(Handle, (stages[0], verifier, stages[2])), Metrics()))])
    (told,) = ask(mixed, picture(1)).photographs
    assert second.bundle_id != bundle.bundle_id
    assert told.verdict.model_dump(exclude=OWN) == wanted.verdict.model_dump(exclude=OWN)


def test_a_bundle_that_was_exchanged_in_place_is_not_mixed(graph, stages):
    (one,) = ask(graph, picture(1)).photographs
    with pytest.raises(MixedStagesError):
        stages[1].fuse([one.verdict], replace(one.source, bundle_id="another"))


def test_health_is_the_stored_images_descriptor(stages):
    retriever = stages[0]
    asyncio.run(retriever.check_health())
    weights = next(retriever._describer._network._method.parameters())
    weights.data.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="has changed"):
        asyncio.run(retriever.check_health())


def test_neither_keys_nor_anonymous_is_refused():
    with pytest.raises(ConfigError, match=r"args\.keys: missing"):
        build(GraphConfig(bundle="b", gallery="g"))


def test_every_bundle_has_stages_of_its_own_and_every_gallery_one_writer():
    bundles = [
        {"name": name, "bundle": name, "gallery": gallery} for name, gallery in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    application = build(GraphConfig(bundles=bundles, anonymous=True))
    names = [stage._bound_deployment.name for stage in application._bound_deployment.init_args[1:]]
    assert names == ["Retriever_a", "Verifier_a", "Enroller_a", "Retriever_b", "Verifier_b", "Enroller_a"] + [
        f"{stage}_c" for stage in ("Retriever", "Verifier", "Enroller")
    ]
    canary = {"bundle": "next", "gallery": "z"}
    application = build(GraphConfig(bundle="b", gallery="g", canary=canary, anonymous=True))
    stages = application._bound_deployment.init_args[1:]
    assert [stage and stage._bound_deployment.name for stage in stages] == [
        "Retriever",
        "Verifier",
        "Enroller",
        "Retriever_canary",
        "Verifier_canary",
        None,
    ]
    assert deployment_name("Retriever", "default") == "Retriever"


def test_where_a_classifier_looked_is_told_and_drawn(started, looking, tmp_path):
    graph = Bundles([Served(Stages("mgfen", None, *map(Handle, started(looking, None)), Metrics()))])
    (one,) = ask(graph, picture(10), overlays=True, single=True).photographs
    (tmp_path / "10.png").write_bytes(picture(10))
    (wanted,) = examine_files(looking.path, None, [tmp_path / "10.png"])
    assert one.verdict.attention == wanted.attention
    assert [(w.x0, w.y0, w.x1, w.y1, w.weight) for w in wanted.attention.windows] == [
        (24, 24, 72, 72, 0.5),
        (24, 48, 72, 72, 0.375),
        (0, 0, 24, 24, 0.125),
    ]
    assert one.overlays.attention.startswith(b"\x89PNG")


def test_a_bundle_that_classifies_answers_without_a_gallery(started, classifier, tmp_path):
    stages = started(classifier, None)
    graph = Bundles([Served(Stages("kag", None, *map(Handle, stages), Metrics()))])
    paths = [tmp_path / f"{seed}.png" for seed in (10, 11)]
    for path, seed in zip(paths, (10, 11), strict=True):
        path.write_bytes(picture(seed))
    told = ask(graph, picture(10), picture(11))
    wanted = examine_files(classifier.path, None, paths)
    assert [one.verdict.model_dump(exclude=OWN) for one in told.photographs] == [
        one.model_dump(exclude=OWN) for one in wanted
    ]
    assert told.item == fuse(wanted, calibration_of(classifier))
    assert [(one.verdict.gallery_version, one.gallery_content_id) for one in told.photographs] == [(0, "")] * 2
    (one,) = ask(graph, picture(10), overlays=True, single=True).photographs
    assert (one.overlays.residual, one.overlays.matches, one.overlays.reference) == (None, None, None)
    assert (one.verdict.attention, one.overlays.attention) == (None, None)
    assert one.overlays.photograph.startswith(b"\xff\xd8\xff")
    (state,) = asyncio.run(graph.ready()).bundles
    assert (state.gallery_version, state.num_references) == (0, 0)
    for asked in (
        graph.products(None),
        graph.versions("kag"),
        graph.references(Listing(None, None, None, 10, None), None),
        graph.thumbnail("ref-1", None),
        graph.retire("ref-1", None),
        graph.rollback(1, None),
    ):
        with pytest.raises(NoGalleryError, match=r"kag.*without a gallery"):
            asyncio.run(asked)
    with pytest.raises(NoGalleryError):
        enrol(graph, picture(1))


def test_a_bundle_that_classifies_shows_the_references_of_the_product_it_names(started, classifier, tmp_path):
    describer = Describer(classifier)
    read = [describer.read(picture(seed)) for seed in range(4)]
    references = [
        Reference(described, "ab"[place % 2], "tag", f"i{place}", Authenticity.GENUINE, one.thumbnail)
        for place, (one, described) in enumerate(zip(read, describer.describe(read), strict=True))
    ]
    gallery = write_references(tmp_path / "g.lance", references, classifier.bundle_id, classifier.embedding_id)
    graph = Bundles([Served(Stages("kag", gallery.uri, *map(Handle, started(classifier, gallery.uri)), Metrics()))])
    (one,) = ask(graph, picture(10)).photographs
    assert {reference.product for reference in one.verdict.references} == {one.verdict.product}
    assert (one.verdict.part, one.verdict.gallery_version) == ("tag", 1)
    assert one.verdict.scores.decision == one.verdict.scores.classifier_logit
    enrolled = enrol(graph, picture(20))
    assert enrolled.references[0].created
    (other,) = ask(graph, picture(20), product="c").photographs
    assert other.verdict.verdict == VerdictLabel.NOT_IN_GALLERY  # it has a reference, and the network never saw it


def test_a_bundle_that_compares_is_not_started_without_a_gallery(started, bundle):
    with pytest.raises(GalleryError, match="gallery: missing"):
        started(bundle, None)


def test_bundles_of_both_kinds_side_by_side(uri, started, bundle, classifier):
    compares, classifies = (
        Served(Stages(name, gallery, *map(Handle, started(opened, gallery)), Metrics()))
        for name, opened, gallery in (("fod", bundle, uri), ("kag", classifier, None))
    )
    graph = Bundles([classifies, compares])
    assert ask(graph, picture(1), bundle="fod", single=True).photographs[0].verdict.bundle_id == bundle.bundle_id
    (told,) = ask(graph, picture(1), bundle="kag", single=True).photographs
    assert told.verdict.bundle_id == classifier.bundle_id
    # The first that has a gallery is asked about it, and enrolled in.
    assert [one.product for one in asyncio.run(graph.products(None)).products] == ["a", "b"]
    with pytest.raises(NoGalleryError, match="'kag'"):
        asyncio.run(graph.products("kag"))
    (sure,) = ask(graph, picture(1), single=True).photographs
    assert sure.verdict.bundle_id == bundle.bundle_id  # the very photograph is enrolled
