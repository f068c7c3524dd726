"""A small sweep's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hallmark.config import validate
from hallmark.tuning.ledger import Stage, Status, Trial
from hallmark.tuning.settings import SweepConfig


@pytest.fixture
def settings() -> Callable[..., SweepConfig]:
    """A sweep over KAG-MTLN's alpha with what is named laid over it."""

    def make(**laid_over: Any) -> SweepConfig:
        keys = {
            "method": "kag_mtln",
            "run": {"preset": "tiny", "manifest": "manifest.parquet", "validate_every": 1},
            "out": "sweep",
            "space": {"method.losses.alpha": {"choice": [0.3, 0.5, 1.0]}},
        }
        return validate(SweepConfig, keys | laid_over, "sweep")

    return make


@pytest.fixture
def trial() -> Callable[..., Trial]:
    """A trial of the search with the validation figures of its first epochs."""

    def make(name: str, *figures: float, status: Status = Status.OPEN, **told: Any) -> Trial:
        curve = tuple(enumerate(figures, start=1))
        return Trial(name, told.pop("stage", Stage.SEARCH), told.pop("values", {}), 0, status, curve, **told)

    return make
