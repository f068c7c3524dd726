"""FoD under the fixed protocol: retrieval alone, and verification calibrated on genuine references alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hallmark.evaluation.ranking import rerank
from hallmark.gallery.describe import Describer
from hallmark.training.bundle import open_bundle
from hallmark.types import Authenticity, Candidate, Described, Details, Member, Retrieved
from hallmark.verdict import template as templates
from hallmark.verdict.conformal import GenuinePhotographs, fit_one_class, usualness
from hallmark.verdict.evidence import weigh
from hallmark.verdict.folds import item_folds
from hallmark.verdict.template import Template, VerificationConfig, View, register
from systems.base import System

_CANDIDATES = 10
"""References that a query is compared with, hallmark's default."""

_SHORTLIST = 400
"""References that a query is re-ranked with in task D: all of its 310 photographs."""

_TIE = 1e-4
"""Global similarity decides between equal ratios alone: descriptors trained on drawn products know little of others."""

_EPS = 0.05
_NO_ANSWER = -10.0
"""Of a query whose product has no reference: less genuine than anything compared."""


class FoD(System):
    """What both systems share: a bundle trained on drawn products only, and photographs described once."""

    def __init__(self, bundle: Path) -> None:
        super().__init__()
        self._describer = Describer(open_bundle(bundle))

    def describe(self, path: Path) -> Described:
        if path not in self._described:
            photograph = self._describer.read(path.read_bytes(), thumbnail=False)
            self._described[path] = self._describer.describe([photograph])[0]
        return self._described[path]

    def _describe(self, image: np.ndarray) -> Described:
        raise TypeError("FoD describes encoded photographs, whose bytes it names them by")

    def descriptors(self, paths: Sequence[Path]) -> np.ndarray:
        return np.stack([self.describe(path).descriptor for path in paths])


class FoDGlobal(FoD):
    """Stage 1: cosine with the nearest genuine reference."""

    def authenticity_scores(self, references: Sequence[Path], queries: Sequence[Path]) -> list[float]:
        if not references:
            return [0.0] * len(queries)
        return (self.descriptors(queries) @ self.descriptors(references).T).max(axis=1).tolist()

    def gallery_score(self, query: Path, references: Mapping[str, Sequence[Path]]) -> float:
        everything = [path for paths in references.values() for path in paths]
        return float((self.descriptors(everything) @ self.describe(query).descriptor).max())

    def similarity_matrix(self, paths: Sequence[Path]) -> np.ndarray:
        descriptors = self.descriptors(paths)
        return descriptors @ descriptors.T


class FoDVerification(FoDGlobal):
    """Both stages. What is usual among genuine photographs is learned from the references, each held out in turn."""

    def __init__(self, bundle: Path, config: VerificationConfig | None = None) -> None:
        super().__init__(bundle)
        self._config = config or VerificationConfig()
        self._views: dict[str, View] = {}
        self._templates: dict[tuple[Path, ...], Template] = {}
        self._held_out: dict[tuple[Path, ...], list[Mapping[str, float | None]]] = {}
        self._ratios: dict[tuple[Path, Path], float] = {}
        # A photograph is a reference in many folds; what is costly in opening it is done once.
        templates.View = self._view

    def _view(self, details: Details, config: VerificationConfig) -> View:
        if details.image_id not in self._views:
            self._views[details.image_id] = View(details, config)
        return self._views[details.image_id]

    def evidence(self, query: Path, references: Sequence[Path]) -> Mapping[str, float | None]:
        """Of a query against genuine references of one product."""
        described = self.describe(query)
        similarity = self.descriptors(references) @ described.descriptor
        order = np.argsort(-similarity, kind="stable")[:_CANDIDATES]
        candidates = [
            Candidate(int(row), str(references[row]), str(references[row]), "", "", Authenticity.GENUINE, float(value))
            for row, value in zip(order, similarity[order], strict=True)
        ]
        retrieved = Retrieved("", "", float(similarity.max()), tuple(candidates), 0)
        details = [self.describe(references[row]).details for row in order]
        template = self._template(tuple(references[: self._config.num_members]))
        return weigh(described, retrieved, details, template, 0.0, self._config).features()

    def _template(self, references: tuple[Path, ...]) -> Template:
        if references not in self._templates:
            members = [Member(str(path), str(path), self.describe(path).details) for path in references]
            self._templates[references] = Template(members, [], self._config.default_geometry, self._config)
        return self._templates[references]

    def held_out(self, references: Sequence[Path]) -> list[Mapping[str, float | None]]:
        """Evidence of each reference against the others of its product."""
        key = tuple(references)
        if key not in self._held_out:
            self._held_out[key] = [
                self.evidence(path, [one for one in references if one != path])
                for path in (references if len(references) > 1 else [])
            ]
        return self._held_out[key]

    def fold_scores(
        self, references: Mapping[str, Sequence[Path]], queries: Mapping[str, Sequence[Path]]
    ) -> dict[Path, float]:
        """Task A: how usual each query is among genuine photographs, by the references of all products."""
        told = [
            (features, product, f"{product}/{place}")
            for product, paths in references.items()
            for place, features in enumerate(self.held_out(paths))
        ]
        features, products, items = (tuple(column) for column in zip(*told, strict=True))
        folds = item_folds(items, np.ones(len(told), dtype=bool), products)
        model = fit_one_class(GenuinePhotographs(features, products, items), folds, _EPS).model
        scores = {}
        for product, paths in queries.items():
            for path in paths:
                evidence = self.evidence(path, references[product]) if references[product] else {}
                usual = usualness(model.spreads_of(product), evidence)
                scores[path] = _NO_ANSWER if usual is None else usual
        return scores

    def _ratio(self, query: Path, reference: Path) -> float:
        """Share of the query's keypoints and cues that one geometry carries onto the reference."""
        pair = min(query, reference), max(query, reference)
        if pair not in self._ratios:
            ours, theirs = (self._view(self.describe(path).details, self._config) for path in pair)
            found = register(ours, theirs, self._config.default_geometry, self._config)
            total = len(ours.surface.keypoints.points) + len(theirs.surface.keypoints.points)
            self._ratios[pair] = 2.0 * found.inliers / max(1, total) if found else 0.0
        return self._ratios[pair]

    def _ratios_of(
        self, query: Path, references: Sequence[Path], count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(R,) global similarity; (min(count, R),) int rows of the nearest; (min(count, R),) their ratios."""
        similarity = self.descriptors(references) @ self.describe(query).descriptor
        nearest = np.argsort(-similarity, kind="stable")[:count]
        return similarity, nearest, np.array([self._ratio(query, references[row]) for row in nearest])

    def gallery_score(self, query: Path, references: Mapping[str, Sequence[Path]]) -> float:
        everything = [path for paths in references.values() for path in paths]
        similarity, nearest, ratios = self._ratios_of(query, everything, _CANDIDATES)
        return float((ratios + _TIE * similarity[nearest]).max())

    def similarity_matrix(self, paths: Sequence[Path]) -> np.ndarray:
        return np.stack([rerank(*self._ratios_of(path, paths, _SHORTLIST)) for path in paths])
