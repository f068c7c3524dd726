"""The Serve graph: Gateway, Retriever and Verifier as composed deployments."""

# Annotations stay objects here: Serve reads the builder's to make GraphConfig of `args`.

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from pydantic import Field
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from hallmark.config import Config
from hallmark.data.preprocess import Box
from hallmark.errors import ConfigError, HallmarkError
from hallmark.gallery.describe import Describer, Photograph
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import open_gallery
from hallmark.serving.auth import KeyRing
from hallmark.serving.gateway import NotReadyError, OverloadedError, make_app
from hallmark.serving.schema import Health
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.types import Described, Quality, Retrieved, Verdict
from hallmark.verdict.calibration import calibration_of
from hallmark.verdict.comparison import Examiner
from hallmark.verdict.decide import DecisionConfig

_HEALTHY_COSINE = 0.999


class GraphConfig(Config):
    """`args` of the application in serve_configs/*.yaml; a change restarts the replicas."""

    bundle: str = Field(description="folder of a calibrated bundle")
    gallery: str = Field(description="the gallery, a folder ending in .lance")
    keys: str | None = Field(None, description="key file of `hallmark keys`; null only together with anonymous")
    anonymous: bool = Field(False, description="answer without a key, requests of this machine only")
    device: str = Field("cpu", pattern=r"^(cpu|cuda)$", description="where the network runs")
    batch_size: int = Field(8, ge=1, le=256, description="photographs described together at most")
    batch_wait_s: float = Field(0.005, ge=0, le=1, description="how long a photograph waits for company, seconds")


class LiveConfig(Config):
    """`user_config` of Retriever and Verifier, the same for both; a change needs no restart."""

    gallery_version: int | None = Field(None, ge=1, description="null: the latest when the replica (re)reads this")
    decision: DecisionConfig = DecisionConfig()


@dataclass(frozen=True)
class Found:
    """What the Retriever hands to the Verifier: small tensors, no pixels."""

    described: Described
    retrieved: Retrieved
    timings_ms: dict[str, float]


@serve.deployment
class Retriever:
    """Decodes, describes in batches, and finds the nearest references."""

    def __init__(self, config: dict[str, Any]):
        self._config = GraphConfig.model_validate(config)
        self._bundle = open_bundle(self._config.bundle)
        self._calibration = calibration_of(self._bundle)
        self._describer = Describer(self._bundle, self._config.device)
        self._describe.set_max_batch_size(self._config.batch_size)
        self._describe.set_batch_wait_timeout_s(self._config.batch_wait_s)
        self._probe = self._describer.describe([_probe(self._bundle)])[0].descriptor
        self._index: GalleryIndex | None = None
        self.reconfigure({})

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take up another gallery version or number of candidates."""
        live = LiveConfig.model_validate(user_config or {})
        gallery = open_gallery(self._config.gallery, live.gallery_version, self._bundle.embedding_id)
        if self._index is None or self._index.gallery != gallery:
            self._index = GalleryIndex(gallery)
        self._num_candidates = live.decision.resolve(self._calibration).num_candidates

    def check_health(self) -> None:
        """Describe a stored image again; a replica whose answer has changed is replaced."""
        now = self._describer.describe([_probe(self._bundle)])[0].descriptor
        if not float(now @ self._probe) >= _HEALTHY_COSINE:
            raise RuntimeError("the descriptor of the probe image has changed")

    async def state(self) -> Health:
        """Bundle and gallery in use."""
        return Health(
            status="ready",
            bundle_id=self._bundle.bundle_id,
            gallery_version=self._index.gallery.version,
            num_references=len(self._index),
        )

    async def retrieve(self, data: bytes, box: Box | None) -> Found:
        """Candidates for one encoded photograph, or for what lies in a box of it."""
        began = perf_counter()
        photograph = await asyncio.to_thread(self._describer.read, data, box, thumbnail=False)
        decoded = perf_counter()
        described = await self._describe(photograph)
        embedded = perf_counter()
        retrieved = self._index.retrieve(described.descriptor, self._num_candidates)
        timings = {
            "decode": 1e3 * (decoded - began),
            "describe": 1e3 * (embedded - decoded),
            "retrieve": 1e3 * (perf_counter() - embedded),
        }
        return Found(described, retrieved, timings)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.005)
    async def _describe(self, photographs: list[Photograph]) -> list[Described]:
        return await asyncio.to_thread(self._describer.describe, photographs)


@serve.deployment
class Verifier:
    """Reads the candidates' local descriptors, matches, weighs and decides."""

    def __init__(self, config: dict[str, Any]):
        self._config = GraphConfig.model_validate(config)
        self._bundle = open_bundle(self._config.bundle)
        self._calibration = calibration_of(self._bundle)
        self._in_force = self._calibration
        self._examiners: dict[int, Examiner] = {}

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take up other thresholds."""
        live = LiveConfig.model_validate(user_config or {})
        self._in_force = live.decision.resolve(self._calibration)
        self._examiners = {}

    async def state(self) -> Health:
        """Bundle in use."""
        return Health(status="ready", bundle_id=self._bundle.bundle_id)

    def verify(self, found: Found, request_id: str) -> Verdict:
        """The verdict about a retrieved query; the gallery version is the one it was retrieved from."""
        began = perf_counter()
        version = found.retrieved.gallery_version
        examiner = self._examiners.get(version)
        if examiner is None:
            gallery = open_gallery(self._config.gallery, version, self._bundle.embedding_id)
            examiner = self._examiners[version] = Examiner(gallery, self._in_force, self._bundle.bundle_id)
        verdict = examiner.examine(found.described, found.retrieved, request_id)
        timings = {**found.timings_ms, "verify": 1e3 * (perf_counter() - began)}
        return verdict.model_copy(update={"timings_ms": timings})


class _Stages:
    """The graph as the gateway sees it: Retriever, then Verifier, with one kind of error."""

    def __init__(self, retriever: DeploymentHandle, verifier: DeploymentHandle):
        self._retriever, self._verifier = retriever, verifier

    async def verdict(self, data: bytes, box: Box | None, request_id: str) -> Verdict:
        began = perf_counter()
        with _plain_errors():
            # The response object goes on as it is: the candidates travel from Retriever to Verifier directly.
            verdict = await self._verifier.verify.remote(self._retriever.retrieve.remote(data, box), request_id)
        return verdict.model_copy(
            update={"timings_ms": {**verdict.timings_ms, "total": 1e3 * (perf_counter() - began)}}
        )

    async def ready(self) -> Health:
        with _plain_errors():
            state, _ = await asyncio.gather(self._retriever.state.remote(), self._verifier.state.remote())
        return state


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turns what Ray wraps around an error back into the error."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, HallmarkError):
            raise error.cause from None
        raise
    except BackPressureError:
        raise OverloadedError("too many photographs are waiting; try again shortly") from None
    except DeploymentUnavailableError:
        raise NotReadyError("a stage of the graph is not available; try again shortly") from None


def _stages() -> _Stages:
    """The stages of the gateway replica that this runs in."""
    return serve.get_replica_context().servable_object.stages


def build(args: GraphConfig) -> serve.Application:
    """The application that serve_configs/*.yaml name as `import_path`.

    Raises:
        ConfigError: neither keys nor `anonymous`.
    """
    if args.keys is None and not args.anonymous:
        raise ConfigError("args.keys: missing; wanted a key file (`hallmark keys add`), or anonymous: true on loopback")
    bundle = open_bundle(args.bundle)
    app = make_app(
        graph=_stages,
        keys=KeyRing(Path(args.keys)) if args.keys else None,
        max_photograph_bytes=bundle.input.limits.max_bytes,
        names_requests=False,
    )

    @serve.deployment(name="Gateway")
    @serve.ingress(app)
    class Gateway:
        def __init__(self, retriever: DeploymentHandle, verifier: DeploymentHandle):
            self.stages = _Stages(retriever, verifier)

    settings = args.model_dump(mode="json")
    return Gateway.bind(Retriever.bind(settings), Verifier.bind(settings))


def _probe(bundle: Bundle) -> Photograph:
    """A fixed image: a colour ramp with a pattern, the same on every replica."""
    side = bundle.input.preprocessing.side_px
    ramp = np.linspace(0, 255, side)
    y, x = np.meshgrid(ramp, ramp, indexing="ij")
    image = np.stack([x, y, 127 + 127 * np.sin(x / 7) * np.cos(y / 11)], axis=-1).astype(np.uint8)
    finer = cv2.resize(image, (bundle.input.preprocessing.surface.side_px,) * 2)
    return Photograph("", image, finer, Quality(width=side, height=side, sharpness=0, brightness=0, clipped=0), b"")
