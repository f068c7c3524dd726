"""The training step of KAG-MTLN against a bare torch loop of the same network, on tensors in memory.

The bare loop computes the two cross entropies, one backward pass and one optimiser step, and nothing else. Both take
turns, so that a machine that slows down slows both. On a GPU it also tells images a second and memory of each preset in
float32 and bfloat16.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from time import perf_counter

import torch
from torch.nn import functional as F

from hallmark.config import load_config
from hallmark.evaluation.protocol import KAGJob
from hallmark.methods.base import alone
from hallmark.methods.kag_mtln import KAGMTLN
from hallmark.training.diagnostics import due
from hallmark.training.loop import build_optimiser, train_step
from hallmark.training.run import KAGRun
from hallmark.types import Batch

_PRODUCTS = 4
_FIRST_STEP = 100
"""The first hundred steps of a run are all measured for its alarms, later ones now and then: these are timed."""


def measure(preset: str, precision: str, batch_size: int | None, device: torch.device, rounds: int, steps: int) -> dict:
    """Images a second of both loops, and the most memory that our step held, GiB (None on a CPU)."""
    settings = [f"preset={preset}", "manifest=unused", "out=unused", f"optimiser.precision={precision}"]
    run = load_config(KAGJob, None, [*settings, "method.backbone.pretrained=false"], "kag_mtln").run
    batch = _batch(run, batch_size or run.sampling.batch_size, device)
    ours, bare = _our_step(run, batch, device), _bare_step(run, batch, device)
    for work in (ours, bare):
        _seconds(work, device, 3)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        _seconds(ours, device, 2)
    peak = round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None
    spent = [(_seconds(ours, device, steps), _seconds(bare, device, steps)) for _ in range(rounds)]
    size = len(batch["images"])
    return {
        "batch": size,
        "side_px": run.preprocessing.side_px,
        "images_per_s": round(size / median(mine for mine, _ in spent), 2),
        "bare_images_per_s": round(size / median(its for _, its in spent), 2),
        "vs_bare_step": round(median(its / mine for mine, its in spent), 3),
        "peak_gib": peak,
    }


def _method(run: KAGRun, device: torch.device) -> KAGMTLN:
    torch.manual_seed(0)
    return KAGMTLN(run.method, _PRODUCTS, load_weights=False).to(device).train()


def _our_step(run: KAGRun, batch: Batch, device: torch.device) -> Callable[[], None]:
    method, step = _method(run, device), _FIRST_STEP
    optimiser, schedule = build_optimiser(method, run.optimiser, total_steps=10_000)

    def work() -> None:
        nonlocal step
        train_step(method, batch, optimiser, schedule, alone, run.optimiser, 0.5, due(step, 50))
        step += 1

    return work


def _bare_step(run: KAGRun, batch: Batch, device: torch.device) -> Callable[[], None]:
    method, alpha = _method(run, device), run.method.losses.alpha
    optimiser, _ = build_optimiser(method, run.optimiser, total_steps=10_000)
    half = torch.autocast(device.type, torch.bfloat16) if run.optimiser.precision == "bfloat16" else nullcontext()
    images, classes, scrambled = batch["images"], batch["class_index"], batch["scrambled"].long()

    def work() -> None:
        with half:
            pooled = method.pyramid(method.reduce(method.backbone(images)))
            main, auxiliary = method.main_head(pooled)[0], method.auxiliary_head(pooled)[0]
            loss = alpha * F.cross_entropy(main, classes) + (1 - alpha) * F.cross_entropy(auxiliary, scrambled)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return work


def _batch(run: KAGRun, size: int, device: torch.device) -> Batch:
    side, classes = run.preprocessing.side_px, torch.arange(size, device=device) % (2 * _PRODUCTS)
    return {
        "images": torch.randn(size, 3, side, side, device=device),
        "product": classes // 2,
        "genuine": classes % 2 == 1,
        "class_index": classes,
        "identity": classes,
        "scrambled": torch.arange(size, device=device) % 4 < 2,
    }


def _seconds(work: Callable[[], None], device: torch.device, steps: int) -> float:
    """Mean of a step."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = perf_counter()
    for _ in range(steps):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (perf_counter() - began) / steps


def main() -> None:
    arguments = _arguments()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    figures, ratios = {"device": name}, {}
    print(f"{name}\n{'preset':>8} {'precision':>9} {'batch':>6} {'px':>5} {'ours/s':>9} {'bare/s':>9} {'ratio':>6} GiB")
    for preset in arguments.presets:
        for precision in arguments.precisions:
            told = measure(preset, precision, arguments.batch_size, device, arguments.rounds, arguments.steps)
            figures[f"{preset}_{precision}"] = told
            ratios[f"{preset}_{precision}_vs_bare_step"] = told["vs_bare_step"]
            cells = [f"{value!s:>{width}}" for value, width in zip(told.values(), (6, 5, 9, 9, 6, 4), strict=True)]
            print(f"{preset:>8} {precision:>9} " + " ".join(cells), flush=True)
    print(json.dumps({"benchmark": "train_step", "ratios": ratios, "figures": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    precisions = ["float32", "bfloat16"] if gpu else ["float32"]
    parser.add_argument("--device", default="cuda" if gpu else "cpu", help="(default: %(default)s)")
    parser.add_argument(
        "--presets", nargs="+", default=["default", "paper"] if gpu else ["tiny"], help="(default: %(default)s)"
    )
    parser.add_argument("--precisions", nargs="+", default=precisions, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, help="photographs in a batch (default: the preset's)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each loop (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="steps in a turn (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
