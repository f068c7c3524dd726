"""Calls to the stages: what an error means, and what is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from hallmark.errors import DecodeError
from hallmark.serving import handles
from hallmark.serving.handles import ReplicaLostError, Stages, told_by
from hallmark.serving.metrics import Metrics
from hallmark.serving.stages import MixedStagesError, NotReadyError, OverloadedError


def wrapped(cause: Exception) -> Exception:
    """As Ray raises what a task raised."""
    return RayTaskError("verify", "traceback", cause).as_instanceof_cause()


def upstream(cause: Exception) -> Exception:
    """As Serve's router raises the death of a stage whose answer another one waits for."""
    error = RayServeException("an upstream actor died")
    error.__cause__ = cause
    return error


LOST = [
    ActorDiedError(),
    ActorUnavailableError("gone", None),
    ObjectLostError("0" * 56, None, ""),
    WorkerCrashedError(),
    wrapped(ActorDiedError()),
    upstream(ActorDiedError()),
    wrapped(upstream(ActorDiedError())),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_lost_replica_is_known_however_it_is_wrapped(error):
    assert isinstance(told_by(error), ReplicaLostError)


def test_a_stages_own_error_is_unwrapped():
    cause = DecodeError("corrupt", "torn")
    told = told_by(wrapped(cause))
    assert type(told) is DecodeError
    assert (told.reason, str(told)) == ("corrupt", "torn")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BackPressureError(5, 5), OverloadedError),
        (wrapped(BackPressureError(5, 5)), OverloadedError),
        (DeploymentUnavailableError(None), NotReadyError),
        (wrapped(ZeroDivisionError()), ZeroDivisionError),
        (RuntimeError("bug"), RuntimeError),
    ],
)
def test_other_errors_keep_their_meaning(error, kind):
    told = told_by(error)
    assert isinstance(told, kind)
    assert not isinstance(told, ReplicaLostError)


class Remote:
    """A handle's method: raises what it is told to, then answers."""

    def __init__(self, *errors: Exception):
        self.errors, self.calls = list(errors), 0

    def remote(self, *_: Any):
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None

        async def call() -> int:
            if error is not None:
                raise error
            return 7

        return call()


class Handle:
    def __init__(self, method: Remote):
        self.products = method


@pytest.fixture
def ask(monkeypatch) -> Callable[..., tuple[int, int, float]]:
    def asked(*errors: Exception) -> tuple[Any, Remote, float]:
        method, metrics = Remote(*errors), Metrics()
        stages = Stages("default", "/g", Handle(method), Handle(method), None, metrics)
        try:
            answer = asyncio.run(stages.products())
        except Exception as error:
            answer = error
        lines = metrics.text().decode().splitlines()
        counted = [line for line in lines if line.startswith('hallmark_retries_total{stage="products"}')]
        return answer, method, float(counted[0].rpartition(" ")[2]) if counted else 0.0

    monkeypatch.setattr(handles, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(handles, "_LONGEST_PAUSE_S", 0.002)
    return asked


def test_a_call_to_a_lost_replica_is_made_again(ask):
    answer, method, counted = ask(ActorDiedError(), wrapped(ActorDiedError()), MixedStagesError("exchanged"))
    assert (answer, method.calls, counted) == (7, 4, 3)


@pytest.mark.parametrize("error", [wrapped(DecodeError("corrupt", "torn")), BackPressureError(1, 1), RuntimeError()])
def test_nothing_else_is_made_again(ask, error):
    answer, method, counted = ask(error)
    assert isinstance(answer, Exception)
    assert (method.calls, counted) == (1, 0)


def test_patience_ends(ask, monkeypatch):
    monkeypatch.setattr(handles, "_PATIENCE_S", 0.02)
    answer, method, _ = ask(*[ActorDiedError() for _ in range(10_000)])
    assert isinstance(answer, NotReadyError)
    assert 2 <= method.calls < 10_000
