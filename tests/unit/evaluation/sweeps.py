"""Sweeps made by hand, with what their trials said of photographs on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hallmark.config import validate
from hallmark.training.validation import Judged
from hallmark.tuning.judged import judged_file, write_judged
from hallmark.tuning.ledger import Stage, Status, Trial
from hallmark.tuning.result import SweepResult, trial_folder
from hallmark.tuning.selection import Candidate, Contender, winner
from hallmark.tuning.settings import SweepConfig, trial_run
from hallmark.types import Role

EPOCHS = 9


def judged_of(skill: float, seed: int, items: int = 24, classifies: bool = True, truths: int = 2) -> Judged:
    """Two photographs an item, of two products; the higher the skill, the better they are told."""
    rng = np.random.default_rng([7, seed])
    item = np.repeat(np.arange(items), 2)
    class_index = 2 * (item // 2 % 2) + (item % 2 if truths == 2 else 1)
    score = rng.normal(0, 1, 2 * items) + skill * np.where(class_index % 2 == 1, 1.2, -1.2)
    right = rng.random(2 * items) < 0.5 + 0.45 * skill
    told = np.where(right, class_index, class_index ^ 1) if classifies else None
    ids = [f"{place:064x}" for place in range(2 * items)]
    return Judged(ids, np.array([f"i{one}" for one in item]), class_index.astype(np.int64), score, told)


def config_of(out: Path, space: Mapping[str, Any], **settings: Any) -> SweepConfig:
    """A sweep of the smallest KAG-MTLN with 9 epochs and a validation each."""
    run = {"preset": "tiny", "manifest": "photographs/manifest.parquet", "validate_every": 1}
    run["optimiser"] = {"epochs": EPOCHS}
    given = {"method": "kag_mtln", "run": run, "out": str(out), "space": dict(space), "resamples": 100}
    return validate(SweepConfig, given | settings, "sweep")


def sweep_of(
    config: SweepConfig,
    tried: Sequence[Mapping[str, Any]],
    skill: Callable[[Mapping[str, Any]], float],
    ends: Mapping[int, tuple[Status, int, str]] | None = None,
    default_failed: bool = False,
    top: int = 2,
    metric: str = "accuracy",
    **judging: Any,
) -> SweepResult:
    """A sweep whose trials are as good as `skill` says; `ends` by place of what did not come to the end.

    `judging` goes to `judged_of` for the test photographs.
    """
    run = trial_run(config, {}, config.seed, Path("."))
    classifies = judging.get("classifies", True)

    def trained(
        name: str, stage: Stage, values: dict[str, Any], seed: int, end: tuple[Status, int, str] | None
    ) -> Trial:
        status, epochs, reason = end or (Status.FINISHED, EPOCHS, "")
        told = judged_of(skill(values), seed, classifies=classifies)
        best = told.figures[metric]
        curve = tuple((epoch, round(best - 0.3 / epoch + 0.3 / EPOCHS, 6)) for epoch in range(1, epochs + 1))
        curve = (*curve[:-1], (epochs, best)) if status is Status.FINISHED else curve
        if status is Status.FINISHED:
            folder = trial_folder(Path(config.out), name)
            folder.mkdir(parents=True, exist_ok=True)
            write_judged(judged_file(folder, Role.VAL), told)
            write_judged(judged_file(folder, Role.TEST), judged_of(skill(values), seed + 1000, **judging))
        return Trial(name, stage, dict(values), seed, status, curve, reason, 12.5 * epochs, f"{len(name):016x}")

    ends = ends or {}
    search = [
        trained(f"s{place:03}", Stage.SEARCH, values, config.seed, ends.get(place))
        for place, values in enumerate(tried)
    ]
    ordered = sorted(
        (one for one in search if one.score is not None and one.status is not Status.FAILED),
        key=lambda one: (one.status is not Status.FINISHED, -one.score),
    )
    chosen = [Candidate(one.values, False) for one in ordered[:top]] + [Candidate({}, True)]
    contending = []
    for place, one in enumerate(chosen):
        end = (Status.FAILED, 0, "out of memory") if default_failed and one.is_default else None
        seeds = config.choice.seeds
        names = [f"c{place * len(seeds) + number:03}" for number in range(len(seeds))]
        trials = [trained(n, Stage.CHOICE, one.values, seed, end) for n, seed in zip(names, seeds, strict=True)]
        contending.append(Contender(one, tuple(trials)))
    return SweepResult(config, run, metric, [3, EPOCHS], search, contending, winner(contending))
