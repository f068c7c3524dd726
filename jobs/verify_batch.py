"""Verdicts about a manifest's photographs, or a list's: verdicts.csv and verdicts.parquet, gone on with if cut off."""

from functools import partial

import ray

from hallmark.config import load_config
from hallmark.evaluation.batch import VerifyBatchConfig, summary, verify_batch
from hallmark.gallery.build import DescribeConfig, describe_photographs
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(VerifyBatchConfig, config_path, overrides)
    ray.init(logging_level="WARNING")
    workers = DescribeConfig(num_workers=config.num_workers, use_gpu=config.use_gpu)
    verdicts = verify_batch(config, partial(describe_photographs, config=workers))
    print(f"{summary(verdicts)}; tables in {config.out}")


if __name__ == "__main__":
    run_job(main, __doc__)
