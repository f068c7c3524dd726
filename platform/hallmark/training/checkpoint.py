"""Where a training stands, on disk: what it goes on from after it was broken off."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hallmark.training.epochs import Progress, Training

_WEIGHTS, _STATE, _PROGRESS = "weights.safetensors", "state.pt", "progress.json"


def save_training(training: Training, folder: Path) -> None:
    """Write weights, optimiser, schedule and progress into an empty folder.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    weights = {name: weight.detach().cpu().contiguous() for name, weight in training.method.state_dict().items()}
    save_file(weights, folder / _WEIGHTS)
    state = {"optimiser": training.optimiser.state_dict(), "schedule": training.schedule.state_dict()}
    torch.save(state, folder / _STATE)
    (folder / _PROGRESS).write_text(json.dumps(vars(training.progress)))


def restore_training(training: Training, folder: Path, device: torch.device) -> None:
    """Take weights, optimiser, schedule and progress from a folder that `save_training` wrote.

    Raises:
        OSError, SafetensorError, RuntimeError: it cannot be read, or is of another network.
    """
    training.method.load_state_dict(load_file(folder / _WEIGHTS, device=str(device)))
    state = torch.load(folder / _STATE, weights_only=True, map_location=device)
    training.progress = read_progress(folder)
    training.optimiser.load_state_dict(state["optimiser"])
    training.schedule.load_state_dict(state["schedule"])


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in it, on the CPU."""
    return load_file(folder / _WEIGHTS)


def read_progress(folder: Path) -> Progress:
    """Where the training stood."""
    return Progress(**json.loads((folder / _PROGRESS).read_text()))
