"""Training in this process alone, without Ray: the recipe of the Ray trainer on one worker."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from hallmark.config import config_hash
from hallmark.data.allocation import keep_freed_memory
from hallmark.data.batches import Columns, plain_batches
from hallmark.data.manifest import manifest_hash
from hallmark.data.transforms import Transforms
from hallmark.errors import OutputError
from hallmark.training.bundle import Bundle, check_place
from hallmark.training.checkpoint import read_progress, read_weights, restore_training, save_training
from hallmark.training.epochs import (
    GoesOn,
    Training,
    TrainingPlan,
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


def train_plain(
    run: RunConfig,
    device: torch.device | str = "cpu",
    progress: bool = True,
    goes_on: GoesOn | None = None,
    resumes: bool = False,
) -> Bundle:
    """Train and write the bundle of the best epoch, not yet calibrated.

    Batches, augmentation, optimiser, validation and bundle are those of the Ray trainer on one worker.

    Args:
        run: the run; of `workers` and `stream` nothing is used.
        device: where the method is trained.
        progress: whether a progress bar is shown.
        goes_on: asked after every validation whether training goes on; None: to the last epoch.
        resumes: keep a checkpoint of every validation beside the bundle, and go on from the last of the same
            configuration and photographs; else what was broken off begins again.

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
    training = begin(run, plan, worker.device)
    best = _Best(_checkpoints(run, plan) if resumes else None)
    best.restore(training, worker.device)
    # One thread for all streams: the cache of decoded photographs is not made for several.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="photographs") as loader:
        train_epochs(run, plan, training, worker, partial(_stream, loader), best.consider, progress, goes_on)
    return write_result(run, plan.table, best.weights, best.record, training.progress.epochs)


def _checkpoints(run: RunConfig, plan: TrainingPlan) -> Path:
    return Path(run.out).parent / "checkpoints" / f"{config_hash(run)}-{manifest_hash(plan.table)}"


class _Best:
    """The weights of the best epoch so far, kept in memory; with a folder, the last and the best on disk too."""

    def __init__(self, folder: Path | None):
        self.weights: dict[str, Tensor] = {}
        self.record: dict[str, Any] = {}
        self._selection = float("-inf")
        self._folder = folder

    def restore(self, training: Training, device: torch.device) -> None:
        """Go on from the last checkpoint, where there is one."""
        if self._folder is None or not (kept := _kept(self._folder)):
            return
        restore_training(training, kept[-1], device)
        states = [(read_progress(folder), folder) for folder in kept]
        best, folder = max(states, key=lambda state: selection(state[0]))
        self._selection, self.weights = selection(best), read_weights(folder)
        self.record = {"epoch": best.epoch, "judged": best.judged}

    def consider(self, training: Training) -> None:
        """Keep the weights where they are the best so far."""
        is_best = selection(training.progress) >= self._selection
        if is_best:
            self._selection = selection(training.progress)
            self.weights = {
                name: weight.detach().to("cpu", copy=True) for name, weight in training.method.state_dict().items()
            }
            self.record = {"epoch": training.progress.epoch, "judged": training.progress.judged}
        if self._folder is not None:
            _keep(self._folder, training, self.record["epoch"])


def _keep(folder: Path, training: Training, best_epoch: int) -> None:
    """Write a checkpoint, whole or not at all, and remove those that are neither the last nor the best.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder, ignore_cleanup_errors=True) as draft:
            whole = Path(draft) / "whole"
            whole.mkdir()
            save_training(training, whole)
            os.rename(whole, folder / f"{training.progress.epoch:06}")
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder}: cannot be written ({error}); wanted a folder with room for it") from None
    for old in _kept(folder)[:-1]:
        if int(old.name) != best_epoch:
            shutil.rmtree(old, ignore_errors=True)


def _kept(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by epoch."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


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
