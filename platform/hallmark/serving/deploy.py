"""Deploying a Serve config file: checked first, then awaited until it runs or has failed."""

from __future__ import annotations

import difflib
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from hallmark.config import Config, load_mapping, validate
from hallmark.errors import ConfigError, HallmarkError, OutputError, ResourceError
from hallmark.gallery.store import gallery_of
from hallmark.serving.audit import AuditError, AuditLog
from hallmark.serving.auth import read_keys
from hallmark.serving.certificate import read_key
from hallmark.serving.graph import deployment_name
from hallmark.serving.settings import CANARY, BundleConfig, GraphConfig, LiveConfig, TrafficConfig
from hallmark.training.bundle import open_bundle
from hallmark.verdict.calibration import calibration_of

_PATHS = ("bundle", "gallery", "keys", "audit", "certificate_key")
_GRAPH = "hallmark.serving.graph:build"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LIVE = ("Retriever", "Verifier")
"""Stages that take LiveConfig as their `user_config`."""


class DeployError(HallmarkError):
    """The application did not come up."""

    http_status = 503
    title = "Deployment failed"


def read_serve_config(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a Serve config file, lay `a.b=c` overrides over it, check it, and make its paths absolute.

    Overrides of `args.*` apply to every hallmark application of the file.

    Raises:
        ConfigError: the file, a key or a value is wrong; names it.
    """
    own = [override.removeprefix("args.") for override in overrides if override.startswith("args.")]
    settings = load_mapping(path, [override for override in overrides if not override.startswith("args.")])
    validate(ServeDeploySchema, settings, str(path))
    _check_keys(path, settings)
    # Ray's own default is every interface.
    settings["http_options"] = {"host": "127.0.0.1", **settings.get("http_options", {})}
    for application in settings["applications"]:
        if application.get("import_path") == _GRAPH:
            args = load_mapping(None, own, application.get("args", {}))
            _check_application(path, application, args, settings)
            application["args"] = _with_absolute_paths(args)
    return settings


def _check_keys(path: Path, settings: dict[str, Any]) -> None:
    """Refuse keys that Ray's schema does not have; by itself it passes over them, and a misspelt limit goes unseen."""
    levels: list[tuple[str, dict[str, Any], type[BaseModel]]] = [("", settings, ServeDeploySchema)]
    levels.append(("http_options.", settings.get("http_options", {}), HTTPOptionsSchema))
    for place, application in enumerate(settings["applications"]):
        levels.append((f"applications.{place}.", application, ServeApplicationSchema))
        for number, deployment in enumerate(application.get("deployments", [])):
            dotted = f"applications.{place}.deployments.{number}."
            levels.append((dotted, deployment, DeploymentSchema))
            options = deployment.get("ray_actor_options") or {}
            levels.append((f"{dotted}ray_actor_options.", options, RayActorOptionsSchema))
    for dotted, found, schema in levels:
        for key in found:
            if key not in schema.model_fields:
                close = difflib.get_close_matches(str(key), schema.model_fields, n=1)
                raise ConfigError(
                    f"{path}: {dotted}{key}: unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
                )


def _with_absolute_paths(args: dict[str, Any]) -> dict[str, Any]:
    told = args | {name: _absolute(args[name]) for name in _PATHS if args.get(name)}
    if args.get("canary"):
        told["canary"] = _with_absolute_paths(args["canary"])
    if args.get("bundles"):
        told["bundles"] = [_with_absolute_paths(bundle) for bundle in args["bundles"]]
    return told


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(place)


def _check_application(path: Path, application: dict[str, Any], args: dict[str, Any], settings: dict[str, Any]) -> None:
    name = application.get("name", "default")
    config = validate(GraphConfig, args, f"{path}: {name}.args")
    host = settings["http_options"]["host"]
    if config.anonymous and host not in _LOOPBACK:
        raise ConfigError(
            f"{path}: {name}.args.anonymous: true on {host}; wanted keys, or a loopback http_options.host"
        )
    if config.keys is None and not config.anonymous:
        raise ConfigError(f"{path}: {name}.args.keys: missing; wanted a key file, which `hallmark keys add` makes")
    live: dict[str, type[Config]] = {"Gateway": TrafficConfig}
    for one in config.served():
        live |= {deployment_name(stage, one.name): LiveConfig for stage in _LIVE}
    stages = [*live, *[deployment_name("Enroller", one.name) for one in config.served() if one.name != CANARY]]
    for deployment in application.get("deployments", []):
        told = deployment.get("name")
        if told not in stages:
            raise ConfigError(f"{path}: {name}.deployments: found {told!r}; wanted one of {', '.join(stages)}")
        if deployment.get("user_config"):
            validate(live.get(told, Config), deployment["user_config"], f"{path}: {told}.user_config")


def check_artefacts(settings: dict[str, Any]) -> None:
    """Open what the applications will open, so that a missing one is named here and not in a replica's log.

    Raises:
        BundleError, GalleryError: missing, damaged, not calibrated, or not made for each other.
        ConfigError: the key file is damaged, or `decision` contradicts the calibration.
        CertificateError: the key for certificates is missing or damaged.
        OutputError: the folder of the audit log cannot be written.
    """
    for application in settings["applications"]:
        if application.get("import_path") == _GRAPH:
            config = GraphConfig.model_validate(application["args"])
            if config.keys:
                read_keys(Path(config.keys))
            if config.certificate_key:
                read_key(Path(config.certificate_key))
            if config.audit:
                _check_audit(Path(config.audit))
            for one in config.served():
                bundle = open_bundle(one.bundle)
                calibration = calibration_of(bundle)
                for live in _live_configs(application, one):
                    live.decision.resolve(calibration)
                    gallery_of(bundle, one.gallery, live.gallery_version)


def _check_audit(folder: Path) -> None:
    try:
        AuditLog(folder).check()
    except AuditError:
        raise OutputError(f"args.audit: {folder}: cannot be written; wanted a writable folder, or null") from None


def _live_configs(application: dict[str, Any], bundle: BundleConfig) -> list[LiveConfig]:
    """What the stages of a bundle are told to start with; the defaults where the file says nothing."""
    stages = [deployment_name(stage, bundle.name) for stage in _LIVE]
    told = [part.get("user_config") or {} for part in application.get("deployments", []) if part["name"] in stages]
    return [LiveConfig.model_validate(user_config) for user_config in [{}, *told]]


def deploy(settings: dict[str, Any], timeout_s: float, progress: Callable[[str], None] = lambda line: None) -> str:
    """Deploy on the cluster that Ray is connected to and wait.

    Args:
        settings: as `read_serve_config` gives them.
        timeout_s: how long to wait for RUNNING.
        progress: told of each change.

    Returns:
        The URL of the gateway.

    Raises:
        ResourceError: the port is in use, or Serve already runs with another one.
        DeployError: an application failed, with its message, or was not up in time.
    """
    check_artefacts(settings)
    client = ServeSubmissionClient(_dashboard_address())
    options = settings.get("http_options", {})
    host, port = options.get("host", "127.0.0.1"), int(options.get("port", 8000))
    running = client.get_serve_details()
    if running.get("proxies"):
        found = running.get("http_options") or {}
        if (found.get("host"), found.get("port")) != (host, port):
            raise ResourceError(
                f"http_options: Serve already listens on {found.get('host')}:{found.get('port')}; wanted {host}:"
                f"{port}, which takes a new start of Serve: `serve shutdown`, then deploy again"
            )
    else:
        _check_port(host, port)
    client.deploy_applications(settings)
    _await_running(
        client, [application.get("name", "default") for application in settings["applications"]], timeout_s, progress
    )
    return f"http://{host}:{port}"


def _dashboard_address() -> str:
    address = os.environ.get("RAY_DASHBOARD_ADDRESS")
    if address:
        return address
    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=False)
    return f"http://{ray._private.worker.get_dashboard_url()}"


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(
                f"http_options.port: {host}:{port} cannot be listened on ({error.strerror}); wanted a free port: "
                "--set http_options.port=<another>"
            ) from None


def _await_running(
    client: ServeSubmissionClient, names: Sequence[str], timeout_s: float, progress: Callable[[str], None]
) -> None:
    deadline, said = time.monotonic() + timeout_s, ""
    while True:
        applications = client.get_serve_details().get("applications", {})
        states = {name: applications.get(name, {}).get("status", "NOT_STARTED") for name in names}
        line = ", ".join(f"{name} {state}" for name, state in states.items())
        if line != said:
            progress(line)
            said = line
        failed = [name for name, state in states.items() if state in ("DEPLOY_FAILED", "UNHEALTHY")]
        if failed:
            raise DeployError(f"{failed[0]}: {_reason(applications[failed[0]])}")
        if all(state == "RUNNING" for state in states.values()):
            return
        if time.monotonic() > deadline:
            raise DeployError(f"{line} after {timeout_s:g} s; {_reason(applications.get(names[0], {}))}")
        time.sleep(0.5)


def _reason(application: dict[str, Any]) -> str:
    """The application's message and those of its unhealthy deployments."""
    messages = [application.get("message", "")]
    messages += [part.get("message", "") for part in application.get("deployments", {}).values()]
    return " ".join(message for message in messages if message).strip() or "no reason was given"
