"""Where features put the photographs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from hallmark.evaluation.canvas import to_png
from hallmark.evaluation.feature_plane import draw_planes, feature_plane


def clusters(count: int, apart: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 4
    return apart * np.eye(80)[classes] + rng.normal(size=(count, 80)), classes


def test_classes_that_lie_apart_are_told_and_those_that_do_not_are_not():
    apart = feature_plane("base", clusters(60, 40.0, 0), clusters(40, 40.0, 1), seed=0)
    assert apart.neighbourhood.knn_accuracy.value == 1.0
    assert apart.neighbourhood.silhouette > 0.5
    assert (apart.neighbourhood.components, apart.neighbourhood.perplexity) == (50, 13.0)
    mixed = feature_plane("base", clusters(60, 0.0, 0), clusters(40, 0.0, 1), seed=0)
    assert mixed.neighbourhood.knn_accuracy.value < 0.6
    assert mixed.neighbourhood.silhouette < 0.1
    # A plane is to be looked at: even there classes that lie apart lie apart.
    assert silhouette_score(apart.points, apart.classes) > 0.5


def test_the_plane_is_the_same_again():
    first, again = (feature_plane("base", clusters(30, 3.0, 0), clusters(20, 3.0, 1), 0) for _ in range(2))
    assert np.array_equal(first.points, again.points)
    assert first.neighbourhood == again.neighbourhood


@pytest.mark.parametrize(("count", "classes"), [(1, 1), (3, 3), (2, 1)])
def test_too_few_photographs_have_no_plane(count, classes):
    queries, truth = clusters(count, 5.0, 1)
    plane = feature_plane("base", clusters(12, 5.0, 0), (queries, truth % classes), seed=0)
    assert plane.neighbourhood.perplexity is None
    assert plane.neighbourhood.silhouette is None
    assert plane.points.shape == (count, 2)
    assert plane.neighbourhood.knn_accuracy.n == count


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize(("trained", "level"), [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_photographs_that_are_all_alike_have_no_plane(trained, level):
    """Such are the features of a network that died."""
    references, classes = clusters(12, 5.0, 0)
    queries = np.full((20, 80), level, dtype=np.float32)
    plane = feature_plane("base", (trained * references, classes), (queries, np.arange(20) % 4), seed=0)
    assert (plane.neighbourhood.perplexity, plane.neighbourhood.silhouette) == (None, 0.0)
    assert not plane.points.any()
    assert to_png(draw_planes([plane], ["a", "b"])).startswith(b"\x89PNG")


def test_a_single_feature_has_no_plane():
    (references, classes), (queries, truth) = clusters(12, 5.0, 0), clusters(20, 5.0, 1)
    plane = feature_plane("base", (references[:, :1], classes), (queries[:, :1], truth), seed=0)
    assert (plane.neighbourhood.perplexity, plane.neighbourhood.components) == (None, 1)


def test_planes_can_be_drawn_for_many_products():
    plane = feature_plane("base", clusters(30, 3.0, 0), clusters(20, 3.0, 1), 0)
    figure = draw_planes([plane, plane], [f"product {place}" for place in range(14)])
    assert to_png(figure).startswith(b"\x89PNG")
