"""The audit where copies and leaks are known: near-duplicates by set, planted copies, leaky and clean sets."""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from hallmark.data.auditing.audit import Audit, audit
from hallmark.data.auditing.measurement import measure
from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.duplicates import NearDuplicateConfig, find_near_duplicates, thumbnail
from hallmark.data.manifest import MANIFEST_SCHEMA
from hallmark.data.synthetic import DrawConfig, draw_set

_LIMITS = DecodeLimits()
_PLANTED = 20
_LABELLED = ("rupiah_play_money", "cdp_labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=5, help="leaky and clean sets drawn (%(default)s of each)")
    parser.add_argument("--photographs", type=int, default=400, help="of each drawn set (%(default)s)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    figures: dict[str, float] = {}
    if (arguments.data / "groups.csv").is_file():
        _near_duplicates(arguments.data, figures)
        _labelled_sets(arguments.data, figures)
    else:
        print(f"skipped: near-duplicates and labelled sets; {arguments.data}/groups.csv is not there (--data)")
    _drawn_sets(arguments.seeds, arguments.photographs, figures)
    print(json.dumps({"benchmark": "audit", "ratios": {}, "figures": figures}))


def _near_duplicates(data: Path, figures: dict[str, float]) -> None:
    """Pairs of one group against pairs found; then copies made of the photographs."""
    sets: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (data / "groups.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            sets[row["set"]].append(row)
    print(f"{'set':20} {'pairs':>6} {'found':>6} {'right':>6} {'precision':>10} {'recall':>7}")
    pictures = {}
    for name, rows in sets.items():
        pictures[name] = [decode((data / row["path"]).read_bytes(), _LIMITS) for row in rows]
        thumbnails = np.stack([thumbnail(picture) for picture in pictures[name]])
        truth = _same([row["group_id"] for row in rows])
        found = _same(find_near_duplicates(thumbnails, NearDuplicateConfig()).clusters.tolist())
        right = found & truth
        shares = [right.sum() / count if count else None for count in (found.sum(), truth.sum())]
        cells = [f"{share:.2f}" if share is not None else "-" for share in shares]
        print(f"{name:20} {truth.sum():>6} {found.sum():>6} {right.sum():>6} {cells[0]:>10} {cells[1]:>7}")
        figures |= {f"pairs_{name}": int(truth.sum()), f"found_{name}": int(found.sum())}
        figures[f"right_{name}"] = int(right.sum())
    print(
        "\nA group of rupiah_play_money is a session (one room, one hour), not one picture: most of its pairs are\n"
        "different photographs and rightly not found. The pairs of cdp_labels are captures of one printed design that\n"
        "correlate above 0.992 at 256 px; at 64 px, above 0.995, a few more pairs do, and all are kept together. The\n"
        "pair of grocery_packages is one shelf taken twice, which groups.csv does not list.\n"
    )
    _planted(pictures, figures)


def _planted(pictures: dict[str, list[np.ndarray]], figures: dict[str, float]) -> None:
    edits = _edits()
    print(f"share of {_PLANTED} planted copies found\n{'set':20} " + " ".join(f"{name:>8}" for name in edits))
    for name, originals in pictures.items():
        thumbnails = np.stack([thumbnail(picture) for picture in originals])
        chosen = np.random.default_rng(0).choice(len(originals), _PLANTED, replace=False)
        shares = []
        for change, edit in edits.items():
            copies = np.stack([thumbnail(np.ascontiguousarray(edit(originals[index]))) for index in chosen])
            clusters = find_near_duplicates(np.concatenate([thumbnails, copies]), NearDuplicateConfig()).clusters
            shares.append(float(np.mean(clusters[chosen] == clusters[len(originals) :])))
            figures[f"planted_{change}_{name}"] = shares[-1]
        print(f"{name:20} " + " ".join(f"{share:>8.2f}" for share in shares))


def _edits() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    def recoded(image: np.ndarray) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)

    def cropped(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return image[int(0.03 * height) : int(0.97 * height), int(0.05 * width) : int(0.99 * width)]

    def turned(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 3, 1.06)
        return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)

    return {
        "recoded": recoded,
        "halved": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "darker": lambda image: (255 * (image / 255.0) ** 1.35).astype(np.uint8),
        "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), image.shape[1] / 300),
        "cropped": cropped,
        "turned": turned,
    }


def _same(labels: list) -> np.ndarray:
    """(N(N-1)/2,) bool: which pairs share a label."""
    column = np.array(labels, dtype=object)
    return (column[:, None] == column[None])[np.triu_indices(len(labels), 1)]


def _labelled_sets(data: Path, figures: dict[str, float]) -> None:
    for name in _LABELLED:
        paths = sorted(path for path in (data / name).rglob("*") if path.suffix in (".png", ".jpg"))
        rows = [_row(path, path.parent.parent.name, path.parent.name, str(path)) for path in paths]
        _report(name, _audited(rows), figures)


def _drawn_sets(seeds: int, photographs: int, figures: dict[str, float]) -> None:
    alarms = {True: 0, False: 0}
    for seed in range(seeds):
        for leaky in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                config = DrawConfig(photographs=photographs, products=4, side_px=256, leaky=leaky, seed=seed)
                found = _audited(_drawn_rows(draw_set(config, Path(folder))))
            name = f"{'leaky' if leaky else 'clean'}_{seed}"
            _report(name, found, figures)
            alarms[leaky] += any(control.gives_away for control in found.controls)
    print(f"\nflagged: {alarms[True]} of {seeds} leaky sets, {alarms[False]} of {seeds} clean sets")
    figures |= {"leaky_flagged": alarms[True], "clean_flagged": alarms[False], "drawn_of_each": seeds}


def _drawn_rows(listing: Path) -> list[dict[str, str | None]]:
    with listing.open(newline="") as file:
        return [
            _row(listing.parent / line["uri"], line["product"], line["authenticity"], line["item_id"])
            | {"part": line["part"], "device_id": line["device_id"] or None}
            for line in csv.DictReader(file)
        ]


def _row(path: Path, product: str, authenticity: str, item_id: str) -> dict[str, str | None]:
    place = {"product": product, "part": "whole", "authenticity": authenticity}
    return {"uri": str(path), "item_id": item_id, "role": "train", **place}


def _audited(rows: list[dict]) -> Audit:
    measured = [measure(Path(row["uri"]).read_bytes(), _LIMITS) for row in rows]
    seen = [{"image_id": one.image_id, "width": one.width, "height": one.height} for one in measured]
    table = pa.Table.from_pylist([row | more for row, more in zip(rows, seen, strict=True)], schema=MANIFEST_SCHEMA)
    return audit(table, measured)


def _report(name: str, found: Audit, figures: dict[str, float]) -> None:
    flagged = [f"{control.name} {control.auroc:.2f}" for control in found.controls if control.gives_away]
    print(f"{name:20} {found.photographs:>5} photographs; gives the label away: {', '.join(flagged) or 'nothing'}")
    figures |= {f"{name}_{control.name.replace(' ', '_')}": round(control.auroc, 3) for control in found.controls}


if __name__ == "__main__":
    main()
