"""Curves follow what was measured, for degenerate sets too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from hallmark.evaluation import figures
from hallmark.evaluation.abstention import abstain
from hallmark.evaluation.metrics import Evaluation, Examined, evaluate_examined

Maker = Callable[..., Examined]


@pytest.fixture(scope="module")
def evaluation(examined_set: list[Examined]) -> Evaluation:
    return evaluate_examined(examined_set, seed=1, resamples=20)


def lines_of(figure: Figure) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for axes in figure.axes for line in axes.lines}


def words(figure: Figure) -> str:
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()] + figure.legends
    return " ".join([*texts, *(text.get_text() for legend in legends for text in legend.get_texts())])


def test_rejection_passes_through_its_operating_points(examined_set: list[Examined], evaluation: Evaluation) -> None:
    figure = figures.rejection_curves(examined_set)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["rule global", "rule verification"]
    for axes, rule in zip(figure.axes, ("global", "verification"), strict=True):
        lost, kept_out = next(line for line in axes.lines if "n = 30" in line.get_label()).get_xydata().T
        assert (np.diff(lost) >= 0).all()
        assert (np.diff(kept_out) >= 0).all()
        measured = evaluation.rejection.rule(rule)
        assert kept_out[lost <= 0.05].max() == pytest.approx(measured.at_frr_5.value)
        assert kept_out[lost <= 0.01].max() == pytest.approx(measured.at_frr_1.value)
    assert "unrelated (n = 30)" in words(figure)


def test_rejection_draws_a_line_a_kind(make_examined: Maker) -> None:
    made = [make_examined(), *(make_examined("unrelated", product=None, source=s) for s in ("one", "two", "two"))]
    assert {"one (n = 1)", "two (n = 2)"} <= set(lines_of(figures.rejection_curves(made)))


@pytest.mark.parametrize("truths", [[], ["genuine"], ["unrelated", "unrelated"]])
def test_rejection_needs_both_sides(make_examined: Maker, truths: list) -> None:
    made = [make_examined(truth, inliers=0.5) for truth in truths]
    assert "needs in-domain and unrelated photographs" in words(figures.rejection_curves(made))


def test_risk_follows_the_points(evaluation: Evaluation) -> None:
    figure = figures.risk_coverage_curves(evaluation.risk_coverage)
    first = evaluation.risk_coverage[0]
    drawn = lines_of(figure)[f"p_genuine, area {first.area.value:.3f}"]
    assert drawn == pytest.approx(np.array([(point.coverage.value, point.risk.value) for point in first.points]))
    assert len(figure.axes[0].lines) == len(evaluation.risk_coverage)
    assert figure.axes[0].get_ylim()[1] > drawn[:, 1].max()


def test_risk_of_nobody_judged_says_so() -> None:
    assert "no photograph was given a probability" in words(figures.risk_coverage_curves(abstain([], 0, 5)))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_risk_of_few_photographs_can_be_drawn(make_examined: Maker, count: int) -> None:
    made = [make_examined(p=n / 10, item=f"i{n}") for n in range(count)]
    figures.to_png(figures.risk_coverage_curves(abstain(made, 0, 5)), dpi=30)


def test_training_curves_draw_every_series_and_leave_gaps() -> None:
    records = [
        {"step": 2, "epoch": 0, "loss": 0.5, "local_triplet": 0.25, "multi_similarity": 0.1},
        {"step": 1, "epoch": 0, "loss": 0.75, "local_triplet": float("nan"), "learning_rate": 0.1},
        {"step": 3, "epoch": 1, "loss": float("inf"), "local_triplet": None, "alarms": ["the term is dead"]},
        {"epoch": 1, "separation": 0.875, "seconds": 3.0},
    ]
    figure = figures.training_curves(records)
    lines = lines_of(figure)
    assert lines["loss"].tolist() == [[1, 0.75], [2, 0.5]]
    assert lines["local_triplet"].tolist() == [[2, 0.25]]
    assert lines["multi_similarity"].tolist() == [[2, 0.1]]
    assert lines["learning_rate"].tolist() == [[1, 0.1]]
    assert lines["separation"].tolist() == [[1, 0.875]]
    assert set(lines) == {axes.get_title(loc="left") for axes in figure.axes}
    assert not {"alarms", "seconds", "epoch", "step"} & set(lines)


@pytest.mark.parametrize("records", [[], [{}], [{"step": 1}], [{"epoch": 0, "loss": float("nan"), "flag": True}]])
def test_training_curves_without_values_say_so(records: list) -> None:
    assert "not recorded" in words(figures.training_curves(records))


@pytest.mark.parametrize("count", [1, 4, 5, 17])
def test_any_number_of_series_has_its_panels(count: int) -> None:
    records = [{"epoch": epoch, **{f"term{n}": epoch / (n + 1) for n in range(count)}} for epoch in range(3)]
    assert len(figures.training_curves(records).axes) == count
