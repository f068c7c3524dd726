"""KAG: lossless disturbance of a photograph, and what it does to the labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.data.scramble import ScrambleConfig, draw_order, main_labels, scramble, stream_prior
from hallmark.errors import ConfigError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def edges(length: int, cells: int) -> list[int]:
    return [round(cell * length / cells) for cell in range(cells + 1)]


def plain_rows(image: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Row strips put together by concatenating cells."""
    x, y = edges(image.shape[1], len(order)), edges(image.shape[0], len(order))
    strips = []
    for row in range(len(order)):
        strip = image[y[row] : y[row + 1]]
        strips.append(np.concatenate([strip[:, x[cell] : x[cell + 1]] for cell in order[row]], axis=1))
    return np.concatenate(strips, axis=0)


def as_multiset(pixels: np.ndarray) -> list:
    return sorted(map(tuple, pixels.reshape(-1, 3).tolist()))


SIZES = st.integers(1, 60)
CONFIGS = st.builds(
    ScrambleConfig,
    degree=st.integers(1, 12),
    probability=st.floats(0, 1),
    direction=st.sampled_from(["horizontal", "vertical", "both"]),
    order=st.sampled_from(["sequential", "pairs"]),
)


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_sequential_order_is_the_listed_bubble_pass(size: int, probability: float) -> None:
    order = draw_order(size, ScrambleConfig(probability=probability), np.random.default_rng(size))
    swap = np.random.default_rng(size).random((size, size - 1)) < probability
    for row in range(size):
        cells = list(range(size))
        for place in range(size - 1):
            if swap[row, place]:
                cells[place], cells[place + 1] = cells[place + 1], cells[place]
        assert order[row].tolist() == cells


@pytest.mark.parametrize("size", [1, 2, 3, 8, 21])
def test_pairs_swap_with_their_neighbour_only(size: int) -> None:
    order = draw_order(size, ScrambleConfig(order="pairs"), np.random.default_rng(size))
    swap = np.random.default_rng(size).random((size, size // 2)) < 0.5
    for row in range(size):
        cells = list(range(size))
        for pair in np.flatnonzero(swap[row]):
            cells[2 * pair], cells[2 * pair + 1] = 2 * pair + 1, 2 * pair
        assert order[row].tolist() == cells


def test_order_at_degree_20_has_the_statistics_of_the_algorithm() -> None:
    rng = np.random.default_rng(0)
    shifts = np.abs(np.stack([draw_order(20, ScrambleConfig(), rng) for _ in range(1000)]) - np.arange(20))
    assert (shifts > 0).mean() == pytest.approx(0.725, abs=0.01)
    assert shifts.mean() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_row_stays_as_it_is_with_the_probability_that_no_swap_happens(size: int) -> None:
    rng = np.random.default_rng(1)
    rows = np.concatenate([draw_order(size, ScrambleConfig(), rng) for _ in range(40_000 // size)])
    assert (rows == np.arange(size)).all(axis=1).mean() == pytest.approx(0.5 ** (size - 1), abs=0.01)


@given(height=SIZES, width=SIZES, config=CONFIGS, seed=st.integers(0, 2**40))
def test_no_pixel_is_made_lost_or_resampled(height: int, width: int, config: ScrambleConfig, seed: int) -> None:
    image = noise(height, width, seed)
    before = image.copy()
    scrambled = scramble(image, config, np.random.default_rng(seed))
    assert scrambled.image.shape == image.shape
    assert scrambled.image.dtype == np.uint8
    assert scrambled.image.flags["C_CONTIGUOUS"]
    assert np.array_equal(image, before)
    assert scrambled.disturbed == (not np.array_equal(scrambled.image, image))
    cells = min(config.degree, height, width)
    if config.direction == "horizontal":
        for top, bottom in zip(edges(height, cells), edges(height, cells)[1:], strict=False):
            assert as_multiset(scrambled.image[top:bottom]) == as_multiset(image[top:bottom])
    elif config.direction == "vertical":
        for left, right in zip(edges(width, cells), edges(width, cells)[1:], strict=False):
            assert as_multiset(scrambled.image[:, left:right]) == as_multiset(image[:, left:right])
    else:
        assert as_multiset(scrambled.image) == as_multiset(image)


@given(height=SIZES, width=SIZES, config=CONFIGS, seed=st.integers(0, 2**40))
def test_the_orders_given_rebuild_the_photograph(height: int, width: int, config: ScrambleConfig, seed: int) -> None:
    image = noise(height, width, seed)
    scrambled = scramble(image, config, np.random.default_rng(seed))
    expected = image
    if scrambled.columns is not None:
        expected = plain_rows(expected, scrambled.columns)
    if scrambled.rows is not None:
        expected = plain_rows(expected.swapaxes(0, 1), scrambled.rows).swapaxes(0, 1)
    assert np.array_equal(scrambled.image, expected)
    if scrambled.disturbed:
        assert (scrambled.columns is None) == (config.direction == "vertical")
        assert (scrambled.rows is None) == (config.direction == "horizontal")
    else:
        assert scrambled.columns is None
        assert scrambled.rows is None


@given(height=SIZES, width=SIZES, config=CONFIGS, seed=st.integers(0, 2**40))
def test_a_disturbance_is_decided_by_its_seed(height: int, width: int, config: ScrambleConfig, seed: int) -> None:
    image = noise(height, width)
    first, again = (scramble(image, config, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert first.disturbed == again.disturbed


def test_other_seeds_disturb_otherwise() -> None:
    image = noise(45, 67)
    assert len({scramble(image, ScrambleConfig(), np.random.default_rng(s)).image.tobytes() for s in range(8)}) == 8


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "both"])
@pytest.mark.parametrize("settings", [{"probability": 0.0}, {"degree": 1}])
def test_without_swaps_the_photograph_is_undisturbed(settings: dict, direction: str) -> None:
    image = noise(33, 47)
    scrambled = scramble(image, ScrambleConfig(direction=direction, **settings), np.random.default_rng(0))
    assert not scrambled.disturbed
    assert np.array_equal(scrambled.image, image)


def test_certain_swaps_rotate_every_row_left_by_one_cell() -> None:
    image = noise(47, 61)
    scrambled = scramble(image, ScrambleConfig(degree=5, probability=1), np.random.default_rng(0))
    first = edges(61, 5)[1]
    assert scrambled.disturbed
    assert np.array_equal(scrambled.image, np.concatenate([image[:, first:], image[:, :first]], axis=1))
    assert (scrambled.columns == [1, 2, 3, 4, 0]).all()


def test_vertical_is_horizontal_of_the_transposed_photograph() -> None:
    image = noise(40, 70)
    down = scramble(image, ScrambleConfig(direction="vertical"), np.random.default_rng(3))
    across = scramble(np.ascontiguousarray(image.swapaxes(0, 1)), ScrambleConfig(), np.random.default_rng(3))
    assert np.array_equal(down.image.swapaxes(0, 1), across.image)
    assert np.array_equal(down.rows, across.columns)


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "both"])
def test_a_blank_photograph_counts_as_undisturbed(direction: str) -> None:
    image = np.full((50, 50, 3), 77, dtype=np.uint8)
    assert not scramble(image, ScrambleConfig(direction=direction), np.random.default_rng(0)).disturbed


def test_a_draw_that_changes_nothing_is_drawn_again_five_times_in_all() -> None:
    class Refusals:
        """Refuses every swap of the first draws."""

        def __init__(self, refused: int) -> None:
            self.refused, self.draws = refused, 0

        def random(self, shape: tuple) -> np.ndarray:
            self.draws += 1
            return np.full(shape, 0.9 if self.draws <= self.refused else 0.1)

    for refused, draws, disturbed in [(0, 1, True), (4, 5, True), (5, 5, False)]:
        rng = Refusals(refused)
        assert scramble(noise(20, 20), ScrambleConfig(degree=2), rng).disturbed is disturbed  # type: ignore[arg-type]
        assert rng.draws == draws


def test_small_photographs_get_fewer_cells() -> None:
    scrambled = scramble(noise(3, 500), ScrambleConfig(degree=20, probability=1), np.random.default_rng(0))
    assert scrambled.disturbed
    assert scrambled.columns.shape == (3, 3)
    assert not scramble(noise(1, 1), ScrambleConfig(), np.random.default_rng(0)).disturbed


def test_a_view_of_a_photograph_is_read_as_its_copy_is() -> None:
    view = noise(80, 90)[5:60, 7:71]
    first, second = (scramble(image, ScrambleConfig(), np.random.default_rng(2)) for image in (view, view.copy()))
    assert np.array_equal(first.image, second.image)


PRODUCT = np.array([0, 0, 1, 1, 2, -1, -1])
GENUINE = np.array([True, False, True, True, False, False, False])
CLASS = np.array([1, 0, 3, 3, 4, -1, -1])
DISTURBED = np.array([True, True, True, False, False, True, False])


@pytest.mark.parametrize(
    ("policy", "genuine", "class_index"),
    [
        ("counterfeit", [False, False, False, True, False, False, False], [0, 0, 2, 3, 4, -1, -1]),
        ("keep", GENUINE.tolist(), CLASS.tolist()),
        ("ignore", GENUINE.tolist(), [-1, -1, -1, 3, 4, -1, -1]),
    ],
)
def test_main_labels_follow_the_policy(policy, genuine: list, class_index: list) -> None:
    columns = [column.copy() for column in (PRODUCT, GENUINE, CLASS, DISTURBED)]
    found = main_labels(*columns, policy)
    assert found[0].tolist() == genuine
    assert found[1].tolist() == class_index
    assert found[0].dtype == bool
    assert found[1].dtype == np.int64
    found[0][:], found[1][:] = True, 99  # new arrays: the columns stay
    for column, original in zip(columns, (PRODUCT, GENUINE, CLASS, DISTURBED), strict=True):
        assert np.array_equal(column, original)


@pytest.mark.parametrize("policy", ["counterfeit", "keep", "ignore"])
def test_main_labels_of_no_photographs(policy) -> None:
    whole, flags = np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
    genuine, class_index = main_labels(whole, flags, whole, flags, policy)
    assert (genuine.shape, class_index.shape) == ((0,), (0,))


@pytest.mark.parametrize("policy", ["counterfeit", "keep", "ignore"])
@given(classes=st.lists(st.integers(0, 7), min_size=1, max_size=30), share=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_the_prior_is_what_the_main_task_is_shown(policy, classes: list, share: float) -> None:
    """Every photograph is shown four times, 4·share of them disturbed, and labelled by the policy."""
    given_, disturbed = np.repeat(classes, 4), np.tile(np.arange(4) < 4 * share, len(classes))
    _, shown = main_labels(given_ // 2, given_ % 2 == 1, given_, disturbed, policy)
    counts = np.bincount(shown[shown >= 0], minlength=8) / 4
    if policy == "ignore":  # a disturbed photograph is left out, whatever its class
        counts = np.bincount(classes, minlength=8)
    expected = np.maximum(counts, 0.5)
    found = stream_prior(np.array(classes), 4, share, policy)
    np.testing.assert_allclose(found, expected / expected.sum())
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"degree": 0}, "degree"),
        ({"degree": 201}, "degree"),
        ({"probability": 1.1}, "probability"),
        ({"direction": "diagonal"}, "direction"),
        ({"share": -0.1}, "share"),
        ({"main_label": "fake"}, "main_label"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        validate(ScrambleConfig, settings, "scramble")
