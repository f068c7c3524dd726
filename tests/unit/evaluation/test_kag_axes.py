"""The variants that an analysis of KAG-MTLN compares."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from hallmark.config import validate
from hallmark.errors import ConfigError
from hallmark.evaluation.kag_axes import AxisName, KAGAnalysisConfig, axes
from hallmark.evaluation.variants import BASE, Variant, run_of


def config_of(**settings: Any) -> KAGAnalysisConfig:
    given = {"run": {"preset": "tiny", "manifest": "m.parquet"}, "out": "analysis", "seeds": [3, 4]} | settings
    return validate(KAGAnalysisConfig, given, "analysis")


def test_every_table_has_the_base_once_and_each_recipe_once():
    config = config_of(degrees=[4, 8, 16], alphas=[0.3, 0.5, 1.0], backbones=[{"name": "test_resnet", "stage": 3}])
    base = run_of(config, BASE, 3)
    found = axes(config)
    assert [axis.name for axis in found] == list(get_args(AxisName))
    for axis in found:
        recipes = [(run_of(config, variant, 3), variant.share) for variant in axis.variants]
        assert recipes.count((base, 1.0)) == 1, axis.name
        assert all(recipes.count(recipe) == 1 for recipe in recipes), axis.name
        assert len({variant.name for variant in axis.variants}) == len(axis.variants)


@pytest.mark.parametrize(
    ("axis", "key", "values"),
    [
        ("degree", "scramble.degree", [2, 8, 50]),
        ("fill", "preprocessing.fill", ["white", "none", "auto"]),
        ("alpha", "method.losses.alpha", [0.0, 0.5, 1.0]),
        ("policy", "scramble.main_label", ["keep", "counterfeit"]),
    ],
)
def test_a_variant_changes_its_key_alone(axis, key, values):
    config = config_of(axes=[axis], **{{"degree": "degrees", "policy": "policies"}.get(axis, f"{axis}s"): values})
    base = run_of(config, BASE, 3).model_dump()
    (table,) = axes(config)
    seen = []
    for variant in table.variants:
        run = run_of(config, variant, 3).model_dump()
        *folders, last = key.split(".")
        inner, own = run, base
        for folder in folders:
            inner, own = inner[folder], own[folder]
        seen.append(inner[last])
        inner[last] = own[last]
        assert run == base
    assert sorted(map(str, seen)) == sorted(map(str, values))
    positions = [variant.position for variant in table.variants]
    assert positions == (sorted(values) if axis in ("degree", "alpha") else [None] * len(values))


def test_the_auxiliary_task_is_removed_in_both_readings():
    config = config_of(axes=["auxiliary"])
    with_it, for_main, without = (run_of(config, one, 3) for one in axes(config)[0].variants)
    assert with_it == run_of(config, BASE, 3)
    assert (for_main.method.losses.alpha, without.method.losses.alpha) == (1.0, 1.0)
    assert (for_main.scramble.share, without.scramble.share) == (with_it.scramble.share, 0.0)


def test_the_base_s_backbone_under_other_settings_is_told_by_them():
    config = config_of(axes=["backbone"], backbones=[{"name": "test_byobnet", "stage": 2}, {"name": "test_resnet"}])
    with_own = config_of(axes=["backbone"], backbones=[{"name": "test_byobnet", "stage": 3}])
    assert [variant.name for variant in axes(with_own)[0].variants] == ["test_byobnet"]
    assert run_of(config, BASE, 3).method.backbone.name == "test_byobnet"
    names = [variant.name for variant in axes(config)[0].variants]
    assert names == ["test_byobnet", "test_byobnet, stage 2", "test_resnet"]


def test_shares_fall_from_the_whole():
    (table,) = axes(config_of(axes=["samples"], shares=[0.2, 0.75]))
    assert [(one.name, one.share, one.position, one.overrides) for one in table.variants] == [
        ("100 %", 1.0, 1.0, ()),
        ("75 %", 0.75, 0.75, ()),
        ("20 %", 0.2, 0.2, ()),
    ]


def test_an_axis_asked_for_twice_is_made_once():
    assert [axis.name for axis in axes(config_of(axes=["alpha", "classes", "alpha"]))] == ["alpha", "classes"]


def test_seeds_are_laid_over_the_run():
    config = config_of()
    assert [run_of(config, BASE, seed).seed for seed in config.seeds] == [3, 4]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"run": {"preset": "tiny"}}, "run: .*found no manifest"),
        ({"run": {"manifest": "m", "out": "o", "seed": 1}}, "run: .*found out, seed"),
        ({"run": {"manifest": None}}, "run: .*found no manifest"),
        ({"run": {"manifest": "m", "calibration": {}}}, "run: .*found calibration"),
        ({"policies": ["drop"]}, r"policies\.0: found 'drop'"),
        ({"backbones": [{"name": "a"}, {"name": "a", "stage": 2}]}, "backbones: .*each name once"),
        ({"seeds": [1, 1]}, "seeds: .*each seed once"),
        ({"seeds": []}, "seeds"),
        ({"axes": ["degrees"]}, r"axes\.0: found 'degrees'"),
        ({"fills": ["grey"]}, r"fills\.0: found 'grey'"),
        ({"shares": [0.0]}, r"shares\.0: found 0"),
        ({"shares": [1.2]}, r"shares\.0: found 1\.2"),
        ({"backbones": [{"stage": 3}]}, "backbones: .*a name for each"),
        ({"trainer": "slurm"}, "trainer: found 'slurm'"),
    ],
)
def test_wrong_settings_are_named(settings, said):
    with pytest.raises(ConfigError, match=said):
        config_of(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alphas": [0.5, 1.5]}, r"run with method\.losses\.alpha=1\.5: .*method\.losses\.alpha: found 1\.5"),
        ({"degrees": [8, 97]}, r"run with scramble\.degree=97: .*found 97; wanted at most preprocessing\.side_px, 96"),
        ({"backbones": [{"name": "test_resnet", "stag": 3}]}, r"run with .*: method\.backbone\.stag: unknown key"),
        ({"backbones": [{"name": 5}]}, r"run with method\.backbone\.name=5: .*method\.backbone\.name: found 5"),
        ({"seeds": [-1]}, r"seed: found -1"),
        ({"run": {"preset": "tinny", "manifest": "m"}}, r"run: preset.*tinny"),
        ({"run": {"preset": "tiny", "manifest": "m", "optimizer": {}}}, r"run: .*optimizer: unknown key"),
    ],
)
def test_a_variant_that_is_no_valid_run_is_told_with_what_it_lays_over(settings, said):
    config = config_of(**settings)
    with pytest.raises(ConfigError, match=said):
        [run_of(config, variant, 3) for axis in axes(config) for variant in axis.variants]


def test_texts_that_look_like_something_else_stay_texts():
    run = {"preset": "tiny", "manifest": "no: [a] # b.parquet", "method": {"backbone": {"name": "test_resnet"}}}
    assert run_of(config_of(run=run), Variant("x"), 0).manifest == "no: [a] # b.parquet"
