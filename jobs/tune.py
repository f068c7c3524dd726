"""Sweep over a training run with Ray Tune: search, choose by other seeds, look at the test photographs once, report.

Started again after it was broken off, it goes on where it was.
"""

from hallmark.config import load_config
from hallmark.evaluation.sweeping import run_sweep
from hallmark.job import run_job
from hallmark.tuning.settings import SweepConfig


def main(config_path: str | None, overrides: list[str]) -> None:
    run_sweep(load_config(SweepConfig, config_path, overrides))


if __name__ == "__main__":
    run_job(main, __doc__)
