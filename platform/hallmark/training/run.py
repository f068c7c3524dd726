"""A training run: everything that decides its outcome, in one configuration."""

from __future__ import annotations

from pydantic import Field

from hallmark.config import Config
from hallmark.data.batches import StreamConfig
from hallmark.data.decode import DecodeLimits
from hallmark.data.preprocess import Augmentation, Preprocessing
from hallmark.data.sampling import SamplingConfig
from hallmark.methods.fod import FoDConfig
from hallmark.training.loop import OptimiserConfig


class WorkersConfig(Config):
    """The training workers on the cluster."""

    num_workers: int = Field(1, ge=1, description="DDP workers; the global batch does not depend on it")
    use_gpu: bool = Field(False, description="one GPU a worker")
    cpus_per_worker: float = Field(1, gt=0, description="CPUs booked for each worker")
    max_failures: int = Field(2, ge=0, description="restarts from the last checkpoint before the run is given up")


class RunConfig(Config):
    """One training run."""

    preset: str | None = Field(None, description="name of a preset that the other keys are laid over")
    manifest: str = Field(description="path of manifest.parquet, as ingest wrote it")
    out: str = Field(description="folder that the bundle is written to")
    seed: int = Field(0, ge=0, lt=2**20, description="of weights, sampling and augmentation")
    method: FoDConfig
    limits: DecodeLimits = DecodeLimits()
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    sampling: SamplingConfig = SamplingConfig()
    stream: StreamConfig = StreamConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    workers: WorkersConfig = WorkersConfig()
    validate_every: int = Field(5, ge=1, description="epochs between two validations; the best one is kept")
