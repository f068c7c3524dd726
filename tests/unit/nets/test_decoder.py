"""The local decoder: its grid, its norm, and the shortcut at the tokens."""

from __future__ import annotations

import pytest
import torch

from hallmark.nets.decoder import CELLS_PER_TOKEN, DecoderConfig, LocalDecoder


def decoder(centred: bool) -> LocalDecoder:
    torch.manual_seed(0)
    return LocalDecoder(6, DecoderConfig(hidden=8, local_dim=5, centred=centred)).double()


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
