"""Figures over random splits."""

from __future__ import annotations

import numpy as np
import pytest

from hallmark.evaluation.outcomes import Answer, Outcome
from hallmark.evaluation.stability import stability


def outcome(right: int, test: int, train: int = 80) -> Outcome:
    answers = [
        Answer(
            image_id=str(place), item_id=f"i{place}", truth=place % 2, told=(place + (place >= right)) % 2, log_odds=0
        )
        for place in range(test)
    ]
    settings = {"products": ["a"], "validation": {}, "training_photographs": train, "training_items": 9}
    return Outcome(bundle_id="b", seed=0, answers=answers, **settings)


def test_the_interval_allows_for_what_the_splits_share():
    """Nadeau and Bengio by hand: three splits, 20 test photographs to 80 for training."""
    found = stability(["1", "2", "3"], [outcome(right, 20) for right in (16, 18, 20)])
    assert found.mean == pytest.approx(0.9)
    assert found.deviation == pytest.approx(0.1)
    reach = 4.302652729 * 0.1 * np.sqrt(1 / 3 + 0.25)
    assert found.low == pytest.approx(0.9 - reach)
    assert found.high == 1.0
    assert [one.accuracy.k for one in found.splits] == [16, 18, 20]
    assert [one.items for one in found.splits] == [20, 20, 20]


def test_splits_that_agree_have_no_width():
    found = stability(["1", "2"], [outcome(10, 10)] * 2)
    assert (found.mean, found.deviation, found.low, found.high) == (1.0, 0.0, 1.0, 1.0)
    # A split's own interval is still as wide as ten photographs make it.
    assert found.splits[0].accuracy.low < 0.8
