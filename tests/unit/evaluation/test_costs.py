"""Time by stage, arithmetic and storage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import nn

from hallmark.data.preprocess import Preprocessing
from hallmark.evaluation.costs import costs_of, forward_flops, quantile, reference_bytes, stage_times
from hallmark.evaluation.metrics import Examined
from hallmark.gallery.store import Gallery

Maker = Callable[..., Examined]


def timed(one: Examined, **timings_ms: float) -> Examined:
    return replace(one, verdict=one.verdict.model_copy(update={"timings_ms": timings_ms}))


def test_stages_keep_their_order_and_add_up(make_examined: Maker) -> None:
    one = make_examined()
    found = stage_times([timed(one, describe=10.0, verify=2.0), timed(one, describe=30.0), timed(one)])
    assert list(found) == ["describe", "verify", "total"]
    assert (found["describe"].median_ms.value, found["describe"].median_ms.n) == (20.0, 2)
    assert found["total"].median_ms.value == 21.0
    assert found["total"].p95_ms.value == pytest.approx(np.quantile([12, 30], 0.95))


def test_a_total_that_is_told_is_taken(make_examined: Maker) -> None:
    found = stage_times([timed(make_examined(), total=9.0, describe=1.0)])
    assert list(found) == ["describe", "total"]
    assert found["total"].median_ms.value == 9.0


def test_without_times_there_are_no_stages(make_examined: Maker) -> None:
    assert stage_times([]) == stage_times([timed(make_examined())]) == {}


@given(st.integers(1, 60), st.sampled_from([0.5, 0.95]))
def test_the_interval_of_a_quantile_holds_what_it_promises(count: int, level: float) -> None:
    values = np.arange(1.0, count + 1)
    found = quantile(values[::-1], level)
    assert found.value == pytest.approx(np.quantile(values, level))
    if found.low is not None:
        # The ranks low..high enclose the true quantile unless fewer than low or more than high - 1 values lie below.
        covered = binom.cdf(found.high - 1, count, level) - binom.cdf(found.low - 1, count, level)
        assert covered >= 0.95 - 1e-9
        assert found.low <= found.value <= found.high


def test_the_quantile_of_nothing() -> None:
    assert quantile(np.empty(0), 0.5).value is None
    assert quantile(np.ones(3), 0.95).high is None  # three values cannot bound it


class Plain(nn.Module):
    """A convolution and a product, counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 4, stride=4)
        self.linear = nn.Linear(4, 5)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convolution(images).flatten(2).transpose(1, 2))


def test_operations_are_those_counted_by_hand() -> None:
    cells = (32 // 4) ** 2
    by_hand = 2 * cells * 4 * 3 * 4 * 4 + 2 * cells * 4 * 5
    assert forward_flops(Plain(), Preprocessing(side_px=32)) == by_hand


def test_operations_of_a_bundle_grow_with_the_picture(bundle) -> None:
    method = bundle.build_method()
    small, large = (forward_flops(method, Preprocessing(side_px=side)) for side in (64, 128))
    assert 3 * small < large < 6 * small


def test_bytes_of_a_reference_are_those_of_its_lists_and_binaries(tmp_path, bundle) -> None:
    cues, thumbnails = [10, 20, 30], [100, 200, 400]
    columns = {
        "reference_id": pa.array(["a" * 1000, "b", "c"]),  # not counted
        "global": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(48, np.float16)), 16),
        "local": pa.array([[0.0] * cue * 8 for cue in cues], pa.list_(pa.float16())),
        "positions": pa.array([[0.0] * cue * 2 for cue in cues], pa.list_(pa.float32())),
        "thumbnail": pa.array([b"x" * size for size in thumbnails], pa.binary()),
    }
    dataset = lance.write_dataset(pa.table(columns), str(tmp_path / "g.lance"))
    gallery = Gallery(str(tmp_path / "g.lance"), dataset.version, "e")
    values = sum(16 * 2 + cue * (8 * 2 + 2 * 4) for cue in cues) + sum(thumbnails)
    found = reference_bytes(gallery)
    assert values / 3 <= found <= values / 3 + 64  # the offsets of the lists come on top
    costs = costs_of(bundle.build_method(), bundle.input.preprocessing, gallery)
    assert (costs.num_references, costs.bytes_per_reference, costs.side_px) == (3, found, 64)
