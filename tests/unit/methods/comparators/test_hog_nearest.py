"""HOG-nearest on drawn pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from hallmark.methods.comparators.hog_nearest import HogNearest, HogNearestConfig

_CONFIG = HogNearestConfig(side_px=64)


@pytest.fixture
def comparator() -> HogNearest:
    return HogNearest(_CONFIG)


def _label(text: str, blur: float = 0.0) -> np.ndarray:
    """(160, 240, 3) a frame and a word."""
    image = np.full((160, 240, 3), 230, np.uint8)
    cv2.rectangle(image, (10, 10), (229, 149), (30, 60, 160), 4)
    cv2.putText(image, text, (25, 100), cv2.FONT_HERSHEY_SIMPLEX, 1.8, (20, 20, 20), 5)
    return cv2.GaussianBlur(image, (0, 0), blur) if blur else image


def _slow_cells(image: np.ndarray, config: HogNearestConfig) -> np.ndarray:
    """(cells, cells, orientations) mean gradient magnitude by unsigned orientation, pixel by pixel."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    side, cell = config.side_px, config.cell_px
    cells = np.zeros((side // cell, side // cell, config.num_orientations))
    for y in range(side):
        for x in range(side):
            dx = grey[y, x + 1] - grey[y, x - 1] if 0 < x < side - 1 else 0.0
            dy = grey[y + 1, x] - grey[y - 1, x] if 0 < y < side - 1 else 0.0
            angle = np.rad2deg(np.arctan2(dy, dx)) % 180
            bin_ = int(angle // (180 / config.num_orientations)) % config.num_orientations
            cells[y // cell, x // cell, bin_] += np.hypot(dx, dy) / cell**2
    return cells


def test_descriptor_is_that_of_a_plain_loop(comparator):
    image = cv2.resize(_label("AB"), (64, 64), interpolation=cv2.INTER_AREA)
    cells, wanted = _slow_cells(image, _CONFIG), []
    for row in range(7):
        for column in range(7):
            block = cells[row : row + 2, column : column + 2].ravel()
            block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
            wanted.append(block / np.sqrt((block**2).sum() + 1e-10))
    np.testing.assert_allclose(comparator.describe(image), np.concatenate(wanted), atol=1e-4)


def test_the_like_is_nearer_than_the_unlike(comparator):
    reference, same, other = map(comparator.describe, (_label("MARK"), _label("MARK", blur=0.7), _label("TEXT")))
    assert comparator.similarity(reference, reference) == 1.0
    assert comparator.similarity(same, reference) > comparator.similarity(other, reference) > 0.0
    assert comparator.similarity(same, reference) == comparator.similarity(reference, same)
    assert comparator.score(same, [other, reference]) == comparator.similarity(same, reference)


def test_order_is_that_of_minus_the_distance(comparator):
    query, *others = (comparator.describe(_label(text)) for text in ("MARK", "MARC", "TEXT", "O"))
    distances = [np.linalg.norm(query - other) for other in others]
    similarities = [comparator.similarity(query, other) for other in others]
    assert np.argsort(distances).tolist() == np.argsort([-one for one in similarities]).tolist()


def test_similarity_reaches_zero_where_nothing_is_shared():
    comparator = HogNearest(HogNearestConfig(side_px=64, min_contrast=0))
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255
    across = np.ascontiguousarray(stripes.transpose(1, 0, 2))
    assert comparator.similarity(comparator.describe(stripes), comparator.describe(across)) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_is_like_nothing(comparator, level):
    blank = comparator.describe(np.full((100, 80, 3), level, np.uint8))
    noisy = np.random.default_rng(0).normal(level, 0.4, (100, 80, 3)).clip(0, 255).round().astype(np.uint8)
    for other in (blank, comparator.describe(noisy), comparator.describe(_label("MARK"))):
        assert comparator.similarity(blank, other) == comparator.similarity(other, blank) == 0.0
    assert comparator.score(comparator.describe(_label("MARK")), []) == 0.0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (16, 3000), (3000, 16)])
def test_any_size_has_a_score(comparator, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    described = comparator.describe(image)
    assert 0.0 <= comparator.similarity(described, comparator.describe(_label("MARK"))) <= 1.0


def test_the_photograph_is_not_changed(comparator):
    image = _label("MARK")
    before = image.copy()
    first, second = comparator.describe(image), comparator.describe(image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first, second)


def test_a_side_too_short_for_a_block_is_refused():
    with pytest.raises(ValidationError, match="side_px: found 16; wanted at least cell_px times block_cells = 32"):
        HogNearestConfig(side_px=16, cell_px=16)
