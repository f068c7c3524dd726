"""The whole way through on one machine: photographs in, verdicts out, every step a Ray job on a private cluster."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pyarrow as pa

from hallmark.cluster import PrivateCluster, ray_command
from hallmark.data.listing import list_photographs, read_bytes
from hallmark.data.manifest import read_manifest
from hallmark.data.synthetic import DrawConfig, draw_shot, plan
from hallmark.errors import HallmarkError, OutputError
from hallmark.evaluation.tables import VerdictRow, verdict_table, write_atomically
from hallmark.serving.auth import Scope, add_key, read_keys, revoke_key
from hallmark.serving.certificate import make_key
from hallmark.types import Authenticity, Role, Verdict

ROOT = Path(__file__).resolve().parents[2]
"""The checkout; its jobs and configurations are what the demo runs."""

_WORKERS = 2
_KEY_NAME = "demo"
_PRODUCTS_SHOWN = 3
_WORKER = re.compile(r"\x1b\[\d+m|\((RayTrainWorker|TrainController|MapWorker)[^)]*\) ?")
"""Colours and the name that Ray puts before a worker's line."""
_CHATTER = ("Job submission server", "Job '", "-----", "Next steps", "Query the", "Request the", "ray job ", "Tailing ",
            "Running entrypoint", "INFO ", "core_worker.cc", "Progress bars disabled", "execution plan", "ray-data",
            "dashboard_sdk", "Reporting training result", "Checkpoint successfully", "(pid=gcs_server)")  # fmt: skip
"""What Ray says of itself, beside the job's own lines."""
_CORRUPT_BYTES = 4000


class StepError(HallmarkError):
    """A step of the demo ended with an error, which it has printed."""

    title = "Step failed"


@dataclass(frozen=True)
class Step:
    """One job: what it is called, what it runs, and what tells that it need not run again."""

    name: str
    command: list[str]
    made: Path
    """What it leaves behind."""
    depends: list[Path] = field(default_factory=list)
    """Files that it reads; it runs again when one has changed."""


class Demo:
    """One folder of results and the steps that lead to it.

    Args:
        out: the folder, by default runs/demo.
        data: the user's photographs; None draws a small set.
    """

    def __init__(self, out: Path, data: Path | None):
        if not (ROOT / "jobs").is_dir():
            raise OutputError(f"{ROOT}: has no jobs/; the demo runs from a checkout, installed with `pip install -e .`")
        self.out, self._data = out.resolve(), data.resolve() if data else None
        self._manifest = self.out / "manifest.parquet"
        self.bundle, self.gallery, self.keys = self.out / "bundle", self.out / "gallery.lance", self.out / "keys.json"
        self.certificate_key = self.out / "certificate-key.pem"
        self._done_file = self.out / "steps.json"
        self._timings: list[tuple[str, float]] = []

    def run(self) -> None:
        """Every step, then eight photographs over HTTP and their verdicts."""
        began = time.monotonic()
        _make_folder(self.out)
        if self._data is not None:
            list_photographs(str(self._data))  # an empty folder is told now, not after Ray has started
        with _cluster() as cluster:
            self._timed("start a private Ray cluster", cluster.start)
            for step in self._steps():
                self._run_step(step, cluster)
            url, token = self._deploy(cluster, _free_port())
            rows = self._timed("ask for verdicts", lambda: ask(url, token, self._questions()))
        print(f"\n{verdict_table(rows)}\n")
        self._tell(time.monotonic() - began)

    def serve(self, port: int) -> None:
        """Keep the last run's graph up on a port until Ctrl-C."""
        if not (self.bundle / "calibration.json").is_file() or not self.gallery.is_dir():
            raise OutputError(f"{self.out}: holds no finished run; wanted one, made by `make demo`")
        with _cluster() as cluster:
            self._timed("start a private Ray cluster", cluster.start)
            url, token = self._deploy(cluster, port)
            print(
                f"\nServing {self.out}. The page: {url}/ with the key\n\n  {token}\n\nThe same key asks, enrols and "
                f"restores versions over HTTP:\n\n  curl -H 'Authorization: Bearer {token}' "
                f"-F photograph=@photo.jpg {url}/v1/verdicts\n\nDocumentation: {url}/docs    Ctrl-C ends it.",
                flush=True,
            )
            try:
                while cluster.alive:
                    time.sleep(1)
            except KeyboardInterrupt:
                print("\nstopping")

    def _steps(self) -> list[Step]:
        jobs, configs = ROOT / "jobs", ROOT / "jobs" / "configs"
        paths = [f"manifest={self._manifest}", f"bundle={self.bundle}"]
        photographs = self._data or self.out / "photographs" / "photographs.csv"
        steps = []
        if self._data is None:
            draw = configs / "draw_demo.yaml"
            command = ["hallmark", "data", "draw", "--config", str(draw), "--out", str(photographs.parent)]
            steps.append(Step("draw products", command, photographs, [draw]))
        ingest = ["python", "jobs/ingest.py", *_set([f"source={photographs}", f"out={self.out}", "incomplete=skip"])]
        check = ["python", "jobs/check.py", *_set([f"manifest={self._manifest}", f"out={self.out}"])]
        train = ["python", "jobs/train_fod.py", "--config", str(configs / "fod_demo.yaml")]
        train += _set([f"manifest={self._manifest}", f"out={self.bundle}"])
        build = ["python", "jobs/build_gallery.py", *_set([*paths, f"out={self.gallery}", "describe.num_workers=2"])]
        report = ["python", "jobs/evaluate.py"]
        report += _set([*paths, f"gallery={self.gallery}", f"out={self.out}", "num_workers=2"])
        calibrated = self.bundle / "calibration.json"
        return [
            *steps,
            Step("ingest photographs", ingest, self._manifest, [photographs, jobs / "ingest.py"]),
            Step("check photographs", check, self.out / "audit.html", [self._manifest, jobs / "check.py"]),
            Step("train FoD", train, calibrated, [self._manifest, configs / "fod_demo.yaml", jobs / "train_fod.py"]),
            Step("build gallery", build, self.gallery, [calibrated, jobs / "build_gallery.py"]),
            Step("evaluate", report, self.out / "report.html", [calibrated, self.gallery, jobs / "evaluate.py"]),
        ]

    def _run_step(self, step: Step, cluster: PrivateCluster) -> None:
        done = json.loads(self._done_file.read_text()) if self._done_file.is_file() else {}
        stamp = _stamp(step)
        if step.made.exists() and done.get(step.name) == stamp:
            print(f"== {step.name}: done before", flush=True)
            return
        self._timed(step.name, lambda: submit(step, cluster))
        done[step.name] = stamp
        write_atomically(self._done_file, json.dumps(done, indent=2) + "\n")

    def _deploy(self, cluster: PrivateCluster, port: int) -> tuple[str, str]:
        for key in read_keys(self.keys):
            if key.name == _KEY_NAME:
                revoke_key(self.keys, key.key_id)
        token = add_key(self.keys, _KEY_NAME, list(Scope))
        settings = [f"args.bundle={self.bundle}", f"args.gallery={self.gallery}", f"args.keys={self.keys}"]
        make_key(self.certificate_key)
        settings += [f"args.audit={self.out / 'audit'}", f"args.certificate_key={self.certificate_key}"]
        command = ["python", "jobs/deploy.py", "--config", str(ROOT / "serve_configs" / "local.yaml")]
        command += _set([*settings, f"http_options.port={port}"])
        self._timed("deploy", lambda: submit(Step("deploy", command, self.bundle), cluster))
        return f"http://127.0.0.1:{port}", token

    def _timed(self, name: str, work: Callable[[], object]) -> object:
        print(f"== {name} ...", flush=True)
        began = time.monotonic()
        result = work()
        self._timings.append((name, time.monotonic() - began))
        print(f"== {name}: {self._timings[-1][1]:.0f} s", flush=True)
        return result

    def _questions(self) -> list[Question]:
        return questions(read_manifest(self._manifest), self.out)

    def _tell(self, seconds: float) -> None:
        stages = ", ".join(f"{name} {spent:.0f} s" for name, spent in self._timings)
        print(f"{seconds:.0f} s in all: {stages}.")
        print(
            f"\nLeft in {_short(self.out)}: report.html, audit.html (open them), bundle/, gallery.lance/, verdicts.csv."
        )
        print("Next:\n  make serve                    keep this gallery answering over HTTP")
        print(
            "  make demo DATA=<folder>       the same with your photographs: <product>/[<part>/]<genuine|counterfeit>/"
        )
        ask = f"--bundle {_short(self.bundle)} --gallery {_short(self.gallery)}"
        print(f"  .venv/bin/hallmark verify <files or folders> {ask}")
        print("  .venv/bin/hallmark --help     every command; README.md explains the jobs one by one")


@dataclass(frozen=True)
class Question:
    """One photograph to ask about."""

    name: str
    truth: str | None
    data: bytes


def questions(manifest: pa.Table, out: Path) -> list[Question]:
    """Eight photographs: a genuine and a counterfeit of up to three products, one unrelated, one corrupt."""
    rows = [row for row in manifest.to_pylist() if row["role"] == Role.TEST]
    asked: list[Question] = []
    products = sorted({row["product"] for row in rows if row["authenticity"] != Authenticity.UNRELATED})
    for product in products[:_PRODUCTS_SHOWN]:
        for kind in (Authenticity.GENUINE, Authenticity.COUNTERFEIT):
            found = [row for row in rows if row["product"] == product and row["authenticity"] == kind]
            if found:
                asked.append(Question(_named(found[0]["uri"]), str(kind), read_bytes(found[0]["uri"])))
    unrelated = [row["uri"] for row in rows if row["authenticity"] == Authenticity.UNRELATED]
    uri = unrelated[0] if unrelated else _drawn_unrelated(out)
    asked.append(Question(_named(uri), str(Authenticity.UNRELATED), read_bytes(uri)))
    whole = asked[0].data if asked else b""
    asked.append(Question("a damaged file", None, whole[: min(_CORRUPT_BYTES, len(whole) // 2)]))
    return asked


def _drawn_unrelated(out: Path) -> str:
    """A drawn picture of nothing that a user's own photographs are likely to show."""
    folder = out / "unrelated"
    shot = next(shot for shot in plan(DrawConfig(size="smoke")) if shot.authenticity == Authenticity.UNRELATED)
    folder.mkdir(exist_ok=True)
    file = folder / Path(shot.file).name
    file.write_bytes(draw_shot(shot, DrawConfig(size="smoke")).jpeg)
    return str(file)


def ask(url: str, token: str, photographs: Sequence[Question]) -> list[VerdictRow]:
    """Send photographs to `/v1/verdicts`; prints what is refused, returns the verdicts."""
    rows = []
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for photograph in photographs:
            answer = client.post("/v1/verdicts", files={"photograph": (photograph.name, photograph.data)})
            if answer.status_code == httpx.codes.OK:
                rows.append(VerdictRow(photograph.name, photograph.truth, Verdict.model_validate(answer.json())))
            else:
                print(f"{photograph.name}: HTTP {answer.status_code}, {answer.json().get('detail')}")
    return rows


def submit(step: Step, cluster: PrivateCluster) -> None:
    """Run a step by `ray job submit` and follow its output.

    Raises:
        StepError: the job failed; its output has been shown.
    """
    arguments = ["--working-dir", ".", "--runtime-env", "jobs/runtime_env.yaml"]
    command = ray_command("job", "submit", "--address", cluster.dashboard_url, *arguments, "--", *step.command)
    process = subprocess.Popen(
        command, cwd=ROOT, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        for line in process.stdout or ():
            text = _WORKER.sub("", line.rstrip())
            if text and not any(chatter in text for chatter in _CHATTER):
                print(f"   {text}", flush=True)
        status = process.wait()
    except BaseException:
        process.terminate()
        raise
    if status:
        raise StepError(f"{step.name}: ended with an error (above); run by itself:\n  {shlex.join(step.command)}")


def _cluster() -> PrivateCluster:
    # Beside the training workers there must be room for their data pipelines.
    return PrivateCluster(num_cpus=max(2 * _WORKERS + 1, os.cpu_count() or 1))


def _set(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def _stamp(step: Step) -> str:
    """Changes when the step's command or a file that it depends on does."""
    digest = hashlib.sha256(json.dumps(step.command).encode())
    for path in step.depends:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); wanted a writable folder") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _named(uri: str) -> str:
    return "/".join(Path(uri).parts[-4:])


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
