"""The ledger survives whatever ends the process that writes it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from hallmark.errors import ConfigError, DataError, OutputError, ResourceError
from hallmark.tuning.ledger import Ledger, Leg, Stage, Status


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    with Ledger(tmp_path, "a") as ledger:
        ledger.suggest("s000", Stage.SEARCH, {"x": 0.5}, 3)
        ledger.record("s000", Leg(Status.OPEN, ((1, 0.25),), seconds=2.0))
        ledger.record("s000", Leg(Status.FINISHED, ((1, 0.25), (2, 0.75)), seconds=1.5, bundle_id="b"))
        ledger.suggest("c000", Stage.CHOICE, {}, 4)
        written = ledger.trials
    with Ledger(tmp_path, "a") as again:
        assert again.trials == written
        first = again.of(Stage.SEARCH)[0]
    assert (first.values, first.seed, first.status, first.bundle_id) == ({"x": 0.5}, 3, Status.FINISHED, "b")
    assert (first.epochs, first.score, first.seconds) == (2, 0.75, 3.5)
    assert [first.score_by(epoch) for epoch in (1, 2, 3)] == [0.25, 0.75, None]


def test_a_failure_keeps_what_was_known(tmp_path: Path) -> None:
    with Ledger(tmp_path, "a") as ledger:
        ledger.suggest("s000", Stage.SEARCH, {}, 0)
        ledger.record("s000", Leg(Status.OPEN, ((1, 0.25),)))
        failed = ledger.record("s000", Leg(Status.FAILED, (), "no memory"))
    assert (failed.curve, failed.reason) == (((1, 0.25),), "no memory")


def test_every_cut_leaves_whole_events(tmp_path: Path) -> None:
    with Ledger(tmp_path, "a") as ledger:
        for number in range(3):
            ledger.suggest(f"s{number:03}", Stage.SEARCH, {"x": number}, 0)
    whole = (tmp_path / "sweep.jsonl").read_bytes()
    for length in range(len(whole) + 1):
        (tmp_path / "sweep.jsonl").write_bytes(whole[:length])
        with Ledger(tmp_path, "a") as ledger:
            assert len(ledger.trials) == max(0, whole[:length].count(b"\n") - 1)
            ledger.suggest("next", Stage.SEARCH, {}, 0)
        with Ledger(tmp_path, "a") as ledger:
            assert ledger.trials[-1].name == "next"


def _write_until_killed(folder: Path, answered: multiprocessing.Queue) -> None:
    with Ledger(folder, "a") as ledger:
        for number in range(10_000):
            ledger.suggest(f"s{number}", Stage.SEARCH, {}, 0)
            answered.put(number)


def test_a_killed_writer_loses_nothing_that_was_written(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answered = context.Queue()
    writer = context.Process(target=_write_until_killed, args=(tmp_path, answered))
    writer.start()
    last = [answered.get(timeout=60) for _ in range(20)][-1]
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    with Ledger(tmp_path, "a") as ledger:
        assert [trial.name for trial in ledger.trials][: last + 1] == [f"s{number}" for number in range(last + 1)]


def test_another_sweep_in_the_folder_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path, "a").__exit__(None, None, None)
    with pytest.raises(ConfigError, match="is the ledger of another sweep"):
        Ledger(tmp_path, "b")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path, "a"), pytest.raises(ResourceError, match="another process runs this sweep"):
        Ledger(tmp_path, "a")


@pytest.mark.parametrize("line", ["{", "[]", '{"event": "trained", "name": "unknown", "curve": []}', "\xff"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "sweep.jsonl").write_bytes(b'{"event": "sweep", "identity": "a"}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"sweep\.jsonl: line 2 cannot be read"):
        Ledger(tmp_path, "a")


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Ledger(tmp_path / "file", "a")
