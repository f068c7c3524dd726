"""The growing table of verdicts: what is kept, what is tried again, what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hallmark.errors import DataError, OutputError
from hallmark.evaluation.verdict_file import SCHEMA, Answered, VerdictFile, read_rows, write_parquet
from hallmark.types import VerdictLabel

STRANGE = [
    "=cmd|' /C calc'!A0.jpg",
    'a,b\r\n"c".jpg',
    "'quoted.jpg",
    "-3.jpg",
    "Ünï.jpg",
    b"\xff.jpg".decode(errors="surrogateescape"),
]


@pytest.fixture
def answered(make_examined):
    """An answer about a named photograph."""

    def make(photograph: str, label: str = "genuine", error: str = "") -> Answered:
        return Answered(photograph, None if error else make_examined(label=label, decision=0.1 + 0.2).verdict, error)

    return make


def written(path: Path, *answers: Answered) -> bytes:
    with VerdictFile(path) as file:
        for answer in answers:
            file.add(answer)
    return path.read_bytes()


def test_rows_are_on_disk_at_once_and_numbers_come_back_exactly(answered, tmp_path):
    path = tmp_path / "new" / "v.csv"
    with VerdictFile(path) as file:
        file.add(answered("a.jpg"))
        (row,) = csv.DictReader(io.StringIO(path.read_text()))
    assert list(row) == SCHEMA.names
    assert float(row["decision"]) == 0.1 + 0.2
    assert (row["photograph"], row["verdict"], row["error"], row["gallery_version"]) == ("a.jpg", "genuine", "", "3")


def test_it_is_gone_on_with(answered, tmp_path):
    path = tmp_path / "v.csv"
    written(path, answered("a.jpg"), answered("b.jpg", error="torn"), answered("c.jpg", "counterfeit"))
    with VerdictFile(path) as file:
        labels = [file.label(f"{name}.jpg") for name in "abcd"]
        assert labels == [VerdictLabel.GENUINE, None, VerdictLabel.COUNTERFEIT, None]
        file.add(answered("b.jpg", "inconclusive"))
        assert file.label("b.jpg") == VerdictLabel.INCONCLUSIVE
    assert [row["photograph"] for row in read_rows(path)] == ["a.jpg", "c.jpg", "b.jpg"]


def test_a_cut_anywhere_loses_the_last_row_at_most(answered, tmp_path):
    path = tmp_path / "v.csv"
    names = ["a.jpg", 'b "and\r\nmore".jpg', "c.jpg"]
    whole = written(path, *map(answered, names))
    header = whole.index(b"\r\n") + 2
    second = whole.index(b'"b ')
    for cut in sorted({*range(header, len(whole), 29), *range(second, second + 24)}):
        path.write_bytes(whole[:cut])
        with VerdictFile(path) as file:
            kept = [name for name in names if file.label(name) is not None]
            assert kept == names[: len(kept)], cut
        again = written(path, *(answered(name) for name in names[len(kept) :]))
        assert again == whole, cut


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_found_again(answered, tmp_path, name):
    path = tmp_path / "v.csv"
    written(path, answered(name))
    with VerdictFile(path) as file:
        assert file.label(name) == VerdictLabel.GENUINE
    (row,) = read_rows(path)
    assert row["photograph"][0] not in "=+-@"


def test_another_table_is_not_touched(tmp_path):
    path = tmp_path / "v.csv"
    for content in (b"name,price\r\nbag,3\r\n", b"\x00\xff\x00", b'"', b"text without an end"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"v\.csv: exists and is no table of verdicts"):
            VerdictFile(path)
        assert path.read_bytes() == content
    path.write_text(",".join(SCHEMA.names) + "\r\na.jpg,fake" + "," * (len(SCHEMA) - 2) + "\r\n", newline="")
    with pytest.raises(DataError, match="found the verdict 'fake'"):
        VerdictFile(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((OutputError, DataError), match=r"file/v\.csv"):
        VerdictFile(tmp_path / "file" / "v.csv")


def test_parquet_is_typed_and_says_the_same(answered, tmp_path):
    path = tmp_path / "v.csv"
    written(path, answered("=1.jpg"), answered("b.jpg", error="torn"))
    table = pq.read_table(write_parquet(tmp_path / "v.parquet", read_rows(path)))
    assert table.schema.equals(SCHEMA)
    first, second = table.to_pylist()
    verdict = answered("=1.jpg").verdict
    assert (first["photograph"], first["decision"], first["width"]) == ("=1.jpg", 0.1 + 0.2, 40)
    assert (first["reason"], first["error"]) == (verdict.reason, None)
    assert second == dict.fromkeys(SCHEMA.names) | {"photograph": "b.jpg", "error": "torn"}
    assert pq.read_table(write_parquet(tmp_path / "v.parquet", [])).num_rows == 0
    assert [file.name for file in tmp_path.glob("*part*")] == []
