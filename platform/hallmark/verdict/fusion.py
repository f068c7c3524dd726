"""Fused evidence: a logistic regression that no piece of evidence can turn against the genuine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field
from scipy.optimize import minimize, minimize_scalar

from hallmark.config import Config
from hallmark.verdict.folds import out_of_fold

_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DEFAULT_STRENGTH = 0.1
_ITEMS_TO_CHOOSE = 5
_CLIP = 5.0
_LARGEST_TEMPERATURE = 20.0


class Term(Config):
    """What one piece of evidence adds to the score: weight·(value - centre)/spread, that quotient within ±5."""

    centre: float = Field(description="mean over the calibration photographs, both authenticities counting alike")
    spread: float = Field(gt=0, description="standard deviation, likewise")
    weight: float = Field(ge=0, description="never negative: more of any evidence is more genuine")
    missing: float = Field(0.0, description="added instead where there is no such evidence")


class FusedModel(Config):
    """Evidence to log odds of genuine, both authenticities being equally likely beforehand."""

    terms: dict[str, Term]
    intercept: float
    strength: float = Field(gt=0, description="of the L2 penalty")
    left_out: list[str] = Field(description="evidence that no calibration photograph has, or all have alike")

    def score(self, features: Mapping[str, float | None]) -> float | None:
        """Log odds of genuine; None without any evidence, nan where some is not finite."""
        values = {name: features.get(name) for name in self.terms}
        if all(value is None for value in values.values()):
            return None
        total = self.intercept
        for name, term in self.terms.items():
            value = values[name]
            if value is None:
                total += term.missing
            elif not np.isfinite(value):
                return float("nan")
            else:
                total += term.weight * float(np.clip((value - term.centre) / term.spread, -_CLIP, _CLIP))
        return total


def fit_fused(names: Sequence[str], table: np.ndarray, genuine: np.ndarray, strength: float) -> FusedModel:
    """Balanced logistic regression with an L2 penalty and no negative weight on evidence.

    Both authenticities count alike, since the share of counterfeits among calibration photographs says nothing of the
    field. Evidence that is missing counts as its mean; whether it is missing tells something too where photographs of
    both authenticities have it and lack it. Where only genuine ones lack it, say because nobody has enrolled a
    counterfeit of their product, that is no evidence, and weighing it would acquit that product's counterfeits.

    Args:
        names: of the F pieces of evidence.
        table: (N, F), nan = missing.
        genuine: (N,) bool, some of each.
        strength: of the penalty, in mean log losses per half squared weight.
    """
    balance = np.where(genuine, 0.5 / genuine.sum(), 0.5 / (~genuine).sum())
    centres, spreads = _moments(table, balance)
    used = np.flatnonzero(np.isfinite(spreads) & (spreads > 1e-9 * np.maximum(1.0, np.abs(centres))))
    missing = np.isnan(table[:, used])
    standardised = np.clip((table[:, used] - centres[used]) / spreads[used], -_CLIP, _CLIP)
    told = _varies(missing[genuine]) & _varies(missing[~genuine])
    columns = np.concatenate([np.where(missing, 0.0, standardised), missing[:, told].astype(float)], axis=1)
    weights, intercept = _regress(columns, genuine, balance, len(used), strength)
    absent = np.zeros(len(used))
    absent[told] = weights[len(used) :]
    return FusedModel(
        terms={
            names[place]: Term(
                centre=float(centres[place]),
                spread=float(spreads[place]),
                weight=float(weights[row]),
                missing=float(absent[row]),
            )
            for row, place in enumerate(used)
        },
        intercept=intercept,
        strength=strength,
        left_out=[name for place, name in enumerate(names) if place not in used],
    )


def fused_scores(model: FusedModel, names: Sequence[str], table: np.ndarray) -> np.ndarray:
    """(N,) log odds of each row of a table with nan for what is missing; the intercept where all is."""
    scores = [
        model.score({name: None if np.isnan(value) else float(value) for name, value in zip(names, row, strict=True)})
        for row in table
    ]
    return np.array([model.intercept if score is None else score for score in scores])


def choose_strength(
    names: Sequence[str], table: np.ndarray, genuine: np.ndarray, folds: np.ndarray, items: Sequence[str]
) -> tuple[float, np.ndarray]:
    """The penalty with the least out-of-fold log loss, among equals the stronger; and its out-of-fold scores.

    With fewer than five items of either authenticity there is nothing to choose by, and it is a middling one.
    """
    few = min(len({i for i, g in zip(items, genuine, strict=True) if g == kind}) for kind in (False, True))
    strengths = _STRENGTHS if few >= _ITEMS_TO_CHOOSE else (DEFAULT_STRENGTH,)
    tried = {strength: _out_of_fold(names, table, genuine, folds, strength) for strength in strengths}
    best = min(strengths, key=lambda strength: (round(log_loss(tried[strength], genuine), 9), -strength))
    return best, tried[best]


def fit_temperature(logits: np.ndarray, genuine: np.ndarray) -> float:
    """T >= 1 with the least balanced log loss of sigmoid(logits / T): takes back over-confidence, adds none."""
    found = minimize_scalar(
        lambda log_t: log_loss(logits / np.exp(log_t), genuine),
        bounds=(0.0, float(np.log(_LARGEST_TEMPERATURE))),
        method="bounded",
    )
    return float(np.exp(found.x)) if found.fun < log_loss(logits, genuine) else 1.0


def log_loss(logits: np.ndarray, genuine: np.ndarray) -> float:
    """Mean over the two authenticities of their mean log loss."""
    loss = np.logaddexp(0.0, np.where(genuine, -logits, logits))
    return float((loss[genuine].mean() + loss[~genuine].mean()) / 2)


def _out_of_fold(
    names: Sequence[str], table: np.ndarray, genuine: np.ndarray, folds: np.ndarray, strength: float
) -> np.ndarray:
    return out_of_fold(
        folds,
        lambda fitted, scored: fused_scores(
            fit_fused(names, table[fitted], genuine[fitted], strength), names, table[scored]
        ),
    )


def _moments(table: np.ndarray, balance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of each column's present values; nan where there are none."""
    present = np.isfinite(table)
    weights = np.where(present, balance[:, None], 0.0)
    total = weights.sum(axis=0)
    total = np.where(total > 0, total, np.nan)
    values = np.where(present, table, 0.0)
    centres = (weights * values).sum(axis=0) / total
    spreads = np.sqrt((weights * (values - centres) ** 2).sum(axis=0) / total)
    return centres, spreads


def _varies(missing: np.ndarray) -> np.ndarray:
    return missing.any(axis=0) & ~missing.all(axis=0)


def _regress(
    columns: np.ndarray, genuine: np.ndarray, balance: np.ndarray, num_signed: int, strength: float
) -> tuple[np.ndarray, float]:
    """Weights of the columns, the first `num_signed` of them not negative, and the intercept."""
    sign = np.where(genuine, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, margin = parameters[:-1], sign * (columns @ parameters[:-1] + parameters[-1])
        value = balance @ np.logaddexp(0.0, -margin) + strength / 2 * weights @ weights
        slope = -balance * sign * np.exp(-np.logaddexp(0.0, margin))
        return value, np.append(columns.T @ slope + strength * weights, slope.sum())

    num_free = columns.shape[1] - num_signed
    bounds = [(0.0, None)] * num_signed + [(None, None)] * (num_free + 1)
    found = minimize(loss, np.zeros(columns.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x[:-1], float(found.x[-1])
