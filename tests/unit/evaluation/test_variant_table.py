"""An axis of variants as a table, its sentences and its files."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from hallmark.errors import DataError
from hallmark.evaluation.outcomes import Answer, Outcome
from hallmark.evaluation.variant_table import COLUMNS, VariantTable, findings, table_csv, table_rows, variant_table
from hallmark.evaluation.variants import Axis, Variant

COUNT = 16
TRUTH = np.arange(COUNT) % 4


def trained(name: str, right: list[int], validation: float = 0.5, items: int = COUNT) -> list[Outcome]:
    """A training for each entry of `right`, the number of photographs that it tells rightly, first to last."""
    outcomes = []
    for seed, hits in enumerate(right):
        answers = [
            Answer(
                image_id=str(place),
                item_id=f"{place % 2}-{place // 2 % (items // 2)}",
                truth=int(truth),
                told=int(truth if place < hits else truth ^ 1),
                log_odds=float(np.where(truth % 2 == (place < hits), 2.0, -2.0)),
            )
            for place, truth in enumerate(TRUTH)
        ]
        settings = {"seed": seed, "products": ["a", "b"], "training_photographs": 10 + seed, "training_items": 5}
        outcomes.append(
            Outcome(
                bundle_id=f"{name}{seed}", validation={"accuracy": validation + seed / 10}, answers=answers, **settings
            )
        )
    return outcomes


def table_of(base: list[Outcome], **others: list[Outcome]) -> VariantTable:
    outcomes = {Variant("base"): base} | {Variant(name): own for name, own in others.items()}
    axis = Axis("policy", "Policies", "policy", "", tuple(outcomes))
    return variant_table(axis, outcomes, base, 100, 0)


def test_figures_against_plain_counts() -> None:
    table = table_of(trained("base", [8, 12]), other=trained("other", [16, 12], validation=0.7))
    base, other = table.variants
    assert (table.seeds, table.photographs, table.items) == ([0, 1], 16, 16)
    assert [(share.k, share.n) for share in base.accuracy_by_seed] == [(8, 16), (12, 16)]
    assert [(share.k, share.n) for share in other.accuracy_by_seed] == [(16, 16), (12, 16)]
    assert [(one.accuracy.k, one.accuracy.n) for one in table.variants] == [(20, 32), (28, 32)]
    assert base.accuracy_resampled.value == pytest.approx(20 / 32)
    assert base.accuracy_resampled.low < 20 / 32 < base.accuracy_resampled.high
    assert other.auroc.value == pytest.approx((1.0 + 0.75) / 2)  # 2 of 8 told wrongly on either side
    assert [one.validation_accuracy for one in table.variants] == pytest.approx([0.55, 0.75])
    assert other.training_photographs == [10, 11]
    assert [one.is_base for one in table.variants] == [True, False]
    assert base.difference is None
    assert other.difference.accuracy.value == pytest.approx(8 / 32)
    assert (other.difference.won, other.difference.lost) == (8, 0)


def test_differences_are_adjusted_over_their_table() -> None:
    table = table_of(
        trained("base", [8, 8]),
        better=trained("better", [16, 16]),
        little=trained("little", [9, 8]),
        worse=trained("worse", [0, 0]),
        same=trained("same", [8, 8]),
    )
    better, little, worse, same = (one.difference for one in table.variants[1:])
    assert better.p_value == worse.p_value == pytest.approx(2 * 0.5**16)
    assert better.p_adjusted == worse.p_adjusted == pytest.approx(3 * 2 * 0.5**16)  # of the three that differ at all
    assert (little.p_value, little.p_adjusted) == (1.0, 1.0)
    assert (same.p_value, same.p_adjusted) == (None, None)
    told = findings(table)
    assert told[0].startswith("better is better than the base, by 50.0 points (95 % interval +")
    assert told[1].startswith("worse is worse than the base, by 50.0 points (95 % interval -")
    assert told[2] == "No significant difference from the base: little, same."
    assert told[3] == "By validation accuracy one would pick base or better or little or worse or same."


def test_the_one_that_validation_picks_is_told() -> None:
    table = table_of(trained("base", [8]), other=trained("other", [0], validation=0.9))
    assert table.picked == ["other"]
    assert findings(table)[-1] == "By validation accuracy one would pick other."
    assert findings(table_of(trained("base", [8]))) == []


def test_too_few_items_are_not_called_level() -> None:
    table = table_of(trained("base", [0, 0], items=2), other=trained("other", [16, 16], items=2))
    told = findings(table)
    assert table.variants[1].difference.words == "not tested: too few items"
    assert not [sentence for sentence in told if "significant" in sentence]
    assert "Differences from the base are not tested: too few items." in told
    assert "nan" not in str(table_rows(table)).lower()


def test_a_row_has_a_cell_for_every_heading() -> None:
    table = table_of(trained("base", [8, 12]), other=trained("other", [16, 12]))
    base, other = table_rows(table)
    assert len(base) == len(other) == len(COLUMNS) + 1
    assert (base[0], other[0], base[-1]) == ("base", "other", "—")
    assert base[1].startswith("62.5 % (20/32)\nWilson ")
    assert base[2] == "8/16\n12/16"
    assert other[-1].startswith("+25.0 points\n(")
    assert "won 8, lost 0, p = 0.008" in other[-1]


def test_a_base_under_another_name_is_marked() -> None:
    base = trained("base", [8])
    outcomes = {Variant("0.5"): base, Variant("1.0"): trained("other", [8])}
    table = variant_table(Axis("alpha", "", "", "", tuple(outcomes)), outcomes, base, 100, 0)
    assert [row[0] for row in table_rows(table)] == ["0.5 (base)", "1.0"]


def test_the_csv_holds_every_number_once() -> None:
    table = table_of(trained("base", [8, 12]), **{"=1+1": trained("other", [16, 12])})
    rows = list(csv.DictReader(io.StringIO(table_csv(table))))
    names = [(row["policy"], row["figure"]) for row in rows]
    assert len(set(names)) == len(names)
    assert {name for name, _ in names} == {"base", "'=1+1"}  # a spreadsheet would compute it
    found = dict(zip(names, rows, strict=True))
    for one, name in zip(table.variants, ("base", "'=1+1"), strict=True):
        for figure in ("accuracy", "accuracy_resampled", "f1_macro", "f1_counterfeit", "auroc"):
            own, row = getattr(one, figure), found[name, figure]
            assert (float(row["value"]), float(row["low"]), float(row["high"])) == (own.value, own.low, own.high)
            assert int(row["n"]) == own.n
        assert float(found[name, "calibration_error"]["value"]) == one.calibration_error
        assert [int(found[name, f"accuracy_by_seed.{place}"]["k"]) for place in (0, 1)] == [
            share.k for share in one.accuracy_by_seed
        ]
    assert float(found["'=1+1", "difference.p_adjusted"]["value"]) == table.variants[1].difference.p_adjusted
    assert ("base", "difference.p_adjusted") not in found


def test_other_photographs_are_not_compared() -> None:
    base, other = trained("base", [8]), trained("other", [8])
    fewer = [one.model_copy(update={"answers": one.answers[:-1]}) for one in other]
    with pytest.raises(DataError, match="wanted the same"):
        table_of(base, other=fewer)
