"""A sweep from what its trials said to its page and files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hallmark.errors import OutputError
from hallmark.evaluation.sweep_axes import labels_of
from hallmark.evaluation.sweep_figures import SweepFigures, sweep_figures
from hallmark.evaluation.sweep_report import headline, write_sweep
from hallmark.tuning.ledger import Status
from hallmark.tuning.space import grid

DEGREE, FILL, RATE = "scramble.degree", "preprocessing.fill", "optimiser.learning_rate"
NASTY = '=<b>worker</b> died | "x"'
ENDS = {0: (Status.STOPPED, 3, ""), 1: (Status.FAILED, 2, NASTY), 2: (Status.OPEN, 3, "")}
SPACES = {
    1: {DEGREE: {"choice": [2, 4, 8, 16]}},
    2: {DEGREE: {"choice": [2, 4, 8]}, FILL: {"choice": ["white", "gray"]}},
    3: {DEGREE: {"choice": [2, 8]}, FILL: {"choice": ["white", "gray"]}, RATE: {"choice": [0.001, 0.01]}},
}


def skill(values: dict[str, Any]) -> float:
    return 0.9 * (values.get(DEGREE, 2) >= 8)


def made(sweeps: SimpleNamespace, out: Path, axes: int, ends: Any = None, by: Any = skill, **settings: Any) -> Any:
    config = sweeps.config_of(out, SPACES[axes])
    return sweeps.sweep_of(config, list(grid(config.space)), by, ends, **settings)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_page_and_files_hold_all_parts(sweeps: SimpleNamespace, tmp_path: Path, axes: int) -> None:
    result = made(sweeps, tmp_path, axes, ENDS)
    page = write_sweep(result)
    text = page.read_text()
    assert page == tmp_path / "sweep.html"
    for label in labels_of(list(SPACES[axes])).values():
        assert label in text.split("</h1>")[0]
    for part in ("winner", "contenders", "response", "spent", "stops", "importance", "trials", "settings"):
        assert f'<section id="{part}">' in text
    assert "python jobs/train_kag_mtln.py --config" in text
    assert "<b>" not in text
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//|@import|<script""", text)
    drawn = {"response", "contenders", "learning"} | ({"importance"} if axes == 3 else set())
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == drawn
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        f"{name}.{kind}" for name in ("trials", "contenders", "stops") for kind in ("csv", "md")
    }


def test_tables_agree_with_the_json(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    result = made(sweeps, tmp_path, 2, ENDS)
    write_sweep(result)
    told = json.loads((tmp_path / "sweep.json").read_text())
    words = told["figures"].pop("words")
    figures = SweepFigures.model_validate(told["figures"])
    assert words == figures.margin.words
    rows = {
        name: list(csv.DictReader((tmp_path / "tables" / f"{name}.csv").open(newline="")))
        for name in ("trials", "contenders", "stops")
    }
    for row, trial in zip(rows["trials"], figures.trials, strict=True):
        assert (row["trial"], row["status"], int(row["epochs"])) == (trial.name, trial.status, trial.epochs)
        assert (int(row[DEGREE]), row[FILL]) == (trial.values[DEGREE], trial.values[FILL])
        assert float(row["accuracy"]) == trial.score
        if trial.resampled is not None:
            assert [float(row[end]) for end in ("low", "high")] == [trial.resampled.low, trial.resampled.high]
            assert trial.resampled.value == pytest.approx(trial.score)
    for row, one in zip(rows["contenders"], figures.contenders, strict=True):
        assert [float(row[f"seed {seed}"]) for seed in figures.seeds] == one.by_seed
        assert float(row["accuracy"]) == one.score.value == pytest.approx(np.mean(one.by_seed))
    assert [(row["trial"], row["epoch"]) for row in rows["stops"]] == [("s000", "3"), ("s002", "3"), ("s001", "2")]
    assert rows["stops"][2]["reason"] == f"'{NASTY}"  # a spreadsheet would compute it


def test_epochs_are_counted(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    spent = sweep_figures(made(sweeps, tmp_path, 2, ENDS)).spent
    assert (spent.trials, spent.planned, spent.trained, spent.failed) == (5, 45, 33, 2)
    assert spent.saved == pytest.approx(12 / 45)
    assert [(one.epoch, one.stopped, one.reached, one.saved) for one in spent.stops] == [(3, 2, 5, 12)]


def test_a_better_winner_is_told(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    result = made(sweeps, tmp_path, 1, by=lambda values: 0.95 if values.get(DEGREE, 8) == 16 else 0.0, items=60)
    margin = sweep_figures(result).margin
    assert margin.words == "better than the default"
    assert margin.difference.value == pytest.approx(margin.winner.value - margin.default.value)
    assert (margin.seeds, margin.photographs, margin.items) == ([101, 102, 103], 120, 60)
    assert "better than the default." in write_sweep(result).read_text()


def test_no_difference_is_called_so(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    result = made(sweeps, tmp_path, 1, by=lambda values: 0.5 + 0.06 * (values.get(DEGREE, 8) == 16))
    figures = sweep_figures(result)
    assert not figures.margin.default_won
    assert figures.margin.words == "no significant difference"
    assert "no significant difference." in write_sweep(result).read_text()


def test_a_default_that_wins_is_compared_with_nothing(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    result = made(sweeps, tmp_path, 1, by=lambda values: 0.2 if values else 0.9)
    figures = sweep_figures(result)
    assert figures.margin.default_won
    assert (figures.margin.difference.value, figures.margin.p_value) == (None, None)
    assert figures.winner.is_default
    assert "the default won: there is nothing to compare" in write_sweep(result).read_text()


def test_a_default_that_failed_is_not_compared(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    result = made(sweeps, tmp_path, 1, default_failed=True)
    figures = sweep_figures(result)
    assert figures.margin.words.startswith("not compared: a training of the default failed")
    assert figures.contenders[-1].score.value is None
    assert "a training of the default failed" in write_sweep(result).read_text()


def test_one_truth_in_the_test_photographs_has_no_separation(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    result = made(sweeps, tmp_path, 1, metric="separation", truths=1, classifies=False)
    margin = sweep_figures(result).margin
    assert not margin.default_won
    assert (margin.winner.value, margin.p_value) == (None, None)
    assert margin.words == "not compared: there are no test photographs of both truths"
    write_sweep(result)


def test_trials_that_were_all_stopped_still_make_a_page(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    for axes in (1, 2, 3):
        stopped = dict.fromkeys(range(8), (Status.STOPPED, 3, "behind"))
        result = made(sweeps, tmp_path / str(axes), axes, stopped)
        figures = sweep_figures(result)
        assert not any(trial.resampled for trial in figures.trials)
        assert figures.spent.saved == pytest.approx(2 / 3)
        write_sweep(result, figures)


def test_only_timings_differ_between_equal_sweeps(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    told = []
    for name in ("first", "second"):
        write_sweep(made(sweeps, tmp_path / name, 2, ENDS))
        told.append(json.loads((tmp_path / name / "sweep.json").read_text()))
    for one in told:
        assert set(one.pop("timings")) == {"search_seconds", "choice_seconds", "cost", "seconds_by_trial"}
        assert "seconds" not in json.dumps(one)
    assert told[0] == told[1]


def test_the_headline_gives_counts_and_intervals(sweeps: SimpleNamespace, tmp_path: Path) -> None:
    figures = sweep_figures(made(sweeps, tmp_path, 1))
    rows = {row[0]: row[1:] for row in headline(figures)}
    assert all(len(cells) == 3 for cells in rows.values())
    assert rows["epochs saved"] == ["0.0 %", "—", "0/36"]
    assert rows["against the default"][0] == figures.margin.words
    assert rows["validation accuracy, winner"][2] == f"3 seeds, n = {figures.winner.score.n}"


def test_labels_are_short_where_they_can_be() -> None:
    assert labels_of(["method.backbone.name", "alpha", "a.x.y", "b.x.y"]) == {
        "method.backbone.name": "backbone.name",
        "alpha": "alpha",
        "a.x.y": "a.x.y",
        "b.x.y": "b.x.y",
    }


@pytest.mark.parametrize("taken", ["tables", "figures"])
def test_a_place_that_cannot_be_written_is_named(sweeps: SimpleNamespace, tmp_path: Path, taken: str) -> None:
    result = made(sweeps, tmp_path, 1)
    (tmp_path / taken).write_text("")
    with pytest.raises(OutputError, match=taken):
        write_sweep(result)
