"""Controls: whether what should not tell genuine from counterfeit does so all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import rankdata

from hallmark.config import Config


class ControlConfig(Config):
    """How the controls are examined, and when one counts as giving the label away."""

    margin: float = Field(
        0.05, ge=0, le=0.4, description="AUROC: the interval's lower end must exceed 0.5 by more than this"
    )
    p_value: float = Field(0.01, gt=0, lt=0.5, description="the corrected p value must be below this")
    shuffles: int = Field(499, ge=99, le=20_000, description="shuffles of the labels, by item within product and part")
    resamples: int = Field(500, ge=100, le=20_000, description="bootstrap resamples of items, for the 95 % interval")
    folds: int = Field(5, ge=2, le=20, description="folds of cross-validation, by item")
    repeats: int = Field(3, ge=1, le=50, description="times that the folds are drawn anew")
    ridge: float = Field(
        1.0, gt=0, le=1000, description="penalty of the kernel ridge classifier; the kernel is about 1"
    )
    min_items: int = Field(
        4, ge=2, le=1000, description="items wanted of each label of a product and part; others are not examined"
    )
    max_photographs: int = Field(
        2000, ge=50, le=10_000, description="photographs examined; of more, whole items are drawn at random"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of folds, shuffles and resamples")


@dataclass(frozen=True)
class Evidence:
    """What one control looks at: (N, D) float64, one row a photograph; NaN where a photograph has no such value."""

    name: str
    meaning: str
    values: np.ndarray
    trained: bool
    """Scored by a cross-validated classifier; else D is 1 and the value itself is the score."""


class Control(BaseModel):
    """How well one kind of evidence tells genuine from counterfeit within product and part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    meaning: str
    trained: bool
    auroc: float = Field(description="0.5 = chance; of a single value, the better of both directions")
    low: float = Field(description="lower end of the 95 % bootstrap interval, items resampled")
    high: float
    p_value: float = Field(description="share of label shuffles in which any control stands out as much")
    photographs: int
    items: int
    gives_away: bool


@dataclass(frozen=True)
class _Subject:
    """The photographs that are examined. Units are items of one label; cells are products and parts."""

    genuine: np.ndarray
    cells: np.ndarray
    units: np.ndarray

    @property
    def unit_genuine(self) -> np.ndarray:
        return self.genuine[self._first]

    @property
    def unit_cells(self) -> np.ndarray:
        return self.cells[self._first]

    @property
    def _first(self) -> np.ndarray:
        return np.unique(self.units, return_index=True)[1]


@dataclass(frozen=True)
class _Scored:
    """(L, n) scores in (n,) strata for L labellings, the first one the true one; L is 1 where all share one score."""

    scores: np.ndarray
    strata: np.ndarray


def examine(
    evidence: Sequence[Evidence],
    genuine: np.ndarray,
    cells: Sequence[str],
    items: Sequence[str],
    config: ControlConfig,
) -> list[Control]:
    """Score every control, with an interval by item and a p value corrected for the number of controls.

    Only photographs of one product and part (a cell) are compared with each other. A classifier is kernel ridge
    regression on ranks within the cell, cross-validated by item. Its p value and that of a single value come from the
    same shuffles of the labels, and each control is held against the largest standardised deviation among all of them
    (Westfall and Young 1993, single-step max-T), so that many controls do not raise the rate of false alarms.

    Args:
        evidence: what to examine.
        genuine: (N,) bool.
        cells: (N,) product and part.
        items: (N,) item ids.

    Returns:
        One control an evidence, in order; none where no cell has `min_items` items of both labels.
    """
    rng = np.random.default_rng(config.seed)
    chosen = _chosen(genuine, np.asarray(cells, dtype=object), np.asarray(items, dtype=object), config, rng)
    if len(chosen) == 0 or not evidence:
        return []
    subject = _subject(genuine, np.asarray(cells, dtype=object), np.asarray(items, dtype=object), chosen)
    labels = _labellings(subject, config.shuffles, rng)
    folds = _folds(subject, config, rng)
    scored = [_score(each, chosen, subject, labels, folds, config) for each in evidence]
    statistics = np.stack([_aurocs(one, labels) for one in scored])
    # A single value may point either way; a classifier that does worse than chance has found nothing.
    directions = [
        1.0 if one.trained or auroc >= 0.5 else -1.0 for one, auroc in zip(evidence, statistics[:, 0], strict=True)
    ]
    single = np.array([not one.trained for one in evidence])
    statistics[single] = 0.5 + np.abs(statistics[single] - 0.5)
    p_values = _corrected(statistics)
    weights = _resampled(subject, config.resamples, rng)
    controls = []
    for one, result, direction, auroc, p_value in zip(
        evidence, scored, directions, statistics[:, 0], p_values, strict=True
    ):
        low, high = _interval(direction * result.scores[0], result.strata, subject, weights)
        controls.append(
            Control(
                name=one.name,
                meaning=one.meaning,
                trained=one.trained,
                auroc=float(auroc),
                low=low,
                high=high,
                p_value=float(p_value),
                photographs=len(chosen),
                items=len(subject.unit_genuine),
                gives_away=low > 0.5 + config.margin and p_value < config.p_value,
            )
        )
    return controls


def _chosen(
    genuine: np.ndarray, cells: np.ndarray, items: np.ndarray, config: ControlConfig, rng: np.random.Generator
) -> np.ndarray:
    """Rows of the cells with enough items of both labels, at most so many, whole items at a time."""
    rows = []
    for cell in sorted(set(cells)):
        inside = cells == cell
        if min(len(set(items[inside & (genuine == label)])) for label in (True, False)) >= config.min_items:
            rows.append(np.flatnonzero(inside))
    if not rows:
        return np.zeros(0, dtype=np.int64)
    kept = np.sort(np.concatenate(rows))
    if len(kept) <= config.max_photographs:
        return kept
    names = sorted(set(items[kept]))
    order = {names[position]: rank for rank, position in enumerate(rng.permutation(len(names)))}
    by_item = sorted(kept.tolist(), key=lambda row: (order[items[row]], row))
    return np.sort(np.array(by_item[: config.max_photographs]))


def _subject(genuine: np.ndarray, cells: np.ndarray, items: np.ndarray, chosen: np.ndarray) -> _Subject:
    keys = [(cells[row], items[row], bool(genuine[row])) for row in chosen]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    _, cell_numbers = np.unique(cells[chosen].astype(str), return_inverse=True)
    return _Subject(genuine[chosen].astype(bool), cell_numbers, np.array([numbers[key] for key in keys]))


def _labellings(subject: _Subject, shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """(1 + shuffles, n) bool: the true labels, then labels shuffled over the units of each cell."""
    unit_labels = np.tile(subject.unit_genuine, (shuffles + 1, 1))
    for cell in np.unique(subject.unit_cells):
        inside = np.flatnonzero(subject.unit_cells == cell)
        unit_labels[1:, inside] = rng.permuted(unit_labels[1:, inside], axis=1)
    return unit_labels[:, subject.units]


def _folds(subject: _Subject, config: ControlConfig, rng: np.random.Generator) -> np.ndarray:
    """(repeats, n) fold of each photograph, dealt without looking at the labels, so that shuffles are fair."""
    units = subject.unit_cells
    folds = np.zeros((config.repeats, len(units)), dtype=np.int64)
    for repeat in range(config.repeats):
        order = rng.permutation(len(units))
        order = order[np.argsort(units[order], kind="stable")]
        folds[repeat, order] = np.arange(len(units)) % config.folds
    return folds[:, subject.units]


def _score(
    evidence: Evidence,
    chosen: np.ndarray,
    subject: _Subject,
    labels: np.ndarray,
    folds: np.ndarray,
    config: ControlConfig,
) -> _Scored:
    values = evidence.values[chosen].astype(np.float64)
    # A value that is missing is itself a fact about the file; it ranks below all others.
    values = np.where(np.isnan(values), -np.inf, values)
    ranks = np.zeros_like(values)
    for cell in np.unique(subject.cells):
        inside = subject.cells == cell
        ranks[inside] = (rankdata(values[inside], axis=0) - 0.5) / inside.sum()
    if not evidence.trained:
        return _Scored(ranks[:, 0][None], subject.cells)
    kernel = _kernel(ranks, subject.cells)
    scores = [_predicted(kernel, labels, fold, subject.cells, config.ridge) for fold in folds]
    strata = [
        (repeat * config.folds + fold) * (subject.cells.max() + 1) + subject.cells for repeat, fold in enumerate(folds)
    ]
    return _Scored(np.concatenate(scores, axis=1), np.concatenate(strata))


def _kernel(ranks: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(n, n) linear plus Gaussian kernel of ranks, half of it shared by all cells and half within each."""
    centred = (ranks - 0.5) * np.sqrt(12)
    spread = centred.std(axis=0)
    centred = centred[:, spread > 1e-9]
    if centred.shape[1] == 0:
        return np.zeros((len(ranks), len(ranks)))
    linear = centred @ centred.T / centred.shape[1]
    squares = np.diag(linear)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * linear, 0)
    gaussian = np.exp(-distances / max(float(np.median(distances)), 1e-9))
    return 0.5 * (linear + gaussian) * (0.5 + 0.5 * (cells[:, None] == cells[None]))


def _predicted(
    kernel: np.ndarray, labels: np.ndarray, folds: np.ndarray, cells: np.ndarray, ridge: float
) -> np.ndarray:
    """(L, n) out-of-fold kernel ridge predictions for every labelling; linear in the labels, so one solve a fold."""
    predicted = np.zeros(labels.shape)
    for fold in np.unique(folds):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(train) == 0:
            continue
        targets = labels[:, train].astype(np.float64)
        for cell in np.unique(cells[train]):
            inside = cells[train] == cell
            targets[:, inside] -= targets[:, inside].mean(axis=1, keepdims=True)
        inner = kernel[np.ix_(train, train)] + ridge * np.eye(len(train))
        predicted[:, test] = targets @ np.linalg.solve(inner, kernel[np.ix_(train, test)])
    return predicted


def _aurocs(scored: _Scored, labels: np.ndarray) -> np.ndarray:
    """(L,) AUROC over the pairs within strata; 0.5 where a labelling leaves no pair."""
    copies = len(scored.strata) // labels.shape[1]
    labels = np.tile(labels, (1, copies)).astype(np.float64)
    above, pairs = np.zeros(len(labels)), np.zeros(len(labels))
    for stratum in np.unique(scored.strata):
        inside = scored.strata == stratum
        # Rounded, so that equal photographs stay equal whatever the order of summation.
        ranks = rankdata(np.round(scored.scores[:, inside], 9), axis=1)
        mine = labels[:, inside]
        positives = mine.sum(axis=1)
        above += (mine * ranks).sum(axis=1) - positives * (positives + 1) / 2
        pairs += positives * (mine.shape[1] - positives)
    return np.where(pairs > 0, above / np.maximum(pairs, 1), 0.5)


def _corrected(statistics: np.ndarray) -> np.ndarray:
    """(C,) p values from (C, L) statistics, the first column the true one, against the largest of all controls."""
    spread = statistics.std(axis=1, keepdims=True)
    deviation = np.where(
        spread > 1e-12, (statistics - statistics.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-12), 0
    )
    largest = deviation.max(axis=0)
    return (largest[None] >= deviation[:, :1] - 1e-9).mean(axis=1)


def _resampled(subject: _Subject, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(resamples, n) how often each photograph is drawn, units drawn with replacement within cell and label."""
    counts = np.zeros((resamples, len(subject.unit_cells)))
    for cell in np.unique(subject.unit_cells):
        for label in (True, False):
            members = np.flatnonzero((subject.unit_cells == cell) & (subject.unit_genuine == label))
            counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return counts[:, subject.units]


def _interval(scores: np.ndarray, strata: np.ndarray, subject: _Subject, weights: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the AUROC over resamples of units."""
    copies = len(strata) // len(subject.genuine)
    genuine, weights = np.tile(subject.genuine, copies), np.tile(weights, (1, copies))
    above, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    scores = np.round(scores, 9)
    for stratum in np.unique(strata):
        inside = strata == stratum
        one, other = np.flatnonzero(inside & genuine), np.flatnonzero(inside & ~genuine)
        difference = scores[one][:, None] - scores[other][None]
        wins = (difference > 0) + 0.5 * (difference == 0)
        above += ((weights[:, one] @ wins) * weights[:, other]).sum(axis=1)
        pairs += weights[:, one].sum(axis=1) * weights[:, other].sum(axis=1)
    found = above[pairs > 0] / pairs[pairs > 0]
    low, high = np.quantile(found, (0.025, 0.975)) if len(found) else (0.0, 1.0)
    return float(low), float(high)
