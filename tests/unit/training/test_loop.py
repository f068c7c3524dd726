"""The training step and its schedule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hallmark.config import validate
from hallmark.errors import ConfigError, DivergedError, HallmarkError
from hallmark.methods.base import Gather, LossTerms, alone
from hallmark.nets.adapters import LoRAConfig, LoRALinear
from hallmark.training.loop import OptimiserConfig, build_optimiser, train_step
from hallmark.types import Batch


class Fit(nn.Module):
    """Draws its output to the images' mean; `trouble` is a factor of the loss, `kink` spoils its gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)
        self.trouble, self.kink = 1.0, False
        self.seen: list[tuple[float, torch.dtype]] = []

    def forward(self, batch: Batch, gather: Gather, progress: float) -> LossTerms:
        out = self.head(self.backbone(batch["images"]))
        self.seen.append((progress, out.dtype))
        near = gather(out.float()).square().mean() * self.trouble
        far = self.head.bias.float().abs().mean()
        if self.kink:  # a square root at 0: a finite value whose gradient is not
            far = far + (out.float() * 0).abs().sqrt().mean()
        return LossTerms({"near": near, "far": far}, {"near": 2.0, "far": 0.5})


def batch() -> Batch:
    return {"images": torch.ones(3, 4)}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def factors(config: OptimiserConfig, steps: int) -> list[float]:
    optimiser, schedule = build_optimiser(Fit(), config, steps)
    seen = []
    for _ in range(steps):
        seen.append(schedule.get_last_lr()[0] / config.learning_rate)
        optimiser.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (3, 10), (9, 10), (0, 1), (10, 10), (20, 10), (1, 2)])
def test_the_schedule_rises_and_falls_in_straight_lines(warmup: int, steps: int) -> None:
    config = OptimiserConfig(learning_rate=0.5, warmup_steps=warmup, final_factor=0.1)
    for step, factor in enumerate(factors(config, steps)):
        if step < warmup:
            expected = (step + 1) / warmup
        elif steps - 1 > warmup:
            expected = 1 - 0.9 * (step - warmup) / (steps - 1 - warmup)
        else:
            expected = 1.0
        assert factor == pytest.approx(expected)


def test_the_last_step_has_the_final_factor_and_stays_there() -> None:
    assert factors(OptimiserConfig(final_factor=0.25), 8)[-1] == pytest.approx(0.25)
    optimiser, schedule = build_optimiser(Fit(), OptimiserConfig(final_factor=0.25, learning_rate=1.0), 3)
    for _ in range(9):
        optimiser.step()
        schedule.step()
    assert schedule.get_last_lr()[0] == pytest.approx(0.25)


def test_a_cosine_falls_once_or_starts_anew_or_swings() -> None:
    """40 steps of 4 epochs, a fall every 2 epochs = 20 steps."""
    common = {"epochs": 4, "period_epochs": 2, "final_factor": 0.5}
    once, anew, swing = (
        factors(OptimiserConfig(schedule=name, **common), 40) for name in ("cosine", "cosine_restarts", "cosine_waves")
    )
    fall = [0.5 + 0.5 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)]
    assert anew == pytest.approx([*fall, *fall])
    assert swing == pytest.approx([*fall, 0.5, *fall[:0:-1]])
    assert once == pytest.approx([0.5 + 0.5 * (1 + math.cos(math.pi * step / 39)) / 2 for step in range(40)])


def test_a_fall_is_counted_from_the_end_of_the_warm_up() -> None:
    config = OptimiserConfig(schedule="cosine_restarts", epochs=4, period_epochs=2, final_factor=0.0, warmup_steps=5)
    found = factors(config, 40)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert (found[5], found[15], found[25]) == pytest.approx((1.0, 0.5, 1.0))


def test_two_steps_are_those_of_momentum_on_the_whole_gradient() -> None:
    config = OptimiserConfig(algorithm="sgd", learning_rate=0.01, momentum=0.9, weight_decay=0.2, clip_norm=None)
    model, twin = Fit(), Fit()
    optimiser, schedule = build_optimiser(model, config, 10**9)  # so long that the rate stands still
    speed = [torch.zeros_like(parameter) for parameter in twin.parameters()]
    for _ in range(2):
        train_step(model, batch(), optimiser, schedule, alone, config)
        twin.zero_grad()
        twin(batch(), alone, 1.0).total.backward()
        with torch.no_grad():
            for parameter, own in zip(twin.parameters(), speed, strict=True):
                decay = 0.2 if parameter.ndim >= 2 else 0.0
                own.mul_(0.9).add_(parameter.grad + decay * parameter)
                parameter.sub_(0.01 * own)
    for mine, its in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=0)


def test_a_gradient_of_any_size_is_left_where_nothing_clips() -> None:
    config = OptimiserConfig(algorithm="sgd", learning_rate=1e-9, clip_norm=None)
    model = Fit()
    model.trouble = 1e6
    optimiser, schedule = build_optimiser(model, config, 10)
    before = state(model)
    told = train_step(model, batch(), optimiser, schedule, alone, config)
    moved = sum(float((weight - before[name]).square().sum()) for name, weight in state(model).items()) ** 0.5
    assert told["gradient_norm"] > 1e3
    assert moved == pytest.approx(1e-9 * told["gradient_norm"], rel=0.1)


def test_every_trainable_parameter_is_in_the_group_it_belongs_to() -> None:
    model = Fit()
    model.head.bias.requires_grad_(False)
    config = OptimiserConfig(learning_rate=0.01, head_factor=5.0, weight_decay=0.3)
    optimiser, _ = build_optimiser(model, config, 10)
    found = {}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = (group["lr"], group["weight_decay"])
    expected = {
        id(model.backbone.weight): (0.01, 0.3),
        id(model.backbone.bias): (0.01, 0.0),
        id(model.head.weight): (0.05, 0.3),
    }
    assert found.keys() == expected.keys()
    for key, pair in expected.items():
        assert found[key] == pytest.approx(pair)


def test_adapters_learn_at_the_rate_of_the_heads() -> None:
    model = Fit()
    model.backbone = LoRALinear(model.backbone, LoRAConfig(rank=2))
    optimiser, _ = build_optimiser(model, OptimiserConfig(learning_rate=0.01, head_factor=5.0, weight_decay=0.3), 10)
    rates = {
        id(one): (group["lr"], group["weight_decay"]) for group in optimiser.param_groups for one in group["params"]
    }
    assert rates[id(model.backbone.down)] == rates[id(model.backbone.up)] == pytest.approx((0.05, 0.3))
    assert len(rates) == 4  # and the head's


def test_a_step_tells_the_weighted_total_each_term_and_the_learning_rate_it_used() -> None:
    model, config = Fit(), OptimiserConfig(learning_rate=0.01, final_factor=0.1)
    optimiser, schedule = build_optimiser(model, config, 2)
    first = train_step(model, batch(), optimiser, schedule, alone, config)
    second = train_step(model, batch(), optimiser, schedule, alone, config)
    assert set(first) == {"loss", "near", "far", "gradient_norm", "learning_rate"}
    assert first["loss"] == pytest.approx(2 * first["near"] + 0.5 * first["far"])
    assert (first["learning_rate"], second["learning_rate"]) == pytest.approx((0.01, 0.001))
    assert second["near"] < first["near"]


def test_the_first_step_is_that_of_adamw_on_the_clipped_gradient() -> None:
    config = OptimiserConfig(learning_rate=0.01, weight_decay=0.2, clip_norm=1e-3)
    model, twin = Fit(), Fit()
    optimiser, schedule = build_optimiser(model, config, 10)
    told = train_step(model, batch(), optimiser, schedule, alone, config)
    twin(batch(), alone, 1.0).total.backward()
    norm = sum(float(p.grad.square().sum()) for p in twin.parameters()) ** 0.5
    assert told["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    for mine, its in zip(model.parameters(), twin.parameters(), strict=True):
        gradient = its.grad * (1e-3 / (norm + 1e-6))
        decay = 0.01 * 0.2 if its.ndim >= 2 else 0.0
        # After one step Adam's two moments are the gradient and its square.
        expected = its * (1 - decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(mine, expected, atol=1e-6)


def test_the_gradient_of_the_step_before_is_forgotten() -> None:
    model, config = Fit(), OptimiserConfig()
    optimiser, schedule = build_optimiser(model, config, 10)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    told = train_step(model, batch(), optimiser, schedule, alone, config)
    assert told["gradient_norm"] < 1e3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_leaves_the_parameters(factor: float) -> None:
    model, config = Fit(), OptimiserConfig(learning_rate=0.1)
    optimiser, schedule = build_optimiser(model, config, 10)
    model.trouble, before, rate = factor, state(model), schedule.get_last_lr()
    with pytest.raises(DivergedError, match=r"the loss is not finite: .*near.*learning_rate"):
        train_step(model, batch(), optimiser, schedule, alone, config)
    assert same(state(model), before)
    assert schedule.get_last_lr() == rate


@pytest.mark.filterwarnings("error")
def test_a_gradient_that_is_not_finite_leaves_the_parameters() -> None:
    model, config = Fit(), OptimiserConfig(learning_rate=0.1)
    optimiser, schedule = build_optimiser(model, config, 10)
    model.kink, before = True, state(model)
    with pytest.raises(DivergedError, match=r"the gradient's norm is nan .*learning_rate"):
        train_step(model, batch(), optimiser, schedule, alone, config)
    assert same(state(model), before)


def test_a_user_and_a_caller_of_torch_both_know_the_error() -> None:
    assert issubclass(DivergedError, HallmarkError)
    assert issubclass(DivergedError, FloatingPointError)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_and_progress_reach_the_forward_pass(precision: str, dtype: torch.dtype) -> None:
    model, config = Fit(), OptimiserConfig(precision=precision)
    optimiser, schedule = build_optimiser(model, config, 10)
    train_step(model, batch(), optimiser, schedule, alone, config, progress=0.25)
    assert model.seen == [(0.25, dtype)]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("key", "value"), [("learning_rate", 0), ("final_factor", 1.5), ("epochs", 0), ("precision", "float16")]
)
def test_settings_out_of_range_are_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        validate(OptimiserConfig, {key: value}, "optimiser")
