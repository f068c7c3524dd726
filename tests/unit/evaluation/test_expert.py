"""One photograph examined in this process."""

from __future__ import annotations

import pytest

from hallmark.errors import BundleError, DecodeError, GalleryError
from hallmark.evaluation.expert import Expert
from hallmark.evaluation.protocol import examine_files
from hallmark.types import VerdictLabel
from hallmark.verdict.decide import DecisionConfig


def test_it_gives_the_same_verdict_each_time_and_as_files_are_given(bundle, gallery, photographs):
    expert = Expert.open(bundle.path, gallery.uri)
    path = photographs / "photo-7.png"
    first, second = expert.examine(path.read_bytes()), expert.examine(path.read_bytes())
    (third,) = examine_files(bundle.path, gallery.uri, [path])
    passing = {"timings_ms"}
    assert first.model_dump(exclude=passing) == second.model_dump(exclude=passing) == third.model_dump(exclude=passing)
    assert set(first.timings_ms) == {"describe", "retrieve", "verify"}
    assert (first.bundle_id, first.gallery_version) == (bundle.bundle_id, gallery.version)


def test_a_box_and_settings_are_in_force(bundle, gallery, photographs):
    data = (photographs / "photo-6.png").read_bytes()
    expert = Expert.open(bundle.path, gallery.uri, 1, DecisionConfig(threshold_global=1.0))
    assert expert.examine(data).verdict == VerdictLabel.NOT_IN_GALLERY
    usual = Expert.open(bundle.path, gallery.uri)
    assert usual.examine(data, (0, 0, 20, 20)).scores != usual.examine(data).scores


def test_what_cannot_be_opened_is_named(bundle, gallery, tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        Expert.open(tmp_path / "none", gallery.uri)
    with pytest.raises(GalleryError, match="version 9"):
        Expert.open(bundle.path, gallery.uri, 9)
    with pytest.raises(DecodeError):
        Expert.open(bundle.path, gallery.uri).examine(b"no photograph")
