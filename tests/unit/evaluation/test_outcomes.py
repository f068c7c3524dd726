"""What bundles say of the test photographs, stored and joined."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallmark.data.batches import to_images
from hallmark.data.manifest import read_manifest
from hallmark.errors import DataError, OutputError
from hallmark.evaluation.outcomes import (
    Answer,
    Answers,
    Outcome,
    answers_of,
    features,
    judge,
    photographs,
    read_outcome,
    write_outcome,
)
from hallmark.training.bundle import Bundle, write_bundle
from hallmark.training.run import RunConfig

PRODUCTS = ["a", "b"]


def outcome_of(**other: Any) -> Outcome:
    answers = [
        Answer(image_id=f"{place:064x}", item_id=f"item{place // 2}", truth=place % 4, told=place % 3, log_odds=place)
        for place in range(6)
    ]
    settings = {"bundle_id": "one", "seed": 3, "products": PRODUCTS, "validation": {"accuracy": 0.5}}
    return Outcome(**settings | {"training_photographs": 8, "training_items": 4, "answers": answers} | other)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, write_manifest) -> pa.Table:
    return read_manifest(write_manifest(tmp_path_factory.mktemp("drawn"), ["train", "train", "val", "test", "test"]))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, tiny_classifier_run: RunConfig) -> Bundle:
    """A bundle with random weights that was validated."""
    torch.manual_seed(1)
    weights = tiny_classifier_run.exported(2).state_dict()
    metrics = {"validation": {"epoch": 4, "accuracy": 0.75}, "epochs": []}
    run = tiny_classifier_run.model_copy(update={"seed": 5})
    return write_bundle(tmp_path_factory.mktemp("judged") / "bundle", weights, run, PRODUCTS, metrics, {"seed": 5})


def test_an_outcome_is_what_the_bundle_says_of_each_photograph(judged: Bundle, table: pa.Table) -> None:
    outcome = judge(judged, table)
    rows = [row for row in table.to_pylist() if row["role"] == "test" and row["authenticity"] != "unrelated"]
    assert [answer.image_id for answer in outcome.answers] == [row["image_id"] for row in rows]
    method = judged.build_method("cpu")
    for row, answer in zip(rows, outcome.answers, strict=True):
        alone = table.filter(pa.compute.equal(table["image_id"], row["image_id"]))
        (batch,) = photographs(judged.run, alone)
        with torch.inference_mode():
            logits = method.classify(to_images(batch, judged.run.preprocessing, "cpu")).logits[0].tolist()
        genuine, counterfeit = (sum(math.exp(logit) for logit in logits[first::2]) for first in (1, 0))
        assert answer.truth == 2 * PRODUCTS.index(row["product"]) + (row["authenticity"] == "genuine")
        assert answer.told == logits.index(max(logits))
        assert answer.log_odds == pytest.approx(math.log(genuine) - math.log(counterfeit), abs=1e-4)
        assert answer.item_id == row["item_id"]
    assert (outcome.bundle_id, outcome.seed, outcome.products) == (judged.bundle_id, 5, PRODUCTS)
    assert (outcome.training_photographs, outcome.training_items) == (8, 8)
    assert outcome.validation == {"epoch": 4, "accuracy": 0.75}


def test_features_are_what_the_heads_read(judged: Bundle, table: pa.Table) -> None:
    method = judged.build_method("cpu")
    found = features(method, judged.run, table, "cpu")
    (batch,) = photographs(judged.run, table)
    with torch.inference_mode():
        read = method.classify(to_images(batch, judged.run.preprocessing, "cpu")).features
    assert found.shape == (table.num_rows, read.shape[1])
    np.testing.assert_allclose(found, read.numpy(), rtol=1e-5, atol=1e-6)


def test_a_manifest_without_test_photographs_is_named(judged: Bundle, table: pa.Table) -> None:
    unrelated = [row["role"] != "test" or row["authenticity"] == "unrelated" for row in table.to_pylist()]
    with pytest.raises(DataError, match=r"manifest\.parquet: no photograph has the role test"):
        judge(judged, table.filter(pa.array(unrelated)))


def test_an_outcome_comes_back(tmp_path: Path) -> None:
    write_outcome(tmp_path / "new" / "outcome.json", outcome_of())
    assert read_outcome(tmp_path / "new" / "outcome.json") == outcome_of()
    assert read_outcome(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "text", ["", '{"seed": 0', "[]", outcome_of().model_dump_json().replace('"seed"', '"see"'), "\xff\x00"]
)
def test_a_damaged_outcome_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "outcome.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"outcome\.json: is no outcome of this version .*delete it"):
        read_outcome(file)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken"):
        write_outcome(tmp_path / "taken" / "outcome.json", outcome_of())


def test_trainings_are_joined_in_their_order() -> None:
    second = [answer.model_copy(update={"told": 3, "log_odds": -1.0}) for answer in outcome_of().answers]
    joined = answers_of([outcome_of(), outcome_of(answers=second, bundle_id="two")])
    assert joined.names == ["a counterfeit", "a genuine", "b counterfeit", "b genuine"]
    assert joined.items.tolist() == ["item0", "item0", "item1", "item1", "item2", "item2"]
    assert joined.truth.tolist() == [0, 1, 2, 3, 0, 1]
    assert joined.told.tolist() == [[0, 1, 2, 0, 1, 2], [3] * 6]
    assert joined.log_odds.tolist() == [[0, 1, 2, 3, 4, 5], [-1] * 6]
    assert joined.right.tolist() == [[True, True, True, False, False, False], [False, False, False, True, False, False]]


ANSWERS = outcome_of().answers


@pytest.mark.parametrize(
    "other",
    [
        {"answers": ANSWERS[1:]},
        {"answers": ANSWERS[::-1]},
        {"answers": [ANSWERS[0].model_copy(update={"truth": 3}), *ANSWERS[1:]]},
        {"products": ["a", "c"]},
    ],
)
def test_answers_of_other_photographs_are_not_compared(other: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="one and two: found other products or test photographs"):
        answers_of([outcome_of(), outcome_of(bundle_id="two", **other)])


@given(seed=st.integers(0, 10**6))
def test_the_confusion_against_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, told = rng.integers(0, 4, 7), rng.integers(0, 4, (2, 7))
    answers = Answers([""] * 4, np.arange(7).astype(str), truth, told, np.zeros((2, 7)))
    weights = rng.integers(0, 4, (2, 7)).astype(float)
    expected, counts = np.zeros((4, 4)), np.zeros((4, 4), dtype=int)
    for training in range(2):
        for photograph in range(7):
            place = truth[photograph], told[training, photograph]
            expected[place] += weights[training, photograph]
            counts[place] += 1
    assert np.array_equal(answers.confusion_by(weights), expected)
    assert np.array_equal(answers.confusion, counts)
