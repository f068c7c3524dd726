"""What a sweep shows while it runs."""

from __future__ import annotations

import io
from collections.abc import Callable

from hallmark.tuning.ledger import Status, Trial
from hallmark.tuning.trial_table import TrialTable

Make = Callable[..., Trial]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_line_whenever_a_trial_has_come_further(trial: Make) -> None:
    stream = io.StringIO()
    table = TrialTable("accuracy", 9, stream)
    table.draw([trial("s000", 0.5)], frozenset(), {})
    assert stream.getvalue() == ""
    table.tell(trial("s000", 0.5, 0.75, status=Status.FINISHED, values={"method.losses.alpha": 0.123456}))
    table.tell(trial("s001", status=Status.FAILED, reason="no memory"))
    lines = stream.getvalue().splitlines()
    assert " ".join(lines[0].split()) == "s000 seed 0 epoch 2/9 accuracy 0.7500 finished losses.alpha 0.1235"
    assert lines[1].endswith("failed    as it is  (no memory)")


def test_a_terminal_gets_the_table_anew_with_what_was_heard_since(trial: Make) -> None:
    stream = Terminal()
    table = TrialTable("accuracy", 9, stream)
    assert table.is_due
    trials = [trial("s000", 0.5), trial("s001")]
    table.draw(trials, frozenset({"s001"}), {"s001": {1: 0.25, 2: 0.625}})
    assert not table.is_due
    first = stream.getvalue()
    assert "s001" in first
    assert "epoch 2/9" in first
    assert "0.6250" in first
    assert "training" in first
    table.draw(trials, frozenset(), {})
    assert stream.getvalue()[len(first) :].startswith("\x1b[2A\x1b[J"), "the cursor goes up over what was drawn"


def test_a_long_table_shows_its_end(trial: Make) -> None:
    stream = Terminal()
    TrialTable("accuracy", 9, stream).draw([trial(f"s{n:03}") for n in range(40)], frozenset(), {})
    assert stream.getvalue().startswith("... 16 more\n")
    assert "s039" in stream.getvalue()
