"""Selection of cues: counts, ties, padding, and maps without a scale."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.nets.cues import CueSelection, clip_spikes, cue_mask, kept_mass, normalise_map, num_cues, select_cues


def drawn(num_tokens: int, seed: int, images: int = 3) -> torch.Tensor:
    return torch.randint(0, 5, (images, num_tokens), generator=torch.Generator().manual_seed(seed)).float()


def strongest_first(row: list[float]) -> list[int]:
    return sorted(range(len(row)), key=lambda n: (-row[n], n))


@given(st.integers(1, 40), st.floats(0.001, 1.0), st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_selection_by_ratio_equals_a_plain_sort(num_tokens: int, ratio: float, seed: int) -> None:
    values = drawn(num_tokens, seed)
    cues = select_cues(values, CueSelection(ratio=ratio))
    count = max(1, min(num_tokens, round(ratio * num_tokens)))
    assert num_cues(num_tokens, ratio) == count
    assert cues.valid.all()
    for row, own in zip(values.tolist(), cues.indices.tolist(), strict=True):
        assert own == sorted(strongest_first(row)[:count])


@given(st.integers(1, 40), st.sampled_from([0.05, 0.25, 0.6, 0.75, 1.0]), st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_selection_by_mass_is_the_smallest_set_that_holds_it(num_tokens: int, mass: float, seed: int) -> None:
    values = drawn(num_tokens, seed)
    cues = select_cues(values, CueSelection(by="mass", mass=mass))
    wanted = []
    for row in values.tolist():
        chosen, held = [], Fraction(0)
        for token in strongest_first(row):
            # In the same arithmetic as the selection, so that an exact tie is one on both sides.
            if chosen and not float(held) < mass * sum(row):
                break
            chosen.append(token)
            held += Fraction(row[token])
        wanted.append(sorted(chosen))
    own = [row[flags].tolist() for row, flags in zip(cues.indices, cues.valid, strict=True)]
    assert own == wanted
    assert cues.indices.shape[1] == max(len(row) for row in wanted)
    assert (cues.indices[~cues.valid] == 0).all()
    assert (cues.valid.long().diff(dim=1) <= 0).all()
    masked = cue_mask(cues, num_tokens)
    assert [row.nonzero().flatten().tolist() for row in masked] == wanted


def test_selection_of_an_image_does_not_depend_on_the_others() -> None:
    values, selection = torch.rand(6, 30, generator=torch.Generator().manual_seed(0)) ** 3, CueSelection(by="mass")
    together = select_cues(values, selection)
    for row in range(6):
        single = select_cues(values[row : row + 1], selection)
        assert single.indices[0].tolist() == together.indices[row][together.valid[row]].tolist()


@pytest.mark.parametrize("by", ["ratio", "mass"])
def test_an_empty_map_still_has_a_cue(by: str) -> None:
    cues = select_cues(torch.zeros(2, 9), CueSelection(by=by, ratio=0.01))
    assert cues.indices.tolist() == [[0], [0]]
    assert cues.valid.all()


@pytest.mark.parametrize(("ratio", "count"), [(1e-9, 1), (0.5, 5), (1.0, 10)])
def test_ties_go_to_the_lower_index(ratio: float, count: int) -> None:
    assert select_cues(torch.ones(1, 10), CueSelection(ratio=ratio)).indices.tolist() == [list(range(count))]


@pytest.mark.parametrize("norm", ["l1", "zsoftmax"])
def test_maps_have_no_scale_and_no_spikes(norm: str) -> None:
    values = torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    spiked = values.clone()
    spiked[:, 7] = 1e6
    torch.testing.assert_close(normalise_map(values, norm).sum(dim=1), torch.ones(3))
    torch.testing.assert_close(normalise_map(values * 50, norm), normalise_map(values, norm))
    assert float(clip_spikes(spiked).max()) <= float(values.max())
    assert (clip_spikes(spiked) <= spiked).all()
    assert clip_spikes(torch.tensor([[3.0]])).tolist() == [[3.0]]


def test_softmax_norms_equal_plain_loops() -> None:
    values = torch.rand(2, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for norm in ("zsoftmax", "raw_softmax"):
        for row, own in zip(clip_spikes(values).tolist(), normalise_map(values, norm).tolist(), strict=True):
            mean = sum(row) / 12
            deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / 12)
            logits = [(v - mean) / deviation / 0.5 for v in row] if norm == "zsoftmax" else row
            total = sum(math.exp(logit) for logit in logits)
            assert own == pytest.approx([math.exp(logit) / total for logit in logits])


@pytest.mark.parametrize("norm", ["l1", "zsoftmax", "raw_softmax"])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_flat_maps_stay_finite(norm: str, value: float) -> None:
    flat = torch.full((2, 6), value, requires_grad=True)
    found = normalise_map(flat, norm)
    (found * torch.arange(6.0)).sum().backward()
    torch.testing.assert_close(found, torch.full((2, 6), 0.0 if norm == "l1" and value == 0 else 1 / 6))
    assert torch.isfinite(flat.grad).all()


def test_kept_mass_is_what_the_dustbin_left() -> None:
    assignment = torch.tensor([[[0.2, 0.0], [0.3, 1.0]]])
    torch.testing.assert_close(kept_mass(assignment), torch.tensor([[0.5, 1.0]]))
