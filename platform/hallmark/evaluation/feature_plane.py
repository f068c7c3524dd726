"""Where a classifier's features put the test photographs: a plane to look at, and the numbers that count."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from hallmark.evaluation.canvas import COLOURS, INK, canvas, styled
from hallmark.evaluation.measures import Figures, Proportion
from hallmark.evaluation.rows import number, percent

_COMPONENTS, _PERPLEXITY, _NEIGHBOURS = 50, 30, 5
_MARKERS = "osD^vP*X<>ph"


class Neighbourhood(Figures):
    """How far the classes keep apart in the features, not in their plane."""

    silhouette: float | None
    """Mean over the test photographs, -1 to 1, by class; None where there are fewer than two classes."""
    knn_accuracy: Proportion
    """Test photographs given their class by the 5 nearest training photographs."""
    components: int
    perplexity: float | None
    """Of the plane; None where none can be drawn: too few photographs, or all alike."""


@dataclass(frozen=True)
class FeaturePlane:
    """The test photographs of one bundle."""

    name: str
    points: np.ndarray
    """(N, 2) float64, by t-SNE: near means alike, but distances and empty space mean nothing."""
    classes: np.ndarray
    """(N,) int64 class_index."""
    neighbourhood: Neighbourhood


def feature_plane(
    name: str,
    training: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> FeaturePlane:
    """Principal components fitted on the training photographs, then t-SNE of the test photographs.

    50 components and perplexity 30, or what the number of photographs allows.

    Args:
        name: of the bundle, as its panel is called.
        training: (M, F) features and (M,) class_index.
        test: (N, F) features and (N,) class_index.
        seed: of PCA and t-SNE.
    """
    (references, enrolled), (queries, truth) = training, test
    pca = PCA(min(_COMPONENTS, *references.shape), random_state=seed).fit(references)
    references, queries = pca.transform(references), pca.transform(queries)
    knn = KNeighborsClassifier(min(_NEIGHBOURS, len(references))).fit(references, enrolled)
    right = Proportion.count(knn.predict(queries) == truth)
    num_classes = len(np.unique(truth))
    silhouette = float(silhouette_score(queries, truth)) if 2 <= num_classes < len(truth) else None
    # t-SNE starts from two components divided by their spread, and does not survive one of 0.
    can_spread = len(queries) > 3 and queries.shape[1] > 1 and np.ptp(queries, axis=0).max() > 0
    perplexity = min(float(_PERPLEXITY), (len(queries) - 1) / 3) if can_spread else None
    points = np.zeros((len(queries), 2))
    if perplexity is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(queries).astype(float)
    told = Neighbourhood(
        silhouette=silhouette, knn_accuracy=right, components=int(pca.n_components_), perplexity=perplexity
    )
    return FeaturePlane(name, points, truth, told)


@styled
def draw_planes(planes: Sequence[FeaturePlane], products: Sequence[str]) -> Figure:
    """A panel a bundle: colour tells the authenticity, shape the product.

    Args:
        planes: of the same photographs.
        products: sorted; class_index // 2 counts them.
    """
    width = max(6.4, 4.2 * len(planes))
    columns = max(2, int(width / 2.2))
    figure = canvas(width, 4.7 + 0.22 * ((len(products) + 2) // columns))
    for axes, plane in zip(figure.subplots(1, len(planes), squeeze=False)[0], planes, strict=True):
        for place in range(len(products)):
            for genuine, colour in ((0, COLOURS["counterfeit"]), (1, COLOURS["genuine"])):
                own = plane.points[plane.classes == 2 * place + genuine]
                style = {"facecolor": colour if genuine else "none", "edgecolor": colour, "linewidth": 1.1}
                axes.scatter(*own.T, s=26, marker=_MARKERS[place % len(_MARKERS)], **style)
        told = plane.neighbourhood
        share = told.knn_accuracy
        axes.set_title(
            f"{plane.name}\nsilhouette {number(told.silhouette)} · 5 neighbours {percent(share.value)} "
            f"({share.k}/{share.n})",
            fontsize=9.5,
        )
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
        axes.set_aspect("equal", adjustable="datalim")
    marks = [
        Line2D([], [], linestyle="", marker=_MARKERS[place % len(_MARKERS)], color=INK, markersize=5.5, label=name)
        for place, name in enumerate(products)
    ]
    for name, filled in (("counterfeit", "none"), ("genuine", COLOURS["genuine"])):
        style = {"markeredgecolor": COLOURS[name], "markerfacecolor": filled, "markersize": 6}
        marks.append(Line2D([], [], linestyle="", marker="o", label=name, **style))
    figure.legend(handles=marks, loc="outside lower center", ncols=columns, fontsize=9)
    return figure
