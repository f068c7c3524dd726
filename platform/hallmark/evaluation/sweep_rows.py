"""A sweep as texts: its sentences, the tables of page and markdown, and the same as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from hallmark.evaluation.measures import Estimate
from hallmark.evaluation.rows import NONE, Section, estimate_cell, interval, number, percent
from hallmark.evaluation.sweep_axes import recipe_text, value_text
from hallmark.evaluation.sweep_figures import ContenderFigures, Margin, SweepFigures, TrialFigures
from hallmark.evaluation.tables import as_text
from hallmark.tuning.ledger import Status

_METHODS = {"fod": "FoD", "kag_mtln": "KAG-MTLN"}
_STATUS = {Status.FINISHED: "to the end", Status.STOPPED: "stopped", Status.OPEN: "stopped", Status.FAILED: "failed"}
_SHOWN = 200
"""Longest reason in a table of the page, characters; the CSV has all of it."""


def title_of(figures: SweepFigures) -> str:
    """What was swept."""
    return f"Sweep of {_METHODS[figures.method]} over {_listed([axis.label for axis in figures.axes])}"


def winner_sentence(figures: SweepFigures) -> str:
    """Who won, by how much on validation."""
    winner, seeds = figures.winner, len(figures.seeds)
    recipe = recipe_text(winner.values, figures.axes)
    default = next(one for one in figures.contenders if one.is_default)
    against = "" if winner.is_default else f", against {number(default.score.value)} of the default"
    if not winner.is_default and default.score.value is None:
        against = "; a training of the default failed"
    name = "The default" if winner.is_default else recipe
    values = f" ({recipe})" if winner.is_default and winner.values else ""
    return (
        f"{name}{values} won: validation {figures.metric} {number(winner.score.value)} (95 % interval "
        f"{interval(winner.score)}), mean of {seeds} seeds over {figures.photographs} photographs of {figures.items} "
        f"items{against}."
    )


def margin_sentence(figures: SweepFigures) -> str:
    """What the winner's margin against the default comes to on the test photographs."""
    margin = figures.margin
    basis = f"On the {margin.photographs} test photographs of {margin.items} items"
    if margin.default_won or margin.difference.value is None:
        known = "" if margin.winner.value is None else f"{basis} its {figures.metric} is {_cell(margin.winner)}; "
        words = f"{known}{margin.words}."
        return words[0].upper() + words[1:]
    tested = "" if margin.p_value is None else f", paired permutation test over items p {_p_text(margin.p_value)}"
    return (
        f"{basis}, with seeds {', '.join(map(str, margin.seeds))}, its {figures.metric} is {_cell(margin.winner)} "
        f"against {_cell(margin.default)} of the default, a difference of {difference_cell(margin)}{tested}: "
        f"{margin.words}."
    )


def difference_cell(margin: Margin) -> str:
    """Winner less default with its interval."""
    return _signed(margin.difference)


def headline_rows(figures: SweepFigures) -> list[list[str]]:
    """The main figures as [name, value, interval, counts] texts."""
    spent, margin = figures.spent, figures.margin
    seeds = f"{len(figures.seeds)} seeds"
    tested = f"{len(margin.seeds)} seeds, {margin.photographs} photographs, {margin.items} items"
    rows = [["winner", recipe_text(figures.winner.values, figures.axes), NONE, seeds]]
    for one in figures.contenders:
        name = " and ".join(word for word, has in (("winner", one.is_winner), ("default", one.is_default)) if has)
        if name:
            counts = f"{seeds}, n = {one.score.n}"
            row = [f"validation {figures.metric}, {name}", number(one.score.value), interval(one.score), counts]
            rows.append(row)
    rows.append([f"test {figures.metric}, winner", number(margin.winner.value), interval(margin.winner), tested])
    if not margin.default_won:
        rows.append([f"test {figures.metric}, default", number(margin.default.value), interval(margin.default), tested])
        gain = margin.difference
        value = NONE if gain.value is None else f"{gain.value:+.3f}"
        rows.append(["winner less default, test", value, interval(gain), f"{tested}, p {_p_text(margin.p_value)}"])
    rows.append(["against the default", margin.words, NONE, tested])
    rows.append(["epochs saved", percent(spent.saved), NONE, f"{spent.planned - spent.trained}/{spent.planned}"])
    return rows


def contender_section(figures: SweepFigures) -> Section:
    """One row a contender, best of the search first."""
    columns = ["contender", "", *map(str, figures.seeds), f"validation {figures.metric}", "answers"]
    rows = [
        [
            recipe_text(one.values, figures.axes),
            ", ".join(_roles(one)),
            *map(number, one.by_seed),
            estimate_cell(one.score),
            f"n = {one.score.n}",
        ]
        for one in figures.contenders
    ]
    note = (
        f"By seed, then the mean with its 95 % interval over items and seeds; {figures.photographs} photographs of "
        f"{figures.items} items validate. The contender with the highest mean won; of equal ones the default."
    )
    return Section("contenders", "Contenders", columns, rows, note)


def trial_section(figures: SweepFigures) -> Section:
    """One row a trial of the search, in their order."""
    axes = figures.axes
    columns = ["trial", *(axis.label for axis in axes), "epochs", f"validation {figures.metric}", "how it ended"]
    rows = [
        [
            trial.name,
            *(value_text(trial.values.get(axis.key)) for axis in axes),
            f"{trial.epochs}/{figures.epochs}",
            NONE if trial.score is None else estimate_cell(_with_score(trial)),
            _STATUS[trial.status],
        ]
        for trial in figures.trials
    ]
    note = (
        f"One seed, {figures.seed}: intervals are over the {figures.items} items of {figures.photographs} photographs "
        "(n of each) alone and say nothing of what another training would give. Of a stopped trial, the best figure "
        "until then, without an interval."
    )
    return Section("trials", "All trials", columns, rows, note)


def stop_section(figures: SweepFigures) -> Section:
    """What was stopped or failed, when and why."""
    ended = [*figures.stopped, *figures.failures]
    columns = ["trial", "values", "ended", "after epoch", f"validation {figures.metric}", "why"]
    rows = [
        [
            trial.name,
            recipe_text(trial.values, figures.axes),
            _STATUS[trial.status],
            f"{trial.epochs}/{figures.epochs}",
            number(trial.score),
            _reason(trial)[:_SHOWN],
        ]
        for trial in ended
    ]
    return Section("stops", "Stopped and failed", columns, rows, "")


def level_section(figures: SweepFigures) -> Section:
    """What was stopped after each epoch, and the epochs that this saved."""
    columns = ["after epoch", "stopped", "epochs saved"]
    rows = [
        [str(one.epoch), f"{one.stopped}/{one.reached}", f"{one.saved}/{figures.spent.planned}"]
        for one in figures.spent.stops
    ]
    return Section("levels", "By epoch", columns, rows, "Stopped, of the trials that came as far.")


def importance_section(figures: SweepFigures) -> Section:
    """Share of variance by axis."""
    labels = {axis.key: axis.label for axis in figures.axes}
    found = figures.importance
    ordered = [] if found is None else sorted(found.axes, key=lambda one: -one.value)
    rows = [[labels[one.key], percent(one.value), percent(one.chance), f"n = {found.n}"] for one in ordered]
    columns = ["axis", "share of the variance", "by chance, 95 % below", "trials"]
    return Section("importance", "Importance", columns, rows, "")


def trials_csv(figures: SweepFigures) -> str:
    """One row a trial of the search: values by dotted key, figures and how it ended."""
    header = ["trial", "status", *_keys(figures), "seed", "epochs", figures.metric, "low", "high", "n", "reason"]
    rows = []
    for trial in figures.trials:
        again = trial.resampled
        known = [None, None, None] if again is None else [again.low, again.high, again.n]
        values = _values(trial.values, figures)
        numbers = [trial.seed, trial.epochs, trial.score, *known]
        rows.append([trial.name, trial.status, *values, *numbers, as_text(trial.reason)])
    return _csv(header, rows)


def contenders_csv(figures: SweepFigures) -> str:
    """One row a contender; a value that it leaves as it is, is empty."""
    seeds = [f"seed {seed}" for seed in figures.seeds]
    header = [*_keys(figures), "is_winner", "is_default", *seeds, figures.metric, "low", "high", "n"]
    rows = [
        [
            *_values(one.values, figures),
            one.is_winner,
            one.is_default,
            *one.by_seed,
            one.score.value,
            one.score.low,
            one.score.high,
            one.score.n,
        ]
        for one in figures.contenders
    ]
    return _csv(header, rows)


def stops_csv(figures: SweepFigures) -> str:
    """One row a trial that was stopped or failed."""
    header = ["trial", "status", *_keys(figures), "epoch", "epochs_planned", figures.metric, "reason"]
    rows = [
        [
            trial.name,
            trial.status,
            *_values(trial.values, figures),
            trial.epochs,
            figures.epochs,
            trial.score,
            as_text(_reason(trial)),
        ]
        for trial in [*figures.stopped, *figures.failures]
    ]
    return _csv(header, rows)


def _keys(figures: SweepFigures) -> list[str]:
    return [axis.key for axis in figures.axes]


def _values(values: Mapping[str, object], figures: SweepFigures) -> list[object]:
    found = [values.get(key) for key in _keys(figures)]
    return [as_text(value) if isinstance(value, str) else value for value in found]


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerows([header, *rows])
    return buffer.getvalue()


def _reason(trial: TrialFigures) -> str:
    return trial.reason or ("was not among the best when trials were compared" if trial.curve else "")


def _roles(one: ContenderFigures) -> list[str]:
    return [word for word, has in (("winner", one.is_winner), ("default", one.is_default)) if has]


def _with_score(trial: TrialFigures) -> Estimate:
    if trial.resampled is None:
        return Estimate(value=trial.score, low=None, high=None, n=0)
    return trial.resampled.model_copy(update={"value": trial.score})


def _cell(estimate: Estimate) -> str:
    known = f" ({interval(estimate)})" if estimate.low is not None else ""
    return number(estimate.value) + known


def _signed(estimate: Estimate) -> str:
    if estimate.value is None:
        return NONE
    known = "" if estimate.low is None else f" (95 % interval {estimate.low:+.3f} to {estimate.high:+.3f})"
    return f"{estimate.value:+.3f}{known}"


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return NONE
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
