"""A training run: everything that decides its outcome, in one configuration, one class a method."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, model_validator

from hallmark.config import Config, validate
from hallmark.data.backgrounds import BackgroundConfig, BackgroundLibrary, BackgroundReplacement, Masked
from hallmark.data.batches import StreamConfig
from hallmark.data.composite import CompositeConfig
from hallmark.data.decode import DecodeLimits
from hallmark.data.preprocess import Augmentation, Preprocessing
from hallmark.data.sampling import BatchSampler, Labels, Sampler, SamplingConfig, ShuffleConfig, ShuffleSampler
from hallmark.data.scramble import ScrambleConfig, stream_prior
from hallmark.data.transforms import Transforms
from hallmark.errors import ConfigError, DataError
from hallmark.methods.base import Method
from hallmark.methods.fod import FoD, FoDConfig
from hallmark.methods.kag_mtln import KAGMTLN, KAGMTLNConfig
from hallmark.methods.mgfen import MGFEN, MGFENConfig
from hallmark.training.loop import OptimiserConfig

_logger = logging.getLogger(__name__)


class WorkersConfig(Config):
    """The training workers on the cluster."""

    num_workers: int = Field(1, ge=1, description="DDP workers; the global batch does not depend on it")
    use_gpu: bool = Field(False, description="one GPU a worker")
    cpus_per_worker: float = Field(1, gt=0, description="CPUs booked for each worker")
    max_failures: int = Field(2, ge=0, description="restarts from the last checkpoint before the run is given up")


class RunConfig(Config):
    """One training run, of any method."""

    classifies: ClassVar[bool]
    """Whether the method tells product and authenticity by itself."""

    judged_by: ClassVar[tuple[str, ...]]
    """The figures of a validation, higher = better, what counts most first."""

    preset: str | None = Field(None, description="name of a preset that the other keys are laid over")
    manifest: str = Field(description="path of manifest.parquet, as ingest wrote it")
    out: str = Field(description="folder that the bundle is written to")
    seed: int = Field(0, ge=0, lt=2**20, description="of weights, sampling and augmentation")
    method: Config
    limits: DecodeLimits = DecodeLimits()
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation | None = Field(Augmentation(), description="null: photographs are shown as they are")
    sampling: Config
    stream: StreamConfig = StreamConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    workers: WorkersConfig = WorkersConfig()
    validate_every: int = Field(5, ge=1, description="epochs between two validations; the best one is kept")

    @abstractmethod
    def untrained(self, num_products: int, labels: Labels) -> Method:
        """The method with the weights that its training begins with, from torch's random state.

        Args:
            num_products: P, of the whole manifest.
            labels: of the training set.

        Raises:
            ConfigError, WeightsError: what is wrong with the backbone.
        """

    @abstractmethod
    def exported(self, num_products: int) -> Method:
        """The network that a bundle holds, its weights still to be loaded."""

    @abstractmethod
    def sampler(self, training_set: pa.Table, labels: Labels) -> Sampler:
        """Lays out the batches.

        Raises:
            DataError: the training set does not suffice.
        """

    def check(self, training_set: pa.Table) -> None:
        """Make sure that the training photographs suit the run.

        Raises:
            DataError: one does not; names it.
        """

    def transforms(self, training_set: pa.Table) -> Transforms:
        """What is done to a photograph in training.

        Args:
            training_set: rows of the manifest; photographs may borrow from each other.

        Raises:
            DataError: what is needed for it is not there.
        """
        del training_set
        return Transforms(self.limits, self.preprocessing, self.augmentation)


class FoDRun(RunConfig):
    """A training run of FoD."""

    classifies: ClassVar[bool] = False
    judged_by: ClassVar[tuple[str, ...]] = ("separation",)

    method: FoDConfig
    sampling: SamplingConfig = SamplingConfig()

    def untrained(self, num_products: int, labels: Labels) -> FoD:
        """See RunConfig."""
        del num_products, labels
        return FoD(self.method)

    def exported(self, num_products: int) -> FoD:
        """See RunConfig."""
        del num_products
        return FoD(self.method, load_weights=False)

    def sampler(self, training_set: pa.Table, labels: Labels) -> BatchSampler:
        """See RunConfig."""
        return BatchSampler(training_set, labels, self.sampling, self.seed)


class KAGRun(RunConfig):
    """A training run of KAG-MTLN."""

    classifies: ClassVar[bool] = True
    judged_by: ClassVar[tuple[str, ...]] = ("accuracy", "separation")

    method: KAGMTLNConfig
    sampling: ShuffleConfig = ShuffleConfig()
    scramble: ScrambleConfig = ScrambleConfig()

    @model_validator(mode="after")
    def _cells_of_a_pixel(self) -> KAGRun:
        if self.scramble.degree > self.preprocessing.side_px:
            raise ValueError(
                f"scramble.degree: found {self.scramble.degree}; wanted at most preprocessing.side_px, "
                f"{self.preprocessing.side_px}"
            )
        return self

    def untrained(self, num_products: int, labels: Labels) -> KAGMTLN:
        """See RunConfig."""
        shown = labels.class_index[labels.class_index >= 0]
        prior = stream_prior(shown, num_products, self.scramble.share, self.scramble.main_label)
        return KAGMTLN(self.method, num_products, torch.from_numpy(prior))

    def exported(self, num_products: int) -> KAGMTLN:
        """See RunConfig."""
        return KAGMTLN(self.method, num_products, load_weights=False, auxiliary=False)

    def sampler(self, training_set: pa.Table, labels: Labels) -> ShuffleSampler:
        """See RunConfig."""
        return ShuffleSampler(labels, self.sampling, self.seed)

    def check(self, training_set: pa.Table) -> None:
        """See RunConfig."""
        if not self.scramble.share:
            return
        rows = training_set.select(["uri", "box", "width", "height"]).to_pylist()
        sizes = [_shorter_side(row) for row in rows]
        least = int(np.argmin(sizes))
        if sizes[least] < self.scramble.degree:
            raise DataError(
                f"{rows[least]['uri']}: its shorter side has {sizes[least]:.0f} px; wanted at least scramble.degree, "
                f"{self.scramble.degree}, so that a cell has a pixel (a smaller degree, or leave it out)"
            )

    def transforms(self, training_set: pa.Table) -> Transforms:
        """See RunConfig."""
        del training_set
        return Transforms(self.limits, self.preprocessing, self.augmentation, self.scramble)


class MGFENRun(RunConfig):
    """A training run of MGFEN; `preprocessing.side_px` is the side of the image that windows are cut from.

    A photograph in memory takes 3·side_px² bytes until the device has it, 5.4 MB at 1344 px.
    """

    classifies: ClassVar[bool] = True
    judged_by: ClassVar[tuple[str, ...]] = ("accuracy", "separation")

    method: MGFENConfig
    sampling: ShuffleConfig = ShuffleConfig(batch_size=8, showings=1)
    background: BackgroundConfig | None = Field(
        BackgroundConfig(), description="replacement of backgrounds in training; null: they stay as they are"
    )
    composite: CompositeConfig = CompositeConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> MGFENRun:
        side, losses = self.preprocessing.side_px, self.method.losses
        if self.method.global_px > side:
            raise ValueError(
                f"method.global_px: found {self.method.global_px}; wanted at most preprocessing.side_px, {side}"
            )
        if losses.consistency and not (self.sampling.pairs and self._replaces):
            raise ValueError(
                f"method.losses.consistency: found {losses.consistency}, and no photograph comes on two backgrounds; "
                "wanted sampling.pairs: true and a background.probability above 0, or a consistency of 0"
            )
        return self

    @property
    def _replaces(self) -> bool:
        return self.background is not None and self.background.probability > 0

    def untrained(self, num_products: int, labels: Labels) -> MGFEN:
        """See RunConfig."""
        shown = labels.class_index[labels.class_index >= 0]
        return MGFEN(self.method, num_products, torch.from_numpy(stream_prior(shown, num_products, 0.0, "keep")))

    def exported(self, num_products: int) -> MGFEN:
        """See RunConfig."""
        return MGFEN(self.method, num_products, load_weights=False)

    def sampler(self, training_set: pa.Table, labels: Labels) -> ShuffleSampler:
        """See RunConfig."""
        return ShuffleSampler(labels, self.sampling, self.seed)

    def check(self, training_set: pa.Table) -> None:
        """Warn of photographs smaller than their windows, those with no foreground, and heat that cannot learn."""
        rows = training_set.select(["uri", "box", "mask_uri", "width", "height"]).to_pylist()
        windows = self.method.windows
        if windows is not None:
            wanted = windows.crop_px / max(windows.sides)
            small = [row["uri"] for row in rows if _shorter_side(row) < wanted]
            _warn(small, len(rows), f"have a shorter side below {wanted:.0f} px: every window of them is enlarged")
            losses = self.method.losses
            heat_learns = losses.activation or (losses.vote and windows.weights == "heat")
            if self.method.pyramid is not None and not heat_learns:
                _logger.warning(
                    "method.losses.activation: found 0, and no vote by heat, which leaves the heat map's convolutions "
                    "as they began; wanted above 0, or method.pyramid: null, for windows that lie where it matters"
                )
        if self._replaces:
            bare = [row["uri"] for row in rows if row["mask_uri"] is None and row["box"] is None]
            _warn(bare, len(rows), "have neither mask nor box, and keep their background (`hallmark data prepare`)")

    def transforms(self, training_set: pa.Table) -> Transforms:
        """See RunConfig; the photographs' own backgrounds are shared out among all of them, whatever they show."""
        if not self._replaces:
            return Transforms(self.limits, self.preprocessing, self.augmentation)
        rows = training_set.select(["uri", "mask_uri"]).to_pylist()
        own = [Masked(row["uri"], row["mask_uri"]) for row in rows if row["mask_uri"] is not None]
        replacement = BackgroundReplacement(BackgroundLibrary(self.background, own), self.composite)
        return Transforms(self.limits, self.preprocessing, self.augmentation, background=replacement)


def _warn(uris: Sequence[str], out_of: int, what: str) -> None:
    if uris:
        _logger.warning("%d of %d training photographs %s; the first: %s", len(uris), out_of, what, uris[0])


def _shorter_side(row: dict[str, Any]) -> float:
    """Of the part of a photograph that is shown, px."""
    if row["box"] is None:
        return min(row["width"], row["height"])
    x0, y0, x1, y1 = row["box"]
    return min(x1 - x0, y1 - y0)


RUNS: dict[str, type[RunConfig]] = {"fod": FoDRun, "kag_mtln": KAGRun, "mgfen": MGFENRun}
"""By the name of the method, which is that of its presets too."""


def read_run(settings: dict[str, Any], source: str) -> RunConfig:
    """A run of the method that its key `method.method` names, FoD where it names none.

    Raises:
        ConfigError: a key or value is wrong, or there is no such method.
    """
    method = settings.get("method")
    name = method.get("method", "fod") if isinstance(method, dict) else "fod"
    if name not in RUNS:
        raise ConfigError(f"{source}: method.method: found {name!r}; wanted one of {', '.join(RUNS)}")
    return validate(RUNS[name], settings, source)
