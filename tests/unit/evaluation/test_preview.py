"""The contact sheets of the transforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hallmark.data.manifest import MANIFEST_SCHEMA
from hallmark.errors import DataError
from hallmark.evaluation.preview import PreviewConfig, write_preview

SHEETS = ["tone", "padding", "scramble", "background", "augmentation", "network_input"]


def _manifest(folder: Path, *given: dict) -> Path:
    rows = []
    for number, extra in enumerate(given):
        path = folder / f"{number}.png"
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (48, 96, 3), dtype=np.uint8)).save(path)
        row = {
            "image_id": f"{number:064x}", "uri": str(path), "product": f"p{number}", "part": "whole",
            "authenticity": "genuine", "item_id": "i", "role": "train", "width": 96, "height": 48,
        }  # fmt: skip
        rows.append(dict.fromkeys(MANIFEST_SCHEMA.names) | row | extra)
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), folder / "manifest.parquet")
    return folder / "manifest.parquet"


def test_every_transform_has_a_sheet_with_a_line_for_each_photograph(tmp_path):
    mask = np.zeros((48, 96), np.uint8)
    mask[10:40, 20:80] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    extras = {"mask_uri": str(tmp_path / "mask.png")}, {"box": [10.0, 5.0, 80.0, 40.0]}, {}
    manifest = _manifest(tmp_path, *extras)
    three = write_preview(PreviewConfig(manifest=str(manifest), out=str(tmp_path / "three"), photographs=3))
    one = write_preview(PreviewConfig(manifest=str(manifest), out=str(tmp_path / "one"), photographs=1))
    assert [Path(path).stem for path in three] == SHEETS
    for many, single in zip(three, one, strict=True):
        tall, short = np.asarray(Image.open(many)), np.asarray(Image.open(single))
        assert tall.shape[1] == short.shape[1]
        assert tall.shape[0] == pytest.approx(3 * short.shape[0], abs=4)
        assert tall.std() > 20


def test_the_same_settings_give_the_same_sheets(tmp_path):
    manifest = str(_manifest(tmp_path, {}))
    first, second = (
        write_preview(PreviewConfig(manifest=manifest, out=str(tmp_path / name))) for name in ("first", "second")
    )
    assert [Path(path).read_bytes() for path in first] == [Path(path).read_bytes() for path in second]


def test_an_empty_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.parquet: holds no photograph"):
        write_preview(PreviewConfig(manifest=str(_manifest(tmp_path)), out=str(tmp_path)))
