"""The axes of a sweep: what they are called, and where a value lies on them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from hallmark.evaluation.measures import Figures
from hallmark.training.run import RunConfig
from hallmark.tuning.space import Axis, Scalar

_WIDE = 10
"""Numbers of a choice are drawn on a logarithmic axis from this ratio of the highest to the lowest."""


class SweepAxis(Figures):
    """One key of the run that was varied."""

    key: str
    """Dotted."""
    label: str
    """Its last two parts, or all of it where that tells it from another."""
    scale: Literal["linear", "log", "names"]
    choices: list[Scalar] | None
    """None of a range."""
    default: Scalar | None
    """Of the run as it is; None where the run has no such value."""

    def place(self, value: Scalar) -> float:
        """Where a value lies: the number itself, or how many choices are before it."""
        if self.scale != "names":
            return float(value)
        return float([repr(one) for one in self.choices or ()].index(repr(value)))

    def share(self, value: Scalar, low: float, high: float) -> float:
        """Where a value lies between two places, 0 to 1, in the scale of the axis; 0.5 where the two are one."""
        place, ends = self.place(value), (low, high)
        if self.scale == "log":
            place, ends = np.log(place), tuple(np.log(ends))
        return float((place - ends[0]) / (ends[1] - ends[0])) if ends[1] > ends[0] else 0.5


def sweep_axes(space: Mapping[str, Axis], run: RunConfig) -> list[SweepAxis]:
    """The axes of a space, in its order."""
    labels = labels_of(list(space))
    return [
        SweepAxis(
            key=key,
            label=labels[key],
            scale=_scale(axis),
            choices=None if axis.choice is None else list(axis.choice),
            default=_value_at(run, key),
        )
        for key, axis in space.items()
    ]


def labels_of(keys: Sequence[str]) -> dict[str, str]:
    """The last two parts of each dotted key; the whole key where another ends alike."""
    short = [".".join(key.split(".")[-2:]) for key in keys]
    return {key: label if short.count(label) == 1 else key for key, label in zip(keys, short, strict=True)}


def value_text(value: Scalar | None) -> str:
    """A value as YAML would have it, numbers with four digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def recipe_text(values: Mapping[str, Scalar], axes: Sequence[SweepAxis]) -> str:
    """What a trial laid over the run, in one line; `default` where it laid nothing."""
    labels = {axis.key: axis.label for axis in axes}
    return ", ".join(f"{labels.get(key, key)} {value_text(value)}" for key, value in values.items()) or "default"


def _scale(axis: Axis) -> Literal["linear", "log", "names"]:
    if axis.choice is None:
        return "linear" if axis.loguniform is None else "log"
    if any(isinstance(value, bool | str) for value in axis.choice):
        return "names"
    low, high = min(axis.choice), max(axis.choice)
    return "log" if low > 0 and high / low >= _WIDE else "linear"


def _value_at(run: RunConfig, key: str) -> Scalar | None:
    found = functools.reduce(lambda part, name: getattr(part, name, None), key.split("."), run)
    return found if isinstance(found, bool | int | float | str) else None
