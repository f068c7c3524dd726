"""The import: folder, CSV or Parquet into a manifest and a quarantine, and every way in which it is refused."""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hallmark.config import validate
from hallmark.data.manifest import (
    MANIFEST_SCHEMA,
    Assembled,
    ImportConfig,
    Inspected,
    Listed,
    Listing,
    assemble,
    earlier_manifest,
    inspect_listed,
    inspect_photograph,
    inspect_uri,
    list_photographs,
    manifest_hash,
    products,
    read_manifest,
    rows_with,
    write_import,
)
from hallmark.errors import ConfigError, DataError, OutputError
from hallmark.types import Authenticity, Role


def _photograph(seed: int, quality: int | None = None) -> bytes:
    """A picture of its own for each seed: PNG, or JPEG where a quality is given."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((72, 56), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, **({"format": "PNG"} if quality is None else {"format": "JPEG", "quality": quality}))
    return buffer.getvalue()


def _mask(mode: str = "L", size: tuple[int, int] = (72, 56), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 1).save(buffer, format=kind)
    return buffer.getvalue()


def _put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _fill(folder: Path, names: tuple[str, ...] = ("bag", "tin"), each: int = 4, first: int = 0) -> Path:
    """`each` genuine and `each` counterfeit photographs of every product, all different."""
    seed = first
    for product in names:
        for label in ("genuine", "counterfeit"):
            for number in range(each):
                _put(folder / product / label / f"{number}.png", _photograph(seed := seed + 1))
    return folder


def _import(source: Path, earlier: pa.Table | None = None, **settings) -> Assembled:
    config = validate(ImportConfig, {"source": str(source), "out": "out", **settings}, "import")
    listing = list_photographs(config.source)
    inspected = [inspect_listed(each, config.limits) for each in listing.photographs]
    return assemble(listing, inspected, config, earlier)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _fill(tmp_path / "photographs")


def _refusal(source: Path, **settings) -> str:
    with pytest.raises(DataError) as refused:
        _import(source, **settings)
    return str(refused.value)


def _quarantined(assembled: Assembled) -> dict[str, str]:
    """Reason by file name."""
    return {Path(row["uri"]).name: row["reason"] for row in assembled.quarantine.to_pylist()}


def test_folder(folder):
    _put(folder / "bag" / "Tag" / "GENUINE" / "t.png", _photograph(900))
    for number in range(3):
        _put(folder / "unrelated" / "some" / f"{number}.png", _photograph(800 + number))
    assembled = _import(folder)
    table = assembled.manifest
    assert table.schema == MANIFEST_SCHEMA
    assert table.num_rows == 20
    assert assembled.quarantine.num_rows == 0
    assert products(table) == ["bag", "tin"]
    rows = {row["uri"]: row for row in table.to_pylist()}
    row = rows[str(folder / "tin" / "counterfeit" / "2.png")]
    data = (folder / "tin" / "counterfeit" / "2.png").read_bytes()
    assert row["image_id"] == hashlib.sha256(data).hexdigest()
    assert (row["product"], row["part"], row["authenticity"]) == ("tin", "whole", "counterfeit")
    assert (row["width"], row["height"]) == (72, 56)
    assert (row["source_id"], row["box"], row["mask_uri"]) == (None, None, None)
    assert row["item_id"].startswith("tin/whole/counterfeit/")
    tag = rows[str(folder / "bag" / "Tag" / "GENUINE" / "t.png")]
    assert (tag["part"], tag["authenticity"]) == ("Tag", "genuine")
    unrelated = [row for row in rows.values() if row["authenticity"] == "unrelated"]
    assert [(row["product"], row["part"]) for row in unrelated] == [("", "")] * 3
    assert {row["role"] for row in unrelated} == {"train", "val", "test"}


def test_every_role_in_every_place(folder):
    rows = _import(folder).manifest.to_pylist()
    found = Counter((row["product"], row["authenticity"], row["role"]) for row in rows)
    assert len(found) == 2 * 2 * 3
    assert sum(found.values()) == 16


_TABLE_ROWS = [
    {
        "uri": f"pictures/{label}{number}.png",
        "product": "bag",
        "authenticity": label,
        "item_id": f"{label[0]}{number}",
        "role": role,
        "device_id": "phone",
    }
    for label in ("genuine", "counterfeit")
    for number, role in enumerate(("train", "val", "test"))
]


def _write_table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize(("suffix", "box"), [(".csv", "1 2 30 40"), (".parquet", [1.0, 2.0, 30.0, 40.0])])
def test_table(tmp_path, suffix, box):
    for seed, row in enumerate(_TABLE_ROWS):
        _put(tmp_path / row["uri"], _photograph(seed))
    masks = {"mask_uri": "masks/m.png", "edit_mask_uri": "masks/../e.png"}
    for name in ("masks/m.png", "e.png"):
        _put(tmp_path / name, _mask())
    given = [{**row, "box": box, **masks, "colour": "user's own"} for row in _TABLE_ROWS]
    assembled = _import(_write_table(tmp_path / f"list{suffix}", given))
    rows = {row["item_id"]: row for row in assembled.manifest.to_pylist()}
    assert len(rows) == 6
    for row in _TABLE_ROWS:
        found = rows[row["item_id"]]
        assert found["uri"] == str(tmp_path / row["uri"])
        assert found["mask_uri"] == str(tmp_path / "masks" / "m.png")
        assert found["edit_mask_uri"] == str(tmp_path / "e.png")
        assert found["group_id"] == row["item_id"]
        assert found["box"] == [1, 2, 30, 40]
        assert (found["role"], found["device_id"], found["part"]) == (row["role"], "phone", "whole")


def test_a_folder_without_a_photograph_in_its_place(tmp_path):
    _put(tmp_path / "in" / "bag" / "real" / "1.png", _photograph(1))
    message = _refusal(tmp_path / "in")
    assert "bag/real/1.png" in message
    assert "<genuine|counterfeit>" in message


def test_what_cannot_be_used_is_quarantined_and_the_rest_goes_on(folder):
    whole = _import(folder).manifest
    _put(folder / "bag" / "genuine" / "notes.docx", b"text")
    _put(folder / "bag" / "genuine" / "clip.gif", b"GIF89a")
    _put(folder / "bag" / "genuine" / "broken.png", _photograph(500)[:200])
    _put(folder / "bag" / "genuine" / "page.jpg", b"<html>not found</html>")
    _put(folder / "bag" / "genuine" / "empty.jpg", b"")
    _put(folder / "bag" / "genuine" / "tiny.png", _tiny())
    _put(folder / "bag" / "genuine" / "copy.png", (folder / "bag" / "genuine" / "0.png").read_bytes())
    _put(folder / "bag" / "real" / "lost.png", _photograph(501))
    for ignored in (".DS_Store", "Thumbs.db", "bag/genuine/.hidden.png", "bag/Thumbs.db", "readme.txt", "a.json"):
        _put(folder / ignored, b"x")
    assembled = _import(folder)
    assert _quarantined(assembled) == {
        "notes.docx": "unknown_format",
        "clip.gif": "unknown_format",
        "broken.png": "corrupt",
        "page.jpg": "unknown_format",
        "empty.jpg": "empty",
        "tiny.png": "too_small",
        "copy.png": "duplicate",
        "lost.png": "layout",
    }
    assert all(row["detail"] for row in assembled.quarantine.to_pylist())
    assert manifest_hash(assembled.manifest) == manifest_hash(whole)
    assert any("8 of 24 files are quarantined" in notice for notice in assembled.notices)


def _tiny() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 80)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_limits_are_the_import_s_own(folder):
    message = _refusal(folder, limits={"max_pixels": 1000})
    assert "none of 16 files" in message
    assert "too_many_pixels" in message


_FAULTS = {
    "gone.png": ({}, "unreadable", "uri"),
    "memory://nowhere/gone.png": ({}, "unreadable", "uri"),
    "damaged.png": ({}, "corrupt", "uri"),
    "wide.png": ({"box": "0 0 73 20"}, "box", "box"),
    "tall.png": ({"box": "0 0 20 56.5"}, "box", "box"),
    "other.png": ({"image_id": "0" * 64}, "image_id", "image_id"),
    "odd.png": ({"image_id": "17"}, "image_id", "image_id"),
    "a.png": ({"mask_uri": "masks/none.png"}, "mask", "mask_uri"),
    "b.png": ({"mask_uri": "masks/text.png"}, "mask", "mask_uri"),
    "c.png": ({"mask_uri": "masks/small.png"}, "mask", "mask_uri"),
    "d.png": ({"mask_uri": "masks/good.png", "edit_mask_uri": "masks/colour.png"}, "mask", "edit_mask_uri"),
    "e.png": ({"edit_mask_uri": "masks/mask.jpg"}, "mask", "edit_mask_uri"),
    "f.png": ({"edit_mask_uri": "memory://nowhere/mask.png"}, "mask", "edit_mask_uri"),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_photograph_at_fault_is_quarantined_with_its_row_and_column(tmp_path, suffix):
    masks = {"text.png": b"text", "small.png": _mask(size=(56, 72)), "colour.png": _mask("RGB"), "good.png": _mask("1")}
    for name, data in (masks | {"mask.jpg": _mask(kind="JPEG")}).items():
        _put(tmp_path / "masks" / name, data)
    blank = dict.fromkeys(("box", "mask_uri", "edit_mask_uri", "image_id"), "")
    rows = [{**row, **blank} for row in _TABLE_ROWS]
    for seed, row in enumerate(rows):
        data = _photograph(seed)
        _put(tmp_path / row["uri"], data)
        row["image_id"] = hashlib.sha256(data).hexdigest().upper()
    for number, (uri, (given, *_)) in enumerate(_FAULTS.items()):
        rows.append({**rows[0], **blank, **given, "uri": uri})
        if "gone" not in uri:
            _put(tmp_path / uri, _photograph(100 + number))
    (tmp_path / "damaged.png").write_bytes(_photograph(99)[:300])
    source = _write_table(tmp_path / f"list{suffix}", rows)
    assembled = _import(source)
    assert assembled.manifest.num_rows == 6
    found = {row["uri"].removeprefix(f"{tmp_path}/"): row for row in assembled.quarantine.to_pylist()}
    assert set(found) == set(_FAULTS)
    first = 2 if suffix == ".csv" else 1
    for number, (uri, (given, reason, column)) in enumerate(_FAULTS.items()):
        row_number = first + len(_TABLE_ROWS) + number
        assert found[uri]["reason"] == reason
        assert found[uri]["detail"].startswith(f"{source}, row {row_number}, column {column}: ")
        if reason == "mask":
            assert given[column].rpartition("/")[2] in found[uri]["detail"]
            assert "wanted an 8-bit grey PNG of 72 x 56 px" in found[uri]["detail"]


def test_copies_in_a_table_name_both_rows(tmp_path):
    rows = [dict(row) for row in _TABLE_ROWS]
    for seed, row in enumerate(rows):
        _put(tmp_path / row["uri"], _photograph(seed))
    rows.append({**rows[0], "uri": _put(tmp_path / "zz.png", _photograph(0)).name})
    source = _write_table(tmp_path / "list.csv", rows)
    (copy,) = _import(source).quarantine.to_pylist()
    assert copy["detail"] == (
        f"{source}, row 8, column uri: duplicate of {tmp_path}/pictures/genuine0.png ({source}, row 2)"
    )
    rows[-1]["product"] = "tin"
    message = _refusal(_write_table(tmp_path / "list.csv", rows))
    assert f"(bag/genuine, {source}, row 2)" in message
    assert f"(tin/genuine, {source}, row 8)" in message


def test_authenticity_may_be_unknown(tmp_path):
    rows = [dict(row) for row in _TABLE_ROWS]
    rows.append({**rows[0], "uri": "x.png", "authenticity": "Unknown", "item_id": "x", "role": ""})
    for seed, row in enumerate(rows):
        _put(tmp_path / row["uri"], _photograph(seed))
    found = _import(_write_table(tmp_path / "list.csv", rows)).manifest.to_pylist()
    assert [row["item_id"] for row in found if row["authenticity"] == "unknown"] == ["x"]


def test_products_named_alike_are_noticed_and_not_merged(tmp_path):
    folder = _fill(tmp_path / "in", ("Neverfull", "neverfull ", "never full", "tin"), each=3)
    assembled = _import(folder)
    assert len(products(assembled.manifest)) == 4
    (notice,) = [notice for notice in assembled.notices if "named alike" in notice]
    assert "'Neverfull', 'never full', 'neverfull '" in notice
    assert "tin" not in notice


def test_a_product_of_one_class_is_refused_or_left_out(folder):
    for number in range(4):
        _put(folder / "cup" / "genuine" / f"{number}.png", _photograph(600 + number))
    message = _refusal(folder)
    assert str(folder) in message
    assert "cup: 4 genuine and 0 counterfeit items" in message
    assert "1 of 3 products" in message
    assert "bag:" not in message
    assert "--set incomplete=skip" in message
    assembled = _import(folder, incomplete="skip")
    assert products(assembled.manifest) == ["bag", "tin"]
    assert Counter(_quarantined(assembled).values()) == {"incomplete product": 4}
    assert any("cup is left out" in notice for notice in assembled.notices)


def test_one_photograph_of_each_class(tmp_path):
    folder = _fill(tmp_path / "in", ("bag", "tin"), each=1)
    message = _refusal(folder)
    assert "bag: 1 genuine and 1 counterfeit items" in message
    assert "tin: 1 genuine and 1 counterfeit items" in message
    assert "wanted at least 3" in message
    assert "add photographs" in message
    assert "none of 4 files can be used" in _refusal(folder, incomplete="skip")
    assembled = _import(folder, min_items=1)
    assert set(assembled.manifest["role"].to_pylist()) == {"train"}
    assert sum("too few items" in notice for notice in assembled.notices) == 4


@pytest.mark.parametrize("other", ["tin/genuine", "bag/counterfeit"])
def test_the_same_photograph_under_two_labels_names_both_files(folder, other):
    one, two = folder / "bag" / "genuine" / "0.png", folder / other / "again.png"
    _put(two, one.read_bytes())
    message = _refusal(folder)
    assert str(one) in message
    assert str(two) in message
    assert "remove" in message


def test_near_duplicates_are_one_item_in_one_role(tmp_path):
    folder = tmp_path / "in"
    seed = 0
    for label in ("genuine", "counterfeit"):
        for number in range(5):
            seed += 1
            for quality in (95, 80):
                _put(folder / "bag" / label / f"{number}_{quality}.jpg", _photograph(seed, quality))
    rows = _import(folder).manifest.to_pylist()
    held: dict[str, set] = {}
    for row in rows:
        held.setdefault(row["item_id"], set()).add((row["authenticity"], Path(row["uri"]).name[0], row["role"]))
    assert len(rows) == 20
    assert len(held) == 10
    assert all(len(found) == 1 for found in held.values())


def test_near_duplicates_across_labels_share_a_role(folder):
    """A photograph saved once more under another product has other bytes: no clash, but it may not cross the split."""
    for number in range(4):
        _put(folder / "cup" / "genuine" / f"{number}.jpg", _photograph(number + 1, 95))
        _put(folder / "cup" / "counterfeit" / f"{number}.png", _photograph(700 + number))
    rows = {row["uri"]: row for row in _import(folder).manifest.to_pylist()}
    for number in range(4):
        one = rows[str(folder / "bag" / "genuine" / f"{number}.png")]
        other = rows[str(folder / "cup" / "genuine" / f"{number}.jpg")]
        assert one["item_id"] != other["item_id"]
        assert one["role"] == other["role"]


def test_one_item_id_under_two_labels_is_two_items(tmp_path):
    rows = [{**row, "item_id": row["item_id"][1:], "role": ""} for row in _TABLE_ROWS]
    for seed, row in enumerate(rows):
        _put(tmp_path / row["uri"], _photograph(seed))
    assembled = _import(_write_table(tmp_path / "list.csv", rows))
    assert len(set(assembled.manifest["item_id"].to_pylist())) == 6
    assert any("taken as different items" in notice for notice in assembled.notices)


def test_roles_given_that_cross_an_item_are_noticed(tmp_path):
    rows = [dict(row) for row in _TABLE_ROWS]
    for seed, row in enumerate(rows):
        _put(tmp_path / row["uri"], _photograph(seed))
    rows.append({**rows[0], "uri": _put(tmp_path / "more.png", _photograph(50)).name, "role": "test"})
    assembled = _import(_write_table(tmp_path / "list.csv", rows))
    assert assembled.manifest.num_rows == 7
    assert any("item g0 (test, train)" in notice for notice in assembled.notices)


def test_the_outcome_does_not_depend_on_the_order(folder):
    _put(folder / "bag" / "genuine" / "copy.png", (folder / "bag" / "genuine" / "0.png").read_bytes())
    _put(folder / "bag" / "genuine" / "zero.png", b"")
    config = ImportConfig(source=str(folder), out="out")
    listing = list_photographs(str(folder))
    pairs = [(each, inspect_uri(each.uri, config.limits)) for each in listing.photographs]
    first = assemble(Listing([one for one, _ in pairs], []), [two for _, two in pairs], config)
    keys = [tuple(row[name] for name in ("product", "part", "authenticity", "item_id", "uri")) for row in _rows(first)]
    assert keys == sorted(keys)
    for seed in range(3):
        random.Random(seed).shuffle(pairs)
        again = assemble(Listing([one for one, _ in pairs], []), [two for _, two in pairs], config)
        assert again.manifest.equals(first.manifest)
        assert again.quarantine.equals(first.quarantine)
        assert again.notices == first.notices


def _rows(assembled: Assembled) -> list[dict]:
    return assembled.manifest.to_pylist()


def test_inspection():
    config = ImportConfig(source="in", out="out")
    data = _photograph(1)
    seen = inspect_photograph(data, config.limits)
    assert (seen.image_id, seen.width, seen.height, seen.reason) == (hashlib.sha256(data).hexdigest(), 72, 56, "")
    assert seen.thumbnail.shape == (64, 64)
    bad = inspect_photograph(data[:100], config.limits)
    assert (bad.reason, bad.width) == ("corrupt", 0)
    assert bad.thumbnail.shape == (64, 64)
    assert inspect_uri("nowhere.png", config.limits).reason == "unreadable"


def test_nothing_listed_is_refused():
    with pytest.raises(DataError, match="none of 1 files"):
        assemble(
            Listing([Listed("a.png", "bag", "whole", "genuine")], []),
            [Inspected("", reason="corrupt", detail="damaged")],
            ImportConfig(source="in", out="out"),
        )


@pytest.mark.parametrize(
    ("key", "value"), [("min_items", 0), ("incomplete", "ignore"), ("duplicates", {"certain": 1.0})]
)
def test_wrong_settings_are_named(key, value):
    with pytest.raises(ConfigError, match=key):
        validate(ImportConfig, {"source": "in", "out": "out", key: value}, "import")


def test_group_ids_join_the_items_that_near_duplicates_join(tmp_path):
    rows = [{**row, "role": ""} for row in _TABLE_ROWS]
    for seed, row in enumerate(rows):
        _put(tmp_path / row["uri"], _photograph(seed))
    (tmp_path / rows[2]["uri"]).write_bytes(_photograph(0, 95))
    found = {
        row["item_id"]: row["group_id"] for row in _import(_write_table(tmp_path / "l.csv", rows)).manifest.to_pylist()
    }
    assert found == {"g0": "g0", "g1": "g1", "g2": "g0", "c0": "c0", "c1": "c1", "c2": "c2"}


def test_a_second_import_gives_the_same_bytes(folder, tmp_path):
    out = tmp_path / "out"
    assert earlier_manifest(out) is None
    write_import(_import(folder), out)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    write_import(_import(folder), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    again = _import(folder, earlier_manifest(out))
    write_import(again, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert any("16 photographs keep their roles of the earlier manifest, 0 are new" in note for note in again.notices)


def test_photographs_added_later_leave_the_roles_of_the_earlier_ones(folder):
    before = _import(folder).manifest
    for number in range(9):
        _put(folder / "bag" / "genuine" / f"a{number}.png", _photograph(300 + number))
    assembled = _import(folder, before, splits={"ratio": "8:1:1", "seed": 5})
    old, new = (
        dict(zip(*(t[name].to_pylist() for name in ("image_id", "role")), strict=True))
        for t in (before, assembled.manifest)
    )
    assert len(new) == 25
    assert {image_id: new[image_id] for image_id in old} == old
    assert any("16 photographs keep their roles of the earlier manifest, 9 are new" in n for n in assembled.notices)
    assert not any("change their role" in notice for notice in assembled.notices)


def test_a_photograph_that_joins_earlier_groups_brings_them_into_one_role(tmp_path):
    """Later named as one item, photographs of different roles would leak."""
    rows = [{**row, "item_id": "", "role": ""} for row in _TABLE_ROWS]
    for seed, row in enumerate(rows):
        _put(tmp_path / row["uri"], _photograph(seed))
    before = _import(_write_table(tmp_path / "l.csv", rows)).manifest
    for row in rows[:3]:
        row["item_id"] = "one"
    assembled = _import(_write_table(tmp_path / "l.csv", rows), before, min_items=1)
    genuine = [row for row in assembled.manifest.to_pylist() if row["authenticity"] == "genuine"]
    old = dict(zip(before["image_id"].to_pylist(), before["role"].to_pylist(), strict=True))
    assert {row["role"] for row in genuine} == {old[min(row["image_id"] for row in genuine)]}
    assert any("2 earlier photographs change their role" in notice for notice in assembled.notices)


def test_a_role_given_outweighs_the_earlier_one(tmp_path):
    rows = [dict(row) for row in _TABLE_ROWS]
    for seed, row in enumerate(rows):
        _put(tmp_path / row["uri"], _photograph(seed))
    before = _import(_write_table(tmp_path / "l.csv", rows)).manifest
    rows[0]["role"] = "reference"
    found = {row["item_id"]: row["role"] for row in _rows(_import(_write_table(tmp_path / "l.csv", rows), before))}
    assert (found["g0"], found["g1"], found["g2"]) == ("reference", "val", "test")


def test_optional_columns_that_an_older_manifest_lacks_are_null(folder, tmp_path):
    table = _import(folder).manifest
    pq.write_table(table.drop_columns(["edit_mask_uri", "group_id", "box"]), tmp_path / "manifest.parquet")
    found = read_manifest(tmp_path)
    assert found.schema == MANIFEST_SCHEMA
    assert found["edit_mask_uri"].null_count == found["group_id"].null_count == found["box"].null_count == 16
    assert found.drop_columns(["edit_mask_uri", "group_id", "box"]).equals(
        table.drop_columns(["edit_mask_uri", "group_id", "box"])
    )


def test_written_and_read_again(folder, tmp_path):
    _put(folder / "bag" / "genuine" / 'odd "name", with comma.gif', b"GIF89a")
    assembled = _import(folder)
    out = tmp_path / "new" / "out"
    write_import(assembled, out)
    write_import(assembled, out)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.parquet", "quarantine.csv", "quarantine.parquet"]
    assert read_manifest(out).equals(assembled.manifest)
    assert read_manifest(out / "manifest.parquet").equals(assembled.manifest)
    assert pq.read_table(out / "quarantine.parquet").equals(assembled.quarantine)
    with open(out / "quarantine.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == assembled.quarantine.to_pylist()


def test_output_that_cannot_be_written_is_named(folder, tmp_path, monkeypatch):
    assembled = _import(folder)
    blocked = _put(tmp_path / "file", b"") / "out"
    with pytest.raises(OutputError, match="wanted a folder") as refused:
        write_import(assembled, blocked)
    assert str(blocked) in str(refused.value)
    with pytest.raises(OutputError, match="local folder"):
        write_import(assembled, "s3://bucket/out")
    out = tmp_path / "out"
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(OutputError, match="No space left"):
        write_import(assembled, out)
    assert list(out.iterdir()) == []


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_manifests_that_cannot_be_read_are_named(folder, tmp_path):
    table = _import(folder).manifest
    path = tmp_path / "m.parquet"
    with pytest.raises(DataError, match=r"m\.parquet"):
        read_manifest(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(DataError, match="not a readable Parquet"):
        read_manifest(path)
    wrong = {
        "column role is missing": table.drop_columns(["role"]),
        "column width: found type string": table.set_column(
            MANIFEST_SCHEMA.get_field_index("width"), "width", pa.array(["wide"] * table.num_rows)
        ),
        "column product: found 16 empty values": table.set_column(
            MANIFEST_SCHEMA.get_field_index("product"), "product", pa.nulls(table.num_rows, pa.string())
        ),
        "column role: found 'exam'": table.set_column(
            MANIFEST_SCHEMA.get_field_index("role"), "role", pa.array(["exam"] * table.num_rows)
        ),
    }
    for message, bad in wrong.items():
        pq.write_table(bad, path)
        with pytest.raises(DataError, match=message):
            read_manifest(path)


def test_rows_with(folder):
    table = _import(folder).manifest
    found = rows_with(table, (Role.TRAIN, "val"), (Authenticity.GENUINE,)).to_pylist()
    wanted = [r for r in table.to_pylist() if r["role"] in ("train", "val") and r["authenticity"] == "genuine"]
    assert found == wanted
    assert 0 < len(found) < table.num_rows
    assert rows_with(table, (), tuple(Authenticity)).num_rows == 0
    assert rows_with(table, tuple(Role), tuple(Authenticity)).equals(table)


def test_hash_follows_what_was_trained_on(folder):
    table = _import(folder).manifest
    plain = manifest_hash(table)
    assert len(plain) == 16
    assert manifest_hash(table.take(list(range(table.num_rows))[::-1])) == plain
    elsewhere = pa.array([f"/elsewhere/{n}" for n in range(table.num_rows)])
    assert manifest_hash(table.set_column(1, MANIFEST_SCHEMA.field("uri"), elsewhere)) == plain
    for name in ("image_id", "product", "part", "authenticity", "item_id", "role"):
        values = table[name].to_pylist()
        values[0] = "other"
        changed = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
        assert manifest_hash(changed) != plain
