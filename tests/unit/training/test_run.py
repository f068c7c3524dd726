"""Training runs: what is refused before anything is trained."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from hallmark.config import validate
from hallmark.data.sampling import Labels
from hallmark.errors import ConfigError, DataError
from hallmark.training.run import FoDRun, KAGRun, RunConfig, read_run


def changed(run: RunConfig, **changes: dict) -> KAGRun:
    settings = run.model_dump()
    for key, own in changes.items():
        settings[key] = {**settings[key], **own}
    return validate(KAGRun, settings, "run")


def photographs(*sizes: tuple) -> pa.Table:
    """(width, height, box) each."""
    rows = [
        {"uri": f"p{place}.png", "width": width, "height": height, "box": box}
        for place, (width, height, box) in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows)


def test_a_run_comes_back_as_the_class_that_its_method_names(tiny_run, tiny_classifier_run):
    for run, kind in ((tiny_run, FoDRun), (tiny_classifier_run, KAGRun)):
        again = read_run(run.model_dump(mode="json"), "config.yaml")
        assert again == run
        assert type(again) is kind
        assert again.classifies == (kind is KAGRun)


def test_a_run_from_before_there_were_several_methods_is_one_of_fod(tiny_run):
    settings = tiny_run.model_dump(mode="json")
    del settings["method"]["method"]
    assert read_run(settings, "config.yaml") == tiny_run


def test_an_unknown_method_is_named(tiny_run):
    settings = tiny_run.model_dump(mode="json")
    settings["method"]["method"] = "fodd"
    with pytest.raises(ConfigError, match=r"config\.yaml: method\.method: found 'fodd'; wanted one of fod, kag_mtln"):
        read_run(settings, "config.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scramble": {"degree": 49}}, r"scramble\.degree: found 49; wanted at most preprocessing\.side_px, 48"),
        ({"preprocessing": {"fill": "grey"}}, r"preprocessing\.fill: found 'grey'"),
        ({"method": {"losses": {"alpha": 1.01}}}, r"method\.losses\.alpha: found 1\.01"),
        ({"method": {"losses": {"alpha": -0.1}}}, r"method\.losses\.alpha: found -0\.1"),
        ({"scramble": {"main_label": "fake"}}, r"scramble\.main_label: found 'fake'"),
    ],
)
def test_wrong_settings_are_named(tiny_classifier_run, changes, said):
    with pytest.raises(ConfigError, match=said):
        changed(tiny_classifier_run, **changes)


def test_more_cells_than_a_photograph_has_pixels_are_refused_by_its_name(tiny_classifier_run):
    run = changed(tiny_classifier_run, scramble={"degree": 30})
    run.check(photographs((300, 200, None), (30, 400, None)))
    with pytest.raises(DataError, match=r"p1\.png: its shorter side has 29 px; wanted at least scramble\.degree, 30"):
        run.check(photographs((300, 200, None), (400, 29, None)))
    with pytest.raises(DataError, match=r"p0\.png: its shorter side has 20 px"):
        run.check(photographs((300, 200, [10.0, 10.0, 200.0, 30.0])))
    changed(tiny_classifier_run, scramble={"degree": 30, "share": 0.0}).check(photographs((400, 29, None)))


def test_the_prior_is_of_the_training_stream(tiny_classifier_run):
    """Three genuine and one counterfeit photograph of one product, one of each of the other; half is disturbed."""
    run = changed(tiny_classifier_run, scramble={"share": 0.5, "main_label": "counterfeit"})
    classes = np.array([1, 1, 1, 0, 3, 2, -1])
    labels = Labels(classes // 2, classes % 2 == 1, classes, classes)
    torch.manual_seed(0)
    prior = run.untrained(2, labels).log_prior.exp()
    torch.testing.assert_close(prior, torch.tensor([2.5, 1.5, 1.5, 0.5]) / 6)
    assert run.exported(2).auxiliary_head is None
