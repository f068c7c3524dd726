"""New splits of a manifest: nothing crosses, nothing that is held out is learned from, smaller training sets nest."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.config import load_config, validate
from hallmark.data.heldout import folds, hold_out
from hallmark.data.manifest import MANIFEST_SCHEMA, manifest_hash, read_manifest
from hallmark.data.resplit import ResplitConfig, resplit, training_subset, write_splits
from hallmark.data.splits import SplitConfig, group_labels, split_hash
from hallmark.errors import ConfigError, DataError, OutputError

_FIXED = {"uri": "u.png", "width": 64, "height": 64}


def _table(rows: list[dict]) -> pa.Table:
    blank = dict.fromkeys(MANIFEST_SCHEMA.names)
    return pa.Table.from_pylist([blank | _FIXED | row for row in rows], MANIFEST_SCHEMA)


def _manifest(
    items: int = 6, sources: tuple = ("acme", "zeta", None), devices: tuple = ("phone", "camera")
) -> pa.Table:
    """Two products; counterfeit items are of the sources in turn, items are photographed by two devices in turn."""
    rows = []
    for product in ("bag", "tin"):
        for label in ("genuine", "counterfeit"):
            for item in range(items):
                name = f"{product}/{label}/{item}"
                source = sources[item % len(sources)] if label == "counterfeit" else None
                rows += [
                    {
                        "image_id": f"{name}#{shot}",
                        **{"product": product, "part": "whole", "authenticity": label, "item_id": name},
                        **{"group_id": name, "source_id": source, "role": "train"},
                        "device_id": ("phone", "camera")[item % 2],
                    }
                    for shot in range(2)
                ]
    return _table(rows)


def _read_again(table: pa.Table, folder: Path) -> pa.Table:
    folder.mkdir()
    pq.write_table(table, folder / "manifest.parquet")
    return read_manifest(folder)


@st.composite
def _manifests(draw) -> pa.Table:
    """Rows of any kind: items, groups, sources, devices and references laid across one another."""
    rows = [
        {
            "image_id": f"{number:03d}",
            "product": draw(st.sampled_from(["bag", "tin"])),
            "part": draw(st.sampled_from(["whole", "tag"])),
            "authenticity": draw(st.sampled_from(["genuine", "counterfeit", "unknown"])),
            "item_id": draw(st.sampled_from([f"i{number}", "i0", "i1", "i2"])),
            "group_id": draw(st.sampled_from([None, f"g{number}", "g0"])),
            "source_id": draw(st.sampled_from([None, "acme", "zeta"])),
            "device_id": draw(st.sampled_from([None, "phone", "camera"])),
            "role": draw(st.sampled_from(["train", "val", "test", "train", "train", "reference"])),
        }
        for number in range(draw(st.integers(1, 24)))
    ]
    return _table(rows)


def _config(**given) -> ResplitConfig:
    return validate(ResplitConfig, {"manifest": "m.parquet", "out": "out", **given}, "resplit")


def _splits(table: pa.Table, mode: str, **given) -> list:
    """The splits; none where every one would leave nothing to train on."""
    try:
        return resplit(table, _config(mode=mode, **given))
    except DataError:
        return []


@settings(max_examples=120, deadline=None)
@given(
    table=_manifests(),
    mode=st.sampled_from(["ratio", "leave_source_out", "leave_device_out"]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_no_group_crosses_in_any_mode_and_order_is_of_no_matter(table, mode, seed, data):
    source = table.to_pylist()
    label = dict(zip((row["image_id"] for row in source), group_labels(source), strict=True))
    order = data.draw(st.permutations(range(table.num_rows)))
    splits = _splits(table, mode, seed=seed)
    again = _splits(table.take(order), mode, seed=seed)
    assert [split_hash(split.table) for split in splits] == [split_hash(split.table) for split in again]
    for split in splits:
        rows = split.table.to_pylist()
        held = defaultdict(set)
        for row in rows:
            held[label[row["image_id"]]].add(row["role"])
        assert all(len(roles) == 1 for roles in held.values())
        assert sorted([row["image_id"] for row in rows] + split.left_out) == sorted(label)
        references = {row["image_id"] for row in source if row["role"] == "reference"}
        assert references <= {row["image_id"] for row in rows if row["role"] == "reference"}


@settings(max_examples=80, deadline=None)
@given(table=_manifests(), mode=st.sampled_from(["leave_source_out", "leave_device_out"]))
def test_what_is_held_out_is_tested_alone(table, mode):
    for split in _splits(table, mode):
        rows = [row for row in split.table.to_pylist() if row["role"] != "reference"]
        if mode == "leave_source_out":
            rows = [row for row in rows if row["authenticity"] == "counterfeit"]
        column = "source_id" if mode == "leave_source_out" else "device_id"
        for row in rows:
            assert (row[column] == split.held_out) == (row["role"] == "test")


def test_leave_source_out():
    outcome = hold_out(_manifest(10), "leave_source_out", "acme", SplitConfig())
    items = defaultdict(set)
    for row in outcome.table.to_pylist():
        items[row["authenticity"], row["source_id"], row["role"]].add(row["item_id"])
    # 10 genuine items a product by 6:2:2; 4 of 10 counterfeit ones are acme's, the other 6 go by 6:2.
    assert {key: len(found) for key, found in items.items() if key[0] == "genuine"} == {
        ("genuine", None, "train"): 12,
        ("genuine", None, "val"): 4,
        ("genuine", None, "test"): 4,
    }
    assert len(items["counterfeit", "acme", "test"]) == 8
    others = [(key[2], len(found)) for key, found in items.items() if key[0] == "counterfeit" and key[1] != "acme"]
    assert {role: sum(n for other, n in others if other == role) for role, _ in others} == {"train": 8, "val": 4}
    assert outcome.left_out == []
    assert outcome.notices == ["12 photographs have no source_id; taken as not of acme"]


def test_an_item_photographed_by_both_devices_does_not_cross():
    rows = _manifest(6).to_pylist()
    rows[0]["device_id"] = "camera"  # its second photograph stays the phone's
    outcome = hold_out(_table(rows), "leave_device_out", "phone", SplitConfig())
    assert outcome.left_out == [rows[0]["image_id"]]
    assert outcome.notices == [
        "1 photographs are left out: they show items of the held-out phone and are of another device_id, so that "
        "neither train, val nor test may have them"
    ]
    roles = {row["image_id"]: row["role"] for row in outcome.table.to_pylist()}
    assert rows[0]["image_id"] not in roles
    assert roles[rows[1]["image_id"]] == "test"


def test_a_near_duplicate_of_another_source_is_left_out():
    rows = _manifest(6).to_pylist()
    one, other = (next(row for row in rows if row["source_id"] == name) for name in ("acme", "zeta"))
    other["group_id"] = one["group_id"]
    split = _splits(_table(rows), "leave_source_out", held_out="acme")[0]
    assert split.left_out == sorted(row["image_id"] for row in rows if row["item_id"] == other["item_id"])


def test_a_genuine_near_duplicate_of_what_is_held_out_is_tested_with_it():
    rows = _manifest(6).to_pylist()
    one = next(row for row in rows if row["source_id"] == "acme")
    rows[0]["group_id"] = one["group_id"]
    split = _splits(_table(rows), "leave_source_out", held_out="acme")[0]
    assert split.left_out == []
    roles = {row["item_id"]: row["role"] for row in split.table.to_pylist()}
    assert roles[rows[0]["item_id"]] == roles[one["item_id"]] == "test"


def test_folds():
    table = _manifest()
    assert folds(table, "leave_source_out") == ["acme", "zeta"]
    assert folds(table, "leave_device_out") == ["camera", "phone"]
    assert [split.name for split in resplit(table, _config(mode="leave_source_out"))] == ["source-acme", "source-zeta"]
    # A supplier of genuine goods is no counterfeiter.
    rows = [row | {"source_id": "shop"} if row["authenticity"] == "genuine" else row for row in table.to_pylist()]
    assert folds(_table(rows), "leave_source_out") == ["acme", "zeta"]
    assert folds(_table([]), "leave_device_out") == []


@pytest.mark.parametrize(
    ("mode", "named"), [("leave_source_out", "counterfeits: acme, zeta"), ("leave_device_out", "camera, phone")]
)
def test_what_is_not_there_cannot_be_held_out(mode, named):
    with pytest.raises(DataError, match="'nobody'") as refused:
        resplit(_manifest(), _config(mode=mode, held_out="nobody"))
    assert named in str(refused.value)


def test_nothing_to_hold_out_or_to_train_on():
    rows = [row | {"source_id": None, "device_id": "phone"} for row in _manifest().to_pylist()]
    with pytest.raises(DataError, match=r"m\.parquet: found no source_id"):
        resplit(_table(rows), _config(mode="leave_source_out"))
    with pytest.raises(DataError, match="nothing is left to train on without 'phone'"):
        resplit(_table(rows), _config(mode="leave_device_out"))


def test_a_resplit_keeps_near_duplicates_of_different_items_together():
    rows = _manifest(9).to_pylist()
    for row in rows:
        if row["item_id"].startswith("tin/genuine"):
            row["group_id"] = row["item_id"].replace("tin", "bag")
    for seed in range(5):
        (split,) = resplit(_table(rows), _config(seed=seed))
        roles = {row["item_id"]: row["role"] for row in split.table.to_pylist()}
        assert all(roles[f"bag/genuine/{number}"] == roles[f"tin/genuine/{number}"] for number in range(9))


def test_an_older_manifest_is_said_to_lack_groups():
    table = _table([row | {"group_id": None} for row in _manifest().to_pylist()])
    (split,) = resplit(table, _config())
    assert any("48 photographs have no group_id" in notice for notice in split.notices)
    assert not any("group_id" in notice for notice in resplit(_manifest(), _config())[0].notices)


def test_strata_that_are_too_small_are_named():
    (split,) = resplit(_manifest(2), _config())
    assert "bag/whole/genuine: too few items (2); no photograph for val" in split.notices


@settings(max_examples=80, deadline=None)
@given(table=_manifests(), seed=st.integers(0, 99), data=st.data())
def test_training_subsets_nest_by_whole_items_and_leave_no_stratum_empty(table, seed, data):
    rows = table.to_pylist()
    train = {row["image_id"] for row in rows if row["role"] == "train"}
    fixed = {row["image_id"] for row in rows} - train
    places = {(row["product"], row["part"], row["authenticity"]) for row in rows if row["role"] == "train"}
    outer = None
    for share in sorted(data.draw(st.lists(st.floats(0.001, 1), min_size=1, max_size=5)), reverse=True):
        subset = training_subset(table, share, seed).to_pylist()
        kept = {row["image_id"] for row in subset} - fixed
        assert {row["image_id"] for row in subset} - train == fixed
        assert kept <= (train if outer is None else outer)
        taken = [row for row in rows if row["image_id"] in kept]
        assert {(row["product"], row["part"], row["authenticity"]) for row in taken} == places
        items = {row["item_id"] for row in taken}
        assert kept == {row["image_id"] for row in rows if row["role"] == "train" and row["item_id"] in items}
        outer = kept
    assert training_subset(table, 1.0, seed).equals(table)


def test_training_subsets_have_their_share():
    (split,) = resplit(_manifest(50), _config(ratio="8:1:1"))
    for share, wanted in ((0.8, 32), (0.6, 24), (0.4, 16), (0.2, 8)):
        subset = training_subset(split.table, share, 0).to_pylist()
        items = defaultdict(set)
        for row in subset:
            if row["role"] == "train":
                items[row["product"], row["authenticity"]].add(row["item_id"])
        assert [len(found) for found in items.values()] == [wanted] * 4
    assert not training_subset(split.table, 0.2, 0).equals(training_subset(split.table, 0.2, 1))
    with pytest.raises(ConfigError, match="share: found 0"):
        training_subset(split.table, 0.0, 0)


def test_written_splits(tmp_path):
    source = _manifest(10)
    settings_given = ["manifest=m.parquet", f"out={tmp_path}", "mode=leave_source_out", "ratio=8:1:1"]
    config = load_config(ResplitConfig, overrides=[*settings_given, "subsets=[1.0,.8,.2,.125]"])
    splits = resplit(source, config)
    folders = write_splits(splits, source, config)
    names = [folder.name for folder in folders]
    assert names[:5] == ["source-acme", *(f"source-acme-train{percent}" for percent in ("100", "80", "20", "12.5"))]
    assert len(names) == 10
    for split, folder in zip(splits, folders, strict=True):
        table, record = read_manifest(folder), json.loads((folder / "split.json").read_text(encoding="utf-8"))
        assert table.equals(split.table)
        assert record["split_hash"] == split_hash(table)
        assert record["manifest_hash"] == manifest_hash(table)
        assert record["source_manifest_hash"] == manifest_hash(source)
        assert (record["mode"], record["held_out"], record["seed"]) == ("leave_source_out", split.held_out, 0)
        assert record["ratio"] == [8, 1, 1]
        assert record["training_share"] == split.training_share
        assert sum(record["photographs"].values()) == table.num_rows
        counts = record["strata"]["bag/whole/counterfeit"]
        assert sum(role["photographs"] for role in counts.values()) == sum(
            row["product"] == "bag" and row["authenticity"] == "counterfeit" for row in table.to_pylist()
        )
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_splits(resplit(_read_again(source, tmp_path / "again"), config), source, config)
    assert {path: path.read_bytes() for path in before} == before


def test_ids_that_are_no_file_names(tmp_path):
    table = _manifest(8, sources=("../a b", "../a/b", "ü", "good-1"))
    config = _config(mode="leave_source_out", out=str(tmp_path / "out"))
    folders = write_splits(resplit(table, config), table, config)
    assert len(set(folders)) == 4
    assert tmp_path / "out" / "source-good-1" in folders
    assert all(folder.parent == tmp_path / "out" and folder.name.isascii() for folder in folders)


def test_outputs_that_cannot_be_written(tmp_path):
    table = _manifest()
    (tmp_path / "file").write_bytes(b"")
    for out, named in (("s3://bucket/x", "local folder"), (str(tmp_path / "file"), "cannot be written")):
        config = _config(out=out)
        with pytest.raises(OutputError, match=named):
            write_splits(resplit(table, config), table, config)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"held_out": "acme"}, "mode ratio"),
        ({"mode": "leave_item_out"}, "leave_source_out"),
        ({"subsets": [0.5, 0.0]}, "subsets is 0.5, 0"),
        ({"subsets": [0.5, 1.5]}, "subsets"),
        ({"subsets": [0.5, 0.5]}, "each once"),
        ({"ratio": "1:8:1"}, "ratio"),
    ],
)
def test_wrong_settings_are_named(given, named):
    with pytest.raises(ConfigError, match=named):
        _config(**given)
