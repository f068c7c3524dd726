"""Principal components of global descriptors."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.errors import BundleError, ConfigError
from hallmark.gallery.describe import Describer, Photograph
from hallmark.training.bundle import open_bundle, write_calibration, write_reduction
from hallmark.training.reduction import Reduction, ReductionConfig, fit_reduction, read_reduction


def descriptors(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Unit vectors that spread unequally and off the origin."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(count, dimensions)) * np.geomspace(1, 0.05, dimensions) + 0.3
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def unnormalised(reduction: Reduction, rows: np.ndarray) -> np.ndarray:
    return (rows - reduction.mean) @ reduction.projection


@settings(max_examples=30, deadline=None)
@given(st.integers(12, 60), st.integers(3, 20), st.floats(0, 1), st.integers(0, 99))
def test_components_are_uncorrelated_and_spread_as_the_power_says(count, dimensions, whiten, seed):
    rows = descriptors(count, dimensions, seed)
    short = min(dimensions, count - 2, 6)
    reduction = fit_reduction(rows, ReductionConfig(dimensions=short, whiten=whiten))
    # The slow twin: eigenvalues of the covariance.
    variances = np.sort(np.linalg.eigvalsh(np.cov(rows.T.astype(np.float64))))[::-1]
    found = np.cov(unnormalised(reduction, rows.astype(np.float64)).T, ddof=1).reshape(short, short)
    expected = variances[:short] ** (1 - whiten)
    np.testing.assert_allclose(np.diag(found), expected, rtol=1e-3)
    np.testing.assert_allclose(found - np.diag(np.diag(found)), 0, atol=1e-4 * expected.max())
    assert reduction.stated["variance_kept"] == pytest.approx(variances[:short].sum() / variances.sum(), rel=1e-5)


def test_all_components_unwhitened_keep_every_distance():
    rows = descriptors(40, 5)
    moved = unnormalised(fit_reduction(rows, ReductionConfig(dimensions=5, whiten=0)), rows)
    for first, second in ((0, 1), (3, 20), (7, 39)):
        kept = np.linalg.norm(moved[first] - moved[second])
        assert kept == pytest.approx(np.linalg.norm(rows[first] - rows[second]), rel=1e-4)


def test_a_short_descriptor_has_unit_norm_and_nothing_stays_nothing():
    rows = descriptors(40, 8)
    reduction = fit_reduction(rows, ReductionConfig(dimensions=3))
    short = reduction(rows[0])
    assert short.dtype == np.float32
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-6)
    assert not reduction(reduction.mean).any()


@pytest.mark.parametrize(("count", "dimensions", "most"), [(4, 8, 3), (40, 8, 8)])
def test_more_dimensions_than_there_are_is_refused(count, dimensions, most):
    asked = ReductionConfig(dimensions=most + 1)
    with pytest.raises(ConfigError, match=rf"reduction.dimensions: found {most + 1}; wanted at most {most}"):
        fit_reduction(descriptors(count, dimensions), asked)


def test_a_reduction_is_kept_whole(tmp_path: Path):
    reduction = fit_reduction(descriptors(40, 8), ReductionConfig(dimensions=3))
    reduction.save(tmp_path / "r.safetensors")
    read = read_reduction(tmp_path / "r.safetensors")
    np.testing.assert_array_equal(read.mean, reduction.mean)
    np.testing.assert_array_equal(read.projection, reduction.projection)
    assert read.stated == reduction.stated
    (tmp_path / "r.safetensors").write_bytes((tmp_path / "r.safetensors").read_bytes()[:-20])
    with pytest.raises(BundleError, match=r"r.safetensors: cannot be read"):
        read_reduction(tmp_path / "r.safetensors")
    Reduction(reduction.mean[:5], reduction.projection, {}).save(tmp_path / "r.safetensors")
    with pytest.raises(BundleError, match=r"found a mean of \(5,\)"):
        read_reduction(tmp_path / "r.safetensors")


def test_a_bundle_describes_by_its_reduction(bundle, tmp_path: Path):
    whole = Describer(bundle)
    side = bundle.input.preprocessing.side_px
    rng = np.random.default_rng(0)

    def described(describer: Describer, images: list[np.ndarray]) -> np.ndarray:
        photographs = [Photograph("", image, image, None, b"") for image in images]
        return np.stack([embedded.descriptor for embedded in describer.embed(photographs)])

    images = [rng.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(8)]
    long = described(whole, images)
    reduction = fit_reduction(long, ReductionConfig(dimensions=4))
    shutil.copytree(bundle.path, tmp_path / "short")
    with pytest.raises(BundleError, match=r"short: is calibrated already"):
        write_reduction(tmp_path / "short", reduction)
    (tmp_path / "short" / "calibration.json").unlink()
    short = write_reduction(tmp_path / "short", reduction)
    assert short.embedding_id != bundle.embedding_id
    assert short.bundle_id != bundle.bundle_id
    found = described(Describer(open_bundle(short.path)), images)
    np.testing.assert_allclose(found, np.stack([reduction(one) for one in long]), atol=1e-6)
    (short.path / "reduction.safetensors").unlink()
    again = write_calibration(short.path, bundle.calibration)
    assert (again.bundle_id, again.embedding_id, again.reduction()) == (bundle.bundle_id, bundle.embedding_id, None)
