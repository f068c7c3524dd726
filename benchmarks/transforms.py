"""What each transform of a photograph costs, on one thread, against the limits set for KAG and uniform padding."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import perf_counter

import cv2
import numpy as np

from hallmark.data.padding import pad_to_square
from hallmark.data.preprocess import Augmentation, Preprocessing, cut, fit, vary
from hallmark.data.scramble import ScrambleConfig, scramble
from hallmark.data.tone import ToneConfig, adjust

_SIDE = 448
_REPEATS = 101
_FILLS = ("none", "black", "white", "gray", "random", "uniform")
_LIMITS_MS = {"kag": 2.0, "pad_uniform": 1.0}


def main() -> None:
    cv2.setNumThreads(1)
    figures = {f"{name}_ms": _median_ms(work) for name, work in _transforms().items()}
    ratios = {f"{name}_over_limit": figures[f"{name}_ms"] / limit for name, limit in _LIMITS_MS.items()}
    print(f"{'transform':>24} {'ms/image':>10} {'limit ms':>10}")
    for name, spent in figures.items():
        name = name.removesuffix("_ms")
        print(f"{name:>24} {spent:>10.3f} {_LIMITS_MS.get(name, ''):>10}")
    print(json.dumps({"benchmark": "transforms", "ratios": ratios, "figures": figures}))


def _transforms() -> dict[str, Callable[[], object]]:
    """Each transform of a square, an elongated and a 12-megapixel photograph of noise, the worst case for caches."""
    rng = np.random.default_rng(0)
    square, strip, whole = (
        rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((_SIDE, _SIDE), (_SIDE, 150), (3000, 4000))
    )
    box, config = (300.0, 200.0, 3500.0, 2500.0), Preprocessing(side_px=_SIDE)
    return {
        "kag": lambda: scramble(square, ScrambleConfig(), rng),
        "kag_both_directions": lambda: scramble(square, ScrambleConfig(direction="both"), rng),
        **{f"pad_{fill}": lambda fill=fill: pad_to_square(strip, fill, rng) for fill in _FILLS},
        "tone_gamma": lambda: adjust(square, ToneConfig(gamma=True)),
        "tone_stretch": lambda: adjust(square, ToneConfig(stretch=True)),
        "tone_ace": lambda: adjust(square, ToneConfig(ace=True)),
        "cut_12_megapixels": lambda: cut(whole, box, 0.05),
        "fit_12_megapixels": lambda: fit(whole, config),
        "fit": lambda: fit(strip, config),
        "vary": lambda: vary(square, Augmentation(), rng),
        "vary_with_mask": lambda: vary(square, Augmentation(), rng, np.ones((_SIDE, _SIDE), dtype=bool)),
    }


def _median_ms(work: Callable[[], object]) -> float:
    work()
    spent = []
    for _ in range(_REPEATS):
        began = perf_counter()
        work()
        spent.append(1e3 * (perf_counter() - began))
    return sorted(spent)[_REPEATS // 2]


if __name__ == "__main__":
    main()
