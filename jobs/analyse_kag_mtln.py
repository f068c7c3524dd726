"""Train variants of a KAG-MTLN run with several seeds, compare them on the test photographs, and report.

Started again after it was broken off, it goes on with the first training that is not done.
"""

from functools import partial

import ray

from hallmark.config import load_config
from hallmark.evaluation.analysis_report import headline
from hallmark.evaluation.kag_analysis import analyse
from hallmark.evaluation.kag_axes import KAGAnalysisConfig
from hallmark.evaluation.variant_table import findings
from hallmark.job import run_job
from hallmark.training.plain import train_plain
from hallmark.training.trainer import train


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(KAGAnalysisConfig, config_path, overrides)
    if config.trainer == "ray":
        ray.init(logging_level="WARNING")
    plain = partial(train_plain, device=config.device, progress=False)
    analysis, report = analyse(config, train if config.trainer == "ray" else plain)
    for row in headline(analysis):
        print("  ".join(row))
    for table in analysis.tables:
        print(f"{table.title}: {' '.join(findings(table))}")
    print(f"report: {report}")


if __name__ == "__main__":
    run_job(main, __doc__)
