"""The epochs of a training run on one worker, without Ray: what every trainer shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hallmark.data.batches import to_batch, training_rows
from hallmark.data.manifest import manifest_hash, products, read_manifest, rows_with
from hallmark.data.sampling import Labels, Sampler, label
from hallmark.data.splits import split_hash
from hallmark.errors import DataError
from hallmark.methods.base import Method
from hallmark.training.bundle import Bundle, write_bundle
from hallmark.training.diagnostics import AlarmBell, alarms, backdrops, due, summarised
from hallmark.training.log import TrainingLog
from hallmark.training.loop import build_optimiser, train_step
from hallmark.training.run import RunConfig
from hallmark.training.validation import Validation
from hallmark.training.worker import Stream, Worker
from hallmark.types import Authenticity, Batch, Role


@dataclass(frozen=True)
class TrainingPlan:
    """What a run trains on, the same on every worker."""

    table: pa.Table
    """The whole manifest."""
    training_set: pa.Table
    labels: Labels
    """Of the training set."""
    sampler: Sampler
    total_steps: int


GoesOn = Callable[[int, dict[str, float]], bool]
"""Asked after a validation that is not the last, with the epoch and its figures: whether training goes on."""


@dataclass
class Progress:
    """Where a run stands after some epochs."""

    epoch: int
    judged: dict[str, float]
    """By the last validation, what counts most first; empty before it."""
    epochs: list[dict[str, Any]]


@dataclass
class Training:
    """What changes while a run trains."""

    method: Method
    model: nn.Module
    """The method, wrapped where several workers share the batches."""
    optimiser: Optimizer
    schedule: LambdaLR
    progress: Progress


def resolved(run: RunConfig) -> RunConfig:
    """The run with absolute paths, so that it can be read from any folder."""
    return run.model_copy(
        update={"manifest": str(Path(run.manifest).resolve()), "out": str(Path(run.out).resolve())},
    )


def plan_training(run: RunConfig) -> TrainingPlan:
    """Read the manifest and lay out the batches.

    Raises:
        DataError: the manifest cannot be read, or holds nothing to train on.
    """
    table = read_manifest(Path(run.manifest))
    training_set = rows_with(table, (Role.TRAIN,), tuple(Authenticity))
    if not training_set.num_rows:
        raise DataError("manifest: no photograph has the role train; wanted some (see `splits` of the import)")
    labels = label(training_set, products(table), run.sampling.identity)
    sampler = run.sampler(training_set, labels)
    run.check(training_set)
    return TrainingPlan(table, training_set, labels, sampler, run.optimiser.epochs * sampler.steps_per_epoch)


def begin(
    run: RunConfig, plan: TrainingPlan, device: torch.device, wrap: Callable[[nn.Module], nn.Module] = lambda m: m
) -> Training:
    """The untrained method and its optimiser; weights follow from the run's seed alone.

    Args:
        run: the run.
        plan: of the same run.
        device: where the method lives.
        wrap: makes of the method what is called in training, such as DDP around it.
    """
    torch.manual_seed(run.seed)
    method = run.untrained(len(products(plan.table)), plan.labels).to(device)
    model = wrap(method)
    optimiser, schedule = build_optimiser(method, run.optimiser, plan.total_steps)
    return Training(method, model, optimiser, schedule, Progress(0, {}, []))


def train_epochs(
    run: RunConfig,
    plan: TrainingPlan,
    training: Training,
    worker: Worker,
    stream: Stream,
    keep: Callable[[Training], None],
    bar: bool = True,
    goes_on: GoesOn | None = None,
) -> None:
    """Train from where `training.progress` stands to the last epoch, or to where it is told to stop.

    What an epoch draws at random depends on its number alone, so that a run that was broken off after a validation and
    goes on from there ends as one that was not.

    Args:
        run: the run.
        plan: of the same run.
        training: changed in place.
        worker: this one.
        stream: loads photographs; called once to train and once for every validation.
        keep: called after every validation, on every worker.
        bar: whether the first worker shows its progress on the terminal.
        goes_on: asked on the first worker; None: to the last epoch.
    """
    progress, steps = training.progress, plan.sampler.steps_per_epoch
    if progress.epoch == run.optimiser.epochs or (progress.epoch and not _goes_on(goes_on, progress, worker)):
        return
    batches = _batches(run, plan, progress.epoch, worker, stream)
    validation = Validation(plan.table, run, worker, stream)
    log = TrainingLog(run, plan.total_steps, progress.epoch * steps, bar) if worker.rank == 0 else None
    bell = AlarmBell()
    while progress.epoch < run.optimiser.epochs:
        training.model.train()
        # Dropout differs by worker, weights do not.
        torch.manual_seed(run.seed * 1009 + progress.epoch * 31 + worker.rank)
        records = []
        for batch in islice(batches, steps):
            records.append(_step(run, training, batch, worker, due(progress.epoch * steps + len(records), steps)))
            if log:
                log.step(records[-1])
        progress.epoch += 1
        heard = alarms(records, type(training.method))
        progress.epochs.append({"epoch": progress.epoch, **summarised(records), "alarms": heard})
        judges = progress.epoch % run.validate_every == 0 or progress.epoch == run.optimiser.epochs
        if judges:
            progress.judged = validation.judge(training.method).figures
            progress.epochs[-1] |= progress.judged
            keep(training)
        if log:
            log.epoch(progress.epochs[-1], progress.judged if judges else {})
            bell.ring(progress.epoch, heard)
        if judges and progress.epoch < run.optimiser.epochs and not _goes_on(goes_on, progress, worker):
            break
    if log:
        log.close()


def selection(progress: Progress) -> float:
    """What the best epoch is chosen by, higher = better: the validation's first figure, of equal ones its next, and of
    equals in all the later epoch.
    """
    figures = [*progress.judged.values(), progress.epoch * 1e-5]
    return sum(value * 1e-4**place for place, value in enumerate(figures))


def write_result(
    run: RunConfig, table: pa.Table, weights: dict[str, Tensor], best: dict[str, Any], epochs: list[dict[str, Any]]
) -> Bundle:
    """Write the bundle of the best epoch, not yet calibrated.

    Args:
        run: with the paths it was trained with.
        table: the manifest.
        weights: of the best epoch.
        best: its `epoch`, and what it was `judged` by.
        epochs: the records of all epochs.

    Raises:
        OutputError: the bundle cannot be written.
    """
    return write_bundle(
        run.out,
        {name: weights[name] for name in run.exported(len(products(table))).state_dict()},
        run,
        products(table),
        metrics={"validation": {"epoch": best["epoch"], **best["judged"]}, "epochs": epochs},
        provenance={"manifest_hash": manifest_hash(table), "split_hash": split_hash(table), "seed": run.seed},
    )


def _goes_on(goes_on: GoesOn | None, progress: Progress, worker: Worker) -> bool:
    """What the first worker is told, on every worker."""
    if goes_on is None:
        return True
    told = [goes_on(progress.epoch, progress.judged) if worker.rank == 0 else None]
    if worker.num_workers > 1:
        torch.distributed.broadcast_object_list(told)
    return bool(told[0])


def _batches(run: RunConfig, plan: TrainingPlan, done: int, worker: Worker, stream: Stream) -> Iterator[Batch]:
    columns = training_rows(
        plan.training_set,
        plan.labels,
        plan.sampler,
        range(done, run.optimiser.epochs),
        worker.rank,
        worker.num_workers,
        run.seed,
    )
    collate = partial(to_batch, preprocessing=run.preprocessing, device=worker.device)
    transforms = run.transforms(plan.training_set)
    return stream(columns, plan.sampler.batch_size // worker.num_workers, transforms, collate)


def _step(run: RunConfig, training: Training, batch: Batch, worker: Worker, measure: bool) -> dict[str, float]:
    done = training.progress.epoch / run.optimiser.epochs
    told = train_step(
        training.model, batch, training.optimiser, training.schedule, worker.gather, run.optimiser, done, measure
    )
    return told | backdrops(batch)
