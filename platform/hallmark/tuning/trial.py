"""One stretch of a trial, in the process that Ray Tune gives it."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path
from time import perf_counter
from typing import Any

import ray

from hallmark.errors import HallmarkError
from hallmark.training.bundle import Bundle
from hallmark.training.plain import train_plain
from hallmark.training.run import RunConfig
from hallmark.training.trainer import train
from hallmark.tuning.judged import judge, judged_file, write_judged
from hallmark.tuning.ledger import Leg, Stage, Status
from hallmark.tuning.referee import Asked
from hallmark.tuning.result import trial_folder
from hallmark.tuning.schedule import Stretch
from hallmark.tuning.settings import SweepConfig, metric_of, trial_run
from hallmark.types import Role


def train_stretch(config: SweepConfig, stretch: Stretch, referee: Any) -> Leg:
    """Train a trial from where it stands to where its stretch ends; whatever goes wrong is its result.

    Args:
        config: of the sweep, with absolute paths.
        stretch: the trial, and until when.
        referee: handle of the actor.
    """
    began, folder = perf_counter(), trial_folder(Path(config.out), stretch.trial.name)
    try:
        leg = _trained(config, stretch, referee, folder)
    except Exception as error:  # the sweep goes on
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc())
        line = " ".join(str(error).split())[:500] or "no message"
        told = line if isinstance(error, HallmarkError) else f"{type(error).__name__}: {line}"
        return Leg(Status.FAILED, (), told, perf_counter() - began)
    return Leg(leg.status, leg.curve, leg.reason, perf_counter() - began, leg.bundle_id)


def _trained(config: SweepConfig, stretch: Stretch, referee: Any, folder: Path) -> Leg:
    trial = stretch.trial
    run = trial_run(config, trial.values, trial.seed, folder / "bundle")
    metric = metric_of(config, run)
    asked = Asked(referee, trial.name, metric, stretch.until, trial.stage is Stage.SEARCH)
    bundle = _bundle(config, run, asked)
    curve = tuple((one["epoch"], one[metric]) for one in bundle.metrics["epochs"] if metric in one)
    if curve[-1][0] == run.optimiser.epochs:
        write_judged(judged_file(folder, Role.VAL), judge(bundle, Role.VAL, config.device))
        for kept in ("checkpoints", "training"):  # they outweigh the bundle many times over
            shutil.rmtree(folder / kept, ignore_errors=True)
        return Leg(Status.FINISHED, curve, bundle_id=bundle.bundle_id)
    if reason := ray.get(referee.reason.remote(trial.name)):
        return Leg(Status.STOPPED, curve, reason)
    return Leg(Status.OPEN, curve)


def _bundle(config: SweepConfig, run: RunConfig, asked: Asked) -> Bundle:
    if config.trainer == "ray":
        return train(run, asked)
    return train_plain(run, config.device, progress=False, goes_on=asked, resumes=True)
