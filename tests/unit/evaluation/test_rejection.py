"""Rejection by rule and by kind of unrelated photograph, against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from hallmark.evaluation.measures import ItemBootstrap
from hallmark.evaluation.metrics import Examined, Proportion
from hallmark.evaluation.rejection import RejectionReport, reject, rejected_at, verification_scores

Maker = Callable[..., Examined]


@given(
    inside=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    outside=st.lists(st.integers(0, 9), max_size=20),
    share=st.sampled_from([0.0, 0.01, 0.05, 0.3, 0.9]),
)
def test_rejected_at_takes_the_highest_threshold_allowed(inside: list, outside: list, share: float) -> None:
    scores = sorted({float(s) for s in inside})
    allowed = [t for t in scores if sum(s < t for s in inside) <= share * len(inside)]
    found = rejected_at(np.array(inside, float), np.array(outside, float), share)
    assert (found.k, found.n) == (sum(s < max(allowed) for s in outside), len(outside))


def test_without_in_domain_photographs_no_rejection_is_measured() -> None:
    assert rejected_at(np.empty(0), np.zeros(4), 0.01) == Proportion.of(0, 0)


values = st.one_of(st.none(), st.integers(0, 4))


@given(st.lists(st.tuples(st.integers(0, 4), values, st.booleans()), min_size=1, max_size=15))
def test_verification_is_the_lower_rank(rows: list) -> None:
    similarity = np.array([row[0] for row in rows], float)
    ratio = np.array([np.nan if row[1] is None else row[1] for row in rows], float)
    inside = np.array([row[2] for row in rows], bool)
    found = verification_scores(similarity, ratio, inside)
    known = [row for row in rows if row[2] and row[1] is not None]
    if not known:
        assert found.tolist() == similarity.tolist()
        return
    for score, (g, r, _) in zip(found, rows, strict=True):
        mine = [row for row in rows if row[2]]
        by_similarity = sum(row[0] <= g for row in mine) / len(mine)
        by_ratio = 1.0 if r is None else sum(row[1] <= r for row in known) / len(known)
        assert score == pytest.approx(min(by_similarity, by_ratio))


@pytest.fixture(scope="module")
def photographs(make_examined: Maker) -> list[Examined]:
    """60 in-domain photographs and 40 unrelated ones of two kinds; produce looks alike and does not match."""
    rng, made = np.random.default_rng(1), []
    for number in range(60):
        truth = ("genuine", "counterfeit")[number % 2]
        similarity, inliers = rng.normal(0.7, 0.1), rng.normal(0.6, 0.1)
        made.append(make_examined(truth, truth, item=f"i{number}", similarity=similarity, inliers=inliers))
    for number in range(40):
        kind = ("everyday", "produce")[number % 2]
        similarity, inliers = rng.normal(0.3 if kind == "everyday" else 0.6, 0.1), rng.normal(0.1, 0.1)
        label = "not_in_gallery" if number % 3 else "inconclusive"
        told = {"source": kind, "similarity": similarity, "inliers": inliers if number % 5 else None}
        made.append(make_examined("unrelated", label, product=None, item=f"u{number}", **told))
    return made


def bootstrap_of(photographs: list[Examined], resamples: int = 100) -> ItemBootstrap:
    items, truths = ([getattr(p, name) for p in photographs] for name in ("item_id", "authenticity"))
    return ItemBootstrap(np.array(items, dtype=str), np.array([str(t) for t in truths], dtype=str), 0, resamples)


@pytest.fixture(scope="module")
def report(photographs: list[Examined]) -> RejectionReport:
    return reject(photographs, bootstrap_of(photographs))


def test_kinds_are_told_apart(photographs: list[Examined], report: RejectionReport) -> None:
    assert [(row.rule, row.kind) for row in report.rules] == [
        (rule, kind) for rule in ("global", "verification") for kind in (None, "everyday", "produce")
    ]
    for kind, found in report.by_kind.items():
        own = [p for p in photographs if p.source_id == kind]
        assert found == Proportion.count(p.verdict.verdict == "not_in_gallery" for p in own)
    assert sum(found.n for found in report.by_kind.values()) == report.unrelated_rejected.n == 40


@pytest.mark.parametrize("kind", [None, "everyday", "produce"])
def test_the_global_rule_against_sklearn(photographs: list[Examined], report: RejectionReport, kind: str) -> None:
    chosen = [p for p in photographs if p.in_domain or kind is None or p.source_id == kind]
    inside = np.array([p.in_domain for p in chosen])
    scores = np.array([p.verdict.scores.global_similarity for p in chosen])
    row = report.rule("global", kind)
    assert row.auroc.value == pytest.approx(roc_auc_score(inside, scores))
    assert row.auroc.n == len(chosen)
    let_in, kept, _ = roc_curve(inside, scores, drop_intermediate=False)
    assert row.fpr95.value == pytest.approx(let_in[kept >= 0.95].min())
    assert row.fpr95.k + row.at_frr_5.k == row.fpr95.n == row.at_frr_5.n == (~inside).sum()
    threshold = np.sort(scores[inside])[3]  # 5 % of 60
    fakes = [p for p in chosen if p.authenticity == "counterfeit"]
    assert row.counterfeit_at_frr_5.k == sum(p.verdict.scores.global_similarity < threshold for p in fakes)


def test_matches_tell_apart_what_looks_alike(report: RejectionReport) -> None:
    alike, matched = (report.rule(rule, "produce") for rule in ("global", "verification"))
    assert matched.auroc.value > alike.auroc.value
    assert matched.at_frr_5.k > alike.at_frr_5.k


def test_without_sources_there_is_one_kind_and_without_inliers_one_rule(make_examined: Maker) -> None:
    made = [make_examined(item="i"), make_examined("unrelated", "genuine", product=None, similarity=0.1, item="u")]
    report = reject(made, bootstrap_of(made))
    assert list(report.by_kind) == ["unrelated"]
    assert [(row.rule, row.kind) for row in report.rules] == [("global", None)]
    assert report.rule("global").at_frr_1 == Proportion.of(1, 1)
    assert report.rule("verification") is None


@pytest.mark.parametrize("truths", [[], ["genuine"], ["unrelated"]])
def test_one_side_alone_can_be_measured(make_examined: Maker, truths: list) -> None:
    made = [make_examined(truth, inliers=0.5) for truth in truths]
    report = reject(made, bootstrap_of(made))
    assert report.rule("global").auroc.value is None
    assert report.rule("global").fpr95.value is None
