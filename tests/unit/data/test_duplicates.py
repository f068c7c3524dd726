"""Near-duplicate clusters against a slow twin, and as a partition."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hallmark.data import duplicates
from hallmark.data.duplicates import (
    THUMBNAIL_SIDE_PX,
    NearDuplicateConfig,
    find_near_duplicates,
    thumbnail,
)


def _plain_clusters(thumbnails: np.ndarray, threshold: float) -> np.ndarray:
    """Clusters of pairs that correlate above the threshold, whatever looks like them."""
    plain = {"correlation": threshold, "certain": threshold, "look_alike": 0.9999}
    config = NearDuplicateConfig(**plain, neighbours=64, aligned_neighbours=0)
    return find_near_duplicates(thumbnails, config).clusters


def _slow_clusters(thumbnails: np.ndarray, threshold: float) -> list[int]:
    """Every pair in double precision, then labels spread until nothing changes, numbered by first appearance."""
    rows = [each.astype(np.float64).ravel() for each in thumbnails]
    labels = list(range(len(rows)))

    def joined(one: np.ndarray, other: np.ndarray) -> bool:
        flat = [np.ptp(each) == 0 for each in (one, other)]
        if any(flat):
            return all(flat) and abs(one[0] - other[0]) <= 2
        return np.corrcoef(one, other)[0, 1] > threshold

    pairs = [(i, j) for i in range(len(rows)) for j in range(i) if joined(rows[i], rows[j])]
    changed = True
    while changed:
        changed = False
        for i, j in pairs:
            if labels[i] != labels[j]:
                labels[i] = labels[j] = min(labels[i], labels[j])
                changed = True
    return [list(dict.fromkeys(labels)).index(label) for label in labels]


@st.composite
def _thumbnails(draw) -> np.ndarray:
    """Few originals, each several times with more or less noise; some of one flat grey."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    originals = rng.integers(0, 256, (3, 8, 8))
    pictures = []
    for _ in range(draw(st.integers(0, 14))):
        if draw(st.integers(0, 3)) == 0:
            pictures.append(np.full((8, 8), draw(st.integers(95, 108))))
        else:
            noise = draw(st.sampled_from([0, 2, 6, 15, 40])) * rng.standard_normal((8, 8))
            pictures.append(originals[draw(st.integers(0, 2))] + noise)
    return np.clip(np.rint(np.array(pictures).reshape(-1, 8, 8)), 0, 255).astype(np.uint8)


@settings(max_examples=120, deadline=None)
@given(
    thumbnails=_thumbnails(), threshold=st.sampled_from([0.9, 0.97, 0.992]), rows_at_once=st.sampled_from([1, 3, 256])
)
def test_agrees_with_the_slow_twin(thumbnails, threshold, rows_at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_ROWS_AT_ONCE", rows_at_once)
        found = _plain_clusters(thumbnails, threshold)
    assert found.shape == (len(thumbnails),)
    assert found.dtype == np.int64
    assert found.tolist() == _slow_clusters(thumbnails, threshold)


@settings(max_examples=60, deadline=None)
@given(thumbnails=_thumbnails(), data=st.data())
def test_partition_does_not_depend_on_the_order(thumbnails, data):
    order = np.array(data.draw(st.permutations(range(len(thumbnails)))), dtype=int)
    labels = _plain_clusters(thumbnails, 0.95)
    shuffled = _plain_clusters(thumbnails[order], 0.95)
    same = labels[order][:, None] == labels[order][None, :]
    np.testing.assert_array_equal(same, shuffled[:, None] == shuffled[None, :])


@settings(max_examples=40, deadline=None)
@given(thumbnails=_thumbnails())
def test_a_higher_threshold_only_splits(thumbnails):
    coarse, fine = (_plain_clusters(thumbnails, threshold) for threshold in (0.9, 0.99))
    for label in set(fine.tolist()):
        assert len(set(coarse[fine == label].tolist())) == 1


def test_chains_are_one_cluster():
    """The ends of the chain are not near each other, but each neighbour is."""
    rng = np.random.default_rng(0)
    start, end = rng.normal(128, 30, (2, 64, 64))
    mixed = [start * np.cos(angle) + end * np.sin(angle) for angle in np.linspace(0, 1.2, 25)]
    chain = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    assert _plain_clusters(chain, 0.995).tolist() == [0] * 25
    assert _plain_clusters(chain[[0, 24]], 0.995).tolist() == [0, 1]


def test_flat_pictures_join_flat_pictures_of_nearly_their_grey():
    greys = [100, 102, 104, 107, 250]
    flat = np.stack([np.full((64, 64), grey, np.uint8) for grey in greys])
    almost = flat[0].copy()
    almost[0, 0] += 1
    labels = _plain_clusters(np.concatenate([flat, almost[None]]), 0.995)
    assert labels.tolist() == [0, 0, 0, 1, 2, 3]


@pytest.mark.parametrize(("count", "wanted"), [(0, []), (1, [0])])
def test_none_and_one(count, wanted):
    assert _plain_clusters(np.zeros((count, 64, 64), np.uint8), 0.995).tolist() == wanted


def test_the_same_photograph_saved_again_is_near_and_another_is_not():
    rng = np.random.default_rng(3)
    one, other = (
        np.asarray(Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((320, 240)))
        for _ in range(2)
    )
    buffer = io.BytesIO()
    Image.fromarray(one).resize((300, 225)).save(buffer, format="JPEG", quality=70)
    again = np.asarray(Image.open(buffer))
    brighter = np.clip(one * 0.8 + 40, 0, 255).astype(np.uint8)
    thumbnails = np.stack([thumbnail(image) for image in (one, again, brighter, other)])
    assert _plain_clusters(thumbnails, 0.995).tolist() == [0, 0, 0, 1]


def test_thumbnail_is_the_mean_of_equal_areas():
    side = THUMBNAIL_SIDE_PX
    grey = np.random.default_rng(1).integers(0, 256, (side * 3, side * 2), dtype=np.uint8)
    wanted = grey.reshape(side, 3, side, 2).mean(axis=(1, 3))
    found = thumbnail(np.repeat(grey[..., None], 3, axis=-1))
    assert found.shape == (side, side)
    assert found.dtype == np.uint8
    assert np.abs(found - wanted).max() <= 1


CONFIG = NearDuplicateConfig()


def _scene(seed: int, side: int = 240) -> np.ndarray:
    """A smooth random picture, (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def _captures(count: int, seed: int, spread: float = 5.0) -> np.ndarray:
    """Thumbnails of one design, each with an own light and texture; any two correlate above 0.98."""
    rng = np.random.default_rng(seed)
    design = thumbnail(_scene(seed)).astype(np.float64)
    own = [np.asarray(Image.fromarray(rng.normal(0, spread, (16, 16))).resize((64, 64))) for _ in range(count)]
    return np.clip(np.rint(design + np.array(own)), 0, 255).astype(np.uint8)


def _recoded(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


COPIES = {
    "recoded": lambda image: _recoded(image, 40),
    "halved": lambda image: np.asarray(Image.fromarray(image).resize((120, 120), Image.Resampling.LANCZOS)),
    "darker": lambda image: (255 * (image / 255) ** 1.2).astype(np.uint8),
    "cropped": lambda image: image[8:230, 6:236],
    "turned": lambda image: np.asarray(Image.fromarray(image).rotate(3, Image.Resampling.BICUBIC))[12:-12, 12:-12],
}


@pytest.mark.parametrize("change", COPIES)
def test_copies_are_found_among_other_pictures(change):
    scenes = [_scene(seed) for seed in range(12)]
    copies = [COPIES[change](scene) for scene in scenes[:4]]
    found = find_near_duplicates(np.stack([thumbnail(each) for each in scenes + copies]), CONFIG)
    assert found.pairs.tolist() == [[position, 12 + position] for position in range(4)]
    assert found.clusters.tolist() == [*range(12), *range(4)]


def test_captures_of_one_design_are_told_apart_and_copies_of_them_found():
    captures = _captures(12, seed=3)
    raw = np.corrcoef(captures.reshape(12, -1))
    assert raw[~np.eye(12, dtype=bool)].max() > CONFIG.correlation, "the captures must look like copies"
    copies = np.clip(captures[:3].astype(int) + 2, 0, 255).astype(np.uint8)
    found = find_near_duplicates(np.concatenate([captures, copies]), CONFIG)
    assert found.pairs.tolist() == [[0, 12], [1, 13], [2, 14]]


def test_what_is_left_of_a_pair_agrees_with_a_slow_twin():
    units = duplicates._unit_rows(_captures(7, seed=5).reshape(7, -1), np.zeros(7, dtype=bool))
    near = duplicates._surroundings(units, CONFIG)
    for one, other in ((0, 1), (2, 6), (4, 3)):
        rest = [units[k].astype(float) for k in range(7)]
        alike = [
            k for k in range(7) for i in (one, other) if k not in (one, other) and rest[i] @ rest[k] > CONFIG.look_alike
        ]
        mean = sum(rest[k] for k in alike)
        a, b = (row - mean * (row @ mean) / (mean @ mean) for row in (rest[one], rest[other]))
        slow = a @ b / np.sqrt((a @ a) * (b @ b))
        args = (units[[one]], units[[other]], near.shared[[one]], near.shared[[other]])
        assert duplicates._own_correlation(*args)[0] == pytest.approx(slow, abs=1e-3)


def test_many_copies_of_one_photograph_are_one_cluster():
    rng = np.random.default_rng(0)
    captures = _captures(8, seed=9)
    copies = np.clip(captures[0].astype(int) + rng.integers(-1, 2, (6, 64, 64)), 0, 255).astype(np.uint8)
    clusters = find_near_duplicates(np.concatenate([captures, copies]), CONFIG).clusters
    assert clusters.tolist() == [*range(8), *[0] * 6]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_and_flat_photographs(count):
    found = find_near_duplicates(np.full((count, 64, 64), 90, dtype=np.uint8), CONFIG)
    assert found.clusters.tolist() == [0] * count
    assert found.pairs.shape == (max(0, count - 1), 2)


def test_finding_does_not_depend_on_the_order():
    scenes = [_scene(seed) for seed in range(6)]
    thumbnails = np.stack([thumbnail(each) for each in [*scenes, *(COPIES["cropped"](each) for each in scenes)]])
    order = np.random.default_rng(1).permutation(12)
    labels, shuffled = (find_near_duplicates(each, CONFIG).clusters for each in (thumbnails, thumbnails[order]))
    same = labels[order][:, None] == labels[order][None, :]
    np.testing.assert_array_equal(same, shuffled[:, None] == shuffled[None, :])
