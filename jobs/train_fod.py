"""Train FoD with Ray Train and calibrate it: a manifest in, a bundle out."""

from functools import partial

import ray

from hallmark.config import load_config
from hallmark.evaluation.protocol import TrainJob, calibrate, shorten
from hallmark.gallery.build import DescribeConfig, describe_photographs
from hallmark.job import run_job
from hallmark.training.trainer import train
from hallmark.verdict.calibration import calibration_of


def main(config_path: str | None, overrides: list[str]) -> None:
    job = load_config(TrainJob, config_path, overrides, presets="fod")
    ray.init(logging_level="WARNING")
    bundle = train(job.run)
    workers = DescribeConfig(num_workers=job.workers.num_workers, use_gpu=job.workers.use_gpu)
    describe = partial(describe_photographs, config=workers)
    bundle = shorten(bundle, job.reduction, describe)
    if (reduction := bundle.reduction()) is not None:
        print(f"reduction: {reduction.stated}")
    bundle = calibrate(bundle, job.calibration, describe)
    fitted = calibration_of(bundle)
    for warning in fitted.warnings:
        print(f"calibration: {warning}")
    f1 = "not defined" if fitted.f1 is None else f"{fitted.f1:.3f}"
    print(
        f"bundle {bundle.bundle_id} in {bundle.path}: epoch {bundle.metrics['validation']['epoch']}, separation "
        f"{bundle.metrics['validation']['separation']:.3f}; on {fitted.num_genuine} genuine and "
        f"{fitted.num_counterfeit} counterfeit validation photographs F1 {f1} out of fold (for test figures: "
        "jobs/evaluate.py)"
    )


if __name__ == "__main__":
    run_job(main, __doc__)
