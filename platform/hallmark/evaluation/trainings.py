"""The trainings of an analysis: each is made once, and what was broken off goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from hallmark.config import config_hash
from hallmark.data.manifest import manifest_hash, read_manifest, write_manifest
from hallmark.data.resplit import split_by_ratio
from hallmark.errors import OutputError
from hallmark.evaluation.outcomes import Outcome, judge, photographs_to_judge, read_outcome, write_outcome
from hallmark.evaluation.training_subset import training_subset
from hallmark.evaluation.variants import AnalysisConfig, Variant, run_of
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.training.epochs import plan_training
from hallmark.training.run import RunConfig

Train = Callable[[RunConfig], Bundle]
"""Trains a run and writes its bundle: on the cluster or in this process."""


@dataclass(frozen=True)
class Training:
    """One variant with one seed."""

    key: str
    """Hash of all that decides its outcome."""
    variant: str
    run: RunConfig

    @property
    def folder(self) -> Path:
        """Holds the bundle, outcome.json beside it, and the trainer's own files."""
        return Path(self.run.out).parent

    @property
    def bundle(self) -> Bundle:
        """Opened again; it must have been trained."""
        return open_bundle(self.run.out)


class Trainings:
    """The trainings of an analysis, by variant and seed; two variants that come to the same run share one."""

    def __init__(self, config: AnalysisConfig, variants: Sequence[Variant]):
        """Lay out every training, so that a wrong key or an unsuitable photograph is told before the first begins.

        Raises:
            ConfigError, DataError: a run is not valid or its photographs do not suit it; names what.
            OutputError: a subset's manifest cannot be written.
        """
        self._config = config
        self._table = read_manifest(Path(config.run["manifest"]))
        photographs_to_judge(self._table, config.run["manifest"])
        self._by_recipe: dict[tuple[Variant, int], Training] = {}
        self._outcomes: dict[str, Outcome] = {}
        for variant in variants:
            for seed in self._seeds(variant):
                self._by_recipe[variant, seed] = self._laid_out(variant, seed)
        self.distinct = list({training.key: training for training in self._by_recipe.values()}.values())
        for training in self.distinct:
            plan_training(training.run)

    def of(self, variant: Variant) -> list[Training]:
        """One a seed; with a split of its own, one."""
        return [self._by_recipe[variant, seed] for seed in self._seeds(variant)]

    def outcomes(self, variant: Variant) -> list[Outcome]:
        """One a seed; they must have been made."""
        return [self._outcomes[training.key] for training in self.of(variant)]

    def make(self, train: Train) -> None:
        """Train what has no outcome yet, one after another, and store each outcome before the next begins.

        Raises:
            OutputError: an outcome cannot be written.
            DataError, ConfigError, WeightsError, DivergedError, ResourceError: what is wrong with a training.
        """
        with tqdm(self.distinct, desc="trainings", unit="training", ascii=True) as progress:
            for training in progress:
                progress.set_postfix_str(f"{training.variant}, seed {training.run.seed}")
                self._outcomes[training.key] = self._outcome(training, train)

    def _seeds(self, variant: Variant) -> tuple[int, ...]:
        return self._config.seeds if variant.split is None else self._config.seeds[:1]

    def _laid_out(self, variant: Variant, seed: int) -> Training:
        out = Path(self._config.out).resolve()
        run = run_of(self._config, variant, seed)
        manifest, table = Path(run.manifest).resolve(), self._table
        if variant.split is not None:
            table = split_by_ratio(table, variant.split)
            manifest = _written(table, out / "manifests" / f"split-{config_hash(variant.split)}")
        if variant.share < 1:
            table = training_subset(table, variant.share, seed)
            manifest = _written(table, out / "manifests" / f"share-{variant.share:g}-seed-{seed}")
        key = _key(run, table)
        place = {"manifest": str(manifest), "out": str(out / "trainings" / key / "bundle")}
        return Training(key, variant.name, run.model_copy(update=place))

    def _outcome(self, training: Training, train: Train) -> Outcome:
        file = training.folder / "outcome.json"
        known = read_outcome(file)
        if known is not None:
            return known
        whole = (Path(training.run.out) / "config.yaml").is_file()
        bundle = training.bundle if whole else train(training.run)
        outcome = judge(bundle, read_manifest(Path(training.run.manifest)), self._config.device)
        write_outcome(file, outcome)
        # The trainer's checkpoints outweigh the bundle many times over.
        shutil.rmtree(training.folder / "training", ignore_errors=True)
        return outcome


def _key(run: RunConfig, table: pa.Table) -> str:
    """Of what decides the outcome: not of where files lie, nor of who computes it."""
    fields = type(run).model_fields
    plain = {name: fields[name].get_default() for name in ("preset", "workers", "stream")}
    return config_hash(run.model_copy(update=plain | {"manifest": manifest_hash(table), "out": ""}))


def _written(table: pa.Table, folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(table, folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror}); wanted a folder with room to write"
        ) from None
    return folder / "manifest.parquet"
