"""How a training run shows where it stands: a progress bar, and curves for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tqdm import tqdm

from hallmark.training.run import RunConfig


class TrainingLog:
    """Progress bar and TensorBoard curves, beside the bundle."""

    def __init__(self, run: RunConfig, total_steps: int, done: int, bar: bool = True):
        """
        Args:
            run: whose `out` decides where the curves lie.
            total_steps: of the whole run.
            done: steps that an earlier start of the run has done.
            bar: whether progress is shown on the terminal.
        """
        self._writer = SummaryWriter(str(Path(run.out).parent / "tensorboard"))
        self._step = done
        self._bar = tqdm(
            total=total_steps,
            initial=done,
            desc="training",
            unit="step",
            mininterval=5,
            ascii=True,
            disable=not bar,
        )

    def step(self, record: dict[str, float]) -> None:
        self._step += 1
        self._bar.update()
        self._bar.set_postfix(loss=f"{record['loss']:.3f}", refresh=False)
        for name, value in record.items():
            if math.isfinite(value):  # a diagnostic is NaN where the batch did not allow to measure it
                self._writer.add_scalar(f"step/{name}", value, self._step)

    def epoch(self, record: dict[str, Any], judged: dict[str, float]) -> None:
        if judged:
            told = ", ".join(f"{name} {value:.4f}" for name, value in judged.items())
            if not self._bar.disable:
                self._bar.write(f"epoch {record['epoch']}: loss {record['loss']:.4f}, validation {told}")
            for name, value in judged.items():
                self._writer.add_scalar(f"validation/{name}", value, self._step)
        self._writer.flush()

    def close(self) -> None:
        self._bar.close()
        self._writer.close()
