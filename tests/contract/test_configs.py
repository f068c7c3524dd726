"""Every configuration file that is shipped loads; a wrong key or value is named."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from hallmark.config import ConfigError, load_config, preset_names, to_yaml
from hallmark.data.manifest import ImportConfig
from hallmark.data.synthetic import DrawConfig, plan
from hallmark.evaluation.protocol import EvaluateConfig, TrainJob
from hallmark.gallery.build import GalleryConfig
from hallmark.methods.fod import FoD

CONFIGS = Path(__file__).resolve().parents[2] / "jobs" / "configs"
GIVEN = ["manifest=m.parquet", "out=bundle"]
TRAINING = sorted(CONFIGS.glob("fod_*.yaml"))
DRAWING = sorted(CONFIGS.glob("draw_*.yaml"))


def test_every_file_is_of_a_known_kind():
    assert TRAINING
    assert DRAWING
    assert set(CONFIGS.iterdir()) == {*TRAINING, *DRAWING}


@pytest.mark.parametrize("file", TRAINING, ids=lambda file: file.name)
def test_training_files_load(file):
    job = load_config(TrainJob, file, GIVEN, presets="fod")
    assert job.preset in preset_names("fod")
    assert (job.manifest, job.out) == ("m.parquet", "bundle")


@pytest.mark.parametrize("file", DRAWING, ids=lambda file: file.name)
def test_drawing_files_load_and_plan_something(file):
    assert plan(load_config(DrawConfig, file))


@pytest.mark.parametrize("preset", preset_names("fod"))
def test_every_preset_loads_and_survives_yaml(preset, tmp_path):
    job = load_config(TrainJob, None, [*GIVEN, f"preset={preset}"], presets="fod")
    (tmp_path / "resolved.yaml").write_text(to_yaml(job))
    assert load_config(TrainJob, tmp_path / "resolved.yaml", presets="fod") == job


def test_the_tiny_preset_needs_no_weights():
    job = load_config(TrainJob, None, [*GIVEN, "preset=tiny"], presets="fod")
    assert job.method.backbone.pretrained is False
    assert sum(weight.numel() for weight in FoD(job.method).parameters()) < 5_000_000


def test_all_the_presets_that_are_promised_are_there():
    assert preset_names("fod") == ["base", "paper", "small", "tiny"]


@pytest.mark.parametrize(
    ("model", "overrides", "said"),
    [
        (
            TrainJob,
            [*GIVEN, "method.aggregation.cluster=3"],
            r"method\.aggregation\.cluster: unknown key; .* 'clusters'",
        ),
        (TrainJob, [*GIVEN, "optimizer.precision=float32"], r"optimizer: unknown key; did you mean 'optimiser'"),
        (TrainJob, [*GIVEN, "seed=-1"], r"seed: found -1; .*greater than or equal to 0"),
        (TrainJob, [*GIVEN, "workers.num_workers=two"], r"workers\.num_workers: found 'two'; .*integer"),
        (TrainJob, [*GIVEN, "preset=huge"], r"preset: found 'huge'; wanted one of base, paper, small, tiny"),
        (TrainJob, ["out=bundle"], r"manifest: missing; it must be given"),
        (TrainJob, [*GIVEN, "calibration.rejection_target=2"], r"calibration\.rejection_target: found 2"),
        (TrainJob, [*GIVEN, "seed.inner=1", "seed.inner.more=2"], r"--set seed\.inner\.more=2: seed\.inner is a value"),
        (TrainJob, [*GIVEN, "seed"], r"--set seed: wanted the form a\.b=value"),
        (TrainJob, [*GIVEN, "seed=[1"], r"--set seed=\[1: the value is not valid YAML"),
        (DrawConfig, ["difficulti=1"], r"difficulti: unknown key; did you mean 'difficulty'"),
        (DrawConfig, ["difficulty=-1"], r"difficulty: found -1"),
        (ImportConfig, ["source=x", "out=y", "incomplet=skip"], r"incomplet: unknown key; did you mean 'incomplete'"),
        (EvaluateConfig, ["role=tset"], r"role: found 'tset'"),
        (GalleryConfig, ["bundel=x"], r"bundel: unknown key; did you mean 'bundle'"),
    ],
)
def test_a_wrong_key_or_value_is_named(model, overrides, said):
    with pytest.raises(ConfigError, match=said):
        load_config(model, None, overrides, presets="fod" if model is TrainJob else None)


@pytest.mark.parametrize("model", [TrainJob, DrawConfig, ImportConfig, EvaluateConfig, GalleryConfig])
def test_every_field_is_described(model):
    def check(config) -> None:
        for name, field in config.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                check(field.annotation)
            elif len(get_args(field.annotation)) != 1 or get_origin(field.annotation) is not Literal:
                # A literal of one value is a tag and leaves nothing to choose.
                assert field.description, f"{config.__name__}.{name}"

    check(model)
