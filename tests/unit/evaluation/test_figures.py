"""Figures: readable files of what was measured, for degenerate sets too."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from hallmark.evaluation import figures
from hallmark.evaluation.canvas import COLOURS
from hallmark.evaluation.metrics import Evaluation, Examined, evaluate_examined
from hallmark.types import CuePair, ResidualMap, VerdictLabel

Maker = Callable[..., Examined]


@pytest.fixture(scope="module")
def evaluation(examined_set: list[Examined]) -> Evaluation:
    return evaluate_examined(examined_set, seed=1, resamples=30)


def words(figure: Figure) -> str:
    """All text of a figure as it appears in the SVG."""
    svg = figures.to_svg(figure, "f", "chart")
    return " ".join(text.strip() for text in ElementTree.fromstring(svg).itertext())


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def lines_of(figure: Figure) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for axes in figure.axes for line in axes.lines}


@pytest.mark.parametrize(("encode", "form"), [(figures.to_png, "PNG"), (figures.to_jpeg, "JPEG")])
def test_pictures_are_whole_files_on_white(evaluation: Evaluation, encode: Callable, form: str) -> None:
    drawn = Image.open(io.BytesIO(encode(figures.confusion_matrix(evaluation))))
    drawn.load()
    assert (drawn.format, drawn.mode) == (form, "RGB")
    assert min(drawn.getpixel((0, 0))) > 250
    assert np.asarray(drawn).std() > 5


def test_svg_can_stand_in_a_page_beside_others(evaluation: Evaluation) -> None:
    first, second = (
        figures.to_svg(figures.confusion_matrix(evaluation), name, 'a "title" <b>') for name in ("one", "two")
    )
    assert first.startswith("<svg")
    root = ElementTree.fromstring(first)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'a "title" <b>'
    assert root.get("width") is root.get("height") is None
    assert root.get("viewBox")
    ids, others = (set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second))
    assert ids
    assert not ids & others
    targets = set(re.findall(r'(?:href="#|url\(#)([^")]+)', first))
    assert targets
    assert targets <= ids
    assert "http" not in first
    assert first == figures.to_svg(figures.confusion_matrix(evaluation), "one", 'a "title" <b>')


def test_drawing_leaves_the_settings_of_matplotlib(evaluation: Evaluation) -> None:
    before = dict(matplotlib.rcParams)
    figures.to_svg(figures.confusion_matrix(evaluation), "x", "x")
    figures.to_png(figures.reliability_diagram(evaluation.calibration))
    assert dict(matplotlib.rcParams) == before


def test_score_histogram_tells_groups_and_thresholds() -> None:
    groups = {"genuine": [0.1, 0.2, 0.3], "counterfeit": [-0.5], "unrelated": []}
    figure = figures.score_histogram(groups, "score", {"here": 0.15, "never": float("inf")})
    text = words(figure)
    assert "genuine (n = 3)" in text
    assert "counterfeit (n = 1)" in text
    assert "unrelated" not in text
    assert "here" in text
    assert "never" not in text
    assert figure.axes[0].lines[0].get_xdata()[0] == 0.15


@pytest.mark.parametrize("groups", [{}, {"genuine": []}])
def test_score_histogram_without_scores_says_so(groups: dict) -> None:
    assert "no photograph has this score" in words(figures.score_histogram(groups, "score", {"here": 0.0}))


@pytest.mark.parametrize("scores", [[0.0], [0.5] * 9, [-1e6, 1e6]])
def test_score_histogram_of_odd_scores(scores: list) -> None:
    figures.to_png(figures.score_histogram({"genuine": scores}, "score"), dpi=30)


def test_names_with_dollars_are_no_mathematics() -> None:
    assert "50$ or $100_x" in words(figures.score_histogram({"genuine": [0.5]}, "50$ or $100_x"))


def test_confusion_matrix_shows_every_count(evaluation: Evaluation) -> None:
    shown = [text.get_text() for text in figures.confusion_matrix(evaluation).axes[0].texts]
    expected = [str(count) for counts in evaluation.confusion.values() for count in counts.values()]
    assert shown[::2] == expected
    shares = [float(text.removesuffix(" %")) for text in shown[1::2]]
    assert np.reshape(shares, (3, 4)).sum(axis=1) == pytest.approx([100] * 3, abs=0.3)


def test_reliability_points_are_the_bins(evaluation: Evaluation) -> None:
    figure = figures.reliability_diagram(evaluation.calibration)
    filled = [one for one in evaluation.calibration.bins if one.genuine.n]
    drawn = figure.axes[0].containers[0].lines[0].get_xydata()
    assert drawn == pytest.approx(np.array([(one.mean_p, one.genuine.value) for one in filled]))
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == [one.genuine.n for one in evaluation.calibration.bins]


def test_roc_follows_the_scores_and_marks_the_verdicts(examined_set: list[Examined], evaluation: Evaluation) -> None:
    figure = figures.roc(examined_set, {"decision score": evaluation.auroc_decision})
    lines = lines_of(figure)
    curve = lines[f"decision score, AUROC {evaluation.auroc_decision.value:.3f}"]
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(evaluation.auroc_decision.value)
    scored = [one for one in examined_set if one.in_domain and one.verdict.scores.decision is not None]
    accepted = {
        truth: np.mean([one.verdict.verdict == "genuine" for one in scored if one.authenticity == truth])
        for truth in ("genuine", "counterfeit")
    }
    assert lines["verdicts given"][0] == pytest.approx([accepted["counterfeit"], accepted["genuine"]])


@pytest.mark.parametrize("kinds", [[], ["genuine"], ["counterfeit"], ["unrelated"], ["genuine", "unrelated"]])
def test_roc_needs_both_kinds(make_examined: Maker, kinds: list) -> None:
    assert "needs scored photographs of both kinds" in words(figures.roc([make_examined(kind) for kind in kinds]))


def test_charts_of_an_empty_evaluation_say_so() -> None:
    empty = evaluate_examined([], seed=0, resamples=5)
    assert "no photograph was given a probability" in words(figures.reliability_diagram(empty.calibration))
    assert words(figures.confusion_matrix(empty)).count("no photographs") == 12


def pairs(count: int) -> list[CuePair]:
    rng = np.random.default_rng(0)
    return [
        CuePair(query=tuple(rng.random(2)), reference=tuple(rng.random(2)), similarity=float(rng.random()))
        for _ in range(count)
    ]


def joining(figure: Figure) -> list[Line2D]:
    """The lines from one picture to the other."""
    return [artist for artist in figure.artists if isinstance(artist, Line2D)]


@pytest.mark.parametrize(("count", "joined"), [(1, 1), (5, 5), (40, 32)])
def test_every_match_has_its_dots_and_the_best_their_lines(count: int, joined: int) -> None:
    figure = figures.draw_matches(photograph(30, 40), photograph(60, 20), pairs(count))
    query, reference = figure.axes[:2]
    assert len(query.lines) == len(reference.lines) == count
    assert len(joining(figure)) == joined
    assert f"{count} pairs" in " ".join(text.get_text() for text in figure.texts)


def test_dots_lie_at_their_points_and_lines_end_in_them() -> None:
    pair = CuePair(query=(0.25, 0.5), reference=(1.0, 0.0), similarity=0.9)
    figure = figures.draw_matches(photograph(30, 40), photograph(60, 20), [pair])
    query, reference = figure.axes[:2]
    assert query.lines[0].get_xydata()[0] == pytest.approx([9.5, 14.5])
    assert reference.lines[0].get_xydata()[0] == pytest.approx([19.5, -0.5])
    ends = figure.transFigure.transform(joining(figure)[0].get_xydata())
    for end, axes in zip(ends, (query, reference), strict=True):
        assert end == pytest.approx(axes.transData.transform(axes.lines[0].get_xydata()[0]), abs=0.01)


@pytest.mark.parametrize(
    ("reference", "count", "message"),
    [(False, 0, "no reference to compare with"), (False, 3, "no reference"), (True, 0, "no matched cues")],
)
def test_without_matches_the_picture_says_why(reference: bool, count: int, message: str) -> None:
    figure = figures.draw_matches(photograph(30, 40), photograph(20, 20) if reference else None, pairs(count))
    assert message in " ".join(text.get_text() for text in figure.texts)
    assert len(figure.axes) == 1 + reference


def residual(values: list[list[float]]) -> ResidualMap:
    return ResidualMap(rows=len(values), columns=len(values[0]), values=[value for row in values for value in row])


def test_the_residual_lies_over_the_whole_photograph() -> None:
    figure = figures.draw_residual(photograph(30, 40), residual([[0.0, 1.0], [2.0, 4.0]]))
    plain, heated = figure.axes[:2]
    assert len(plain.images) == 1
    ground, heat = heated.images
    assert heat.get_extent() == [-0.5, 39.5, 29.5, -0.5]
    assert heat.get_array().tolist() == [[0, 1], [2, 4]]
    assert heat.get_alpha()[0, 0] == 0
    assert heat.get_clim() == (0, 4)
    assert ground.get_array().mean() < plain.images[0].get_array().mean()
    assert "4" in [label.get_text() for label in figure.axes[2].get_xticklabels()]


def test_the_true_edit_is_outlined_where_it_lies() -> None:
    mask = np.zeros((15, 20), bool)
    mask[5:10, 10:20] = True  # to the right edge, at half the photograph's size
    figure = figures.draw_residual(photograph(30, 40), residual([[0.0, 1.0]]), mask)
    for axes in figure.axes[:2]:
        points = np.concatenate([path.vertices for outline in axes.collections for path in outline.get_paths()])
        assert points.min(axis=0) == pytest.approx([19.5, 9.5], abs=1)
        assert points.max(axis=0) == pytest.approx([39.5, 19.5], abs=1)
    assert "the true edit" in " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("mask", [None, np.zeros((3, 3), bool)])
def test_without_an_edit_nothing_is_outlined(mask: np.ndarray | None) -> None:
    figure = figures.draw_residual(photograph(30, 40), residual([[0.0]]), mask)
    assert not figure.axes[0].collections
    assert "true edit" not in " ".join(text.get_text() for text in figure.texts)
    figures.to_jpeg(figure)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 400), (400, 10)])
def test_odd_shapes_can_be_drawn(height: int, width: int) -> None:
    figures.to_jpeg(figures.draw_matches(photograph(height, width), photograph(30, 30), pairs(2)))
    figures.to_jpeg(figures.draw_residual(photograph(height, width), residual([[1.0]]), np.ones((2, 2), bool)))
    figures.to_jpeg(figures.contact_sheet([figures.Tile(photograph(height, width), VerdictLabel.GENUINE, "x")]))


@pytest.mark.parametrize(("count", "columns"), [(0, 6), (1, 6), (6, 3), (7, 3)])
def test_a_contact_sheet_holds_every_tile_over_its_verdict(count: int, columns: int) -> None:
    labels = list(VerdictLabel)
    tiles = [figures.Tile(photograph(8, 12, n), labels[n % 4], f"caption {n}") for n in range(count)]
    figure = figures.contact_sheet(tiles, columns)
    filled = [axes for axes in figure.axes if axes.images]
    assert len(filled) == count
    for axes, tile in zip(filled, tiles, strict=True):
        assert [text.get_text() for text in axes.texts] == [str(tile.verdict), tile.caption]
        assert np.array_equal(axes.images[0].get_array()[2:10], tile.photograph)
        assert matplotlib.colors.to_hex(axes.patches[0].get_facecolor()) == COLOURS[tile.verdict]
