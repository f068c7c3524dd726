"""How the figures of one recipe scatter over random splits of the same photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import t

from hallmark.evaluation.canvas import COLOURS, INK, chart, styled
from hallmark.evaluation.class_report import macro_f1
from hallmark.evaluation.measures import CONFIDENCE, Figures, Proportion
from hallmark.evaluation.outcomes import Outcome, answers_of


class SplitFigures(Figures):
    """One split, trained once."""

    name: str
    training_photographs: int
    items: int
    """Of its test photographs."""
    accuracy: Proportion
    """Product and authenticity both right."""
    f1_macro: float | None


class Stability(Figures):
    """Accuracy over S splits: its mean and standard deviation, and the interval of the mean."""

    splits: list[SplitFigures]
    mean: float
    deviation: float
    low: float
    high: float


def stability(names: Sequence[str], outcomes: Sequence[Outcome]) -> Stability:
    """Sum up two splits and more.

    The splits share photographs, so that their figures are no independent draws: the variance of their mean is
    s²·(1/S + test/train), not s²/S (Nadeau and Bengio 2003), and the interval is Student's with S - 1 degrees. Where
    all splits agree it has no width, and says as little of other photographs as before.

    Args:
        names: of the splits.
        outcomes: one a split.
    """
    splits = [_figures(name, outcome) for name, outcome in zip(names, outcomes, strict=True)]
    values = np.array([one.accuracy.value for one in splits])
    test_over_train = np.mean([one.accuracy.n / one.training_photographs for one in splits])
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    reach = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * deviation * np.sqrt(1 / len(values) + test_over_train)
    return Stability(
        splits=splits,
        mean=mean,
        deviation=deviation,
        low=max(0.0, mean - float(reach)),
        high=min(1.0, mean + float(reach)),
    )


@styled
def draw_stability(found: Stability) -> Figure:
    """Accuracy of each split with its Wilson interval, and the mean of all with its own."""
    figure, axes = chart(9.4, 1.3 + 0.42 * len(found.splits))
    heights = np.arange(len(found.splits))
    values = np.array([one.accuracy.value for one in found.splits])
    ends = np.array([(one.accuracy.low, one.accuracy.high) for one in found.splits])
    reach = np.abs(ends - values[:, None]).T
    axes.axvspan(found.low, found.high, color=COLOURS["genuine"], alpha=0.12, linewidth=0, label="95 % of the mean")
    axes.axvline(found.mean, color=COLOURS["genuine"], linewidth=1.4, label="mean")
    style = {"fmt": "o", "color": INK, "capsize": 3, "elinewidth": 1.2, "markersize": 5}
    axes.errorbar(values, heights, xerr=reach, label="split, Wilson 95 %", **style)
    axes.set_yticks(heights, [one.name for one in found.splits])
    axes.set(xlim=(0, 1.005), ylim=(len(heights) - 0.5, -0.5), xlabel="accuracy, product and authenticity")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", linewidth=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def _figures(name: str, outcome: Outcome) -> SplitFigures:
    answers = answers_of([outcome])
    return SplitFigures(
        name=name,
        training_photographs=outcome.training_photographs,
        items=len(np.unique(answers.items)),
        accuracy=Proportion.count(answers.right[0]),
        f1_macro=macro_f1(answers, np.ones(answers.told.shape)),
    )
