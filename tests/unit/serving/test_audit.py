"""The audit log: whole lines from several processes, a file a day, and what happens when it cannot be written."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hallmark.serving.audit import AuditError, AuditLog


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def lines(folder: Path) -> dict[str, list[dict]]:
    return {
        file.name: [json.loads(line) for line in file.read_text().splitlines()] for file in sorted(folder.iterdir())
    }


def test_a_file_a_day(tmp_path):
    clock = Clock()
    log = AuditLog(tmp_path / "a" / "b", clock)
    log.write({"number": 1})
    clock.now += timedelta(minutes=2)
    log.write({"number": 2})
    assert lines(tmp_path / "a" / "b") == {
        "audit-2026-01-31.jsonl": [{"time": "2026-01-31T23:59:00.000+00:00", "number": 1}],
        "audit-2026-02-01.jsonl": [{"time": "2026-02-01T00:01:00.000+00:00", "number": 2}],
    }
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "a" / "b").iterdir()}
    assert modes == {0o600}


def test_a_line_is_one_line_whatever_is_in_it(folder):
    log = AuditLog(folder)
    log.write({"product": 'a\nb"\u2028\ud800', "none": None})
    ((told,),) = lines(folder).values()
    assert told["product"] == 'a\nb"\u2028\ud800'


def test_a_file_that_was_moved_away_is_begun_anew(folder):
    log = AuditLog(folder)
    log.write({"number": 1})
    (file,) = folder.iterdir()
    file.unlink()
    log.write({"number": 2})
    assert [told["number"] for told in lines(folder)[file.name]] == [2]


def _write(folder: Path, name: str) -> None:
    log = AuditLog(folder)
    for number in range(200):
        log.write({"name": name, "number": number, "filling": "x" * 500})


def test_processes_share_a_folder(folder):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(folder, str(place))) for place in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    told = [line for file in lines(folder).values() for line in file]
    for place in range(3):
        assert [line["number"] for line in told if line["name"] == str(place)] == list(range(200))


def test_a_torn_line_is_told_and_the_next_one_begins_anew(folder, monkeypatch):
    log = AuditLog(folder)
    log.write({"number": 1})
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:10]))
    with pytest.raises(AuditError):
        log.write({"number": 2})
    monkeypatch.undo()
    log.check()
    log.write({"number": 3})
    (file,) = folder.iterdir()
    told = file.read_text().splitlines()
    assert [json.loads(told[place]).get("number") for place in (0, 2, 3)] == [1, None, 3]
    assert json.loads(told[2])["event"] == "resumed"
    assert len(told[1]) == 10


def test_a_full_disk_is_told_before_work_is_begun(folder, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    log = AuditLog(folder)
    log.check()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(AuditError):
        log.write({"number": 1})
    with pytest.raises(AuditError):
        log.check()
    assert "No space left" in caplog.text
    monkeypatch.undo()
    log.check()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    log = AuditLog(tmp_path / "file" / "audit")
    with pytest.raises(AuditError) as caught:
        log.check()
    assert caught.value.http_status == 503
    assert str(tmp_path) not in str(caught.value)
