"""The served graph under faults: replicas killed, bundles exchanged, and uploads meant to do harm.

    --minutes M   M minutes of mixed load, in which every 30 s a replica chosen at random is ended by SIGKILL: counts
                  requests that failed and verdicts that differ from those of this process, and the growth of memory.
                  What a Gateway was answering when it was killed gets an error of the proxy; it is asked again, as
                  `hallmark.Client` does, and counted as repeated
    --roll        another bundle is deployed under load: counts requests that failed or verdicts of neither bundle
    --hostile N   N uploads meant to do harm (bombs, truncations, damaged and mislabelled files, empty and huge bodies,
                  broken forms, bodies that stall): counts answers of 500 and above and replicas that were replaced

Everything runs on a private Ray cluster with a never trained network of preset `tiny`. The last line is 0 in every
ratio where nothing went wrong.

    python benchmarks/service_faults.py --work <folder> --minutes 10 --roll --hostile 10000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import yaml
from decode_fuzz import file_of
from serving import Engine, prepare

from hallmark.cluster import PrivateCluster
from hallmark.serving.auth import Scope, add_key
from hallmark.training.bundle import open_bundle, write_calibration

_ROOT = Path(__file__).parents[1]
_HOST = "127.0.0.1"
_KILL_EVERY_S = 30.0
_OWN = ("request_id", "timings_ms", "gallery_version")
"""What a verdict says of its request, and not of the photograph."""


@dataclass
class Tally:
    """What became of the requests."""

    asked: Counter = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    repeated: int = 0
    """Requests asked again because the proxy's own error came in place of an answer, as `hallmark.Client` does."""
    milliseconds: list[float] = field(default_factory=list)


class Service:
    """The application on a private cluster."""

    def __init__(self, folder: Path, cluster: PrivateCluster, port: int):
        self.folder, self._cluster, self.url = folder, cluster, f"http://{_HOST}:{port}"
        self._port, self._keys = port, folder / "keys.json"
        self.headers = {"Authorization": f"Bearer {add_key(self._keys, 'faults', [Scope.ADMIN])}"}

    def deploy(self, bundle: Path) -> subprocess.Popen:
        """Start the deploy job; two replicas of every stage, so that one can be missed."""
        settings = yaml.safe_load((_ROOT / "serve_configs" / "local.yaml").read_text())
        for deployment in settings["applications"][0]["deployments"]:
            if deployment["name"] in ("Gateway", "Retriever", "Verifier"):
                deployment.pop("autoscaling_config", None)
                deployment |= {"num_replicas": 2, "max_surge_percent": 100}
                deployment["ray_actor_options"] = {"num_cpus": 0.2}
        config = self.folder / "serve.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "jobs/deploy.py", "--config", str(config)]
        told = {"bundle": bundle, "gallery": self.folder / "gallery.lance", "keys": self._keys}
        told["batch_size"] = 1  # in a batch verdicts are rounded otherwise than alone, and none could be called wrong
        told = {f"args.{name}": value for name, value in told.items()} | {"http_options.port": self._port}
        command += [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
        return subprocess.Popen(command, cwd=_ROOT, env=self._cluster.environment)

    def replicas(self) -> dict[int, str]:
        """Process ids of the application's replicas, with the deployment each belongs to."""
        found = {}
        for process in psutil.process_iter(["cmdline", "environ"]):
            title = " ".join(process.info["cmdline"] or [])
            if "ServeReplica:" in title and self._belongs(process):
                found[process.pid] = title.split(":")[-1].split("(")[0].split(".")[0].strip()
        return found

    def _belongs(self, process: psutil.Process) -> bool:
        environment = process.info["environ"] or {}
        return environment.get("RAY_AUTH_TOKEN_PATH") == self._cluster.environment["RAY_AUTH_TOKEN_PATH"]

    def memory(self) -> int:
        """Unique bytes of all replicas."""
        total = 0
        for pid in self.replicas():
            try:
                total += psutil.Process(pid).memory_full_info().uss
            except psutil.Error:
                continue
        return total


@contextmanager
def service(folder: Path, port: int, bundle: Path) -> Iterator[Service]:
    """The application, up and running."""
    with PrivateCluster(num_cpus=8, object_store_bytes=300_000_000) as cluster:
        cluster.start()
        started = Service(folder, cluster, port)
        if started.deploy(bundle).wait():
            raise SystemExit("the application did not come up")
        yield started


def expected(folder: Path, bundle: Path, photographs: Sequence[bytes]) -> list[dict]:
    """Verdicts of this process, less what belongs to a request."""
    engine = Engine(folder, bundle)
    return [_bare(engine.ask(data).model_dump(mode="json")) for data in photographs]


def _bare(verdict: dict) -> dict:
    return {name: value for name, value in verdict.items() if name not in _OWN}


async def load(
    service: Service, photographs: Sequence[bytes], answers: Sequence[Sequence[dict]], clients: int, seconds: float
) -> Tally:
    """Mixed requests by some clients; each verdict must be one of those expected of its photograph."""
    tally, until = Tally(), time.monotonic() + seconds

    async def client(session: httpx.AsyncClient, number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < until:
            kind = rng.choices(("verdict", "item", "references", "products", "enrol"), (12, 2, 2, 2, 1))[0]
            tally.asked[kind] += 1
            began = time.monotonic()
            try:
                said = await _ask(session, kind, photographs, answers, rng, tally)
            except (httpx.HTTPError, ValueError) as error:
                said = f"{kind}: {type(error).__name__}: {error}"
                tally.failed.append(said)
            else:
                (tally.wrong if said.startswith("wrong") else tally.failed).extend([said] * bool(said))
            tally.milliseconds.append(1e3 * (time.monotonic() - began))

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=service.url, headers=service.headers, timeout=90, limits=limits) as session:
        await asyncio.gather(*(client(session, number) for number in range(clients)))
    return tally


async def _ask(
    session: httpx.AsyncClient,
    kind: str,
    photographs: Sequence[bytes],
    answers: Sequence[Sequence[dict]],
    rng: random.Random,
    tally: Tally,
) -> str:
    """One request; '' where all is well, else what is not."""
    place = rng.randrange(len(photographs))
    method, request = "POST", {"url": "/v1/verdicts"}
    if kind == "verdict":
        request["files"] = {"photograph": ("a.jpg", photographs[place])}
    elif kind == "item":
        request["files"] = [("photograph", ("a.jpg", photographs[place]))] * 2
    elif kind == "enrol":
        # What is enrolled already: every answer is the same, however often it is asked.
        form = {"product": "enrolled-under-load", "authenticity": "counterfeit"}
        request = {"url": "/v1/references", "data": form, "files": {"photograph": ("a.png", _ENROLLED)}}
    else:
        method, request = "GET", {"url": f"/v1/{kind}"}
    answer = await session.request(method, **request)
    if answer.is_server_error and "problem" not in answer.headers.get("content-type", ""):
        tally.repeated += 1
        answer = await session.request(method, **request)
    if answer.status_code >= 300:
        return f"{kind}: HTTP {answer.status_code} {answer.text[:300]}"
    if kind == "verdict" and _bare(answer.json()) not in [told[place] for told in answers]:
        return f"wrong verdict of photograph {place}"
    if kind == "item" and [_bare(one) for one in answer.json()["photographs"]] not in [
        [told[place]] * 2 for told in answers
    ]:
        return f"wrong item of photograph {place}"
    return ""


def _enrolled() -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8))[1].tobytes()


_ENROLLED = _enrolled()


async def kill(service: Service, photographs: Sequence[bytes], answers: Sequence[Sequence[dict]], minutes: float):
    """Load, while replicas are killed. -> the tally, the kills by deployment, memory before and after."""
    await load(service, photographs, answers, 4, 20)
    before = service.memory()
    kills: Counter = Counter()

    async def killer() -> None:
        rng = random.Random(0)
        while True:
            await asyncio.sleep(_KILL_EVERY_S)
            pid, name = rng.choice(sorted(service.replicas().items()))
            kills[name] += 1
            os.kill(pid, signal.SIGKILL)
            print(f"killed {name} ({pid})", flush=True)

    killing = asyncio.create_task(killer())
    tally = await load(service, photographs, answers, 4, 60 * minutes)
    killing.cancel()
    await asyncio.sleep(20)  # the last one killed is back
    await load(service, photographs, answers, 4, 20)
    return tally, kills, before, service.memory()


async def roll(service: Service, photographs: Sequence[bytes], answers: Sequence[Sequence[dict]], bundle: Path):
    """Load, while another bundle is deployed. -> the tally, and whether the new bundle answers at the end."""
    loading = asyncio.create_task(load(service, photographs, answers, 4, 90))
    await asyncio.sleep(5)
    deploying = service.deploy(bundle)
    tally = await loading
    code = await asyncio.to_thread(deploying.wait)
    async with httpx.AsyncClient(base_url=service.url, headers=service.headers, timeout=60) as session:
        answer = await session.post("/v1/verdicts", files={"photograph": ("a.jpg", photographs[0])})
    return tally, code == 0 and _bare(answer.json()) == answers[1][0]


async def harm(service: Service, count: int, photographs: Sequence[bytes]) -> tuple[Counter, int]:
    """Hostile uploads. -> answers by status (0: the connection was closed), and replicas that are no longer there."""
    there, statuses = set(service.replicas()), Counter()
    queue = iter(range(count))

    async def client(session: httpx.AsyncClient) -> None:
        for number in queue:
            statuses[await _harm_once(service, session, number, photographs)] += 1

    async with httpx.AsyncClient(base_url=service.url, headers=service.headers, timeout=120) as session:
        await asyncio.gather(*(client(session) for _ in range(4)))
    return statuses, len(there - set(service.replicas()))


async def _harm_once(service: Service, session: httpx.AsyncClient, number: int, photographs: Sequence[bytes]) -> int:
    rng, path = random.Random(number), random.Random(number).choice(["/v1/verdicts", "/v1/references"])
    whole = photographs[number % len(photographs)]
    kind = rng.choices(
        ("file", "truncated", "polyglot", "empty", "huge", "type", "form", "stall"), (60, 15, 8, 4, 0.3, 6, 6, 0.7)
    )[0]
    files = {
        "file": lambda: file_of(0, number)[1],
        "truncated": lambda: whole[: rng.randrange(1, len(whole))] + rng.randbytes(rng.randrange(64)),
        "polyglot": lambda: b"%PDF-1.7\n<script>alert(1)</script>PK\x03\x04" + whole,
        "empty": lambda: b"",
        "huge": lambda: whole + b"\0" * (50 * 2**20),
    }
    try:
        if kind in files:
            # Nothing that could be enrolled: a damaged file is at times still a photograph.
            path = "/v1/verdicts"
            answer = await session.post(
                path, files={"photograph": (rng.choice(["a.jpg", "../../x", "a\0.png"]), files[kind]())}
            )
        elif kind == "type":
            types = ("application/json", "text/xml", "multipart/form-data", "application/x-www-form-urlencoded", "")
            answer = await session.post(path, content=whole[:2000], headers={"content-type": rng.choice(types)})
        elif kind == "form":
            bound = rng.choice(["x", "x" * 300, "\x7f", 'x"'])
            body = rng.choice(
                [b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=photograph\r\n\r\n", whole[:500], b""]
            )
            headers = {"content-type": f"multipart/form-data; boundary={bound}"}
            answer = await session.post(path, content=body, headers=headers)
        else:
            return await asyncio.to_thread(_stall, service, path)
    except (httpx.HTTPError, UnicodeError):
        return 0
    return answer.status_code


def _stall(service: Service, path: str) -> int:
    """A body that begins and is never finished."""
    port = int(service.url.rsplit(":", 1)[1])
    with socket.create_connection((_HOST, port), timeout=10) as link:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {service.headers['Authorization']}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n--x\r\n"
        link.sendall(head.encode())
        time.sleep(2)
    return 0


def main() -> None:
    arguments = _arguments()
    folder = arguments.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    photographs = prepare(folder, "tiny")[:24]
    first, second = folder / "bundle", folder / "second"
    if not second.is_dir():
        shutil.copytree(first, second)
        calibration = open_bundle(first).calibration
        write_calibration(second, calibration | {"num_candidates": 5})
    answers = [expected(folder, bundle, photographs) for bundle in (first, second)]
    ratios, figures = {}, {}
    with service(folder, arguments.port, first) as running:
        if arguments.hostile:
            statuses, replaced = asyncio.run(harm(running, arguments.hostile, photographs))
            figures["hostile"] = {str(status): count for status, count in sorted(statuses.items())}
            ratios["server_errors"] = sum(count for status, count in statuses.items() if status >= 500)
            ratios["replicas_replaced"] = replaced
            print(f"hostile uploads by status: {figures['hostile']}; replicas replaced: {replaced}", flush=True)
        if arguments.minutes:
            tally, kills, before, after = asyncio.run(kill(running, photographs, answers[:1], arguments.minutes))
            _tell("kills", tally, ratios, figures)
            figures["kills"] |= {"killed": dict(kills), "bytes_before": before, "bytes_after": after}
            ratios["memory_growth"] = round(after / before - 1, 3)
            print(f"killed: {dict(kills)}; memory {before / 2**20:.0f} to {after / 2**20:.0f} MiB", flush=True)
        if arguments.roll:
            tally, rolled = asyncio.run(roll(running, photographs, answers, second))
            _tell("roll", tally, ratios, figures)
            ratios["roll_unfinished"] = int(not rolled)
    print(json.dumps({"benchmark": "service_faults", "ratios": ratios, "figures": figures}))


def _tell(name: str, tally: Tally, ratios: dict, figures: dict) -> None:
    ratios |= {f"{name}_failed": len(tally.failed), f"{name}_wrong": len(tally.wrong)}
    times = sorted(tally.milliseconds)
    figures[name] = {"asked": dict(tally.asked), "repeated": tally.repeated}
    figures[name] |= {"p50_ms": times[len(times) // 2], "max_ms": times[-1]}
    counts = f"{tally.repeated} repeated, {len(tally.failed)} failed, {len(tally.wrong)} wrong"
    print(f"{name}: {dict(tally.asked)}, {counts}", flush=True)
    for said in [*tally.failed, *tally.wrong][:10]:
        print(f"  {said}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/faults"), help="folder of the set, bundles and gallery")
    parser.add_argument("--minutes", type=float, default=0, help="of load while replicas are killed")
    parser.add_argument("--roll", action="store_true", help="exchange the bundle under load")
    parser.add_argument("--hostile", type=int, default=0, help="uploads meant to do harm")
    parser.add_argument("--port", type=int, default=8641, help="on loopback (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
