"""Templates: the references of a product and part, registered into one frame, with what genuine items vary by in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.types import Details, Member
from hallmark.verdict.geometry import GeometryKind, fit_alignment, project
from hallmark.verdict.matching import Cues
from hallmark.verdict.residual import Norm, cell_residual, cue_residual, fit_norm
from hallmark.verdict.surface import Cells, Surface


class VerificationConfig(Config):
    """How a query is compared with references; part of the calibration, since the thresholds hold for it alone."""

    geometry: dict[str, GeometryKind] = Field(
        {}, description="what may happen between two photographs of a part: homography (flat), affine, none (produce)"
    )
    default_geometry: GeometryKind = Field("homography", description="of a part that `geometry` does not name")
    num_geometry: int = Field(
        3, ge=0, description="references that a query is registered with at most; the best counts"
    )
    enough_inliers: int = Field(60, ge=1, description="keypoint inliers at which no further reference is tried")
    num_members: int = Field(12, ge=1, le=100, description="references of each authenticity that residuals use at most")
    least_items: int = Field(3, ge=2, description="genuine items below which residuals are not z-scored")
    tolerance: float = Field(
        0.015, gt=0, le=0.2, description="of an inlier keypoint, share of the network input's side"
    )
    window: float = Field(1.5, gt=0, description="how far a cue may have moved, in token strides")
    top_share: float = Field(0.02, gt=0, le=1, description="share of the worst places that count, at least three")
    residuals: bool = Field(True, description="false: matches and geometry alone, as the published scheme")
    stop_when_settled: bool = Field(
        True, description="spend no work on details where global similarity or quality settles the verdict"
    )
    cell_px: int = Field(8, ge=4, le=64, description="side of a cell of the surface, px of its own size")

    def kind(self, part: str | None) -> GeometryKind:
        """The geometry of a part."""
        return self.geometry.get(part or "", self.default_geometry)


class View:
    """A photograph's details, opened for comparison; what is costly is made when first asked for."""

    def __init__(self, details: Details, config: VerificationConfig):
        self.details, self._config = details, config
        self.local = details.local.astype(np.float32)

    @cached_property
    def surface(self) -> Surface:
        return Surface(self.details.surface, self._config.cell_px, self.details.keypoints)

    @cached_property
    def weights(self) -> np.ndarray:
        """(T,) float32."""
        return self.details.weights.astype(np.float32)

    @property
    def cues(self) -> Cues:
        """Descriptors and weights."""
        return self.local, self.weights

    @cached_property
    def textured(self) -> np.ndarray:
        """(T,) bool: cues that count."""
        return self.details.weights > 0

    @cached_property
    def textured_local(self) -> np.ndarray:
        """(t, l) float32: descriptors of the cues that count."""
        return self.local[self.textured]

    @cached_property
    def textured_positions(self) -> np.ndarray:
        """(t, 2) float32."""
        return self.details.positions[self.textured]


@dataclass(frozen=True)
class Registration:
    """How a photograph lies on a reference, or in a template's frame by way of one."""

    matrix: np.ndarray
    """(3, 3): from its network input's points."""
    inliers: int
    """Pairs that agree on it."""
    keypoints: int
    """Those of them that are keypoints; 0 where it rests on cues."""
    by: Member | None = None
    """The reference that led into the frame."""


def register(query: View, reference: View, kind: GeometryKind, config: VerificationConfig) -> Registration | None:
    """Align a query with a reference by the keypoints that are each other's nearest, or else by such cues.

    Cues lie on a coarse grid, so that some of them agree on a transformation by chance: half of them must.
    """
    if kind == "none":
        return None
    ours, theirs = query.surface, reference.surface
    source, target = _mutual(ours.keypoints.points, ours.roots, theirs.keypoints.points, theirs.roots)
    alignment = fit_alignment(kind, source, target, config.tolerance)
    if alignment is not None:
        count = int(alignment.inliers.sum())
        return Registration(alignment.matrix, count, count)
    source, target = _mutual(
        query.textured_positions, query.textured_local, reference.textured_positions, reference.textured_local
    )
    alignment = fit_alignment(kind, source, target, query.details.stride)
    if alignment is None or 2 * alignment.inliers.sum() < len(source):
        return None
    return Registration(alignment.matrix, int(alignment.inliers.sum()), 0)


def _mutual(
    points: np.ndarray, descriptors: np.ndarray, others: np.ndarray, other_descriptors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The points of both sides whose descriptors are each other's nearest."""
    if not len(points) or not len(others):
        return points[:0], others[:0]
    cosines = descriptors @ other_descriptors.T
    nearest = cosines.argmax(axis=1)
    mutual = np.flatnonzero(cosines.argmax(axis=0)[nearest] == np.arange(len(nearest)))
    return points[mutual], others[nearest[mutual]]


@dataclass(frozen=True)
class Placed:
    """A reference in the template's frame; `matrix` leads there, None where it could not be registered."""

    member: Member
    view: View
    matrix: np.ndarray | None
    cells: Cells | None

    @cached_property
    def places(self) -> np.ndarray | None:
        """(t, 2) where its textured cues lie in the frame."""
        return None if self.matrix is None else project(self.view.textured_positions, self.matrix)


@dataclass(frozen=True)
class Telltale:
    """A counterfeit reference's cells, and those among them where it gives itself away."""

    directions: np.ndarray
    """(k, 9) float32."""
    places: np.ndarray
    """(k,) int64 into the flattened frame."""
    scale: np.ndarray
    """(k,) float64: how far it is from the genuine references there."""


class Template:
    """One product and part of a gallery version.

    The frame is that of the genuine reference which most others can be registered with. Norms are taken over the
    genuine references themselves, each compared with those of other items: what is learned of natural variation then
    grows with every enrolment, and an item never vouches for itself. The order of the references makes no difference.
    """

    def __init__(
        self, genuine: Sequence[Member], counterfeit: Sequence[Member], kind: GeometryKind, config: VerificationConfig
    ):
        self.kind, self.config = kind, config
        genuine, counterfeit = (sorted(side, key=_name) for side in (genuine, counterfeit))
        views = [View(member.details, config) for member in genuine]
        self.genuine = _place(genuine, views, kind, config)
        self.counterfeit = [self._join(member) for member in counterfeit] if config.residuals else []
        self._norms = self._fit_norms() if config.residuals else (None, None)
        self.telltales = [telltale for placed in self.counterfeit if (telltale := self._telltale(placed))]

    @property
    def cell_norm(self) -> Norm | None:
        """Over the cells of the frame."""
        return self._norms[0]

    @property
    def cue_norm(self) -> Norm | None:
        """Over a grid with one location a token stride."""
        return self._norms[1]

    @cached_property
    def _genuine_cells(self) -> tuple[np.ndarray, np.ndarray]:
        return _stack([placed.cells for placed in self.genuine if placed.cells])

    def locate(self, view: View, order: Sequence[str] = ()) -> Registration | None:
        """Register a query into the frame, by way of the genuine reference that agrees with it on most points.

        Args:
            order: image ids of the references to try first.

        Returns:
            The registration into the frame; None where it fails.
        """
        rank = {image_id: place for place, image_id in enumerate(order)}
        tried = [placed for placed in self.genuine if placed.matrix is not None]
        tried.sort(key=lambda placed: rank.get(placed.member.details.image_id, len(rank)))
        best: Registration | None = None
        for placed in tried[: self.config.num_geometry]:
            found = register(view, placed.view, self.kind, self.config)
            if found is not None and (best is None or found.inliers > best.inliers):
                best = replace(found, matrix=placed.matrix @ found.matrix, by=placed.member)
            if best is not None and best.keypoints >= self.config.enough_inliers:
                break
        return best

    def residual_of_cells(self, cells: Cells, other_than: str | None = None) -> np.ndarray:
        """(n, n) residual of a photograph's cells against the genuine references, those of one item left out."""
        directions, seen = self._genuine_cells
        if other_than is None:
            return cell_residual(cells.directions, cells.seen, directions, seen)
        items = [placed.member.item_id for placed in self.genuine if placed.cells]
        kept = np.array([item != other_than for item in items], dtype=bool)
        return cell_residual(cells.directions, cells.seen, directions[kept], seen[kept])

    def residual_of_cues(
        self, view: View, matrix: np.ndarray | None, side: Sequence[Placed], other_than: str | None = None
    ) -> np.ndarray:
        """(T,) residual of a photograph's textured cues against references but one item's; nan where untextured."""
        references = [
            (placed.view.textured_local, placed.places) for placed in side if placed.member.item_id != other_than
        ]
        places = None if matrix is None else project(view.textured_positions, matrix)
        residual = np.full(len(view.local), np.nan)
        residual[view.textured] = cue_residual(
            view.textured_local, places, references, self.config.window * view.details.stride
        )
        return residual

    def on_grid(self, view: View, matrix: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """(m, m) residual of cues on the frame's token grid: the largest where several fall on one location."""
        num = self.num_strides(view)
        places = np.floor(project(view.details.positions, matrix) * num).astype(np.int64)
        usable = ((places >= 0) & (places < num)).all(axis=1) & np.isfinite(residual)
        grid = np.full(num * num, -np.inf)
        np.maximum.at(grid, places[usable, 1] * num + places[usable, 0], residual[usable])
        return np.where(np.isfinite(grid), grid, np.nan).reshape(num, num)

    @staticmethod
    def num_strides(view: View) -> int:
        """Locations along a side of the frame's token grid."""
        return max(1, round(1.0 / view.details.stride))

    def _fit_norms(self) -> tuple[Norm | None, Norm | None]:
        placed = [one for one in self.genuine if one.cells is not None]
        if not placed:
            return None, None
        items = [one.member.item_id for one in placed]
        cells = np.stack([self.residual_of_cells(one.cells, one.member.item_id) for one in placed])
        cues = np.stack(
            [
                self.on_grid(
                    one.view,
                    one.matrix,
                    self.residual_of_cues(one.view, one.matrix, self.genuine, one.member.item_id),
                )
                for one in placed
            ]
        )
        return fit_norm(cells, items, self.config.least_items), fit_norm(cues, items, self.config.least_items)

    def _join(self, member: Member) -> Placed:
        """A counterfeit reference, registered into the frame."""
        view = View(member.details, self.config)
        found = self.locate(view)
        if found is None:
            return Placed(member, view, None, None)
        return Placed(member, view, found.matrix, view.surface.cells(found.matrix))

    def _telltale(self, placed: Placed) -> Telltale | None:
        if placed.cells is None or self.cell_norm is None:
            return None
        residual = self.residual_of_cells(placed.cells)
        z = self.cell_norm.z(residual).ravel()
        count = max(3, int(self.config.top_share * z.size))
        places = np.argsort(-np.where(np.isfinite(z), z, -np.inf), kind="stable")[:count]
        places = places[np.isfinite(z[places])]
        if len(places) < 3:
            return None
        directions = placed.cells.directions.reshape(z.size, -1)[places]
        return Telltale(directions, places, residual.ravel()[places])


def _name(member: Member) -> tuple[str, str]:
    return member.details.image_id, member.reference_id


def _place(
    members: Sequence[Member], views: Sequence[View], kind: GeometryKind, config: VerificationConfig
) -> list[Placed]:
    """Register references with each other; the frame is that of the one with the most inliers."""
    if kind == "none" or not members:
        return [Placed(member, view, None, None) for member, view in zip(members, views, strict=True)]
    count = len(members)
    pairs: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
    for one in range(count):
        for other in range(one):
            found = register(views[one], views[other], kind, config)
            if found is not None:
                pairs[one, other] = (found.inliers, found.matrix)
                pairs[other, one] = (found.inliers, np.linalg.inv(found.matrix))
    support = [sum(pairs[one, other][0] for other in range(count) if (one, other) in pairs) for one in range(count)]
    frame = int(np.argmax(support))
    placed = []
    for one, (member, view) in enumerate(zip(members, views, strict=True)):
        matrix = np.eye(3) if one == frame else _way(one, frame, pairs, count)
        cells = view.surface.cells(matrix) if matrix is not None and config.residuals else None
        placed.append(Placed(member, view, matrix, cells))
    return placed


def _way(one: int, frame: int, pairs: dict[tuple[int, int], tuple[int, np.ndarray]], count: int) -> np.ndarray | None:
    """From a reference into the frame, directly or by way of one other, whichever rests on more inliers."""
    ways = [(pairs[one, frame][0], pairs[one, frame][1])] if (one, frame) in pairs else []
    ways += [
        (min(pairs[one, by][0], pairs[by, frame][0]), pairs[by, frame][1] @ pairs[one, by][1])
        for by in range(count)
        if (one, by) in pairs and (by, frame) in pairs
    ]
    return max(ways, key=lambda way: way[0])[1] if ways else None


def _stack(cells: Sequence[Cells]) -> tuple[np.ndarray, np.ndarray]:
    if not cells:
        return np.zeros((0, 1, 1, 1), np.float32), np.zeros((0, 1, 1), bool)
    return np.stack([one.directions for one in cells]), np.stack([one.seen for one in cells])
