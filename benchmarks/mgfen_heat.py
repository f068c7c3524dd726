"""How much of MGFEN's heat lies on the product: the full model against its baseline.

HR is the share of a heat map's energy inside the product's mask, mean over the test photographs. The baseline, as MMAL
has it, takes the mean over the last stage's channels for heat and leaves backgrounds as they are; the full model has
the feature pyramid and replaced backgrounds. HR is told of the heat that windows are laid by and of Grad-CAM at the
last stage, beside the mask's share of the area: what heat without any preference has. The products are drawn from
afar, since no ratio of 2 is possible where a product fills half the photograph, among things that lie about; ground and
things follow the label as in a leaky set, which is what a baseline may look at instead.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mgfen_background import leaking
from mgfen_trainings import (
    Recipe,
    accuracy,
    answered,
    bootstrap_of,
    figures,
    imported,
    one_thread,
    parser_of,
    spread,
    tell,
    train_all,
    trained,
)
from tqdm import tqdm

from hallmark.data.composite import CompositeConfig, replace_background
from hallmark.data.drawing.backgrounds import SURFACES, ground
from hallmark.data.drawing.oddments import ODDMENTS
from hallmark.data.drawing.shapes import Frame
from hallmark.data.manifest import read_manifest
from hallmark.data.synthetic import DrawConfig, Shot, draw_shot, plan
from hallmark.evaluation.heat_response import mean_response, respond, response_ratio
from hallmark.evaluation.outcomes import answers_of, photographs_to_judge

_THINGS = 5
RECIPES = {
    "baseline": ("method.pyramid=null", "background=null"),
    "pyramid alone": ("background=null",),
    "backgrounds alone": ("method.pyramid=null",),
    "full": (),
}


def manifest_of(arguments: argparse.Namespace) -> Path:
    """The drawn set, its products pictured from afar."""
    folder = arguments.out / "photographs"
    manifest = folder / "manifest" / "manifest.parquet"
    if manifest.is_file():
        return manifest
    config = DrawConfig(photographs=arguments.photographs, side_px=arguments.side_px, unrelated_share=0,
                        difficulty=arguments.difficulty, products=arguments.products)  # fmt: skip
    shots = leaking(config, devices=False) if arguments.leaky else plan(config)
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn"), one_thread) as pool:
        draw = partial(_draw, config=config, folder=folder, share=arguments.product_share)
        list(tqdm(pool.map(draw, shots, chunksize=8), total=len(shots), desc="drawing", ascii=True, mininterval=5))
    listed = folder / "photographs.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "product", "part", "authenticity", "item_id", "mask_uri"])
        for shot in shots:
            writer.writerow((shot.file, shot.product, shot.part, shot.authenticity, shot.item_id, shot.mask_file))
    return imported(listed, manifest.parent, "6:1:3")


def _draw(shot: Shot, config: DrawConfig, folder: Path, share: float) -> None:
    """A shot shrunk to a share of the side and laid somewhere on the ground that it stands on."""
    if (folder / shot.file).is_file():
        return
    made = draw_shot(shot, config)
    rng = np.random.default_rng([shot.seed, 11])
    side = config.side_px
    scale = share * side / max(made.image.shape[:2])
    width, height = (round(length * scale) for length in made.image.shape[1::-1])
    left, top = rng.integers(side - width + 1), rng.integers(side - height + 1)
    canvas, probability = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.float32)
    place = slice(top, top + height), slice(left, left + width)
    canvas[place] = cv2.resize(made.image, (width, height), interpolation=cv2.INTER_AREA)
    covered = cv2.resize(made.foreground_mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    probability[place] = covered
    below = _scene(shot, side, rng)
    image = replace_background(canvas, probability, below, CompositeConfig(feather_px=0.7))
    mask = (probability > 0.5).astype(np.uint8) * 255
    for name, picture in ((shot.mask_file, mask), (shot.file, image[..., ::-1])):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".draft-{path.name}")
        cv2.imwrite(str(draft), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
        draft.replace(path)


def _scene(shot: Shot, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) uint8: the shot's ground and what lies about on it, which leaks the label as the ground does.

    The first half of the surfaces goes with the first half of the things.
    """
    light = ground(shot.background, Frame(side, side, side / 512), shot.seed).matter[..., :3].copy()
    middle, things = len(SURFACES) // 2, list(ODDMENTS)
    first = list(SURFACES).index(shot.background) < middle
    things = things[: len(things) // 2] if first else things[len(things) // 2 :]
    for number in range(_THINGS):
        size = round(side * rng.uniform(0.3, 0.45))
        thing = ODDMENTS[str(rng.choice(things))](Frame(size, size, size / 512), shot.seed + number).matter
        left, top = rng.integers(side - size + 1, size=2)
        place = light[top : top + size, left : left + size]
        place += thing[..., 3:] * (thing[..., :3] - place)
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def kept_shares(recipe: Recipe, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """(S, N) by name; kept beside the bundles."""
    rows = []
    for seed in range(arguments.seeds):
        bundle = trained(recipe, seed, arguments.out, arguments.device)
        file = bundle.path.parent / "heat.npz"
        if not file.is_file():
            asked = photographs_to_judge(read_manifest(recipe.manifest), str(recipe.manifest))
            found = respond(bundle, asked, arguments.device)
            np.savez(file, **{"heat": found.heat, "Grad-CAM": found.cam, "area": found.area})
        with np.load(file) as stored:
            rows.append(dict(stored))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifest = manifest_of(arguments)
    common = (f"optimiser.epochs={arguments.epochs}", f"method.global_px={arguments.global_px}", *arguments.set)
    chosen = [Recipe(name, manifest, (*laid, *common)) for name, laid in RECIPES.items() if name in arguments.recipes]
    train_all(chosen, arguments)
    told, shares = {}, {}
    print(f"{'recipe':>18} {'HR of heat':>24} {'HR of Grad-CAM':>24} {'area':>6}  accuracy")
    for recipe in chosen:
        given = answered(recipe, manifest, arguments)
        shares[recipe.name] = own = kept_shares(recipe, arguments)
        bootstrap = bootstrap_of(answers_of(given))
        heat, cam = (mean_response(own[name], bootstrap) for name in ("heat", "Grad-CAM"))
        cell, right = accuracy(given)
        print(f"{recipe.name:>18} {spread(heat):>24} {spread(cam):>24} {own['area'].mean():>6.3f}  {cell}")
        told[recipe.name] = {"heat": figures(heat), "cam": figures(cam), "area": float(own["area"].mean()),
                             "accuracy": right}  # fmt: skip
    ratios = {}
    for name in ("heat", "Grad-CAM"):
        ratio = response_ratio(shares["full"][name], shares["baseline"][name], bootstrap)
        print(f"HR of {name}, full over baseline: {spread(ratio)}; wanted at least 2")
        ratios[name], told[f"ratio of {name}"] = ratio.value, figures(ratio)
    tell("mgfen_heat", ratios, told)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "runs/mgfen_heat", 15)
    parser.add_argument("--photographs", type=int, default=240, help="(default: %(default)s)")
    parser.add_argument("--products", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--difficulty", type=float, default=0.05, help="(default: %(default)s)")
    parser.add_argument(
        "--leaky", action=argparse.BooleanOptionalAction, default=True,
        help="whether ground and things follow the label (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--global-px", type=int, default=192, help="of the global branch (default: %(default)s)")
    parser.add_argument("--side-px", type=int, default=256, help="of a photograph (default: %(default)s)")
    parser.add_argument(
        "--product-share", type=float, default=0.5, help="side of the drawn shot, of the photograph's; its product "
        "covers about half of that shot (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--recipes", nargs="+", choices=list(RECIPES), default=["baseline", "full"], help="(default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
