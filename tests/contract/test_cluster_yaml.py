"""cluster.yaml against Ray's own schema of the cluster launcher, and what the design asks of it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture(scope="module")
def schema() -> dict:
    place = Path(find_spec("ray").submodule_search_locations[0])
    return json.loads((place / "autoscaler" / "ray-schema.json").read_text())


def test_holds_rays_schema(cluster, schema):
    jsonschema.validate(cluster, schema)


def test_the_schema_would_notice(cluster, schema):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster | {"max_worker": 1}, schema)


def test_the_head_does_no_work(cluster):
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["CPU"] == head["resources"]["GPU"] == 0
    assert head["max_workers"] == 0
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--num-cpus=0" in start
    assert "--num-gpus=0" in start


def test_there_are_workers_of_both_kinds(cluster):
    types = cluster["available_node_types"]
    assert {"head", "cpu-workers", "gpu-workers"} == set(types)
    assert all(types[name]["max_workers"] > 0 for name in ("cpu-workers", "gpu-workers"))
    assert types["cpu-workers"]["node_config"]["InstanceType"] != types["gpu-workers"]["node_config"]["InstanceType"]


def test_the_dashboard_is_on_loopback_and_calls_carry_a_token(cluster):
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in (ROOT / "cluster.yaml").read_text()
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]
    assert "~/.ray/auth_token" in cluster["file_mounts"]


def test_the_package_is_installed_from_the_checkout(cluster):
    mounts = cluster["file_mounts"]
    installs = [command for command in cluster["setup_commands"] if "pip install" in command]
    assert mounts["~/hallmark"] == "."
    assert any("-c ~/hallmark/constraints.txt" in command and "-e ~/hallmark" in command for command in installs)
    assert {".git", ".venv"} <= set(cluster["rsync_exclude"])
