"""What is trained next, by the ledger alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as generated
from hypothesis import strategies as st

from hallmark.errors import SweepError
from hallmark.tuning.ledger import Ledger, Leg, Stage, Status, Trial
from hallmark.tuning.schedule import Schedule, Stretch
from hallmark.tuning.selection import Candidate, candidates, contenders, winner
from hallmark.tuning.settings import SweepConfig, check_space

Make = Callable[..., SweepConfig]
NOBODY = frozenset()
ALPHAS = {"method.losses.alpha": {"choice": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.35]}}
RUN = {"preset": "tiny", "manifest": "m", "validate_every": 1, "optimiser": {"epochs": 9}}


def figure(trial: Trial, epoch: int) -> float:
    """What a training of the trial would show: a function of its recipe."""
    return (trial.values.get("method.losses.alpha", 0.5) * 37 % 1) * 0.9 + 0.01 * epoch + 0.001 * (trial.seed % 7)


def train(ledger: Ledger, stretch: Stretch, epochs: int) -> None:
    curve = tuple((epoch, figure(stretch.trial, epoch)) for epoch in range(1, stretch.until + 1))
    status = Status.FINISHED if stretch.until == epochs else Status.OPEN
    ledger.record(stretch.trial.name, Leg(status, curve, seconds=1.0))


def work(folder: Path, config: SweepConfig, stretches: int | None = None) -> list[tuple[str, int]]:
    """Open the ledger and train so many stretches, or all; the last one may be broken off."""
    run, done = check_space(config), []
    with Ledger(folder, "a") as ledger:
        schedule = Schedule(config, run, ledger, None)
        while (stretch := schedule.next(NOBODY)) is not None:
            if stretches is not None and len(done) == stretches:
                return done  # killed while it trains
            train(ledger, stretch, run.optimiser.epochs)
            done.append((stretch.trial.name, stretch.until))
    return done


@pytest.mark.parametrize("rule", ["none", "asha"])
def test_every_trial_is_begun_and_trained_once(settings: Make, tmp_path: Path, rule: str) -> None:
    done = work(tmp_path, settings(space=ALPHAS, run=RUN, stopping={"rule": rule}))
    assert len(done) == len(set(done))
    assert len({name for name, _ in done}) == 9
    if rule == "none":
        assert all(until == 9 for _, until in done)
    else:
        assert sum(until == 9 for _, until in done) >= 1
        with Ledger(tmp_path, "a") as ledger:
            best = max(ledger.trials, key=lambda trial: trial.score)
            assert best.epochs == 9
            assert sum(trial.epochs for trial in ledger.trials) <= 0.4 * 9 * 9


@given(kills=st.lists(st.integers(0, 5), max_size=8), rule=st.sampled_from(["none", "asha"]))
@generated(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_killed_anywhere_it_ends_as_if_it_had_not_been(
    settings: Make, tmp_path_factory: pytest.TempPathFactory, kills: list[int], rule: str
) -> None:
    config = settings(space=ALPHAS, run=RUN, stopping={"rule": rule})
    unbroken, broken = tmp_path_factory.mktemp("unbroken"), tmp_path_factory.mktemp("broken")
    whole = work(unbroken, config)
    done = [stretch for kill in kills for stretch in work(broken, config, kill)] + work(broken, config)
    assert done == whole, "no stretch is lost, and none is done again"
    assert (broken / "sweep.jsonl").read_text() == (unbroken / "sweep.jsonl").read_text()


def test_several_at_once_are_different_trials(settings: Make, tmp_path: Path) -> None:
    config = settings(space=ALPHAS, run=RUN)
    with Ledger(tmp_path, "a") as ledger:
        schedule = Schedule(config, check_space(config), ledger, None)
        busy: frozenset[str] = NOBODY
        while (stretch := schedule.next(busy)) is not None:
            busy |= {stretch.trial.name}
        assert len(busy) == len(ledger.trials) == 9


def test_a_failed_trial_is_not_tried_again(settings: Make, tmp_path: Path) -> None:
    config = settings(run=RUN)
    with Ledger(tmp_path, "a") as ledger:
        schedule, begun = Schedule(config, check_space(config), ledger, None), []
        while (stretch := schedule.next(NOBODY)) is not None:
            begun.append(stretch.trial.name)
            ledger.record(stretch.trial.name, Leg(Status.FAILED, (), "no memory"))
        assert begun == ["s000", "s001", "s002"]
        with pytest.raises(SweepError, match="all 3 trials failed; the first, s000: no memory"):
            candidates(config, ledger.trials)


def test_candidates_are_trained_with_every_seed(settings: Make, tmp_path: Path) -> None:
    config = settings(run=RUN)
    found = [Candidate({"method.losses.alpha": 0.3}, False), Candidate({}, True)]
    with Ledger(tmp_path, "a") as ledger:
        schedule = Schedule(config, check_space(config), ledger, found)
        while (stretch := schedule.next(NOBODY)) is not None:
            assert stretch.until == 9
            train(ledger, stretch, 9)
        contending = contenders(found, ledger.of(Stage.CHOICE))
    assert [[trial.seed for trial in one.trials] for one in contending] == [[101, 102, 103]] * 2
    assert [one.trials[0].values for one in contending] == [{"method.losses.alpha": 0.3}, {}]


def test_the_best_finished_trials_and_the_run_as_it_is_contend(settings: Make, trial: Callable[..., Trial]) -> None:
    config = settings(space=ALPHAS, choice={"top": 2})
    search = [
        trial("a", 0.9, status=Status.STOPPED, values={"method.losses.alpha": 0.9}),
        trial("b", 0.6, status=Status.FINISHED, values={"method.losses.alpha": 0.3}),
        trial("c", 0.7, status=Status.FINISHED, values={"method.losses.alpha": 0.4}),
        trial("d", 0.7, status=Status.FAILED, values={"method.losses.alpha": 1.0}),
    ]
    found = candidates(config, search)
    assert [(one.values.get("method.losses.alpha"), one.is_default) for one in found] == [
        (0.4, False),
        (0.3, False),
        (None, True),
    ]


def test_a_trial_that_is_the_run_as_it_is_contends_once(settings: Make, trial: Callable[..., Trial]) -> None:
    same = trial("a", 0.6, status=Status.FINISHED, values={"method.losses.alpha": 0.5})
    again = trial("b", 0.6, status=Status.FINISHED, values={"method.losses.alpha": 0.5})
    found = candidates(settings(), [same, again])
    assert [(one.values, one.is_default) for one in found] == [({"method.losses.alpha": 0.5}, True)]


def test_the_highest_mean_wins_and_of_equal_ones_the_default(trial: Callable[..., Trial]) -> None:
    def trained(*scores: float, status: Status = Status.FINISHED) -> list[Trial]:
        return [trial("c", score, status=status, reason="gone") for score in scores]

    found = [Candidate({"x": 1}, False), Candidate({"x": 2}, False), Candidate({}, True)]
    assert winner(contenders(found, trained(0.5, 0.7, 0.6, 0.5, 0.4, 0.3))).candidate.values == {"x": 1}
    assert winner(contenders(found, trained(0.5, 0.7, 0.6, 0.5, 0.6, 0.6))).candidate.is_default
    one_failed = [*trained(0.9), *trained(0.9, status=Status.FAILED), *trained(0.1, 0.1, 0.2, 0.2)]
    assert winner(contenders(found, one_failed)).candidate.is_default
    with pytest.raises(SweepError, match=r"no candidate could be trained with every seed; .* c: gone"):
        winner(contenders(found, trained(*[0.5] * 6, status=Status.FAILED)))


def test_the_ledger_is_readable_by_others(settings: Make, tmp_path: Path) -> None:
    work(tmp_path, settings(run=RUN))
    events = [json.loads(line) for line in (tmp_path / "sweep.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["sweep", *["suggested", "trained"] * 3]
