"""Evidence: what retrieval, matching, geometry and residuals say for and against a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hallmark.data.preprocess import to_photograph
from hallmark.types import Authenticity, CuePair, Described, Details, ResidualMap, Retrieved
from hallmark.verdict.geometry import project
from hallmark.verdict.matching import Matches, match
from hallmark.verdict.residual import top_mean
from hallmark.verdict.template import Registration, Template, VerificationConfig, View

EVIDENCE_FEATURES = (
    "global_genuine",
    "global_margin",
    "match_genuine",
    "match_margin",
    "inlier_ratio",
    "cue_agreement",
    "cue_agreement_z",
    "cue_margin",
    "surface_agreement",
    "surface_agreement_z",
    "surface_margin",
    "classifier_logit",
)
"""What a decision can rest on; of each, higher = more genuine."""

_IN_DEVIATIONS = ("cue_agreement_z", "surface_agreement_z")
_MAX_CUE_PAIRS = 16
_MAP_SIDE = 32


@dataclass(frozen=True)
class Evidence:
    """Scores of a query against its references; None: no such evidence. Higher = more genuine."""

    global_genuine: float | None
    """g+."""
    global_counterfeit: float | None
    """g-."""
    match_genuine: float | None
    """v+."""
    match_counterfeit: float | None
    """v-."""
    inlier_ratio: float | None
    """inl+: share of the query's keypoints and cues that lie on a genuine reference's under one transformation."""
    cue_agreement: float | None
    """1 - a+, a+ being the mean residual of the worst cues against the genuine references."""
    cue_agreement_z: float | None
    """-a_z."""
    cue_agreement_counterfeit: float | None
    """1 - a-."""
    surface_agreement: float | None
    """1 - mean residual of the surface's cells."""
    surface_agreement_z: float | None
    """Less the mean of the worst cells' residuals in standard deviations of genuine items at each cell."""
    surface_margin: float | None
    """How much nearer the genuine references are than an enrolled counterfeit, where that one gives itself away."""
    classifier_logit: float | None
    """A classifier's log odds of genuine."""
    matches: Matches
    """In the order of the candidates."""
    cue_pairs: list[CuePair]
    residual_map: ResidualMap | None

    def features(self) -> dict[str, float | None]:
        """The values by the names of EVIDENCE_FEATURES; a margin is None where either side is missing.

        Scores in standard deviations enter by their inverse hyperbolic sine, linear near 0 and logarithmic beyond: a
        glaring fake lies a hundred of them off, and must not set the scale on which a good one is told.
        """
        margins = {
            "global_margin": _less(self.global_genuine, self.global_counterfeit),
            "match_margin": _less(self.match_genuine, self.match_counterfeit),
            "cue_margin": _less(self.cue_agreement, self.cue_agreement_counterfeit),
        }
        told = {name: margins[name] if name in margins else getattr(self, name) for name in EVIDENCE_FEATURES}
        return told | {name: float(np.arcsinh(told[name])) for name in _IN_DEVIATIONS if told[name] is not None}


def weigh(
    query: Described,
    retrieved: Retrieved,
    candidates: Sequence[Details],
    template: Template | None,
    threshold_match: float,
    config: VerificationConfig,
) -> Evidence:
    """Evidence for a query.

    Args:
        query: the photograph.
        retrieved: its product and candidates.
        candidates: what verification compares of each candidate, in order; none of them = no matching.
        template: of the product and part; None = matching alone.
        threshold_match: least cosine of a match.
        config: how references are compared.
    """
    view = View(query.details, config)
    nothing = (np.zeros((0, view.local.shape[1]), np.float32), np.zeros(0, np.float32))
    cues = [(one.local, one.weights) for one in candidates] or [nothing] * len(retrieved.candidates)
    matches = match(view.cues, cues, threshold_match)
    if not np.isfinite(view.local).all():
        # Nothing matches then, and 0 may lie on the genuine side of a threshold.
        matches = replace(matches, score=np.full(len(matches.score), np.nan))
    genuine = np.array([c.authenticity == Authenticity.GENUINE for c in retrieved.candidates], dtype=bool)
    similarity = np.array([c.global_similarity for c in retrieved.candidates])
    compared = _Compared.of(view, template, [one.image_id for one in candidates], threshold_match)
    return Evidence(
        global_genuine=_highest(similarity, genuine),
        global_counterfeit=_highest(similarity, ~genuine),
        match_genuine=_highest(matches.score, genuine) if candidates else None,
        match_counterfeit=_highest(matches.score, ~genuine) if candidates else None,
        classifier_logit=retrieved.classifier_logit,
        matches=matches,
        cue_pairs=_cue_pairs(query, candidates, matches),
        **vars(compared),
    )


@dataclass(frozen=True)
class _Compared:
    """What comes of comparing a query with a template."""

    inlier_ratio: float | None = None
    cue_agreement: float | None = None
    cue_agreement_z: float | None = None
    cue_agreement_counterfeit: float | None = None
    surface_agreement: float | None = None
    surface_agreement_z: float | None = None
    surface_margin: float | None = None
    residual_map: ResidualMap | None = None

    @classmethod
    def of(cls, view: View, template: Template | None, order: Sequence[str], threshold_match: float) -> _Compared:
        if template is None or not template.genuine:
            return cls()
        found = template.locate(view, order)
        ratio = _inlier_ratio(view, template, found, threshold_match)
        matrix = None if found is None else found.matrix
        if not template.config.residuals:
            return cls(inlier_ratio=ratio)
        return cls(inlier_ratio=ratio, **_cues(view, template, matrix), **_surface(view, template, matrix))


def _cues(view: View, template: Template, matrix: np.ndarray | None) -> dict[str, float | None]:
    share = template.config.top_share
    residual = template.residual_of_cues(view, matrix, template.genuine)
    against = top_mean(template.residual_of_cues(view, matrix, template.counterfeit), share)
    worst = top_mean(residual, share)
    z = None
    if matrix is not None and template.cue_norm is not None:
        z = top_mean(template.cue_norm.z(template.on_grid(view, matrix, residual)), share)
    return {
        "cue_agreement": None if worst is None else 1.0 - worst,
        "cue_agreement_z": None if z is None else -z,
        "cue_agreement_counterfeit": None if against is None else 1.0 - against,
    }


def _surface(view: View, template: Template, matrix: np.ndarray | None) -> dict[str, object]:
    if matrix is None:
        return {}
    cells = view.surface.cells(matrix)
    residual = template.residual_of_cells(cells)
    known = np.isfinite(residual)
    if not known.any():
        return {}
    z = None if template.cell_norm is None else template.cell_norm.z(residual)
    worst = None if z is None else top_mean(z, template.config.top_share)
    return {
        "surface_agreement": 1.0 - float(residual[known].mean()),
        "surface_agreement_z": None if worst is None else -worst,
        "surface_margin": _surface_margin(cells.directions, residual, template),
        "residual_map": _residual_map(residual if z is None else z, view, matrix, template.config.cell_px),
    }


def _surface_margin(directions: np.ndarray, residual: np.ndarray, template: Template) -> float | None:
    """The least over the enrolled counterfeits, in shares of their own distance from the genuine references.

    Sums over the telling cells, not a mean of quotients: cells that hardly tell would drown those that do.
    """
    flat, own = directions.reshape(residual.size, -1), residual.ravel()
    margins = []
    for telltale in template.telltales:
        known = np.isfinite(own[telltale.places])
        if known.sum() < 3:
            continue
        apart = ((flat[telltale.places] - telltale.directions) ** 2).sum(axis=1)
        lead, scale = apart - own[telltale.places], telltale.scale + _usual(residual)
        margins.append(float(lead[known].sum() / scale[known].sum()))
    return min(margins, default=None)


def _usual(residual: np.ndarray) -> float:
    """Keeps a quotient of residuals tame where both are small."""
    return max(float(np.nanmedian(residual)), 1e-6)


def _inlier_ratio(view: View, template: Template, found: Registration | None, threshold_match: float) -> float | None:
    """Share of the query's keypoints and cues that have a partner at the right place of the reference."""
    if template.kind == "none":
        return None
    total = len(view.surface.keypoints.points) + int(view.textured.sum())
    if found is None or not total:
        return 0.0
    reference = next(placed for placed in template.genuine if placed.member is found.by)
    partner = match(view.cues, [reference.view.cues], threshold_match).partner[0]
    matched = partner >= 0
    moved = project(view.details.positions[matched], np.linalg.inv(reference.matrix) @ found.matrix)
    apart = np.linalg.norm(moved - reference.view.details.positions[partner[matched]], axis=1)
    on_cues = int((apart <= template.config.window * view.details.stride).sum())
    return (found.keypoints + on_cues) / total


def _residual_map(field: np.ndarray, view: View, matrix: np.ndarray, cell_px: int) -> ResidualMap:
    """The frame's cells as the photograph sees them, on a grid over the whole photograph."""
    frame = view.details.frame
    centres = (np.arange(_MAP_SIDE) + 0.5) / _MAP_SIDE
    across, down = np.meshgrid(centres, centres)
    on_photograph = np.stack([across.ravel(), down.ravel()], axis=1)
    on_input = (on_photograph - frame[[1, 3]]) / frame[[0, 2]]
    places = np.floor(project(on_input, matrix) * (view.surface.pixels.shape[0] / cell_px))
    inside = ((places >= 0) & (places < field.shape[0])).all(axis=1)
    columns, rows = places[inside].astype(np.int64).T
    values = np.zeros(len(places))
    values[inside] = np.maximum(np.nan_to_num(field[rows, columns], nan=0.0), 0.0)
    return ResidualMap(rows=_MAP_SIDE, columns=_MAP_SIDE, values=np.round(values, 4).tolist())


def _cue_pairs(query: Described, candidates: Sequence[Details], matches: Matches) -> list[CuePair]:
    """The most similar matched cues with the first reference."""
    if not candidates:
        return []
    partner, similarity = matches.partner[0], matches.similarity[0]
    matched = np.flatnonzero(partner >= 0)
    strongest = matched[np.argsort(-similarity[matched], kind="stable")][:_MAX_CUE_PAIRS]
    ours = to_photograph(query.details.positions[strongest], query.details.frame)
    theirs = to_photograph(candidates[0].positions[partner[strongest]], candidates[0].frame)
    return [
        CuePair(query=tuple(map(float, here)), reference=tuple(map(float, there)), similarity=float(similarity[cue]))
        for cue, here, there in zip(strongest, ours, theirs, strict=True)
    ]


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _highest(values: np.ndarray, chosen: np.ndarray) -> float | None:
    return float(values[chosen].max()) if chosen.any() else None
