"""Every configuration file that is shipped loads; a wrong key or value is named."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from ray.serve.schema import ServeDeploySchema

from hallmark.config import ConfigError, load_config, preset_names, to_yaml
from hallmark.data.manifest import ImportConfig
from hallmark.data.synthetic import DrawConfig, plan
from hallmark.evaluation import kag_axes, mgfen_axes
from hallmark.evaluation.batch import VerifyBatchConfig
from hallmark.evaluation.protocol import EvaluateConfig, FoDJob, KAGJob, MGFENJob
from hallmark.evaluation.variants import run_of
from hallmark.gallery.build import GalleryConfig
from hallmark.serving.deploy import read_serve_config
from hallmark.serving.graph import deployment_name
from hallmark.serving.settings import CANARY, BundleConfig, CanaryConfig, GraphConfig, LiveConfig, TrafficConfig
from hallmark.training.run import read_run
from hallmark.tuning.settings import SweepConfig, check_space

CONFIGS = Path(__file__).resolve().parents[2] / "jobs" / "configs"
GIVEN = ["manifest=m.parquet", "out=bundle"]
JOBS = {"fod": FoDJob, "kag_mtln": KAGJob, "mgfen": MGFENJob}
TRAINING = [
    (family, file)
    for family, prefix in (("fod", "fod_"), ("kag_mtln", "kag_"), ("mgfen", "mgfen_"))
    for file in sorted(CONFIGS.glob(f"{prefix}*.yaml"))
]
PRESETS = [(family, name) for family in JOBS for name in preset_names(family)]
DRAWING = sorted(CONFIGS.glob("draw_*.yaml"))
ANALYSES = sorted(CONFIGS.glob("analyse_*.yaml"))
SWEEPS = sorted(CONFIGS.glob("tune_*.yaml"))


def test_every_file_is_of_a_known_kind():
    assert TRAINING
    assert DRAWING
    assert ANALYSES
    assert SWEEPS
    assert set(CONFIGS.iterdir()) == {*(file for _, file in TRAINING), *DRAWING, *ANALYSES, *SWEEPS}


@pytest.mark.parametrize(("family", "file"), TRAINING, ids=lambda part: getattr(part, "name", part))
def test_training_files_load(family, file):
    job = load_config(JOBS[family], file, GIVEN, presets=family)
    assert job.preset in preset_names(family)
    assert (job.manifest, job.out) == ("m.parquet", "bundle")


@pytest.mark.parametrize("file", DRAWING, ids=lambda file: file.name)
def test_drawing_files_load_and_plan_something(file):
    assert plan(load_config(DrawConfig, file))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.name)
def test_sweep_files_load_and_their_extremes_are_valid_runs(file):
    config = load_config(SweepConfig, file, ["run.manifest=m.parquet", "out=sweep"])
    check_space(config)
    assert config.num_trials > 3


@pytest.mark.parametrize(
    ("file", "settings", "count"),
    [("analyse_kag.yaml", kag_axes.KAGAnalysisConfig, 20), ("analyse_mgfen.yaml", mgfen_axes.MGFENAnalysisConfig, 11)],
)
def test_analysis_files_load_and_every_variant_is_a_valid_run(file, settings, count):
    config = load_config(settings, CONFIGS / file, ["run.manifest=m.parquet", "out=analysis"])
    axes = kag_axes.axes if settings is kag_axes.KAGAnalysisConfig else mgfen_axes.axes
    variants = {variant for axis in axes(config) for variant in axis.variants}
    assert len({run_of(config, variant, seed=0).model_dump_json() for variant in variants}) > count


@pytest.mark.parametrize(("family", "preset"), PRESETS)
def test_every_preset_loads_and_survives_yaml(family, preset, tmp_path):
    job = load_config(JOBS[family], None, [*GIVEN, f"preset={preset}"], presets=family)
    (tmp_path / "resolved.yaml").write_text(to_yaml(job))
    assert load_config(JOBS[family], tmp_path / "resolved.yaml", presets=family) == job
    assert read_run(job.run.model_dump(mode="json"), "run") == job.run


@pytest.mark.parametrize("family", JOBS)
def test_the_tiny_preset_needs_no_weights(family):
    job = load_config(JOBS[family], None, [*GIVEN, "preset=tiny"], presets=family)
    assert job.method.backbone.pretrained is False
    assert sum(weight.numel() for weight in job.run.exported(4).parameters()) < 5_000_000


def test_all_the_presets_that_are_promised_are_there():
    assert preset_names("fod") == ["base", "paper", "small", "tiny"]
    assert preset_names("kag_mtln") == ["default", "paper", "tiny"]
    assert preset_names("mgfen") == ["default", "paper", "tiny"]


@pytest.mark.parametrize(
    ("model", "overrides", "said"),
    [
        (
            FoDJob,
            [*GIVEN, "method.aggregation.cluster=3"],
            r"method\.aggregation\.cluster: unknown key; .* 'clusters'",
        ),
        (FoDJob, [*GIVEN, "optimizer.precision=float32"], r"optimizer: unknown key; did you mean 'optimiser'"),
        (FoDJob, [*GIVEN, "seed=-1"], r"seed: found -1; .*greater than or equal to 0"),
        (FoDJob, [*GIVEN, "workers.num_workers=two"], r"workers\.num_workers: found 'two'; .*integer"),
        (FoDJob, [*GIVEN, "preset=huge"], r"preset: found 'huge'; wanted one of base, paper, small, tiny"),
        (FoDJob, ["out=bundle"], r"manifest: missing; it must be given"),
        (FoDJob, [*GIVEN, "calibration.rejection_target=2"], r"calibration\.rejection_target: found 2"),
        (FoDJob, [*GIVEN, "seed.inner=1", "seed.inner.more=2"], r"--set seed\.inner\.more=2: seed\.inner is a value"),
        (FoDJob, [*GIVEN, "seed"], r"--set seed: wanted the form a\.b=value"),
        (FoDJob, [*GIVEN, "seed=[1"], r"--set seed=\[1: the value is not valid YAML"),
        (DrawConfig, ["difficulti=1"], r"difficulti: unknown key; did you mean 'difficulty'"),
        (DrawConfig, ["difficulty=-1"], r"difficulty: found -1"),
        (ImportConfig, ["source=x", "out=y", "incomplet=skip"], r"incomplet: unknown key; did you mean 'incomplete'"),
        (
            FoDJob,
            [*GIVEN, "preset=tiny", "calibration.mode=classifier"],
            r"calibration\.mode: found classifier, and the bundle does not",
        ),
        (KAGJob, [*GIVEN, "preset=tiny", "calibration.mode=fused"], r"mode: found fused, and the bundle classifies"),
        (
            FoDJob,
            [*GIVEN, "preset=tiny", "calibration.classifier=c", "calibration.mode=paper_match"],
            r"wanted mode fused or one_class",
        ),
        (EvaluateConfig, ["role=tset"], r"role: found 'tset'"),
        (GalleryConfig, ["bundel=x"], r"bundel: unknown key; did you mean 'bundle'"),
    ],
)
def test_a_wrong_key_or_value_is_named(model, overrides, said):
    with pytest.raises(ConfigError, match=said):
        load_config(model, None, overrides, presets={FoDJob: "fod", KAGJob: "kag_mtln", MGFENJob: "mgfen"}.get(model))


@pytest.mark.parametrize(
    "model",
    [
        FoDJob,
        DrawConfig,
        ImportConfig,
        EvaluateConfig,
        GalleryConfig,
        VerifyBatchConfig,
        GraphConfig,
        BundleConfig,
        CanaryConfig,
        LiveConfig,
        TrafficConfig,
    ],
)
def test_every_field_is_described(model):
    def check(config) -> None:
        for name, field in config.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                check(field.annotation)
            elif len(get_args(field.annotation)) != 1 or get_origin(field.annotation) is not Literal:
                # A literal of one value is a tag and leaves nothing to choose.
                assert field.description, f"{config.__name__}.{name}"

    check(model)


SERVING = sorted((CONFIGS.parents[1] / "serve_configs").glob("*.yaml"))


def test_all_the_serve_configs_that_are_promised_are_there():
    assert {file.name for file in SERVING} == {"local.yaml", "gpu.yaml", "canary.yaml", "several.yaml"}


@pytest.mark.parametrize("file", SERVING, ids=lambda file: file.name)
def test_serve_configs_hold_rays_schema_and_ours(file):
    settings = read_serve_config(file)
    ServeDeploySchema.model_validate(settings)
    assert settings["http_options"]["host"] == "127.0.0.1"
    for application in settings["applications"]:
        GraphConfig.model_validate(application["args"])


@pytest.mark.parametrize("file", SERVING, ids=lambda file: file.name)
def test_serve_configs_set_every_stage_so_that_no_request_is_lost(file):
    (application,) = read_serve_config(file)["applications"]
    config = GraphConfig.model_validate(application["args"])
    stages = {stage["name"]: stage for stage in application["deployments"]}
    wanted = {"Gateway"}
    for one in config.served():
        own = ("Retriever", "Verifier") if one.name == CANARY else ("Retriever", "Verifier", "Enroller")
        wanted |= {deployment_name(stage, one.name) for stage in own}
    assert set(stages) == wanted
    for name, stage in stages.items():
        assert 0 < stage["max_queued_requests"] < 1000, name
        assert stage["graceful_shutdown_timeout_s"] >= 30, name
        if name.startswith("Enroller"):
            assert (stage["num_replicas"], stage["max_surge_percent"]) == (1, 0)
            assert "autoscaling_config" not in stage
        else:
            assert stage["max_surge_percent"] == 100, name
            assert stage["backpressure_config"]["status_code"] == 429, name


def test_the_gpu_is_the_retrievers_and_stages_scale_by_themselves():
    (application,) = read_serve_config(next(file for file in SERVING if file.name == "gpu.yaml"))["applications"]
    assert application["args"]["device"] == "cuda"
    stages = {stage["name"]: stage for stage in application["deployments"]}
    assert {name for name, stage in stages.items() if stage["ray_actor_options"].get("num_gpus")} == {"Retriever"}
    scaled = {name for name, stage in stages.items() if stage.get("autoscaling_config", {}).get("min_replicas", 0) >= 2}
    assert scaled == {"Gateway", "Retriever", "Verifier"}


def test_the_canary_has_stages_of_its_own_and_shares_that_change_while_it_runs():
    (application,) = read_serve_config(next(file for file in SERVING if file.name == "canary.yaml"))["applications"]
    canary = GraphConfig.model_validate(application["args"]).canary
    assert 0 < canary.share < 1
    assert 0 < canary.compare_share < 1
    gateway = next(stage for stage in application["deployments"] if stage["name"] == "Gateway")
    assert set(gateway["user_config"]) == set(TrafficConfig.model_fields)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["gallery=g"], "bundle: missing"),
        ([], "wanted either bundle and gallery, or bundles"),
        (
            ["bundle=b", "gallery=g", "bundles=[{bundle: b, gallery: g}]"],
            "wanted either bundle and gallery, or bundles",
        ),
        (["bundles=[{bundle: b, gallery: g}, {bundle: c, gallery: h}]"], "found the names default, default"),
        (["bundles=[{name: canary, bundle: b, gallery: g}]"], "none of them canary"),
        (["bundles=[{name: A b, bundle: b, gallery: g}]"], r"bundles\.0\.name: found 'A b'"),
        (["bundles=[{name: a, bundle: b, gallery: g}]", "canary={bundle: c, gallery: h}"], "canary: wanted bundle and"),
        (["bundle=b", "gallery=g", "canary={bundle: c, gallery: h, share: 2}"], r"canary\.share: found 2"),
        (["bundle=b", "gallery=g", "choose=best"], "choose: found 'best'"),
    ],
)
def test_wrong_settings_of_a_served_application_are_named(overrides, said):
    with pytest.raises(ConfigError, match=said):
        load_config(GraphConfig, None, overrides)
