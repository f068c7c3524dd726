"""A sweep from its settings to its report, as the job and the command line run it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hallmark.evaluation.sweep_figures import sweep_figures
from hallmark.evaluation.sweep_report import headline, write_sweep
from hallmark.tuning.settings import SweepConfig
from hallmark.tuning.sweep import sweep


def run_sweep(config: SweepConfig) -> Path:
    """Run a sweep on the cluster that RAY_ADDRESS names, print what it came to, and write its report.

    Returns:
        The path of the report.

    Raises:
        HallmarkError: see `sweep` and `write_sweep`.
        KeyboardInterrupt: it was interrupted.
    """
    result = sweep(config, partial(print, flush=True))
    figures = sweep_figures(result)
    report = write_sweep(result, figures)
    for row in headline(figures):
        print("  ".join(row))
    print(f"winner: {result.out / 'winner.yaml'}\nreport: {report}")
    return report
