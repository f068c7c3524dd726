"""The numbers of a sweep's report: trials, contenders, the winner's margin, what was stopped, what an axis explains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hallmark.evaluation.axis_importance import Importance, axis_importance
from hallmark.evaluation.judged_together import JudgedTogether, permutation_test, together
from hallmark.evaluation.measures import CONFIDENCE, Estimate, Figures
from hallmark.evaluation.sweep_axes import SweepAxis, sweep_axes
from hallmark.tuning.ledger import Stage, Status, Trial
from hallmark.tuning.result import SweepResult
from hallmark.tuning.selection import Contender
from hallmark.tuning.space import Scalar
from hallmark.types import Role


class TrialFigures(Figures):
    """One training."""

    name: str
    stage: Stage
    status: Status
    values: dict[str, Scalar]
    """By dotted key; empty: the run as it is."""
    seed: int
    epochs: int
    score: float | None
    """The best validation figure that it came to."""
    resampled: Estimate | None
    """Of a finished trial: its bundle's figure, the interval over items alone."""
    curve: list[tuple[int, float]]
    """(epoch, validation figure)."""
    reason: str
    """Why it failed or stopped."""


class ContenderFigures(Figures):
    """A recipe that was trained with every seed of the choice."""

    values: dict[str, Scalar]
    is_default: bool
    is_winner: bool
    by_seed: list[float | None]
    """Validation figures, one a seed; None where the training failed."""
    score: Estimate
    """Mean over the seeds, its interval over items and seeds; without a value where a training failed."""


class Margin(Figures):
    """Winner against default on the test photographs, which nothing was picked by."""

    seeds: list[int]
    """That both came through with."""
    photographs: int
    items: int
    default_won: bool
    winner: Estimate
    default: Estimate
    difference: Estimate
    """The winner's figure less the default's, paired by seed and photograph."""
    p_value: float | None
    """Of the permutation test; None where nothing was compared."""

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0 and the test agrees."""
        low, high = self.difference.low, self.difference.high
        apart = low is not None and high is not None and (low > 0 or high < 0)
        return apart and self.p_value is not None and self.p_value < 1 - CONFIDENCE

    @property
    def words(self) -> str:
        """What it comes to."""
        if self.default_won:
            return "the default won: there is nothing to compare"
        if not self.seeds:
            return "not compared: a training of the default failed with every seed"
        if self.difference.value is None:
            return "not compared: there are no test photographs of both truths"
        if self.difference.low is None:
            return "not tested: too few items"
        if not self.is_significant:
            return "no significant difference"
        return "better than the default" if self.difference.value > 0 else "worse than the default"


class StopLevel(Figures):
    """What was stopped after one epoch."""

    epoch: int
    reached: int
    """Trials that came as far."""
    stopped: int
    """Of these, those that went no further."""
    saved: int
    """Epochs that these were not trained for."""


class Spent(Figures):
    """Epochs of the search, of the trials that did not fail: a full count, no sample."""

    trials: int
    planned: int
    """Every trial to the end."""
    trained: int
    failed: int
    """Epochs of trials that failed, which are in neither."""
    choice: int
    """Epochs of the contenders' trainings."""
    stops: list[StopLevel]

    @property
    def saved(self) -> float | None:
        """Share of the planned epochs."""
        return 1 - self.trained / self.planned if self.planned else None


class SweepFigures(Figures):
    """All that a sweep's report tells, but for seconds and settings."""

    method: str
    metric: str
    axes: list[SweepAxis]
    epochs: int
    """Of a trial that is trained to the end."""
    levels: list[int]
    """Epochs after which trials were compared."""
    seed: int
    """Of every trial of the search."""
    seeds: list[int]
    """Of the choice."""
    photographs: int
    """That validate."""
    items: int
    trials: list[TrialFigures]
    """Of the search, in their order."""
    contenders: list[ContenderFigures]
    margin: Margin
    spent: Spent
    importance: Importance | None

    @property
    def winner(self) -> ContenderFigures:
        """The contender that won."""
        return next(one for one in self.contenders if one.is_winner)

    @property
    def failures(self) -> list[TrialFigures]:
        """Trials of the search that failed."""
        return [trial for trial in self.trials if trial.status is Status.FAILED]

    @property
    def stopped(self) -> list[TrialFigures]:
        """Trials of the search that were left before the end."""
        return [trial for trial in self.trials if trial.status in (Status.STOPPED, Status.OPEN)]


def sweep_figures(result: SweepResult) -> SweepFigures:
    """Measure a sweep.

    Raises:
        DataError: what was said of photographs cannot be read, or is not about the same ones.
    """
    axes = sweep_axes(result.config.space, result.run)
    of_winner = _judged(result, result.winner.trials, Role.VAL)
    return SweepFigures(
        method=result.config.method,
        metric=result.metric,
        axes=axes,
        epochs=result.levels[-1],
        levels=list(result.levels),
        seed=result.config.seed,
        seeds=list(result.config.choice.seeds),
        photographs=len(of_winner.image_ids),
        items=of_winner.num_items,
        trials=[_trial(result, trial) for trial in result.search],
        contenders=[_contender(result, one) for one in result.contenders],
        margin=_margin(result),
        spent=_spent(result),
        importance=_importance(result, axes),
    )


def _judged(result: SweepResult, trials: Sequence[Trial], role: Role) -> JudgedTogether:
    return together([result.judged(trial, role) for trial in trials])


def _estimate(result: SweepResult, answers: JudgedTogether) -> Estimate:
    bootstrap = answers.bootstrap(result.config.bootstrap_seed, result.config.resamples)
    return bootstrap.estimate(lambda weights: answers.figure(result.metric, weights))


def _trial(result: SweepResult, trial: Trial) -> TrialFigures:
    finished = trial.status is Status.FINISHED
    return TrialFigures(
        name=trial.name,
        stage=trial.stage,
        status=trial.status,
        values=trial.values,
        seed=trial.seed,
        epochs=trial.epochs,
        score=trial.score,
        resampled=_estimate(result, _judged(result, [trial], Role.VAL)) if finished else None,
        curve=list(trial.curve),
        reason=trial.reason,
    )


def _contender(result: SweepResult, contender: Contender) -> ContenderFigures:
    whole = contender.mean is not None
    return ContenderFigures(
        values=contender.candidate.values,
        is_default=contender.candidate.is_default,
        is_winner=contender == result.winner,
        by_seed=[trial.score if trial.status is Status.FINISHED else None for trial in contender.trials],
        score=_estimate(result, _judged(result, contender.trials, Role.VAL)) if whole else _undefined(),
    )


def _undefined() -> Estimate:
    return Estimate(value=None, low=None, high=None, n=0)


def _margin(result: SweepResult) -> Margin:
    """See Margin; where the default won, both are the same trainings and nothing is tested."""
    finished = {trial.seed: trial for trial in result.default.trials if trial.status is Status.FINISHED}
    ours = [trial for trial in result.winner.trials if trial.seed in finished]
    default_won = result.winner.candidate.is_default
    if not ours:
        answers = _judged(result, result.winner.trials, Role.TEST)
        known = {"winner": _estimate(result, answers), "default": _undefined(), "difference": _undefined()}
        return _margin_of(answers, [], default_won, known, None)
    theirs = [finished[trial.seed] for trial in ours]
    both = _judged(result, [*ours, *theirs], Role.TEST)
    answers, other = both.of(slice(None, len(ours))), both.of(slice(len(ours), None))
    bootstrap = answers.bootstrap(result.config.bootstrap_seed, result.config.resamples)

    def gain(weights: np.ndarray) -> float | None:
        figures = [one.figure(result.metric, weights) for one in (answers, other)]
        return None if None in figures else figures[0] - figures[1]

    known = {"winner": _estimate(result, answers), "default": _estimate(result, other)}
    known["difference"] = _undefined() if default_won else bootstrap.estimate(gain)
    tested = known["difference"].low is not None
    draws = (result.metric, result.config.resamples, result.config.bootstrap_seed)
    p_value = permutation_test(answers, other, *draws) if tested else None
    return _margin_of(answers, [trial.seed for trial in ours], default_won, known, p_value)


def _margin_of(
    answers: JudgedTogether, seeds: list[int], default_won: bool, known: dict[str, Estimate], p_value: float | None
) -> Margin:
    counts = {"photographs": len(answers.image_ids), "items": answers.num_items}
    return Margin(seeds=seeds, default_won=default_won, p_value=p_value, **counts, **known)


def _spent(result: SweepResult) -> Spent:
    kept = [trial for trial in result.search if trial.status is not Status.FAILED]
    last = result.levels[-1]
    ends = sorted({trial.epochs for trial in kept if trial.status is not Status.FINISHED})
    stops = []
    for epoch in ends:
        stopped = sum(trial.epochs == epoch and trial.status is not Status.FINISHED for trial in kept)
        reached = sum(trial.epochs >= epoch for trial in kept)
        stops.append(StopLevel(epoch=epoch, reached=reached, stopped=stopped, saved=stopped * (last - epoch)))
    return Spent(
        trials=len(kept),
        planned=len(kept) * last,
        trained=sum(trial.epochs for trial in kept),
        failed=sum(trial.epochs for trial in result.search if trial.status is Status.FAILED),
        choice=sum(trial.epochs for one in result.contenders for trial in one.trials),
        stops=stops,
    )


def _importance(result: SweepResult, axes: list[SweepAxis]) -> Importance | None:
    """By scores after as many epochs as the first that was stopped came to, so that all are alike."""
    scored = [trial for trial in result.search if trial.status is not Status.FAILED and trial.score is not None]
    epoch = min((trial.epochs for trial in scored), default=0)
    known = [(trial.values, trial.score_by(epoch)) for trial in scored]
    known = [(values, score) for values, score in known if score is not None]
    scores = [score for _, score in known]
    return axis_importance(axes, [values for values, _ in known], scores, epoch, result.config.bootstrap_seed)
