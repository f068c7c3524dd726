"""A trained method on disk: whole or not there, and never unpickled."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hallmark.config import to_yaml
from hallmark.errors import BundleError, ConfigError, OutputError, WeightsError
from hallmark.methods.fod import FoD
from hallmark.training import bundle as bundle_module
from hallmark.training.bundle import (
    Bundle,
    check_place,
    open_bundle,
    write_bundle,
    write_calibration,
    write_classifier,
)
from hallmark.training.run import RunConfig

FILES = [
    "weights.safetensors",
    "config.yaml",
    "preprocessing.yaml",
    "classes.json",
    "metrics.json",
    "provenance.json",
]


@pytest.fixture(scope="module")
def weights(tiny_run: RunConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return FoD(tiny_run.method).state_dict()


@pytest.fixture
def written(tmp_path: Path, tiny_run: RunConfig, weights: dict) -> Bundle:
    """A bundle of this test alone, without calibration."""
    return write_bundle(tmp_path / "out" / "b", weights, tiny_run, ["a", "b"], {"epochs": [1]}, {"seed": 3})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_round_trip_keeps_everything(written: Bundle, tiny_run: RunConfig, weights: dict) -> None:
    opened = open_bundle(written.path)
    assert opened == written
    assert opened.run == tiny_run
    assert opened.input.preprocessing == tiny_run.preprocessing
    assert opened.input.limits == tiny_run.limits
    assert opened.products == ["a", "b"]
    assert opened.metrics == {"epochs": [1]}
    assert opened.provenance["seed"] == 3
    assert opened.provenance["versions"]["torch"]
    assert opened.calibration is None
    assert sorted(contents(written.path)) == sorted(FILES)
    method = opened.build_method()
    assert not method.training
    built = method.state_dict()
    assert built.keys() == weights.keys()
    assert all(torch.equal(built[name], weights[name]) for name in weights)


def test_a_built_method_describes_as_the_trained_one(written: Bundle, tiny_run: RunConfig, weights: dict) -> None:
    trained = FoD(tiny_run.method).eval()
    trained.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(written.build_method().embed(images).descriptor, trained.embed(images).descriptor)


def test_nothing_else_is_left_beside_it(written: Bundle) -> None:
    assert [path.name for path in written.path.parent.iterdir()] == ["b"]


def test_a_bundle_can_be_read_by_others(written: Bundle) -> None:
    assert written.path.stat().st_mode & 0o777 == 0o755


def test_the_same_content_has_the_same_ids_wherever_it_lies(written: Bundle, tmp_path: Path) -> None:
    copied = open_bundle(shutil.copytree(written.path, tmp_path / "elsewhere"))
    assert (copied.bundle_id, copied.embedding_id) == (written.bundle_id, written.embedding_id)
    assert len(written.bundle_id) == len(written.embedding_id) == 16


def test_calibration_changes_the_bundle_and_not_the_embedding(written: Bundle) -> None:
    first = write_calibration(written.path, {"threshold": 0.25})
    second = write_calibration(written.path, {"threshold": 0.5})
    assert (first.calibration, second.calibration) == ({"threshold": 0.25}, {"threshold": 0.5})
    assert len({written.bundle_id, first.bundle_id, second.bundle_id}) == 3
    assert written.embedding_id == first.embedding_id == second.embedding_id
    assert sorted(contents(written.path)) == sorted([*FILES, "calibration.json"])


@pytest.mark.parametrize("part", ["weights", "preprocessing", "method"])
def test_what_decides_a_descriptor_changes_the_embedding_id(
    written: Bundle, tmp_path: Path, tiny_run: RunConfig, weights: dict, part: str
) -> None:
    run, weights = tiny_run, dict(weights)
    if part == "weights":
        name = next(name for name, weight in weights.items() if weight.is_floating_point())
        weights[name] = weights[name] + 1e-3
    if part == "preprocessing":
        run = run.model_copy(update={"preprocessing": run.preprocessing.model_copy(update={"fill": "gray"})})
    if part == "method":
        run = run.model_copy(update={"method": run.method.model_copy(update={"cue_map": "attention"})})
    other = write_bundle(tmp_path / "other", weights, run, ["a", "b"], {"epochs": [1]}, {"seed": 3})
    assert other.embedding_id != written.embedding_id
    assert other.bundle_id != written.bundle_id


@pytest.mark.parametrize("part", ["metrics", "products", "optimiser"])
def test_what_decides_no_descriptor_changes_the_bundle_and_not_the_embedding(
    written: Bundle, tmp_path: Path, tiny_run: RunConfig, weights: dict, part: str
) -> None:
    optimiser = tiny_run.optimiser.model_copy(update={"epochs": 77})
    run = tiny_run.model_copy(update={"optimiser": optimiser}) if part == "optimiser" else tiny_run
    products = ["a", "c"] if part == "products" else ["a", "b"]
    metrics = {"epochs": [2 if part == "metrics" else 1]}
    other = write_bundle(tmp_path / "other", weights, run, products, metrics, {"seed": 3})
    assert other.embedding_id == written.embedding_id
    assert other.bundle_id != written.bundle_id


def test_a_bundle_is_replaced_as_a_whole(written: Bundle, tiny_run: RunConfig, weights: dict) -> None:
    write_calibration(written.path, {"threshold": 0.25})
    replaced = write_bundle(written.path, weights, tiny_run, ["x"], {}, {})
    assert replaced.products == ["x"]
    assert replaced.calibration is None  # fitted for the weights that are gone
    assert [path.name for path in written.path.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("moment", ["save_file", "_write_json", "to_yaml"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")], ids=["kill", "full"])
def test_a_write_that_breaks_off_leaves_the_old_bundle(
    written: Bundle, tiny_run: RunConfig, weights: dict, monkeypatch: pytest.MonkeyPatch, moment: str, error
) -> None:
    before = contents(written.path)

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(bundle_module, moment, fail)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OutputError):
        write_bundle(written.path, weights, tiny_run, ["x"], {}, {})
    assert contents(written.path) == before
    assert [path.name for path in written.path.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(5, "Input/output error")], ids=["kill", "disk"])
def test_the_old_bundle_returns_when_the_new_one_cannot_take_its_place(
    written: Bundle, tiny_run: RunConfig, weights: dict, monkeypatch: pytest.MonkeyPatch, error
) -> None:
    before, replace, calls = contents(written.path), os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise error
        replace(source, target)

    monkeypatch.setattr(bundle_module.os, "replace", second_fails)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OutputError):
        write_bundle(written.path, weights, tiny_run, ["x"], {}, {})
    assert contents(written.path) == before
    assert [path.name for path in written.path.parent.iterdir()] == ["b"]


def test_a_calibration_that_cannot_be_written_leaves_the_old_one(
    written: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = write_calibration(written.path, {"threshold": 0.25})

    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module.os, "replace", fail)
    with pytest.raises(OutputError, match=r"calibration\.json: cannot be written \(No space"):
        write_calibration(written.path, {"threshold": 0.5})
    assert open_bundle(written.path) == calibrated


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_that_holds_something_else_is_refused_and_left(
    tmp_path: Path, tiny_run: RunConfig, weights: dict, kind: str
) -> None:
    out = tmp_path / "mine"
    precious = out / "thesis.txt" if kind == "folder" else out
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("years of work")
    for attempt in (lambda: check_place(out), lambda: write_bundle(out, weights, tiny_run, ["a"], {}, {})):
        with pytest.raises(OutputError, match="exists and is no bundle"):
            attempt()
    assert precious.read_text() == "years of work"


def test_an_empty_folder_may_become_a_bundle(tmp_path: Path, tiny_run: RunConfig, weights: dict) -> None:
    (tmp_path / "empty").mkdir()
    assert write_bundle(tmp_path / "empty", weights, tiny_run, ["a"], {}, {}).products == ["a"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, tiny_run: RunConfig, weights: dict) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "below" / "b"
    for attempt in (lambda: check_place(out), lambda: write_bundle(out, weights, tiny_run, ["a"], {}, {})):
        with pytest.raises(OutputError, match=r"below/b: cannot be written"):
            attempt()


def test_checking_a_place_leaves_nothing_there(tmp_path: Path, written: Bundle) -> None:
    check_place(tmp_path / "new" / "b")
    assert not list((tmp_path / "new").iterdir())
    before = contents(written.path)
    check_place(written.path)
    assert contents(written.path) == before


def test_figures_that_are_no_json_are_not_written(tmp_path: Path, tiny_run: RunConfig, weights: dict) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(tmp_path / "b", weights, tiny_run, ["a"], {"loss": float("nan")}, {})
    assert not (tmp_path / "b").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".b")]


def test_no_bundle_at_all_is_named(tmp_path: Path) -> None:
    for action in (open_bundle, lambda path: write_calibration(path, {})):
        with pytest.raises(BundleError, match=r"nowhere: no bundle there"):
            action(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(written: Bundle, name: str) -> None:
    (written.path / name).unlink()
    with pytest.raises(BundleError, match=rf"no whole bundle, {name} missing"):
        open_bundle(written.path)


@pytest.mark.parametrize("name", [*FILES[1:], "calibration.json"])
@pytest.mark.parametrize("content", [b"[1, 2]", b"{", b"\xff\xfe\x00", b""], ids=["list", "cut", "bytes", "empty"])
def test_a_damaged_file_is_named(written: Bundle, name: str, content: bytes) -> None:
    (written.path / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        open_bundle(written.path)


@pytest.mark.parametrize("products", [None, "a", [1, 2]])
def test_products_must_be_names(written: Bundle, products: object) -> None:
    (written.path / "classes.json").write_text(json.dumps({"products": products}))
    with pytest.raises(BundleError, match=r"classes\.json: found .* as products"):
        open_bundle(written.path)


def test_a_wrong_key_of_the_configuration_is_named(written: Bundle, tiny_run: RunConfig) -> None:
    (written.path / "config.yaml").write_text(to_yaml(tiny_run) + "nonsense: 1\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: nonsense: unknown key"):
        open_bundle(written.path)


def damage_cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def damage_text(file: Path) -> None:
    file.write_bytes(b"not weights at all")


def damage_name(file: Path) -> None:
    weights = load_file(file)
    save_file({f"x.{name}": weight for name, weight in weights.items()}, file)


def damage_shape(file: Path) -> None:
    save_file({name: torch.zeros(weight.numel() + 1) for name, weight in load_file(file).items()}, file)


def damage_gone(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [damage_cut, damage_text, damage_name, damage_shape, damage_gone])
def test_weights_that_do_not_fit_are_named(written: Bundle, damage) -> None:
    damage(written.path / "weights.safetensors")
    with pytest.raises(BundleError, match=r"weights\.safetensors: does not fit") as caught:
        written.build_method()
    assert "\n" not in str(caught.value)


def test_a_pickle_in_the_place_of_weights_is_not_run(written: Bundle, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "touched"),)

    torch.save(Touch(), written.path / "weights.safetensors")
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        written.build_method()
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(
    tmp_path: Path, tiny_run: RunConfig, weights: dict, value: float
) -> None:
    name = next(name for name, weight in weights.items() if weight.is_floating_point() and weight.ndim >= 2)
    broken = weights[name].clone()
    broken.view(-1)[0] = value
    bundle = write_bundle(tmp_path / "b", weights | {name: broken}, tiny_run, ["a"], {}, {})
    with pytest.raises(WeightsError, match=rf"{name} holds values that are not finite"):
        bundle.build_method()


def test_a_classifier_is_copied_whole_and_taken_out_again(written: Bundle, classifier: Bundle, tmp_path: Path) -> None:
    whole = write_classifier(written.path, classifier)
    assert contents(whole.path / "classifier") == contents(classifier.path)
    assert whole.classifier.bundle_id == classifier.bundle_id
    assert whole.embedding_id == written.embedding_id
    assert whole.bundle_id != written.bundle_id
    assert open_bundle(written.path) == write_classifier(written.path, classifier) == whole
    assert write_classifier(written.path, None) == written == write_classifier(written.path, None)
    assert sorted(path.name for path in written.path.iterdir()) == sorted(FILES)


def test_a_change_inside_the_classifier_is_a_change_of_the_bundle(written: Bundle, classifier: Bundle) -> None:
    whole = write_classifier(written.path, classifier)
    write_calibration(whole.classifier.path, classifier.calibration | {"f1": 0.5})
    assert open_bundle(whole.path).bundle_id != whole.bundle_id
    (whole.path / "classifier" / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"classifier: is no whole bundle, weights\.safetensors missing"):
        open_bundle(whole.path)


def test_only_a_bundle_that_classifies_goes_in(written: Bundle, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="does not classify"):
        write_classifier(written.path, bundle)
    assert open_bundle(written.path) == written
