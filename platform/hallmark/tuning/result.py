"""What a sweep came to: all that its report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hallmark.training.run import RunConfig
from hallmark.training.validation import Judged
from hallmark.tuning.judged import judged_file, read_judged
from hallmark.tuning.ledger import Trial
from hallmark.tuning.selection import Contender
from hallmark.tuning.settings import SweepConfig
from hallmark.types import Role


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has come to its end."""

    config: SweepConfig
    run: RunConfig
    """As it is, with the seed of the search."""
    metric: str
    """The validation figure that trials are compared by, one of `Judged.figures`."""
    levels: Sequence[int]
    """Epochs after which trials were compared; the last is the end of a run."""
    search: Sequence[Trial]
    """In their order."""
    contenders: Sequence[Contender]
    """The best trials of the search, best first, and the run as it is, each trained with `config.choice.seeds`."""
    winner: Contender
    """One of them."""

    @property
    def default(self) -> Contender:
        """The run as it is; may be the winner."""
        return next(one for one in self.contenders if one.candidate.is_default)

    @property
    def out(self) -> Path:
        """The folder of the sweep."""
        return Path(self.config.out).resolve()

    def judged(self, trial: Trial, role: Role) -> Judged:
        """What a finished trial's bundle says of the photographs of a role: validation of every one, test of the
        winner's and the default's alone.

        Raises:
            DataError: it was not stored or cannot be read.
        """
        return read_judged(judged_file(trial_folder(self.out, trial.name), role))


def trial_folder(out: Path, name: str) -> Path:
    """Where a trial has its bundle, what was said of photographs, and the trainer's own files."""
    return out / "trials" / name
