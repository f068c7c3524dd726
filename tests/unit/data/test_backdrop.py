"""Backgrounds replaced in training: what is replaced, what is refused and counted, and that labels have no say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2_contingency

from hallmark.data.backgrounds import BackgroundConfig, BackgroundLibrary, BackgroundReplacement, Masked
from hallmark.data.batches import load_photographs, num_judged_at_once
from hallmark.data.composite import CompositeConfig
from hallmark.data.decode import DecodeLimits
from hallmark.data.preprocess import Augmentation, Preprocessing
from hallmark.data.sampling import Labels, ShuffleConfig, ShuffleSampler
from hallmark.data.transforms import Transforms, photograph_seed, prepared, with_other_background
from hallmark.errors import DataError
from hallmark.types import Backdrop

SIDE = 64
BODY = (slice(16, 48), slice(16, 48))


def replacement(probability: float = 1.0, mode: str = "alpha", **changes: object) -> BackgroundReplacement:
    config = BackgroundConfig(probability=probability, **changes)
    return BackgroundReplacement(BackgroundLibrary(config), CompositeConfig(mode=mode))


def photograph() -> np.ndarray:
    return np.random.default_rng(0).integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)


def masked(folder: Path, body: tuple[slice, slice], name: str = "mask") -> str:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[body] = 255
    Image.fromarray(mask).save(folder / f"{name}.png")
    return str(folder / f"{name}.png")


@pytest.mark.parametrize("mode", ["alpha", "poisson_bg"])
@pytest.mark.parametrize("body", [BODY, (slice(0, 40), slice(20, 64)), (slice(0, 64), slice(0, 20))])
def test_the_product_stays_and_the_rest_does_not_at_the_border_too(tmp_path, mode, body):
    image, rng = photograph(), np.random.default_rng(1)
    found, outcome, _ = with_other_background(image, masked(tmp_path, body), None, replacement(mode=mode), rng)
    assert outcome == Backdrop.REPLACED
    core = np.zeros((SIDE, SIDE), bool)
    core[body] = True
    inner = core.copy()
    for axis in (0, 1):
        for step in range(1, 9):
            for shift in (-step, step):
                moved = np.roll(core, shift, axis)
                edge = [slice(None)] * 2
                edge[axis] = slice(shift, None) if shift < 0 else slice(0, shift)
                moved[tuple(edge)] = True
                inner &= moved
    difference = np.abs(found.astype(int) - image)
    assert inner.any()
    assert difference[inner].max() <= 2
    assert difference[~core].mean() > 5


def _unreadable(folder: Path) -> str:
    (folder / "torn.png").write_bytes(b"torn")
    return str(folder / "torn.png")


def _of_another_size(folder: Path) -> str:
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(folder / "small.png")
    return str(folder / "small.png")


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (lambda folder: None, Backdrop.NO_MASK),
        (lambda folder: masked(folder, (slice(0, 0), slice(0, 0))), Backdrop.NO_MASK),
        (lambda folder: masked(folder, (slice(0, 64), slice(0, 63))), Backdrop.TOO_LARGE),
        (lambda folder: masked(folder, (slice(0, 8), slice(0, 8))), Backdrop.TOO_SMALL),
        (_unreadable, Backdrop.UNREADABLE),
        (_of_another_size, Backdrop.UNREADABLE),
        (lambda folder: str(folder / "not_there.png"), Backdrop.UNREADABLE),
    ],
    ids=["none", "empty", "fills the frame", "tiny", "unreadable", "another size", "missing"],
)
def test_what_cannot_be_trusted_is_refused_and_the_photograph_stays(tmp_path, mask, why):
    image = photograph()
    found, outcome, foreground = with_other_background(
        image, mask(tmp_path), None, replacement(), np.random.default_rng(0)
    )
    assert outcome == why
    assert found is image
    assert foreground is None
    kept = with_other_background(image, mask(tmp_path), None, replacement(0.0), np.random.default_rng(0))
    assert kept[1:] == (Backdrop.KEPT, None)


def test_a_photograph_whose_turn_has_not_come_is_as_it_was_and_its_product_known(tmp_path):
    image = photograph()
    rng = np.random.default_rng(0)
    found, outcome, foreground = with_other_background(image, masked(tmp_path, BODY), None, replacement(0.0), rng)
    assert found is image
    assert outcome == Backdrop.KEPT
    assert foreground[BODY].all()
    assert foreground.sum() == foreground[BODY].size


def test_a_box_stands_in_for_a_mask():
    box = (16.0, 16.0, 48.0, 48.0)
    found, outcome, foreground = with_other_background(photograph(), None, box, replacement(), np.random.default_rng(0))
    assert outcome == Backdrop.REPLACED
    assert foreground[16:48, 16:48].all()
    assert foreground.sum() == 32 * 32
    assert np.array_equal(found[28:36, 28:36], photograph()[28:36, 28:36])


def test_batches_tell_what_became_of_every_background(tmp_path):
    Image.fromarray(photograph()).save(tmp_path / "p.png")
    transforms = Transforms(DecodeLimits(), Preprocessing(side_px=SIDE), background=replacement())
    columns = {
        "uri": np.array([str(tmp_path / "p.png")] * 3, dtype=object),
        "mask_uri": np.array([masked(tmp_path, BODY), None, _unreadable(tmp_path)], dtype=object),
        "seed": np.arange(3),
    }
    loaded = load_photographs(columns, transforms)
    assert loaded["backdrop"].dtype == np.int64
    assert loaded["backdrop"].tolist() == [Backdrop.REPLACED, Backdrop.NO_MASK, Backdrop.UNREADABLE]
    # Where the product is not known, it may be anywhere.
    assert loaded["foreground"].shape == (3, 64, 64)
    assert loaded["foreground"].dtype == np.float32
    wanted = np.zeros((64, 64), np.float32)
    wanted[BODY] = 1
    assert np.array_equal(loaded["foreground"][0], wanted)
    assert (loaded["foreground"][1:] == 1).all()
    plain = load_photographs(columns, Transforms(DecodeLimits(), Preprocessing(side_px=SIDE)))
    assert {"backdrop", "foreground"}.isdisjoint(plain)
    assert np.array_equal(loaded["image"][1:], plain["image"][1:])


def test_the_foreground_goes_where_the_photograph_goes(tmp_path):
    """Cut, padded and warped; a black product, as nothing in the library is so dark."""
    image = np.full((SIDE, 2 * SIDE, 3), 255, np.uint8)
    mask = np.zeros((SIDE, 2 * SIDE), np.uint8)
    image[20:50, 60:100], mask[20:50, 60:100] = 0, 255
    Image.fromarray(image).save(tmp_path / "p.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    still = {"brightness": 0, "gamma": 0, "blur_px": 0, "noise": 0}
    warped = Augmentation(rotation_deg=30, shift=0.2, scale=0.2, perspective=0.1, **still)
    given = Preprocessing(side_px=128, fill="white")
    transforms = Transforms(DecodeLimits(), given, warped, background=replacement())
    columns = {
        name: np.array([str(tmp_path / file)] * 4, dtype=object)
        for name, file in (("uri", "p.png"), ("mask_uri", "m.png"))
    }
    columns |= {"seed": np.arange(4), "box": np.array([None, (30.0, 5.0, 128.0, 60.0)] * 2, dtype=object)}
    loaded = load_photographs(columns, transforms)
    for pixels, shares in zip(loaded["image"], loaded["foreground"], strict=True):
        product = cv2.resize((pixels.max(axis=2) < 25).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
        assert 0.03 < shares.mean() < 0.4
        assert np.abs(product - shares).mean() < 0.03


def test_whether_and_what_is_drawn_is_independent_of_the_label():
    """1000 showings of genuine and counterfeit photographs; the ids tell them apart, nothing else does."""
    ours = replacement(0.5)
    table = np.zeros((2, 2), int)
    for number in range(1000):
        seed = photograph_seed(0, 0, f"{'genuine' if number % 2 else 'counterfeit'}-{number}")
        table[number % 2, int(ours.due(np.random.default_rng([seed, 0])))] += 1
    assert chi2_contingency(table).pvalue > 0.001
    assert 0.4 < table[:, 1].sum() / 1000 < 0.6


def test_a_showing_is_the_same_again_and_another_one_another(tmp_path):
    Image.fromarray(photograph()).save(tmp_path / "p.png")
    transforms = Transforms(DecodeLimits(), Preprocessing(side_px=SIDE), background=replacement())
    given = (str(tmp_path / "p.png"), None, masked(tmp_path, BODY), transforms)
    first, again, other = (prepared(*given, seed).fitted.pixels for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_empty_folder_of_backgrounds_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"backgrounds\.folder .*found 0 files and no photograph among them"):
        BackgroundLibrary(BackgroundConfig(folder=str(tmp_path)), [Masked("a", "b")])


def test_pairs_stand_side_by_side_and_every_photograph_comes_as_often():
    classes = np.arange(10) % 4
    labels = Labels(classes // 2, classes % 2 == 1, classes, classes)
    sampler = ShuffleSampler(labels, ShuffleConfig(batch_size=4, showings=4, pairs=True), seed=0)
    batches = sampler.epoch(0)
    assert (batches[:, ::2] == batches[:, 1::2]).all()
    assert np.bincount(batches.ravel()).tolist() == [4] * 10
    assert not np.array_equal(batches, sampler.epoch(1))
    with pytest.raises(ValueError, match=r"found batch_size 4 and showings 3 with pairs: true; wanted both even"):
        ShuffleConfig(batch_size=4, showings=3, pairs=True)


@pytest.mark.parametrize(("side", "wanted"), [(96, 32), (448, 32), (512, 32), (1344, 4), (4096, 1)])
def test_judging_goes_by_pixels(side, wanted):
    assert num_judged_at_once(side) == wanted
