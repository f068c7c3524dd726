"""Which product a query is held against, and its nearest references: by similarity, or as a classifier names it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from hallmark.types import Classified, Described, Retrieved
from hallmark.verdict.calibration import Mode


class Index(Protocol):
    """What searches a gallery version."""

    def retrieve(self, descriptor: np.ndarray, num_candidates: int, *, product: str | None = None) -> Retrieved:
        """The likeliest product of a query, or the one that is asked for, and its nearest references."""


def retrieve(index: Index, query: Described, mode: Mode, num_candidates: int, product: str | None = None) -> Retrieved:
    """What is known of a query before any detail is compared.

    Where a classifier decides, it names the product, and the references are those of that product, if any; its log
    odds are of all products together, or of the one that was asked for. Where it is a piece of evidence among others
    the references name the product, and its log odds are of that one.

    Args:
        index: of the gallery version.
        query: the photograph.
        mode: of the calibration in force.
        num_candidates: K, references of each authenticity at most.
        product: the one to ask about; None = all.
    """
    classified = query.classified
    if mode != "classifier":
        found = index.retrieve(query.descriptor, num_candidates, product=product)
        return replace(found, classifier_logit=_log_odds(classified, found.product))
    named = classified.product if product is None else product
    found = index.retrieve(query.descriptor, num_candidates, product=named)
    if named not in classified.products:
        return replace(found, product=None, part=None, global_similarity=None, candidates=())
    log_odds = classified.log_odds() if product is None else classified.log_odds(product)
    return replace(found, product=named, classifier_logit=log_odds)


def _log_odds(classified: Classified | None, product: str | None) -> float | None:
    return None if classified is None or product not in classified.products else classified.log_odds(product)
