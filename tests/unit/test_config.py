"""Configuration: layers, dotted overrides, and complaints that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from hallmark.config import Config, config_hash, load_config, load_mapping, preset_names, to_yaml, validate
from hallmark.errors import ConfigError
from hallmark.evaluation.protocol import FoDJob


class Inner(Config):
    rate: float = Field(0.5, gt=0, le=1)
    depth: int = Field(3, ge=1)


class Outer(Config):
    name: str
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1, 2)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_override_lies_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", "name: a\ninner: {rate: 0.25}\n")
    assert load_config(Outer, file) == Outer(name="a", inner=Inner(rate=0.25, depth=3))
    changed = load_config(Outer, file, ["inner.depth=7", "name=b", "sizes=[4, 5]"])
    assert changed == Outer(name="b", inner=Inner(rate=0.25, depth=7), sizes=(4, 5))


def test_without_a_file_the_overrides_alone_count() -> None:
    assert load_config(Outer, None, ["name=x"]) == Outer(name="x")


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert load_mapping(write(tmp_path / "empty.yaml", "# nothing\n"), ()) == {}


def test_a_mapping_below_is_kept_where_the_file_is_silent_and_is_not_changed(tmp_path: Path) -> None:
    below = {"inner": {"rate": 0.1, "depth": 2}, "name": "below"}
    file = write(tmp_path / "run.yaml", "inner: {rate: 0.9}\n")
    merged = load_mapping(file, ["inner.depth=9"], below)
    assert merged == {"inner": {"rate": 0.9, "depth": 9}, "name": "below"}
    assert below == {"inner": {"rate": 0.1, "depth": 2}, "name": "below"}


@pytest.mark.parametrize(
    ("override", "value"),
    [("name=a=b", "a=b"), ("name='1'", "1"), (" name =x", "x"), ("name=2021-01-01x", "2021-01-01x")],
)
def test_the_value_is_what_follows_the_first_equals_sign(override: str, value: str) -> None:
    assert load_config(Outer, None, [override]).name == value


@pytest.mark.parametrize("override", ["name", "=x", "inner..rate=1", ".name=x", "name.=x"])
def test_a_malformed_override_is_named(override: str) -> None:
    with pytest.raises(ConfigError, match=r"--set .*wanted the form a\.b=value"):
        load_config(Outer, None, [override])


def test_an_override_does_not_reach_into_a_value() -> None:
    with pytest.raises(ConfigError, match=r"name is a value, not a group"):
        load_config(Outer, None, ["name=x", "name.first=y"])


def test_an_override_that_is_no_yaml_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--set name=\[1: the value is not valid YAML"):
        load_config(Outer, None, ["name=[1"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["name", "missing"]),
        ({"name": "a", "iner": {}}, ["iner", "unknown key", "did you mean 'inner'"]),
        ({"name": "a", "inner": {"dept": 3}}, ["inner.dept", "unknown key", "did you mean 'depth'"]),
        ({"name": "a", "zzzzzz": 3}, ["zzzzzz: unknown key"]),
        ({"name": "a", "inner": {"rate": 2}}, ["inner.rate", "found 2", "less than or equal to 1"]),
        ({"name": "a", "inner": {"rate": float("nan")}}, ["inner.rate", "nan"]),
        ({"name": "a", "inner": {"rate": float("inf")}}, ["inner.rate", "inf"]),
        ({"name": "a", "inner": {"depth": "many"}}, ["inner.depth", "'many'"]),
        ({"name": "a", "sizes": [1, "x"]}, ["sizes.1", "'x'"]),
        ({"name": None}, ["name", "found None"]),
    ],
)
def test_a_complaint_names_source_key_and_finding(settings: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Outer, settings, "my.yaml")
    for word in ["my.yaml", *words]:
        assert word in str(caught.value)


def test_all_complaints_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Outer, {"name": 1, "inner": {"rate": 0, "depth": 0}}, "f")
    assert all(key in str(caught.value) for key in ("name", "inner.rate", "inner.depth"))


def test_a_key_far_from_every_field_gets_no_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Outer, {"name": "a", "zzzzzz": 1}, "f")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"- a\n- b\n", "list at the top"),
        (b"just words", "str at the top"),
        (b"a: [1, 2", "not valid YAML"),
        (b"a: \xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_that_holds_no_mapping_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_mapping(file, ())
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "folder"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make) -> None:
    path = tmp_path / "run.yaml"
    make(path)
    with pytest.raises(ConfigError, match=r"run\.yaml: cannot be read"):
        load_config(Outer, path)


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", f"name: !!python/object/apply:pathlib.Path.touch ['{tmp_path / 'touched'}']\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(Outer, file)
    assert not (tmp_path / "touched").exists()


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer(name="a").name = "b"


@given(rate=st.floats(0.001, 1), depth=st.integers(1, 10**6), name=st.text(max_size=20))
def test_yaml_round_trip_keeps_every_value(rate: float, depth: int, name: str) -> None:
    config = Outer(name=name, inner=Inner(rate=rate, depth=depth))
    assert validate(Outer, yaml.safe_load(to_yaml(config)), "round trip") == config


def test_the_hash_follows_values_and_not_the_order_of_keys() -> None:
    first = validate(Outer, {"name": "a", "inner": {"rate": 0.2, "depth": 4}}, "f")
    second = validate(Outer, {"inner": {"depth": 4, "rate": 0.2}, "name": "a"}, "f")
    assert config_hash(first) == config_hash(second)
    assert len(config_hash(first)) == 16
    assert config_hash(first) != config_hash(Outer(name="a", inner=Inner(rate=0.2, depth=5)))


def test_a_default_that_is_spelt_out_hashes_alike() -> None:
    assert config_hash(Outer(name="a")) == config_hash(Outer(name="a", inner=Inner(rate=0.5), sizes=(1, 2)))


def test_every_preset_makes_a_run() -> None:
    assert {"tiny", "paper"} <= set(preset_names("fod"))
    hashes = set()
    for name in preset_names("fod"):
        run = load_config(FoDJob, None, [f"preset={name}", "manifest=m", "out=o"], presets="fod")
        assert run.preset == name
        hashes.add(config_hash(run.method) + config_hash(run.preprocessing) + config_hash(run.optimiser))
    assert len(hashes) == len(preset_names("fod"))


def test_the_file_lies_over_its_preset(tmp_path: Path) -> None:
    plain = load_config(FoDJob, None, ["preset=tiny", "manifest=m", "out=o"], presets="fod")
    epochs = plain.optimiser.epochs + 1
    file = write(tmp_path / "run.yaml", f"preset: tiny\nmanifest: m\nout: o\noptimiser: {{epochs: {epochs}}}\n")
    changed = load_config(FoDJob, file, presets="fod")
    assert changed.optimiser == plain.optimiser.model_copy(update={"epochs": epochs})
    assert changed.method == plain.method


@pytest.mark.parametrize("name", ["nonesuch", "../tiny", "[1]"])
def test_an_unknown_preset_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=r"preset: found .*; wanted one of .*tiny"):
        load_config(FoDJob, None, [f"preset={name}"], presets="fod")
