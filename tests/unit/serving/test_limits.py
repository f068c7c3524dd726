"""Rates and quotas: what is let through over time, across processes, and after a kill."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.serving.limits import Limits, LimitsUnavailableError, RateLimitedError

DAY_S = 86_400


class Clock:
    def __init__(self, now: float = 10 * DAY_S + 3_600):
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(tmp_path: Path, clock: Clock) -> Limits:
    return Limits(tmp_path / "limits.sqlite", clock)


def passes(limits: Limits, key_id: str, per_minute: int, cost: float = 1.0) -> bool:
    try:
        limits.take(key_id, per_minute, cost)
    except RateLimitedError:
        return False
    return True


def test_a_minutes_worth_at_once_and_then_one_as_it_refills(limits, clock):
    assert [passes(limits, "a", 6) for _ in range(7)] == [True] * 6 + [False]
    with pytest.raises(RateLimitedError) as caught:
        limits.take("a", 6)
    assert caught.value.retry_after_s == pytest.approx(10)
    clock.now += caught.value.retry_after_s
    assert passes(limits, "a", 6)
    assert not passes(limits, "a", 6)
    assert passes(limits, "b", 6)
    clock.now += 3_600
    assert [passes(limits, "a", 6) for _ in range(7)] == [True] * 6 + [False]


def test_a_clock_that_goes_back_gives_nothing_away_and_locks_nobody_out(limits, clock):
    assert [passes(limits, "a", 2) for _ in range(3)] == [True, True, False]
    clock.now -= 1_000
    assert not passes(limits, "a", 2)
    clock.now += 1_030
    assert passes(limits, "a", 2)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.integers(1, 20),
    steps=st.lists(st.tuples(st.floats(0, 30), st.sampled_from([1.0, 0.1])), min_size=1, max_size=40),
)
def test_never_more_than_a_minutes_worth_and_what_has_flowed_in(tmp_path_factory, rate, steps):
    clock = Clock()
    limits = Limits(tmp_path_factory.mktemp("limits") / "limits.sqlite", clock)
    began, taken = clock.now, 0.0
    for wait_s, cost in steps:
        clock.now += wait_s
        taken += cost * passes(limits, "a", rate, cost)
        assert taken <= rate + (clock.now - began) * rate / 60 + 1e-6


def test_a_quota_is_all_or_nothing_and_begins_anew_each_day(limits, clock):
    limits.spend("a", 5, 4)
    with pytest.raises(RateLimitedError) as caught:
        limits.spend("a", 5, 2)
    assert caught.value.retry_after_s == DAY_S - 3_600
    assert caught.value.reason == "quota"
    assert limits.used_today("a") == 4
    limits.spend("a", 5, 1)
    limits.spend("b", 5, 5)
    clock.now += caught.value.retry_after_s
    assert limits.used_today("a") == 0
    limits.spend("a", 5, 5)


def test_guesses_are_counted_by_address_and_by_ipv6_network(limits, clock):
    for _ in range(10):
        limits.check_guesses("10.0.0.1")
        limits.count_guess("10.0.0.1")
    with pytest.raises(RateLimitedError):
        limits.check_guesses("10.0.0.1")
    limits.check_guesses("10.0.0.2")
    for place in range(10):
        limits.count_guess(f"2001:db8::{place}")
    with pytest.raises(RateLimitedError):
        limits.check_guesses("2001:db8::ffff")
    limits.check_guesses("2001:db8:0:1::1")
    limits.check_guesses("no address")
    clock.now += 6
    limits.check_guesses("10.0.0.1")


def test_what_is_long_past_is_forgotten(tmp_path, clock, monkeypatch):
    monkeypatch.setattr("hallmark.serving.limits._SWEEP_EVERY", 5)
    limits = Limits(tmp_path / "limits.sqlite", clock)
    for place in range(50):
        limits.count_guess(f"10.0.0.{place}")
    limits.spend("a", 5, 1)
    clock.now += 3 * DAY_S
    for _ in range(5):
        limits.take("b", 100)
    with limits._transaction() as connection:
        assert connection.execute("SELECT count(*) FROM bucket").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM used").fetchone() == (0,)


def _spend(file: Path, times: int, passed) -> None:
    limits = Limits(file)
    for _ in range(times):
        try:
            limits.spend("a", 100, 1)
        except RateLimitedError:
            continue
        passed.put(1)


def test_processes_share_one_count(tmp_path):
    context = multiprocessing.get_context("spawn")
    passed = context.Queue()
    workers = [context.Process(target=_spend, args=(tmp_path / "l.sqlite", 60, passed)) for _ in range(3)]
    for worker in workers:
        worker.start()
    got = [passed.get(timeout=60) for _ in range(100)]
    for worker in workers:
        worker.join(60)
    assert len(got) == 100
    assert passed.empty()
    assert Limits(tmp_path / "l.sqlite").used_today("a") == 100


def test_counts_survive_a_kill(tmp_path):
    code = (
        "import sys; from pathlib import Path; from hallmark.serving.limits import Limits\n"
        "limits = Limits(Path(sys.argv[1]))\n"
        "while True:\n limits.spend('a', 10**9, 1)\n print('.', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "l.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told = sum(1 for _ in zip(range(50), process.stdout, strict=False))
        os.kill(process.pid, signal.SIGKILL)
        told += len(process.stdout.read().split())
    assert told <= Limits(tmp_path / "l.sqlite").used_today("a") <= told + 1


def test_a_file_that_cannot_be_used_lets_nobody_through_and_is_used_again(tmp_path, caplog):
    file = tmp_path / "limits.sqlite"
    file.write_bytes(b"no database at all, but some text that is long enough" * 50)
    limits = Limits(file)
    for ask in (lambda: limits.take("a", 5), lambda: limits.spend("a", 5, 1), lambda: limits.check_guesses("::1")):
        with pytest.raises(LimitsUnavailableError) as caught:
            ask()
        assert str(file) not in str(caught.value)
    assert str(file) in caplog.text
    file.unlink()
    limits.take("a", 5)


def test_a_refusal_survives_pickling():
    error = pickle.loads(pickle.dumps(RateLimitedError("too often", 3.5, "rate")))
    assert (str(error), error.retry_after_s, error.reason) == ("too often", 3.5, "rate")
