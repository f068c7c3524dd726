"""Calibration photographs parted by item: folds for out-of-fold scores, and bootstrap resamples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

_RESAMPLES = 1000
_MOST_FOLDS = 5


def item_folds(item_ids: Sequence[str], genuine: np.ndarray, products: Sequence[str]) -> np.ndarray | None:
    """A fold for every photograph, the same for all photographs of an item.

    Items are dealt out like cards, sorted by authenticity, product and name, so that every fold has about the same of
    each and no chance is involved. At most five folds, and no more than the rarer authenticity that occurs has items.

    Args:
        item_ids: of each photograph.
        genuine: (N,) bool.
        products: of each photograph.

    Returns:
        (N,) int64; None where an authenticity has a single item, so that a fold would leave none of it to fit on.
    """
    kinds: dict[str, tuple[bool, str]] = {}
    for item, kind, product in zip(item_ids, genuine, products, strict=True):
        known = kinds.get(item)
        kinds[item] = (bool(kind), product) if known is None else min(known, (bool(kind), product))
    told = {
        kind: sorted((product, item) for item, (k, product) in kinds.items() if k == kind) for kind in (False, True)
    }
    num_folds = min([_MOST_FOLDS, *(len(items) for items in told.values() if items)])
    if num_folds < 2:
        return None
    fold_of = {item: place % num_folds for items in told.values() for place, (_, item) in enumerate(items)}
    folds = np.array([fold_of[item] for item in item_ids])
    # An item of both authenticities may be the only one of its kind, whatever the counts say.
    whole = all(len(set(folds[genuine == kind])) != 1 for kind in (False, True))
    return folds if whole else None


def out_of_fold(folds: np.ndarray, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Scores of photographs by models that have not seen their items.

    Args:
        folds: (N,) int64.
        score: (fitted, scored) boolean masks over the photographs -> the scores of those scored, a row each.
    """
    told = {int(fold): score(folds != fold, folds == fold) for fold in np.unique(folds)}
    scores = np.empty((len(folds), *next(iter(told.values())).shape[1:]))
    for fold, own in told.items():
        scores[folds == fold] = own
    return scores


def resamples(item_ids: Sequence[str], seed: int) -> Iterator[np.ndarray]:
    """Rows of 1000 bootstrap resamples, drawn by item."""
    rng = np.random.default_rng(seed)
    told = np.array(item_ids)
    rows = [np.flatnonzero(told == item) for item in sorted(set(item_ids))]
    for _ in range(_RESAMPLES):
        yield np.concatenate([rows[place] for place in rng.integers(len(rows), size=len(rows))])
