"""The private cluster's pure parts; none is started here."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from hallmark import cluster
from hallmark.cluster import PrivateCluster
from hallmark.errors import ResourceError


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file in the working folder, which is the test's own."""
    assert Path.cwd().is_relative_to(tmp_path)
    file = Path("canary")
    file.write_text("sings")
    return file.resolve()


@pytest.fixture
def never_starts(monkeypatch) -> list[list[str]]:
    """Refuses to start a process; keeps what was asked for."""
    asked: list[list[str]] = []

    def refuse(command, **_):
        asked.append(command)
        raise OSError("no process in this test")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    return asked


def test_leaving_a_cluster_that_was_never_started_touches_nothing(canary):
    before = sorted(Path.cwd().iterdir())
    with PrivateCluster(num_cpus=1) as private:
        assert not private.alive
    private.stop()
    assert canary.read_text() == "sings"
    assert sorted(Path.cwd().iterdir()) == before


def test_an_interrupt_before_the_start_touches_nothing(canary):
    with pytest.raises(KeyboardInterrupt), PrivateCluster(num_cpus=1):
        raise KeyboardInterrupt
    assert canary.exists()


def test_a_folder_that_cannot_be_made_touches_nothing(canary, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr(cluster.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(OSError, match="no space"), PrivateCluster(num_cpus=1) as private:
        private.start()
    assert canary.exists()


def test_a_failed_start_removes_its_own_folder_only(canary, never_starts):
    with pytest.raises(OSError, match="no process"), PrivateCluster(num_cpus=1) as private:
        private.start()
    option = next(part for part in never_starts[0] if part.startswith("--temp-dir="))
    folder = Path(option.partition("=")[2]).parent
    assert folder.name.startswith("hm-")
    assert not folder.exists()
    assert canary.exists()


def test_the_token_is_the_users_alone(never_starts, monkeypatch):
    private = PrivateCluster(num_cpus=1)
    with pytest.raises(OSError, match="no process"):
        private.start()
    token = Path(private.environment["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text()) >= 32
    private.stop()
    assert not token.exists()


def test_ports_are_distinct_and_free():
    ports = cluster._free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_a_range_with_a_port_in_use_is_passed_over(monkeypatch):
    first = cluster._free_range(200)
    assert 12_000 <= first <= 32_000 - 200
    monkeypatch.setattr(cluster, "_is_free", lambda port: port >= 30_000)
    assert cluster._free_range(200) >= 30_000
    monkeypatch.setattr(cluster, "_is_free", lambda port: False)
    with pytest.raises(ResourceError, match="no 200 consecutive free ports"):
        cluster._free_range(200)


def test_a_port_that_someone_listens_on_is_not_free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not cluster._is_free(listener.getsockname()[1])


def test_the_environment_asks_for_a_token_and_inherits_nothing_of_rays(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_SOMETHING", "else")
    monkeypatch.setenv("KEPT", "yes")
    found = cluster._environment(Path("token"))
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_AUTH_TOKEN_PATH"] == "token"
    assert found["KEPT"] == "yes"
    assert "RAY_ADDRESS" not in found
    assert "RAY_SOMETHING" not in found
    assert os.environ["RAY_SOMETHING"] == "else"


def test_everything_listens_on_loopback_at_ports_of_its_own():
    ports = list(range(40_000, 40_007))
    command = cluster._start_command(ports, 3, 10, Path("place"))
    options = dict(part[2:].split("=", 1) for part in command if "=" in part)
    assert options["dashboard-host"] == options["node-ip-address"] == "127.0.0.1"
    assert options["num-cpus"] == "3"
    asked = [int(value) for name, value in options.items() if name.endswith("port") and "worker" not in name]
    assert sorted(asked) == ports
    assert int(options["max-worker-port"]) - int(options["min-worker-port"]) == 199
