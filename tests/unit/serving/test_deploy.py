"""Serve config files: checked against Ray's own schema and ours before anything starts; no cluster here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from hallmark.errors import BundleError, CertificateError, ConfigError, GalleryError, OutputError
from hallmark.gallery.store import Reference, write_references
from hallmark.serving.auth import Scope, add_key
from hallmark.serving.deploy import check_artefacts, read_serve_config
from hallmark.types import Authenticity

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "serve_configs").glob("*.yaml"))


@pytest.fixture
def local(tmp_path: Path):
    """Writes a changed copy of local.yaml."""

    def write(change=lambda settings: None) -> Path:
        settings = yaml.safe_load((ROOT / "serve_configs" / "local.yaml").read_text())
        change(settings)
        file = tmp_path / "serve.yaml"
        file.write_text(yaml.safe_dump(settings))
        return file

    return write


@pytest.fixture
def gallery_of(make_described):
    """Writes a gallery of one reference."""

    def write(place: Path, embedding_id: str) -> str:
        described = make_described("0" * 64, np.eye(1, 4)[0])
        reference = Reference(described, "a", "whole", "item", Authenticity.GENUINE, b"")
        return write_references(place, [reference], "bundle", embedding_id).uri

    return write


@pytest.fixture
def artefacts(tmp_path: Path, bundle, gallery_of) -> dict[str, str]:
    add_key(tmp_path / "keys.json", "shop", [Scope.VERIFY])
    gallery = gallery_of(tmp_path / "g.lance", bundle.embedding_id)
    audit = str(tmp_path / "audit")
    return {"bundle": str(bundle.path), "gallery": gallery, "keys": str(tmp_path / "keys.json"), "audit": audit}


def settings_of(file: Path, artefacts: dict[str, str], *overrides: str) -> dict[str, Any]:
    return read_serve_config(file, [*[f"args.{name}={place}" for name, place in artefacts.items()], *overrides])


def test_there_are_serve_configs():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_serve_configs_hold_rays_schema(file):
    settings = read_serve_config(file)
    ServeDeploySchema.model_validate(settings)
    assert settings["http_options"]["host"] == "127.0.0.1"


def test_paths_become_absolute_and_overrides_reach_the_application(local):
    settings = read_serve_config(local(), ["args.bundle=b", "args.keys=s3://k/keys.json", "http_options.port=9"])
    args = settings["applications"][0]["args"]
    assert args["bundle"] == os.path.abspath("b")
    assert args["keys"] == "s3://k/keys.json"
    assert settings["http_options"]["port"] == 9


def test_paths_of_several_bundles_and_of_a_canary_become_absolute(local):
    def several(settings):
        args = application(settings)["args"]
        del args["bundle"], args["gallery"]
        args["bundles"] = [{"name": name, "bundle": f"{name}/bundle", "gallery": f"s3://{name}.lance"} for name in "ab"]
        application(settings)["deployments"] = [{"name": "Retriever_a"}, {"name": "Enroller_b"}]

    args = read_serve_config(local(several))["applications"][0]["args"]
    assert [bundle["bundle"] for bundle in args["bundles"]] == [
        os.path.abspath("a/bundle"),
        os.path.abspath("b/bundle"),
    ]
    assert args["bundles"][1]["gallery"] == "s3://b.lance"
    change = ["args.canary.bundle=next", "args.canary.gallery=next.lance"]
    args = read_serve_config(local(), change)["applications"][0]["args"]
    assert args["canary"]["gallery"] == os.path.abspath("next.lance")
    assert args["audit"] == os.path.abspath("runs/demo/audit")


def test_the_host_is_loopback_unless_told(local):
    assert read_serve_config(local(lambda s: s.pop("http_options")))["http_options"]["host"] == "127.0.0.1"


def application(settings: dict[str, Any]) -> dict[str, Any]:
    return settings["applications"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: application(s)["args"].update(galery="x"),
            r"hallmark\.args: galery: unknown key; did you mean 'gal",
        ),
        (lambda s: application(s)["args"].pop("bundle"), r"args: bundle: missing"),
        (lambda s: application(s)["args"].pop("keys"), r"args\.keys: missing"),
        (lambda s: application(s)["args"].update(batch_size=0), r"batch_size: found 0"),
        (lambda s: application(s)["args"].update(device="tpu"), r"device: found 'tpu'"),
        (lambda s: s.update(http_option={}), r"http_option: unknown key; did you mean 'http_options'"),
        (lambda s: s["http_options"].update(prot=1), r"http_options\.prot: unknown key; did you mean 'port'"),
        (
            lambda s: application(s)["deployments"][1].update(max_queued_request=1),
            r"applications\.0\.deployments\.1\.max_queued_request: unknown key; did you mean",
        ),
        (
            lambda s: application(s)["deployments"][1]["ray_actor_options"].update(num_cpu=1),
            r"ray_actor_options\.num_cpu: unknown key; did you mean 'num_cpus'",
        ),
        (
            lambda s: application(s)["deployments"][2]["user_config"]["decision"].update(treshold_global=0),
            r"user_config: decision\.treshold_global: unknown key; did you mean 'threshold_global'",
        ),
        (
            lambda s: application(s)["deployments"][1]["user_config"].update(gallery_version=0),
            "gallery_version: found 0",
        ),
        (
            lambda s: application(s)["deployments"][0].update(user_config={"canary_shar": 1}),
            r"Gateway\.user_config: canary_shar: unknown key; did you mean 'canary_share'",
        ),
        (
            lambda s: application(s)["deployments"][3].update(user_config={"any": 1}),
            r"Enroller\.user_config: any: unknown key",
        ),
        (
            lambda s: application(s)["deployments"][1].update(name="Retriver"),
            "found 'Retriver'; wanted one of Gateway, Retriever, Verifier, Enroller",
        ),
        (lambda s: application(s)["args"].update(bundle=None), r"hallmark\.args: bundle: missing"),
        (lambda s: s.pop("applications"), "applications: missing"),
        (lambda s: s["http_options"].update(port="many"), r"http_options\.port: found 'many'"),
    ],
)
def test_a_wrong_key_or_value_is_named(local, change, said):
    with pytest.raises(ConfigError, match=said):
        read_serve_config(local(change))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::"])
def test_anonymous_beyond_loopback_is_refused(local, host):
    with pytest.raises(ConfigError, match="anonymous: true on"):
        read_serve_config(local(), ["args.anonymous=true", f"http_options.host='{host}'"])
    assert read_serve_config(local(), ["args.anonymous=true", "args.keys=null"])["applications"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        read_serve_config(tmp_path / "none.yaml")


def test_whole_artefacts_pass(local, artefacts):
    check_artefacts(settings_of(local(), artefacts))


@pytest.mark.parametrize(("name", "error"), [("bundle", BundleError), ("gallery", GalleryError)])
def test_a_missing_artefact_is_named(local, artefacts, tmp_path, name, error):
    place = str(tmp_path / "gone.lance")
    with pytest.raises(error, match=r"gone\.lance: no"):
        check_artefacts(settings_of(local(), artefacts | {name: place}))


def test_only_a_bundle_that_classifies_can_do_without_a_gallery(local, artefacts, classifier):
    with pytest.raises(GalleryError, match="gallery: missing"):
        check_artefacts(settings_of(local(), artefacts | {"gallery": "null"}))
    check_artefacts(settings_of(local(), artefacts | {"bundle": str(classifier.path), "gallery": "null"}))


def test_a_gallery_of_another_bundle_is_refused(local, artefacts, tmp_path, bundle, gallery_of):
    other = gallery_of(tmp_path / "other.lance", "another")
    with pytest.raises(GalleryError, match=f"embedding another, the bundle in use has {bundle.embedding_id}"):
        check_artefacts(settings_of(local(), artefacts | {"gallery": other}))


def test_a_bundle_without_calibration_is_refused(local, artefacts, tmp_path, bundle):
    copy = tmp_path / "uncalibrated"
    shutil.copytree(bundle.path, copy)
    (copy / "calibration.json").unlink()
    with pytest.raises(BundleError, match=r"has no calibration\.json"):
        check_artefacts(settings_of(local(), artefacts | {"bundle": str(copy)}))


def test_a_damaged_key_file_is_refused(local, artefacts):
    Path(artefacts["keys"]).write_text("torn")
    with pytest.raises(ConfigError, match="is no key file"):
        check_artefacts(settings_of(local(), artefacts))


def test_an_audit_log_that_cannot_be_written_is_refused(local, artefacts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"args\.audit: .*file/audit: cannot be written"):
        check_artefacts(settings_of(local(), artefacts | {"audit": str(tmp_path / "file" / "audit")}))


def test_a_missing_key_for_certificates_is_refused(local, artefacts, tmp_path):
    with pytest.raises(CertificateError, match=r"none\.pem"):
        check_artefacts(settings_of(local(), artefacts | {"certificate_key": str(tmp_path / "none.pem")}))


def test_a_canarys_artefacts_are_opened_too(local, artefacts, tmp_path):
    whole = [f"args.canary.bundle={artefacts['bundle']}", f"args.canary.gallery={artefacts['gallery']}"]
    check_artefacts(settings_of(local(), artefacts, *whole))
    with pytest.raises(GalleryError, match=r"gone\.lance"):
        check_artefacts(settings_of(local(), artefacts, whole[0], f"args.canary.gallery={tmp_path}/gone.lance"))


def test_live_settings_that_cannot_hold_are_refused(local, artefacts):
    def change(name: str, value: object):
        return lambda s: application(s)["deployments"][2].update(user_config={name: value})

    with pytest.raises(GalleryError, match="has no version 7"):
        check_artefacts(settings_of(local(change("gallery_version", 7)), artefacts))
    with pytest.raises(ConfigError, match="threshold_counterfeit"):
        check_artefacts(settings_of(local(change("decision", {"threshold_counterfeit": 0.9})), artefacts))
