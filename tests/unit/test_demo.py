"""The demo's questions and stamps; nothing is run."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from hallmark.data.decode import decode
from hallmark.demo import Demo, Step, _stamp, questions
from hallmark.errors import DecodeError, OutputError


def manifest(folder: Path, *rows: tuple[str, str, str]) -> pa.Table:
    """Rows of (product, authenticity, role), a file of known bytes for each."""
    told = []
    for number, (product, authenticity, role) in enumerate(rows):
        file = folder / f"{number}.jpg"
        file.write_bytes(f"{product}-{authenticity}-{number}".encode() * 40)
        told.append({"product": product, "authenticity": authenticity, "role": role, "uri": str(file)})
    return pa.Table.from_pylist(told)


ROWS = [
    (product, kind, role) for role in ("train", "test") for product in "dcba" for kind in ("genuine", "counterfeit")
]


def test_eight_photographs_are_asked_about(tmp_path):
    table = manifest(tmp_path, *ROWS, ("", "unrelated", "test"))
    asked = questions(table, tmp_path)
    assert [question.truth for question in asked] == ["genuine", "counterfeit"] * 3 + ["unrelated", None]
    assert [question.data.decode()[0] for question in asked[:6]] == list("aabbcc")
    assert asked[-1].data == asked[0].data[: len(asked[0].data) // 2]


def test_only_test_photographs_are_asked_about(tmp_path):
    table = manifest(tmp_path, *ROWS, ("", "unrelated", "test"))
    tested = {row["uri"] for row in table.to_pylist() if row["role"] == "test"}
    assert {"/" + question.name.lstrip("/") for question in questions(table, tmp_path)[:-1]} <= {
        "/" + "/".join(Path(uri).parts[-4:]).lstrip("/") for uri in tested
    }


def test_an_unrelated_picture_is_drawn_where_the_user_has_none(tmp_path):
    asked = questions(manifest(tmp_path, *ROWS), tmp_path)
    assert asked[-2].truth == "unrelated"
    assert decode(asked[-2].data).ndim == 3


def test_a_product_without_test_photographs_of_a_kind_is_no_obstacle(tmp_path):
    table = manifest(tmp_path, ("a", "genuine", "test"), ("b", "counterfeit", "train"), ("", "unrelated", "test"))
    assert [question.truth for question in questions(table, tmp_path)] == ["genuine", "unrelated", None]


def test_the_damaged_file_is_no_photograph(tmp_path):
    asked = questions(manifest(tmp_path, ("", "unrelated", "test")), tmp_path)
    with pytest.raises(DecodeError):
        decode(asked[-1].data)


def test_a_stamp_changes_with_command_and_files(tmp_path):
    file = tmp_path / "read"
    file.write_text("one")
    step = Step("s", ["run"], tmp_path / "made", [file])
    first = _stamp(step)
    assert _stamp(step) == first
    assert _stamp(Step("s", ["run", "--set"], step.made, step.depends)) != first
    os.utime(file, ns=(1, 1))
    assert _stamp(step) != first
    file.unlink()
    assert _stamp(step) != first


def test_a_stamp_looks_into_folders(tmp_path):
    folder = tmp_path / "g.lance"
    (folder / "data").mkdir(parents=True)
    step = Step("s", ["run"], tmp_path / "made", [folder])
    first = _stamp(step)
    (folder / "data" / "new").write_text("x")
    assert _stamp(step) != first


def test_every_step_reads_what_an_earlier_one_made(tmp_path):
    demo = Demo(tmp_path / "out", None)
    steps = demo._steps()
    made = {step.made for step in steps}
    assert len(made) == len(steps)
    for place, step in enumerate(steps):
        earlier = {entry.made for entry in steps[:place]}
        outside = [path for path in step.depends if not path.is_file()]
        assert set(outside) <= earlier
    with_data = Demo(tmp_path / "out", tmp_path)._steps()
    assert [step.name for step in with_data] == [step.name for step in steps[1:]]


def test_serving_without_a_finished_run_is_told(tmp_path):
    with pytest.raises(OutputError, match="holds no finished run"):
        Demo(tmp_path / "out", None).serve(8000)


def test_an_unwritable_folder_is_told_before_anything_starts(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Demo(tmp_path / "file" / "out", None).run()
