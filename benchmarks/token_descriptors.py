"""Local descriptors at the tokens: two linear layers against decoding the dense map and sampling it."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import perf_counter

import torch

from hallmark.nets.decoder import CELLS_PER_TOKEN, DecoderConfig, LocalDecoder

_GRIDS = (10, 16, 23, 36)
_CHANNELS, _IMAGES, _REPEATS = 384, 4, 7


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = LocalDecoder(_CHANNELS, DecoderConfig())
    ratios, figures = {}, {}
    print(f"{'grid':>8} {'dense ms/image':>16} {'at tokens ms/image':>20} {'ratio':>8}")
    for side in _GRIDS:
        tokens = torch.randn(_IMAGES, side * side, _CHANNELS)
        with torch.inference_mode():
            dense, sparse = _interleaved(
                lambda tokens=tokens, side=side: _sampled(decoder, tokens, side),
                lambda tokens=tokens: decoder.at_tokens(tokens),
            )
        ratios[f"dense_over_tokens_{side}"] = dense / sparse
        figures |= {f"dense_ms_{side}": dense, f"tokens_ms_{side}": sparse}
        print(f"{side:>5}x{side:<2} {dense:>16.2f} {sparse:>20.2f} {dense / sparse:>8.1f}")
    print(json.dumps({"benchmark": "token_descriptors", "ratios": ratios, "figures": figures}))


def _sampled(decoder: LocalDecoder, tokens: torch.Tensor, side: int) -> torch.Tensor:
    return decoder(tokens, (side, side))[:, :, ::CELLS_PER_TOKEN, ::CELLS_PER_TOKEN]


def _interleaved(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Median milliseconds an image of both, measured in turn so that a busy machine slows them alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_REPEATS):
        for work, spent in zip((first, second), times, strict=True):
            began = perf_counter()
            work()
            spent.append(1e3 * (perf_counter() - began) / _IMAGES)
    return sorted(times[0])[_REPEATS // 2], sorted(times[1])[_REPEATS // 2]


if __name__ == "__main__":
    main()
