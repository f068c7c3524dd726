"""What KAG-MTLN's auxiliary task is worth: with it under three label policies, and without, paired by photograph.

On the drawn set: all and a fifth of the training photographs. On the real photographs of ../shared/data, if there:
beside a plain classifier of the same backbone (global mean, one linear layer). Every recipe is trained with every seed;
accuracy counts a photograph as right where product and authenticity are. Trainings that are there already are kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from hallmark.data.manifest import ImportConfig, assemble, inspect_listed, list_photographs, write_import
from hallmark.data.synthetic import DrawConfig, draw_set
from hallmark.evaluation.kag_axes import KAGAnalysisConfig
from hallmark.evaluation.outcomes import Outcome
from hallmark.evaluation.trainings import Trainings
from hallmark.evaluation.variant_table import VariantFigures, findings, variant_table
from hallmark.evaluation.variants import Axis, Variant
from hallmark.training.plain import train_plain

_SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
_ALONE = ("method.losses.alpha=1.0",)
_NO_KAG = (*_ALONE, "scramble.share=0")
_PLAIN = (*_NO_KAG, "method.pyramid=[1]", "method.reduce=null", "method.hidden=null")

DRAWN = {
    "without KAG": _NO_KAG,
    "counterfeit": ("scramble.main_label=counterfeit",),
    "keep": ("scramble.main_label=keep",),
    "ignore": ("scramble.main_label=ignore",),
}
REAL = {
    "plain classifier": _PLAIN,
    "counterfeit": ("scramble.main_label=counterfeit",),
    "keep": ("scramble.main_label=keep",),
}
"""Recipe -> what is laid over the preset; the first is what the others are compared with."""


@dataclass(frozen=True)
class Part:
    """One table: recipes on one set."""

    name: str
    manifest: Path
    run: dict[str, Any]
    recipes: dict[str, tuple[str, ...]]
    share: float = 1.0

    def variants(self) -> list[Variant]:
        return [Variant(name, laid, self.share) for name, laid in self.recipes.items()]

    def config(self, out: Path, seeds: tuple[int, ...], device: str) -> KAGAnalysisConfig:
        run = {**self.run, "manifest": str(self.manifest)}
        return KAGAnalysisConfig(run=run, out=str(out), seeds=seeds, trainer="plain", device=device)


def drawn_manifest(folder: Path, difficulty: float) -> Path:
    """The drawn `ci` set, imported."""
    manifest = folder / "drawn" / "manifest.parquet"
    if not manifest.is_file():
        table = draw_set(DrawConfig(size="ci", difficulty=difficulty), folder / "photographs", workers=2)
        _import(table, manifest.parent)
    return manifest


def real_manifest(folder: Path, photographs: str) -> Path | None:
    """A set of real photographs, split by what was photographed together; None where it is absent."""
    manifest, groups = folder / photographs / "manifest.parquet", _SHARED / "groups.csv"
    if manifest.is_file() or not groups.is_file():
        return manifest if manifest.is_file() else None
    with groups.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == photographs]
    both = {
        series
        for series in {row["series"] for row in rows}
        if len({row["label"] for row in rows if row["series"] == series}) == 2
    }
    listed = folder / f"{photographs}.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "product", "authenticity", "item_id"])
        for row in rows:
            if row["series"] in both:
                writer.writerow([(_SHARED / row["path"]).resolve(), row["series"], row["label"], row["group_id"]])
    _import(listed, manifest.parent)
    return manifest


def _import(source: Path, out: Path) -> None:
    config = ImportConfig(source=str(source), out=str(out), incomplete="skip")
    listing = list_photographs(config.source)
    inspected = [inspect_listed(one, limits=config.limits) for one in listing.photographs]
    write_import(assemble(listing, inspected, config), config.out)


def train_one(part: Part, recipe: str, seed: int, out: Path, device: str) -> None:
    """One training and its outcome, unless they are there."""
    torch.set_num_threads(1)
    config = part.config(out, (seed,), device)
    variant = next(variant for variant in part.variants() if variant.name == recipe)
    Trainings(config, [variant]).make(partial(train_plain, device=device, progress=False))


def outcomes(part: Part, seeds: tuple[int, ...], out: Path, device: str) -> dict[Variant, list[Outcome]]:
    """All of them, made before."""
    trainings = Trainings(part.config(out, seeds, device), part.variants())
    trainings.make(partial(train_plain, device=device, progress=False))
    return {variant: trainings.outcomes(variant) for variant in part.variants()}


def report(part: Part, told: dict[Variant, list[Outcome]]) -> dict[str, dict[str, float]]:
    """Print a table; accuracy, F1 and the paired difference of each recipe."""
    base = part.variants()[0]
    axis = Axis("policy", part.name, "recipe", "", tuple(part.variants()))
    table = variant_table(axis, told, told[base], resamples=2000, seed=0)
    print(f"\n{part.name}: {table.photographs} test photographs of {table.items} items, seeds {table.seeds}")
    print(f"{'recipe':>18} {'accuracy':>22} {'F1 macro':>9} {'F1 fake':>8} {'AUROC':>6} {'less the first':>24}")
    for row in table.variants:
        print(f"{row.name:>18} " + " ".join(_cells(row)))
    print("\n".join(findings(table)))
    return {row.name: _figures(row) for row in table.variants}


def _cells(row: VariantFigures) -> list[str]:
    whole = row.accuracy
    accuracy = f"{whole.k}/{whole.n} {whole.value:.3f} [{whole.low:.2f}, {whole.high:.2f}]"
    less = None if row.difference is None else row.difference.accuracy
    difference = "-" if less is None else f"{less.value:+.3f} [{less.low:+.3f}, {less.high:+.3f}]"
    return [
        f"{accuracy:>22}",
        f"{row.f1_macro.value:>9.3f}",
        f"{row.f1_counterfeit.value:>8.3f}",
        f"{row.auroc.value:>6.3f}",
        f"{difference:>24}",
    ]


def _figures(row: VariantFigures) -> dict[str, float]:
    told = {"accuracy": row.accuracy.value, "f1_macro": row.f1_macro.value, "f1_counterfeit": row.f1_counterfeit.value}
    return told if row.difference is None else told | {"difference": row.difference.accuracy.value}


def parts(arguments: argparse.Namespace) -> list[Part]:
    """The tables that are asked for and can be made."""
    found = []
    out = arguments.out
    if "drawn" in arguments.sets:
        manifest = drawn_manifest(out, arguments.difficulty)
        run = {"preset": "tiny"}
        found += [Part(f"drawn {100 * share:g} %", manifest, run, DRAWN, share) for share in (1.0, 0.2)]
    for photographs in ("cdp_labels", "rupiah_play_money"):
        if photographs not in arguments.sets:
            continue
        manifest = real_manifest(out, photographs)
        if manifest is None:
            print(f"{photographs}: left out, ../shared/data is not there")
            continue
        found.append(Part(photographs, manifest, _real_run(arguments), REAL))
    return found


def _real_run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.real_preset == "tiny":
        return {"preset": "tiny"}
    backbone = {"name": arguments.backbone, "pretrained": False}
    # Ten times the paper's rate, which is one for pretrained weights.
    optimiser = {"epochs": arguments.epochs, "learning_rate": 0.01, "precision": "bfloat16"}
    return {"preset": arguments.real_preset, "method": {"backbone": backbone}, "optimiser": optimiser,
            "validate_every": 10}  # fmt: skip


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen, seeds = parts(arguments), tuple(range(arguments.seeds))
    work = [(part, name, seed) for part in chosen for seed in seeds for name in part.recipes]
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(train_one, *one, arguments.out, arguments.device) for one in work]
        for one in tqdm(running, desc="trainings", ascii=True, mininterval=5):
            one.result()
    figures = {part.name: report(part, outcomes(part, seeds, arguments.out, arguments.device)) for part in chosen}
    ratios = {
        f"{name}: {recipe} less {next(iter(told))}": row["difference"]
        for name, told in figures.items()
        for recipe, row in told.items()
        if "difference" in row
    }
    print(json.dumps({"benchmark": "kag_auxiliary", "ratios": ratios, "figures": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = ["drawn", "cdp_labels", "rupiah_play_money"]
    parser.add_argument("--sets", nargs="+", choices=sets, default=sets, help="(default: all)")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: %(default)s)")
    parser.add_argument("--difficulty", type=float, default=0.2, help="of the drawn set (default: %(default)s)")
    parser.add_argument("--real-preset", default="tiny", help="for the real photographs (default: %(default)s)")
    parser.add_argument("--backbone", default="resnet50", help="of a larger preset, from scratch")
    parser.add_argument("--epochs", type=int, default=60, help="of a larger preset (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/kag_auxiliary"), help="(default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
