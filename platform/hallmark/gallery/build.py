"""Describing and enrolling many photographs with Ray Data."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from pydantic import Field
from tqdm import tqdm

from hallmark.config import Config
from hallmark.data.manifest import read_manifest, rows_with
from hallmark.errors import GalleryError, ResourceError
from hallmark.gallery.describe import Describer, Located, Outcome, describe_located, located
from hallmark.gallery.settings import IndexConfig
from hallmark.gallery.store import Gallery, enrolable, write_references
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.types import Authenticity, Role


class DescribeConfig(Config):
    """How photographs are described on the cluster."""

    num_workers: int = Field(1, ge=1, description="actors, each with the network loaded once")
    use_gpu: bool = Field(False, description="one GPU an actor")
    batch_size: int = Field(32, ge=1, description="photographs a forward pass")


class GalleryConfig(Config):
    """Which photographs become references, and where."""

    manifest: str = Field(description="path of manifest.parquet")
    bundle: str = Field(description="folder of the bundle")
    out: str = Field(description="the gallery: a folder ending in .lance")
    roles: tuple[Role, ...] = Field((Role.TRAIN, Role.REFERENCE), description="roles that are enrolled")
    authenticities: tuple[Authenticity, ...] = Field(
        (Authenticity.GENUINE, Authenticity.COUNTERFEIT),
        description="genuine references, and known counterfeits to compare with",
    )
    describe: DescribeConfig = DescribeConfig()
    index: IndexConfig = IndexConfig()


def build_gallery(config: GalleryConfig) -> tuple[Gallery, list[Outcome]]:
    """Enrol a manifest's photographs as a new gallery version.

    Returns:
        The gallery, and the photographs that could not be read.

    Raises:
        GalleryError: nothing to enrol.
    """
    bundle = open_bundle(config.bundle)
    table = read_manifest(Path(config.manifest))
    table = rows_with(table, config.roles, config.authenticities)
    if not table.num_rows:
        raise GalleryError(
            f"{config.manifest}: no photograph has a role in {', '.join(config.roles)} and is "
            f"{' or '.join(config.authenticities)}; nothing to enrol"
        )
    outcomes = list(describe_photographs(bundle, located(table), config.describe))
    references = enrolable(table, outcomes)
    gallery = write_references(config.out, references, bundle.bundle_id, bundle.embedding_id)
    return gallery, [outcome for outcome in outcomes if outcome.described is None]


def describe_photographs(bundle: Bundle, photographs: Sequence[Located], config: DescribeConfig) -> Iterator[Outcome]:
    """Describe photographs on the cluster, in the order given; a bad one comes back with its error.

    Raises:
        ResourceError: the cluster cannot hold the actors.
    """
    _check_resources(config)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    pickled = pa.table({"photograph": [pickle.dumps(photograph) for photograph in photographs]})
    blocks = [pickled.slice(start, config.batch_size) for start in range(0, len(photographs), config.batch_size)]
    described = ray.data.from_arrow(blocks).map_batches(
        _DescribeActor,
        fn_constructor_kwargs={"bundle_path": str(bundle.path), "use_gpu": config.use_gpu},
        batch_size=config.batch_size,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.num_workers),
        num_cpus=1,
        num_gpus=1 if config.use_gpu else 0,
    )
    rows = described.iter_rows()
    for row in tqdm(rows, total=len(photographs), desc="describing", unit="photo", mininterval=2, ascii=True):
        yield pickle.loads(row["outcome"])


class _DescribeActor:
    def __init__(self, bundle_path: str, use_gpu: bool):
        self._describer = Describer(open_bundle(bundle_path), "cuda" if use_gpu else "cpu")

    def __call__(self, columns: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        photographs = [pickle.loads(photograph) for photograph in columns["photograph"]]
        return {"outcome": [pickle.dumps(outcome) for outcome in describe_located(self._describer, photographs)]}


def _check_resources(config: DescribeConfig) -> None:
    has = ray.cluster_resources()
    # The actors read inside their map; one CPU each is all they take.
    if has.get("CPU", 0) < config.num_workers or has.get("GPU", 0) < config.num_workers * config.use_gpu:
        raise ResourceError(
            f"describe.num_workers: found {config.num_workers}, one CPU{' and GPU' if config.use_gpu else ''} each; "
            f"the cluster has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"
        )
