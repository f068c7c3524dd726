"""What each part of FoD is worth on drawn products: F1 of retrieval alone, of verification, and without each term.

Draws the `ci` set, trains from random weights in a plain loop, calibrates on the validation photographs and counts on
the test photographs, for every seed; a seed stands for its drawing, its weights and its sampling. F1 is that of
counterfeits among in-domain photographs; differences to the row `fused` are paired, photograph by photograph, with a
95 % bootstrap interval over items.

    python benchmarks/fod_ablation.py --work <folder> --difficulty 0.2 --seeds 0 1 2 [--train]

`--train` adds the rows that train anew without one loss term each: an hour and more on two cores. What is in the
folder from an earlier run is used again.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from hallmark.config import load_config
from hallmark.data.manifest import (
    ImportConfig,
    assemble,
    inspect_listed,
    list_photographs,
    read_manifest,
    rows_with,
    write_import,
)
from hallmark.data.synthetic import DrawConfig, draw_set
from hallmark.evaluation.measures import auroc, f1_score
from hallmark.evaluation.protocol import FoDJob, foreign_cosines, sample_of
from hallmark.gallery.describe import Describer, describe_located, located
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import enrolable, write_references
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.training.plain import train_plain
from hallmark.types import Authenticity, Described, Role
from hallmark.verdict.calibration import CalibrationConfig, Sample
from hallmark.verdict.comparison import Comparison
from hallmark.verdict.evidence import EVIDENCE_FEATURES
from hallmark.verdict.fitting import fit_calibration, fit_match_threshold
from hallmark.verdict.objectives import best_f1_threshold

_IN_DOMAIN = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)
_RESAMPLES = 2000
_RESIDUALS = [name for name in EVIDENCE_FEATURES if name.startswith(("cue_", "surface_"))]
_GLOBAL = ["global_genuine", "global_margin"]

_TRAINED = {
    "default losses": [],
    "without L_align": ["method.losses.alignment.weight=0"],
    "without L_local": ["method.losses.foreground_contrast.weight=0"],
    "without L_PC": ["method.losses.pseudo_correspondence.weight=0"],
    "without the triplet": ["method.losses.local_triplet.weight=0"],
    "losses of fol_repo": ["method.losses.preset=fol_repo"],
    "losses of the paper": ["method.losses.preset=paper"],
}


def _initialised(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The first paper's Table 2: one recipe from random and from given weights."""
    if arguments.weights is None:
        return {}
    changed = [
        f"method.backbone={{name: {arguments.backbone}, pretrained: false}}",
        f"preprocessing.side_px={arguments.side}",
        "optimiser.learning_rate=6e-5",
        "optimiser.head_factor=10",
    ]
    return {
        "from random weights": changed,
        "from given weights": [*changed, f"method.backbone.pretrained={arguments.weights.resolve()}"],
    }


@dataclass(frozen=True)
class Set:
    """The photographs of one seed, described by one bundle."""

    bundle: Bundle
    references: list[tuple[dict[str, Any], Any]]
    queries: list[tuple[dict[str, Any], Described]]
    samples: dict[tuple[int, str], list[Sample]]
    """All evidence of the queries by how it was gathered; rows that differ in the decision alone share it."""

    @cached_property
    def foreign(self) -> np.ndarray:
        """Cosines of cues that match between different products."""
        return foreign_cosines(self.references, self.queries, self.bundle.run.seed)


@dataclass(frozen=True)
class Row:
    """One way to come to a verdict."""

    name: str
    calibration: CalibrationConfig
    kept: Sequence[str] = EVIDENCE_FEATURES
    cue_ratio: float | None = None
    retrieval_only: bool = False
    """Decide by the global margin alone, at the threshold of the best F1."""


@dataclass(frozen=True)
class Judged:
    """The test photographs of one seed under one row."""

    items: np.ndarray
    genuine: np.ndarray
    accused: np.ndarray
    scores: np.ndarray

    def f1(self, weights: np.ndarray | None = None) -> float:
        weights = np.ones(len(self.items)) if weights is None else weights
        hits, alarms, misses = self.accused & ~self.genuine, self.accused & self.genuine, ~self.accused & ~self.genuine
        return f1_score(weights @ hits, weights @ alarms, weights @ misses) or 0.0


def rows() -> list[Row]:
    """The rows that need no training of their own."""
    fused, config = CalibrationConfig(match_quantile=0.9), CalibrationConfig
    base = {"match_quantile": 0.9}
    without = partial(_without, fused)
    return [
        Row("FoD-global", fused, retrieval_only=True),
        Row("paper_match", config(mode="paper_match", **base)),
        Row("fused", fused),
        Row("one_class", config(mode="one_class", **base)),
        without("residuals", _RESIDUALS),
        without("surface residuals", [name for name in EVIDENCE_FEATURES if name.startswith("surface_")]),
        without("cue residuals", [name for name in EVIDENCE_FEATURES if name.startswith("cue_")]),
        without("z-scores", [name for name in EVIDENCE_FEATURES if name.endswith("_z")]),
        without("margins to counterfeits", [name for name in EVIDENCE_FEATURES if name.endswith("_margin")]),
        without("matches", ["match_genuine", "match_margin"]),
        without("global similarity", _GLOBAL),
        Row("without geometry", config(verification={"default_geometry": "none"}, **base)),
        Row("affine geometry", config(verification={"default_geometry": "affine"}, **base)),
        *(Row(f"K = {count}", config(num_candidates=count, **base)) for count in (1, 3, 20)),
        *(Row(f"{count} references compared", config(verification={"num_members": count}, **base)) for count in (3, 6)),
        *(Row(f"cue ratio {ratio}", fused, cue_ratio=ratio) for ratio in (0.2, 0.425, 1.0)),
    ]


def _without(config: CalibrationConfig, name: str, dropped: Sequence[str]) -> Row:
    return Row(f"without {name}", config, [feature for feature in EVIDENCE_FEATURES if feature not in dropped])


def manifest_of(folder: Path, drawing: DrawConfig) -> Path:
    """Draw and import a set, once."""
    manifest = folder / f"import-{_name(drawing)}" / "manifest.parquet"
    if not manifest.is_file():
        table = draw_set(drawing, folder / f"drawn-{_name(drawing)}", workers=2)
        config = ImportConfig(source=str(table), out=str(manifest.parent))
        listing = list_photographs(config.source)
        inspected = [inspect_listed(one, limits=config.limits) for one in listing.photographs]
        write_import(assemble(listing, inspected, config), config.out)
    return manifest


def _name(drawing: DrawConfig) -> str:
    return "-".join([*drawing.parts, f"{drawing.difficulty:g}", str(drawing.seed)])


def train(manifest: Path, out: Path, seed: int, overrides: Sequence[str]) -> Bundle:
    """The bundle of a recipe, trained once."""
    if not (out / "config.yaml").is_file():
        job = load_config(
            FoDJob, None, ["preset=tiny", f"manifest={manifest}", f"out={out}", f"seed={seed}", *overrides], "fod"
        )
        train_plain(job.run)
    return open_bundle(out)


def describe(bundle: Bundle, manifest: Path, cue_ratio: float | None) -> Set:
    """Every photograph that is enrolled or judged, described once."""
    cache = bundle.path.with_suffix(f".{bundle.embedding_id}.{cue_ratio}.pickle")
    table = read_manifest(manifest)
    parts = [rows_with(table, (role,), _IN_DOMAIN) for role in (Role.TRAIN, Role.VAL, Role.TEST)]
    if cache.is_file():
        outcomes = pickle.loads(cache.read_bytes())  # written by this benchmark, into its own folder
    else:
        describer = Describer(bundle)
        if cue_ratio is not None:
            method = describer._method
            selection = method.config.cue_selection.model_copy(update={"ratio": cue_ratio})
            method.config = method.config.model_copy(update={"cue_selection": selection})
        places = [place for part in parts for place in located(part)]
        outcomes = [one for k in range(0, len(places), 32) for one in describe_located(describer, places[k : k + 32])]
        cache.write_bytes(pickle.dumps(outcomes))
    enrolled, judged = parts[0].num_rows, [row for part in parts[1:] for row in part.to_pylist()]
    queries = [(row, one.described) for row, one in zip(judged, outcomes[enrolled:], strict=True)]
    return Set(bundle, enrolable(parts[0], outcomes[:enrolled]), queries, {})


def judge(photographs: Set, row: Row, folder: Path, seed: int) -> Judged:
    """Calibrate a row on the validation photographs and judge the test photographs."""
    config = row.calibration
    threshold = fit_match_threshold(photographs.foreign, config.match_quantile)
    key = (config.num_candidates, config.verification.model_dump_json())
    if key not in photographs.samples:
        photographs.samples[key] = _gather(photographs, threshold, config, folder)
    samples = {Role.VAL: [], Role.TEST: []}
    for (told, _), sample in zip(photographs.queries, photographs.samples[key], strict=True):
        kept = {name: value if name in row.kept else None for name, value in sample.features.items()}
        samples[Role(told["role"])].append(replace(sample, features=kept))
    test = samples[Role.TEST]
    if row.retrieval_only:
        scores = [np.array([_margin(one) for one in part]) for part in (samples[Role.VAL], test)]
        limit, _ = best_f1_threshold(scores[0], np.array([one.genuine for one in samples[Role.VAL]]))
        accused, scores = scores[1] < limit, scores[1]
    else:
        fitted = fit_calibration(samples[Role.VAL], threshold, config, "benchmark", seed)
        scores = np.array([fitted.judge(one.features, one.product).score for one in test], dtype=float)
        accused = np.array([s < fitted.thresholds_of(one.product)[0] for s, one in zip(scores, test, strict=True)])
    return Judged(
        np.array([f"{seed}/{one.item_id}" for one in test]), np.array([one.genuine for one in test]), accused, scores
    )


def _gather(photographs: Set, threshold: float, config: CalibrationConfig, folder: Path) -> list[Sample]:
    bundle = photographs.bundle
    gallery = write_references(folder / "ablation.lance", photographs.references, bundle.bundle_id, bundle.embedding_id)
    index, comparison = GalleryIndex(gallery), Comparison(gallery, threshold, config.verification)
    return [sample_of(told, query, index, comparison, config) for told, query in photographs.queries]


def _margin(sample: Sample) -> float:
    margin = sample.features["global_margin"]
    return sample.features["global_genuine"] if margin is None else margin


def paired(row: Sequence[Judged], base: Sequence[Judged]) -> tuple[float, float, float]:
    """Mean over seeds of a row's F1 less the base's, with the interval over items."""

    def difference(draw: Callable[[Judged], np.ndarray | None]) -> float:
        gains = []
        for ours, theirs in zip(row, base, strict=True):
            weights = draw(ours)
            gains.append(ours.f1(weights) - theirs.f1(weights))
        return float(np.mean(gains))

    rng = np.random.default_rng(0)
    # Every item is of one authenticity; items are resampled within it.
    places = [
        [np.unique(one.items[side], return_inverse=True)[1] for side in (one.genuine, ~one.genuine)] for one in row
    ]

    def resampled(judged: Judged) -> np.ndarray:
        weights = np.zeros(len(judged.items))
        own = places[next(place for place, one in enumerate(row) if one is judged)]
        for side, item in zip((judged.genuine, ~judged.genuine), own, strict=True):
            count = int(item.max()) + 1
            weights[side] = rng.multinomial(count, np.full(count, 1 / count))[item]
        return weights

    drawn = [difference(resampled) for _ in range(_RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return difference(lambda _: None), float(low), float(high)


def main() -> None:
    arguments = _arguments()
    folder = arguments.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    plans = [("default losses", row) for row in rows()]
    recipes = _TRAINED | _initialised(arguments)
    trained = [*(list(_TRAINED)[1:] if arguments.train else []), *_initialised(arguments)]
    for name in trained:
        config = CalibrationConfig(match_quantile=0.9)
        plans += [(name, Row(name, config)), (name, Row(f"{name}: FoD-global", config, retrieval_only=True))]
    if arguments.rows:
        plans = [(recipe, row) for recipe, row in plans if row.name in {*arguments.rows, "fused"} or recipe in trained]
    judged: dict[str, list[Judged]] = {row.name: [] for _, row in plans}
    bundles: dict[str, list[Bundle]] = {recipe: [] for recipe, _ in plans}
    for seed in arguments.seeds:
        described: dict[tuple[str, float | None], Set] = {}
        drawing = DrawConfig(
            size="ci", difficulty=arguments.difficulty, seed=seed, parts=arguments.parts, products=arguments.products
        )
        manifest = manifest_of(folder, drawing)
        for recipe, row in plans:
            recipe_name = f"{recipe.replace(' ', '-')}-{arguments.epochs}"
            overrides = [*recipes[recipe], f"optimiser.epochs={arguments.epochs}"]
            bundle = train(manifest, folder / f"bundle-{_name(drawing)}-{recipe_name}", seed, overrides)
            if bundle.bundle_id not in {one.bundle_id for one in bundles[recipe]}:
                bundles[recipe].append(bundle)
            photographs = described.get((bundle.bundle_id, row.cue_ratio)) or describe(bundle, manifest, row.cue_ratio)
            described[bundle.bundle_id, row.cue_ratio] = photographs
            judged[row.name].append(judge(photographs, row, folder, seed))
            print(f"seed {seed} {row.name}: F1 {judged[row.name][-1].f1():.3f}", flush=True)
    _report_training(bundles)
    _report(judged, arguments)


def _report_training(bundles: dict[str, list[Bundle]]) -> None:
    """Whether the losses are alive: means over the seeds, first epoch to last."""
    told = ("alignment_nats", "accepted_correspondences", "off_match_cosine")
    print(f"\n{'training':>36} " + " ".join(f"{name:>26}" for name in told) + "  alarms of the last epoch")
    for recipe, trained in bundles.items():
        first, last = ([bundle.metrics["epochs"][place] for bundle in trained] for place in (0, -1))
        cells = []
        for name in told:
            ends = [[one.get(f"diagnostics/{name}", np.nan) for one in side] for side in (first, last)]
            cells.append(" to ".join(f"{np.mean(side):.4f}" for side in ends))
        alarms = sorted({alarm.split(":")[0] for one in last for alarm in one["alarms"]})
        print(f"{recipe:>36} " + " ".join(f"{cell:>26}" for cell in cells) + "  " + (", ".join(alarms) or "none"))


def _report(judged: dict[str, list[Judged]], arguments: argparse.Namespace) -> None:
    base, figures, ratios = judged["fused"], {}, {}
    print(
        f"\n{', '.join(arguments.parts)}; difficulty {arguments.difficulty:g}, seeds {arguments.seeds}, "
        f"{sum(len(one.items) for one in base)} photographs"
    )
    print(f"{'row':>36} {'F1':>6} {'by seed':>22} {'AUROC':>6} {'less fused':>24}")
    for name, row in judged.items():
        by_seed = [one.f1() for one in row]
        area = float(np.mean([auroc(one.scores, one.genuine) for one in row]))
        change, low, high = paired(row, base)
        figures[name] = {
            "f1": float(np.mean(by_seed)),
            "by_seed": by_seed,
            "auroc": area,
            "less_fused": [change, low, high],
        }
        print(
            f"{name:>36} {np.mean(by_seed):>6.3f} {' '.join(f'{f1:.3f}' for f1 in by_seed):>22} {area:>6.3f} "
            f"{change:>+8.3f} [{low:+.3f}, {high:+.3f}]"
        )
    if "FoD-global" in figures:
        ratios["fused_less_global_f1"] = -figures["FoD-global"]["less_fused"][0]
    print(json.dumps({"benchmark": "fod_ablation", "ratios": ratios, "figures": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="folder for sets and bundles")
    parser.add_argument("--difficulty", type=float, default=0.2, help="of the drawn set, 0.05 to 1")
    parser.add_argument("--parts", nargs="+", default=["round_label", "woven_label"], help="what is drawn")
    parser.add_argument("--products", type=int, default=4, help="how many products of these parts")
    parser.add_argument("--epochs", type=int, default=100, help="of every training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="*", default=None, help="only these rows, beside `fused`")
    parser.add_argument("--weights", type=Path, help=".safetensors file: adds rows trained from it and from random")
    parser.add_argument("--backbone", default="vit_small_patch14_reg4_dinov2.lvd142m", help="what --weights are of")
    parser.add_argument("--side", type=int, default=224, help="px of the network input with --backbone")
    parser.add_argument("--train", action="store_true", help="train anew without each loss term")
    return parser.parse_args()


if __name__ == "__main__":
    main()
