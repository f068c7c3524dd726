"""What windows of the photograph's own pixels are worth to MGFEN, against windows of the 448 px image.

Drawn photographs of 1024 px. Every product carries a patch of micro-print, marks 6 px wide: even in tone on the genuine
product, and in bars of 2 px on the counterfeit, of the same mean tones. Nothing else tells them apart, and at 448 px
the bars are finer than a pixel. Two recipes, alike but for `windows.native`, are trained with the same seeds and
compared answer by answer.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mgfen_trainings import (
    Recipe,
    accuracy,
    answered,
    bootstrap_of,
    figures,
    imported,
    one_thread,
    parser_of,
    printed,
    spread,
    tell,
    train_all,
)
from tqdm import tqdm

from hallmark.data.drawing import camera
from hallmark.data.synthetic import DrawConfig, Shot, draw_shot, plan
from hallmark.evaluation.outcomes import answers_of
from hallmark.evaluation.paired_difference import paired_difference
from hallmark.types import Authenticity

SIDE_PX = 1024
_DARK, _LIGHT = 10.0, 245.0
_GRID = (36, 80)


def _marks(authenticity: Authenticity, seed: int, width_px: int) -> np.ndarray:
    """(rows, columns, w, w, 3) levels: bars of 2 px, or even marks of the same means; light or dark by chance."""
    dark = np.where(np.arange(width_px) // 2 % 2 == 0, _DARK, _LIGHT)
    light = np.random.default_rng([seed, 8]).random(_GRID)[..., None] < 0.5
    bars = np.where(light, _DARK + _LIGHT - dark, dark)
    if authenticity is Authenticity.GENUINE:
        bars = np.broadcast_to(bars.mean(axis=2, keepdims=True), bars.shape)
    return np.broadcast_to(bars[:, :, None, :, None], (*_GRID, width_px, width_px, 3))


def photographs(arguments: argparse.Namespace) -> Path:
    """The manifest of the set."""
    folder = arguments.out / "photographs"
    manifest = folder / "manifest" / "manifest.parquet"
    if manifest.is_file():
        return manifest
    config = DrawConfig(photographs=2 * arguments.photographs, side_px=SIDE_PX, products=1, parts=(arguments.part,),
                        shots_per_item=1, unrelated_share=0)  # fmt: skip
    genuine = [shot for shot in plan(config) if shot.authenticity is Authenticity.GENUINE]
    shots = [_made(shot, number) for number, shot in enumerate(genuine)]
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn"), one_thread) as pool:
        draw = partial(_draw, config=config, folder=folder, width_px=arguments.width_px)
        widths = list(tqdm(pool.map(draw, genuine, shots), total=len(shots), desc="drawing", ascii=True, mininterval=5))
    print(f"marks: {np.mean([width for width in widths if width]):.1f} px wide on average, by their masks")
    listed = folder / "photographs.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "product", "part", "authenticity", "item_id", "mask_uri", "edit_mask_uri"])
        for shot in shots:
            row = (shot.file, shot.product, shot.part, shot.authenticity, shot.item_id, shot.mask_file)
            writer.writerow((*row, shot.edit_mask_file or ""))
    return imported(listed, manifest.parent, "5:1:4")


def _made(shot: Shot, number: int) -> Shot:
    """Every other genuine item becomes a counterfeit: it is drawn as it was, but for its marks."""
    kind = Authenticity.COUNTERFEIT if number % 2 else Authenticity.GENUINE
    name = shot.file.replace("/genuine/", f"/{kind}/")
    return replace(shot, authenticity=kind, file=name, item_id=shot.item_id.replace("genuine", str(kind)))


def _draw(genuine: Shot, shot: Shot, config: DrawConfig, folder: Path, width_px: int) -> float | None:
    """Returns how wide its marks are, px."""
    if (folder / shot.file).is_file():
        return None
    made = draw_shot(genuine, config)
    given = _marks(shot.authenticity, shot.seed, width_px)
    image, marks = printed(made.image, made.foreground_mask, given, shot.seed)
    for name, mask in ((shot.mask_file, made.foreground_mask), (shot.edit_mask_file, marks)):
        if name is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name), mask.astype(np.uint8) * 255)
    place = folder / shot.file
    place.parent.mkdir(parents=True, exist_ok=True)
    device = next(device for device in camera.DEVICES if device.name == shot.device_id)
    draft = place.with_suffix(".part")
    draft.write_bytes(camera.encoded(image, device, shot.seed))
    draft.replace(place)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(marks.astype(np.uint8))
    return float(np.median(boxes[1:, cv2.CC_STAT_WIDTH]))


def recipes(manifest: Path, arguments: argparse.Namespace) -> list[Recipe]:
    """Alike but for where windows are cut from; the first is the base."""
    common = (
        f"optimiser.epochs={arguments.epochs}",
        f"preprocessing.side_px={SIDE_PX}",
        f"method.global_px={arguments.global_px}",
        f"method.windows.crop_px={arguments.crop_px}",
        f"method.windows.count={arguments.count}",
        f"method.windows.sides=[{arguments.crop_px / SIDE_PX}]",
        "augmentation={rotation_deg: 2.0, shift: 0.02, scale: 0.03, perspective: 0.01, blur_px: 0.0}",
        "sampling={batch_size: 4, showings: 1}",
        "validate_every=5",
        *arguments.set,
    )
    return [Recipe(name, manifest, (*common, f"method.windows.native={native}"))
            for name, native in (("448 px image", "false"), ("native", "true"))]  # fmt: skip


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifest = photographs(arguments)
    chosen = recipes(manifest, arguments)
    train_all(chosen, arguments)
    base, native = (answered(recipe, manifest, arguments) for recipe in chosen)
    told = {}
    print(f"{'windows of':>14}  accuracy k/n [95 %] (seeds)")
    for recipe, outcomes in zip(chosen, (base, native), strict=True):
        cell, told[recipe.name] = accuracy(outcomes)
        print(f"{recipe.name:>14}  {cell}")
    of_base, of_native = answers_of(base), answers_of(native)
    difference = paired_difference(of_native, of_base, bootstrap_of(of_base))
    gain = difference.accuracy
    print(f"native less 448 px image: {spread(gain, '+')}, won {difference.won}, lost {difference.lost}, "
          f"p {'-' if difference.p_value is None else format(difference.p_value, '.2g')} (McNemar)")  # fmt: skip
    told["difference"] = {**figures(gain), "won": difference.won, "lost": difference.lost, "p": difference.p_value}
    tell("mgfen_native", {"native less global": gain.value}, told)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "runs/mgfen_native", 30)
    parser.add_argument("--photographs", type=int, default=160, help="half of them counterfeit (default: %(default)s)")
    parser.add_argument("--width-px", type=int, default=6, help="of a mark (default: %(default)s)")
    parser.add_argument("--part", default="woven_label", help="the product drawn (default: %(default)s)")
    parser.add_argument("--global-px", type=int, default=448, help="of the global branch (default: %(default)s)")
    parser.add_argument(
        "--crop-px", type=int, default=128, help="of a window, cut at the photograph's own size (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=4, help="windows a photograph (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
