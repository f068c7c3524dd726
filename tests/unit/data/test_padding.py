"""FWD padding to a square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.data.padding import centred, pad_to_square

PADDING = ["black", "white", "gray", "random", "uniform"]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(height=st.integers(1, 90), width=st.integers(1, 90), fill=st.sampled_from(PADDING), seed=st.integers(0, 99))
def test_padding_makes_a_square_round_unchanged_pixels(height: int, width: int, fill, seed: int) -> None:
    image = noise(height, width, seed)
    padded = pad_to_square(image, fill, np.random.default_rng(seed))
    side = max(height, width)
    assert padded.image.shape == (side, side, 3)
    assert padded.image.dtype == np.uint8
    x0, y0, x1, y1 = padded.content
    assert (x1 - x0, y1 - y0) == (width, height)
    assert np.array_equal(padded.image[y0:y1, x0:x1], image)
    assert side - x1 - x0 in (0, 1)  # as much at both ends, or one more at the end
    assert side - y1 - y0 in (0, 1)
    assert np.array_equal(image, noise(height, width, seed))


@pytest.mark.parametrize(("fill", "level"), [("black", 0), ("white", 255), ("gray", 128)])
@pytest.mark.parametrize(("height", "width"), [(10, 35), (35, 10)])
def test_plain_fills_are_of_their_level(fill, level: int, height: int, width: int) -> None:
    padded = pad_to_square(noise(height, width), fill)
    x0, y0, x1, y1 = padded.content
    outside = np.ones((35, 35), dtype=bool)
    outside[y0:y1, x0:x1] = False
    assert outside.sum() == 35 * 25
    assert (padded.image[outside] == level).all()


def test_random_is_one_colour_of_the_rng_a_call() -> None:
    rng, image = np.random.default_rng(4), noise(10, 30)
    first, second = (pad_to_square(image, "random", rng).image for _ in range(2))
    for square in (first, second):
        assert (square[:10] == square[0, 0]).all()
        assert (square[20:] == square[0, 0]).all()
    assert first[0, 0].tolist() != second[0, 0].tolist()
    assert np.array_equal(first, pad_to_square(image, "random", np.random.default_rng(4)).image)


def test_random_without_an_rng_is_refused() -> None:
    with pytest.raises(ValueError, match="rng"):
        pad_to_square(noise(4, 8), "random")


def test_auto_must_be_decided_before() -> None:
    with pytest.raises(ValueError, match="auto"):
        pad_to_square(noise(4, 8), "auto")


def test_none_leaves_the_photograph_as_it_is() -> None:
    image = noise(10, 30)
    padded = pad_to_square(image, "none")
    assert padded.image is image
    assert padded.content == (0, 0, 30, 10)


@pytest.mark.parametrize(("height", "width", "strip"), [(300, 100, 2), (100, 300, 2), (60, 20, 1), (400, 130, 3)])
def test_uniform_continues_the_mean_of_each_edge(height: int, width: int, strip: int) -> None:
    image = noise(height, width)
    square = pad_to_square(image, "uniform").image
    if height > width:
        leading, trailing, ends = image[:, :strip], image[:, -strip:], (square[:, :1], square[:, -1:])
    else:
        leading, trailing, ends = image[:strip], image[-strip:], (square[:1], square[-1:])
    for end, edge in zip(ends, (leading, trailing), strict=True):
        colour = end.reshape(-1, 3)[0]
        total = [sum(int(pixel[channel]) for pixel in edge.reshape(-1, 3)) for channel in range(3)]
        assert (end == colour).all()
        assert np.abs(colour - np.array(total) / (edge.size // 3)).max() <= 0.5 + 1e-9


def test_uniform_padding_of_two_coloured_ends_differs() -> None:
    image = np.zeros((40, 10, 3), dtype=np.uint8)
    image[:, 0], image[:, -1] = (200, 10, 30), (5, 90, 250)
    square = pad_to_square(image, "uniform").image
    assert (square[:, :15] == (200, 10, 30)).all()
    assert (square[:, 25:] == (5, 90, 250)).all()


@pytest.mark.parametrize("fill", PADDING)
def test_a_square_needs_no_padding(fill) -> None:
    image = noise(21, 21)
    padded = pad_to_square(image, fill, np.random.default_rng(0))
    assert np.array_equal(padded.image, image)
    assert padded.content == (0, 0, 21, 21)


def test_centred_puts_the_odd_pixel_at_the_end() -> None:
    assert centred(4, 9, 9) == (2, 0, 6, 9)
    assert centred(9, 9, 9) == (0, 0, 9, 9)
