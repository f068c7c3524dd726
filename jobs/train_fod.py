"""Train FoD with Ray Train and calibrate it: a manifest in, a bundle out."""

from functools import partial

import ray

from hallmark.config import load_config
from hallmark.evaluation.protocol import TrainJob, calibrate
from hallmark.gallery.build import DescribeConfig, describe_photographs
from hallmark.job import run_job
from hallmark.training.run import RunConfig
from hallmark.training.trainer import train
from hallmark.verdict.calibration import calibration_of


def main(config_path: str | None, overrides: list[str]) -> None:
    job = load_config(TrainJob, config_path, overrides, presets="fod")
    ray.init(logging_level="WARNING")
    run = RunConfig.model_validate(job.model_dump(exclude={"calibration"}))
    bundle = train(run)
    workers = DescribeConfig(num_workers=run.workers.num_workers, use_gpu=run.workers.use_gpu)
    bundle = calibrate(bundle, job.calibration, partial(describe_photographs, config=workers))
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
