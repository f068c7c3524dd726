"""What a sweep is said to take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hallmark.tuning.forecast import duration, forecast, search_epochs
from hallmark.tuning.settings import SweepConfig, check_space

Make = Callable[..., SweepConfig]
RUN = {"preset": "tiny", "manifest": "m", "validate_every": 1, "optimiser": {"epochs": 9}}


def test_a_grid_takes_every_epoch_of_every_trial(settings: Make) -> None:
    config = settings(run=RUN, price_per_hour=2.0)
    told = forecast(config, check_space(config), at_once=2, epoch_seconds=10.0)
    # Three trials, then three candidates and the run as it is with three seeds each.
    assert (told.trials, told.again, told.epochs) == (3, 12, (3 + 12) * 9)
    assert told.seconds == 135 * 10 / 2
    assert told.cost == pytest.approx(135 * 10 / 3600 * 2.0)
    assert told.sentence == (
        "3 trials, then at most 12 trainings to choose by: 135 epochs, about 11 min with 2 at once, a cost of 0.75"
    )


def test_halving_takes_what_its_rungs_hold(settings: Make) -> None:
    config = settings(
        run=RUN,
        space={"method.losses.alpha": {"uniform": [0.3, 1.0]}},
        search={"algorithm": "random", "trials": 9},
        stopping={"rule": "asha"},
    )
    # All nine for 1 epoch, three for 2 more, one for 6 more.
    assert search_epochs(config, check_space(config)) == 9 * 1 + 3 * 2 + 1 * 6


def test_without_a_price_there_is_no_cost(settings: Make) -> None:
    config = settings(run=RUN)
    assert "cost" not in forecast(config, check_space(config), 1, 1.0).sentence


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5000, "83 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_told_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
