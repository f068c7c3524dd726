"""What is tried next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hallmark.tuning.ledger import Stage, Status, Trial
from hallmark.tuning.search import suggestion
from hallmark.tuning.settings import SweepConfig

Make = Callable[..., SweepConfig]
SPACE = {
    "method.losses.alpha": {"uniform": [0.3, 1.0]},
    "preprocessing.fill": {"choice": ["gray", "auto"]},
    "scramble.degree": {"integers": [2, 20]},
}


def searched(config: SweepConfig, score: Callable[[dict], float]) -> list[Trial]:
    trials: list[Trial] = []
    while (values := suggestion(config, trials)) is not None:
        curve = ((1, score(values)),)
        trials.append(Trial(f"s{len(trials):03}", Stage.SEARCH, values, 0, Status.FINISHED, curve))
    return trials


def test_a_grid_is_walked_once(settings: Make) -> None:
    assert [trial.values["method.losses.alpha"] for trial in searched(settings(), lambda _: 0.5)] == [0.3, 0.5, 1.0]


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_values_lie_in_the_space_and_are_the_same_again(settings: Make, algorithm: str) -> None:
    config = settings(space=SPACE, search={"algorithm": algorithm, "trials": 20, "first_random": 5})
    trials = searched(config, lambda values: values["method.losses.alpha"])
    assert len(trials) == 20
    assert trials == searched(config, lambda values: values["method.losses.alpha"])
    for trial in trials:
        assert 0.3 <= trial.values["method.losses.alpha"] <= 1.0
        assert trial.values["preprocessing.fill"] in ("gray", "auto")
        assert trial.values["scramble.degree"] in range(2, 21)
        assert list(trial.values) == list(SPACE)
    assert trials != searched(config.model_copy(update={"seed": 1}), lambda values: values["method.losses.alpha"])


def test_the_estimator_draws_where_it_was_good(settings: Make) -> None:
    config = settings(space=SPACE, search={"algorithm": "tpe", "trials": 40, "first_random": 10})
    trials = searched(config, lambda values: -abs(values["method.losses.alpha"] - 0.45))
    distance = [abs(trial.values["method.losses.alpha"] - 0.45) for trial in trials]
    assert sum(distance[-15:]) / 15 < sum(distance[:10]) / 10 / 2


def test_a_trial_without_a_score_teaches_nothing(settings: Make) -> None:
    config = settings(space=SPACE, search={"algorithm": "tpe", "trials": 9, "first_random": 2})
    failed = [Trial(f"s{n}", Stage.SEARCH, {}, 0, Status.FAILED) for n in range(4)]
    assert suggestion(config, failed) is not None
