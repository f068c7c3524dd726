"""Selection of cues: counts, ties, positions, and maps without a scale."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.nets.cues import clip_spikes, cue_positions, kept_mass, normalise_map, num_cues, select_cues


@given(st.integers(1, 40), st.floats(0.001, 1.0), st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_selection_equals_a_plain_sort(num_tokens: int, ratio: float, seed: int) -> None:
    values = torch.randint(0, 5, (2, num_tokens), generator=torch.Generator().manual_seed(seed)).float()
    chosen = select_cues(values, ratio)
    count = max(1, min(num_tokens, round(ratio * num_tokens)))
    assert num_cues(num_tokens, ratio) == count
    for row, own in zip(values.tolist(), chosen.tolist(), strict=True):
        assert own == sorted(sorted(range(num_tokens), key=lambda n: (-row[n], n))[:count])


@pytest.mark.parametrize(("ratio", "count"), [(1e-9, 1), (0.5, 5), (1.0, 10)])
def test_ties_go_to_the_lower_index(ratio: float, count: int) -> None:
    assert select_cues(torch.ones(1, 10), ratio).tolist() == [list(range(count))]


def test_positions_are_the_centres_of_the_tokens() -> None:
    positions = cue_positions(torch.tensor([[0, 4, 5]]), (2, 3))
    torch.testing.assert_close(positions, torch.tensor([[[1 / 6, 0.25], [0.5, 0.75], [5 / 6, 0.75]]]))


def test_maps_have_no_scale_and_no_spikes() -> None:
    values = torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    spiked = values.clone()
    spiked[:, 7] = 1e6
    torch.testing.assert_close(normalise_map(values).sum(dim=1), torch.ones(3))
    torch.testing.assert_close(normalise_map(values * 50), normalise_map(values))
    assert float(clip_spikes(spiked).max()) <= float(values.max())
    assert (clip_spikes(spiked) <= spiked).all()
    assert torch.equal(normalise_map(torch.zeros(1, 4)), torch.zeros(1, 4))
    assert clip_spikes(torch.tensor([[3.0]])).tolist() == [[3.0]]


def test_kept_mass_is_what_the_dustbin_left() -> None:
    assignment = torch.tensor([[[0.2, 0.0], [0.3, 1.0]]])
    torch.testing.assert_close(kept_mass(assignment), torch.tensor([[0.5, 1.0]]))
