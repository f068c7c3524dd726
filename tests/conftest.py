"""What all tests share: a working folder of their own, and a tiny bundle with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch import Tensor

from hallmark.config import validate
from hallmark.gallery.describe import Describer, Located, describe_located
from hallmark.gallery.store import Gallery, Reference, write_references
from hallmark.methods.base import Attended, Classification, Classifier, Embedding, embedding_of
from hallmark.methods.fod import FoD
from hallmark.training.bundle import Bundle, write_bundle, write_calibration
from hallmark.training.run import FoDRun, KAGRun, RunConfig
from hallmark.types import Authenticity, Described, Details, Quality
from hallmark.verdict.calibration import Calibration

# A busy machine is no failure.
settings.register_profile("hallmark", deadline=None)
settings.load_profile("hallmark")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own: a slip of a path must not reach the checkout."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def make_described() -> Callable[..., Described]:
    """A described photograph with what is named; two cues that say nothing, and no surface."""

    def make(
        image_id: str = "q", descriptor: Any = (1.0,), quality: dict[str, float] | None = None, **told: Any
    ) -> Described:
        local = np.asarray(told.pop("local", np.zeros((2, 4))), dtype=np.float16)
        details = {
            "positions": np.full((len(local), 2), 0.5, np.float32),
            "weights": np.ones(len(local), np.float16),
            "stride": 0.25,
            "frame": np.array([1, 0, 1, 0], np.float32),
            "surface": b"",
        }
        seen = {"width": 8, "height": 8, "sharpness": 1, "brightness": 0.5, "clipped": 0, **(quality or {})}
        return Described(
            image_id,
            np.asarray(descriptor, dtype=np.float32),
            Details(image_id=image_id, local=local, **{**details, **told}),
            Quality(**seen),
        )

    return make


@pytest.fixture(scope="session")
def tiny_run() -> RunConfig:
    """A run of the smallest FoD: 64 px, 16 tokens, 3 clusters."""
    settings = {
        "manifest": "manifest.parquet",
        "out": "bundle",
        "method": {
            "backbone": {"name": "test_resnet", "pretrained": False, "stage": 3, "group_norm": True},
            "aggregation": {"clusters": 3, "cluster_dim": 8, "token_dim": 8, "hidden": 16, "dropout": 0.0},
            "decoder": {"hidden": 16, "local_dim": 8, "centred": True},
        },
        "preprocessing": {"side_px": 64},
    }
    return validate(FoDRun, settings, "tiny run")


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    """Thresholds that let both verdicts happen."""
    return Calibration(
        mode="paper_match",
        objective="F1, counterfeit positive",
        num_candidates=5,
        threshold_match=0.2,
        threshold_global=-0.5,
        threshold_genuine=0.0,
        threshold_counterfeit=0.0,
        threshold_interval=(-0.1, 0.1),
        slope=2.0,
        intercept=0.0,
        f1=0.9,
        num_genuine=10,
        num_counterfeit=10,
        data_hash="0123456789abcdef",
    )


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_run: RunConfig, calibration: Calibration) -> Bundle:
    """A calibrated bundle with random weights and two products."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("session") / "bundle"
    write_bundle(path, FoD(tiny_run.method).state_dict(), tiny_run, ["a", "b"], {"epochs": []}, {"seed": 0})
    return write_calibration(path, calibration.model_dump(mode="json"))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten pictures of noise, photo-0.png to photo-9.png, the even ones red and the odd ones blue."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(10):
        rng = np.random.default_rng(number)
        base = np.array([(200, 60, 40), (40, 80, 210)][number % 2])
        image = np.clip(base + rng.normal(0, 25, (64, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"photo-{number}.png")
    return folder


@pytest.fixture(scope="session")
def gallery(bundle: Bundle, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """The first six of these photographs: red is product a, blue is b; photo-4 and photo-5 are counterfeits."""
    located = [Located(str(photographs / f"photo-{number}.png")) for number in range(6)]
    references = [
        Reference(
            described=outcome.described,
            product="ab"[number % 2],
            part="whole",
            item_id=f"item-{number}",
            authenticity=Authenticity.GENUINE if number < 4 else Authenticity.COUNTERFEIT,
            thumbnail=outcome.thumbnail,
        )
        for number, outcome in enumerate(describe_located(Describer(bundle), located))
    ]
    place = tmp_path_factory.mktemp("gallery") / "g.lance"
    return write_references(place, references, bundle.bundle_id, bundle.embedding_id)


@pytest.fixture(scope="session")
def tiny_classifier_run() -> RunConfig:
    """A run of the smallest KAG-MTLN, at another size than the smallest FoD."""
    settings = {
        "manifest": "manifest.parquet",
        "out": "bundle",
        "method": {
            "method": "kag_mtln",
            "backbone": {"name": "test_resnet", "pretrained": False, "stage": 3, "group_norm": True},
            "reduce": 8,
            "pyramid": [1, 2],
            "hidden": 16,
            "dropout": 0.0,
        },
        "preprocessing": {"side_px": 48},
    }
    return validate(KAGRun, settings, "tiny classifier run")


@pytest.fixture(scope="session")
def classifier(
    tmp_path_factory: pytest.TempPathFactory, tiny_classifier_run: RunConfig, calibration: Calibration
) -> Bundle:
    """A calibrated bundle that classifies, with random weights and the same two products."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("session") / "classifier"
    weights = tiny_classifier_run.exported(2).state_dict()
    write_bundle(path, weights, tiny_classifier_run, ["a", "b"], {"epochs": []}, {"seed": 0})
    fitted = calibration.model_copy(update={"mode": "classifier", "slope": 0.5})
    return write_calibration(path, fitted.model_dump(mode="json"))


class Looking(Classifier):
    """Looks at the middle, twice, and a little at a corner."""

    def training_loss(self, batch, gather=None, progress=1.0):
        raise NotImplementedError

    def classify(self, images: Tensor) -> Classification:
        batch = len(images)
        heat = torch.zeros(batch, 8, 8)
        heat[:, 2:6, 2:6] = 1.0
        windows = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 0.25, 0.25], [0.25, 0.5, 0.75, 0.75]])
        told = Attended(heat, windows.expand(batch, 3, 4), torch.tensor([[0.5, 0.125, 0.375]]).expand(batch, 3))
        pooled = images.mean(dim=(2, 3))
        return Classification(pooled.new_zeros(batch, 4), pooled, pooled, told)

    def embed(self, images: Tensor) -> Embedding:
        return embedding_of(self.classify(images))


@pytest.fixture(scope="session")
def looker() -> Classifier:
    """A network that tells where it looks."""
    return Looking()


@pytest.fixture
def looking(classifier: Bundle, looker: Classifier, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The bundle of a classifier that tells where it looks."""
    monkeypatch.setattr(Bundle, "build_method", lambda bundle, device="cpu": looker)
    return classifier
