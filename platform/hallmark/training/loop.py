"""The training step and its schedule in pure torch."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
import torch.distributed
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from hallmark.config import Config
from hallmark.errors import DivergedError
from hallmark.methods.base import Gather, LossTerms
from hallmark.nets.adapters import adapter_parameters
from hallmark.training.diagnostics import measured
from hallmark.types import Batch


class OptimiserConfig(Config):
    """AdamW and its schedule."""

    epochs: int = Field(30, ge=1, description="passes over the training set")
    learning_rate: float = Field(6e-5, gt=0, description="of the backbone, after warm-up")
    head_factor: float = Field(
        1.0,
        gt=0,
        description="learning rate of what starts untrained (aggregation, decoder, adapters) over the backbone's",
    )
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and norms have none")
    warmup_steps: int = Field(0, ge=0, description="steps of linear rise from zero")
    final_factor: float = Field(0.1, ge=0, le=1, description="learning rate of the last step over the first")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the whole gradient")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the forward pass, by autocast")


def build_optimiser(method: nn.Module, config: OptimiserConfig, total_steps: int) -> tuple[AdamW, LambdaLR]:
    """AdamW over the trainable parameters, falling linearly to `final_factor` after the warm-up."""
    adapters = {id(parameter) for parameter in adapter_parameters(method)}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            in_backbone = name.startswith("backbone.") and id(parameter) not in adapters
            groups.setdefault((in_backbone, parameter.ndim >= 2), []).append(parameter)
    optimiser = AdamW(
        [
            {
                "params": parameters,
                "lr": config.learning_rate * (1.0 if in_backbone else config.head_factor),
                "weight_decay": config.weight_decay if is_matrix else 0.0,
            }
            for (in_backbone, is_matrix), parameters in groups.items()
        ]
    )

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        done = (step - config.warmup_steps) / max(1, total_steps - 1 - config.warmup_steps)
        return 1.0 + (config.final_factor - 1.0) * min(1.0, done)

    return optimiser, LambdaLR(optimiser, factor)


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
    optimiser: AdamW,
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
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
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
