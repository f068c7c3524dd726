"""What one training worker is given: its place among the workers, and photographs in the order it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from hallmark.data.batches import Columns
from hallmark.data.transforms import Transforms
from hallmark.methods.base import Gather, alone
from hallmark.training.loop import gather_rows


class Stream(Protocol):
    """Loaded photographs in the order given: `photograph_stream` on the cluster, a thread in the plain trainer."""

    def __call__(
        self, columns: Columns, batch_size: int, transforms: Transforms, collate: Callable[[Columns], Any], /
    ) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Worker:
    """One process of a training run."""

    rank: int
    """0 to num_workers - 1; the first one logs."""
    num_workers: int
    device: torch.device

    @property
    def gather(self) -> Gather:
        """Joins rows over all workers."""
        return gather_rows if self.num_workers > 1 else alone
