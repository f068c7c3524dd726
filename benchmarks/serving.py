"""Throughput and latency of the served graph, beside a bare loop and a plain FastAPI application on the same functions.

Photographs of drawn labels are asked about by ViT-S at 322 px (preset `small`) with random weights: time does not
depend on the weights. All three decode, describe, search and verify with the same code and the same number of threads
for the network.

    bare loop   one process: decodes and describes a batch at a time, then searches and verifies one by one; the next
                batch is decoded while the network is busy, as a careful script would
    FastAPI     uvicorn and one route that does the same for each request in the server's thread pool, no batching
    served      serve_configs/local.yaml on a private Ray cluster, asked over HTTP with a key

The clients run on the same machine and cost all but the bare loop some processor time.

    python benchmarks/serving.py --work <folder>
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from verification import drawn_rows, random_bundle

from hallmark.cluster import PrivateCluster
from hallmark.data.synthetic import DrawConfig, draw_set
from hallmark.evaluation.protocol import sample_of
from hallmark.gallery.describe import Describer
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import Reference, open_gallery, write_references
from hallmark.serving.auth import Scope, add_key
from hallmark.training.bundle import open_bundle, write_calibration
from hallmark.types import Authenticity, Described, Verdict
from hallmark.verdict.calibration import CalibrationConfig, calibration_of
from hallmark.verdict.comparison import Comparison, Examiner
from hallmark.verdict.fitting import fit_calibration

_ROOT = Path(__file__).parents[1]
_NUM_CALIBRATION = 16
_REFERENCE_ITEMS = 4
_BATCH = 8
_HOST = "127.0.0.1"


class Engine:
    """A bundle and a gallery in one process: what all three ways of asking run."""

    def __init__(self, folder: Path, bundle: Path | None = None):
        bundle = open_bundle(bundle or folder / "bundle")
        calibration = calibration_of(bundle)
        self.describer = Describer(bundle)
        self._index = GalleryIndex(open_gallery(folder / "gallery.lance", None, bundle.embedding_id))
        self._examiner = Examiner(self._index.gallery, calibration, bundle.bundle_id)
        self._num_candidates = calibration.num_candidates

    def judge(self, described: Described) -> Verdict:
        """Search and verify."""
        return self._examiner.examine(described, self._index.retrieve(described.descriptor, self._num_candidates))

    def ask(self, data: bytes) -> Verdict:
        """One photograph, alone."""
        return self.judge(self.describer.describe([self.describer.read(data, thumbnail=False)])[0])


def prepare(folder: Path, preset: str = "small") -> list[bytes]:
    """A calibrated bundle, a gallery and photographs to ask about, made once."""
    drawn = folder / "drawn"
    config = DrawConfig(size="ci", parts=("round_label", "woven_label"), products=2, difficulty=0.3, photographs=160)
    draw_set(config, drawn, os.cpu_count() or 1)
    rows = [row for row in drawn_rows(drawn) if row["product"]]
    numbers = {row["uri"]: int(row["item_id"].rsplit("/", 1)[1]) for row in rows}
    genuine = [row for row in rows if row["authenticity"] == Authenticity.GENUINE]
    enrolled = [row for row in genuine if numbers[row["uri"]] < _REFERENCE_ITEMS]
    held_out = [row for row in genuine if numbers[row["uri"]] >= _REFERENCE_ITEMS][:_NUM_CALIBRATION]
    taken = {row["uri"] for row in (*enrolled, *held_out)}
    if not (folder / "bundle" / "calibration.json").is_file():
        _enrol_and_calibrate(folder, preset, drawn, enrolled, held_out)
    return [(drawn / row["uri"]).read_bytes() for row in rows if row["uri"] not in taken]


def _enrol_and_calibrate(folder: Path, preset: str, drawn: Path, enrolled: list[dict], held_out: list[dict]) -> None:
    bundle = random_bundle(folder / "bundle", preset)
    describer = Describer(bundle)

    def described(row: dict) -> Described:
        return describer.describe([describer.read((drawn / row["uri"]).read_bytes())])[0]

    references = [
        Reference(described(row), row["product"], row["part"], row["item_id"], Authenticity.GENUINE, b"")
        for row in enrolled
    ]
    # The calibration changes the bundle_id, not the embedding that the gallery is bound to.
    gallery = write_references(folder / "gallery.lance", references, bundle.bundle_id, bundle.embedding_id)
    config, index = CalibrationConfig(mode="one_class"), GalleryIndex(gallery)
    comparison = Comparison(gallery, 0.5, config.verification)
    samples = [sample_of(row, described(row), index, comparison, config) for row in held_out]
    write_calibration(bundle.path, fit_calibration(samples, 0.5, config, "benchmark", 0).model_dump(mode="json"))


def bare_loop(folder: Path, photographs: Sequence[bytes], seconds: float) -> dict[str, float]:
    """Photographs a second in batches, and the median time of one alone, ms."""
    engine = Engine(folder)
    for data in photographs[:_BATCH]:
        engine.ask(data)
    alone = []
    for data in photographs[:12]:
        began = time.perf_counter()
        engine.ask(data)
        alone.append(1e3 * (time.perf_counter() - began))
    batches = [list(photographs[start : start + _BATCH]) for start in range(0, len(photographs) - _BATCH + 1, _BATCH)]
    done, began = 0, time.perf_counter()
    with ThreadPoolExecutor(1) as loader:
        ahead = loader.submit(_read, engine, batches[0])
        while time.perf_counter() - began < seconds:
            read, ahead = ahead.result(), loader.submit(_read, engine, batches[(done // _BATCH + 1) % len(batches)])
            for described in engine.describer.describe(read):
                engine.judge(described)
            done += len(read)
        rate = done / (time.perf_counter() - began)
    return {"per_second": rate, "p50_ms": float(np.median(alone))}


def _read(engine: Engine, batch: Sequence[bytes]) -> list:
    return [engine.describer.read(data, thumbnail=False) for data in batch]


def serve_plainly(folder: Path, port: int) -> None:
    """A plain application around the same functions; returns when it is ended from outside."""
    engine, app = Engine(folder), FastAPI()

    @app.post("/v1/verdicts")
    def verdicts(photograph: UploadFile) -> Verdict:
        return engine.ask(photograph.file.read())

    uvicorn.run(app, host=_HOST, port=port, log_level="error")


async def _load(
    url: str, headers: dict[str, str], photographs: Sequence[bytes], clients: int, seconds: float
) -> dict[str, float]:
    """Photographs a second and latencies with some clients, each asking its next question when it has its answer."""
    times: list[float] = []
    failed = 0
    deadline = time.perf_counter() + seconds

    async def client(session: httpx.AsyncClient, place: int) -> None:
        nonlocal failed
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            data = photographs[place % len(photographs)]
            answer = await session.post("/v1/verdicts", files={"photograph": ("photograph.jpg", data)})
            failed += answer.status_code != httpx.codes.OK
            times.append(1e3 * (time.perf_counter() - began))
            place += clients

    async with _session(url, headers, clients) as session:
        for data in photographs[:2]:
            (await session.post("/v1/verdicts", files={"photograph": ("photograph.jpg", data)})).raise_for_status()
        began = time.perf_counter()
        deadline = began + seconds
        await asyncio.gather(*(client(session, place) for place in range(clients)))
        took = time.perf_counter() - began
    p50, p95 = np.quantile(times, [0.5, 0.95])
    return {"per_second": len(times) / took, "p50_ms": float(p50), "p95_ms": float(p95), "failed": failed}


@asynccontextmanager
async def _session(url: str, headers: dict[str, str], clients: int) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, limits=limits) as session:
        yield session


@contextmanager
def plain_application(folder: Path, port: int) -> Iterator[str]:
    """The FastAPI application in a process of its own."""
    command = [sys.executable, __file__, "--work", str(folder), "--plain", str(port)]
    process = subprocess.Popen(command)
    try:
        _await(f"http://{_HOST}:{port}/docs", process)
        yield f"http://{_HOST}:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def served(folder: Path, port: int, overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The graph on a private cluster: its URL and a key."""
    keys = folder / "keys.json"
    token = add_key(keys, "benchmark", [Scope.VERIFY])
    settings = [f"args.bundle={folder / 'bundle'}", f"args.gallery={folder / 'gallery.lance'}", f"args.keys={keys}"]
    settings += [f"http_options.port={port}", f"args.threads={torch.get_num_threads()}", *overrides]
    command = [sys.executable, "jobs/deploy.py", "--config", "serve_configs/local.yaml"]
    command += [part for setting in settings for part in ("--set", setting)]
    with PrivateCluster(num_cpus=8, object_store_bytes=300_000_000) as cluster:
        cluster.start()
        subprocess.run(command, cwd=_ROOT, env=cluster.environment, check=True)
        yield f"http://{_HOST}:{port}", token


def _await(url: str, process: subprocess.Popen) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit("the plain application ended before it answered")
        try:
            httpx.get(url, timeout=1)
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def measure(url: str, token: str, photographs: Sequence[bytes], seconds: float, clients: int) -> dict[str, float]:
    """One client alone, then many at once."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    alone = asyncio.run(_load(url, headers, photographs, 1, seconds / 2))
    many = asyncio.run(_load(url, headers, photographs, clients, seconds))
    return {
        "per_second": many["per_second"],
        "p50_ms": alone["p50_ms"],
        "p95_ms": alone["p95_ms"],
        "p50_ms_busy": many["p50_ms"],
        "p95_ms_busy": many["p95_ms"],
        "failed": alone["failed"] + many["failed"],
    }


def main() -> None:
    arguments = _arguments()
    if os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
        # As the served network has it; it counts from the start of a process.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"OMP_WAIT_POLICY": "PASSIVE"})
    folder = arguments.work.resolve()
    if arguments.plain:
        serve_plainly(folder, arguments.plain)
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    # For the plain application, which reads it when it starts.
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    photographs = prepare(folder)
    told = {"bare loop": bare_loop(folder, photographs, arguments.seconds)}
    _tell("bare loop", told["bare loop"])
    ways: dict[str, Callable] = {
        "FastAPI": lambda: plain_application(folder, arguments.port),
        "served": lambda: served(folder, arguments.port + 1, arguments.set),
    }
    for name, way in ways.items():
        with way() as place:
            url, token = place if isinstance(place, tuple) else (place, "")
            told[name] = measure(url, token, photographs, arguments.seconds, arguments.clients)
        _tell(name, told[name])
    ratios = {
        "vs_bare_loop": told["served"]["per_second"] / told["bare loop"]["per_second"],
        "vs_fastapi": told["served"]["per_second"] / told["FastAPI"]["per_second"],
        "p50_over_bare": told["served"]["p50_ms"] / told["bare loop"]["p50_ms"],
    }
    ratios = {name: round(value, 3) for name, value in ratios.items()}
    print(json.dumps({"benchmark": "serving", "ratios": ratios, "figures": told}))


def _tell(name: str, figures: dict[str, float]) -> None:
    print(f"{name:>10}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="folder of the set, bundle and gallery")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="that ask at once (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the network (default: all cores)")
    parser.add_argument("--port", type=int, default=8631, help="and the next one, on loopback (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], help="laid over serve_configs/local.yaml")
    parser.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
