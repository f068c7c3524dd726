"""Windows against plain loops, their invariants (METHODS 2.10), and pixels that are the photograph's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.errors import ConfigError
from hallmark.nets.windows import WindowsConfig, as_fractions, choose_windows, crop


def iou(first: list[int], second: list[int]) -> float:
    down = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    across = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (first, second)]
    return down * across / (sum(areas) - down * across)


def plain(heat: torch.Tensor, config: WindowsConfig) -> tuple[list[list[int]], list[float], list[bool]]:
    """One image, (h, w)."""
    height, width = heat.shape
    step = max(1, round(height * config.stride)), max(1, round(width * config.stride))
    candidates = []
    for side in config.sides:
        tall, wide = max(1, round(height * side)), max(1, round(width * side))
        for top in range(0, height - tall + 1, step[0]):
            for left in range(0, width - wide + 1, step[1]):
                place = [top, left, top + tall, left + wide]
                candidates.append((float(heat[top : top + tall, left : left + wide].mean()), place))
    candidates.sort(key=lambda one: -one[0])
    chosen, padded = [], []
    while len(chosen) < config.count:
        kept = [one for one in candidates if all(iou(one[1], other[1]) <= config.nms_iou for other in chosen)]
        padded.append(not kept)
        best = (kept or [one for one in candidates if one not in chosen])[0]
        chosen.append(best)
    return [place for _, place in chosen], [score for score, _ in chosen], padded


@given(st.integers(0, 9999), st.integers(24, 56), st.integers(24, 56), st.integers(1, 6))
@settings(max_examples=25)
def test_equals_plain_loops(seed, height, width, count):
    heat = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    config = WindowsConfig(count=count)
    found = choose_windows(heat, config)
    for image in range(2):
        places, scores, padded = plain(heat[image], config)
        assert found.places[image].tolist() == places
        assert found.scores[image].tolist() == pytest.approx(scores, abs=1e-5)
        assert found.padded[image].tolist() == padded


@given(st.integers(0, 9999), st.floats(0, 4))
@settings(max_examples=20)
def test_exactly_k_windows_inside_that_hardly_overlap(seed, sharpness):
    heat = torch.randn(3, 112, 112, generator=torch.Generator().manual_seed(seed)).mul(sharpness).sigmoid()
    found = choose_windows(heat, WindowsConfig())
    assert found.places.shape == (3, 4, 4)
    assert not found.padded.any()
    for places in found.places.tolist():
        for number, place in enumerate(places):
            assert 0 <= place[0] < place[2] <= 112
            assert 0 <= place[1] < place[3] <= 112
            assert all(iou(place, other) <= 0.25 for other in places[:number])


def test_where_too_few_keep_apart_the_next_best_is_marked():
    """Windows of nine tenths all overlap each other."""
    config = WindowsConfig(count=3, sides=(0.9,), stride=0.05)
    found = choose_windows(torch.rand(2, 20, 20), config)
    assert found.padded.tolist() == [[False, True, True]] * 2
    assert all(len({tuple(place) for place in places}) == 3 for places in found.places.tolist())


def test_fewer_windows_than_are_wanted_are_refused():
    with pytest.raises(ConfigError, match=r"windows\.count: found 4, and a heat map of 8 x 8 cells has 1 windows"):
        choose_windows(torch.rand(1, 8, 8), WindowsConfig(sides=(1.0,)))


def test_a_window_lies_on_the_hot_spot_and_its_score_has_a_gradient():
    heat = torch.full((1, 112, 112), 0.1)
    heat[0, 40:64, 20:44] = 0.9
    heat.requires_grad_()
    found = choose_windows(heat, WindowsConfig())
    assert found.places[0, 0].tolist() == [40, 20, 64, 44]
    found.scores[0, 0].backward()
    torch.testing.assert_close(heat.grad[0, 40:64, 20:44], torch.full((24, 24), 1 / 576))
    assert not heat.grad[0, :40].any()


def test_fractions_turn_rows_and_columns_round():
    places = torch.tensor([[[10, 20, 30, 60]]])
    torch.testing.assert_close(as_fractions(places, 40, 80), torch.tensor([[[0.25, 0.25, 0.75, 0.75]]]))
    torch.testing.assert_close(as_fractions(places, 40, 100), torch.tensor([[[0.2, 0.25, 0.6, 0.75]]]))


def checkerboard(side: int) -> torch.Tensor:
    rows = torch.arange(side)
    return ((rows[:, None] + rows[None, :]) % 2).float().expand(1, 3, side, side) * 2 - 1


def test_crops_show_the_photograph_s_own_pixels():
    """A board of single pixels survives a crop of the original, and not one of the shrunken image."""
    native = checkerboard(192)
    small = torch.nn.functional.interpolate(native, size=(96, 96), mode="bilinear", antialias=True)
    window = torch.tensor([[[0.25, 0.5, 0.5, 0.75]]])
    torch.testing.assert_close(crop(native, window, 48, 0.25), native[:, :, 96:144, 48:96], rtol=0, atol=1e-4)
    assert float(crop(small, window, 48, 0.25).abs().max()) < 0.2


def test_a_window_that_shrinks_is_the_mean_of_its_pixels():
    image = torch.randn(2, 3, 64, 64)
    window = torch.tensor([[[0.0, 0.5, 0.5, 1.0]], [[0.5, 0.0, 1.0, 0.5]]])
    wanted = torch.stack([image[0, :, 32:, :32], image[1, :, :32, 32:]])
    wanted = torch.nn.functional.avg_pool2d(wanted, 2)
    torch.testing.assert_close(crop(image, window, 16, 0.5), wanted, rtol=0, atol=1e-5)
    assert float(crop(checkerboard(64), window[:1], 16, 0.5).abs().max()) < 1e-4


def test_crops_come_image_by_image_and_window_by_window():
    image = torch.arange(2.0)[:, None, None, None] * 10 + torch.arange(4.0).repeat_interleave(4)
    image = image.expand(2, 3, 16, 16).contiguous()
    window = torch.tensor([[[0.0, 0.0, 0.25, 0.25], [0.75, 0.5, 1.0, 0.75]]]).repeat(2, 1, 1)
    found = crop(image, window, 4, 0.25).mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, torch.tensor([0.0, 3.0, 10.0, 13.0]))


def test_a_window_with_too_few_pixels_is_enlarged():
    found = crop(torch.rand(1, 3, 8, 8), torch.tensor([[[0.0, 0.0, 0.25, 0.25]]]), 16, 0.25)
    assert found.shape == (1, 3, 16, 16)


def test_no_compiled_operator_of_torchvision_is_needed():
    with torch.profiler.profile() as seen:
        chosen = choose_windows(torch.rand(1, 112, 112), WindowsConfig())
        crop(torch.rand(1, 3, 224, 224), as_fractions(chosen.places, 112, 112), 32, 192 / 448)
    assert len(seen.key_averages()) > 5
    assert not [one.key for one in seen.key_averages() if "torchvision" in one.key]
