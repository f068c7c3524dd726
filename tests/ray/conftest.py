"""One private Ray cluster for the session, and one small run of every job on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hallmark.cluster import PrivateCluster
from hallmark.data.synthetic import DrawConfig, draw_set


@dataclass(frozen=True)
class Run:
    """Where the session's small run lies, and what its jobs printed."""

    folder: Path
    printed: dict[str, str]

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.parquet"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def gallery(self) -> Path:
        return self.folder / "gallery.lance"


def _job(
    cluster: PrivateCluster, root: Path, name: str, *overrides: str, config: str | None = None
) -> subprocess.CompletedProcess:
    command = [sys.executable, f"jobs/{name}.py", *(["--config", config] if config else [])]
    command += [part for override in overrides for part in ("--set", override)]
    return subprocess.run(
        command, cwd=root, env=cluster.environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="session")
def cluster() -> Iterator[PrivateCluster]:
    with PrivateCluster(num_cpus=6, object_store_bytes=300_000_000) as started:
        started.start()
        yield started


@pytest.fixture(scope="session")
def job(cluster: PrivateCluster, root: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`job(name, *overrides, config=None)` runs jobs/<name>.py as a driver of the session's cluster; never raises."""
    return partial(_job, cluster, root)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn photographs as a user would have it, with a corrupt file and one of an unknown type."""
    drawn, folder = tmp_path_factory.mktemp("drawn"), tmp_path_factory.mktemp("photographs")
    draw_set(DrawConfig(size="smoke", side_px=128, products=2, shots_per_item=1, difficulty=0.2), drawn)
    for place in sorted(drawn.iterdir()):
        if place.is_dir() and place.name not in ("masks", "edits"):
            place.rename(folder / place.name)
    genuine = next(path for path in sorted(folder.rglob("genuine")))
    whole = next(iter(sorted(genuine.glob("*.jpg")))).read_bytes()
    (genuine / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (genuine / "notes.docx").write_bytes(b"no photograph")
    return folder


@pytest.fixture(scope="session")
def run(job: Callable[..., Any], photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ingest, train on two workers, enrol, evaluate; each job must end well."""
    made = Run(tmp_path_factory.mktemp("run"), {})
    manifest, bundle, gallery = f"manifest={made.manifest}", f"bundle={made.bundle}", f"gallery={made.gallery}"
    small = ["preprocessing.side_px=96", "optimiser.epochs=2", "validate_every=1", "sampling.products=2"]
    small += ["sampling.genuine=2", "sampling.counterfeit=2", "sampling.unrelated=2", "sampling.steps_per_epoch=2"]
    steps: dict[str, list[str]] = {
        "ingest": [f"source={photographs}", f"out={made.folder}"],
        "train_fod": [manifest, f"out={made.bundle}", *small],
        "build_gallery": [manifest, bundle, f"out={made.gallery}"],
        "evaluate": [manifest, bundle, gallery, f"out={made.folder}"],
    }
    for name, overrides in steps.items():
        ended = job(name, *overrides, config="jobs/configs/fod_demo.yaml" if name == "train_fod" else None)
        assert ended.returncode == 0, f"{name}:\n{ended.stdout}\n{ended.stderr}"
        made.printed[name] = ended.stdout
    return made
