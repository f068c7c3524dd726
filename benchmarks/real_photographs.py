"""The fixed protocol on real photographs: authentication by references (A), rejection (C) and retrieval (D), by system.

The protocol and the photographs lie beside the checkout, in ../shared, and are no part of the project. A system joins
by a line in SYSTEMS; `--bundles` adds FoD, retrieval alone and verification, once a bundle (a seed each). The bundles
are to be trained on drawn products only, as benchmarks/fod_ablation.py leaves them: then no photograph of the protocol
was ever trained on. Every interval is a 95 % bootstrap interval over groups; what two systems differ by is to be read
off the paired table, whose resamples are the same for both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from time import perf_counter
from types import ModuleType

import cv2
import numpy as np
from systems.base import System
from systems.comparators import ComparatorSystem
from systems.fod import FoDGlobal, FoDVerification

from hallmark.methods.comparators.hog_nearest import HogNearest, HogNearestConfig
from hallmark.methods.comparators.sift_verify import SiftVerify, SiftVerifyConfig

Interval = tuple[float, float, float]
"""A figure, then the ends of its 95 % interval."""

_PROTOCOL = Path(__file__).parents[1] / ".." / "shared" / "protocol"
_SETS = {"cdp": "cdp_shared", "rupiah": "rupiah", "grocery": "grocery"}
_BARS = {
    "A_cdp_auroc": 0.970,
    "A_rupiah_auroc": 0.712,
    "C_cdp_rejected": 1.0,
    "C_rupiah_rejected": 0.77,
    "C_grocery_rejected": 1.0,
    "D_grocery_map": 0.510,
}
"""The best that a plain method reaches, from the protocol's README; ratios are held against it."""


SYSTEMS: dict[str, Callable[[], System]] = {
    "hog": lambda: ComparatorSystem(HogNearest(HogNearestConfig())),
    "sift": lambda: ComparatorSystem(
        SiftVerify(SiftVerifyConfig()), quick=SiftVerify(SiftVerifyConfig(num_features=200))
    ),
}
"""Name on the command line -> the system, made only if it is asked for."""


@dataclass(frozen=True)
class Outcome:
    """One system at one task on one set."""

    figures: dict[str, Interval]
    positive: np.ndarray
    """(N,) bool: genuine (A) or in the gallery (C), the same order for every system; (0,) for D."""
    groups: np.ndarray
    """(N,) str: the unit of the bootstrap."""
    scores: np.ndarray
    """(N,) float64."""


Outcomes = dict[tuple[str, str], Outcome]
"""(set, system) -> its outcome at one task."""


def authenticate(protocol: ModuleType, photographs: str, system: System) -> Outcome:
    """Task A."""
    split, info = protocol.load()["A"][photographs], protocol.load()["info"]
    predicted: dict[tuple[str, str], float] = {}
    for job, parts in split["jobs"].items():
        references = {product: _files(protocol, parts["refs"][product]) for product in split["products"]}
        queries = defaultdict(list)
        for name in parts["queries"]:
            queries[info[name]["series"]] += _files(protocol, [name])
        scores = system.fold_scores(references, queries)
        predicted |= {(job, name): float(scores[Path(protocol.resolve(name))]) for name in parts["queries"]}
    found = protocol.eval_A(photographs, predicted)
    tested = [(job, name) for job in map(str, range(protocol.K)) for name in split["jobs"][job]["queries"]]
    return Outcome(
        {"auroc": found["auroc_pooled"], "auroc_macro": found["auroc_macro"], "f1": found["f1"]},
        np.array([info[name]["label"] == "genuine" for _, name in tested]),
        np.array([info[name]["group"] for _, name in tested]),
        np.array([predicted[one] for one in tested]),
    )


def reject(protocol: ModuleType, photographs: str, system: System) -> Outcome:
    """Task C."""
    split, info = protocol.load()["C"][photographs], protocol.load()["info"]
    names = split["indomain"] + split["out"]
    predicted = {}
    for query in names:
        references = defaultdict(list)
        for name in split["refs"]:
            if info[name]["group"] != info[query]["group"]:
                references[info[name]["series"]] += _files(protocol, [name])
        predicted[query] = float(system.gallery_score(*_files(protocol, [query]), references))
    found = protocol.eval_C(photographs, predicted)
    return Outcome(
        {"rejected": found["rej_at_5frr"], "auroc": found["auroc"]},
        np.arange(len(names)) < len(split["indomain"]),
        np.array([info[name]["group"] for name in names]),
        np.array([predicted[name] for name in names]),
    )


def retrieve(protocol: ModuleType, photographs: str, system: System) -> Outcome:
    """Task D."""
    names = protocol.load()["D"][photographs]["paths"]
    found = protocol.eval_D(photographs, names, system.similarity_matrix(_files(protocol, names)))
    figures = {name: found[name] for name in ("recall1", "recall5", "map")}
    return Outcome(figures, np.zeros(0, dtype=bool), np.zeros(0, dtype=str), np.zeros(0))


TASKS = {
    "A": (authenticate, ("cdp", "rupiah")),
    "C": (reject, ("cdp", "rupiah", "grocery")),
    "D": (retrieve, ("grocery",)),
}
"""Task -> how it is run, and the sets that it is defined on."""


def paired_interval(protocol: ModuleType, first: Outcome, second: Outcome, resamples: int = 1000) -> Interval:
    """AUROC of the first system minus that of the second, both on the same resamples of groups.

    Groups are resampled whole and within positive and negative, as the protocol's own intervals are.
    """

    def difference(chosen: np.ndarray) -> tuple[float]:
        positive = first.positive[chosen]
        aurocs = [protocol.auc(positive, outcome.scores[chosen]) for outcome in (first, second)]
        return (aurocs[0] - aurocs[1],)

    low, high = protocol.boot(first.groups, first.positive, difference, n=resamples)[0]
    return difference(np.arange(len(first.groups)))[0], float(low), float(high)


def main() -> None:
    arguments = _arguments()
    cv2.setNumThreads(1)
    protocol = _load_protocol(arguments.protocol)
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    if protocol is not None:
        systems = {name: SYSTEMS[name]() for name in arguments.systems}
        for place, bundle in enumerate(arguments.bundles):
            systems |= {f"fod_global_{place}": FoDGlobal(bundle), f"fod_verification_{place}": FoDVerification(bundle)}
        for task in arguments.tasks:
            outcomes = _measure(protocol, task, arguments.sets, systems)
            _print_task(task, outcomes)
            _print_paired(protocol, task, outcomes, figures)
            _note(task, outcomes, ratios, figures)
    print(json.dumps({"benchmark": "real_photographs", "ratios": ratios, "figures": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)

    def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(text: str) -> list[str]:
            names = list(dict.fromkeys(filter(None, text.split(","))))
            if unknown := set(names) - set(known):
                raise argparse.ArgumentTypeError(
                    f"found {', '.join(sorted(unknown))}; wanted some of {', '.join(known)}"
                )
            return names

        return parse

    for option, known in (("systems", list(SYSTEMS)), ("sets", list(_SETS)), ("tasks", list(TASKS))):
        parser.add_argument(
            f"--{option}", type=some_of(known), default=known, help=f"some of {','.join(known)} (default: all)"
        )
    parser.add_argument("--bundles", type=Path, nargs="*", default=[], help="folders of FoD bundles, one a seed")
    parser.add_argument("--protocol", type=Path, default=_PROTOCOL, help="folder of protocol.py and splits.json")
    return parser.parse_args()


def _load_protocol(folder: Path) -> ModuleType | None:
    """protocol.py as a module; None, and a line that says so, where it or the photographs are not there."""
    for wanted in (folder / "protocol.py", folder / "splits.json", folder.parent / "data" / "groups.csv"):
        if not wanted.is_file():
            print(f"skipped: the protocol on real photographs; {wanted} is not there (--protocol)")
            return None
    spec = importlib.util.spec_from_file_location("protocol", folder / "protocol.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _files(protocol: ModuleType, names: Sequence[str]) -> list[Path]:
    return [Path(protocol.resolve(name)) for name in names]


def _measure(protocol: ModuleType, task: str, sets: Sequence[str], systems: Mapping[str, System]) -> Outcomes:
    run, defined = TASKS[task]
    outcomes = {}
    for photographs in defined:
        for name, system in systems.items() if photographs in sets else ():
            began = perf_counter()
            outcomes[photographs, name] = run(protocol, _SETS[photographs], system)
            print(f"task {task}, {photographs}, {name}: {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return outcomes


def _print_task(task: str, outcomes: Outcomes) -> None:
    """One row a system, one column a figure of a set."""
    columns = {(photographs, name): None for (photographs, _), one in outcomes.items() for name in one.figures}
    if columns:
        print(f"\n{f'task {task}':16}" + "".join(f"{f'{photographs} {name}':>22}" for photographs, name in columns))
    for system in dict.fromkeys(system for _, system in outcomes):
        cells = [_cell(outcomes[photographs, system].figures[name]) for photographs, name in columns]
        print(f"{system:16}" + "".join(f"{cell:>22}" for cell in cells))


def _print_paired(protocol: ModuleType, task: str, outcomes: Outcomes, figures: dict[str, float]) -> None:
    """AUROC differences of all pairs of systems, where the task has an AUROC."""
    for (photographs, first), (others, second) in combinations(outcomes, 2):
        if photographs == others and len(outcomes[photographs, first].scores):
            found = paired_interval(protocol, outcomes[photographs, first], outcomes[photographs, second])
            print(f"{photographs}: AUROC of {first} minus {second}, paired: {_cell(found)}")
            key = f"{first}_minus_{second}_{task}_{photographs}_auroc"
            figures |= dict(zip((key, f"{key}_low", f"{key}_high"), (round(value, 4) for value in found), strict=True))


def _note(task: str, outcomes: Outcomes, ratios: dict[str, float], figures: dict[str, float]) -> None:
    """Every figure for the last line, and its ratio to the best plain method where one is known."""
    for (photographs, system), outcome in outcomes.items():
        for name, (point, low, high) in outcome.figures.items():
            key = f"{task}_{photographs}_{name}"
            figures |= {f"{system}_{key}": point, f"{system}_{key}_low": low, f"{system}_{key}_high": high}
            if key in _BARS:
                ratios[f"{system}_{key}_over_plain"] = round(point / _BARS[key], 3)


def _cell(figure: Interval) -> str:
    point, low, high = figure
    return f"{point:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
