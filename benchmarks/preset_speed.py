"""Speed and memory of the FoD presets from random weights: training steps and extraction, float32 against bfloat16.

Batches of random pixels lie on the device already, so that what is measured is the network, its losses and the
optimiser. Without a GPU the presets `small` and up take minutes a step; choose `--presets tiny` there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from time import perf_counter

import torch

from hallmark.config import load_config
from hallmark.evaluation.protocol import FoDJob
from hallmark.methods.fod import FoD
from hallmark.training.loop import build_optimiser, train_step
from hallmark.types import Batch


def measure(preset: str, precision: str, device: torch.device, repeats: int) -> dict[str, float | None]:
    """Images a second of one preset, and the most memory that its training steps held, GiB (None on a CPU)."""
    settings = [f"preset={preset}", "manifest=unused", "out=unused", f"optimiser.precision={precision}"]
    run = load_config(FoDJob, None, [*settings, "method.backbone.pretrained=false"], "fod")
    torch.manual_seed(run.seed)
    method = FoD(run.method).to(device)
    optimiser, schedule = build_optimiser(method, run.optimiser, total_steps=1000)
    batch = _batch(run, device)

    def step() -> None:
        train_step(method, batch, optimiser, schedule, lambda rows: rows, run.optimiser, progress=0.5)

    def extract() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            method.embed(batch["images"])

    size = len(batch["images"])
    method.train()
    training = size / _seconds(step, device, repeats)
    peak = round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None
    method.eval()
    return {
        "batch": size,
        "side_px": run.preprocessing.side_px,
        "train_images_per_s": round(training, 1),
        "extract_images_per_s": round(size / _seconds(extract, device, repeats), 1),
        "train_peak_gib": peak,
    }


def _batch(run: FoDJob, device: torch.device) -> Batch:
    sampling, side = run.sampling, run.preprocessing.side_px
    shown = sampling.genuine + sampling.counterfeit
    product = torch.arange(sampling.products, device=device).repeat_interleave(shown)
    genuine = (torch.arange(shown, device=device) < sampling.genuine).repeat(sampling.products)
    return {
        "images": torch.randn(len(product), 3, side, side, device=device),
        "product": product,
        "genuine": genuine,
        "class_index": 2 * product + genuine,
        "identity": 2 * product + genuine,
    }


def _seconds(work: Callable[[], None], device: torch.device, repeats: int) -> float:
    """Mean over the repeats, after two that do not count."""
    for _ in range(2):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    began = perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (perf_counter() - began) / repeats


def main() -> None:
    arguments = _arguments()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    figures, ratios = {"device": name}, {}
    print(f"{name}\n{'preset':>8} {'precision':>9} {'batch':>6} {'px':>5} {'train/s':>9} {'extract/s':>10} {'GiB':>6}")
    for preset in arguments.presets:
        for precision in ("float32", "bfloat16"):
            told = figures[f"{preset}_{precision}"] = measure(preset, precision, device, arguments.repeats)
            cells = [f"{value!s:>{width}}" for value, width in zip(told.values(), (6, 5, 9, 10, 6), strict=True)]
            print(f"{preset:>8} {precision:>9} " + " ".join(cells), flush=True)
        for kind in ("train", "extract"):
            half, whole = (figures[f"{preset}_{one}"][f"{kind}_images_per_s"] for one in ("bfloat16", "float32"))
            ratios[f"{preset}_{kind}_bfloat16_over_float32"] = round(half / whole, 2)
    print(json.dumps({"benchmark": "preset_speed", "ratios": ratios, "figures": figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if gpu else "cpu", help="(default: %(default)s)")
    parser.add_argument(
        "--presets", nargs="+", default=["small", "base", "paper"] if gpu else ["tiny"], help="(default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=8, help="steps that are timed (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
