"""Sweeps on a cluster: what they leave behind, after whatever ends them."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from hallmark.training.bundle import open_bundle

pytestmark = pytest.mark.ray

ALPHAS = "{method.losses.alpha: {choice: [0.4, 0.7, 1.0]}}"


@pytest.fixture(scope="module")
def settings(run) -> Callable[[Path], list[str]]:
    """The flags of a sweep of three short trainings, each in one process, one after another."""

    def make(out: Path, *more: str) -> list[str]:
        small = ["run.preset=tiny", "run.preprocessing.side_px=32", "run.optimiser.epochs=3", "run.validate_every=1"]
        small += ["run.method.reduce=8", "run.scramble.degree=4", "resamples=100"]
        small += ["choice.top=1", "trainer=plain", "max_concurrent=1"]
        named = ["method=kag_mtln", f"run.manifest={run.manifest}", f"out={out}", f"space={ALPHAS}", *small, *more]
        return [part for one in named for part in ("--set", one)]

    return make


@pytest.fixture(scope="module")
def begin(cluster, root) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start jobs/tune.py with such flags as a driver of the session's cluster; what it prints goes to a file."""
    begun: list[subprocess.Popen] = []

    def start(flags: list[str], log: Path) -> subprocess.Popen:
        # A shell may start what runs in its background deaf to Ctrl-C.
        hears = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "jobs/tune.py", *flags],
                cwd=root,
                env=cluster.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=hears,
            )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def whole(begin, settings, tmp_path_factory) -> Path:
    """The folder of a sweep that nothing broke off."""
    out = tmp_path_factory.mktemp("whole")
    process = begin(settings(out), out / "log")
    assert process.wait(timeout=400) == 0, (out / "log").read_text()
    return out


def events(out: Path) -> list[dict]:
    file = out / "sweep.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def ended(out: Path) -> list[str]:
    return [event["name"] for event in events(out) if event["event"] == "trained"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen | None = None) -> None:
    until = time.monotonic() + 400
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        assert process is None or process.poll() is None, "the sweep has ended before"
        time.sleep(0.05)


def assert_nothing_remains(cluster) -> None:
    """Of Ray Tune and Ray Train, or of a sweep, no actor and no placement group."""

    asked = subprocess.Popen(
        [sys.executable, "-c", _ASK_THE_STATE, cluster.dashboard_url],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    told, _ = asked.communicate(timeout=200)
    assert told.splitlines()[-1] == "nothing", told


# In a process of its own: Ray reads once how it is to show who it is.
_ASK_THE_STATE = """
import sys, time
from ray.util.state import list_actors, list_placement_groups

OF_SWEEPS = ("Referee", "ImplicitFunc", "TrainController", "RayTrainWorker")
for _ in range(60):
    alive = list_actors(sys.argv[1], filters=[("state", "=", "ALIVE")], limit=1000)
    actors = [one.class_name for one in alive if any(name in one.class_name for name in OF_SWEEPS)]
    groups = [one.state for one in list_placement_groups(sys.argv[1], limit=1000) if one.state != "REMOVED"]
    if not actors and not groups:
        print("nothing")
        break
    print(actors, groups)
    time.sleep(1)
"""


def test_a_sweep_leaves_a_report_and_a_winner(whole):
    assert (whole / "sweep.html").is_file()
    assert "s002" in (whole / "log").read_text()
    trained = [event for event in events(whole) if event["event"] == "trained"]
    assert [event["name"] for event in trained[:3]] == ["s000", "s001", "s002"]
    assert {event["status"] for event in trained} == {"finished"}
    with (whole / "tables" / "contenders.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["is_winner"] for row in rows].count("True") == 1
    assert [row["is_default"] for row in rows].count("True") == 1
    looked = {path.parent.name for path in whole.glob("trials/*/judged-test.json")}
    assert looked
    assert all(name.startswith("c") for name in looked), "the search never sees the test photographs"


def test_the_winner_is_trained_unchanged(whole, job, root):
    settings = yaml.safe_load((whole / "winner.yaml").read_text())
    ended = job("train_kag_mtln", "workers.num_workers=1", config=str(whole / "winner.yaml"))
    assert ended.returncode == 0, ended.stderr
    bundle = open_bundle(settings["out"])
    assert bundle.run.method.losses.alpha == settings.get("method", {}).get("losses", {}).get("alpha", 0.5)
    assert bundle.run.seed == settings["seed"]


def test_started_again_a_whole_sweep_only_reports(whole, begin, settings, tmp_path):
    before = (whole / "sweep.jsonl").read_bytes()
    process = begin(settings(whole), tmp_path / "log")
    assert process.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    assert (whole / "sweep.jsonl").read_bytes() == before


def test_killed_and_interrupted_it_goes_on_and_ends_as_the_whole_one(whole, begin, settings, cluster, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    process = begin(settings(out), log)
    # In the middle of the second trial: its checkpoint is there, its end is not.
    wait_for(lambda: any(out.glob("trials/s001/checkpoints/*/[0-9]*")), process)
    process.kill()
    process.wait()
    assert ended(out)[:1] == ["s000"]
    assert_nothing_remains(cluster)

    process = begin(settings(out), log)
    wait_for(lambda: any(out.glob("trials/c000/checkpoints/*/[0-9]*")), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    assert "interrupted" in log.read_text().splitlines()
    assert_nothing_remains(cluster)

    process = begin(settings(out), log)
    assert process.wait(timeout=400) == 0, log.read_text()
    assert_nothing_remains(cluster)
    assert ended(out) == ended(whole), "no trial is lost, and none that had ended is trained again"
    reports = [json.loads((folder / "sweep.json").read_text()) for folder in (whole, out)]
    assert reports[0]["figures"] == reports[1]["figures"]


def test_workers_of_ray_train_stop_themselves_and_go_on(begin, settings, cluster, tmp_path):
    asha = ["trainer=ray", "stopping={rule: asha, first_epochs: 1, reduction: 3}"]
    out, log = tmp_path / "out", tmp_path / "log"
    process = begin(settings(out, *asha), log)
    wait_for(lambda: sum(name.startswith("s") for name in ended(out)) >= 4, process)
    process.kill()
    process.wait()
    trained = [event for event in events(out) if event["event"] == "trained"]
    assert [(event["status"], len(event["curve"])) for event in trained[:3]] == [("open", 1)] * 3
    assert (trained[3]["status"], len(trained[3]["curve"])) == ("finished", 3)
    best = max(trained[:3], key=lambda event: event["curve"][0][1])
    assert trained[3]["name"] == best["name"]
    assert trained[3]["curve"][0] == best["curve"][0], "it went on from its checkpoint"
    assert_nothing_remains(cluster)


def test_a_trial_that_fails_is_recorded_and_all_failing_is_a_clear_stop(begin, settings, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    # Steps so large that the loss is not finite.
    steps = "space={optimiser.learning_rate: {choice: [1.0e+30, 1.0e-3, 1.0e+35]}}"
    process = begin(settings(out, steps, "run.optimiser.clip_norm=null", "run.optimiser.warmup_steps=0"), log)
    assert process.wait(timeout=400) == 0, log.read_text()
    trained = {event["name"]: event for event in events(out) if event["event"] == "trained"}
    assert [trained[name]["status"] for name in ("s000", "s001", "s002")] == ["failed", "finished", "failed"]
    assert "not finite" in trained["s000"]["reason"] or "gradient" in trained["s000"]["reason"]
    assert (out / "trials" / "s000" / "error.txt").is_file()

    none = ["space={optimiser.learning_rate: {choice: [1.0e+30, 1.0e+35]}}", "run.optimiser.learning_rate=1.0e+32"]
    none += ["run.optimiser.clip_norm=null", "run.optimiser.warmup_steps=0"]
    process = begin(settings(tmp_path / "none", *none), log)
    assert process.wait(timeout=300) == 2
    assert "no forecast of time, since the run as it is diverges" in log.read_text()
    assert "error: all 2 trials failed; the first, s000: " in log.read_text()


def test_what_cannot_be_is_told_before_any_training(job, settings, tmp_path):
    def refused(*overrides: str) -> str:
        flags = settings(tmp_path / "out", *overrides)
        told = job("tune", *flags[1::2])
        assert told.returncode == 2, told.stdout + told.stderr
        assert not (tmp_path / "out").exists()
        return told.stderr.splitlines()[-1]

    assert "run.workers" in refused("trainer=ray", "run.workers.num_workers=40")
    assert "method.losses.alpha: found 1.5" in refused("space={method.losses.alpha: {choice: [1.5]}}")
