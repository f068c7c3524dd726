"""The jobs on a cluster: what they leave behind, and how they refuse."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hallmark.cluster import ray_command
from hallmark.gallery.index import index_path
from hallmark.gallery.store import open_gallery
from hallmark.training.bundle import open_bundle

pytestmark = pytest.mark.ray


def test_bad_files_are_quarantined_and_the_rest_goes_on(run):
    quarantine = pq.read_table(run.folder / "quarantine.parquet").to_pylist()
    assert {Path(row["uri"]).name for row in quarantine} == {"truncated.jpg", "notes.docx"}
    assert all(row["reason"] and row["detail"] for row in quarantine)
    manifest = pq.read_table(run.manifest)
    assert manifest.num_rows == 64
    assert set(manifest.column("role").to_pylist()) == {"train", "val", "test"}


def test_training_leaves_a_whole_calibrated_bundle(run):
    bundle = open_bundle(run.bundle)
    assert len(bundle.products) == 2
    assert bundle.calibration is not None
    assert [record["epoch"] for record in bundle.metrics["epochs"]] == [1, 2]
    assert {"loss", "multi_similarity", "local_triplet", "separation"} <= set(bundle.metrics["epochs"][-1])
    assert bundle.run.workers.num_workers == 2
    bundle.build_method()


def test_training_that_is_finished_is_not_run_again(job, run, tmp_path):
    before = open_bundle(run.bundle)
    settings = tmp_path / "again.yaml"
    settings.write_text((run.bundle / "config.yaml").read_text())
    ended = job("train_fod", config=str(settings))
    assert ended.returncode == 0, ended.stderr
    assert "step/s" not in ended.stderr
    assert open_bundle(run.bundle).embedding_id == before.embedding_id


def test_the_gallery_holds_the_training_photographs_under_the_bundle(run):
    gallery = open_gallery(run.gallery, None, open_bundle(run.bundle).embedding_id)
    manifest = pq.read_table(run.manifest).to_pylist()
    enrolled = [row["image_id"] for row in manifest if row["role"] == "train" and row["authenticity"] != "unrelated"]
    assert sorted(gallery.metadata().column("image_id").to_pylist()) == sorted(enrolled)
    assert index_path(gallery).is_file()


def test_evaluation_reports_every_test_photograph(run):
    metrics = json.loads((run.folder / "metrics.json").read_text())
    tested = [row for row in pq.read_table(run.manifest).to_pylist() if row["role"] == "test"]
    assert metrics["photographs"] == len(tested)
    assert "<img" in (run.folder / "report.html").read_text()
    assert len((run.folder / "verdicts.csv").read_text().splitlines()) == len(tested) + 1


def test_a_batch_gets_the_verdicts_of_evaluation_and_is_gone_on_with(job, run, tmp_path):
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"torn")
    tested = [row["uri"] for row in pq.read_table(run.manifest).to_pylist() if row["role"] == "test"]
    (tmp_path / "list.txt").write_text("\n".join([*tested, str(torn)]))
    settings = [f"photographs={tmp_path}/list.txt", f"bundle={run.bundle}", f"gallery={run.gallery}"]
    settings += [f"out={tmp_path}/out", "num_workers=2"]
    ended = job("verify_batch", *settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(tested) + 1} photographs: " in ended.stdout
    rows = pq.read_table(tmp_path / "out" / "verdicts.parquet").to_pylist()
    with (run.folder / "verdicts.csv").open(newline="") as file:
        evaluated = {row["uri"]: row["verdict"] for row in csv.DictReader(file)}
    assert {row["photograph"]: row["verdict"] for row in rows if row["verdict"]} == evaluated
    assert [row["photograph"] for row in rows if row["error"]] == [str(torn)]
    torn.write_bytes(Path(tested[0]).read_bytes())
    again = job("verify_batch", *settings)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "describing: 100%|##########| 1/1" in again.stderr
    last = pq.read_table(tmp_path / "out" / "verdicts.parquet").to_pylist()[-1]
    assert (last["photograph"], last["verdict"], last["error"]) == (str(torn), evaluated[tested[0]], None)


@pytest.mark.parametrize(
    ("name", "overrides", "terms", "title"),
    [
        ("kag_mtln", [], {"main", "auxiliary"}, "KAG-MTLN"),
        (
            "mgfen",
            ["method.global_px=48", "method.windows.crop_px=32", "method.losses.start=0.5"],
            {"global", "local", "vote", "activation", "diagnostics/backdrop_replaced"},
            "MGFEN",
        ),
    ],
)
def test_a_classifier_is_trained_and_evaluated_without_a_gallery(job, run, tmp_path, name, overrides, terms, title):
    settings = ["preset=tiny", "optimiser.epochs=2", "validate_every=1", "preprocessing.side_px=64", *overrides]
    ended = job(f"train_{name}", f"manifest={run.manifest}", f"out={tmp_path}/bundle", *settings, config=None)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.classifies
    assert bundle.calibration["mode"] == "classifier"
    assert {"accuracy", *terms} <= bundle.metrics["epochs"][-1].keys()
    assert not any(name.startswith("auxiliary_head") for name in bundle.build_method().state_dict())
    ended = job("evaluate", f"manifest={run.manifest}", f"bundle={bundle.path}", f"out={tmp_path}/report")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    tested = [row for row in pq.read_table(run.manifest).to_pylist() if row["role"] == "test"]
    assert metrics["photographs"] == len(tested)
    assert metrics["class_accuracy"]["n"] == sum(row["authenticity"] != "unrelated" for row in tested)
    assert title in (tmp_path / "report" / "report.html").read_text()


def test_a_job_runs_as_it_is_documented(cluster, photographs, root, tmp_path):
    command = ray_command("job", "submit", "--working-dir", ".", "--runtime-env", "jobs/runtime_env.yaml", "--")
    command += ["python", "jobs/ingest.py", "--set", f"source={photographs}", "--set", f"out={tmp_path / 'out'}"]
    ended = subprocess.run(
        command, cwd=root, env=cluster.environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "out" / "manifest.parquet").is_file()


@pytest.mark.parametrize(
    ("name", "overrides", "wanted"),
    [
        ("ingest", ["source={empty}", "out={out}"], ["empty", "<product>"]),
        ("train_fod", ["manifest={manifest}", "out={out}", "optimiser.epoch=3"], ["optimiser.epoch", "'epochs'"]),
        ("train_fod", ["manifest={manifest}", "out={out}", "workers.num_workers=40"], ["workers", "40"]),
        ("build_gallery", ["manifest={manifest}", "bundle={empty}", "out={out}/g.lance"], ["empty", "missing"]),
        ("verify_batch", ["photographs={out}.txt", "bundle={bundle}", "gallery={gallery}", "out={out}"], ["out.txt"]),
        ("evaluate", ["manifest={manifest}", "bundle={bundle}", "gallery={out}/no.lance", "out={out}"], ["no.lance"]),
    ],
)
def test_a_refusal_is_one_line_that_names_the_thing(job, run, tmp_path, name, overrides, wanted):
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "out": tmp_path / "out", "manifest": run.manifest, "bundle": run.bundle}
    places["gallery"] = run.gallery
    config = "jobs/configs/fod_demo.yaml" if name == "train_fod" else None
    ended = job(name, *(override.format(**places) for override in overrides), config=config)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert all(part in errors[0] for part in wanted), errors[0]
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("out/**/*.parquet"))
