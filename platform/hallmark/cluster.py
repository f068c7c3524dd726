"""A private Ray cluster on this machine: its own ports, temporary folder and token, loopback only."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from hallmark.errors import ResourceError

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 90.0
_WORKER_PORTS = 200


class PrivateCluster:
    """Started by `start`, ended with everything it started on exit; other clusters of the machine are left alone.

    Args:
        num_cpus: logical CPUs; more than there are lets small actors and the workers stand side by side.
        object_store_bytes: shared memory for objects.
    """

    def __init__(self, num_cpus: int, object_store_bytes: int = 1_000_000_000):
        self._num_cpus, self._object_store_bytes = num_cpus, object_store_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.dashboard_url = ""
        self.address = ""
        self.environment: dict[str, str] = {}
        """For the processes that talk to this cluster."""

    def __enter__(self) -> PrivateCluster:
        return self

    @property
    def alive(self) -> bool:
        """Whether the cluster's processes are there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until the dashboard answers.

        Raises:
            ResourceError: it did not start; says what Ray said.
        """
        # A short path: socket names below it have a length limit.
        place = "/tmp" if os.path.isdir("/tmp") else None
        self._temporary = tempfile.TemporaryDirectory(prefix="hm-", dir=place, ignore_cleanup_errors=True)
        folder = Path(self._temporary.name)
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        ports = _free_ports(7)
        self.address = f"{_HOST}:{ports[0]}"
        self.dashboard_url = f"http://{_HOST}:{ports[1]}"
        self.environment = _environment(token)
        command = _start_command(ports, self._num_cpus, self._object_store_bytes, folder)
        log = folder / "start.log"
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, env=self.environment, start_new_session=True
            )
        self.environment |= {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.dashboard_url,
            "RAY_DASHBOARD_ADDRESS": self.dashboard_url,
        }
        self._await_dashboard(ports[1], log)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process group that was started, and remove its files."""
        if self._process is not None:
            _end_group(self._process)
            self._process = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _await_dashboard(self, port: int, log: Path) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self.alive:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((_HOST, port)) == 0:
                    return
            time.sleep(0.25)
        last = log.read_text(errors="replace").strip().splitlines()[-8:]
        raise ResourceError("the local Ray cluster did not start:\n  " + "\n  ".join(last))


def ray_command(*arguments: str) -> list[str]:
    """`ray …` of the Python environment that runs this."""
    return [str(Path(sys.executable).with_name("ray")), *arguments]


def _start_command(ports: list[int], num_cpus: int, object_store_bytes: int, folder: Path) -> list[str]:
    first_worker_port = _free_range(_WORKER_PORTS)
    options = {
        "port": ports[0],
        "dashboard-host": _HOST,
        "dashboard-port": ports[1],
        "dashboard-agent-listen-port": ports[2],
        "dashboard-agent-grpc-port": ports[3],
        "ray-client-server-port": ports[4],
        "runtime-env-agent-port": ports[5],
        "metrics-export-port": ports[6],
        "min-worker-port": first_worker_port,
        "max-worker-port": first_worker_port + _WORKER_PORTS - 1,
        "node-ip-address": _HOST,
        "num-cpus": num_cpus,
        "num-gpus": 0,
        "object-store-memory": object_store_bytes,
        "temp-dir": folder / "ray",
    }
    command = ray_command("start", "--head", "--block", "--disable-usage-stats")
    return command + [f"--{name}={value}" for name, value in options.items()]


def _environment(token: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    binaries = str(Path(sys.executable).parent)
    return inherited | {
        "PATH": f"{binaries}{os.pathsep}{inherited.get('PATH', '')}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "180",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONUNBUFFERED": "1",
        # .rayignore alone decides what a job carries along.
        "RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES": "",
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((_HOST, 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def _free_range(length: int) -> int:
    """First of `length` consecutive ports below the range that the system hands out, none of them in use."""
    offsets = list(range(12_000, 32_000 - length, length))
    start = secrets.randbelow(len(offsets))
    for first in offsets[start:] + offsets[:start]:
        if all(_is_free(port) for port in range(first, first + length)):
            return first
    raise ResourceError(f"no {length} consecutive free ports between 12000 and 32000; wanted some for Ray's workers")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) != 0


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for sign, patience_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            process.poll()
            if not _group_alive(process.pid):
                return
            time.sleep(0.1)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
