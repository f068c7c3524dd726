"""The main figures of photographs that share a product, part or source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hallmark.evaluation.examined import DECIDED, Examined
from hallmark.evaluation.measures import Figures, Proportion, auroc
from hallmark.types import Authenticity, VerdictLabel


class Group(Figures):
    """The main figures of the in-domain photographs that share a product, part or source (name None = not known)."""

    name: str | None
    photographs: int
    items: int
    accuracy: Proportion
    genuine_recall: Proportion
    counterfeit_recall: Proportion
    coverage: Proportion
    product_accuracy: Proportion
    auroc: float | None


def group_by(in_domain: Sequence[Examined], key: Callable[[Examined], str | None]) -> list[Group]:
    """One group a value of the key, by name; photographs without the value last."""
    members: dict[str | None, list[Examined]] = {}
    for photograph in in_domain:
        members.setdefault(key(photograph), []).append(photograph)
    names = sorted(members, key=lambda name: (name is None, name))
    return [group(name, members[name]) for name in names]


def group(name: str | None, members: Sequence[Examined]) -> Group:
    """The figures of in-domain photographs, or of items where each entry is a whole item."""
    scored = [p for p in members if p.verdict.scores.decision is not None]
    return Group(
        name=name,
        photographs=len(members),
        items=count_items(members),
        accuracy=Proportion.count(photograph.is_right for photograph in members),
        genuine_recall=share(members, Authenticity.GENUINE, VerdictLabel.GENUINE),
        counterfeit_recall=share(members, Authenticity.COUNTERFEIT, VerdictLabel.COUNTERFEIT),
        coverage=Proportion.count(photograph.verdict.verdict in DECIDED for photograph in members),
        product_accuracy=Proportion.count(p.verdict.product == p.product for p in members),
        auroc=auroc(
            np.array([p.verdict.scores.decision for p in scored], dtype=float),
            np.array([p.authenticity == Authenticity.GENUINE for p in scored], dtype=bool),
        ),
    )


def count_items(photographs: Sequence[Examined]) -> int:
    """How many physical items the photographs show."""
    return len({photograph.item_id for photograph in photographs})


def share(photographs: Sequence[Examined], truth: Authenticity, label: VerdictLabel) -> Proportion:
    """Photographs of a truth that were given a verdict."""
    return Proportion.count(p.verdict.verdict == label for p in photographs if p.authenticity == truth)
