"""Equation 7: named sets, what switches a term off, diagnostics and alarms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from hallmark.config import validate
from hallmark.errors import ConfigError
from hallmark.losses.local_triplet import LocalTripletConfig
from hallmark.losses.total import LOSS_PRESETS, FoDLosses, alarms, median_count, off_match_cosine, peak


def losses(**given: object) -> FoDLosses:
    return validate(FoDLosses, given, "losses")


def test_named_sets_are_those_of_the_methods_page() -> None:
    assert losses() == losses(preset="default")
    weights = {name: losses(preset=name).weights for name in LOSS_PRESETS}
    names = ("multi_similarity", "local_triplet", "alignment", "foreground_contrast", "pseudo_correspondence")
    assert {name: tuple(of[term] for term in names) for name, of in weights.items()} == {
        "default": (1, 1, 0.1, 1, 0.1),
        "paper": (1, 0, 0.1, 1, 0.1),
        "fol_repo": (1, 1, 5e-3, 1, 1e-2),
    }
    assert [losses(preset=name).pseudo_correspondence.contrast for name in LOSS_PRESETS] == [1, 0, 0]
    repo = losses(preset="fol_repo")
    assert repo.alignment.mask_norm == "raw_softmax"
    assert repo.foreground_contrast.form == "weighted_pull"
    assert repo.pseudo_correspondence.selection == "repo"


def test_given_keys_lie_over_the_set() -> None:
    found = losses(preset="paper", pseudo_correspondence={"weight": 0.7}, local_triplet={"margin": 0.3})
    assert found.pseudo_correspondence.weight == 0.7
    assert found.pseudo_correspondence.contrast == 0
    assert (found.local_triplet.weight, found.local_triplet.margin) == (0, 0.3)
    built = FoDLosses(preset="paper", local_triplet=LocalTripletConfig(weight=2.0))
    assert built.local_triplet.weight == 2.0
    assert built.alignment.weight == 0.1


@pytest.mark.parametrize("name", LOSS_PRESETS)
def test_a_resolved_set_reads_back_the_same(name: str) -> None:
    found = losses(preset=name, alignment={"weight": 0.3})
    assert validate(FoDLosses, found.model_dump(mode="json"), "losses") == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "folrepo"}, r"preset: found 'folrepo'; input should be 'default', 'paper' or 'fol_repo'"),
        ({"preset": 3}, "preset: found 3"),
        ({"alignment": 5}, "alignment: found 5"),
        ({"preset": "paper", "alignment": None}, "alignment: found None"),
        ({"alignement": {}}, "did you mean 'alignment'"),
        ({name: {"weight": 0} for name in losses().weights}, "every term has weight 0"),
    ],
)
def test_wrong_settings_are_named(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(FoDLosses, given, "losses")


def test_off_match_cosine_equals_plain_loops() -> None:
    local = F.normalize(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)), dim=2)
    cosines = [float(image[i] @ image[j]) for image in local for i in range(5) for j in range(5) if i != j]
    assert float(off_match_cosine(local)) == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)
    assert float(off_match_cosine(local[:, :1].expand(-1, 5, -1))) == pytest.approx(1.0, abs=1e-6)
    assert math.isnan(float(off_match_cosine(local[:, :1])))


def test_peak_and_median() -> None:
    assert float(peak(torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0, 0, 0]]))) == pytest.approx(2.5)
    assert float(median_count(torch.tensor([0, 3, 4, 9]))) == 3.5
    assert math.isnan(float(median_count(torch.zeros(0, dtype=torch.int64))))


HEALTHY = {
    "accepted_correspondences": 3.0,
    "alignment_nats": 0.05,
    "off_match_cosine": 0.4,
    "attention_peak": 1.5,
    "confidence_peak": 1.05,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"accepted_correspondences": 2.5}, ["dead term: pseudo_correspondence has 2.5"]),
        ({"alignment_nats": -9e-5}, ["dead term: alignment"]),
        ({"off_match_cosine": 0.91}, ["collapsed descriptors"]),
        ({"attention_peak": 1.02}, ["flat masks: the attention"]),
        ({"attention_peak": 1.0, "confidence_peak": 1.0}, ["flat masks: the attention", "flat masks: the confidence"]),
        (dict.fromkeys(HEALTHY, math.nan), []),
    ],
)
def test_alarms_name_what_is_wrong(changes: dict[str, float], words: list[str]) -> None:
    found = alarms(HEALTHY | changes)
    assert len(found) == len(words)
    assert all(alarm.startswith(start) for alarm, start in zip(found, words, strict=True))


def test_what_was_not_measured_raises_no_alarm() -> None:
    assert alarms({}) == []
