"""MGFEN on the real photographs of ../shared/data, beside a plain classifier of the same backbone.

What is asked is the authenticity: a few photographs of each series are too few to learn its name from scratch. The
plain classifier has no windows and leaves backgrounds as they are. The sets are split by what was photographed
together. Neither set has foreground masks, so MGFEN replaces backgrounds only where `hallmark data prepare` found them
before; here it does not. Precision and F1 are means over both classes. A set that is not there is left out. cdp_labels
is easy and rupiah_play_money is confounded (see the folder's README): a score near 1 says that the plumbing works.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mgfen_trainings import (
    Recipe,
    accuracy,
    answered,
    bootstrap_of,
    figures,
    imported,
    parser_of,
    spread,
    tell,
    train_all,
)

from hallmark.evaluation.class_report import macro_f1
from hallmark.evaluation.outcomes import Answers, Outcome, answers_of
from hallmark.evaluation.paired_difference import paired_difference

SETS = ("cdp_labels", "rupiah_play_money")
_SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
_RECIPES = {"plain classifier": ("method.windows=null", "background=null"), "MGFEN": ()}


def manifest_of(name: str, shared: Path, out: Path) -> Path | None:
    """A set of real photographs as one product, of those series that have both classes; None where it is absent."""
    manifest, groups = out / name / "manifest.parquet", shared / "groups.csv"
    if manifest.is_file():
        return manifest
    if not groups.is_file():
        return None
    with groups.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == name]
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row["series"], set()).add(row["label"])
    listed = out / f"{name}.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "product", "authenticity", "item_id"])
        for row in rows:
            if len(labels[row["series"]]) == 2:
                writer.writerow([(shared / row["path"]).resolve(), name, row["label"], row["group_id"]])
    return imported(listed, manifest.parent)


def macro_precision(answers: Answers, weights: np.ndarray) -> float | None:
    """Mean over the classes that occur; a class that is never told has 0. Weights (S, N)."""
    confusion = answers.confusion_by(weights)
    called, there = confusion.sum(axis=0), confusion.sum(axis=1)
    shares = np.divide(confusion.diagonal(), called, out=np.zeros(len(called)), where=called > 0)[there > 0]
    return float(shares.mean()) if len(shares) else None


def report(name: str, told: dict[str, list[Outcome]]) -> dict[str, dict]:
    """Print the table of a set."""
    answers = {recipe: answers_of(outcomes) for recipe, outcomes in told.items()}
    base = answers["plain classifier"]
    bootstrap = bootstrap_of(base)
    print(f"\n{name}: {len(base.truth)} test photographs of {len(np.unique(base.items))} items")
    print(f"{'recipe':>18} {'precision':>22} {'F1 macro':>22}  accuracy k/n [95 %] (seeds)")
    found = {}
    for recipe, given in answers.items():
        cell, right = accuracy(told[recipe])
        precision = bootstrap.estimate(lambda weights, given=given: macro_precision(given, weights))
        f1 = bootstrap.estimate(lambda weights, given=given: macro_f1(given, weights))
        print(f"{recipe:>18} {spread(precision):>22} {spread(f1):>22}  {cell}")
        found[recipe] = {"accuracy": right, "precision": figures(precision), "f1_macro": figures(f1)}
    difference = paired_difference(answers["MGFEN"], base, bootstrap)
    p_value = "-" if difference.p_value is None else f"{difference.p_value:.2g}"
    print(f"MGFEN less the plain classifier: {spread(difference.accuracy, '+')}, won {difference.won}, "
          f"lost {difference.lost}, p {p_value} (McNemar)")  # fmt: skip
    found["difference"] = {**figures(difference.accuracy), "won": difference.won, "lost": difference.lost}
    return found


def recipes(manifest: Path, arguments: argparse.Namespace) -> Sequence[Recipe]:
    common = (f"optimiser.epochs={arguments.epochs}", f"preprocessing.side_px={arguments.side_px}", *arguments.set)
    return [Recipe(name, manifest, (*laid, *common), arguments.preset) for name, laid in _RECIPES.items()]


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = {}
    for name in arguments.sets:
        manifest = manifest_of(name, arguments.shared, arguments.out)
        if manifest is None:
            print(f"{name}: left out, {arguments.shared} has no groups.csv (the real photographs are not there)")
        else:
            chosen[name] = recipes(manifest, arguments)
    train_all([recipe for given in chosen.values() for recipe in given], arguments)
    told = {}
    for name, given in chosen.items():
        asked = {recipe.name: answered(recipe, recipe.manifest, arguments) for recipe in given}
        told[name] = report(name, asked)
    ratios = {f"{name}: MGFEN less plain": found["difference"]["value"] for name, found in told.items()}
    tell("mgfen_real", ratios, told)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "runs/mgfen_real", 60)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="(default: all)")
    parser.add_argument("--shared", type=Path, default=_SHARED, help="folder of the photographs (default: %(default)s)")
    parser.add_argument("--preset", default="tiny", help="(default: %(default)s)")
    parser.add_argument(
        "--side-px", type=int, default=384, help="of the image that windows are cut from (default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
