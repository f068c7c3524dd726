"""What a table says of its photographs, and each of its faults by row and column."""

from __future__ import annotations

import csv
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hallmark.data.listing import Listed, list_photographs
from hallmark.errors import DataError

_ROWS = [{"uri": f"{number}.png", "product": "bag", "authenticity": "genuine"} for number in range(4)]


def _write(path: Path, rows: list[dict]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def _refusal(source: str | Path) -> str:
    with pytest.raises(DataError) as refused:
        list_photographs(str(source))
    return str(refused.value)


def test_rows_say_where_they_come_from(tmp_path):
    source = _write(tmp_path / "photos.csv", _ROWS)
    listed = list_photographs(source).photographs
    assert [each.origin for each in listed] == [f"{source}, row {number}" for number in (2, 3, 4, 5)]
    source = _write(tmp_path / "photos.parquet", _ROWS)
    assert list_photographs(source).photographs[3].origin == f"{source}, row 4"


def test_all_columns_of_a_row(tmp_path):
    given = {
        **{"uri": " a/b.png ", "product": "bag", "authenticity": "Counterfeit", "part": "tag", "item_id": 7},
        **{"source_id": "acme", "device_id": "phone", "box": "[1, 2, 3.5, 4]", "mask_uri": "m.png"},
        **{"edit_mask_uri": "s3://bucket/e.png", "role": "TEST", "image_id": "AB"},
    }
    for suffix, number in ((".csv", 2), (".parquet", 1)):
        source = _write(tmp_path / f"t{suffix}", [given])
        assert list_photographs(source).photographs == [
            Listed(
                **{"uri": f"{tmp_path}/a/b.png", "product": "bag", "part": "tag", "authenticity": "counterfeit"},
                **{"item_id": "7", "source_id": "acme", "device_id": "phone", "box": (1, 2, 3.5, 4), "role": "test"},
                **{"mask_uri": f"{tmp_path}/m.png", "edit_mask_uri": "s3://bucket/e.png", "image_id": "ab"},
                origin=f"{source}, row {number}",
            )
        ]


def test_addresses_are_relative_to_the_table_wherever_it_lies():
    with fsspec.open("memory://shop/lists/t.csv", "w") as file:
        file.write("uri,product,authenticity,mask_uri\n../a.png,bag,genuine,m.png\n/local/b.png,bag,genuine,\n")
    one, two = list_photographs("memory://shop/lists/t.csv").photographs
    assert (one.uri, one.mask_uri) == ("memory:///shop/a.png", "memory:///shop/lists/m.png")
    assert (two.uri, two.mask_uri) == ("/local/b.png", "")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("authenticity", "fake", "found 'fake'; wanted one of genuine, counterfeit, unrelated, unknown"),
        ("role", "validate", "found 'validate'; wanted one of nothing, train, val, test, reference"),
        ("uri", "", "found nothing"),
        ("product", " ", "found nothing"),
        ("box", "1 2 3", "found '1 2 3'; wanted four numbers"),
        ("box", "a b c d", "wanted four numbers"),
        ("box", "9 2 3 8", "wanted 0 <= x0 < x1"),
        ("box", "-1 2 3 8", "wanted 0 <= x0 < x1"),
        ("box", "nan 2 3 8", "wanted 0 <= x0 < x1"),
    ],
)
def test_a_wrong_value_is_named_by_row_and_column(tmp_path, suffix, column, value, named):
    rows = [{**row, "role": "", "box": ""} for row in _ROWS]
    rows[2][column] = value
    source = _write(tmp_path / f"t{suffix}", rows)
    message = _refusal(source)
    assert message.startswith(f"{source}, row {4 if suffix == '.csv' else 3}, column {column}: ")
    assert named in message


def test_a_value_of_another_type_is_named(tmp_path):
    source = _write(tmp_path / "t.parquet", [{**row, "part": 0.5} for row in _ROWS[:1]])
    assert _refusal(source) == f"{source}, row 1, column part: found 0.5; wanted text"


def test_all_wrong_rows_are_named_at_once(tmp_path):
    rows = [{**_ROWS[0], "uri": f"{number}.png", "authenticity": "fake"} for number in range(12)]
    rows[1]["authenticity"] = "genuine"
    source = _write(tmp_path / "t.csv", rows)
    message = _refusal(source)
    assert [number for number in range(2, 14) if f"row {number}, column authenticity" in message] == [2, *range(4, 13)]
    assert message.endswith("; and 1 more")


@pytest.mark.parametrize(("suffix", "first"), [(".csv", 2), (".parquet", 1)])
def test_a_photograph_on_two_rows_names_both(tmp_path, suffix, first):
    rows = [*_ROWS, {**_ROWS[1], "uri": "./1.png", "product": "tin"}, {**_ROWS[3]}]
    source = _write(tmp_path / f"t{suffix}", rows)
    message = _refusal(source)
    for one, other, name in ((1, 4, "1.png"), (3, 5, "3.png")):
        assert (
            f"{source}, row {first + other}, column uri: found {tmp_path}/{name} again; {source}, row {first + one} "
            "has it already" in message
        )
    assert "remove" in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("uri,product\na.png,bag\n", "column authenticity is missing; found uri, product"),
        ("uri,authenticity\na.png,genuine\n", "column product is missing"),
        ("path,product,authenticity\na.png,bag,genuine\n", "column uri is missing"),
        ("uri,product,authenticity,itemid\na.png,bag,genuine,1\n", "did you mean 'item_id'"),
        ("uri,product,authenticity,edit_mask\na.png,bag,genuine,1\n", "did you mean 'edit_mask_uri'"),
        ("uri,product,product,authenticity\na.png,b,b,genuine\n", "2 times"),
        ("uri,product,authenticity\na.png,bag,genuine\nb.png,bag\n", "row 3: found 2 values; wanted 3"),
        ("uri,product,authenticity\n", "header without rows"),
        ('uri,product,authenticity\n"a.png,bag,genuine\n', "not valid CSV"),
        ("", "missing"),
        ("uri,product,authenticity\n\xff.png,bag,genuine\n", "UTF-8"),
    ],
)
def test_wrong_tables_are_named(tmp_path, text, named):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode("latin-1"))
    message = _refusal(path)
    assert str(path) in message
    assert named in message


def test_wrong_sources_are_named(tmp_path):
    empty, sheet, broken = tmp_path / "empty", tmp_path / "list.xlsx", tmp_path / "list.parquet"
    empty.mkdir()
    sheet.write_bytes(b"x")
    broken.write_bytes(b"PAR1 not at all")
    for source in (empty, tmp_path / "nowhere", sheet):
        message = _refusal(source)
        assert str(source) in message
        assert "wanted" in message
    assert "<genuine|counterfeit>" in _refusal(empty)
    assert f"{broken}: is not a readable Parquet file" in _refusal(broken)
    assert "nonsense" in _refusal("nonsense://bucket/folder")
