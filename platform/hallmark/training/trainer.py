"""Training on Ray Train: DDP workers around the pure loop, with checkpoints and resumption."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed
from safetensors.torch import load_file, save_file
from tensorboardX import SummaryWriter
from torch import Tensor
from tqdm import tqdm

from hallmark.config import config_hash
from hallmark.data.batches import source_columns, to_batch, to_images, training_rows
from hallmark.data.manifest import manifest_hash, products, read_manifest, rows_with
from hallmark.data.pipeline import photograph_stream
from hallmark.data.sampling import BatchSampler, label, worker_slice
from hallmark.data.splits import split_hash
from hallmark.data.transforms import Transforms, photograph_seed
from hallmark.errors import DataError, HallmarkError, ResourceError
from hallmark.methods.base import alone
from hallmark.methods.fod import FoD
from hallmark.training.bundle import Bundle, check_place, write_bundle
from hallmark.training.loop import build_optimiser, gather_rows, train_step
from hallmark.training.run import RunConfig
from hallmark.training.validation import global_margin, separation
from hallmark.types import Authenticity, Role

_SELECTION = "selection"
_EMBED_BATCH = 32


def train(run: RunConfig) -> Bundle:
    """Train on the cluster that Ray is connected to and write the bundle of the best epoch, not yet calibrated.

    A run that was broken off goes on from its last checkpoint when it is started again with the same configuration.

    Raises:
        ResourceError: the cluster cannot hold the workers.
        OutputError: the bundle could not be written.
        DataError, ConfigError, WeightsError: what is wrong with the input.
    """
    manifest = Path(run.manifest).resolve()
    table = read_manifest(manifest)
    training_set = _training_set(table)
    sampler = BatchSampler(
        training_set, label(training_set, products(table), run.sampling.identity), run.sampling, run.seed
    )
    worker_slice(sampler.epoch(0), 0, run.workers.num_workers)
    _check_resources(run)
    out = Path(run.out).resolve()
    check_place(out)
    run = run.model_copy(update={"manifest": str(manifest), "out": str(out)})
    trainer = ray.train.torch.TorchTrainer(
        _train_worker,
        train_loop_config={"run": run.model_dump(mode="json")},
        scaling_config=ray.train.ScalingConfig(
            num_workers=run.workers.num_workers,
            use_gpu=run.workers.use_gpu,
            resources_per_worker={"CPU": run.workers.cpus_per_worker},
        ),
        run_config=ray.train.RunConfig(
            name=f"{config_hash(run)}-{manifest_hash(table)}",
            storage_path=str(out.parent / "training"),
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
        state = json.loads((Path(folder) / "progress.json").read_text())
        epochs = json.loads((Path(last) / "progress.json").read_text())["epochs"]
        weights = load_file(Path(folder) / "weights.safetensors")
    return write_bundle(
        out,
        weights,
        run,
        products(table),
        metrics={"validation": {"epoch": state["epoch"], "separation": state["separation"]}, "epochs": epochs},
        provenance={"manifest_hash": manifest_hash(table), "split_hash": split_hash(table), "seed": run.seed},
    )


def _training_set(table: pa.Table) -> pa.Table:
    chosen = rows_with(table, (Role.TRAIN,), tuple(Authenticity))
    if not chosen.num_rows:
        raise DataError("manifest: no photograph has the role train; wanted some (see `splits` of the import)")
    return chosen


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


@dataclass
class _Progress:
    """Where a run stands after some epochs."""

    epoch: int
    separation: float | None
    epochs: list[dict[str, Any]]


def _train_worker(settings: dict[str, Any]) -> None:
    run = RunConfig.model_validate(settings["run"])
    for chatty in ("ray.data", "ray.train"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    context = ray.train.get_context()
    rank, num_workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    table = read_manifest(Path(run.manifest))
    training_set = _training_set(table)
    labels = label(training_set, products(table), run.sampling.identity)
    sampler = BatchSampler(training_set, labels, run.sampling, run.seed)
    torch.manual_seed(run.seed)
    method = FoD(run.method).to(device)
    model = ray.train.torch.prepare_model(method)
    total_steps = run.optimiser.epochs * sampler.steps_per_epoch
    optimiser, schedule = build_optimiser(method, run.optimiser, total_steps)
    progress = _restore(method, optimiser, schedule, device)
    torch.manual_seed(run.seed * 1009 + progress.epoch * 31 + rank)  # dropout differs by worker, weights do not
    if progress.epoch == run.optimiser.epochs:
        return
    gather = gather_rows if num_workers > 1 else alone
    columns = training_rows(
        training_set, labels, sampler, range(progress.epoch, run.optimiser.epochs), rank, num_workers, run.seed
    )
    share = sampler.batch_size // num_workers
    transforms = Transforms(run.limits, run.preprocessing, run.augmentation)
    collate = partial(to_batch, preprocessing=run.preprocessing, device=device)
    stream = photograph_stream(columns, share, transforms, collate, run.stream.nodes)
    validation = _Validation(table, run, rank, num_workers, device)
    log = _Log(run, total_steps, progress.epoch * sampler.steps_per_epoch) if rank == 0 else None
    while progress.epoch < run.optimiser.epochs:
        model.train()
        records = []
        for batch in islice(stream, sampler.steps_per_epoch):
            done = progress.epoch / run.optimiser.epochs
            records.append(train_step(model, batch, optimiser, schedule, gather, run.optimiser, done))
            if log:
                log.step(records[-1])
        progress.epoch += 1
        progress.epochs.append({"epoch": progress.epoch, **_mean(records)})
        if progress.epoch % run.validate_every == 0 or progress.epoch == run.optimiser.epochs:
            progress.separation = validation.separation(method)
            progress.epochs[-1]["separation"] = progress.separation
            _report(method, optimiser, schedule, progress, rank)
        if log:
            log.epoch(progress.epochs[-1])


class _Validation:
    """Embeds references and validation photographs, each worker its part, and joins the descriptors."""

    def __init__(self, table: pa.Table, run: RunConfig, rank: int, num_workers: int, device: torch.device):
        judged = rows_with(table, (Role.TRAIN, Role.VAL), (Authenticity.GENUINE, Authenticity.COUNTERFEIT))
        self._run, self._device, self._num_workers = run, device, num_workers
        self._labels = label(judged, products(table), run.sampling.identity)
        self._is_query = np.array(judged.column("role").to_pylist()) == Role.VAL
        self._order = np.concatenate([np.arange(judged.num_rows)[r::num_workers] for r in range(num_workers)])
        own = np.arange(judged.num_rows)[rank::num_workers]
        ids = np.array(judged.column("image_id").to_pylist())[own]
        seeds = np.array([photograph_seed(run.seed, 0, image_id) for image_id in ids], dtype=np.int64)
        self._columns = source_columns(judged, own) | {"seed": seeds}

    def _stream(self) -> Iterator[Tensor]:
        transforms = Transforms(self._run.limits, self._run.preprocessing)
        collate = partial(to_images, preprocessing=self._run.preprocessing, device=self._device)
        return photograph_stream(self._columns, _EMBED_BATCH, transforms, collate, self._run.stream.nodes)

    def separation(self, method: FoD) -> float:
        """Same value on every worker."""
        method.eval()
        with torch.inference_mode():
            own = [method.embed(images) for images in self._stream()]
        descriptors = _join(torch.cat([embedding.descriptor for embedding in own]), self._num_workers)
        ordered = np.empty_like(descriptors)
        ordered[self._order] = descriptors
        query, labels = self._is_query, self._labels
        margin = global_margin(
            ordered[query], labels.product[query], ordered[~query], labels.product[~query], labels.genuine[~query]
        )
        return separation(margin, labels.genuine[query])


def _join(descriptors: Tensor, num_workers: int) -> np.ndarray:
    own = descriptors.float().cpu().numpy()
    if num_workers == 1:
        return own
    parts: list[Any] = [None] * num_workers
    torch.distributed.all_gather_object(parts, own)
    return np.concatenate(parts)


def _report(method: FoD, optimiser: torch.optim.Optimizer, schedule: Any, progress: _Progress, rank: int) -> None:
    # Equal separations: the later epoch.
    metrics = {_SELECTION: progress.separation + 1e-9 * progress.epoch, "epoch": progress.epoch}
    if rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = {name: weight.contiguous() for name, weight in method.state_dict().items()}
        save_file(weights, f"{folder}/weights.safetensors")
        torch.save({"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}, f"{folder}/state.pt")
        Path(folder, "progress.json").write_text(json.dumps(vars(progress)))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _restore(method: FoD, optimiser: torch.optim.Optimizer, schedule: Any, device: torch.device) -> _Progress:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return _Progress(0, None, [])
    with checkpoint.as_directory() as folder:
        method.load_state_dict(load_file(f"{folder}/weights.safetensors", device=str(device)))
        state = torch.load(f"{folder}/state.pt", weights_only=True, map_location=device)
        progress = _Progress(**json.loads(Path(folder, "progress.json").read_text()))
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return progress


def _mean(records: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([record[name] for record in records])) for name in records[0]}


class _Log:
    """Progress bar and TensorBoard curves of the first worker."""

    def __init__(self, run: RunConfig, total_steps: int, done: int):
        self._writer = SummaryWriter(str(Path(run.out).parent / "tensorboard"))
        self._bar = tqdm(total=total_steps, initial=done, desc="training", unit="step", mininterval=5, ascii=True)

    def step(self, record: dict[str, float]) -> None:
        self._bar.update()
        self._bar.set_postfix(loss=f"{record['loss']:.3f}", refresh=False)
        for name, value in record.items():
            self._writer.add_scalar(f"step/{name}", value, self._bar.n)

    def epoch(self, record: dict[str, Any]) -> None:
        if "separation" in record:
            epoch, loss, separation = record["epoch"], record["loss"], record["separation"]
            self._bar.write(f"epoch {epoch}: loss {loss:.4f}, validation separation {separation:.4f}")
            self._writer.add_scalar("validation/separation", record["separation"], self._bar.n)
        self._writer.flush()
