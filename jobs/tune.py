"""Sweep over a training run with Ray Tune: search, choose by other seeds, look at the test photographs once, report.

Started again after it was broken off, it goes on where it was.
"""

import ray

from hallmark.config import load_config
from hallmark.evaluation.sweeping import run_sweep
from hallmark.job import run_job
from hallmark.tuning.settings import SweepConfig


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(SweepConfig, config_path, overrides)
    ray.init(logging_level="WARNING")
    run_sweep(config)


if __name__ == "__main__":
    run_job(main, __doc__)
