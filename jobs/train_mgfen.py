"""Train MGFEN with Ray Train and calibrate it: a manifest in, a bundle out."""

from functools import partial

import ray

from hallmark.config import load_config
from hallmark.evaluation.protocol import MGFENJob, calibrate, shorten, training_outcome
from hallmark.gallery.build import DescribeConfig, describe_photographs
from hallmark.job import run_job
from hallmark.training.trainer import train


def main(config_path: str | None, overrides: list[str]) -> None:
    job = load_config(MGFENJob, config_path, overrides, presets="mgfen")
    ray.init(logging_level="WARNING")
    bundle = train(job.run)
    workers = DescribeConfig(num_workers=job.workers.num_workers, use_gpu=job.workers.use_gpu)
    describe = partial(describe_photographs, config=workers)
    bundle = calibrate(shorten(bundle, job.reduction, describe), job.calibration, describe)
    print("\n".join(training_outcome(bundle)))


if __name__ == "__main__":
    run_job(main, __doc__)
