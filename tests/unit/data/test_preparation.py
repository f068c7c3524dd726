"""Preparation: what is cut and masked once equals what training would have cut, and is not done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hallmark.data.foreground import ForegroundConfig
from hallmark.data.manifest import MANIFEST_SCHEMA
from hallmark.data.preparation import (
    Cut,
    Journal,
    PreparationConfig,
    prepare_photograph,
    prepared_set,
    tasks,
)
from hallmark.data.preprocess import Preprocessing
from hallmark.data.transforms import Transforms, prepared
from hallmark.errors import OutputError

SIZE = (60, 80)
BOX = [10.0, 12.0, 55.0, 50.0]


def _row(folder: Path, number: int, **given) -> dict:
    """A photograph of noise with a bright product in it, as a row of a manifest."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    image[15:45, 15:50] = rng.integers(160, 255, (30, 35, 3), dtype=np.uint8)
    path = folder / f"{number}.png"
    Image.fromarray(image).save(path)
    row = dict.fromkeys(MANIFEST_SCHEMA.names) | {
        "image_id": f"{number:064x}", "uri": str(path), "product": "a", "part": "whole", "authenticity": "genuine",
        "item_id": str(number), "role": "train", "width": SIZE[1], "height": SIZE[0],
    }  # fmt: skip
    return row | given


def _mask(folder: Path, name: str, size: tuple[int, int] = SIZE) -> str:
    mask = np.zeros(size, np.uint8)
    mask[15:45, 15:50] = 255
    Image.fromarray(mask).save(folder / name)
    return str(folder / name)


def _prepare(rows: list[dict], out: Path, **settings) -> tuple[pa.Table, list[Cut], PreparationConfig]:
    config = PreparationConfig(manifest="manifest.parquet", out=str(out), **settings)
    table = pa.Table.from_pylist(rows, MANIFEST_SCHEMA)
    return table, [prepare_photograph(task, config) for task in tasks(table, config)], config


def test_a_cut_photograph_is_the_same_network_input_without_its_box(tmp_path):
    row = _row(tmp_path, 1, box=BOX, mask_uri=_mask(tmp_path, "m.png"), edit_mask_uri=_mask(tmp_path, "e.png"))
    _, (cut,), config = _prepare([row], tmp_path / "out")
    transforms = Transforms(config.limits, Preprocessing(side_px=32, fill="gray"))
    wanted = prepared(row["uri"], tuple(BOX), None, transforms, 0)
    found = prepared(cut.uri, None, None, transforms, 0)
    assert np.array_equal(found.fitted.pixels, wanted.fitted.pixels)
    assert found.fitted.content == wanted.fitted.content
    size = Image.open(cut.uri).size
    assert size == (cut.width, cut.height) == (51, 42)  # the box of 45 x 38 px and 5 % of it on each side
    assert Image.open(cut.mask_uri).size == Image.open(cut.edit_mask_uri).size == size
    assert np.asarray(Image.open(cut.mask_uri))[10, 20] == 255
    assert not cut.unmasked
    assert not cut.fault


def test_without_a_box_nothing_is_copied(tmp_path):
    mask = _mask(tmp_path, "m.png")
    _, (masked, bare), _ = _prepare([_row(tmp_path, 1, mask_uri=mask), _row(tmp_path, 2)], tmp_path / "out")
    assert (masked.uri, masked.mask_uri) == (str(tmp_path / "1.png"), mask)
    assert (bare.uri, bare.mask_uri, bare.unmasked) == (str(tmp_path / "2.png"), None, "no_mask")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("backend", ["proto", "pca"])
def test_a_found_foreground_is_written_or_its_refusal_told(tmp_path, backend):
    foreground = ForegroundConfig(
        backend=backend, pretrained=False, side_px=64, min_similarity=-1, min_area=0, max_area=1
    )
    rows = [_row(tmp_path, 1, mask_uri=_mask(tmp_path, "m.png")), _row(tmp_path, 2)]
    _, (_, found), _ = _prepare(rows, tmp_path / "out", foreground=foreground)
    mask = np.asarray(Image.open(found.mask_uri))
    assert mask.shape == SIZE
    assert set(np.unique(mask)) <= {0, 255}
    strict = ForegroundConfig(backend=backend, pretrained=False, side_px=64, min_similarity=-1, min_area=0, max_area=0)
    _, (_, refused), _ = _prepare(rows, tmp_path / "strict", foreground=strict)
    assert refused.mask_uri is None
    assert refused.unmasked == "too_large"


def test_references_are_masked_genuine_training_photographs_of_the_product(tmp_path):
    mask = _mask(tmp_path, "m.png")
    rows = [
        _row(tmp_path, 1, mask_uri=mask),
        _row(tmp_path, 2, mask_uri=mask, authenticity="counterfeit"),
        _row(tmp_path, 3, mask_uri=mask, role="test"),
        _row(tmp_path, 4, mask_uri=mask, product="b"),
        _row(tmp_path, 5),
        _row(tmp_path, 6, product="c"),
    ]
    config = PreparationConfig(manifest="m", out="o", foreground=ForegroundConfig(backend="proto", pretrained=False))
    given = {
        task.row["item_id"]: task.references for task in tasks(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), config)
    }
    assert given["5"] == ((str(tmp_path / "1.png"), mask),)
    assert given["6"] == ()
    _, cuts, _ = _prepare(rows, tmp_path / "out", foreground=config.foreground)
    assert cuts[-1].unmasked == "no_reference"


def test_what_cannot_be_used_is_set_aside_and_named(tmp_path):
    rows = [_row(tmp_path, 1), _row(tmp_path, 2), _row(tmp_path, 3, mask_uri=_mask(tmp_path, "small.png", (10, 10)))]
    (tmp_path / "2.png").write_bytes(b"no picture")
    table, cuts, _ = _prepare(rows, tmp_path / "out")
    assembled = prepared_set(table, {cut.image_id: cut for cut in cuts})
    assert assembled.manifest["image_id"].to_pylist() == [rows[0]["image_id"]]
    details = {Path(row["uri"]).name: row["detail"] for row in assembled.quarantine.to_pylist()}
    assert set(details) == {"2.png", "3.png"}
    assert "2.png" in details["2.png"]
    assert "small.png" in details["3.png"]
    assert any("2 of 3" in notice for notice in assembled.notices)


def test_the_prepared_manifest_keeps_what_the_photograph_is(tmp_path):
    row = _row(tmp_path, 1, box=BOX, source_id="s", device_id="d", group_id="g", role="val")
    table, cuts, _ = _prepare([row], tmp_path / "out")
    (found,) = prepared_set(table, {cut.image_id: cut for cut in cuts}).manifest.to_pylist()
    changed = {"uri", "width", "height", "box"}
    assert {name: found[name] for name in found if name not in changed} == {
        name: row[name] for name in row if name not in changed
    }
    assert found["box"] is None


def test_a_journal_goes_on_where_it_was_broken_off(tmp_path):
    rows = [_row(tmp_path, number, box=BOX) for number in range(5)]
    table, cuts, config = _prepare(rows, tmp_path / "out")

    def broken():
        yield from cuts[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Journal(table, config).keeping(broken()))
    again = Journal(table, config)
    assert again.done == {cut.image_id: cut for cut in cuts[:3]}
    assert list(again.keeping(iter(cuts[3:]))) == cuts[3:]
    assert Journal(table, config).done == {cut.image_id: cut for cut in cuts}


def test_a_journal_of_other_settings_is_refused(tmp_path):
    table, cuts, config = _prepare([_row(tmp_path, 1, box=BOX)], tmp_path / "out")
    list(Journal(table, config).keeping(iter(cuts)))
    with pytest.raises(OutputError, match="out: holds a set prepared"):
        Journal(table, config.model_copy(update={"margin": 0.2}))
    with pytest.raises(OutputError):
        Journal(pa.Table.from_pylist([_row(tmp_path, 9)], MANIFEST_SCHEMA), config)


def test_an_unwritable_place_stops_the_preparation(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        _prepare([_row(tmp_path, 1, box=BOX)], tmp_path / "file" / "out")
