"""What the benchmarks of MGFEN share: drawn sets, trainings that are kept, and answers about any test photographs."""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm

from hallmark.config import config_hash, load_config
from hallmark.data.drawing import camera
from hallmark.data.manifest import (
    ImportConfig,
    assemble,
    inspect_listed,
    list_photographs,
    manifest_hash,
    read_manifest,
    write_import,
)
from hallmark.data.synthetic import DrawConfig, Drawn, Shot, draw_shot
from hallmark.evaluation.class_report import share_right
from hallmark.evaluation.measures import Estimate
from hallmark.evaluation.outcomes import Answers, Outcome, answers_of, judge, read_outcome, write_outcome
from hallmark.evaluation.protocol import MGFENJob
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.training.plain import train_plain
from hallmark.training.run import RunConfig
from hallmark.types import Authenticity

RESAMPLES = 2000
_COLUMNS = ("uri", "product", "part", "authenticity", "item_id", "mask_uri", "edit_mask_uri", "role")


@dataclass(frozen=True)
class Recipe:
    """What is trained: a name, a set, and what is laid over a preset."""

    name: str
    manifest: Path
    overrides: tuple[str, ...] = ()
    preset: str = "tiny"

    def run(self, seed: int, out: Path) -> RunConfig:
        """The training with its folder, which is named by all that decides its outcome."""
        laid = [f"preset={self.preset}", *self.overrides, f"seed={seed}", f"manifest={self.manifest}", "out=."]
        run = load_config(MGFENJob, None, laid, presets="mgfen").run
        hashed = manifest_hash(read_manifest(self.manifest))
        key = config_hash(run.model_copy(update={"manifest": hashed, "out": "", "preset": None}))
        place = {"manifest": str(self.manifest.resolve()), "out": str((out / "trainings" / key / "bundle").resolve())}
        return run.model_copy(update=place)


def trained(recipe: Recipe, seed: int, out: Path, device: str) -> Bundle:
    """The bundle of a recipe and seed, trained unless it is there."""
    run = recipe.run(seed, out)
    if (Path(run.out) / "config.yaml").is_file():
        return open_bundle(run.out)
    return train_plain(run, device, progress=False)


def train_all(recipes: Sequence[Recipe], arguments: argparse.Namespace) -> None:
    """Train every recipe with every seed, some at once."""
    work = list(product(range(arguments.seeds), recipes))
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn"), one_thread) as pool:
        running = [pool.submit(_train, recipe, seed, arguments.out, arguments.device) for seed, recipe in work]
        for one in tqdm(running, desc="trainings", ascii=True, mininterval=5):
            one.result()


def _train(recipe: Recipe, seed: int, out: Path, device: str) -> None:
    trained(recipe, seed, out, device)


def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def answered(recipe: Recipe, tested: Path, arguments: argparse.Namespace) -> list[Outcome]:
    """What a recipe's trainings say of the test photographs of a manifest, one a seed; kept on disk."""
    table = read_manifest(tested)
    return [_outcome(trained(recipe, seed, arguments.out, arguments.device), table, arguments.device)
            for seed in range(arguments.seeds)]  # fmt: skip


def _outcome(bundle: Bundle, table: pa.Table, device: str) -> Outcome:
    file = bundle.path.parent / f"outcome-{manifest_hash(table)}.json"
    known = read_outcome(file)
    if known is None:
        known = judge(bundle, table, device)
        write_outcome(file, known)
    return known


def bootstrap_of(answers: Answers) -> SeedBootstrap:
    """Over items and seeds at once."""
    return SeedBootstrap(answers.items, answers.truth % 2, len(answers.told), 0, RESAMPLES)


def accuracy(outcomes: Sequence[Outcome]) -> tuple[str, dict[str, float]]:
    """Product and authenticity both right: a cell of a table and its figures."""
    answers = answers_of(outcomes)
    right, told = int(answers.right.sum()), answers.right.size
    share = bootstrap_of(answers).estimate(lambda weights: share_right(answers, weights))
    cell = f"{right}/{told} {spread(share)} ({', '.join(f'{one:.3f}' for one in answers.right.mean(axis=1))})"
    return cell, {"k": right, "n": told, **figures(share)}


def compared(statistic: Callable[..., float | None], *recipes: Sequence[Outcome]) -> Estimate:
    """A figure of several recipes' answers about the same photographs, with its interval over items and seeds.

    Args:
        statistic: from the accuracies of the recipes, in their order.
        recipes: outcomes of each, by the same seeds.
    """
    answers = [answers_of(outcomes) for outcomes in recipes]
    return bootstrap_of(answers[0]).estimate(lambda weights: statistic(*(share_right(one, weights) for one in answers)))


def figures(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def spread(estimate: Estimate, sign: str = "") -> str:
    """The figure and its interval."""
    if estimate.value is None or estimate.low is None:
        return str(estimate.value)
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def printed(image: np.ndarray, foreground: np.ndarray, marks: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with a patch of marks printed on the product's middle.

    Args:
        image: (H, W, 3) uint8 RGB, not yet encoded.
        foreground: (H, W) bool.
        marks: (rows, columns, w, w, 3) float, sRGB levels 0 to 255.
        seed: of the patch's place, a few px either way.

    Returns:
        (H, W, 3) uint8, and (H, W) bool, where the marks lie.
    """
    grid, width = marks.shape[:2], marks.shape[2]
    pitch = width + max(2, width // 3)
    patch = np.zeros((pitch * grid[0], pitch * grid[1], 3), np.float32)
    cover = np.zeros(patch.shape[:2], bool)
    for row, column in np.ndindex(*grid):
        place = slice(row * pitch, row * pitch + width), slice(column * pitch, column * pitch + width)
        patch[place], cover[place] = marks[row, column], True
    rows, columns = np.nonzero(foreground)
    shift = np.random.default_rng([seed, 7]).uniform(-2, 2, 2) * width
    low = np.rint(np.array([rows.mean(), columns.mean()]) + shift - np.array(cover.shape) / 2).astype(int)
    top, left = np.clip(low, 0, np.array(image.shape[:2]) - cover.shape)
    shown, mask = image.copy(), np.zeros(image.shape[:2], bool)
    place = slice(top, top + cover.shape[0]), slice(left, left + cover.shape[1])
    ink = np.where(cover[..., None], 0.9 * patch + 0.1 * shown[place], shown[place])
    shown[place], mask[place] = np.rint(ink).astype(np.uint8), cover
    return shown, mask


def drawn(
    config: DrawConfig,
    shots: Sequence[Shot],
    folder: Path,
    workers: int,
    ratio: str = "6:1:3",
    like: Path | None = None,
    marks_px: int | None = None,
) -> Path:
    """Draw photographs and import them, unless that was done.

    Args:
        shots: what is drawn; their circumstances may differ from the config's.
        ratio: train : val : test.
        like: a manifest of the same items, whose roles are taken over.
        marks_px: width of marks that are printed on the products; None = none are.

    Returns:
        The path of the manifest.
    """
    manifest = folder / "manifest" / "manifest.parquet"
    if manifest.is_file():
        return manifest
    items = [list(group) for _, group in groupby(shots, key=lambda shot: shot.item_id)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), one_thread) as pool:
        list(tqdm(pool.map(partial(_draw, config=config, folder=folder, marks_px=marks_px), items), total=len(items),
                  desc=f"drawing {folder.name}", ascii=True, mininterval=5))  # fmt: skip
    listed = folder / "photographs.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        roles = {} if like is None else _roles(like)
        for shot in shots:
            row = (shot.file, shot.product, shot.part, shot.authenticity, shot.item_id)
            writer.writerow((*row, shot.mask_file or "", shot.edit_mask_file or "", roles.get(shot.file, "")))
    return imported(listed, manifest.parent, ratio)


def _draw(shots: list[Shot], config: DrawConfig, folder: Path, marks_px: int | None) -> None:
    for shot in shots:
        if (folder / shot.file).is_file():
            continue
        made = draw_shot(shot, config)
        masks = [(shot.mask_file, made.foreground_mask), (shot.edit_mask_file, made.edit_mask)]
        for name, mask in masks:
            if name is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / name), mask.astype(np.uint8) * 255)
        # The photograph comes last, and under its name at once: a rerun takes it for the sign that all is there.
        place = folder / shot.file
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(".part")
        draft.write_bytes(made.jpeg if marks_px is None else _marked(shot, made, marks_px))
        draft.replace(place)


def _marked(shot: Shot, made: Drawn, width_px: int) -> bytes:
    ink = (40.0, 70.0, 190.0) if shot.authenticity is Authenticity.GENUINE else (40.0, 150.0, 90.0)
    marks = np.broadcast_to(ink, (2, 3, width_px, width_px, 3))
    image, _ = printed(made.image, made.foreground_mask, marks, shot.seed)
    device = next(device for device in camera.DEVICES if device.name == shot.device_id)
    return camera.encoded(image, device, shot.seed)


def _roles(manifest: Path) -> dict[str, str]:
    """By the file's path in its set."""
    rows = read_manifest(manifest).select(["uri", "role"]).to_pylist()
    return {"/".join(row["uri"].split("/")[-4:]): row["role"] for row in rows}


def imported(source: Path, out: Path, ratio: str = "6:2:2") -> Path:
    """A table of photographs as a manifest."""
    config = ImportConfig(source=str(source), out=str(out), incomplete="skip", splits={"ratio": ratio})
    listing = list_photographs(config.source)
    inspected = [inspect_listed(one, limits=config.limits) for one in listing.photographs]
    write_import(assemble(listing, inspected, config), config.out)
    return out / "manifest.parquet"


def parser_of(description: str, out: str, epochs: int, seeds: int = 3) -> argparse.ArgumentParser:
    """The flags that every benchmark of MGFEN has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help="how many, from 0 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=epochs, help="of every training (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(out), help="(default: %(default)s)")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="laid over every recipe, as `hallmark train --set`"
    )
    return parser


def tell(benchmark: str, ratios: dict[str, Any], told: dict[str, Any]) -> None:
    """The last line."""
    print(json.dumps({"benchmark": benchmark, "ratios": ratios, "figures": told}))
