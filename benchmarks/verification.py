"""What verification costs and what it is worth, beside the published scheme and OpenCV's matcher.

Photographs of drawn labels, described by ViT-S at 322 px (preset `small`) with random weights: time does not depend on
the weights, and each system's score tells what it finds in untrained descriptors and, ours, in the surface. Each
product has twelve genuine references (K = 20 finds no more); half of its other genuine items calibrate, and what is
left is judged together with counterfeits. All systems see the same candidates of each query.

    published   every decoder cell of the selected tokens (some 3400 vectors of 128 numbers, zero-padded), a loop over
                the candidates, mutual nearest neighbours of cosine above 0.7; score: most of them with any candidate
    OpenCV      our descriptors, BFMatcher with cross-check, candidate by candidate; score: most matches at our
                threshold with any candidate; held against our matching alone, which does the same work
    ours        all of verification at its defaults, templates made before and references at hand, as in a service that
                has answered before; a query's keypoints come with it, as its other descriptors do; score: the decision
                score of `one_class`, calibrated on the held-out genuine photographs

Everything runs on one thread, in turn, query by query. Ratios are of processor time, which a busy machine changes
least; wall time stands beside it.

    python benchmarks/verification.py --work <folder> [--drawn <folder of a drawn set>]

Descriptors that are in the folder from an earlier run are used again.
"""

from __future__ import annotations

import argparse
import csv
import json
import pickle
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

from hallmark.config import load_config
from hallmark.data.synthetic import TABLE, DrawConfig, draw_set
from hallmark.evaluation.measures import auroc
from hallmark.evaluation.protocol import FoDJob, sample_of
from hallmark.gallery.describe import Describer
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import Gallery, Reference, write_references
from hallmark.methods.fod import FoD
from hallmark.nets.decoder import DecoderConfig, LocalDecoder, map_size
from hallmark.training.bundle import Bundle, open_bundle, write_bundle
from hallmark.types import Authenticity, Described, Retrieved
from hallmark.verdict.calibration import Calibration, CalibrationConfig
from hallmark.verdict.comparison import Comparison, Examiner
from hallmark.verdict.fitting import fit_calibration, fit_match_threshold
from hallmark.verdict.matching import Cues, match, mutual_cosines
from hallmark.verdict.template import VerificationConfig, View

_PRODUCTS = ("mirelune-round-label", "tessaly-woven-label")
_NUM_UNRELATED = 16
_REFERENCE_ITEMS = 4
_PUBLISHED_ROWS, _PUBLISHED_COSINE = 3600, 0.7
_WARM_UP, _EXTRACTED = 5, 9

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Shot:
    """A photograph, described by our network and by the published scheme."""

    told: dict[str, str]
    """Its row of the drawn set's table."""
    described: Described
    dense: np.ndarray
    """(n, 128) float16: decoder cells of the selected tokens."""

    @property
    def genuine(self) -> bool:
        return self.told["authenticity"] == Authenticity.GENUINE

    @property
    def cues(self) -> Cues:
        return self.described.details.local.astype(np.float32), self.described.details.weights


@dataclass(frozen=True)
class Parted:
    """The photographs by what they are for."""

    references: list[Shot]
    calibration: list[Shot]
    judged: list[Shot]
    unrelated: list[Shot]


class Stopwatch:
    """Median milliseconds by name, wall and processor."""

    def __init__(self) -> None:
        self._wall: dict[str, list[float]] = defaultdict(list)
        self._cpu: dict[str, list[float]] = defaultdict(list)

    def time(self, name: str, work: Callable[[], Answer]) -> Answer:
        wall, cpu = perf_counter(), process_time()
        answer = work()
        self._cpu[name].append(1e3 * (process_time() - cpu))
        self._wall[name].append(1e3 * (perf_counter() - wall))
        return answer

    @property
    def names(self) -> list[str]:
        return list(self._cpu)

    def wall(self, name: str) -> float:
        return float(np.median(self._wall[name][_WARM_UP:] or self._wall[name]))

    def cpu(self, name: str) -> float:
        return float(np.median(self._cpu[name][_WARM_UP:] or self._cpu[name]))


def drawn_rows(folder: Path) -> list[dict[str, str]]:
    """The photographs compared, from the table of a drawn set."""
    with (folder / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [row for row in rows if row["product"] in _PRODUCTS]
    return labels + [row for row in rows if not row["product"]][:_NUM_UNRELATED]


def random_bundle(out: Path, preset: str = "small") -> Bundle:
    """A preset, never trained."""
    if not (out / "config.yaml").is_file():
        settings = [f"preset={preset}", "manifest=none", f"out={out}", "method.backbone.pretrained=false"]
        job = load_config(FoDJob, None, settings, "fod")
        run = job.run
        torch.manual_seed(0)
        write_bundle(out, FoD(run.method, load_weights=False).state_dict(), run, [], {}, {})
    return open_bundle(out)


def describe(bundle: Bundle, drawn: Path, cache: Path) -> list[Shot]:
    """Every photograph, described once."""
    if cache.is_file():
        return [
            Shot(*one) for one in pickle.loads(cache.read_bytes())
        ]  # written by this benchmark, into its own folder
    describer = Describer(bundle)
    backbone, tokens = describer._method.backbone, {}
    backbone.register_forward_hook(lambda module, given, made: tokens.update(made=made))
    torch.manual_seed(1)
    decoder = LocalDecoder(backbone.channels, DecoderConfig(local_dim=128)).eval()
    shots = []
    for told in drawn_rows(drawn):
        described = describer.describe([describer.read((drawn / told["uri"]).read_bytes())])[0]
        shots.append(Shot(told, described, _dense(decoder, tokens["made"], described.details.positions)))
        if len(shots) % 20 == 0:
            print(f"{len(shots)} photographs described", flush=True)
    cache.write_bytes(pickle.dumps([(one.told, one.described, one.dense) for one in shots]))
    return shots


@torch.inference_mode()
def _dense(decoder: LocalDecoder, tokens: Any, positions: np.ndarray) -> np.ndarray:
    """Decoder cells under the mask of the selected tokens, enlarged to the map by nearest neighbour."""
    rows, columns = tokens.grid
    mask = torch.zeros(1, 1, rows, columns)
    mask[0, 0, (positions[:, 1] * rows).astype(int), (positions[:, 0] * columns).astype(int)] = 1
    chosen = F.interpolate(mask, size=map_size(tokens.grid), mode="nearest").flatten() > 0
    return decoder(tokens.patch_tokens, tokens.grid)[0].flatten(1).T[chosen].half().numpy()


def part(shots: Sequence[Shot]) -> Parted:
    """By item: twelve references a product, then every other genuine item calibrates."""
    parted = Parted([], [], [], [])
    for shot in shots:
        number = int(shot.told["item_id"].rsplit("/", 1)[1]) if shot.told["product"] else -1
        if number < 0:
            parted.unrelated.append(shot)
        elif not shot.genuine:
            parted.judged.append(shot)
        elif number < _REFERENCE_ITEMS:
            parted.references.append(shot)
        else:
            (parted.calibration if number % 2 else parted.judged).append(shot)
    return parted


def enrol(bundle: Bundle, shots: Sequence[Shot], uri: Path) -> Gallery:
    """A gallery of the references."""
    references = [
        Reference(one.described, one.told["product"], one.told["part"], one.told["item_id"], Authenticity.GENUINE, b"")
        for one in shots
    ]
    return write_references(uri, references, bundle.bundle_id, bundle.embedding_id)


class Bench:
    """One gallery, and everything that is measured against it."""

    def __init__(self, parted: Parted, gallery: Gallery):
        self.parted, self.gallery, self.index = parted, gallery, GalleryIndex(gallery)
        self.dense = {one.described.image_id: _padded(one.dense) for one in parted.references}
        self.threshold = self._foreign_threshold(CalibrationConfig().match_quantile)

    def calibrated(self, config: CalibrationConfig) -> tuple[Comparison, Calibration]:
        """A comparison whose templates are made, and its calibration on the held-out genuine photographs."""
        comparison = Comparison(self.gallery, self.threshold, config.verification)
        samples = [
            sample_of(one.told, one.described, self.index, comparison, config) for one in self.parted.calibration
        ]
        return comparison, fit_calibration(samples, self.threshold, config, "benchmark", 0)

    def retrieve(self, shot: Shot, num_candidates: int) -> Retrieved:
        return self.index.retrieve(shot.described.descriptor, num_candidates)

    def _foreign_threshold(self, quantile: float) -> float:
        rng, found, shots = np.random.default_rng(0), [], self.parted.calibration
        while len(found) < 200:
            pair = [shots[place] for place in rng.integers(len(shots), size=2)]
            if pair[0].told["product"] != pair[1].told["product"]:
                found.append(mutual_cosines(*(one.cues for one in pair)))
        return fit_match_threshold(np.concatenate(found), quantile)


def _padded(dense: np.ndarray) -> torch.Tensor:
    padded = np.zeros((_PUBLISHED_ROWS, dense.shape[1]), dtype=np.float32)
    padded[: len(dense)] = dense
    return torch.from_numpy(padded)


@torch.inference_mode()
def published_count(query: torch.Tensor, references: Sequence[torch.Tensor]) -> int:
    """Most mutual nearest neighbours above the published cosine with any reference."""
    most = 0
    for reference in references:
        cosines = query @ reference.T
        nearest, back = cosines.max(dim=1), cosines.max(dim=0).indices
        mutual = back[nearest.indices] == torch.arange(len(query))
        most = max(most, int((mutual & (nearest.values > _PUBLISHED_COSINE)).sum()))
    return most


def opencv_count(matcher: cv2.BFMatcher, query: np.ndarray, references: Sequence[np.ndarray], threshold: float) -> int:
    """Most cross-checked matches of the least cosine with any reference."""
    farthest = np.sqrt(max(0.0, 2.0 - 2.0 * threshold))
    return max(sum(found.distance <= farthest for found in matcher.match(query, one)) for one in references)


def compare(bench: Bench, queries: Sequence[Shot], watch: Stopwatch) -> dict[str, float]:
    """All systems in turn on every query. -> AUROC by system."""
    config, matcher = CalibrationConfig(mode="one_class"), cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
    comparison, calibration = bench.calibrated(config)
    cues_of = {one.described.image_id: one.cues for one in bench.parted.references}
    scores: dict[str, list[float]] = defaultdict(list)
    for number, shot in enumerate(queries):
        retrieved = bench.retrieve(shot, config.num_candidates)
        names = [candidate.image_id for candidate in retrieved.candidates]
        query, dense = _padded(shot.dense), [bench.dense[name] for name in names]
        ours, theirs = shot.cues, [cues_of[name] for name in names]
        evidence = watch.time("ours", partial(comparison.evidence, shot.described, retrieved))
        count = watch.time("published", partial(published_count, query, dense))
        watch.time("our matching", partial(match, ours, theirs, bench.threshold))
        opened = [local for local, _ in theirs]
        matches = watch.time("OpenCV", partial(opencv_count, matcher, ours[0], opened, bench.threshold))
        measure_stages(bench, comparison, shot, retrieved, watch)
        scores["ours"].append(_or_least(calibration.judge(evidence.features(), retrieved.product).score))
        scores["surface_agreement_z alone"].append(_or_least(evidence.surface_agreement_z))
        scores["published"].append(count)
        scores["OpenCV"].append(matches)
        if number % 10 == 9:
            print(f"{number + 1} of {len(queries)} queries compared", flush=True)
    genuine = np.array([shot.genuine for shot in queries])
    return {name: auroc(np.array(values, dtype=float), genuine) for name, values in scores.items()}


def measure_stages(bench: Bench, comparison: Comparison, shot: Shot, retrieved: Retrieved, watch: Stopwatch) -> None:
    """The stages of our verification, one by one."""
    config, rows = VerificationConfig(), [candidate.row for candidate in retrieved.candidates]
    template = comparison.template(retrieved.product, retrieved.part)
    view = View(shot.described.details, config)
    candidates = watch.time("- details read", partial(bench.gallery.details, rows))
    cues = [(one.local, one.weights) for one in candidates]
    watch.time("- matching", lambda: match(view.cues, cues, bench.threshold))
    watch.time("- surface decoded", lambda: view.surface)
    found = watch.time("- registration", partial(template.locate, view, [one.image_id for one in candidates]))
    matrix = None if found is None else found.matrix
    watch.time("- cue residual", partial(template.residual_of_cues, view, matrix, template.genuine))
    if matrix is not None:
        cells = watch.time("- cells", partial(view.surface.cells, matrix))
        watch.time("- cell residual", partial(template.residual_of_cells, cells))


def _or_least(score: float | None) -> float:
    return -1e9 if score is None else score


def plans() -> dict[str, CalibrationConfig]:
    """What can be left out of verification."""

    def plan(num_candidates: int = 10, **changed: Any) -> CalibrationConfig:
        verification = VerificationConfig(**changed)
        return CalibrationConfig(mode="one_class", num_candidates=num_candidates, verification=verification)

    return {
        "default": plan(),
        **{f"K = {count}": plan(count) for count in (1, 3, 5, 20)},
        "num_geometry = 1": plan(num_geometry=1),
        "no residuals": plan(residuals=False),
        **{f"num_members = {count}": plan(num_members=count) for count in (3, 6)},
        "never settled early": plan(stop_when_settled=False),
    }


def schedule(bench: Bench) -> dict[str, dict[str, float]]:
    """Verdict quality against time by plan: AUROC, and milliseconds a verdict."""
    told, genuine = {}, np.array([one.genuine for one in bench.parted.judged])
    for name, config in plans().items():
        _, calibration = bench.calibrated(config)
        examiner, watch, scores = Examiner(bench.gallery, calibration, "benchmark"), Stopwatch(), []
        for side in ("judged", "unrelated"):
            for shot in getattr(bench.parted, side):
                retrieved = bench.retrieve(shot, config.num_candidates)
                verdict = watch.time(side, partial(examiner.examine, shot.described, retrieved))
                scores += [_or_least(verdict.scores.decision)] * (side == "judged")
        told[name] = {
            "auroc": auroc(np.array(scores), genuine),
            "wall_ms": watch.wall("judged"),
            "cpu_ms": watch.cpu("judged"),
            "unrelated_cpu_ms": watch.cpu("unrelated"),
        }
        area, *spent = told[name].values()
        print(f"{name:>26} {area:>7.3f} " + " ".join(f"{value:>9.1f}" for value in spent), flush=True)
    return told


def measure_extraction(bundle: Bundle, drawn: Path, queries: Sequence[Shot], watch: Stopwatch) -> None:
    """From a file's bytes to its descriptors."""
    describer = Describer(bundle)
    for shot in [*queries[:_WARM_UP], *queries[:_EXTRACTED]]:
        data = (drawn / shot.told["uri"]).read_bytes()
        watch.time("extraction", lambda data=data: describer.describe([describer.read(data)]))


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threadpool_limits(1)
    work = arguments.work.resolve()
    drawn = (arguments.drawn or work / "drawn").resolve()
    work.mkdir(parents=True, exist_ok=True)
    if arguments.drawn is None:
        parts = ("round_label", "woven_label")
        draw_set(DrawConfig(photographs=200, products=2, parts=parts, difficulty=0.15), drawn, workers=2)
    bundle = random_bundle(work / "bundle")
    parted = part(describe(bundle, drawn, work / "described.pickle"))
    bench = Bench(parted, enrol(bundle, parted.references, work / "references.lance"))
    sides = [
        _spread([one for one in parted.judged if one.genuine is side], arguments.queries) for side in (True, False)
    ]
    queries = [one for pair in zip(*sides, strict=False) for one in pair]
    watch = Stopwatch()
    areas = compare(bench, queries, watch)
    measure_extraction(bundle, drawn, queries, watch)
    _report(bench, queries, watch, areas)


def _spread(shots: Sequence[Shot], count: int) -> list[Shot]:
    """Some of the photographs, from all over the list."""
    count = min(len(shots), count)
    return [shots[place * len(shots) // count] for place in range(count)]


def _report(bench: Bench, queries: Sequence[Shot], watch: Stopwatch, areas: dict[str, float]) -> None:
    right = np.mean([bench.retrieve(one, 1).product == one.told["product"] for one in queries])
    num_genuine = sum(one.genuine for one in queries)
    print(f"{num_genuine} genuine, {len(queries) - num_genuine} counterfeit queries, {right:.0%} with their product")
    print(f"\n{'of a query':>26} {'AUROC':>7} {'wall ms':>9} {'cpu ms':>9}")
    for name in watch.names:
        area = f"{areas[name]:.3f}" if name in areas else ""
        print(f"{name:>26} {area:>7} {watch.wall(name):>9.2f} {watch.cpu(name):>9.2f}")
    print(f"{'surface_agreement_z alone':>26} {areas['surface_agreement_z alone']:>7.3f}")
    print(f"\n{'plan':>26} {'AUROC':>7} {'wall ms':>9} {'cpu ms':>9} {'unrelated':>9}")
    figures = {"auroc": areas, "plans": schedule(bench)}
    figures |= {f"{kind}_ms": {name: getattr(watch, kind)(name) for name in watch.names} for kind in ("wall", "cpu")}
    ratios = {
        "vs_published": watch.cpu("published") / watch.cpu("ours"),
        "vs_opencv": watch.cpu("OpenCV") / watch.cpu("our matching"),
        "auroc_minus_published": areas["ours"] - areas["published"],
        "auroc_minus_opencv": areas["ours"] - areas["OpenCV"],
        "verify_over_extract": watch.cpu("ours") / watch.cpu("extraction"),
    }
    print(json.dumps({"benchmark": "verification", "ratios": ratios, "figures": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/verification"), help="folder for photographs and descriptors"
    )
    parser.add_argument("--drawn", type=Path, default=None, help="a set drawn before, instead of drawing one")
    parser.add_argument("--queries", type=int, default=30, help="queries of either authenticity that all systems judge")
    return parser.parse_args()


if __name__ == "__main__":
    main()
