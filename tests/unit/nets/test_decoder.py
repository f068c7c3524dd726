"""The local decoder: its grid, its norm, and the shortcut at the tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hallmark.nets.decoder import (
    CELLS_PER_TOKEN,
    DecoderConfig,
    LocalDecoder,
    cell_positions,
    cells_of_tokens,
    map_size,
)

GRIDS = ["token", "half", "full"]


def decoder(centred: bool, local_grid: str = "token") -> LocalDecoder:
    torch.manual_seed(0)
    config = DecoderConfig(hidden=8, local_dim=5, centred=centred, local_grid=local_grid)
    return LocalDecoder(6, config).double()


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("grid", [(1, 3), (3, 5), (4, 4)])
def test_tokens_lie_at_every_fourth_cell(centred: bool, grid: tuple[int, int]) -> None:
    module = decoder(centred)
    tokens = torch.randn(2, grid[0] * grid[1], 6, dtype=torch.float64)
    dense, at_tokens = module(tokens, grid), module.at_tokens(tokens)
    assert dense.shape == (2, 5, 4 * grid[0] - 3, 4 * grid[1] - 3)
    assert at_tokens.dtype == torch.float32
    torch.testing.assert_close(dense.norm(dim=1), torch.ones_like(dense[:, 0]))
    own = dense[:, :, ::CELLS_PER_TOKEN, ::CELLS_PER_TOKEN].flatten(2).transpose(1, 2)
    torch.testing.assert_close(own, at_tokens, rtol=1e-4, atol=1e-5)


def test_centring_takes_away_what_the_tokens_share() -> None:
    tokens = torch.randn(1, 12, 6, dtype=torch.float64) * 0.01 + torch.randn(6, dtype=torch.float64)
    plain, centred = (decoder(flag).at_tokens(tokens)[0].detach() for flag in (False, True))
    assert float((plain @ plain.T).min()) > 0.9
    assert float((centred @ centred.T).min()) < 0


@pytest.mark.parametrize("centred", [False, True])
def test_centring_takes_away_the_last_bias(centred: bool) -> None:
    module, tokens = decoder(centred), torch.randn(1, 4, 6, dtype=torch.float64)
    before = module(tokens, (2, 2))
    with torch.no_grad():
        module.second.bias += torch.arange(5.0)
    assert torch.allclose(module(tokens, (2, 2)), before, atol=1e-4) is centred


def test_equal_tokens_leave_no_direction_but_finite_numbers() -> None:
    tokens = torch.ones(1, 4, 6, dtype=torch.float64, requires_grad=True)
    local = decoder(True).at_tokens(tokens)
    local.sum().backward()
    assert torch.isfinite(local).all()
    assert torch.isfinite(tokens.grad).all()


@given(st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_every_cell_belongs_to_its_nearest_token_and_to_no_other(rows: int, columns: int) -> None:
    grid, tokens = (rows, columns), torch.arange(rows * columns)[None]
    steps = {"token": 4, "half": 2, "full": 1}
    owned = {}
    for local_grid, step in steps.items():
        cells = cells_of_tokens(tokens, grid, local_grid)
        per_token = (4 // step) ** 2
        assert cells.rows.shape == cells.columns.shape == cells.inside.shape == (1, rows * columns * per_token)
        found = {}
        for k in range(cells.rows.shape[1]):
            row, column = int(cells.rows[0, k]), int(cells.columns[0, k])
            assert 0 <= row <= 4 * rows - 4
            assert 0 <= column <= 4 * columns - 4
            if cells.inside[0, k]:
                assert (row, column) not in found
                found[row, column] = k // per_token
        height, width = map_size(grid)
        assert set(found) == {(r, c) for r in range(0, height, step) for c in range(0, width, step)}
        for (row, column), token in found.items():
            assert max(abs(row - 4 * (token // columns)), abs(column - 4 * (token % columns))) <= 2
        owned[local_grid] = found
    assert owned["token"].items() <= owned["half"].items() <= owned["full"].items()


@pytest.mark.parametrize("local_grid", GRIDS)
def test_positions_divide_the_image_evenly(local_grid: str) -> None:
    """At 28 px a token, a full grid's cells are 7 px apart, and a token's own lies at its centre."""
    cells = cells_of_tokens(torch.arange(6)[None], (2, 3), local_grid)
    positions = cell_positions(cells, (2, 3))
    assert positions.dtype == torch.float32
    assert ((positions > 0) & (positions < 1)).all()
    pixels = positions[0] * torch.tensor([84.0, 56.0])
    wanted = torch.stack([14 + 7 * cells.columns[0], 14 + 7 * cells.rows[0]], dim=1).float()
    torch.testing.assert_close(pixels, wanted)
    own = cells_of_tokens(torch.tensor([[0, 4, 5]]), (2, 3), "token")
    torch.testing.assert_close(cell_positions(own, (2, 3)), torch.tensor([[[1 / 6, 0.25], [0.5, 0.75], [5 / 6, 0.75]]]))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("local_grid", GRIDS)
def test_cells_are_those_of_the_dense_map(centred: bool, local_grid: str) -> None:
    module, tokens = decoder(centred, local_grid), torch.randn(2, 12, 6, dtype=torch.float64)
    cells = cells_of_tokens(torch.tensor([[0, 5, 11], [1, 2, 6]]), (3, 4), local_grid)
    found, dense = module.at_cells(tokens, (3, 4), cells), module(tokens, (3, 4))
    for image in range(2):
        for k in range(found.shape[1]):
            wanted = dense[image, :, int(cells.rows[image, k]), int(cells.columns[image, k])]
            torch.testing.assert_close(found[image, k], wanted.to(found.dtype), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("local_grid", GRIDS)
def test_the_losses_descriptors_train_all_that_decodes_the_grid(local_grid: str) -> None:
    module, tokens = decoder(False, local_grid), torch.randn(1, 12, 6, dtype=torch.float64)
    found, dense = module.per_token(tokens, (3, 4)), module(tokens, (3, 4))
    torch.testing.assert_close(found.norm(dim=2), torch.ones_like(found[..., 0]))
    for token in range(12):
        row, column = 4 * (token // 4), 4 * (token % 4)
        reach = 0 if local_grid == "token" else 1
        around = dense[0, :, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        wanted = F.normalize(around.mean(dim=(1, 2)), dim=0).to(found.dtype)
        torch.testing.assert_close(found[0, token], wanted, rtol=1e-4, atol=1e-5)
    (found * torch.arange(5.0)).sum().backward()
    for part in (module.first, module.second):
        trained = part.weight.grad.abs().sum(dim=(0, 1)) > 0
        assert trained[1, 1]
        assert bool(trained.all()) is (local_grid != "token")
