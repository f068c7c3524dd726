"""Gradient norms of single terms, and alarms."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from hallmark.methods.base import Gather, LossTerms, alone
from hallmark.methods.fod import FoD
from hallmark.training.diagnostics import AlarmBell, alarms, due, measured, summarised, term_gradient_norms
from hallmark.training.loop import OptimiserConfig, build_optimiser, train_step
from hallmark.types import Batch


class Fit(nn.Module):
    """Two terms over features that a head reads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, batch: Batch, _gather: Gather = alone, _progress: float = 1.0):
        features = self.backbone(batch["images"])
        out = self.head(features)
        terms = {"pairs": (out @ out.T).square().mean(), "rows": features.square().mean()}
        return LossTerms(terms, {"pairs": 2.0, "rows": 0.5}, {"size": out.detach().norm()}, features)


def stepped(measure: bool) -> tuple[Fit, dict[str, float]]:
    model, config = Fit(), OptimiserConfig(learning_rate=0.01)
    optimiser, schedule = build_optimiser(model, config, 3)
    return model, train_step(model, {"images": images()}, optimiser, schedule, alone, config, measure=measure)


def images() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def test_norms_against_one_backward_pass_a_term() -> None:
    _, told = stepped(measure=True)
    for name, weight in {"pairs": 2.0, "rows": 0.5}.items():
        out = Fit()({"images": images()})
        out.features.retain_grad()
        (weight * out.terms[name]).backward()
        squares = [float(value) ** 2 for value in out.features.grad.flatten()]
        assert told[f"gradient_norm/{name}"] == pytest.approx(sum(squares) ** 0.5, rel=1e-5)


def test_measuring_adds_entries_and_changes_nothing() -> None:
    (plain, told), (measuring, more) = stepped(measure=False), stepped(measure=True)
    assert more.keys() - told.keys() == {"gradient_norm/pairs", "gradient_norm/rows", "diagnostics/size"}
    assert told.items() <= more.items()
    assert all(torch.equal(weight, measuring.state_dict()[name]) for name, weight in plain.state_dict().items())


def test_terms_without_a_way_to_the_features() -> None:
    features = torch.ones(2, 3, requires_grad=True)
    elsewhere = torch.ones(2, requires_grad=True)
    terms = {
        "constant": torch.tensor(1.0),
        "elsewhere": elsewhere.sum(),
        "live": features.sum(),
        "later": features.sum(),
    }
    weights = {"constant": 1.0, "elsewhere": 1.0, "live": 2.0, "later": 0.0}
    norms = term_gradient_norms(LossTerms(terms, weights, features=features))
    assert norms == {"constant": 0.0, "elsewhere": 0.0, "live": pytest.approx(2 * 6**0.5)}


def test_a_loss_that_names_no_features_has_no_norms() -> None:
    term = {"a": torch.ones((), requires_grad=True)}
    assert term_gradient_norms(LossTerms(term, {"a": 1.0})) == {}
    assert measured(LossTerms(term, {"a": 1.0})) == {}
    features = torch.ones(2, requires_grad=True)
    assert term_gradient_norms(LossTerms({"a": features.sum()}, {"a": 0.0}, features=features)) == {}


def test_diagnostics_are_numbers_or_their_median() -> None:
    values = {"one": torch.tensor(2), "images": torch.tensor([5.0, 1.0, 3.0]), "none": torch.empty(0)}
    told = measured(LossTerms({"a": torch.ones(())}, {"a": 1.0}, values))
    assert told == {"diagnostics/one": 2.0, "diagnostics/images": 3.0}


def test_steps_that_are_measured() -> None:
    chosen = [step for step in range(400) if due(step, 120)]
    assert chosen == [*range(100), 100, 119, 150, 200, 239, 250, 300, 350, 359]
    assert all(any(due(step, 7) for step in range(7 * epoch, 7 * epoch + 7)) for epoch in range(100))


def test_a_summary_is_of_the_steps_that_have_an_entry() -> None:
    records = [
        {"loss": 1.0, "gradient_norm/a": 1.0, "diagnostics/d": 1.0},
        {"loss": 2.0, "gradient_norm/a": 9.0, "diagnostics/d": float("nan")},
        {"loss": 6.0, "gradient_norm/a": 2.0, "diagnostics/e": float("inf")},
    ]
    assert summarised(records) == {"loss": 3.0, "gradient_norm/a": 2.0, "diagnostics/d": 1.0}
    assert summarised([]) == {}


def test_alarms_are_of_dead_terms_and_of_the_method() -> None:
    seen = []

    class Watched(FoD):
        @staticmethod
        def alarms(diagnostics: Mapping[str, float]) -> list[str]:
            seen.append(diagnostics)
            return ["flat masks: 0.9"]

    records = [
        {"loss": 0.0, "a": 2.0, "gradient_norm": 0.0, "gradient_norm/a": 0.0, "gradient_norm/b": 0.1},
        {"loss": 0.0, "a": 1.0, "gradient_norm": 0.0},
        {"loss": 0.0, "a": 0.0, "gradient_norm/a": 0.0, "gradient_norm/b": 0.0, "diagnostics/d": 4.0},
    ]
    dead, flat = alarms(records, Watched)
    assert dead.startswith("dead term: a left no gradient on the patch tokens at any measured step, at a mean of 1;")
    assert flat == "flat masks: 0.9"
    assert seen == [{"d": 4.0}]


def test_a_kind_of_alarm_is_heard_once(caplog: pytest.LogCaptureFixture) -> None:
    bell = AlarmBell()
    with caplog.at_level(logging.WARNING):
        bell.ring(1, ["flat masks: entropy 0.98", "dead term: a"])
        bell.ring(2, ["flat masks: entropy 1.2e-3", "dead term: b"])
    assert [record.getMessage() for record in caplog.records] == [
        "epoch 1: flat masks: entropy 0.98",
        "epoch 1: dead term: a",
        "epoch 2: dead term: b",
    ]
