"""Sampling for metric learning: which photographs stand together in a global batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from hallmark.config import Config
from hallmark.errors import ConfigError, DataError
from hallmark.types import NEGATIVE_ONLY, Authenticity


class SamplingConfig(Config):
    """P×K batches: products × (genuine + counterfeit photographs), and some unrelated ones."""

    products: int = Field(8, ge=1, description="products in a global batch; all of them where there are fewer")
    genuine: int = Field(4, ge=2, description="genuine photographs of each product, from different items if possible")
    counterfeit: int = Field(4, ge=0, description="counterfeit photographs of each product")
    unrelated: int = Field(0, ge=0, description="unrelated photographs in a global batch, where there are any")
    identity: Literal["source", "class", "negatives_only"] = Field(
        "source",
        description="positives among counterfeits: those of one source (source unknown: none), all of a product, none",
    )
    steps_per_epoch: int | None = Field(None, ge=1, description="null: every photograph once on average")


class ShuffleConfig(Config):
    """Shuffled batches: every photograph as often as every other, for methods that classify."""

    identity: ClassVar[Literal["class"]] = "class"

    batch_size: int = Field(24, ge=1, description="photographs in a global batch; all showings where there are fewer")
    showings: int = Field(
        2, ge=1, description="how often an epoch shows each photograph; 2 = once undisturbed and once not, on average"
    )
    pairs: bool = Field(
        False,
        description="two showings of a photograph always stand side by side in a batch; batch_size and showings are "
        "even then",
    )

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.pairs and (self.batch_size % 2 or self.showings % 2):
            raise ValueError(
                f"found batch_size {self.batch_size} and showings {self.showings} with pairs: true; wanted both even"
            )
        return self


@dataclass(frozen=True)
class Labels:
    """Training labels of a manifest's rows, each (N,)."""

    product: np.ndarray
    """int64, index into the sorted products; -1 for unrelated."""
    genuine: np.ndarray
    """bool."""
    class_index: np.ndarray
    """int64, 2·product + genuine; -1 for unrelated."""
    identity: np.ndarray
    """int64, equal = positive pair; -1 = nobody's positive."""


def label(table: pa.Table, products: list[str], policy: Literal["source", "class", "negatives_only"]) -> Labels:
    """Labels of the rows of a manifest.

    Args:
        table: manifest rows.
        products: the sorted products; their order is the class index.
        policy: see SamplingConfig.identity.
    """
    index = {product: position for position, product in enumerate(products)}
    columns = table.select(["product", "authenticity", "source_id"]).to_pylist()
    product = np.array([index.get(row["product"], -1) for row in columns], dtype=np.int64)
    genuine = np.array([row["authenticity"] == Authenticity.GENUINE for row in columns], dtype=bool)
    known = [_identity(row, policy) for row in columns]
    numbers = {name: number for number, name in enumerate(sorted({name for name in known if name is not None}))}
    identity = np.array([NEGATIVE_ONLY if name is None else numbers[name] for name in known], dtype=np.int64)
    class_index = np.where(product < 0, -1, 2 * product + genuine)
    return Labels(product, genuine, class_index, identity)


def _identity(row: dict[str, str | None], policy: str) -> tuple[str, str] | None:
    if row["authenticity"] == Authenticity.GENUINE:
        return (row["product"], "")
    if row["authenticity"] != Authenticity.COUNTERFEIT or policy == "negatives_only":
        return None
    if policy == "class":
        return (row["product"], "counterfeit")
    return (row["product"], f"source {row['source_id']}") if row["source_id"] is not None else None


class Sampler(Protocol):
    """Lays out the global batches of any epoch, the same on every worker."""

    batch_size: int
    steps_per_epoch: int

    def epoch(self, epoch: int) -> np.ndarray:
        """Row numbers of an epoch's global batches: (steps, batch_size) int64."""


class ShuffleSampler:
    """Draws every epoch's order from (seed, epoch) alone; what does not fill a batch is left out of that epoch."""

    def __init__(self, labels: Labels, config: ShuffleConfig, seed: int):
        """
        Args:
            labels: of the rows to train on; those without a class are never drawn.
            config: size and showings.
            seed: of the whole run.

        Raises:
            DataError: an authenticity is missing.
        """
        self._rows = np.flatnonzero(labels.class_index >= 0)
        num_genuine = int(labels.genuine[self._rows].sum())
        if num_genuine in (0, len(self._rows)):
            raise DataError(
                f"training set: found {num_genuine} genuine and {len(self._rows) - num_genuine} counterfeit "
                "photographs; wanted some of each for a method that classifies (FoD with `calibration.mode: one_class` "
                "needs no counterfeit)"
            )
        self._showings, self._seed = config.showings, seed
        self._side_by_side = 2 if config.pairs else 1
        shown = config.showings * len(self._rows)
        self.batch_size = min(config.batch_size, shown)
        self.steps_per_epoch = shown // self.batch_size

    def epoch(self, epoch: int) -> np.ndarray:
        """Row numbers of an epoch's global batches: (steps, batch_size) int64."""
        drawn = np.repeat(self._rows, self._showings // self._side_by_side)
        order = np.repeat(np.random.default_rng([self._seed, epoch]).permutation(drawn), self._side_by_side)
        return order[: self.steps_per_epoch * self.batch_size].reshape(-1, self.batch_size)


class BatchSampler:
    """Draws the global batches of any epoch from (seed, epoch) alone.

    A stream of rows split over workers cannot hold P×K batches together; a plan that every worker computes alike, and
    of which it takes its own slice, can. It does not depend on the number of workers.
    """

    def __init__(self, table: pa.Table, labels: Labels, config: SamplingConfig, seed: int):
        """
        Args:
            table: manifest rows to train on; those of unknown authenticity are never drawn.
            labels: their labels.
            seed: of the whole run.

        Raises:
            DataError: no product has two genuine photographs.
        """
        self._items = np.array(table.column("item_id").to_pylist(), dtype=object)
        # What nobody knows the authenticity of teaches nothing, least of all as a counterfeit.
        self._known = np.array(table.column("authenticity").to_pylist(), dtype=object) != Authenticity.UNKNOWN
        self._config, self._seed, self._labels = config, seed, labels
        self._genuine = self._rows_by_product(labels.genuine)
        self._counterfeit = self._rows_by_product(~labels.genuine)
        self._unrelated = np.flatnonzero(self._known & (labels.product < 0))
        self._products = sorted(product for product, rows in self._genuine.items() if len(rows) >= 2)
        if not self._products:
            raise DataError("training set: no product has 2 genuine photographs; wanted at least one that does")
        self.batch_size = min(config.products, len(self._products)) * (config.genuine + config.counterfeit) + (
            config.unrelated if len(self._unrelated) else 0
        )
        num_rows = sum(len(rows) for kind in (self._genuine, self._counterfeit) for rows in kind.values())
        self.steps_per_epoch = config.steps_per_epoch or max(1, round(num_rows / self.batch_size))

    def _rows_by_product(self, chosen: np.ndarray) -> dict[int, np.ndarray]:
        products = np.unique(self._labels.product[self._labels.product >= 0])
        return {int(p): np.flatnonzero(chosen & self._known & (self._labels.product == p)) for p in products}

    def epoch(self, epoch: int) -> np.ndarray:
        """Row numbers of an epoch's global batches: (steps, batch_size) int64."""
        rng = np.random.default_rng([self._seed, epoch])
        order: list[int] = []
        batches = []
        for _ in range(self.steps_per_epoch):
            wanted = min(self._config.products, len(self._products))
            while len(order) < wanted:
                # A whole shuffle joins the remainder of the last, so that every product comes equally often; those of
                # the remainder stand last in it, so that none comes twice in a batch.
                order += sorted(rng.permutation(self._products).tolist(), key=set(order).__contains__)
            chosen, order = order[:wanted], order[wanted:]
            rows = [self._draw_product(product, rng) for product in chosen]
            if len(self._unrelated) and self._config.unrelated:
                rows.append(_draw(self._unrelated, self._config.unrelated, rng))
            batches.append(np.concatenate(rows))
        return np.stack(batches)

    def _draw_product(self, product: int, rng: np.random.Generator) -> np.ndarray:
        num_genuine, num_counterfeit = self._config.genuine, self._config.counterfeit
        if not len(self._counterfeit[product]):
            num_genuine, num_counterfeit = num_genuine + num_counterfeit, 0
        genuine = self._draw_items(self._genuine[product], num_genuine, rng)
        return np.concatenate([genuine, self._draw_counterfeits(self._counterfeit[product], num_counterfeit, rng)])

    def _draw_counterfeits(self, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Pairs of one identity where that can be had, so that counterfeits too have positives in the batch."""
        if not count:
            return np.empty(0, dtype=np.int64)
        identities = self._labels.identity[rows]
        names = rng.permutation(np.unique(identities))
        share = max(2, -(-count // len(names)))
        drawn: list[np.ndarray] = []
        for name in names[: -(-count // share)]:
            left = count - sum(len(part) for part in drawn)
            drawn.append(self._draw_items(rows[identities == name], min(share, left), rng))
        return np.concatenate(drawn)

    def _draw_items(self, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` rows, as many different items as there are: shots of one item teach that item alone."""
        shuffled = rng.permutation(rows)
        _, first = np.unique(self._items[shuffled].astype(str), return_index=True)
        one_each = shuffled[np.sort(first)]
        rest = shuffled[np.setdiff1d(np.arange(len(shuffled)), first)]
        return _draw(np.concatenate([one_each, rest]), count, rng, shuffle=False)


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator, shuffle: bool = True) -> np.ndarray:
    ordered = rng.permutation(rows) if shuffle else rows
    return np.resize(ordered, count)  # repeats from the start where there are too few


def worker_slice(batches: np.ndarray, rank: int, num_workers: int) -> np.ndarray:
    """One worker's contiguous part of each global batch: (steps, B) -> (steps, B / num_workers).

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """
    batch_size = batches.shape[1]
    if batch_size % num_workers:
        raise ConfigError(
            f"sampling: a global batch of {batch_size} photographs cannot be shared by {num_workers} workers; wanted "
            f"products · (genuine + counterfeit) + unrelated to be a multiple of {num_workers}"
        )
    share = batch_size // num_workers
    return batches[:, rank * share : (rank + 1) * share]
