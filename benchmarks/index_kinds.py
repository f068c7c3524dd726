"""Kinds of compressed index over the same drawn descriptors: what each finds, takes and costs.

    python benchmarks/index_kinds.py [--references 100000] [--per-product 500]

Descriptors are those of benchmarks/retrieval.py. `recall` is the share of the ten nearest references among the 256 that
an index proposes, which are then compared exactly. All but the last see the leading 256 components.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import faiss
import numpy as np
from retrieval import Drawn
from scipy.linalg import eigh

_QUERIES, _SHORTLIST, _COMPONENTS = 200, 256, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=100_000, help="(%(default)s)")
    parser.add_argument("--per-product", type=int, default=500, help="references of a product (%(default)s)")
    parser.add_argument("--dim", type=int, default=2176, help="of a descriptor (%(default)s)")
    parser.add_argument("--rotated", action="store_true", help="OPQ too: its training takes many minutes")
    arguments = parser.parse_args()
    drawn = Drawn(max(2, arguments.references // arguments.per_product), arguments.dim, seed=0)
    rng = np.random.default_rng(1)
    products = rng.integers(0, drawn.num_products, arguments.references)
    stored = np.concatenate(
        [drawn.photographs(products[start : start + 8192], start) for start in range(0, len(products), 8192)]
    )
    queries = drawn.photographs(rng.integers(0, drawn.num_products, _QUERIES), 2**31 - 1)
    nearest = np.argpartition(-(queries @ stored.T), 9, axis=1)[:, :10]
    sample = stored[rng.choice(len(stored), min(len(stored), 20_000), replace=False)]
    dim = arguments.dim
    axes = eigh(sample.T @ sample, subset_by_index=[dim - _COMPONENTS, dim - 1])[1].astype(np.float32)
    reduced, asked = stored @ axes, queries @ axes
    lists = 2 ** round(np.log2(2 * np.sqrt(len(stored))))
    kinds = {
        f"IVF{lists},SQ8": ("nprobe", (8, 32, 128)),
        f"IVF{lists},PQ64": ("nprobe", (8, 32, 128)),
        f"IVF{lists},RaBitQ": ("nprobe", (8, 32, 128)),
        "HNSW32,SQ8": ("efSearch", (256, 512)),
    }
    if arguments.rotated:
        kinds[f"OPQ64,IVF{lists},PQ64"] = ("nprobe", (8, 32, 128))
    figures = {}
    print(f"{'kind':>22} {'':>14} {'recall':>7} {'ms':>7} {'bytes':>7} {'train s':>8} {'add s':>7}")
    for kind, (knob, values) in kinds.items():
        figures |= _measured(kind, reduced, asked, nearest, knob, values)
    whole = f"IVF{lists},RaBitQ"
    figures |= {
        f"whole {name}": own for name, own in _measured(whole, stored, queries, nearest, "nprobe", (32,)).items()
    }
    print(json.dumps({"benchmark": "index_kinds", "ratios": {}, "figures": figures}))


def _measured(
    kind: str, stored: np.ndarray, queries: np.ndarray, nearest: np.ndarray, knob: str, values: tuple[int, ...]
) -> dict[str, float]:
    index = faiss.index_factory(stored.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    began = perf_counter()
    index.train(stored[np.random.default_rng(3).choice(len(stored), min(len(stored), 20_000), replace=False)])
    trained = perf_counter()
    index.add(stored)
    added = perf_counter()
    size, figures = len(faiss.serialize_index(index)) / len(stored), {}
    for value in values:
        faiss.ParameterSpace().set_index_parameter(index, knob, value)
        spent, hits = [], 0
        for query, rows in zip(queries, nearest, strict=True):
            start = perf_counter()
            found = index.search(query[None], _SHORTLIST)[1][0]
            spent.append(1e3 * (perf_counter() - start))
            hits += len(np.intersect1d(found, rows))
        recall, median = hits / nearest.size, float(np.median(spent))
        print(
            f"{kind:>22} {knob:>9} {value:>4} {recall:>7.4f} {median:>7.2f} {size:>7.0f} {trained - began:>8.1f} "
            f"{added - trained:>7.1f}",
            flush=True,
        )
        figures |= {f"{kind} {knob}{value} recall": recall, f"{kind} {knob}{value} ms": median}
    return figures | {f"{kind} bytes": size, f"{kind} built_s": added - began}


if __name__ == "__main__":
    main()
