"""An analysis from its settings to its report, as the jobs run it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from hallmark.evaluation.analysis_report import Analysis, headline
from hallmark.evaluation.trainings import Train
from hallmark.evaluation.variant_table import findings
from hallmark.evaluation.variants import AnalysisConfig
from hallmark.training.plain import train_plain
from hallmark.training.trainer import train

C = TypeVar("C", bound=AnalysisConfig)


def run_analysis(config: C, analyse: Callable[[C, Train], tuple[Analysis, Path]]) -> None:
    """Make a method's analysis, print what it came to, and where its report is.

    Args:
        config: its trainer says whether the trainings run on the cluster that Ray is connected to.
        analyse: of the method.

    Raises:
        HallmarkError: see `analyse`.
    """
    plain = partial(train_plain, device=config.device, progress=False)
    analysis, report = analyse(config, train if config.trainer == "ray" else plain)
    for row in headline(analysis):
        print("  ".join(row))
    for table in analysis.tables:
        print(f"{table.title}: {' '.join(findings(table))}")
    print(f"report: {report}")
