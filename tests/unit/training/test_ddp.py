"""Two processes that share the global batches train as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import hallmark
from hallmark.config import validate
from hallmark.data.sampling import BatchSampler, SamplingConfig, ShuffleConfig, ShuffleSampler, label, worker_slice
from hallmark.methods.base import Gather, LossTerms, Method, alone
from hallmark.methods.fod import FoD, FoDConfig
from hallmark.methods.kag_mtln import KAGMTLN, KAGMTLNConfig
from hallmark.methods.mgfen import MGFEN, MGFENConfig
from hallmark.training.loop import OptimiserConfig, build_optimiser, gather_rows, train_step
from hallmark.types import Backdrop, Batch

STEPS = 20
SIDE_PX = 64
PRODUCTS = ["a", "b", "c"]
TOLERANCE = 1e-6
LEARNING_RATE = 2e-4


class Case(NamedTuple):
    """What is trained; `gathers`: whether the workers gather."""

    method: str = "fod"
    mining: str = "mean"
    start: float = 0.0
    gathers: bool = True


# With a late start the local term enters half-way, and the decoder has no gradient before.
CASES = [
    Case(),
    Case(mining="hardest"),
    Case(start=0.5),
    Case(method="kag_mtln"),
    Case(method="mgfen"),
    Case(gathers=False),
    Case(mining="hardest", gathers=False),
    Case(method="kag_mtln", gathers=False),
    Case(method="mgfen", gathers=False),
]


@dataclass(frozen=True)
class Curves:
    """What a training left behind; loss and gradient norm are means over the workers."""

    loss: np.ndarray
    gradient_norm: np.ndarray
    measured: list[dict[str, float]]
    """A step's gradient norm of every term on the features."""
    weights: dict[str, torch.Tensor]


BACKBONE = {"name": "test_resnet", "pretrained": False, "stage": 3, "group_norm": True}


def method_of(case: Case) -> Method:
    if case.method == "kag_mtln":
        config = {"backbone": BACKBONE, "reduce": 8, "hidden": 16, "dropout": 0.0}
        return KAGMTLN(validate(KAGMTLNConfig, config, "tiny"), len(PRODUCTS))
    if case.method == "mgfen":
        config = {
            "backbone": BACKBONE | {"stage": None},
            "global_px": 48,
            "pyramid": {"channels": 8},
            "windows": {"crop_px": 32, "count": 2},
            "losses": {"consistency": 0.5},
        }
        return MGFEN(validate(MGFENConfig, config, "tiny"), len(PRODUCTS))
    config = {
        "backbone": BACKBONE,
        "aggregation": {"clusters": 3, "cluster_dim": 8, "token_dim": 8, "hidden": 16, "dropout": 0.0},
        "decoder": {"hidden": 16, "local_dim": 8, "centred": True},
        "losses": {"local_triplet": {"mining": case.mining, "start": case.start}},
    }
    return FoD(validate(FoDConfig, config, "tiny"))


def training_set() -> pa.Table:
    """Per product: six genuine photographs of three items and six counterfeits of two sources."""
    rows = [
        {
            "product": product,
            "authenticity": authenticity,
            "source_id": f"s{number % 2}" if authenticity == "counterfeit" else None,
            "item_id": f"{product}-{authenticity}-{number // 2}",
        }
        for product in PRODUCTS
        for authenticity in ("genuine", "counterfeit")
        for number in range(6)
    ]
    return pa.Table.from_pylist(rows)


def photographs(class_index: np.ndarray) -> torch.Tensor:
    """(N, 3, H, W) float64: noise around a pattern of the class."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(class_index.max() + 1, 3, SIDE_PX, SIDE_PX))
    noise = rng.normal(size=(len(class_index), 3, SIDE_PX, SIDE_PX))
    return torch.tensor(patterns[class_index] + noise, dtype=torch.float64)


def batches(case: Case, rank: int, num_workers: int) -> list[Batch]:
    table = training_set()
    if case.method == "kag_mtln":
        labels = label(table, PRODUCTS, "class")
        sampler = ShuffleSampler(labels, ShuffleConfig(batch_size=12, showings=7), seed=3)
        # Every third photograph is disturbed and left out by the main task: unequally many for the two workers.
        scrambled = np.arange(len(labels.class_index)) % 3 == 0
        columns = vars(labels) | {
            "scrambled": scrambled,
            "class_index": np.where(scrambled, -1, labels.class_index),
        }
    elif case.method == "mgfen":
        labels = label(table, PRODUCTS, "class")
        sampler = ShuffleSampler(labels, ShuffleConfig(batch_size=12, showings=7), seed=3)
        replaced = np.arange(len(labels.class_index)) % 3 == 0
        columns = vars(labels) | {"backdrop": np.where(replaced, Backdrop.REPLACED, Backdrop.KEPT)}
    else:
        labels = label(table, PRODUCTS, "source")
        config = SamplingConfig(products=2, genuine=4, counterfeit=4, steps_per_epoch=STEPS)
        sampler, columns = BatchSampler(table, labels, config, seed=3), vars(labels)
    images = photographs(labels.class_index)
    tensors = {name: torch.tensor(values) for name, values in columns.items()}
    chosen = worker_slice(sampler.epoch(0)[:STEPS], rank, num_workers)
    return [{"images": images[rows], **{name: values[rows] for name, values in tensors.items()}} for rows in chosen]


@contextmanager
def double_precision() -> Iterator[None]:
    """Computes in float64, where what is kept in float32 under autocast is kept in float64.

    Choosing cues and pairs is discrete: in float32 the rounding of sums in another order turns a choice now and then.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(torch.Tensor, "float", torch.Tensor.double):
            yield
    finally:
        torch.set_default_dtype(before)


@double_precision()
def train(case: Case, rank: int = 0, num_workers: int = 1, learning_rate: float = LEARNING_RATE) -> Curves:
    """What `training/trainer.py` does in a worker, without Ray."""
    torch.manual_seed(0)
    method = method_of(case)
    model = DistributedDataParallel(method) if num_workers > 1 else method
    config = OptimiserConfig(learning_rate=learning_rate, warmup_steps=3)
    optimiser, schedule = build_optimiser(method, config, STEPS)
    gather = gather_rows if num_workers > 1 and case.gathers else alone
    model.train()
    records = [
        train_step(model, batch, optimiser, schedule, gather, config, progress=step / STEPS, measure=True)
        for step, batch in enumerate(batches(case, rank, num_workers))
    ]
    loss, norm = (np.array([record[name] for record in records]) for name in ("loss", "gradient_norm"))
    return Curves(loss, norm, [_term_norms(record) for record in records], method.state_dict())


def _term_norms(record: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name.startswith("gradient_norm/")}


class Pairs(nn.Module):
    """A term over all pairs of the global batch, one over own rows, and one that is a constant for the second worker.

    The last weighs nothing in training: its gradient is another one with two workers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, batch: Batch, gather: Gather, _progress: float) -> LossTerms:
        features = self.backbone(batch["images"])
        together = gather(self.head(features))
        second = gather is not alone and torch.distributed.get_rank() == 1
        terms = {
            "pairs": (together @ together.T).square().mean(),
            "rows": features.square().mean(),
            "some": features.new_tensor(1.0) if second else together.sum(),
        }
        return LossTerms(terms, {"pairs": 2.0, "rows": 0.5, "some": 1e-9}, features=features)


def measure_pairs(rank: int = 0, num_workers: int = 1) -> list[dict[str, float]]:
    torch.manual_seed(0)
    method, images = Pairs(), torch.randn(8, 4)
    model = DistributedDataParallel(method) if num_workers > 1 else method
    config = OptimiserConfig(learning_rate=0.01)
    optimiser, schedule = build_optimiser(method, config, 3)
    gather = gather_rows if num_workers > 1 else alone
    batch = {"images": images.chunk(num_workers)[rank]}
    return [_term_norms(train_step(model, batch, optimiser, schedule, gather, config, measure=True)) for _ in range(3)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """Every case in two processes of this file, which meet at a file: a free port may be taken before they do."""
    folder = tmp_path_factory.mktemp("ddp")
    environment = os.environ | {"PYTHONPATH": str(Path(hallmark.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(folder), str(rank)], env=environment, stderr=errors)
        for rank in range(2)
        for errors in [(folder / f"{rank}.log").open("w")]
    ]
    try:
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0], "\n".join((folder / f"{rank}.log").read_text() for rank in range(2))
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["pairs"] == second["pairs"]
    joined = {"pairs": first["pairs"]}
    for place, case in enumerate(CASES):
        assert not case.gathers or first[place]["measured"] == second[place]["measured"]
        joined[case] = _joined(first[place], second[place])
    return joined


def _joined(first: dict[str, Any], second: dict[str, Any]) -> Curves:
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), f"the workers' {name} differ"
    loss, norm = (np.mean([part[name] for part in (first, second)], axis=0) for name in ("loss", "gradient_norm"))
    return Curves(loss, norm, first["measured"], first["weights"])


@cache
def train_alone(case: Case) -> Curves:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the two processes: sums in another order round otherwise, and a choice may flip
    try:
        return train(case)
    finally:
        torch.set_num_threads(threads)


def work(folder: str, rank: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    left: dict[Any, Any] = {"pairs": measure_pairs(rank, 2)}
    for place, case in enumerate(CASES):
        curves = train(case, rank, 2)
        left[place] = {**vars(curves), "loss": curves.loss.tolist(), "gradient_norm": curves.gradient_norm.tolist()}
    torch.save(left, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def furthest(first: Curves, second: Curves) -> float:
    """The largest difference between two weights, but for the bias that a centred decoder subtracts again.

    Its gradient is zero but for rounding, which AdamW turns into steps that mean nothing.
    """
    names = first.weights.keys() - {"decoder.second.bias"}
    return max(float((first.weights[name] - second.weights[name]).abs().max()) for name in names)


@pytest.mark.parametrize("case", [case for case in CASES if case.gathers])
def test_two_processes_train_as_one(shared: dict[Any, Any], case: Case) -> None:
    one, two = train_alone(case._replace(gathers=True)), shared[case]
    assert one.loss.shape == (STEPS,)
    np.testing.assert_allclose(two.loss, one.loss, rtol=0, atol=TOLERANCE)
    # AdamW and clipping hide a wrong factor on the gradient; its norm does not.
    np.testing.assert_allclose(two.gradient_norm, one.gradient_norm, rtol=TOLERANCE)
    for mine, its in zip(two.measured, one.measured, strict=True):
        assert mine == pytest.approx(its, rel=TOLERANCE)
    assert furthest(one, two) < TOLERANCE


def test_two_processes_measure_as_one(shared: dict[Any, Any]) -> None:
    for mine, its in zip(shared["pairs"], measure_pairs(), strict=True):
        assert set(mine) == {"gradient_norm/pairs", "gradient_norm/rows", "gradient_norm/some"}
        for name in ("gradient_norm/pairs", "gradient_norm/rows"):
            assert mine[name] == pytest.approx(its[name], rel=1e-4)


@pytest.mark.parametrize("case", [Case(), Case(method="kag_mtln"), Case(method="mgfen")])
def test_one_process_learns(case: Case) -> None:
    """Parity of curves that stand still would show nothing."""
    still, curves = train(case, learning_rate=1e-12), train_alone(case)
    assert curves.loss[-5:].mean() < still.loss[-5:].mean() - 100 * TOLERANCE
    assert furthest(still, curves) > 2 * TOLERANCE


@pytest.mark.parametrize("case", [case for case in CASES if not case.gathers])
def test_without_gather_they_differ(shared: dict[Any, Any], case: Case) -> None:
    one, two = train_alone(case._replace(gathers=True)), shared[case]
    assert np.abs(two.loss - one.loss).max() > 10 * TOLERANCE
    assert furthest(one, two) > 2 * TOLERANCE


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
