"""Training in this process alone, without Ray: the recipe of the Ray trainer on one worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from hallmark.data.allocation import keep_freed_memory
from hallmark.data.batches import Columns, plain_batches
from hallmark.data.transforms import Transforms
from hallmark.training.bundle import Bundle, check_place
from hallmark.training.epochs import (
    Training,
    begin,
    plan_training,
    resolved,
    selection,
    train_epochs,
    write_result,
)
from hallmark.training.run import RunConfig
from hallmark.training.worker import Worker

T = TypeVar("T")

_BATCHES_AHEAD = 2


def train_plain(run: RunConfig, device: torch.device | str = "cpu", progress: bool = True) -> Bundle:
    """Train and write the bundle of the best epoch, not yet calibrated.

    Batches, augmentation, optimiser, validation and bundle are those of the Ray trainer on one worker. What was broken
    off begins again.

    Args:
        run: the run; of `workers` and `stream` nothing is used.
        device: where the method is trained.
        progress: whether a progress bar is shown.

    Raises:
        OutputError: the bundle could not be written.
        DataError, ConfigError, WeightsError, DivergedError: what is wrong with the input.
    """
    run = resolved(run)
    run = run.model_copy(update={"workers": run.workers.model_copy(update={"num_workers": 1})})
    plan = plan_training(run)
    check_place(run.out)
    keep_freed_memory()
    worker = Worker(0, 1, torch.device(device))
    training, best = begin(run, plan, worker.device), _Best()
    # One thread for all streams: the cache of decoded photographs is not made for several.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="photographs") as loader:
        train_epochs(run, plan, training, worker, partial(_stream, loader), best.consider, bar=progress)
    return write_result(run, plan.table, best.weights, best.record, training.progress.epochs)


class _Best:
    """The weights of the best epoch so far, kept in memory."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.record: dict[str, Any] = {}
        self._selection = float("-inf")

    def consider(self, training: Training) -> None:
        if selection(training.progress) < self._selection:
            return
        self._selection = selection(training.progress)
        self.weights = {
            name: weight.detach().to("cpu", copy=True) for name, weight in training.method.state_dict().items()
        }
        self.record = {"epoch": training.progress.epoch, "judged": training.progress.judged}


def _stream(
    loader: ThreadPoolExecutor,
    columns: Columns,
    batch_size: int,
    transforms: Transforms,
    collate: Callable[[Columns], T],
) -> Iterator[T]:
    """Loaded photographs in the order given; the next batches are loaded while one is worked on."""
    batches = plain_batches(columns, batch_size, transforms)
    ahead: deque[Future[Columns | None]] = deque(loader.submit(next, batches, None) for _ in range(_BATCHES_AHEAD))
    while (batch := ahead.popleft().result()) is not None:
        ahead.append(loader.submit(next, batches, None))
        yield collate(batch)
