"""Decode and augment: the Ray Data pipeline against torch's DataLoader and against plain loops, in one run.

    python benchmarks/data_throughput.py [--photographs 2000] [--memory 20000]

Three ways do the same work on the same photographs: (a) `limit`, a plain loop in each of two processes, which hands
nothing on; (b) `loader`, a DataLoader with two workers; (c) `ray`, `photograph_stream` on a private cluster of 2 CPUs.
Each runs twice, in mirrored order, and the better rate counts. Worker processes run at Ray's niceness (15) everywhere.
Rates are of steady state, the slope of a line through the arrivals (those of Ray come in bursts, a task's worth at a
time); the time to the first batch is stated apart. `--memory` streams that many photographs once more, and compares
peak memory with the shorter run's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import torch

from hallmark.cluster import PrivateCluster
from hallmark.data.allocation import keep_freed_memory
from hallmark.data.batches import Columns, load_photographs
from hallmark.data.decode import DecodeLimits
from hallmark.data.preprocess import Augmentation, Preprocessing
from hallmark.data.scramble import ScrambleConfig
from hallmark.data.synthetic import DrawConfig, draw_shot, plan
from hallmark.data.tone import ToneConfig
from hallmark.data.transforms import Transforms, photograph_seed

_NICENESS, _PROCESSES, _BATCH, _DRAWN = 15, 2, 24, 24
_WORK = Transforms(
    DecodeLimits(),
    Preprocessing(side_px=448, fill="uniform", tone=ToneConfig(gamma=True, ace=True)),
    Augmentation(),
    ScrambleConfig(),
)


@dataclass(frozen=True)
class Run:
    """One way through the photographs."""

    rate: float
    """photographs a second in steady state"""
    first_s: float
    """until the first batch"""
    total_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=2000, help="photographs of 1024 px (%(default)s)")
    parser.add_argument("--memory", type=int, default=0, help="photographs of the long run; 0 = none (%(default)s)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # before any worker is forked: OpenCV's threads do not survive that
    with tempfile.TemporaryDirectory(prefix="hallmark-throughput-") as folder:
        columns = _photographs(Path(folder), arguments.photographs)
        limits, loaders = [_limit(columns)], [_run(_loader(columns))]
        with PrivateCluster(_PROCESSES, object_store_bytes=1_000_000_000) as cluster:
            cluster.start()
            os.environ |= cluster.environment
            rays, memory = _on_ray(columns, arguments.memory)
        loaders.append(_run(_loader(columns)))
        limits.append(_limit(columns))
    _print(limits, loaders, rays, memory)


def _photographs(folder: Path, count: int) -> Columns:
    """Drawn products, shifted and encoded anew so that every file differs."""
    config = DrawConfig(side_px=1024, products=12, photographs=_DRAWN, unrelated_share=0)
    drawn = [cv2.resize(draw_shot(shot, config).image[..., ::-1], (1024, 1024)) for shot in plan(config)]
    rng = np.random.default_rng(0)
    uris = []
    for number in range(count):
        image = np.roll(drawn[number % _DRAWN], rng.integers(0, 1024, 2), (0, 1))
        uris.append(str(folder / f"{number:05d}.jpg"))
        cv2.imwrite(uris[-1], image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return _columns(uris)


def _columns(uris: list[str]) -> Columns:
    number = len(uris)
    return {
        "uri": np.array(uris, dtype=object),
        "box": np.full(number, None, dtype=object),
        "product": np.zeros(number, np.int64),
        "genuine": np.ones(number, bool),
        "class_index": np.ones(number, np.int64),
        "identity": np.zeros(number, np.int64),
        "seed": np.array([photograph_seed(0, 0, uri, copy) for copy, uri in enumerate(uris)]),
    }


def _part(columns: Columns, rows: slice | list[int]) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def _limit(columns: Columns) -> float:
    """Photographs a second of plain loops, each process in its own half."""
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        halves = [_part(columns, slice(start, None, _PROCESSES)) for start in range(_PROCESSES)]
        return sum(pool.map(_plain_loop, halves, chunksize=1))


def _plain_loop(columns: Columns) -> float:
    _behave()
    number = len(columns["uri"])
    began = perf_counter()
    for row in range(number):
        load_photographs(_part(columns, slice(row, row + 1)), _WORK)
    return number / (perf_counter() - began)


def _behave(_: int = 0) -> None:
    os.nice(_NICENESS - os.nice(0))
    keep_freed_memory()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class _Photographs(torch.utils.data.Dataset):
    def __init__(self, columns: Columns):
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["uri"])

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(load_photographs(_part(self._columns, slice(row, row + 1)), _WORK)["image"][0])


def _loader(columns: Columns) -> Iterator[int]:
    loader = torch.utils.data.DataLoader(
        _Photographs(columns), batch_size=_BATCH, num_workers=_PROCESSES, worker_init_fn=_behave
    )
    for batch in loader:
        yield len(batch)


def _on_ray(columns: Columns, long: int) -> tuple[list[Run], dict[str, float]]:
    from hallmark.data.pipeline import connected

    with connected():
        with _PeakMemory() as short_peak:  # a run of its own: reading the memory of many processes slows them
            _run(_ray(columns))
        runs = [_run(_ray(columns)), _run(_ray(columns))]
        memory = {"peak_gb": short_peak.gb}
        if long:
            rows = np.arange(long) % len(columns["uri"])
            with _PeakMemory() as long_peak:
                _run(_ray(_part(columns, list(rows))))
            memory |= {"peak_gb_long": long_peak.gb, "photographs_long": long}
    return runs, memory


def _ray(columns: Columns) -> Iterator[int]:
    from hallmark.data.pipeline import photograph_stream

    for batch in photograph_stream(columns, _BATCH, _WORK, collate=_tensors):
        yield len(batch)


def _tensors(columns: Columns) -> torch.Tensor:
    return torch.tensor(columns["image"])


def _run(batches: Iterable[int]) -> Run:
    began = perf_counter()
    arrivals = []
    done = 0
    for size in batches:
        done += size
        arrivals.append((done, perf_counter() - began))
    counts, times = np.transpose(arrivals)
    rate, _ = np.polyfit(times, counts, 1)
    return Run(float(rate), times[0], times[-1])


class _PeakMemory:
    """Largest memory of this process and all below the cluster: proportional set sizes, shared memory counted once."""

    def __init__(self) -> None:
        self.gb = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(1):
            self.gb = max(self.gb, sum(map(_proportional_kb, _family(os.getpid()))) / 1e6)


def _family(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def _proportional_kb(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _print(limits: list[float], loaders: list[Run], rays: list[Run], memory: dict[str, float]) -> None:
    loader, ray = (max(runs, key=lambda run: run.rate) for runs in (loaders, rays))
    limit = max(limits)
    print(f"{'':10} {'photographs/s':>14} {'first batch s':>14} {'whole run s':>12}")
    print(f"{'limit':10} {limit:>14.1f}")
    for name, run in (("loader", loader), ("ray", ray)):
        print(f"{name:10} {run.rate:>14.1f} {run.first_s:>14.1f} {run.total_s:>12.1f}")
    ratios = {"vs_dataloader": ray.rate / loader.rate, "vs_limit": ray.rate / limit}
    print(f"ray / loader {ratios['vs_dataloader']:.3f}, ray / limit {ratios['vs_limit']:.3f}")
    print(f"peak memory, cluster and object store included: {memory['peak_gb']:.2f} GB")
    if "peak_gb_long" in memory:
        ratios["memory_long_over_short"] = memory["peak_gb_long"] / memory["peak_gb"]
        print(f"  with {memory['photographs_long']} photographs: {memory['peak_gb_long']:.2f} GB")
    figures = {f"limit_{k}": rate for k, rate in enumerate(limits)}
    for name, runs in (("loader", loaders), ("ray", rays)):
        for k, run in enumerate(runs):
            figures |= {f"{name}_{k}": run.rate, f"{name}_{k}_first_s": run.first_s, f"{name}_{k}_total_s": run.total_s}
    print(json.dumps({"benchmark": "data_throughput", "ratios": ratios, "figures": figures | memory}))


if __name__ == "__main__":
    main()
