"""A classification head: one hidden layer, or none."""

from __future__ import annotations

from torch import Tensor, nn


class Head(nn.Module):
    """Linear - ReLU - dropout - linear; without a hidden layer, dropout - linear."""

    def __init__(self, features: int, classes: int, hidden: int | None, dropout: float = 0.0):
        super().__init__()
        self.hidden = nn.Identity() if hidden is None else nn.Linear(features, hidden)
        self.activation = nn.Identity() if hidden is None else nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(features if hidden is None else hidden, classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F) -> (B, classes) logits, and (B, hidden) what they were told by, before its ReLU."""
        told_by = self.hidden(features)
        return self.classes(self.dropout(self.activation(told_by))), told_by

    def everywhere(self, features: Tensor) -> Tensor:
        """(B, F, h, w) -> (B, h, w, classes) logits of each place by itself, nothing dropped."""
        return self.classes(self.activation(self.hidden(features.movedim(1, 3))))
