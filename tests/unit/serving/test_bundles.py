"""One or several bundles as one graph: who is asked, whose verdict counts, and what the canary may and may not do."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from hallmark.errors import DecodeError, UnknownReferenceError
from hallmark.serving.bundles import Bundles, Served
from hallmark.serving.canary import Canary
from hallmark.serving.metrics import Metrics
from hallmark.serving.schema import BundleState, EnrolmentAnswer, RetiredAnswer
from hallmark.serving.settings import CANARY
from hallmark.serving.stages import Ask, Enrolment, Entry, NotReadyError, Overlays, Query, UnknownBundleError
from hallmark.types import Authenticity, Scores, VerdictLabel
from hallmark.verdict.items import ItemVerdict


@dataclass
class Upload:
    data: bytes
    name: str = "p.jpg"
    reads: int = 0

    async def read(self) -> bytes:
        self.reads += 1
        return self.data


class Branch:
    """The stages of one bundle, which answer as told."""

    def __init__(self, make_answered, source, name: str, gallery: str = "", **told: Any):
        self.name, self.gallery = name, gallery or f"/{name}.lance"
        self._make, self._source, self.told = make_answered, replace(source, name=name), told
        self.error: Exception | None = None
        self.versions: list[int] = []
        self.asked: list[bytes] = []
        self.alone: list[bool] = []
        self.enrolled: list[Enrolment] = []
        self.references = {"both", name}
        self.at_once = self.most_at_once = 0

    async def verdict(self, data, box, product, request_id, alone=False):
        self.asked.append(data)
        self.alone.append(alone)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.error:
            raise copy.copy(self.error)
        version = self.versions.pop(0) if self.versions else 7
        return self._make(self._source, gallery_version=version, request_id=request_id, **self.told)

    async def fuse(self, answered):
        verdict = answered[0].verdict
        told = {"verdict": verdict.verdict, "reason": "r", "p_genuine": verdict.p_genuine, "product": verdict.product}
        rest = dict.fromkeys(["log_likelihood_ratio", "threshold_genuine", "threshold_counterfeit"])
        return ItemVerdict(**told, **rest, parts=[], set_aside=[], config_hash="c")

    async def overlays(self, data, box, answered):
        return Overlays(b"r" + data, None, data, None)

    async def describe(self, data, file):
        error = DecodeError("corrupt", "torn") if data == b"torn" else None
        return Entry(file, data.decode(), self._source, None, b"", error)

    async def enrol(self, entries, enrolment):
        self.enrolled.append(enrolment)
        self.entries = entries
        return EnrolmentAnswer(gallery_version=len(self.enrolled), references=[], refused=[])

    async def retire(self, reference_id):
        if reference_id not in self.references:
            raise UnknownReferenceError(reference_id)
        return RetiredAnswer(gallery_version=9, reference_id=reference_id)

    async def state(self):
        if self.error:
            raise self.error
        return BundleState(name=self.name, bundle_id=self.name, gallery_version=1, num_references=2)


@pytest.fixture
def branch(make_answered, source):
    return lambda name, gallery="", **told: Branch(make_answered, source, name, gallery, **told)


def examine(bundles: Bundles, *data: bytes, **ask: Any):
    queries = [Query(Upload(one), None) for one in data or (b"x",)]
    return asyncio.run(bundles.examine(queries, Ask(**{"request_id": "r", **ask})))


def scores(similarity: float, threshold: float = 0.5) -> Scores:
    unknown = dict.fromkeys(["global_genuine", "global_counterfeit", "match_genuine", "match_counterfeit", "decision"])
    thresholds = {"threshold_global": threshold, "threshold_genuine": 0, "threshold_counterfeit": 0}
    return Scores(global_similarity=similarity, **unknown, **thresholds)


def test_one_bundle_answers(branch):
    only = branch("default")
    told = examine(Bundles([Served(only)]), b"a")
    assert told.item is None
    assert told.photographs[0].source.name == "default"
    assert (only.asked, only.alone) == ([b"a"], [False])
    examine(Bundles([Served(only)]), b"a", single=True)
    assert only.alone == [False, True]


def test_several_photographs_are_fused_in_their_order_and_few_are_read_at_once(branch):
    only = branch("default")
    told = examine(Bundles([Served(only)]), *[bytes([place]) for place in range(8)], overlays=True)
    assert told.item is not None
    assert [one.overlays.photograph for one in told.photographs] == [bytes([place]) for place in range(8)]
    assert only.most_at_once <= 4


def test_photographs_of_an_item_are_held_against_one_version(branch):
    only = branch("default")
    only.versions = [7, 8, 7, 8, 8]
    told = examine(Bundles([Served(only)]), b"a", b"b", b"c")
    assert [one.verdict.gallery_version for one in told.photographs] == [8, 8, 8]
    assert len(only.asked) == 5
    only.versions = list(range(100))
    with pytest.raises(NotReadyError, match="changes faster"):
        examine(Bundles([Served(only)]), b"a", b"b", b"c")


def test_an_error_says_which_of_several_photographs(branch):
    only = branch("default")
    only.error = DecodeError("corrupt", "torn")
    with pytest.raises(DecodeError, match=r"^photograph 1 \(p\.jpg\): torn") as caught:
        examine(Bundles([Served(only)]), b"a", b"b")
    assert caught.value.reason == "corrupt"
    only.error = DecodeError("corrupt", "torn")
    with pytest.raises(DecodeError, match=r"^torn"):
        examine(Bundles([Served(only)]), b"a")


def test_bundle_and_product_choose(branch):
    first, second, third = branch("a"), branch("b"), branch("c")
    bundles = Bundles([Served(first, frozenset({"p"})), Served(second, frozenset({"q"})), Served(third)])
    assert examine(bundles, bundle="b").photographs[0].source.name == "b"
    examine(bundles, product="q")
    assert Counter(first=len(first.asked), second=len(second.asked), third=len(third.asked)) == {
        "first": 0,
        "second": 2,
        "third": 1,
    }
    with pytest.raises(UnknownBundleError, match="wanted one of a, b, c"):
        examine(bundles, bundle="d")
    assert examine(Bundles([Served(first, frozenset({"p"}))]), product="z").photographs[0].source.name == "a"


def test_the_bundle_that_is_surest_of_the_product_counts(branch):
    far = branch("far", scores=scores(0.99, 0.98), verdict=VerdictLabel.GENUINE)
    near = branch("near", scores=scores(0.8, 0.2), verdict=VerdictLabel.COUNTERFEIT)
    out = branch("out", scores=scores(1.0, 0.0), verdict=VerdictLabel.NOT_IN_GALLERY)
    served = [Served(out), Served(far), Served(near)]
    assert examine(Bundles(served)).photographs[0].source.name == "near"
    told = examine(Bundles([Served(out), Served(branch("b", scores=scores(0), verdict=VerdictLabel.NOT_IN_GALLERY))]))
    assert told.photographs[0].source.name == "out"


@pytest.mark.parametrize("data", [(b"a",), (b"a", b"b")])
def test_fused_bundles_must_agree(branch, data):
    sure = branch("sure", scores=scores(0.9), verdict=VerdictLabel.GENUINE, product="p")
    agrees = branch("agrees", scores=scores(0.7), verdict=VerdictLabel.GENUINE, product="p")
    disagrees = branch("disagrees", scores=scores(0.6), verdict=VerdictLabel.COUNTERFEIT, product="p")
    elsewhere = branch("elsewhere", scores=scores(0.6), verdict=VerdictLabel.COUNTERFEIT, product="q")

    def answer(*branches, **ask):
        told = examine(Bundles([Served(one) for one in branches], choose="fused"), *data, **ask)
        return told.item or told.photographs[0].verdict

    assert answer(sure, agrees, elsewhere).verdict == VerdictLabel.GENUINE
    told = answer(agrees, disagrees, sure)
    assert (told.verdict, told.p_genuine) == (VerdictLabel.INCONCLUSIVE, None)
    assert "sure says genuine" in told.reason
    assert "disagrees says counterfeit" in told.reason
    assert answer(agrees, disagrees, sure, single=True).verdict == VerdictLabel.GENUINE


def enrol(bundles: Bundles, product: str, *data: bytes, bundle: str | None = None):
    uploads = [Upload(one, one.decode()) for one in data or (b"x",)]
    enrolment = Enrolment(product, "whole", "", Authenticity.GENUINE, "r", bundle=bundle)
    return asyncio.run(bundles.enrol(uploads, enrolment))


def test_references_go_to_every_gallery_of_their_product_once(branch):
    a, b, c = branch("a", "/one.lance"), branch("b", "/one.lance"), branch("c", "/two.lance")
    other = branch("other")
    bundles = Bundles([Served(a), Served(b), Served(c), Served(other, frozenset({"q"}))])
    enrol(bundles, "p", b"1", b"2", b"torn")
    assert [len(one.enrolled) for one in (a, b, c, other)] == [1, 0, 1, 0]
    assert [(entry.file, entry.error is None) for entry in c.entries] == [("1", True), ("2", True), ("torn", False)]
    enrol(bundles, "p", bundle="other")
    assert len(other.enrolled) == 1
    with pytest.raises(UnknownBundleError, match="'z'"):
        enrol(Bundles([Served(other, frozenset({"q"}))]), "z")


def test_a_reference_is_retired_wherever_it_is(branch):
    bundles = Bundles([Served(branch("a")), Served(branch("b"))])
    for reference_id in ("both", "a", "b"):
        assert asyncio.run(bundles.retire(reference_id, None)).reference_id == reference_id
    with pytest.raises(UnknownReferenceError):
        asyncio.run(bundles.retire("none", None))
    with pytest.raises(UnknownReferenceError):
        asyncio.run(bundles.retire("a", "b"))


def test_readiness_is_of_every_bundle_and_not_of_the_canary(branch):
    a, b, canary = branch("a"), branch("b"), branch(CANARY)
    bundles = Bundles([Served(a), Served(b)], canary=Canary(canary, 0, 0))
    told = asyncio.run(bundles.ready())
    assert (told.bundle_id, [state.name for state in told.bundles]) == ("a", ["a", "b", CANARY])
    canary.error = NotReadyError("loading")
    assert [state.name for state in asyncio.run(bundles.ready()).bundles] == ["a", "b"]
    b.error = NotReadyError("loading")
    with pytest.raises(NotReadyError):
        asyncio.run(bundles.ready())


class Pair:
    """A bundle and its second version."""

    def __init__(self, branch, share: float, compare_share: float, **told: Any):
        self.first, self.second, self.metrics = branch("default"), branch(CANARY, **told), Metrics()
        self.canary = Canary(self.second, share, compare_share)
        self.bundles = Bundles([Served(self.first)], canary=self.canary, metrics=self.metrics)

    def ask(self, number: int = 1, **ask: Any) -> list[str]:
        async def asked() -> list[str]:
            names = []
            for place in range(number):
                one = Query(Upload(b"x"), None)
                told = await self.bundles.examine([one], Ask(**{"request_id": f"r{place}", **ask}))
                names.append(told.photographs[0].source.name)
                while self.canary._comparing:
                    await asyncio.sleep(0)
            return names

        return asyncio.run(asked())

    def counted(self, name: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"hallmark_{name}"))


def test_the_canary_answers_its_share(branch):
    names = Pair(branch, 0.25, 0).ask(400)
    assert 60 <= names.count(CANARY) <= 140
    assert Pair(branch, 0.25, 0).ask(400) == names
    assert set(Pair(branch, 0, 0).ask(50)) == {"default"}
    assert set(Pair(branch, 1, 0).ask(50)) == {CANARY}


def test_the_share_changes_while_it_runs(branch):
    pair = Pair(branch, 0.0, 0.0)
    pair.bundles.direct(1.0, None)
    assert set(pair.ask(20)) == {CANARY}
    pair.bundles.direct(None, None)
    assert set(pair.ask(20)) == {"default"}
    Bundles([Served(branch("a"))]).direct(1.0, 1.0)


def test_a_named_bundle_and_a_certificate_are_no_business_of_the_canary(branch):
    pair = Pair(branch, 1, 1)
    assert pair.ask(canary=False) == ["default"]
    assert pair.ask(bundle="default") == ["default"]
    assert pair.ask(bundle=CANARY) == [CANARY]
    assert pair.counted("canary_compared_total") == 0


@pytest.mark.parametrize("error", [NotReadyError("loading"), RuntimeError("broken"), DecodeError("corrupt", "torn")])
def test_a_canary_that_fails_answers_nobody(branch, error, caplog):
    pair = Pair(branch, 1, 0)
    pair.second.error = error
    with caplog.at_level(logging.WARNING):
        assert pair.ask() == ["default"]
    assert pair.counted("canary_failed_total") == 1
    assert "r0" in caplog.text
    pair.first.error = DecodeError("corrupt", "torn")
    with pytest.raises(DecodeError):
        pair.ask()
    assert pair.counted("canary_failed_total") == 1


@pytest.mark.parametrize("share", [0, 1])
def test_verdicts_are_compared_and_disagreements_told(branch, caplog, share):
    agreeing = Pair(branch, share, 1)
    agreeing.ask(3)
    assert agreeing.counted('canary_compared_total{agree="yes"}') == 3
    assert not caplog.text
    disagreeing = Pair(branch, share, 1, verdict=VerdictLabel.COUNTERFEIT)
    with caplog.at_level(logging.WARNING):
        assert len(set(disagreeing.ask(3))) == 1
    assert disagreeing.counted('canary_compared_total{agree="no"}') == 3
    assert "counterfeit" in caplog.text
    assert (len(disagreeing.first.asked), len(disagreeing.second.asked)) == (3, 3)


def test_a_canary_writes_nothing(branch):
    pair = Pair(branch, 1, 1)
    enrol(pair.bundles, "p")
    assert pair.second.enrolled == []
    with pytest.raises(UnknownBundleError):
        enrol(pair.bundles, "p", bundle=CANARY)


def test_a_bundle_that_compared_nothing_is_as_sure_as_one_at_its_threshold(branch):
    """A classifier without a gallery answers where no other knows the product, and not where one does."""
    bare = branch("bare", p_genuine=0.9, product="a", scores=scores(None))
    for similarity, label, wanted in ((0.6, VerdictLabel.GENUINE, "knows"), (0.4, VerdictLabel.NOT_IN_GALLERY, "bare")):
        knows = branch("knows", verdict=label, scores=scores(similarity))
        for order in ([bare, knows], [knows, bare]):
            told = examine(Bundles([Served(one) for one in order]))
            assert told.photographs[0].source.name == wanted
