"""What a sweep may be asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hallmark.errors import ConfigError
from hallmark.tuning.settings import SweepConfig, check_space, rungs, trial_run, trial_settings

Make = Callable[..., SweepConfig]


@pytest.mark.parametrize(
    ("laid_over", "told"),
    [
        ({"space": {}}, "space: found {}"),
        ({"space": {"a": {"choice": [1]}, "a.b": {"choice": [1]}}}, "found a and a.b within it"),
        ({"space": {"method.losses.alpha": {"uniform": [0.1, 1.0]}}}, "found a range; wanted a choice for a grid"),
        ({"search": {"algorithm": "tpe"}}, "search.trials: found None; wanted a count for tpe"),
        ({"search": {"algorithm": "grid", "trials": 3}}, "search.trials: found 3; wanted none with a grid"),
        ({"choice": {"seeds": [1, 2]}}, "choice.seeds"),
        ({"choice": {"seeds": [1, 2, 2]}}, "each seed once"),
        ({"choice": {"seeds": [0, 1, 2]}}, "the seed of the search"),
        ({"run": {"preset": "tiny"}}, "found no manifest"),
        ({"run": {"manifest": "m", "seed": 1}}, "found seed"),
        ({"space": {"seed": {"choice": [1]}}}, "space: found seed, which does not belong"),
        ({"space": {"calibration.objective": {"choice": ["argmax"]}}}, "found calibration.objective"),
        ({"method": "yolo"}, "method: found 'yolo'"),
    ],
)
def test_settings_that_make_no_sweep_are_refused(settings: Make, laid_over: dict, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**laid_over)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"method.losses.alpa": {"choice": [0.5]}}, "method.losses.alpa: unknown key; did you mean 'alpha'?"),
        ({"method.losses.alpha": {"choice": [0.5, 1.2]}}, "method.losses.alpha: found 1.2"),
        ({"preprocessing.fill": {"choice": ["gray", "pink"]}}, "preprocessing.fill: found 'pink'"),
    ],
)
def test_a_space_is_checked_before_any_training(settings: Make, space: dict, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_space(settings(space=space))
    assert told in str(caught.value)


@pytest.mark.parametrize("bounds", [(-0.1, 1.0), (0.1, 1.1)])
@pytest.mark.parametrize("weight", ["alignment", "pseudo_correspondence"])
def test_weights_of_the_first_paper_lie_between_0_and_1(settings: Make, weight: str, bounds: tuple) -> None:
    config = settings(
        method="fod",
        space={f"method.losses.{weight}.weight": {"uniform": bounds}},
        search={"algorithm": "random", "trials": 4},
    )
    with pytest.raises(ConfigError, match=f"method.losses.{weight}.weight: found"):
        check_space(config)


def test_a_figure_that_is_never_reported_is_refused(settings: Make) -> None:
    with pytest.raises(ConfigError, match="found 'auroc', which a validation never reports; wanted one of accuracy"):
        check_space(settings(metric="auroc"))


def test_rungs_follow_validations_and_end_with_the_run(settings: Make) -> None:
    run = {"preset": "tiny", "manifest": "m", "validate_every": 4, "optimiser": {"epochs": 40}}
    config = settings(run=run, stopping={"rule": "asha", "first_epochs": 2})
    assert rungs(config, check_space(config)) == [4, 8, 20, 40]
    assert rungs(settings(run=run), check_space(config)) == [40]


def test_a_first_rung_beyond_the_end_is_refused(settings: Make) -> None:
    with pytest.raises(ConfigError, match=r"wanted a rung below run\.optimiser.epochs, 40"):
        check_space(settings(stopping={"rule": "asha", "first_epochs": 50}))


def test_a_trial_is_the_run_with_its_values(settings: Make) -> None:
    config = settings()
    run = trial_run(config, {"method.losses.alpha": 1.0}, 7, Path("here"))
    assert (run.method.losses.alpha, run.seed, run.out, run.preprocessing.side_px) == (1.0, 7, "here", 96)
    assert "losses" not in config.run.get("method", {}), "the settings themselves are not changed"
    assert trial_settings(config, {"method.losses.alpha": 1.0})["method"] == {"losses": {"alpha": 1.0}}
