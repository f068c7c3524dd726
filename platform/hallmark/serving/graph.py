"""The Serve graph: Gateway, Retriever, Verifier and Enroller as composed deployments."""

# Annotations stay objects here: Serve reads the builder's to make GraphConfig of `args`.

from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from hallmark.errors import ConfigError
from hallmark.serving.access import Services
from hallmark.serving.audit import AuditLog
from hallmark.serving.auth import KeyRing
from hallmark.serving.bundles import Bundles, Served
from hallmark.serving.canary import Canary
from hallmark.serving.certificate import Issuer
from hallmark.serving.enrolment import Answers, Enrolments
from hallmark.serving.gateway import make_app
from hallmark.serving.handles import Stages
from hallmark.serving.limits import Limits
from hallmark.serving.metrics import Metrics
from hallmark.serving.retriever import Retriever
from hallmark.serving.schema import EnrolmentAnswer, RetiredAnswer, RollbackAnswer
from hallmark.serving.settings import CANARY, BundleConfig, GraphConfig, TrafficConfig
from hallmark.serving.stages import Enrolment, Entry, Source
from hallmark.serving.verifier import Verifier
from hallmark.training.bundle import open_bundle


@serve.deployment(num_replicas=1)
class Enroller:
    """The one writer of a gallery; never more than one replica."""

    def __init__(self, bundle: dict[str, Any], settings: dict[str, Any]):
        config, served = GraphConfig.model_validate(settings), BundleConfig.model_validate(bundle)
        file = answers_file(config, served)
        answers = Answers(file) if file is not None else None
        self._enrolments = Enrolments(Source.of(served, open_bundle(served.bundle)), answers)

    def enrol(self, entries: list[Entry], enrolment: Enrolment) -> EnrolmentAnswer:
        """Enrol what was described."""
        return self._enrolments.enrol(entries, enrolment)

    def retire(self, reference_id: str) -> RetiredAnswer:
        """Take a reference out."""
        return self._enrolments.retire(reference_id)

    def rollback(self, version: int) -> RollbackAnswer:
        """Make an earlier version's content the latest."""
        return self._enrolments.rollback(version)

    def __del__(self) -> None:
        if hasattr(self, "_enrolments"):  # not where the start failed
            self._enrolments.close()


def answers_file(config: GraphConfig, served: BundleConfig) -> Path | None:
    """Where answers to enrolments are kept: beside the gallery where that is a folder, else beside the keys."""
    if served.gallery is None:
        return None
    if "://" not in served.gallery:
        return Path(f"{served.gallery}.answers.sqlite")
    return None if config.keys is None else Path(f"{config.keys}.{served.name}.answers.sqlite")


@serve.deployment
@serve.ingress()
class Gateway:
    """The HTTP door before the stages of every bundle."""

    def __init__(self, settings: dict[str, Any], *stages: DeploymentHandle | None):
        self._config = GraphConfig.model_validate(settings)
        metrics = Metrics(serve.get_replica_context().replica_tag)
        self._bundles = _bundles(self._config, stages, metrics)
        self._services = _services_of(self._config, self._bundles, metrics)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        opened = [open_bundle(one.bundle) for one in self._config.served()]
        most = max(bundle.input.limits.max_bytes for bundle in opened)
        return make_app(lambda: self._services, most, names_requests=False)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Send other shares of the requests to the canary."""
        live = TrafficConfig.model_validate(user_config or {})
        self._bundles.direct(live.canary_share, live.compare_share)


def build(args: GraphConfig) -> serve.Application:
    """The application that serve_configs/*.yaml name as `import_path`.

    Raises:
        ConfigError: neither keys nor `anonymous`.
    """
    if args.keys is None and not args.anonymous:
        raise ConfigError("args.keys: missing; wanted a key file (`hallmark keys add`), or anonymous: true on loopback")
    settings = args.model_dump(mode="json")
    return Gateway.bind(settings, *_deployments(args.served(), settings))


def deployment_name(stage: str, bundle: str) -> str:
    """What a stage of a bundle is called in `deployments` of a Serve config file."""
    return stage if bundle == BundleConfig.model_fields["name"].default else f"{stage}_{bundle}"


def _deployments(served: list[BundleConfig], settings: dict[str, Any]) -> list[Any]:
    """Retriever, Verifier and Enroller of each bundle in turn; one Enroller a gallery, none for the canary."""
    bound: list[Any] = []
    enrollers: dict[str, Any] = {}
    for one in served:
        bundle = one.model_dump(mode="json")
        if one.name != CANARY and one.gallery not in enrollers:
            name = deployment_name("Enroller", one.name)
            enrollers[one.gallery] = Enroller.options(name=name).bind(bundle, settings)
        bound.append(Retriever.options(name=deployment_name("Retriever", one.name)).bind(bundle, settings))
        bound.append(Verifier.options(name=deployment_name("Verifier", one.name)).bind(bundle))
        bound.append(None if one.name == CANARY else enrollers[one.gallery])
    return bound


def _bundles(config: GraphConfig, stages: tuple[DeploymentHandle | None, ...], metrics: Metrics) -> Bundles:
    served, canary = [], None
    for place, one in enumerate(config.served()):
        branch = Stages(one.name, one.gallery, *stages[3 * place : 3 * place + 3], metrics)
        if one.name == CANARY:
            canary = Canary(branch, config.canary.share, config.canary.compare_share)
        else:
            served.append(Served(branch, frozenset(one.products) if one.products else None))
    return Bundles(served, config.choose, canary, metrics)


def _services_of(config: GraphConfig, graph: Bundles, metrics: Metrics) -> Services:
    return Services(
        graph=graph,
        keys=KeyRing(Path(config.keys)) if config.keys else None,
        limits=Limits(Path(f"{config.keys}.limits.sqlite")) if config.keys else None,
        audit=AuditLog(Path(config.audit)) if config.audit else None,
        metrics=metrics,
        issuer=Issuer(Path(config.certificate_key), config.issuer) if config.certificate_key else None,
    )
