"""The trials of a sweep on the terminal, while it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TextIO

from hallmark.tuning.ledger import Status, Trial

_EVERY_S = 2.0
_ROWS = 24


class TrialTable:
    """On a terminal a table that is drawn anew; elsewhere a line whenever a trial has come further.

    Args:
        metric: name of the validation figure.
        epochs: of a whole trial.
        stream: where it is written.
    """

    def __init__(self, metric: str, epochs: int, stream: TextIO | None = None):
        self._metric, self._epochs = metric, epochs
        self._stream = sys.stdout if stream is None else stream
        self._drawn, self._last = 0, 0.0

    @property
    def is_due(self) -> bool:
        """Whether the table is to be drawn anew by now."""
        return self._stream.isatty() and monotonic() - self._last >= _EVERY_S

    def draw(self, trials: Sequence[Trial], busy: frozenset[str], curves: Mapping[str, Mapping[int, float]]) -> None:
        """Draw the table; on anything but a terminal nothing.

        Args:
            trials: of this part of the sweep.
            busy: names of those that are being trained.
            curves: figures by epoch of those, newer than what the trials have.
        """
        if not self._stream.isatty():
            return
        self._last = monotonic()
        lines = [self._line(trial, trial.name in busy, curves.get(trial.name, {})) for trial in trials]
        if len(lines) > _ROWS:
            lines = [f"... {len(lines) - _ROWS} more", *lines[-_ROWS:]]
        up = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        self._stream.write(up + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)

    def tell(self, trial: Trial) -> None:
        """A trial has come further."""
        if not self._stream.isatty():
            self._stream.write(self._line(trial, False, {}) + "\n")
            self._stream.flush()

    def _line(self, trial: Trial, is_busy: bool, curve: Mapping[int, float]) -> str:
        figures = dict(trial.curve) | dict(curve)
        values = ", ".join(f"{'.'.join(key.split('.')[-2:])} {_short(value)}" for key, value in trial.values.items())
        best = f"{self._metric} {max(figures.values()):.4f}" if figures else ""
        doing = "training" if is_busy else "" if trial.status is Status.OPEN else str(trial.status)
        where = f"epoch {max(figures, default=0)}/{self._epochs}"
        line = f"{trial.name}  seed {trial.seed:<4} {where:16} {best:20} {doing:9} {values or 'as it is'}"
        return (f"{line}  ({trial.reason})" if trial.reason else line).rstrip()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
