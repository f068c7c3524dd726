"""The evaluations of several folds as one table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from hallmark.config import load_config
from hallmark.errors import ConfigError, DataError
from hallmark.evaluation.folds import COLUMNS, FoldsConfig, fold_rows, merge_folds, write_folds
from hallmark.evaluation.metrics import Evaluation, Examined, Proportion, evaluate_examined
from hallmark.evaluation.tables import write_tables

Maker = Callable[..., Examined]
FOUND = {"forger": 3, "copyist": 7, "<b>|=cmd": 5}


@pytest.fixture
def files(make_examined: Maker, tmp_path: Path) -> list[Path]:
    """Ten counterfeits of one source and four genuine photographs a fold."""
    made = []
    for source, found in FOUND.items():
        photographs = [
            make_examined("counterfeit", label, item=f"{source}{n}", source=source, decision=-n / 10)
            for n, label in enumerate(["counterfeit"] * found + ["genuine"] * (10 - found))
        ]
        photographs += [make_examined(item=f"g{n}", source="maker", decision=0.2) for n in range(4)]
        folder = tmp_path / f"fold{len(made)}"
        write_tables(folder, evaluate_examined(photographs, seed=len(made), resamples=20), photographs)
        made.append(folder / "metrics.json")
    return made


def test_every_fold_is_named_by_its_source_the_worst_first(files: list[Path]) -> None:
    folds = merge_folds([str(file) for file in files])
    assert [fold.source for fold in folds.folds] == ["forger", "<b>|=cmd", "copyist"]
    for fold in folds.folds:
        alone = Evaluation.model_validate_json(Path(fold.metrics).read_text())
        assert fold.counterfeit_recall == alone.counterfeit_positive.recall == Proportion.of(FOUND[fold.source], 10)
        assert fold.auroc == alone.auroc_decision
        assert fold.seed == alone.seed


def test_counts_are_pooled_and_figures_averaged(files: list[Path]) -> None:
    folds = merge_folds(files)
    assert folds.counterfeit_recall == Proportion.of(15, 30)
    assert folds.counterfeits_accepted == Proportion.of(15, 30)
    assert folds.genuine_recall == Proportion.of(12, 12)
    scores = [fold.f1_counterfeit.value for fold in folds.folds]
    spread = folds.f1_counterfeit
    assert (spread.mean, spread.sd) == (pytest.approx(np.mean(scores)), pytest.approx(np.std(scores, ddof=1)))
    assert (spread.lowest, spread.highest, spread.n) == (min(scores), max(scores), 3)


def test_a_single_fold_has_no_spread(files: list[Path]) -> None:
    folds = merge_folds(files[:1])
    assert (folds.auroc.n, folds.auroc.sd) == (1, None)


def test_a_folder_stands_for_its_metrics(files: list[Path]) -> None:
    assert merge_folds([file.parent for file in files]) == merge_folds(files)


def test_a_fold_without_counterfeits_is_named_by_its_folder(make_examined: Maker, tmp_path: Path) -> None:
    photographs = [make_examined(source="maker")]
    write_tables(tmp_path / "lone", evaluate_examined(photographs, 0, 5), photographs)
    folds = merge_folds([tmp_path / "lone"])
    assert folds.folds[0].source == "lone"
    assert (folds.auroc.mean, folds.auroc.n) == (None, 0)
    write_folds(tmp_path / "out", folds)


def test_four_files_tell_the_same(files: list[Path], tmp_path: Path) -> None:
    folds = merge_folds(files)
    written = write_folds(tmp_path / "out", folds)
    assert [path.name for path in written] == ["sources.json", "sources.csv", "sources.md", "sources.html"]
    assert json.loads(written[0].read_text())["counterfeit_recall"]["k"] == 15
    assert "NaN" not in written[0].read_text()
    rows = list(csv.DictReader(io.StringIO(written[1].read_text(), newline="")))
    assert [(row["source"], row["counterfeit_recall_k"]) for row in rows] == [
        ("forger", "3"),
        ("<b>|=cmd", "5"),
        ("copyist", "7"),
    ]
    assert all(len(row) == len(COLUMNS) for row in fold_rows(folds))
    markdown = written[2].read_text()
    assert "30.0 % (3/10," in markdown
    assert "<b>" not in markdown
    page = written[3].read_text()
    assert "30.0 % (3/10," in page
    assert "<b>" not in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("[]", "is no evaluation"), ('{"photographs": 1}', "run jobs/evaluate")],
)
def test_what_is_no_evaluation_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "odd.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=rf"odd\.json: .*{words}"):
        merge_folds([file])


def test_a_fold_given_twice_is_refused(files: list[Path]) -> None:
    with pytest.raises(DataError, match="more than once"):
        merge_folds([files[0], files[0].parent])


def test_the_job_wants_at_least_one_fold() -> None:
    with pytest.raises((ConfigError, ValidationError), match="folds"):
        load_config(FoldsConfig, None, ["folds=[]", "out=x"])
