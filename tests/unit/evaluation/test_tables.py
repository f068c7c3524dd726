"""An evaluation as files, and verdicts as a table for the terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hallmark.errors import OutputError
from hallmark.evaluation import rows, tables
from hallmark.evaluation.costs import Costs
from hallmark.evaluation.metrics import Estimate, Evaluation, Examined, Proportion, evaluate_examined
from hallmark.evaluation.ranking import Ranking
from hallmark.evaluation.tables import VerdictRow, verdict_table, verdicts_csv, write_atomically, write_tables
from hallmark.types import VerdictLabel

Maker = Callable[..., Examined]
HEADER = ["photograph", "truth", "verdict", "p", "product", "g+", "score", "ms"]


@pytest.fixture(scope="module")
def evaluation(examined_set: list[Examined]) -> Evaluation:
    return evaluate_examined(examined_set, seed=1, resamples=50)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_four_files_are_written_into_a_new_folder(
    tmp_path: Path, examined_set: list[Examined], evaluation: Evaluation
) -> None:
    folder = tmp_path / "new" / "eval"
    paths = write_tables(folder, evaluation, examined_set)
    assert [path.name for path in paths] == ["metrics.json", "metrics.csv", "metrics.md", "verdicts.csv"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    assert Evaluation.model_validate_json(paths[0].read_text()) == evaluation
    assert len(read(paths[3].read_bytes().decode())) == 90
    assert "NaN" not in paths[0].read_text()


def test_of_no_photographs_the_files_are_still_whole(tmp_path: Path) -> None:
    paths = write_tables(tmp_path, evaluate_examined([], seed=0, resamples=5), [])
    assert json.loads(paths[0].read_text())["photographs"] == 0
    assert read(paths[3].read_bytes().decode()) == []
    assert rows.NONE in paths[2].read_text()


def test_csv_holds_truth_verdict_scores_and_provenance(examined_set: list[Examined]) -> None:
    for row, one in zip(read(verdicts_csv(examined_set)), examined_set, strict=True):
        assert (row["uri"], row["authenticity"], row["item_id"]) == (one.uri, one.authenticity, one.item_id)
        assert row["source_id"] == (one.source_id or "")
        assert row["verdict"] == one.verdict.verdict
        assert row["right"] == str(one.is_right)
        decision = one.verdict.scores.decision
        assert row["decision"] == ("" if decision is None else str(decision))
        assert float(row["threshold_genuine"]) == 0.1
        assert (row["bundle_id"], row["gallery_version"], row["total_ms"]) == ("b" * 16, "3", "23.5")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_gives_a_spreadsheet_no_formula(make_examined: Maker, text: str) -> None:
    one = make_examined(product=text, item=text, uri=text, source=text, part=text)
    row = read(verdicts_csv([one]))[0]
    for column in ("product", "item_id", "uri", "source_id", "part", "verdict_product"):
        assert row[column].startswith("'"), column
        assert row[column].lstrip("'").strip() == text.strip()


@pytest.mark.parametrize("text", ['a, "b"', "a\nb", "a\r=b", "a\r\nb", " a "])
def test_csv_keeps_commas_quotes_and_line_breaks(make_examined: Maker, text: str) -> None:
    rows = read(verdicts_csv([make_examined(product=text)]))
    assert [row["product"] for row in rows] == [text]


def test_markdown_has_one_cell_a_column_whatever_the_names(make_examined: Maker) -> None:
    wild = "a|b <i>`x`</i> [y](z)\nnext"
    evaluation = evaluate_examined([make_examined(product=wild, source=wild)], seed=0, resamples=5)
    markdown = tables.metrics_markdown(evaluation)
    blocks = re.split(r"\n\n", markdown)
    grids = [block.strip().splitlines() for block in blocks if block.strip().startswith("|")]
    assert len(grids) == 8
    for lines in grids:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<i>" not in markdown


def test_headlines_tell_value_interval_and_counts(evaluation: Evaluation) -> None:
    told = {row[0]: row[1:] for row in rows.headline_rows(evaluation)}
    recall = evaluation.counterfeit_positive.recall
    value, interval, counts = told["recall, counterfeit positive"]
    assert value == f"{100 * recall.k / recall.n:.1f} %"
    assert interval == f"{100 * recall.low:.1f} to {100 * recall.high:.1f} %"
    assert counts == f"{recall.k}/{recall.n}"
    assert told["AUROC, decision score"][0] == f"{evaluation.auroc_decision.value:.3f}"
    assert told["AUROC, decision score"][2] == f"n = {evaluation.auroc_decision.n}"


def test_every_number_of_the_evaluation_is_a_row_of_the_csv(evaluation: Evaluation) -> None:
    told = {row["figure"]: row for row in read(tables.metrics_csv(evaluation))}
    row = told["counterfeit_positive.recall"]
    recall = evaluation.counterfeit_positive.recall
    assert (float(row["value"]), row["k"], row["n"]) == (recall.value, str(recall.k), str(recall.n))
    assert float(row["low"]) == recall.low
    area = evaluation.rejection.rule("verification").auroc
    assert float(told["rejection.rules.verification.all.auroc"]["high"]) == area.high
    assert told["by_source.(not known).items"]["value"] == str(evaluation.by_source[-1].items)
    assert told["timings.total.median_ms"]["value"] == "23.5"
    assert told["risk_coverage.p_genuine.points.0.risk"]["k"] == str(evaluation.risk_coverage[0].points[0].risk.k)
    assert told["seed"]["value"] == "1"

    def numbers(part: object) -> int:
        if isinstance(part, dict):
            figure = {"value", "low", "high", "n"} <= set(part)
            return 1 if figure else sum(map(numbers, part.values()))
        return sum(map(numbers, part)) if isinstance(part, list) else isinstance(part, int | float)

    assert len(told) == numbers(json.loads(evaluation.model_dump_json()))


def test_sections_have_a_cell_a_column(evaluation: Evaluation, make_examined: Maker, tmp_path: Path) -> None:
    one = replace(make_examined("counterfeit", residual=[[1.0]]), edit_mask=str(tmp_path / "gone.png"), image_id="x")
    ranking = Ranking("x", np.zeros(3), np.zeros(3), np.ones(3, bool))
    costs = Costs(forward_flops=10**9, side_px=64, bytes_per_reference=70_000, num_references=5)
    full = evaluate_examined([one], 0, 5, [ranking], [one], costs)
    made = [*rows.sections(evaluation), *rows.sections(full), *rows.breakdowns(full)]
    assert {section.key for section in made} == {
        *("retrieval", "rejection", "evidence", "abstention", "localisation", "times", "costs", "items"),
        *("product", "part", "source"),
    }
    for section in made:
        assert {len(row) for row in section.rows} == {len(section.columns)}, section.title
        assert all(isinstance(cell, str) for row in section.rows for cell in row)
    assert "above the 64 KiB" in str(rows.sections(full))
    assert rows.sections(evaluate_examined([], 0, 5)) == []


def test_group_rows_fit_their_headings(evaluation: Evaluation) -> None:
    for group in [*evaluation.by_product, *evaluation.by_source]:
        row = rows.group_row(group)
        assert len(row) == 1 + len(rows.GROUP_COLUMNS)
        assert all(isinstance(cell, str) for cell in row)
    assert rows.group_row(evaluation.by_source[-1])[0] == "(not known)"


def test_what_is_not_defined_is_a_dash() -> None:
    assert rows.number(None) == rows.percent(None) == rows.NONE
    assert rows.interval(Proportion.of(0, 0)) == rows.NONE
    assert rows.interval(Estimate(value=0.5, low=None, high=None, n=1)) == rows.NONE
    assert rows.number(0.12345) == "0.123"
    assert rows.percent(1.0) == "100.0 %"


def lines_of(*examined: Examined, truth: bool = True, colour: bool = False) -> list[str]:
    rows = [VerdictRow(one.uri, str(one.authenticity) if truth else None, one.verdict) for one in examined]
    return verdict_table(rows, colour=colour).splitlines()


def test_verdict_table_columns(make_examined: Maker) -> None:
    one = make_examined("counterfeit", "counterfeit", p=0.125, decision=-0.5, similarity=0.75, uri="x.jpg")
    other = make_examined("unrelated", "not_in_gallery", product=None, p=None, decision=None, uri="a longer name.jpg")
    header, first, second = lines_of(one, other)
    assert header.split() == HEADER
    assert first.split() == ["x.jpg", "counterfeit", "counterfeit", "0.12", "a", "0.75", "-0.50", "24"]
    assert second.split()[-6:] == ["not_in_gallery", "—", "—", "0.50", "—", "24"]
    for name in ("truth", "verdict", "product"):  # aligned to the left
        assert {line[header.index(name) - 1] for line in (first, second)} == {" "}
        assert all(line[header.index(name)] != " " for line in (first, second))
    for name in ("p", "g+", "score", "ms"):  # aligned to the right
        end = re.search(rf"(?<= ){re.escape(name)}(?= |$)", header).end()
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in (first, second))


def test_the_truth_is_left_out_where_nobody_knows_it(make_examined: Maker) -> None:
    header, line = lines_of(make_examined(), truth=False)
    assert header.split() == [name for name in HEADER if name != "truth"]
    assert len(line.split()) == 7


def test_without_rows_there_is_a_header() -> None:
    assert verdict_table([], colour=True).split() == [name for name in HEADER if name != "truth"]


@pytest.mark.parametrize("label", list(VerdictLabel))
def test_colour_marks_the_verdict_and_moves_nothing(make_examined: Maker, label: str) -> None:
    plain, coloured = (lines_of(make_examined(label=label), colour=colour) for colour in (False, True))
    assert "\x1b" not in "".join(plain)
    assert re.search(rf"\x1b\[\d+m{label} *\x1b\[0m", coloured[1])
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


def test_no_colour_where_nobody_looks_at_a_terminal(make_examined: Maker) -> None:
    assert "\x1b" not in verdict_table([VerdictRow("x", None, make_examined().verdict)])


def test_names_cannot_steer_the_terminal(make_examined: Maker) -> None:
    text = "\n".join(lines_of(make_examined(uri="a\x1b[2J\nb\r.jpg", product="p\x07\x1b[31m")))
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert len(text.splitlines()) == 2


def test_wide_letters_and_long_names_keep_the_columns(make_examined: Maker) -> None:
    header, wide, long, plain = lines_of(
        make_examined(uri="香水.jpg"), make_examined(uri="folder/" * 30 + "end.jpg"), make_examined(uri="x.jpg")
    )
    assert long.startswith("…")
    assert "end.jpg" in long
    assert header.index("truth") == long.index("genuine") == plain.index("genuine") == wide.index("genuine") + 2
    assert header.index("truth") <= 44 + 2


def test_writing_replaces_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "file.txt"
    assert write_atomically(file, "old") == file
    write_atomically(file, "new ü")
    assert file.read_text(encoding="utf-8") == "new ü"

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"file\.txt: cannot be written \(No space left"):
        write_atomically(file, "half")
    assert file.read_text(encoding="utf-8") == "new ü"
    assert list(file.parent.iterdir()) == [file]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"below\.txt: cannot be written"):
        write_atomically(tmp_path / "file" / "below.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: cannot be written"):
        write_atomically(tmp_path / "folder", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cwd", "file", "folder"]  # cwd: tests/conftest.py


def test_a_file_name_that_is_no_unicode_can_be_written(tmp_path: Path) -> None:
    assert write_atomically(tmp_path / "f", "a\udcffb").read_text() == "a\\udcffb"
