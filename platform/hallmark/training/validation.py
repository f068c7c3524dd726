"""What an epoch is judged by: how well the global descriptor separates on the validation photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.distributed
from sklearn.metrics import roc_auc_score
from torch import Tensor

from hallmark.data.batches import num_judged_at_once, source_columns, to_images
from hallmark.data.manifest import products, rows_with
from hallmark.data.sampling import label
from hallmark.data.transforms import Transforms, photograph_seed
from hallmark.methods.base import Classifier, Method
from hallmark.training.run import RunConfig
from hallmark.training.worker import Stream, Worker
from hallmark.types import Authenticity, Role


def global_margin(
    queries: np.ndarray,
    query_products: np.ndarray,
    references: np.ndarray,
    reference_products: np.ndarray,
    reference_genuine: np.ndarray,
) -> np.ndarray:
    """Highest cosine to a genuine reference of the query's product, less that to a counterfeit one.

    Args:
        queries: (Q, D) unit descriptors.
        query_products: (Q,) int.
        references: (R, D) unit descriptors.
        reference_products: (R,) int.
        reference_genuine: (R,) bool.

    Returns:
        (Q,) float; a missing side counts as zero, a product without references gives zero.
    """
    similarity = queries @ references.T
    same = query_products[:, None] == reference_products[None, :]
    genuine = _highest(similarity, same & reference_genuine[None, :])
    return genuine - _highest(similarity, same & ~reference_genuine[None, :])


def _highest(similarity: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    highest = np.where(allowed, similarity, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(highest), highest, 0.0)


def separation(margin: np.ndarray, genuine: np.ndarray) -> float:
    """Area under the ROC curve of the margin, genuine above counterfeit; 0.5 where one of the two is missing."""
    if genuine.all() or not genuine.any():
        return 0.5
    return float(roc_auc_score(genuine, margin))


@dataclass(frozen=True)
class Judged:
    """What a method says of N photographs, and what is true."""

    image_ids: list[str]
    items: np.ndarray
    """(N,) str."""
    class_index: np.ndarray
    """(N,) int64, 2·product + genuine."""
    score: np.ndarray
    """(N,) float64, higher = more genuine: log odds of genuine, or the margin of the global descriptor."""
    told: np.ndarray | None
    """(N,) int64, the likeliest class; None of a method that does not classify."""

    @property
    def genuine(self) -> np.ndarray:
        """(N,) bool."""
        return self.class_index % 2 == 1

    @property
    def figures(self) -> dict[str, float]:
        """`separation` of genuine from counterfeit; before it `accuracy` where the method classifies.

        The accuracy is that of the likeliest class, product and authenticity both right, and counts every class alike.
        """
        found = {"separation": separation(self.score, self.genuine)}
        if self.told is None:
            return found
        right, truth = self.told == self.class_index, self.class_index
        shares = [right[truth == one].mean() for one in np.unique(truth)]
        return {"accuracy": float(np.mean(shares)) if shares else 0.0, **found}


class Validation:
    """Judges a method by the validation photographs: each worker embeds its part, and the descriptors are joined.

    A method that classifies is judged by its classes, any other against the training photographs as references.
    """

    def __init__(self, table: pa.Table, run: RunConfig, worker: Worker, stream: Stream, role: Role = Role.VAL):
        """
        Args:
            table: the whole manifest.
            run: the run.
            worker: this one.
            stream: loads photographs; called once for every validation.
            role: of the photographs that are judged by; never of those that are trained on.
        """
        roles = (role,) if run.classifies else (Role.TRAIN, role)
        judged = rows_with(table, roles, (Authenticity.GENUINE, Authenticity.COUNTERFEIT))
        rank, num_workers = worker.rank, worker.num_workers
        self._run, self._worker, self._stream = run, worker, stream
        self._labels = label(judged, products(table), run.sampling.identity)
        self._is_query = np.array(judged.column("role").to_pylist()) == role
        self._image_ids, self._items = judged["image_id"].to_pylist(), np.array(judged["item_id"].to_pylist())
        self._order = np.concatenate([np.arange(judged.num_rows)[r::num_workers] for r in range(num_workers)])
        own = np.arange(judged.num_rows)[rank::num_workers]
        ids = np.array(judged.column("image_id").to_pylist())[own]
        seeds = np.array([photograph_seed(run.seed, 0, image_id) for image_id in ids], dtype=np.int64)
        self._columns = source_columns(judged, own) | {"seed": seeds}

    def _images(self) -> Iterator[Tensor]:
        transforms = Transforms(self._run.limits, self._run.preprocessing)
        collate = partial(to_images, preprocessing=self._run.preprocessing, device=self._worker.device)
        return self._stream(self._columns, num_judged_at_once(self._run.preprocessing.side_px), transforms, collate)

    def judge(self, method: Method) -> Judged:
        """What the method says of the photographs; the same on every worker."""
        method.eval()
        with torch.inference_mode():
            if isinstance(method, Classifier):
                joined = self._joined([method.classify(images).logits for images in self._images()])
                return self._of_classes(joined)
            return self._of_margin(self._joined([method.embed(images).descriptor for images in self._images()]))

    def _of_classes(self, logits: np.ndarray) -> Judged:
        logits = logits.reshape(len(self._image_ids), -1)
        odds = np.logaddexp.reduce(logits[:, 1::2], axis=1) - np.logaddexp.reduce(logits[:, ::2], axis=1)
        told = logits.argmax(axis=1) if len(logits) else np.empty(0, np.int64)
        return Judged(self._image_ids, self._items, self._labels.class_index, odds.astype(np.float64), told)

    def _of_margin(self, descriptors: np.ndarray) -> Judged:
        query, labels = self._is_query, self._labels
        margin = global_margin(
            descriptors[query],
            labels.product[query],
            descriptors[~query],
            labels.product[~query],
            labels.genuine[~query],
        )
        image_ids = [image_id for image_id, asked in zip(self._image_ids, query, strict=True) if asked]
        return Judged(image_ids, self._items[query], labels.class_index[query], margin.astype(np.float64), None)

    def _joined(self, own: list[Tensor]) -> np.ndarray:
        """Rows of all workers, in the order of the labels."""
        rows = torch.cat(own) if own else torch.empty(0)
        joined = _join(rows, self._worker.num_workers)
        ordered = np.empty_like(joined)
        ordered[self._order] = joined
        return ordered


def _join(rows: Tensor, num_workers: int) -> np.ndarray:
    own = rows.float().cpu().numpy()
    if num_workers == 1:
        return own
    parts: list[Any] = [None] * num_workers
    torch.distributed.all_gather_object(parts, own)
    return np.concatenate([part for part in parts if len(part)] or parts)
