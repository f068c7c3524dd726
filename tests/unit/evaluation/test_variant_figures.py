"""Figures of an analysis, with and without intervals."""

from __future__ import annotations

import pytest

from hallmark.evaluation.canvas import to_png
from hallmark.evaluation.class_report import ClassFigures, ClassReport
from hallmark.evaluation.measures import Estimate, Proportion
from hallmark.evaluation.variant_figures import class_confusion, response_curve, variant_bars
from hallmark.evaluation.variant_table import VariantFigures, VariantTable


def variant(name: str, right: int, position: float | None, interval: bool, seeds: int, is_base: bool) -> VariantFigures:
    low, high = (right / 20 - 0.1, right / 20 + 0.1) if interval else (None, None)
    told = Estimate(value=right / 20, low=low, high=high, n=20)
    return VariantFigures(
        name=name,
        is_base=is_base,
        position=position,
        training_photographs=[10] * seeds,
        accuracy=Proportion.of(right, 20),
        accuracy_resampled=told,
        accuracy_by_seed=[Proportion.of(right, 20)] * seeds,
        f1_macro=told,
        f1_counterfeit=told,
        auroc=told,
        calibration_error=0.1,
        validation_accuracy=right / 20,
        difference=None,
    )


@pytest.mark.parametrize(("seeds", "interval"), [(1, False), (3, True)])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize(
    ("draw", "axis"), [(response_curve, "alpha"), (response_curve, "samples"), (variant_bars, "fill")]
)
def test_variants_can_be_drawn(draw, axis, count, seeds, interval):
    variants = [
        variant(f"a name that is longer than its place {place}", 8 + place, float(place), interval, seeds, place == 1)
        for place in range(count)
    ]
    table = VariantTable(
        axis=axis, title="T", label="of what", note="", seeds=[0] * seeds, photographs=20, items=20, variants=variants
    )
    figure = draw(table)
    assert to_png(figure).startswith(b"\x89PNG")
    (axes,) = figure.axes
    if draw is response_curve:
        (line,) = [line for line in axes.lines if len(line.get_xdata()) == count and line.get_linestyle() == "-"]
        assert line.get_ydata().tolist() == pytest.approx([(8 + place) / 20 for place in range(count)])
    else:
        assert [bar.get_width() for bar in axes.patches] == pytest.approx([(8 + place) / 20 for place in range(count)])


@pytest.mark.parametrize("count", [2, 8])
def test_classes_can_be_drawn_with_their_counts(count):
    whole, none = Proportion.of(3, 4), Estimate(value=None, low=None, high=None, n=4)
    classes = [ClassFigures(name=f"${place} & <b>", precision=whole, recall=whole, f1=none) for place in range(count)]
    confusion = [[0] * count for _ in range(count)]
    confusion[0][0], confusion[0][1] = 7, 3  # the other classes have no photograph
    report = ClassReport(
        photographs=10,
        items=5,
        seeds=[0],
        classes=classes,
        confusion=confusion,
        accuracy=whole,
        product_right=whole,
        authenticity_right=whole,
        f1_macro=none,
        f1_counterfeit=none,
    )
    figure = class_confusion(report)
    assert to_png(figure).startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"7": (0.5, 0.5), "3": (1.5, 0.5)}
    assert [label.get_text() for label in axes.get_yticklabels()] == [one.name for one in classes]
    shades = [patch.get_alpha() for patch in axes.patches if patch.get_alpha()]
    assert shades == pytest.approx([0.55 * 0.7, 0.55 * 0.3])
