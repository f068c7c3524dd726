"""What an epoch is judged by: how well the global descriptor separates on the validation photographs."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score


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
