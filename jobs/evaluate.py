"""Examine the photographs of a role, by default test, and report: metrics, verdicts and report.html.

With `--set 'folds=[a/metrics.json,b/metrics.json]' --set out=FOLDER` it examines nothing, but puts evaluations made
before into one table, sources.md, with .html, .csv and .json beside it: one row a source of counterfeits held out.
`hallmark data split --set mode=leave_source_out` writes the manifests of such folds; train, enrol and evaluate each
first.
"""

from functools import partial
from pathlib import Path

import ray

from hallmark.config import load_config, load_mapping
from hallmark.evaluation.assessment import assess
from hallmark.evaluation.folds import FoldsConfig, fold_rows, merge_folds, write_folds
from hallmark.evaluation.protocol import EvaluateConfig
from hallmark.evaluation.rows import headline_rows
from hallmark.gallery.build import DescribeConfig, describe_photographs
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    if "folds" in load_mapping(config_path, overrides):
        compare(load_config(FoldsConfig, config_path, overrides))
    else:
        evaluate(load_config(EvaluateConfig, config_path, overrides))


def evaluate(config: EvaluateConfig) -> None:
    ray.init(logging_level="WARNING")
    workers = DescribeConfig(num_workers=config.num_workers)
    evaluation, report = assess(config, partial(describe_photographs, config=workers))
    for row in headline_rows(evaluation):
        print("  ".join(row))
    print(f"report: {report}")


def compare(config: FoldsConfig) -> None:
    folds = merge_folds(config.folds)
    written = write_folds(Path(config.out), folds)
    for row in fold_rows(folds):
        print("  ".join(cell.replace("\n", " ") for cell in row))
    print(f"table: {written[-1]}")


if __name__ == "__main__":
    run_job(main, __doc__)
