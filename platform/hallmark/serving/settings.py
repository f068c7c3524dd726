"""Settings of a served application: what restarts it, and what may change while it runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hallmark.config import Config
from hallmark.gallery.settings import IndexConfig
from hallmark.verdict.decide import DecisionConfig

CANARY = "canary"
"""Name of the second version of a bundle."""

_NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"


class BundleConfig(Config):
    """A bundle that is served, with its gallery."""

    name: str = Field("default", pattern=_NAME, description="how requests and deployments call it")
    bundle: str = Field(description="folder of a calibrated bundle")
    gallery: str | None = Field(
        None, description="the gallery, a folder ending in .lance; null: none, for a bundle that classifies"
    )
    products: tuple[str, ...] | None = Field(None, min_length=1, description="what it is asked about; null: everything")


class CanaryConfig(Config):
    """A second version of the bundle that answers a part of the requests."""

    bundle: str = Field(description="folder of the second version")
    gallery: str | None = Field(
        None,
        description="its gallery, the same one where the embedding is the same; never written to; null: none, for a "
        "bundle that classifies",
    )
    share: float = Field(0.05, ge=0, le=1, description="of the requests that name no bundle: answered by it")
    compare_share: float = Field(
        0.05, ge=0, le=1, description="of those, for one photograph: asked of both, and the verdicts compared"
    )


class GraphConfig(Config):
    """`args` of the application in serve_configs/*.yaml; a change replaces the replicas one by one."""

    bundle: str | None = Field(None, description="folder of a calibrated bundle, where one is served")
    gallery: str | None = Field(
        None, description="its gallery, a folder ending in .lance; null: none, for a bundle that classifies"
    )
    bundles: tuple[BundleConfig, ...] = Field(
        (), description="instead of bundle and gallery, where several are served, of whatever methods"
    )
    choose: Literal["product", "fused"] = Field(
        "product",
        description="whose verdict counts where a request fits several bundles. product: the bundle that is surest of "
        "the product by global similarity (one without a gallery is as sure as one at its threshold); fused: the same, "
        "but inconclusive where another one that judged the product says otherwise",
    )
    canary: CanaryConfig | None = Field(None, description="a second version of the one bundle that is served")
    keys: str | None = Field(None, description="key file of `hallmark keys`; null only together with anonymous")
    anonymous: bool = Field(False, description="answer without a key, requests of this machine only")
    audit: str | None = Field(None, description="folder of the audit log; null keeps none")
    certificate_key: str | None = Field(
        None, description="file made by `hallmark certificate-key`; null: no certificates"
    )
    issuer: str = Field("hallmark", min_length=1, max_length=120, description="who signs, in words, for certificates")
    device: str = Field("cpu", pattern=r"^(cpu|cuda)$", description="where the network runs, and the index")
    threads: Annotated[int, Field(ge=1)] | Literal["all"] | None = Field(
        None,
        description="processor threads of the network in each Retriever: a number, or all cores of the machine; null: "
        "as Ray sets them, by the num_cpus of ray_actor_options",
    )
    index: IndexConfig = IndexConfig()
    batch_size: int = Field(
        8,
        ge=1,
        le=256,
        description="photographs described together at most; with 1 every verdict can be computed again to the bit, "
        "with more those that met company up to rounding (certificates are always described alone)",
    )
    batch_wait_s: float = Field(0.005, ge=0, le=1, description="how long a photograph waits for company, seconds")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.bundle is None and self.gallery is not None:
            raise ValueError("bundle: missing; it must be given")
        if (self.bundle is None) == (not self.bundles):
            raise ValueError("wanted either bundle and gallery, or bundles")
        if self.canary is not None and self.bundles:
            raise ValueError("canary: wanted bundle and gallery, one bundle, beside it")
        names = [entry.name for entry in self.bundles]
        if len(set(names)) < len(names) or CANARY in names:
            raise ValueError(
                f"bundles: found the names {', '.join(names)}; wanted different ones, none of them {CANARY}"
            )
        return self

    def served(self) -> list[BundleConfig]:
        """Every bundle by itself, the default first; a canary is the last."""
        told = list(self.bundles) or [BundleConfig(bundle=self.bundle, gallery=self.gallery)]
        if self.canary is not None:
            told.append(BundleConfig(name=CANARY, bundle=self.canary.bundle, gallery=self.canary.gallery))
        return told


class LiveConfig(Config):
    """`user_config` of Retriever and Verifier, the same for both; a change needs no restart."""

    gallery_version: int | None = Field(None, ge=1, description="null: the latest, taken up within a second")
    decision: DecisionConfig = DecisionConfig()


class TrafficConfig(Config):
    """`user_config` of the Gateway; a change needs no restart."""

    canary_share: float | None = Field(None, ge=0, le=1, description="instead of args.canary.share")
    compare_share: float | None = Field(None, ge=0, le=1, description="instead of args.canary.compare_share")
