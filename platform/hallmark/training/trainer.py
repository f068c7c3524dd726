"""Training on Ray Train: DDP workers around the pure loop, with checkpoints and resumption."""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from hallmark.config import config_hash
from hallmark.data.manifest import manifest_hash
from hallmark.data.pipeline import photograph_stream
from hallmark.data.sampling import worker_slice
from hallmark.errors import HallmarkError, ResourceError
from hallmark.training.bundle import Bundle, check_place
from hallmark.training.checkpoint import read_progress, read_weights, restore_training, save_training
from hallmark.training.epochs import (
    GoesOn,
    Training,
    begin,
    plan_training,
    resolved,
    selection,
    train_epochs,
    write_result,
)
from hallmark.training.run import RunConfig, read_run
from hallmark.training.worker import Worker

_SELECTION = "selection"


def train(run: RunConfig, goes_on: GoesOn | None = None) -> Bundle:
    """Train on the cluster that Ray is connected to and write the bundle of the best epoch, not yet calibrated.

    A run that was broken off, or told to stop, goes on from its last checkpoint when it is started again with the same
    configuration.

    Args:
        run: the run.
        goes_on: asked on the first worker, after every validation, whether training goes on; None: to the last epoch.

    Raises:
        ResourceError: the cluster cannot hold the workers.
        OutputError: the bundle could not be written.
        DataError, ConfigError, WeightsError: what is wrong with the input.
    """
    run = resolved(run)
    plan = plan_training(run)
    worker_slice(plan.sampler.epoch(0), 0, run.workers.num_workers)
    _check_resources(run)
    check_place(run.out)
    trainer = ray.train.torch.TorchTrainer(
        _train_worker,
        train_loop_config={"run": run.model_dump(mode="json"), "goes_on": goes_on},
        scaling_config=ray.train.ScalingConfig(
            num_workers=run.workers.num_workers,
            use_gpu=run.workers.use_gpu,
            resources_per_worker={"CPU": run.workers.cpus_per_worker},
        ),
        run_config=ray.train.RunConfig(
            name=f"{config_hash(run)}-{manifest_hash(plan.table)}",
            storage_path=str(Path(run.out).parent / "training"),
            failure_config=ray.train.FailureConfig(max_failures=run.workers.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=_SELECTION, checkpoint_score_order="max"
            ),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _cause(error) from error
    best = result.get_best_checkpoint(_SELECTION, "max")
    with best.as_directory() as folder, result.checkpoint.as_directory() as last:
        state, weights = vars(read_progress(Path(folder))), read_weights(Path(folder))
        epochs = read_progress(Path(last)).epochs
    return write_result(run, plan.table, weights, state, epochs)


def _check_resources(run: RunConfig) -> None:
    has = ray.cluster_resources()
    workers = run.workers
    # One CPU beyond the workers' own: without it the data pipeline would wait for ever.
    wanted = {"CPU": workers.num_workers * workers.cpus_per_worker + 1, "GPU": workers.num_workers * workers.use_gpu}
    for kind, count in wanted.items():
        if has.get(kind, 0) < count:
            raise ResourceError(
                f"workers: {workers.num_workers} workers and their data pipeline want {count:g} {kind}; the cluster "
                f"has {has.get(kind, 0):g}. Lower workers.num_workers or add nodes"
            )


def _cause(error: ray.train.TrainingFailedError) -> Exception:
    """The user's error behind a failed run, where there is one."""
    for failure in getattr(error, "worker_failures", {}).values():
        while failure is not None:
            if isinstance(failure, HallmarkError):
                return failure
            failure = getattr(failure, "cause", None) or failure.__cause__
    return error


def _train_worker(settings: dict[str, Any]) -> None:
    run = read_run(settings["run"], "run")
    for chatty in ("ray.data", "ray.train"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    context = ray.train.get_context()
    worker = Worker(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    plan = plan_training(run)
    training = begin(run, plan, worker.device, ray.train.torch.prepare_model)
    _restore(training, worker.device)
    stream = partial(photograph_stream, nodes=run.stream.nodes)
    keep = partial(_report, rank=worker.rank)
    train_epochs(run, plan, training, worker, stream, keep, goes_on=settings["goes_on"])


def _report(training: Training, rank: int) -> None:
    progress = training.progress
    metrics = {_SELECTION: selection(progress), "epoch": progress.epoch}
    if rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_training(training, Path(folder))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _restore(training: Training, device: torch.device) -> None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as folder:
        restore_training(training, Path(folder), device)
