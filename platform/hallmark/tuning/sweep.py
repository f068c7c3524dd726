"""A sweep on Ray Tune: search, choice by other seeds, and the one look at the test photographs."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import tune
from ray.tune.search import Searcher

from hallmark.data.manifest import rows_with
from hallmark.errors import DataError, DivergedError, HallmarkError, OutputError, ResourceError
from hallmark.training.bundle import open_bundle
from hallmark.training.epochs import plan_training
from hallmark.training.run import RunConfig
from hallmark.tuning.forecast import forecast, measured_epoch
from hallmark.tuning.judged import judge, judged_file, write_judged
from hallmark.tuning.ledger import Ledger, Leg, Stage, Status
from hallmark.tuning.referee import Referee
from hallmark.tuning.result import SweepResult, trial_folder
from hallmark.tuning.schedule import Schedule, Stretch
from hallmark.tuning.selection import Candidate, Contender, candidates, contenders, winner
from hallmark.tuning.settings import SweepConfig, check_space, identity, metric_of, rungs, trial_settings
from hallmark.tuning.trial import train_stretch
from hallmark.tuning.trial_table import TrialTable
from hallmark.types import Authenticity, Role

_DRIVER_CPUS = 0.1
_RETRIES = 1
"""Of a trial whose process died."""


def sweep(config: SweepConfig, tell: Callable[[str], None]) -> SweepResult:
    """Search, choose and judge on the cluster that RAY_ADDRESS names; writes winner.yaml beside the ledger.

    What was broken off, by Ctrl-C or otherwise, goes on where it was when it is started again: no trial that has ended
    is trained again.

    Args:
        config: of the sweep.
        tell: is given what a user wants to know before and between.

    Raises:
        ConfigError, DataError, WeightsError: what is wrong with the space, the run or its photographs; told before any
            training.
        ResourceError: the cluster cannot hold one trial, or the sweep is running already.
        SweepError: all trials failed.
        OutputError: something cannot be written.
        KeyboardInterrupt: it was interrupted.
    """
    config = config.model_copy(update={"out": str(Path(config.out).resolve())})
    run = check_space(config)
    _check_photographs(run)
    if not ray.is_initialized():
        ray.init(logging_level="WARNING")
    at_once = slots(config, run, ray.cluster_resources())
    with Ledger(Path(config.out), identity(config)) as ledger:
        _begin(config, run, ledger, at_once, tell)
        _train(config, run, ledger, None, at_once)
        _close(config, run, ledger)
        found = candidates(config, ledger.of(Stage.SEARCH))
        tell(f"{len(found)} candidates with seeds {', '.join(map(str, config.choice.seeds))}")
        _train(config, run, ledger, found, at_once)
        contending = contenders(found, ledger.of(Stage.CHOICE))
        won = winner(contending)
        result = SweepResult(
            config=config,
            run=run,
            metric=metric_of(config, run),
            levels=rungs(config, run),
            search=ledger.of(Stage.SEARCH),
            contenders=contending,
            winner=won,
        )
        _look_at_test(config, run, [won, result.default])
        _write_winner(config, won, result.metric)
    return result


def slots(config: SweepConfig, run: RunConfig, has: dict[str, float]) -> int:
    """How many trials may stand side by side.

    Args:
        config: of the sweep.
        run: one of its runs.
        has: resources of the cluster by kind.

    Raises:
        ResourceError: not one can.
    """
    wanted = _wanted(config, run)
    fit = min(int(has.get(kind, 0) / count) for kind, count in wanted.items() if count)
    if fit < 1:
        raise ResourceError(
            f"sweep: one trial wants {_listed(wanted)}; the cluster has {_listed({k: has.get(k, 0) for k in wanted})}. "
            "Lower run.workers, use trainer: plain, or add nodes"
        )
    return min(fit, config.max_concurrent or fit)


def _wanted(config: SweepConfig, run: RunConfig) -> dict[str, float]:
    """What one trial occupies in all."""
    workers = run.workers
    if config.trainer == "plain":
        return {"CPU": workers.cpus_per_worker, "GPU": float(config.device != "cpu")}
    # The workers, a CPU for their data pipeline, and the process that waits for them.
    cpus = workers.num_workers * workers.cpus_per_worker + 1 + _DRIVER_CPUS
    return {"CPU": cpus, "GPU": float(workers.num_workers * workers.use_gpu)}


def _listed(resources: dict[str, float]) -> str:
    return " and ".join(f"{count:g} {kind}" for kind, count in resources.items())


def _check_photographs(run: RunConfig) -> None:
    plan = plan_training(run)
    for role, purpose in ((Role.VAL, "compare trials by"), (Role.TEST, "report on")):
        asked = rows_with(plan.table, (role,), (Authenticity.GENUINE, Authenticity.COUNTERFEIT))
        if not asked.num_rows:
            raise DataError(f"{run.manifest}: no photograph has the role {role}; wanted some to {purpose}")


def _begin(config: SweepConfig, run: RunConfig, ledger: Ledger, at_once: int, tell: Callable[[str], None]) -> None:
    if ledger.trials:
        over = sum(trial.status is not Status.OPEN for trial in ledger.trials)
        tell(f"goes on: {len(ledger.trials)} trials begun, {over} of them ended")
        return
    measured = ray.remote(measured_epoch).options(**_options(_alone(config)))
    try:
        seconds = ray.get(measured.remote(run, config.device))
    except DivergedError as error:
        tell(f"{config.num_trials} trials; no forecast of time, since the run as it is diverges: {error.cause}")
    except HallmarkError as error:  # Ray's wrapping of it would show the user a traceback
        raise error.cause from None
    else:
        tell(forecast(config, run, at_once, seconds).sentence)


def _alone(config: SweepConfig) -> dict[str, float]:
    """What a look at photographs outside of a trial occupies."""
    return {"CPU": 1.0, "GPU": float(config.device != "cpu")}


def _options(resources: dict[str, float]) -> dict[str, float]:
    return {"num_cpus": resources["CPU"], "num_gpus": resources["GPU"]}


class _Unkept:
    """What Tune would store of it the ledger has."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Stretches(_Unkept, Searcher):
    """Gives Tune the schedule's stretches as its trials, and the ledger what came of them."""

    def __init__(self, schedule: Schedule, ledger: Ledger, table: TrialTable):
        super().__init__(metric="epoch", mode="max")
        self._schedule, self._ledger, self._table = schedule, ledger, table
        self._running: dict[str, Stretch] = {}

    @property
    def busy(self) -> frozenset[str]:
        """Names of the trials that are being trained."""
        return frozenset(stretch.trial.name for stretch in self._running.values())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        stretch = self._schedule.next(self.busy)
        if stretch is None:
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = stretch
        return {"stretch": stretch}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        stretch = self._running.pop(trial_id)
        if error:
            leg = Leg(Status.FAILED, (), f"the trial's process died {_RETRIES + 1} times; see the cluster's logs")
        elif result is None or "leg" not in result:  # broken off
            return
        else:
            leg = result["leg"]
        self._table.tell(self._ledger.record(stretch.trial.name, leg))

    def save(self, checkpoint_path: str) -> None:
        """The ledger has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """The ledger has it all."""


class _Drawn(_Unkept, tune.Callback):
    """Keeps the table of trials up to date."""

    def __init__(self, table: TrialTable, ledger: Ledger, stage: Stage, stretches: _Stretches, referee: Any):
        self._table, self._ledger, self._stage = table, ledger, stage
        self._stretches, self._referee = stretches, referee

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._table.is_due:
            self.draw()

    def draw(self) -> None:
        """Draw the table now."""
        curves = ray.get(self._referee.curves.remote())
        self._table.draw(self._ledger.of(self._stage), self._stretches.busy, curves)


def _train(
    config: SweepConfig, run: RunConfig, ledger: Ledger, found: Sequence[Candidate] | None, at_once: int
) -> None:
    """Train all stretches of the search, or of the choice among candidates.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    stage = Stage.SEARCH if found is None else Stage.CHOICE
    schedule = Schedule(config, run, ledger, found)
    table = TrialTable(metric_of(config, run), run.optimiser.epochs)
    stretches = _Stretches(schedule, ledger, table)
    referee = ray.remote(num_cpus=0)(Referee).remote(config.stopping, ledger.of(Stage.SEARCH))
    drawn = _Drawn(table, ledger, stage, stretches, referee)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # which can be silent
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    work = tempfile.mkdtemp(prefix="tune-", dir=config.out)
    wanted = {"CPU": _DRIVER_CPUS, "GPU": 0.0} if config.trainer == "ray" else _wanted(config, run)
    try:
        tune.Tuner(
            tune.with_resources(_trainable(config, referee), wanted),
            tune_config=tune.TuneConfig(
                search_alg=stretches,
                num_samples=-1,
                max_concurrent_trials=at_once,
                metric="epoch",
                mode="max",
                reuse_actors=True,  # a new process costs as much as an epoch of a small run
            ),
            run_config=tune.RunConfig(
                name=str(stage),
                storage_path=work,
                verbose=0,
                callbacks=[drawn],
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
            ),
        ).fit()
        drawn.draw()
    finally:
        ray.kill(referee)
        shutil.rmtree(work, ignore_errors=True)
    if schedule.next(frozenset()) is not None:
        raise KeyboardInterrupt


def _trainable(config: SweepConfig, referee: Any) -> Callable[[dict[str, Any]], None]:
    def trained(given: dict[str, Any]) -> None:
        leg = train_stretch(config, given["stretch"], referee)
        tune.report({"leg": leg, "epoch": leg.curve[-1][0] if leg.curve else 0})

    return trained


def _close(config: SweepConfig, run: RunConfig, ledger: Ledger) -> None:
    """What never earned its next rung has stopped."""
    levels = rungs(config, run)
    for trial in ledger.of(Stage.SEARCH):
        if trial.status is Status.OPEN:
            arrived = sum(other.score_by(trial.epochs) is not None for other in ledger.of(Stage.SEARCH))
            reason = (
                f"rung {levels.index(trial.epochs) + 1}, epoch {trial.epochs}: not among the best "
                f"{arrived // config.stopping.reduction} of {arrived}"
            )
            ledger.record(trial.name, Leg(Status.STOPPED, trial.curve, reason))
            for kept in ("checkpoints", "training"):
                shutil.rmtree(trial_folder(Path(config.out), trial.name) / kept, ignore_errors=True)


def _look_at_test(config: SweepConfig, run: RunConfig, contending: Sequence[Contender]) -> None:
    """Ask the bundles about the test photographs, each once."""
    asked = ray.remote(_judge_test).options(**_options(_alone(config)))
    folders = {
        trial.name: trial_folder(Path(config.out), trial.name)
        for one in contending
        for trial in one.trials
        if trial.status is Status.FINISHED
    }
    missing = [folder for folder in folders.values() if not judged_file(folder, Role.TEST).is_file()]
    ray.get([asked.remote(folder, config.device) for folder in missing])


def _judge_test(folder: Path, device: str) -> None:
    write_judged(judged_file(folder, Role.TEST), judge(open_bundle(folder / "bundle"), Role.TEST, device))


def _write_winner(config: SweepConfig, won: Contender, metric: str) -> None:
    """The winner's settings as a training job takes them."""
    file = Path(config.out) / "winner.yaml"
    place = {"seed": won.trials[0].seed, "out": str(Path(config.out) / "winner" / "bundle")}
    values = ", ".join(f"{key} {value}" for key, value in won.candidate.values.items()) or "the run as it was"
    text = (
        f"# Winner of the sweep: {values}. Validation {metric} {won.mean:.4f}, the mean of seeds "
        f"{', '.join(str(trial.seed) for trial in won.trials)}.\n"
        f"# python jobs/train_{config.method}.py --config winner.yaml\n"
    )
    try:
        file.write_text(text + yaml.safe_dump(trial_settings(config, won.candidate.values) | place, sort_keys=False))
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror})") from None
