"""What an epoch is judged by: how well the global descriptor separates on the validation photographs."""

from __future__ import annotations

from collections.abc import Iterator
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


class Validation:
    """Judges a method by the validation photographs: each worker embeds its part, and the descriptors are joined.

    A method that classifies is judged by its classes, any other against the training photographs as references.
    """

    def __init__(self, table: pa.Table, run: RunConfig, worker: Worker, stream: Stream):
        roles = (Role.VAL,) if run.classifies else (Role.TRAIN, Role.VAL)
        judged = rows_with(table, roles, (Authenticity.GENUINE, Authenticity.COUNTERFEIT))
        rank, num_workers = worker.rank, worker.num_workers
        self._run, self._worker, self._stream = run, worker, stream
        self._labels = label(judged, products(table), run.sampling.identity)
        self._is_query = np.array(judged.column("role").to_pylist()) == Role.VAL
        self._order = np.concatenate([np.arange(judged.num_rows)[r::num_workers] for r in range(num_workers)])
        own = np.arange(judged.num_rows)[rank::num_workers]
        ids = np.array(judged.column("image_id").to_pylist())[own]
        seeds = np.array([photograph_seed(run.seed, 0, image_id) for image_id in ids], dtype=np.int64)
        self._columns = source_columns(judged, own) | {"seed": seeds}

    def _images(self) -> Iterator[Tensor]:
        transforms = Transforms(self._run.limits, self._run.preprocessing)
        collate = partial(to_images, preprocessing=self._run.preprocessing, device=self._worker.device)
        return self._stream(self._columns, num_judged_at_once(self._run.preprocessing.side_px), transforms, collate)

    def judge(self, method: Method) -> dict[str, float]:
        """`separation` of genuine from counterfeit; before it `accuracy` where the method classifies.

        The accuracy is that of the likeliest class, product and authenticity both right, and counts every class alike.
        Same values on every worker.
        """
        method.eval()
        with torch.inference_mode():
            if isinstance(method, Classifier):
                return self._classes([method.classify(images).logits for images in self._images()])
            return self._margin([method.embed(images).descriptor for images in self._images()])

    def _classes(self, logits: list[Tensor]) -> dict[str, float]:
        joined, truth = self._joined(logits), self._labels.class_index
        if not len(truth):
            return {"accuracy": 0.0, "separation": 0.5}
        right = joined.argmax(axis=1) == truth
        accuracy = float(np.mean([right[truth == one].mean() for one in np.unique(truth)]))
        log_odds = np.logaddexp.reduce(joined[:, 1::2], axis=1) - np.logaddexp.reduce(joined[:, ::2], axis=1)
        return {"accuracy": accuracy, "separation": separation(log_odds, self._labels.genuine)}

    def _margin(self, descriptors: list[Tensor]) -> dict[str, float]:
        joined, query, labels = self._joined(descriptors), self._is_query, self._labels
        margin = global_margin(
            joined[query], labels.product[query], joined[~query], labels.product[~query], labels.genuine[~query]
        )
        return {"separation": separation(margin, labels.genuine[query])}

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
