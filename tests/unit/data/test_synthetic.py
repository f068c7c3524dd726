"""Drawn sets: the same bits again, edits only where the mask says, honest backgrounds, and a folder kept safe."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2_contingency

from hallmark.config import validate
from hallmark.data import synthetic
from hallmark.data.drawing import shots as drawing_shots
from hallmark.data.drawing.catalogue import CATALOGUE
from hallmark.data.drawing.shots import PARTS
from hallmark.data.synthetic import MAKER, SOURCES, DrawConfig, Shot, draw_set, draw_shot, plan
from hallmark.errors import ConfigError, OutputError
from hallmark.types import Authenticity

SMALL = DrawConfig(photographs=16, side_px=96, products=1, shots_per_item=2, unrelated_share=0.2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 16 small photographs; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn") / "set"
    draw_set(SMALL, folder)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _one_of_each() -> list[Shot]:
    """A genuine, a counterfeit and an unrelated shot of the small set."""
    first = {shot.authenticity: shot for shot in reversed(plan(SMALL))}
    return [first[kind] for kind in (Authenticity.GENUINE, Authenticity.COUNTERFEIT, Authenticity.UNRELATED)]


# The plan


@pytest.mark.parametrize(("size", "wanted"), [("smoke", 64), ("ci", 600), ("full", 5000)])
def test_sizes(size, wanted):
    shots = plan(DrawConfig(size=size))
    assert len(shots) == wanted
    for key in ("file", "seed"):
        assert len({getattr(shot, key) for shot in shots}) == wanted


@pytest.mark.parametrize("photographs", [16, 131, 700])
@pytest.mark.parametrize("products", [1, 4, 12])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_counts(photographs, products, share):
    config = DrawConfig(photographs=photographs, products=products, unrelated_share=share)
    shots = plan(config)
    assert len(shots) == photographs
    kinds = Counter(shot.authenticity for shot in shots)
    assert kinds[Authenticity.UNRELATED] == round(photographs * share)
    for name in {shot.product for shot in shots} - {""}:
        own = [shot for shot in shots if shot.product == name]
        genuine = sum(shot.authenticity is Authenticity.GENUINE for shot in own)
        assert genuine - (len(own) - genuine) in (0, 1)
        by_source = Counter(shot.source_id for shot in own if shot.authenticity is Authenticity.COUNTERFEIT)
        counts = [by_source[source] for source in SOURCES]
        assert max(counts) - min(counts) <= 1
    per_product = Counter(shot.product for shot in shots if shot.product)
    assert max(per_product.values()) - min(per_product.values()) <= 1
    assert len(per_product) == min(products, photographs - kinds[Authenticity.UNRELATED])


def test_photographs_take_the_place_of_size():
    assert len(plan(DrawConfig(size="full", photographs=20))) == 20


@pytest.mark.parametrize("part", PARTS)
def test_parts(part):
    products = [product.name for product in CATALOGUE if part == product.design.PART]
    shots = plan(DrawConfig(photographs=40, parts=(part,), products=len(products)))
    assert {shot.part for shot in shots if shot.product} == {part}
    assert list(dict.fromkeys(shot.product for shot in shots if shot.product)) == products


def test_items_hold_at_most_so_many_shots_and_never_two_makers():
    shots = plan(DrawConfig(photographs=300, shots_per_item=3))
    items = defaultdict(list)
    for shot in shots:
        items[shot.item_id].append(shot)
    sizes = Counter(len(item) for item in items.values())
    assert max(sizes) == 3
    for item in items.values():
        assert len({(shot.product, shot.authenticity, shot.source_id) for shot in item}) == 1
    assert {shot.source_id for shot in shots if shot.authenticity is Authenticity.GENUINE} == {MAKER}
    for name in {shot.product for shot in shots} - {""}:
        for kind in (Authenticity.GENUINE, Authenticity.COUNTERFEIT):
            assert len({s.item_id for s in shots if s.product == name and s.authenticity is kind}) >= 3


def test_unrelated_photographs_are_of_many_families():
    shots = [shot for shot in plan(DrawConfig()) if shot.authenticity is Authenticity.UNRELATED]
    families = Counter(shot.item_id.split("/")[1] for shot in shots)
    assert len(families) >= 10
    assert max(families.values()) - min(families.values()) <= 1
    assert all(shot.item_id.startswith("unrelated/") and shot.files == (shot.file,) for shot in shots)


def test_the_plan_follows_from_its_seed():
    assert plan(DrawConfig(seed=4)) == plan(DrawConfig(seed=4))
    one, other = plan(DrawConfig(seed=4)), plan(DrawConfig(seed=5))
    assert [shot.file for shot in one] == [shot.file for shot in other]
    assert not {shot.seed for shot in one} & {shot.seed for shot in other}


@pytest.mark.parametrize("circumstance", ["background", "device_id"])
@pytest.mark.parametrize("leaky", [False, True])
def test_circumstances_tell_the_label_only_in_a_leaky_set(circumstance, leaky):
    shots = [shot for shot in plan(DrawConfig(photographs=3000, leaky=leaky)) if shot.product]
    counts = Counter((getattr(shot, circumstance), shot.authenticity) for shot in shots)
    names = sorted({name for name, _ in counts})
    assert len(names) >= 3
    kinds = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)
    chance = chi2_contingency([[counts[name, kind] for kind in kinds] for name in names]).pvalue
    assert chance < 1e-6 if leaky else chance > 0.001


# One photograph


@pytest.mark.parametrize("kind", range(3), ids=["genuine", "counterfeit", "unrelated"])
def test_a_shot_is_the_same_bits_again(kind):
    shot = _one_of_each()[kind]
    one = draw_shot(shot, SMALL)
    drawing_shots._planes.cache_clear()
    drawing_shots._item.cache_clear()
    other = draw_shot(shot, SMALL)
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.edit_mask, other.edit_mask)
    np.testing.assert_array_equal(one.foreground_mask, other.foreground_mask)
    assert one.jpeg == other.jpeg
    assert one.image.dtype == np.uint8
    assert one.image.shape == (*one.edit_mask.shape, 3)
    assert max(one.image.shape) == SMALL.side_px
    assert one.edit_mask.dtype == one.foreground_mask.dtype == bool
    assert one.foreground_mask.shape == one.edit_mask.shape
    assert one.foreground_mask.any() == (shot.authenticity is not Authenticity.UNRELATED)
    assert one.edit_mask.any() == (shot.authenticity is Authenticity.COUNTERFEIT)
    assert one.image.std() > 10
    again = np.asarray(Image.open(io.BytesIO(one.jpeg)))
    assert again.shape == one.image.shape
    assert np.abs(again.astype(int) - one.image).mean() < 12
    assert not np.array_equal(draw_shot(replace(shot, seed=shot.seed + 1), SMALL).image, one.image)


@pytest.mark.parametrize("product", CATALOGUE, ids=lambda product: product.name)
def test_every_recipe_changes_pixels_and_only_near_its_mask(product):
    """Beside a genuine photograph of the same item in the same light, a counterfeit differs by its edits alone."""
    config = DrawConfig(photographs=200, side_px=112, products=len(CATALOGUE), difficulty=0.5)
    base = next(shot for shot in plan(config) if shot.product == product.name)
    genuine = draw_shot(base, config)
    assert len(product.recipes) == len(SOURCES)
    fakes = []
    for source in SOURCES:
        fake = draw_shot(replace(base, authenticity=Authenticity.COUNTERFEIT, source_id=source), config)
        differs = np.abs(fake.image.astype(int) - genuine.image).max(axis=-1)
        near = cv2.dilate(fake.edit_mask.astype(np.uint8), np.ones((7, 7))) > 0
        assert differs[fake.edit_mask].max() >= 5, source
        assert 0 < fake.edit_mask.mean() < 0.8, source
        assert not near.all(), source
        assert differs[~near].max() <= 4, source
        fakes.append(fake.image)
    assert not np.array_equal(fakes[0], fakes[1])
    assert not np.array_equal(fakes[1], fakes[2])


def test_a_lower_difficulty_enlarges_the_edits():
    for product in CATALOGUE:
        for source, edits in enumerate(product.recipes):
            for edit in (edit for edit in edits if not edit.whole):
                designs = (product.design, product.made_by(source, 1.0), product.made_by(source, 0.05))
                plain, hard, easy = (_value(design, edit.field) for design in designs)
                assert np.abs(hard - plain).max() > 0, (product.name, edit.field)
                assert np.abs(easy - plain).max() > 10 * np.abs(hard - plain).max(), (product.name, edit.field)


def _value(design: object, dotted: str) -> np.ndarray:
    for name in dotted.split("."):
        design = getattr(design, name)
    return np.asarray(design, dtype=float)


@pytest.mark.parametrize("kind", PARTS)
def test_the_easiest_difficulty_can_be_drawn(kind):
    config = DrawConfig(photographs=16, side_px=96, products=1, parts=(kind,), difficulty=0.05)
    shots = {shot.source_id: shot for shot in plan(config) if shot.authenticity is Authenticity.COUNTERFEIT}
    assert set(shots) == set(SOURCES)
    for shot in shots.values():
        assert draw_shot(shot, config).edit_mask.any()


# The set in its folder


def test_a_set_is_written_whole(drawn):
    shots = plan(SMALL)
    with open(drawn / "photographs.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["uri"] for row in rows] == [shot.file for shot in shots]
    for row, shot in zip(rows, shots, strict=True):
        assert row["authenticity"] == shot.authenticity
        assert (row["product"], row["part"], row["item_id"]) == (shot.product, shot.part, shot.item_id)
        assert (row["source_id"], row["device_id"]) == (shot.source_id, shot.device_id)
        picture = Image.open(drawn / row["uri"])
        assert (picture.format, max(picture.size)) == ("JPEG", SMALL.side_px)
        assert bool(row["mask_uri"]) == (shot.authenticity is not Authenticity.UNRELATED)
        assert bool(row["edit_mask_uri"]) == (shot.authenticity is Authenticity.COUNTERFEIT)
        expected = draw_shot(shot, SMALL)
        for column in ("mask_uri", "edit_mask_uri"):
            if row[column]:
                mask = Image.open(drawn / row[column])
                assert (mask.format, mask.mode, mask.size) == ("PNG", "L", picture.size)
                inside = expected.foreground_mask if column == "mask_uri" else expected.edit_mask
                np.testing.assert_array_equal(np.asarray(mask), inside * np.uint8(255))
    named = {*(file for shot in shots for file in shot.files), "photographs.csv", "drawing.json"}
    assert set(_files(drawn)) == named


def test_a_carriage_return_in_a_value_stays_in_its_cell():
    shot = replace(plan(SMALL)[0], product="a\rb", source_id="a\nb, c")
    rows = list(csv.reader(io.StringIO(synthetic._table([shot, shot]), newline="")))
    assert len(rows) == 3
    assert all(len(row) == len(rows[0]) for row in rows)
    assert (rows[1][1], rows[1][5]) == ("a\rb", "a\nb, c")


def test_workers_draw_the_same_set(drawn, tmp_path):
    progress = []
    table = draw_set(SMALL, tmp_path / "set", workers=2, progress=lambda done, total: progress.append((done, total)))
    assert table == tmp_path / "set" / "photographs.csv"
    assert _files(tmp_path / "set") == _files(drawn)
    assert progress[0] == (0, 16)
    assert progress[-1] == (16, 16)
    assert progress == sorted(progress)


@pytest.fixture
def copied(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the drawn set that a test may change."""
    folder = tmp_path / "copied"
    for name, data in _files(drawn).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_rerun_draws_only_what_is_missing(drawn, copied, monkeypatch):
    gone = plan(SMALL)[3].file
    (copied / gone).unlink()
    (copied / "photographs.csv").unlink()
    seen = []

    def counted(shot: Shot, config: DrawConfig):
        seen.append(shot.file)
        return draw_shot(shot, config)

    monkeypatch.setattr(synthetic, "draw_shot", counted)
    draw_set(SMALL, copied)
    assert seen == [gone]
    assert _files(copied) == _files(drawn)
    progress = []
    draw_set(SMALL, copied, progress=lambda *counts: progress.append(counts))
    assert seen == [gone]
    assert progress == [(16, 16)]


def _blank(shot: Shot, config: DrawConfig) -> synthetic.Drawn:
    grey, whole = np.full((8, 8, 3), 128, np.uint8), np.ones((8, 8), bool)
    return synthetic.Drawn(grey, whole, whole, b"jpeg")


def test_another_configuration_replaces_the_set_but_no_file_of_others(copied, monkeypatch):
    monkeypatch.setattr(synthetic, "draw_shot", _blank)
    mine = copied / plan(SMALL)[0].file.rpartition("/")[0] / "mine.jpg"
    mine.write_bytes(b"mine")
    other = DrawConfig(photographs=16, side_px=96, products=1, parts=("pack",))
    draw_set(other, copied)
    wanted = {name for shot in plan(other) for name in shot.files}
    assert set(_files(copied)) == wanted | {"photographs.csv", "drawing.json", str(mine.relative_to(copied))}
    assert mine.read_bytes() == b"mine"
    assert json.loads((copied / "drawing.json").read_text())["config"]["parts"] == ["pack"]


def test_foreign_photographs_are_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "draw_shot", _blank)
    folder = tmp_path / "photographs"
    taken = folder / plan(SMALL)[5].file
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"a photograph of my own")
    with pytest.raises(OutputError, match="no drawing") as refused:
        draw_set(SMALL, folder)
    assert plan(SMALL)[5].file in str(refused.value)
    assert str(folder) in str(refused.value)
    assert _files(folder) == {plan(SMALL)[5].file: b"a photograph of my own"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    for out in (blocked, blocked / "set"):
        with pytest.raises(OutputError, match="wanted a folder") as refused:
            draw_set(SMALL, out)
        assert str(out) in str(refused.value)


def test_a_failed_write_leaves_no_table_and_no_half_file(tmp_path, monkeypatch):
    calls = []

    def failing(shot: Shot, config: DrawConfig) -> synthetic.Drawn:
        calls.append(shot)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        return _blank(shot, config)

    monkeypatch.setattr(synthetic, "draw_shot", failing)
    with pytest.raises(OutputError, match="No space left"):
        draw_set(SMALL, tmp_path / "set")
    assert set(_files(tmp_path / "set")) == {"drawing.json", *(file for shot in calls[:3] for file in shot.files)}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"difficulty": 0.04}, "difficulty"),
        ({"difficulty": 1.1}, "difficulty"),
        ({"photographs": 15}, "photographs"),
        ({"side_px": 64}, "side_px"),
        ({"size": "huge"}, "size"),
        ({"products": 13}, "products"),
        ({"products": 3, "parts": ["pack"]}, "products is 3; there are 2"),
        ({"products": 1, "parts": ["shoe"]}, "parts has shoe"),
        ({"parts": []}, "parts"),
        ({"unrelated_share": 0.6}, "unrelated_share"),
        ({"shot_per_item": 3}, "did you mean 'shots_per_item'"),
    ],
)
def test_wrong_settings_are_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        validate(DrawConfig, settings, "draw")
