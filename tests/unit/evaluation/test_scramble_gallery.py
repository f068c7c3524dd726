"""Photographs under KAG at several degrees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from hallmark.data.manifest import read_manifest
from hallmark.data.preprocess import Preprocessing
from hallmark.evaluation.canvas import to_png
from hallmark.evaluation.scramble_gallery import disturbances, draw_gallery
from hallmark.training.run import KAGRun


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, write_manifest) -> pa.Table:
    """A genuine photograph of either product."""
    table = read_manifest(write_manifest(tmp_path_factory.mktemp("drawn"), ["test"]))
    return table.filter(pa.compute.equal(table["authenticity"], "genuine"))


def test_the_first_picture_is_undisturbed_and_the_others_are_not(table: pa.Table, tiny_classifier_run: KAGRun) -> None:
    gallery = disturbances(tiny_classifier_run, table, [2, 4, 8])
    assert [one.name for one in gallery] == ["a", "b"]
    for one, uri in zip(gallery, table["uri"].to_pylist(), strict=True):
        plain, *others = one.pictures
        drawn = cv2.resize(cv2.cvtColor(cv2.imread(uri), cv2.COLOR_BGR2RGB), (320, 320), interpolation=cv2.INTER_CUBIC)
        assert np.abs(plain.astype(int) - drawn).mean() < 8  # however it is enlarged
        assert [other.shape for other in one.pictures] == [(320, 320, 3)] * 4
        assert all(np.abs(other.astype(int) - plain).mean() > 8 for other in others)
        assert len({other.tobytes() for other in others}) == 3


def test_every_photograph_is_disturbed_whatever_the_share_in_training(
    table: pa.Table, tiny_classifier_run: KAGRun
) -> None:
    scramble = tiny_classifier_run.scramble.model_copy(update={"share": 0.0})
    for one in disturbances(tiny_classifier_run.model_copy(update={"scramble": scramble}), table, [8]):
        assert not np.array_equal(*one.pictures)


def test_one_cell_has_nothing_to_change_places_with(table: pa.Table, tiny_classifier_run: KAGRun) -> None:
    for one in disturbances(tiny_classifier_run, table, [1]):
        assert np.array_equal(*one.pictures)


def test_the_same_run_disturbs_in_the_same_way(table: pa.Table, tiny_classifier_run: KAGRun) -> None:
    other_seed = tiny_classifier_run.model_copy(update={"seed": tiny_classifier_run.seed + 1})
    first, again, other = (
        disturbances(run, table, [8])[0].pictures for run in (*[tiny_classifier_run] * 2, other_seed)
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_a_network_that_sees_more_is_shown_more(table: pa.Table, tiny_classifier_run: KAGRun) -> None:
    run = tiny_classifier_run.model_copy(update={"preprocessing": Preprocessing(side_px=352)})
    assert disturbances(run, table.slice(0, 1), [])[0].pictures[0].shape == (352, 352, 3)


@pytest.mark.parametrize("count", [1, 2])
def test_galleries_can_be_drawn(table: pa.Table, tiny_classifier_run: KAGRun, count: int, tmp_path: Path) -> None:
    gallery = disturbances(tiny_classifier_run, table.slice(0, count), [2, 8])
    figure = draw_gallery(gallery, [2, 8], tiny_classifier_run.scramble)
    assert to_png(figure).startswith(b"\x89PNG")
    assert len(figure.axes) == 3 * count
    assert [axes.get_title() for axes in figure.axes[:3]] == ["undisturbed", "N = 2", "N = 8"]
