"""The background library: its sources, what it skips, and that it cannot know a label."""

import inspect
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2_contingency

from hallmark.data.backgrounds import (
    BackgroundConfig,
    BackgroundLibrary,
    BackgroundReplacement,
    Masked,
    largest_free_rectangle,
)
from hallmark.data.composite import CompositeConfig
from hallmark.errors import DataError

PRODUCT = (230, 20, 20)


def write(path, image: np.ndarray) -> str:
    cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])
    return str(path)


def folder_of(path, greys) -> str:
    path.mkdir()
    for number, grey in enumerate(greys):
        write(path / f"{number}.png", np.full((60, 80, 3), grey, np.uint8))
    return str(path)


def own_of(path, greys, covered=False) -> list[Masked]:
    """Photographs of a red product on plain ground of the given greys."""
    path.mkdir()
    pairs = []
    for number, grey in enumerate(greys):
        image = np.full((90, 120, 3), grey, np.uint8)
        mask = np.zeros((90, 120), np.uint8)
        mask[:, :] = 255 if covered else 0
        mask[20:70, 40:90] = 255
        image[mask > 0] = PRODUCT
        pairs.append(Masked(write(path / f"{number}.png", image), write(path / f"{number}_mask.png", mask)))
    return pairs


def only_folder(folder: str) -> BackgroundLibrary:
    return BackgroundLibrary(BackgroundConfig(folder=folder, drawn=False, own_share=0))


@pytest.mark.parametrize("size", [(1, 1), (50, 50), (33, 200), (300, 40)])
def test_a_draw_has_the_wanted_size_from_every_source(tmp_path, size):
    folder, own = folder_of(tmp_path / "folder", [10, 200]), own_of(tmp_path / "own", [60, 90])
    for library in (
        only_folder(folder),
        BackgroundLibrary(BackgroundConfig(own_share=0)),
        BackgroundLibrary(BackgroundConfig(drawn=False, own_share=1), own),
    ):
        drawn = library.draw(np.random.default_rng(0), *size)
        assert drawn.shape == (*size, 3)
        assert drawn.dtype == np.uint8


def test_the_same_stream_draws_the_same_whatever_was_drawn_before(tmp_path):
    folder, own = folder_of(tmp_path / "folder", range(0, 250, 25)), own_of(tmp_path / "own", [60, 90])
    library = BackgroundLibrary(BackgroundConfig(folder=folder, drawn=False), own)
    fresh = pickle.loads(pickle.dumps(library))
    for seed in range(20):
        library.draw(np.random.default_rng(1000 + seed), 40, 40)
        drawn = library.draw(np.random.default_rng(seed), 40, 40)
        assert np.array_equal(drawn, fresh.draw(np.random.default_rng(seed), 40, 40))


def test_a_pickle_carries_no_pixels(tmp_path):
    library = only_folder(folder_of(tmp_path / "folder", range(0, 250, 10)))
    before = len(pickle.dumps(library))
    for seed in range(60):
        library.draw(np.random.default_rng(seed), 40, 40)
    assert len(pickle.dumps(library)) == before < 10_000


def test_own_backgrounds_hold_nothing_of_the_product(tmp_path):
    library = BackgroundLibrary(BackgroundConfig(drawn=False, own_share=1), own_of(tmp_path / "own", [60, 90, 120]))
    seen = set()
    for seed in range(40):
        drawn = library.draw(np.random.default_rng(seed), 64, 64)
        assert drawn.max() == drawn.min()
        seen.add(int(drawn[0, 0, 0]))
    assert seen == {60, 90, 120}


def test_own_share_is_kept(tmp_path):
    folder, own = folder_of(tmp_path / "folder", [10]), own_of(tmp_path / "own", [200])
    for share in (0.0, 0.3, 1.0):
        library = BackgroundLibrary(BackgroundConfig(folder=folder, drawn=False, own_share=share), own)
        rng = np.random.default_rng(7)
        got = np.mean([library.draw(rng, 8, 8)[0, 0, 0] == 200 for _ in range(600)])
        assert abs(got - share) < 0.07


def test_the_draw_is_independent_of_the_label(tmp_path):
    greys = range(20, 220, 20)
    library = BackgroundLibrary(
        BackgroundConfig(folder=folder_of(tmp_path / "folder", greys), drawn=False),
        own_of(tmp_path / "own", range(30, 230, 20)),
    )
    counts = np.zeros((2, 256), int)
    for image_id in range(1000):
        drawn = library.draw(np.random.default_rng([11, image_id]), 8, 8)
        counts[image_id % 2, int(drawn[4, 4, 0])] += 1  # odd = genuine, even = counterfeit
    counts = counts[:, counts.sum(axis=0) > 0]
    assert counts.shape[1] == 20
    assert chi2_contingency(counts).pvalue > 0.01


def test_nothing_that_draws_can_be_told_a_label():
    assert list(inspect.signature(BackgroundLibrary.draw).parameters) == ["self", "rng", "height", "width"]
    assert list(Masked.__dataclass_fields__) == ["uri", "mask_uri"]
    assert list(inspect.signature(BackgroundReplacement.__call__).parameters)[1:] == ["image", "probability", "rng"]


def test_unusable_files_are_skipped_and_counted(tmp_path):
    folder = folder_of(tmp_path / "folder", [100, 100])
    (tmp_path / "folder" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nshort")
    library = only_folder(folder)
    for seed in range(30):
        assert (library.draw(np.random.default_rng(seed), 8, 8) == 100).all()
    assert sum(library.skipped.values()) == 1
    assert "bad.png" in next(iter(library.skipped))


def test_a_product_that_leaves_no_background_is_skipped(tmp_path):
    own = own_of(tmp_path / "full", [50], covered=True) + own_of(tmp_path / "own", [90])
    library = BackgroundLibrary(BackgroundConfig(drawn=False, own_share=1), own)
    for seed in range(10):
        assert (library.draw(np.random.default_rng(seed), 8, 8) == 90).all()
    assert len(library.skipped) == 1


def test_a_mask_of_another_size_is_skipped(tmp_path):
    good, bad = own_of(tmp_path / "own", [90]), own_of(tmp_path / "other", [50])
    write(tmp_path / "other" / "0_mask.png", np.zeros((50, 50), np.uint8))
    library = BackgroundLibrary(BackgroundConfig(drawn=False, own_share=1), good + bad)
    for seed in range(10):
        assert (library.draw(np.random.default_rng(seed), 8, 8) == 90).all()
    assert "50 x 50" in next(iter(library.skipped))


def test_errors_name_the_folder_and_the_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    with pytest.raises(DataError, match="found 1 files and no photograph"):
        only_folder(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="no source"):
        BackgroundLibrary(BackgroundConfig(drawn=False))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of 1 files .*a\.jpg"):
        only_folder(str(tmp_path / "broken")).draw(np.random.default_rng(0), 8, 8)


def test_replacement_keeps_to_its_probability_and_to_the_mask(tmp_path):
    folder = folder_of(tmp_path / "folder", [10])
    image = np.full((20, 20, 3), 180, np.uint8)
    mask = np.zeros((20, 20), np.float32)
    mask[:, :10] = 1
    rng = np.random.default_rng(3)
    for probability in (0.0, 0.5, 1.0):
        library = BackgroundLibrary(BackgroundConfig(probability=probability, folder=folder, drawn=False, own_share=0))
        replace = BackgroundReplacement(library, CompositeConfig(feather_px=0))
        made = [replace(image, mask, rng) for _ in range(400)]
        changed = [each for each in made if not np.array_equal(each, image)]
        assert abs(len(changed) / 400 - probability) < 0.08
        assert all((each[:, :10] == 180).all() and (each[:, 10:] == 10).all() for each in changed)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_the_largest_free_rectangle_is_the_largest(taken):
    height, width = taken.shape
    areas = [
        (y1 - y0) * (x1 - x0)
        for y0 in range(height)
        for y1 in range(y0 + 1, height + 1)
        for x0 in range(width)
        for x1 in range(x0 + 1, width + 1)
        if not taken[y0:y1, x0:x1].any()
    ]
    x0, y0, x1, y1 = largest_free_rectangle(taken)
    assert not taken[y0:y1, x0:x1].any()
    assert (y1 - y0) * (x1 - x0) == max(areas, default=0)
