"""Examine the photographs of a role, by default test, and report: metrics, verdicts and report.html."""

from functools import partial

import ray

from hallmark.config import load_config
from hallmark.evaluation.assessment import assess
from hallmark.evaluation.protocol import EvaluateConfig
from hallmark.evaluation.tables import headline_rows
from hallmark.gallery.build import DescribeConfig, describe_photographs
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(EvaluateConfig, config_path, overrides)
    ray.init(logging_level="WARNING")
    workers = DescribeConfig(num_workers=config.num_workers)
    evaluation, report = assess(config, partial(describe_photographs, config=workers))
    for row in headline_rows(evaluation):
        print("  ".join(row))
    print(f"report: {report}")


if __name__ == "__main__":
    run_job(main, __doc__)
