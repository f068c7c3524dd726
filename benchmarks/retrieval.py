"""Retrieval as the gallery grows: recall, time, memory, and how soon an enrolled reference is found.

    python benchmarks/retrieval.py [--sizes 1000,10000,100000] [--folder /tmp/x] [--verdict-ms 450]

Descriptors are drawn round product centres, with the spread and the falling spectrum that those of a trained network
have: fitted on 318 photographs of four products (`Fitted`). They are stored for real, each reference with its names and
descriptor; its local details are one cue and no picture, so that the disk holds a million (some 4.6 GB). References of
a product lie scattered over the store. Every figure of an index is taken in a process of its own that only opens it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import lance
import numpy as np
import pyarrow as pa

from hallmark.gallery.columns import LOCAL_DIM
from hallmark.gallery.dataset import EMBEDDING_ID
from hallmark.gallery.exact import ExactSearch
from hallmark.gallery.index import GalleryIndex, IndexConfig
from hallmark.gallery.reading import Gallery, open_gallery

_CHUNK, _QUERIES, _K = 8192, 200, 5
_EXACT_IN_MEMORY = 100_000
"""References up to which exact search is measured as an index in memory; beyond, as one pass through the store."""


@dataclass(frozen=True)
class Fitted:
    """How descriptors of a trained network are spread; shares of the squared length of a unit vector."""

    common: float = 0.20
    """What all products have in common."""
    centres: float = 0.36
    """Of a product from the others."""
    shared: float = 0.22
    """Of a photograph from its product, in directions that all products vary in; falls as rank ** -1.35."""
    own: float = 0.154
    """The same in 16 directions of the product's own; falls as 1 / rank."""
    noise: float = 0.066
    """The same in all directions alike."""


class Drawn:
    """Descriptors of products, the same for a seed."""

    def __init__(self, num_products: int, dim: int, seed: int, fitted: Fitted = Fitted()):
        self._dim, self._seed, self._fitted, self.num_products = dim, seed, fitted, num_products
        rng = np.random.default_rng([seed, 0])
        self._shared = self._basis(rng, min(256, dim)) * self._scale(min(256, dim), fitted.shared, 1.35)[:, None]
        rank = min(512, dim)
        centres = self._basis(rng, rank) * self._scale(rank, fitted.centres, 0.5)[:, None]
        common = rng.normal(size=dim).astype(np.float32)
        common *= np.sqrt(fitted.common) / np.linalg.norm(common)
        self._centres = common + rng.normal(size=(num_products, rank)).astype(np.float32) @ centres

    def _basis(self, rng: np.random.Generator, rank: int) -> np.ndarray:
        return np.linalg.qr(rng.normal(size=(self._dim, rank)).astype(np.float32))[0].T

    @staticmethod
    def _scale(rank: int, power: float, decay: float) -> np.ndarray:
        shares = np.arange(1, rank + 1) ** -decay
        return np.sqrt(power * shares / shares.sum()).astype(np.float32)

    def photographs(self, products: np.ndarray, seed: int) -> np.ndarray:
        """(n, D) float32 unit vectors of photographs of these products."""
        rng, fitted = np.random.default_rng([self._seed, 1, seed]), self._fitted
        noise = np.float32(np.sqrt(fitted.noise / self._dim))
        told = self._centres[products] + noise * rng.standard_normal((len(products), self._dim), np.float32)
        told += rng.standard_normal((len(products), len(self._shared)), np.float32) @ self._shared
        scale = self._scale(16, fitted.own / self._dim, 1.0)
        for product in np.unique(products):
            rows = np.flatnonzero(products == product)
            own = np.random.default_rng([self._seed, 2, int(product)]).standard_normal((16, self._dim), np.float32)
            told[rows] += (rng.standard_normal((len(rows), 16), np.float32) * scale) @ own
        return told / np.linalg.norm(told, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="references; 1000000 on demand (%(default)s)")
    parser.add_argument("--dim", type=int, default=2176, help="of a descriptor; that of preset small (%(default)s)")
    parser.add_argument("--per-product", type=int, default=500, help="references of a product (%(default)s)")
    parser.add_argument("--folder", help="where galleries are kept, and found again; default: a temporary one")
    parser.add_argument(
        "--verdict-ms", type=float, help="a verdict but for retrieval; default: ViT-S at 322 px, measured"
    )
    parser.add_argument("--threads", type=int, default=1, help="of FAISS while searching (%(default)s)")
    parser.add_argument("--index", default="{}", help="IndexConfig as JSON (%(default)s)")
    parser.add_argument("--step", choices=("build", "open", "enrol"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        size = int(arguments.sizes)
        print(json.dumps(_STEPS[arguments.step](Path(arguments.folder), size, arguments)))
        return
    sizes = sorted({int(size) for size in arguments.sizes.split(",")})
    verdict_ms = arguments.verdict_ms or extraction_ms()
    print(
        f"a verdict but for retrieval: {verdict_ms:.0f} ms{'' if arguments.verdict_ms else ' (describing, measured)'}"
    )
    with tempfile.TemporaryDirectory(prefix="hallmark-retrieval-") as temporary:
        folder = Path(arguments.folder or temporary)
        told = {size: measured(folder, size, arguments) for size in sizes}
    _print(told, verdict_ms)


def measured(folder: Path, size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """All figures of one size."""
    began = perf_counter()
    fresh = write_gallery(folder, size, arguments.dim, arguments.per_product)
    told = {"write_s": perf_counter() - began} if fresh else {}
    for step in ("build", "open", "enrol"):
        told |= _in_own_process(step, folder, size, arguments)
    print(
        f"{size:>9} references: recall@10 {told['recall_at_10']:.4f}, product {told['product_agreement']:.3f}, "
        f"search p50 {told['search_ms']:.1f} p95 {told['search_p95_ms']:.1f} ms, exact {told['exact_ms']:.1f} ms, "
        f"memory {told['rss_gb']:.2f} GB, built in {told['build_s']:.1f} s, opened in {told['open_s']:.2f} s, "
        f"enrolled to found {told['visible_s']:.2f} s",
        flush=True,
    )
    return told


def _in_own_process(step: str, folder: Path, size: int, arguments: argparse.Namespace) -> dict[str, float]:
    told = {"sizes": size, "dim": arguments.dim, "per-product": arguments.per_product, "folder": folder, "step": step}
    told |= {"threads": arguments.threads, "index": arguments.index}
    command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in told.items())]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def _uri(folder: Path, size: int) -> Path:
    return folder / f"references-{size}.lance"


def write_gallery(folder: Path, size: int, dim: int, per_product: int) -> bool:
    """Draw a gallery and store it, unless it is there."""
    uri = _uri(folder, size)
    if (uri / "_versions").is_dir():
        return False
    batches = _batches(size, dim, per_product)
    first = next(batches)
    schema = first.schema.with_metadata({EMBEDDING_ID: b"drawn", LOCAL_DIM: b"4"})

    def everything() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, everything()), str(uri), schema=schema)
    return True


def _drawn(size: int, dim: int, per_product: int) -> Drawn:
    return Drawn(max(2, size // per_product), dim, seed=0)


def _batches(size: int, dim: int, per_product: int) -> Iterator[pa.RecordBatch]:
    drawn, rng = _drawn(size, dim, per_product), np.random.default_rng(1)
    for start in range(0, size, _CHUNK):
        count = min(_CHUNK, size - start)
        products = rng.integers(0, drawn.num_products, count)
        flat = drawn.photographs(products, start).astype(np.float16).ravel()
        names = [f"{number:064x}" for number in range(start, start + count)]
        yield pa.record_batch(
            {
                "reference_id": [f"ref-{name[-24:]}" for name in names],
                "image_id": names,
                "product": [f"product {product:06d}" for product in products],
                "part": ["whole"] * count,
                "item_id": [f"item {number // 3}" for number in range(start, start + count)],
                "authenticity": np.where(rng.random(count) < 0.2, "counterfeit", "genuine").tolist(),
                "global": pa.FixedSizeListArray.from_arrays(pa.array(flat), dim),
                "local": pa.array([[0.5] * 4] * count, pa.list_(pa.float16())),
                "positions": pa.array([[0.5, 0.5]] * count, pa.list_(pa.float32())),
                "weights": pa.array([[1.0]] * count, pa.list_(pa.float16())),
                "stride": pa.array([0.25] * count, pa.float64()),
                "frame": pa.FixedSizeListArray.from_arrays(pa.array([1, 0, 1, 0] * count, pa.float32()), 4),
                "surface": pa.array([b""] * count, pa.binary()),
                "thumbnail": pa.array([b""] * count, pa.binary()),
                "bundle_id": ["drawn"] * count,
                "enrolled_at": pa.array([0] * count, pa.timestamp("us", tz="UTC")),
            }
        )


def _queries(size: int, arguments: argparse.Namespace) -> np.ndarray:
    drawn = _drawn(size, arguments.dim, arguments.per_product)
    return drawn.photographs(np.random.default_rng(2).integers(0, drawn.num_products, _QUERIES), -1 % 2**31)


def _index(gallery: Gallery, arguments: argparse.Namespace) -> GalleryIndex:
    return GalleryIndex(gallery, IndexConfig.model_validate_json(arguments.index))


def _build(folder: Path, size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """From the store alone."""
    uri = _uri(folder, size)
    shutil.rmtree(f"{uri}.index", ignore_errors=True)
    began = perf_counter()
    index = _index(open_gallery(uri), arguments)
    told = {"build_s": perf_counter() - began, "build_peak_gb": _memory_gb("VmHWM")}
    if index.recall is not None:
        told |= {
            f"index_{name}": index._search.base.told[name] for name in ("lists", "probes", "recall_at_10", "built_s")
        }
    told["index_mb"] = sum(file.stat().st_size for file in Path(f"{uri}.index").iterdir()) / 1e6
    return told


def _open(folder: Path, size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """From the stored index; then how it searches, against all references."""
    import faiss

    began = perf_counter()
    index = _index(open_gallery(_uri(folder, size)), arguments)
    told = {"open_s": perf_counter() - began}
    faiss.omp_set_num_threads(arguments.threads)
    queries = _queries(size, arguments)
    index.retrieve(queries[0], _K)
    spent, products = [], []
    for query in queries:
        began = perf_counter()
        products.append(index.retrieve(query, _K).product)
        spent.append(1e3 * (perf_counter() - began))
    told |= {"search_ms": float(np.median(spent)), "search_p95_ms": float(np.quantile(spent, 0.95))}
    told["rss_gb"] = _memory_gb("VmRSS")
    found = [index.nearest(query, 10) for query in queries]
    return told | _against_all(index, queries, found, products)


def _against_all(
    index: GalleryIndex, queries: np.ndarray, found: list[np.ndarray], products: list[str | None]
) -> dict[str, float]:
    gallery, names, similarity, spent = index.gallery, index.gallery.catalogue, [], 0.0
    if len(index) <= _EXACT_IN_MEMORY:
        exact = ExactSearch.of(gallery.descriptors())
        for query in queries:
            began = perf_counter()
            similarity.append(exact.similarities(query).astype(np.float32))
            spent += perf_counter() - began
        similarity, spent = np.stack(similarity), spent / len(queries)
    else:
        from hallmark.gallery.columns import matrix_of

        for batch in gallery.scan(["global"], _CHUNK):
            descriptors = matrix_of(batch.column("global")).astype(np.float32)
            similarity.append(queries @ descriptors.T)
            began = perf_counter()
            descriptors @ queries[0]
            spent += perf_counter() - began
        similarity = np.hstack(similarity)
    hits = agreeing = 0
    for own, rows, product in zip(similarity, found, products, strict=True):
        hits += len(np.intersect1d(np.argpartition(-own, 9)[:10], rows))
        order = np.lexsort((-own, names.product))
        starts = np.flatnonzero(np.diff(names.product[order], prepend=-1))
        support = np.array([own[order[start : start + 3]].mean() for start in starts])
        agreeing += names.products[names.product[order[starts[support.argmax()]]]] == product
    return {
        "recall_at_10": hits / (10 * len(queries)),
        "product_agreement": agreeing / len(queries),
        "exact_ms": 1e3 * spent,
    }


def _enrol(folder: Path, size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """References enrolled one after another, each until an index that follows the gallery finds it; then put back."""
    from hallmark.gallery.store import GalleryWriter, Reference
    from hallmark.types import Authenticity, Described, Details, Quality

    uri = _uri(folder, size)
    first = open_gallery(uri)
    index, visible, answered = _index(first, arguments), [], []
    rng = np.random.default_rng(9)
    with GalleryWriter(uri, "drawn", "drawn") as writer:
        for number in range(5):
            descriptor = rng.normal(size=arguments.dim).astype(np.float32)
            descriptor /= np.linalg.norm(descriptor)
            image = f"{number:032x}".rjust(64, "f")
            details = Details(
                image,
                np.full((1, 4), 0.5, np.float16),
                np.full((1, 2), 0.5, np.float32),
                np.ones(1, np.float16),
                0.25,
                np.array([1, 0, 1, 0], np.float32),
                b"",
            )
            quality = Quality(width=8, height=8, sharpness=1, brightness=0.5, clipped=0)
            told = Reference(
                Described(image, descriptor, details, quality), "new", "whole", "", Authenticity.GENUINE, b""
            )
            began = perf_counter()
            writer.enrol([told])
            answered.append(perf_counter() - began)
            index = index.updated(open_gallery(uri))
            assert index.retrieve(descriptor, _K).candidates[0].image_id == image
            visible.append(perf_counter() - began)
        began = perf_counter()
        back = writer.rollback(first.version)
        index = index.updated(open_gallery(uri))
        assert len(index) == size == back.num_references
        rolled = perf_counter() - began
    return {
        "enrol_s": float(np.median(answered)),
        "visible_s": float(np.median(visible)),
        "visible_max_s": max(visible),
        "rollback_visible_s": rolled,
    }


_STEPS = {"build": _build, "open": _open, "enrol": _enrol}


def _memory_gb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1e6


def extraction_ms() -> float:
    """The shortest time of describing a photograph with preset small: a busy machine would flatter the growth."""
    import torch

    from hallmark.config import validate
    from hallmark.methods.fod import FoD, FoDConfig

    settings = {
        "backbone": {"name": "vit_small_patch14_reg4_dinov2.lvd142m", "pretrained": False},
        "aggregation": {"clusters": 32, "cluster_dim": 64, "token_dim": 128},
        "decoder": {"local_dim": 64},
    }
    method = FoD(validate(FoDConfig, settings, "preset small")).eval()
    image, spent = torch.zeros(1, 3, 322, 322), []
    with torch.inference_mode():
        for _ in range(15):
            began = perf_counter()
            method.embed(image)
            spent.append(1e3 * (perf_counter() - began))
    return min(spent)


def _print(told: dict[int, dict[str, float]], verdict_ms: float) -> None:
    smallest, largest = min(told), max(told)
    ratios = {
        "recall_at_10": told[largest]["recall_at_10"],
        "p50_growth": (verdict_ms + told[largest]["search_ms"]) / (verdict_ms + told[smallest]["search_ms"]),
        "rss_gb": told[largest]["rss_gb"],
        "exact_over_index": told[largest]["exact_ms"] / told[largest]["search_ms"],
    }
    for name, value in ratios.items():
        print(f"{name:>18} {value:.4f}")
    figures = {f"{name}_{size}": value for size, own in told.items() for name, value in own.items()}
    print(json.dumps({"benchmark": "retrieval", "ratios": ratios, "figures": figures | {"verdict_ms": verdict_ms}}))


if __name__ == "__main__":
    main()
