"""Search spaces: what may be tried of each key of a run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from hallmark.config import Config

Scalar = bool | int | float | str
"""A value that a key may take."""


class Axis(Config):
    """What may be tried of one key: exactly one of the four."""

    choice: tuple[Scalar, ...] | None = Field(
        None, min_length=1, description="these values; a grid has all of them, in this order"
    )
    uniform: tuple[float, float] | None = Field(None, description="[low, high], evenly")
    loguniform: tuple[float, float] | None = Field(None, description="[low, high] above 0, evenly in the logarithm")
    integers: tuple[int, int] | None = Field(None, description="[low, high], whole numbers, both ends included")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            wanted = ", ".join(type(self).model_fields)
            raise ValueError(f"found {' and '.join(given) or 'nothing'}; wanted exactly one of {wanted}")
        if self.choice is not None:
            if len(set(map(repr, self.choice))) < len(self.choice):
                raise ValueError(f"choice: found {list(self.choice)}; wanted each value once")
            return self
        low, high = self.bounds
        if not low < high or (self.loguniform is not None and low <= 0):
            above = " above 0" if self.loguniform is not None else ""
            raise ValueError(f"{given[0]}: found [{low}, {high}]; wanted low below high{above}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Of an axis of numbers, both included."""
        low, high = self.uniform or self.loguniform or self.integers
        return low, high

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Values that are valid only if all of the axis are."""
        return self.bounds if self.choice is None else self.choice

    def at(self, share: float) -> Scalar:
        """The value at a share, 0 to below 1, of the axis."""
        if self.choice is not None:
            return self.choice[int(share * len(self.choice))]
        low, high = self.bounds
        if self.integers is not None:
            return int(low) + int(share * (int(high) - int(low) + 1))
        if self.loguniform is not None:
            # Rounding must not lead out of the bounds.
            return min(max(math.exp(math.log(low) + share * (math.log(high) - math.log(low))), low), high)
        return low + share * (high - low)


Space = Annotated[dict[str, Axis], Field(min_length=1)]
"""Axes by dotted key of the run."""


def grid(space: Mapping[str, Axis]) -> Iterator[dict[str, Scalar]]:
    """All combinations of axes of choices, the last key's values next to each other."""
    for values in itertools.product(*(axis.choice for axis in space.values())):
        yield dict(zip(space, values, strict=True))


def drawn(space: Mapping[str, Axis], generator: np.random.Generator) -> dict[str, Any]:
    """One combination at random."""
    return {key: axis.at(generator.random()) for key, axis in space.items()}


class Spaced(Config):
    """Base of what holds a search space."""

    space: Space = Field(description="what may be tried, by dotted key of the run")

    @field_validator("space")
    @classmethod
    def _keys(cls, space: dict[str, Axis]) -> dict[str, Axis]:
        for key in space:
            inside = [other for other in space if other.startswith(f"{key}.")]
            if inside:
                raise ValueError(f"found {key} and {inside[0]} within it; wanted one of them")
        return space
