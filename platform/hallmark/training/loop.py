"""The training step and its schedule in pure torch."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed
from pydantic import Field
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hallmark.config import Config
from hallmark.errors import DivergedError
from hallmark.methods.base import Gather, LossTerms
from hallmark.nets.adapters import adapter_parameters
from hallmark.training.diagnostics import measured
from hallmark.types import Batch


class OptimiserConfig(Config):
    """The optimiser and its schedule."""

    algorithm: Literal["adamw", "sgd"] = Field("adamw", description="adamw, or sgd with momentum")
    epochs: int = Field(30, ge=1, description="passes over the training set")
    learning_rate: float = Field(6e-5, gt=0, description="of the backbone, after warm-up")
    head_factor: float = Field(
        1.0,
        gt=0,
        description="learning rate of what starts untrained (aggregation, decoder, heads, adapters) over the "
        "backbone's",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: share of the last step that is repeated")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and norms have none")
    warmup_steps: int = Field(0, ge=0, description="steps of linear rise from zero")
    schedule: Literal["linear", "cosine", "cosine_restarts", "cosine_waves"] = Field(
        "linear",
        description="how the learning rate falls to final_factor: in a line or a half cosine over the whole run; in a "
        "half cosine every period_epochs, then from the top again (restarts) or up again the same way (waves)",
    )
    period_epochs: int = Field(10, ge=1, description="cosine_restarts and cosine_waves: epochs of one fall")
    final_factor: float = Field(0.1, ge=0, le=1, description="lowest learning rate over the first")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of the whole gradient; null = any")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the forward pass, by autocast")


def build_optimiser(method: nn.Module, config: OptimiserConfig, total_steps: int) -> tuple[Optimizer, LambdaLR]:
    """The optimiser over the trainable parameters, and its schedule step by step."""
    adapters = {id(parameter) for parameter in adapter_parameters(method)}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            in_backbone = name.startswith("backbone.") and id(parameter) not in adapters
            groups.setdefault((in_backbone, parameter.ndim >= 2), []).append(parameter)
    parameters = [
        {
            "params": parameters,
            "lr": config.learning_rate * (1.0 if in_backbone else config.head_factor),
            "weight_decay": config.weight_decay if is_matrix else 0.0,
        }
        for (in_backbone, is_matrix), parameters in groups.items()
    ]
    optimiser: Optimizer = (
        AdamW(parameters) if config.algorithm == "adamw" else SGD(parameters, momentum=config.momentum)
    )
    return optimiser, LambdaLR(optimiser, partial(_factor, config=config, total_steps=total_steps))


def _factor(step: int, config: OptimiserConfig, total_steps: int) -> float:
    """Learning rate of a step, from 0, over the highest."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    gone, to_go = step - config.warmup_steps, total_steps - 1 - config.warmup_steps
    period = config.period_epochs * total_steps / config.epochs
    if config.schedule == "cosine_restarts":
        left = (1 + math.cos(math.pi * ((gone / period) % 1.0))) / 2
    elif config.schedule == "cosine_waves":
        left = (1 + math.cos(math.pi * gone / period)) / 2
    else:
        done = min(1.0, gone / max(1, to_go))
        left = 1.0 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.final_factor + (1.0 - config.final_factor) * left


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all workers in rank order, with gradient: what `training_loss` takes as `gather` under DDP.

    Every worker computes the whole global loss. The backward pass of the gather adds up the workers' gradients and
    DDP averages them, so a parameter's gradient is that of the global batch on one worker.
    """
    return _GatherRows.apply(rows)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        context.num_rows = rows.shape[0]
        parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts, dim=0)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        summed = gradient.contiguous().clone()
        torch.distributed.all_reduce(summed)
        first = torch.distributed.get_rank() * context.num_rows
        return summed[first : first + context.num_rows]


def train_step(
    model: nn.Module,
    batch: Batch,
    optimiser: Optimizer,
    schedule: LambdaLR,
    gather: Gather,
    config: OptimiserConfig,
    progress: float = 1.0,
    measure: bool = False,
) -> dict[str, float]:
    """One step of optimisation; returns the total, each term, the gradient's norm and the learning rate.

    Args:
        model: the method, or DDP around it.
        batch: this worker's share.
        optimiser: of the model's parameters.
        schedule: of the optimiser.
        gather: joins rows over workers.
        config: precision and clipping.
        progress: share of training that is done.
        measure: return the step's diagnostics too (see `diagnostics.measured`); the same on every worker.

    Raises:
        DivergedError: the loss or its gradient is not finite; the parameters are left as they were.
    """
    device_type = batch["images"].device.type
    reduced = config.precision == "bfloat16"
    with torch.autocast(device_type, dtype=torch.bfloat16) if reduced else nullcontext():
        losses: LossTerms = model(batch, gather, progress)
        total = losses.total
    if not torch.isfinite(total):
        values = {name: float(term.detach()) for name, term in losses.terms.items()}
        raise DivergedError(f"the loss is not finite: {values}; a lower optimiser.learning_rate may mend it")
    more = measured(losses, gather) if measure else {}
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if config.clip_norm is None else config.clip_norm)
    if not torch.isfinite(norm):
        raise DivergedError(
            f"the gradient's norm is {float(norm)} at a loss of {float(total.detach()):.4g}; a lower "
            "optimiser.learning_rate may mend it"
        )
    optimiser.step()
    learning_rate = schedule.get_last_lr()[0]
    schedule.step()
    terms = {name: float(term.detach()) for name, term in losses.terms.items()}
    told = {"loss": float(total.detach()), **terms, "gradient_norm": float(norm), "learning_rate": learning_rate}
    return told | more
