"""What training tells of itself beside its loss: how hard each term pulls at the features, and what looks wrong."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hallmark.methods.base import Gather, LossTerms, Method, alone
from hallmark.types import Backdrop, Batch

_logger = logging.getLogger(__name__)

_FIRST_STEPS, _EVERY = 100, 50
_GRADIENT, _DIAGNOSTIC = "gradient_norm/", "diagnostics/"


def due(step: int, steps_per_epoch: int) -> bool:
    """Whether a step is measured: the first 100 are, then every 50th, and the last one of every epoch.

    Args:
        step: of the whole run, from 0; the same on every worker, for a measurement is a joint one.
        steps_per_epoch: an epoch's steps.
    """
    return step < _FIRST_STEPS or step % _EVERY == 0 or (step + 1) % steps_per_epoch == 0


def measured(losses: LossTerms, gather: Gather = alone) -> dict[str, float]:
    """A step's `gradient_norm/<term>` and `diagnostics/<name>`.

    A diagnostic of several values, such as one an image, counts with their median. Diagnostics are those of the first
    worker's share of the batch, gradient norms those of the global batch.
    """
    norms = term_gradient_norms(losses, gather)
    values = {name: _middle(value) for name, value in losses.diagnostics.items() if value.numel()}
    return {_GRADIENT + name: norm for name, norm in norms.items()} | {
        _DIAGNOSTIC + name: value for name, value in values.items()
    }


def backdrops(batch: Batch) -> dict[str, float]:
    """What became of the backgrounds of a step's photographs, the first worker's; nothing where none is ever replaced.

    Returns:
        `diagnostics/backdrop_replaced` and `diagnostics/backdrop_refused`: shares of the batch (see `Backdrop`);
        of the refused those that had `backdrop_no_mask`, `backdrop_too_small`, `backdrop_too_large` or
        `backdrop_unreadable`, shares of the batch too; `diagnostics/backdrop_bare`: 1 where it was some photograph's
        turn and none could be had, else 0.
    """
    if "backdrop" not in batch:
        return {}
    outcomes = batch["backdrop"].cpu()
    told = {one.name.lower(): float((outcomes == one).float().mean()) for one in Backdrop if one != Backdrop.KEPT}
    told["refused"] = float((outcomes >= Backdrop.NO_MASK).float().mean())
    told["bare"] = float(told["refused"] > 0 and told["replaced"] == 0)
    return {f"{_DIAGNOSTIC}backdrop_{name}": value for name, value in told.items()}


def term_gradient_norms(losses: LossTerms, gather: Gather = alone) -> dict[str, float]:
    """Norm of each weighted term's gradient on the patch tokens of the global batch (METHODS appendix A, 11).

    Every worker must call it at the same step: the backward pass of a gather waits for all of them.

    Returns:
        One value for each term whose weight is not zero and that is not `aside`; none where the loss names no features.
    """
    features = losses.features
    names = [name for name in losses.terms if losses.weights[name] != 0 and name not in losses.aside]
    if features is None or not names:
        return {}
    # Nothing, but it takes every worker's backward pass through the same gathers, even where its own term is constant.
    joint = 0.0 if gather is alone else 0.0 * losses.total
    squares = [_squared_gradient(losses.weights[name] * losses.terms[name] + joint, features) for name in names]
    with torch.no_grad():
        of_workers = gather(torch.stack(squares)[None])
    # The gathers' backward passes add up over the workers what DDP averages later.
    norms = of_workers.sum(dim=0).sqrt() / of_workers.shape[0]
    return dict(zip(names, norms.tolist(), strict=True))


def _squared_gradient(term: Tensor, features: Tensor) -> Tensor:
    nothing = torch.zeros((), device=features.device)
    if not term.requires_grad:
        return nothing
    (gradient,) = torch.autograd.grad(term, features, retain_graph=True, allow_unused=True)
    return nothing if gradient is None else gradient.float().square().sum()


def _middle(values: Tensor) -> float:
    return float(values.detach().float().median())


def summarised(records: Sequence[dict[str, float]]) -> dict[str, float]:
    """An epoch's record: each entry's mean over the steps that have it; of a term's gradient norm the median.

    What is finite at no step is left out: a bundle's metrics are JSON.
    """
    summary = {}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record[name] for record in records if name in record and math.isfinite(record[name])]
        if values:
            summary[name] = float(np.median(values) if name.startswith(_GRADIENT) else np.mean(values))
    return summary


def alarms(records: Sequence[dict[str, float]], method: type[Method]) -> list[str]:
    """What looks wrong in an epoch: terms without gradient, and what the method makes of its mean diagnostics.

    Args:
        records: of the epoch's steps, measured or not.
        method: what is trained.
    """
    summary = summarised(records)
    dead = [
        f"dead term: {name.removeprefix(_GRADIENT)} left no gradient on the patch tokens at any measured step, at a "
        f"mean of {summary.get(name.removeprefix(_GRADIENT), math.nan):.4g}; at 0 it is satisfied or finds no pairs"
        for name in summary
        if name.startswith(_GRADIENT) and not any(record.get(name) for record in records)
    ]
    diagnostics = {
        name.removeprefix(_DIAGNOSTIC): value for name, value in summary.items() if name.startswith(_DIAGNOSTIC)
    }
    return dead + method.alarms(diagnostics)


class AlarmBell:
    """Warns of an alarm when its kind is first heard; alarms of one kind differ in their numbers alone."""

    def __init__(self) -> None:
        self._heard: set[str] = set()

    def ring(self, epoch: int, heard: Sequence[str]) -> None:
        for alarm in heard:
            kind = re.sub(r"\d[\d.,e+-]*", "#", alarm)
            if kind not in self._heard:
                self._heard.add(kind)
                _logger.warning("epoch %d: %s", epoch, alarm)
