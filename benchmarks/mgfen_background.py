"""What replacing backgrounds is worth to MGFEN where the background gives the label away in training.

Two drawn sets of the same items, shots, light and devices: `leaky`, where most counterfeits lie on other surfaces than
genuine products, and `shuffled`, where the surface is drawn without looking at the label. MGFEN is trained on each with
and without replacement, and tested on the test photographs of both; the same items are for training in both sets. What
the drawn counterfeits differ by is more than a small network learns from scratch on a few hundred photographs, so that
marks are printed on the products of both sets, in blue ink on genuine products and in green on counterfeits.

recovered = (with - without) / (trained on shuffled, without - without), each tested on shuffled backgrounds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from mgfen_trainings import (
    Recipe,
    accuracy,
    answered,
    compared,
    drawn,
    figures,
    parser_of,
    spread,
    tell,
    train_all,
)

from hallmark.data.synthetic import DrawConfig, Shot, plan

NAMES = {
    ("leaky", False): "leaky, without",
    ("leaky", True): "leaky, with",
    ("shuffled", False): "shuffled, without",
    ("shuffled", True): "shuffled, with",
}


def leaking(config: DrawConfig, devices: bool) -> list[Shot]:
    """The shots of a set, their background following the label as in a leaky set; all else as it was."""
    leaky = plan(config.model_copy(update={"leaky": True}))
    if devices:
        return leaky
    return [replace(shot, background=other.background) for shot, other in zip(plan(config), leaky, strict=True)]


def sets(arguments: argparse.Namespace) -> dict[str, Path]:
    """The manifests of both sets."""
    config = DrawConfig(photographs=arguments.photographs, side_px=256, difficulty=arguments.difficulty,
                        products=arguments.products, unrelated_share=0)  # fmt: skip
    leaky_name = "leaky_devices" if arguments.devices else "leaky"
    marks = {"marks_px": arguments.marks_px}
    shuffled = drawn(config, plan(config), arguments.out / "shuffled", arguments.workers, **marks)
    shots = leaking(config, arguments.devices)
    return {
        "leaky": drawn(config, shots, arguments.out / leaky_name, arguments.workers, like=shuffled, **marks),
        "shuffled": shuffled,
    }


def recipes(manifests: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Recipe]:
    common = (f"optimiser.epochs={arguments.epochs}", *arguments.set)
    replacing = (f"background.probability={arguments.probability}", *arguments.set_replacing)
    return {
        name: Recipe(name, manifests[where], (*common, *(replacing if replaces else ("background=null",))))
        for (where, replaces), name in NAMES.items()
    }


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifests = sets(arguments)
    chosen = recipes(manifests, arguments)
    train_all(list(chosen.values()), arguments)
    outcomes = {
        (name, tested): answered(recipe, manifests[tested], arguments)
        for name, recipe in chosen.items()
        for tested in manifests
    }
    told = {}
    print(f"{'trained on, backgrounds replaced':>34} {'tested on':>10}  accuracy k/n [95 %] (seeds)")
    for (name, tested), given in outcomes.items():
        cell, told[f"{name}; tested on {tested}"] = accuracy(given)
        print(f"{name:>34} {tested:>10}  {cell}")
    without, replacing, clean, clean_replacing = (outcomes[name, "shuffled"] for name in NAMES.values())
    recovered = compared(_recovered, without, replacing, clean)
    gained = compared(lambda base, other: other - base, without, replacing)
    loss = compared(lambda base, other: base - other, clean, clean_replacing)
    print(f"gained on shuffled backgrounds: {spread(gained, '+')}")
    print(f"recovered: {spread(recovered)}; wanted at least 0.5")
    print(f"lost on the clean set: {spread(loss, '+')}; wanted at most 0.01")
    ratios = {"recovered": recovered.value, "clean_loss": loss.value}
    tell("mgfen_background", ratios, {**told, "recovered": figures(recovered), "gained": figures(gained),
                                      "clean_loss": figures(loss)})  # fmt: skip


def _recovered(without: float, replacing: float, clean: float) -> float | None:
    """None where nothing was lost."""
    return (replacing - without) / (clean - without) if clean > without else None


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "runs/mgfen_background", 24)
    parser.add_argument("--photographs", type=int, default=480, help="of each set (default: %(default)s)")
    parser.add_argument(
        "--marks-px", type=int, default=4, help="width of the marks printed on the products (default: %(default)s)"
    )
    parser.add_argument("--products", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--difficulty", type=float, default=0.2, help="of the drawn sets (default: %(default)s)")
    parser.add_argument(
        "--probability", type=float, default=0.5, help="that a background is replaced (default: %(default)s)"
    )
    parser.add_argument(
        "--set-replacing", nargs="*", default=[], metavar="KEY=VALUE", help="laid over recipes that replace backgrounds"
    )
    parser.add_argument("--devices", action="store_true", help="let the phone follow the label too in the leaky set")
    return parser.parse_args()


if __name__ == "__main__":
    main()
