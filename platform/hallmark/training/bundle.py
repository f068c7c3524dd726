"""A trained method on disk: all that serving needs, loaded without unpickling."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hallmark.config import Config, config_hash, to_yaml, validate
from hallmark.data.decode import DecodeLimits
from hallmark.data.preprocess import Preprocessing
from hallmark.errors import BundleError, OutputError, WeightsError
from hallmark.methods.base import Method
from hallmark.training.reduction import Reduction, read_reduction
from hallmark.training.run import RunConfig, read_run

_DESCRIBING = ("weights.safetensors", "preprocessing.yaml")
_FILES = (*_DESCRIBING, "config.yaml", "classes.json", "metrics.json", "provenance.json")
_CALIBRATION = "calibration.json"
_REDUCTION = "reduction.safetensors"
_CLASSIFIER = "classifier"


class InputConfig(Config):
    """preprocessing.yaml: what happens to a photograph before the network sees it."""

    limits: DecodeLimits
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Weights are read only when the method is built."""

    path: Path
    bundle_id: str
    """Hash of everything in it, 16 hex digits; goes into every verdict."""
    embedding_id: str
    """Hash of what decides a descriptor (weights, configuration, preprocessing, reduction), which binds a gallery."""
    run: RunConfig
    input: InputConfig
    products: list[str]
    calibration: dict[str, Any] | None
    """As the calibration stage wrote it; None before that."""
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    classifier: Bundle | None = None
    """The bundle inside it that classifies, whose log odds count as evidence; None where there is none."""

    @property
    def classifies(self) -> bool:
        """Whether its method tells product and authenticity by itself."""
        return self.run.classifies

    def build_method(self, device: torch.device | str = "cpu") -> Method:
        """The trained network in evaluation mode.

        Raises:
            BundleError: weights.safetensors is damaged or of another network.
            WeightsError: a weight is not finite.
        """
        method = self.run.exported(len(self.products))
        file = self.path / "weights.safetensors"
        try:
            weights = load_file(file)
            method.load_state_dict(weights)
        except (SafetensorError, RuntimeError, OSError) as error:
            raise BundleError(
                f"{file}: does not fit the network of config.yaml: {str(error).splitlines()[0]}"
            ) from None
        for name, weight in weights.items():
            if not torch.isfinite(weight).all():
                raise WeightsError(f"{file}: {name} holds values that are not finite; train or fetch the bundle again")
        return method.to(device).eval()

    def reduction(self) -> Reduction | None:
        """What shortens its global descriptors; None where they stay as the network has them.

        Raises:
            BundleError: it is damaged.
        """
        file = self.path / _REDUCTION
        return read_reduction(file) if file.is_file() else None


def write_bundle(
    out: str | Path,
    weights: Mapping[str, Tensor],
    run: RunConfig,
    products: list[str],
    metrics: dict[str, Any],
    provenance: dict[str, Any],
) -> Bundle:
    """Write a bundle without calibration, whole or not at all, in place of one that is there.

    Raises:
        OutputError: the folder cannot be written, or holds something that is no bundle.
    """
    out = Path(out)
    draft = _draft_beside(out)
    try:
        save_file({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, draft / _FILES[0])
        (draft / "config.yaml").write_text(to_yaml(run))
        (draft / "preprocessing.yaml").write_text(
            to_yaml(InputConfig(limits=run.limits, preprocessing=run.preprocessing))
        )
        _write_json(draft / "classes.json", {"products": products})
        _write_json(draft / "metrics.json", metrics)
        _write_json(draft / "provenance.json", provenance | {"versions": library_versions()})
        draft.chmod(0o755)
        _put_in_place(draft, out)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{out}: cannot be written ({error}); wanted a writable folder with room for it") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return open_bundle(out)


def check_place(out: str | Path) -> None:
    """Make sure that a bundle can be written there, before the work that leads to it.

    Raises:
        OutputError: as `write_bundle` does.
    """
    _draft_beside(Path(out)).rmdir()


def _draft_beside(out: Path) -> Path:
    if out.exists() and not (out / "config.yaml").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: exists and is no bundle; wanted a new folder or a bundle to replace")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); wanted a writable folder for `out`") from None


def write_reduction(path: str | Path, reduction: Reduction) -> Bundle:
    """Add what shortens global descriptors; bundle_id and embedding_id change.

    Raises:
        BundleError: there is no whole bundle, or it is calibrated, and its thresholds are those of other descriptors.
        OutputError: the bundle's folder cannot be written.
    """
    if (Path(path) / _CALIBRATION).is_file():
        raise BundleError(f"{path}: is calibrated already; wanted a bundle without {_CALIBRATION} to shorten")
    return _with_file(path, _REDUCTION, reduction.save)


def write_calibration(path: str | Path, calibration: dict[str, Any]) -> Bundle:
    """Add the calibration to a bundle, or replace it; the bundle_id changes, the embedding_id does not.

    Raises:
        BundleError: there is no whole bundle.
        OutputError: the bundle's folder cannot be written.
    """
    return _with_file(path, _CALIBRATION, partial(_write_json, content=calibration))


def write_classifier(path: str | Path, classifier: Bundle | None) -> Bundle:
    """Copy a bundle that classifies into a bundle, in place of one that is there; None takes it out.

    The bundle_id changes, the embedding_id does not.

    Raises:
        BundleError: there is no whole bundle, or the other one does not classify.
        OutputError: the bundle's folder cannot be written.
    """
    if classifier is not None and not classifier.classifies:
        raise BundleError(f"{classifier.path}: does not classify; wanted a bundle that does, such as of KAG-MTLN")
    place = open_bundle(path).path / _CLASSIFIER
    if classifier is None and not place.exists():
        return open_bundle(path)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{_CLASSIFIER}-", dir=place.parent) as folder:
            draft, old = Path(folder) / "draft", Path(folder) / "old"
            if classifier is not None:
                shutil.copytree(classifier.path, draft)
            if place.exists():
                os.replace(place, old)
            if classifier is not None:
                os.replace(draft, place)
    except OSError as error:
        raise OutputError(f"{place}: cannot be written ({error}); wanted a writable bundle with room for it") from None
    return open_bundle(path)


def _with_file(path: str | Path, name: str, write: Callable[[Path], None]) -> Bundle:
    """The bundle after a file was added to it, or replaced, whole or not at all."""
    file = open_bundle(path).path / name
    draft = file.with_suffix(".draft")
    try:
        write(draft)
        os.replace(draft, file)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{file}: cannot be written ({reason}); wanted a writable bundle") from None
    return open_bundle(path)


def open_bundle(path: str | Path) -> Bundle:
    """Open and check a bundle.

    Raises:
        BundleError: it is missing, incomplete or cannot be read; names the file.
    """
    path = Path(path).resolve()
    if not path.is_dir():
        raise BundleError(f"{path}: no bundle there; wanted the folder that `jobs/train_fod.py` wrote (its key `out`)")
    missing = [name for name in _FILES if not (path / name).is_file()]
    if missing:
        raise BundleError(f"{path}: is no whole bundle, {', '.join(missing)} missing; train again or copy it whole")
    run = read_run(_read(path / "config.yaml"), str(path / "config.yaml"))
    input_config = validate(InputConfig, _read(path / "preprocessing.yaml"), str(path / "preprocessing.yaml"))
    calibration = path / _CALIBRATION
    reduction = [_REDUCTION] if (path / _REDUCTION).is_file() else []
    names = [*_FILES, *reduction, *([_CALIBRATION] if calibration.is_file() else [])]
    classifier = open_bundle(path / _CLASSIFIER) if (path / _CLASSIFIER).is_dir() else None
    return Bundle(
        path=path,
        bundle_id=_hash_files(path, names, "" if classifier is None else classifier.bundle_id),
        embedding_id=_hash_files(path, [*_DESCRIBING, *reduction], config_hash(run.method)),
        run=run,
        input=input_config,
        products=_read_products(path / "classes.json"),
        calibration=_read(calibration) if calibration.is_file() else None,
        metrics=_read(path / "metrics.json"),
        provenance=_read(path / "provenance.json"),
        classifier=classifier,
    )


def library_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("hallmark", "torch", "timm", "numpy", "opencv-python-headless", "pillow", "ray", "pylance")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _put_in_place(draft: Path, out: Path) -> None:
    if not out.exists():
        os.replace(draft, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
    os.replace(out, old / out.name)
    try:
        os.replace(draft, out)
    except BaseException:
        os.replace(old / out.name, out)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _read_products(file: Path) -> list[str]:
    products = _read(file).get("products")
    if not isinstance(products, list) or not all(isinstance(product, str) for product in products):
        raise BundleError(f"{file}: found {products!r} as products; wanted a list of names")
    return products


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text()
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BundleError(f"{file}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise BundleError(f"{file}: found a {type(content).__name__}; wanted a mapping")
    return content


def _hash_files(path: Path, names: Sequence[str], more: str = "") -> str:
    digest = hashlib.sha256(more.encode())
    for name in names:
        with (path / name).open("rb") as file:
            digest.update(f"{name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
