"""Successive halving and the median rule, against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.tuning.ledger import Stage, Status, Trial
from hallmark.tuning.settings import StoppingConfig
from hallmark.tuning.stopping import falls_behind, promoted

Make = Callable[..., Trial]
NOBODY = frozenset()


def test_the_best_third_goes_on(trial: Make) -> None:
    two = [trial("a", 0.5), trial("b", 0.7)]
    assert promoted(two, [1, 3, 9], 3, NOBODY) is None, "a third of two is none"
    three = [*two, trial("c", 0.6)]
    assert promoted(three, [1, 3, 9], 3, NOBODY).name == "b"
    assert promoted(three, [1, 3, 9], 3, frozenset({"b"})) is None


def test_the_highest_rung_is_filled_first(trial: Make) -> None:
    old = [trial(name, 0.5, 0.5, figure) for name, figure in (("a", 0.6), ("b", 0.9), ("c", 0.7))]
    new = [trial(name, 0.95) for name in "def"]
    assert promoted([*old, *new], [1, 3, 9], 3, NOBODY).name == "b"


def test_of_equal_trials_the_earlier_goes_on(trial: Make) -> None:
    assert promoted([trial(name, 0.5) for name in "abc"], [1, 3], 3, NOBODY).name == "a"


def test_a_trial_that_failed_is_not_counted(trial: Make) -> None:
    trials = [trial("a", 0.5), trial("b", 0.4), trial("c", 0.9, status=Status.FAILED)]
    assert promoted(trials, [1, 3], 3, NOBODY) is None


def test_nothing_is_promoted_where_there_is_one_rung(trial: Make) -> None:
    assert promoted([trial(name, 0.5) for name in "abc"], [1], 3, NOBODY) is None


def halved(curves: np.ndarray, levels: list[int], reduction: int) -> list[int]:
    """Epochs that each of the trials was trained for, one trial at a time."""
    trials: list[Trial] = []

    def trained(number: int, epoch: int) -> Trial:
        curve = tuple((e + 1, float(curves[number, e])) for e in range(epoch))
        status = Status.FINISHED if epoch == levels[-1] else Status.OPEN
        return Trial(f"{number}", Stage.SEARCH, {}, 0, status, curve)

    while True:
        earned = promoted(trials, levels, reduction, NOBODY)
        if earned is not None:
            number = int(earned.name)
            trials[number] = trained(number, next(level for level in levels if level > earned.epochs))
        elif len(trials) < len(curves):
            trials.append(trained(len(trials), levels[0]))
        else:
            return [one.epochs for one in trials]


@given(seed=st.integers(0, 10**6), count=st.integers(1, 27))
def test_rungs_hold_no_more_than_their_share_and_some_slack(seed: int, count: int) -> None:
    curves = np.random.default_rng(seed).random((count, 9))
    epochs = halved(curves, [1, 3, 9], 3)
    assert set(epochs) <= {1, 3, 9}
    at = [sum(reached >= level for reached in epochs) for level in (1, 3, 9)]
    assert at[0] == count
    # A promotion needs its place among those known so far, and may be overtaken by later ones.
    assert at[1] >= at[0] // 3
    assert at[2] >= at[1] // 3


def test_where_early_figures_tell_the_end_halving_finds_the_best_with_a_third_of_the_work() -> None:
    shares = []
    for seed in range(30):
        quality = np.random.default_rng(seed).random(27)
        curves = quality[:, None] * np.linspace(0.5, 1.0, 9)[None, :]
        epochs = halved(curves, [1, 3, 9], 3)
        assert epochs[int(quality.argmax())] == 9
        shares.append(sum(epochs) / (27 * 9))
    assert np.mean(shares) < 0.4


RULE = validate(StoppingConfig, {"rule": "median", "first_epochs": 2, "least_trials": 2}, "rule")


@given(seed=st.integers(0, 10**6), others=st.integers(0, 6), epoch=st.integers(1, 5))
def test_the_median_rule_against_plain_loops(seed: int, others: int, epoch: int) -> None:
    rng = np.random.default_rng(seed)
    own = [(e, float(rng.random())) for e in range(1, epoch + 1)]
    curves = {str(n): [(e, float(rng.random())) for e in range(1, int(rng.integers(1, 6)) + 1)] for n in range(others)}
    means = []
    for curve in curves.values():
        if curve[-1][0] >= epoch:
            known = [value for e, value in curve if e <= epoch]
            means.append(sum(known) / len(known))
    expected = epoch >= 2 and len(means) >= 2 and max(value for _, value in own) < np.median(means)
    told = falls_behind(own, curves, RULE)
    assert bool(told) == expected
    assert not told or f"after epoch {epoch}" in told


@pytest.mark.parametrize("curves", [{}, {"a": []}])
def test_alone_nobody_falls_behind(curves: dict) -> None:
    assert falls_behind([(5, 0.0)], curves, RULE) == ""
