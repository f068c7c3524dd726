"""Train variants of an MGFEN run with several seeds, compare them on the test photographs, and report.

Started again after it was broken off, it goes on with the first training that is not done.
"""

import ray

from hallmark.config import load_config
from hallmark.evaluation.analysing import run_analysis
from hallmark.evaluation.mgfen_analysis import analyse
from hallmark.evaluation.mgfen_axes import MGFENAnalysisConfig
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(MGFENAnalysisConfig, config_path, overrides)
    if config.trainer == "ray":
        ray.init(logging_level="WARNING")
    run_analysis(config, analyse)


if __name__ == "__main__":
    run_job(main, __doc__)
