"""The drawn photographs themselves: masks that agree with the picture, what lies beyond the canvas, and sharpness."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest

from hallmark.data.drawing import camera
from hallmark.data.drawing.backgrounds import SURFACES, ground
from hallmark.data.drawing.catalogue import CATALOGUE
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.shots import SOURCES, DrawConfig, Shot, draw_shot, plan
from hallmark.types import Authenticity

CONFIG = DrawConfig(photographs=200, side_px=128, products=len(CATALOGUE))


@lru_cache(maxsize=1)
def _genuine() -> dict[str, Shot]:
    """The first genuine shot of every product."""
    shots = [shot for shot in plan(CONFIG) if shot.authenticity is Authenticity.GENUINE]
    return {shot.product: shot for shot in reversed(shots)}


def _grown(mask: np.ndarray, by_px: int) -> np.ndarray:
    """The mask grown by so many px; shrunk where negative."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(by_px) + 1,) * 2)
    change = cv2.dilate if by_px > 0 else cv2.erode
    return change(mask.astype(np.uint8), disc) > 0


# Masks


@pytest.mark.parametrize("product", CATALOGUE, ids=lambda product: product.name)
def test_another_ground_changes_the_picture_only_outside_the_foreground_mask(product):
    shot = _genuine()[product.name]
    one = draw_shot(replace(shot, background="white_paper"), CONFIG)
    other = draw_shot(replace(shot, background="navy_cloth"), CONFIG)
    np.testing.assert_array_equal(one.foreground_mask, other.foreground_mask)
    differs = np.abs(one.image.astype(int) - other.image).max(axis=-1)
    assert differs[_grown(one.foreground_mask, -6)].max() <= 2
    outside = differs[~_grown(one.foreground_mask, 3)]
    assert outside.size > 200
    assert (outside > 10).mean() > 0.9
    # On the mask's own border a pixel is partly product and partly ground.
    inside, beyond = one.foreground_mask & ~_grown(one.foreground_mask, -1), _grown(one.foreground_mask, 1)
    beyond &= ~one.foreground_mask
    assert differs[inside].mean() < differs[beyond].mean()


@pytest.mark.parametrize("product", CATALOGUE, ids=lambda product: product.name)
def test_edits_lie_on_the_product(product):
    base = _genuine()[product.name]
    for source in SOURCES:
        fake = draw_shot(replace(base, authenticity=Authenticity.COUNTERFEIT, source_id=source), CONFIG)
        assert fake.edit_mask.any(), source
        assert not (fake.edit_mask & ~_grown(fake.foreground_mask, 2)).any(), source


def test_a_plane_is_seen_where_the_view_puts_it():
    frame, side = Frame(40, 60, 60 / 512), (20, 30)
    plane = np.zeros(frame.shape, np.float32)
    plane[10:20, 20:40] = 1
    shifted = np.array([[1, 0, 6], [0, 1, -4], [0, 0, 1]], float)
    wanted = np.zeros(side, np.float32)
    wanted[3:8, 13:23] = 1
    np.testing.assert_allclose(camera.seen(plane, shifted, frame, side), wanted, atol=1e-5)


def test_unrelated_pictures_have_empty_masks():
    drawn = draw_shot(plan(CONFIG)[-1], CONFIG)
    assert not drawn.foreground_mask.any()
    assert not drawn.edit_mask.any()


# Camera


def test_what_runs_over_the_canvas_is_not_smeared():
    """A strap goes on beyond the canvas: the columns that a shift brings in differ from one another."""
    frame = Frame(32, 64, 0.125)
    plane = np.random.default_rng(4).uniform(0, 1, frame.shape).astype(np.float32)
    shifted = np.array([[1, 0, -10], [0, 1, 0], [0, 0, 1]], float)
    brought_in = camera.seen(plane, shifted, frame, frame.shape)[:, -10:]
    assert np.abs(np.diff(brought_in, axis=1)).mean() > 0.2


def test_a_larger_photograph_resolves_finer_detail():
    """Stripes of six pixels keep their contrast, however many pixels the sensor has."""
    seen = {}
    for side in (512, 1024):
        stripes = 0.3 + 0.2 * np.sin(np.arange(side, dtype=np.float32) * 2 * np.pi / 6)
        scene = np.broadcast_to(stripes[None, :, None], (side, side, 3)).copy()
        middle = slice(side // 2 - 60, side // 2 + 60)
        picture = camera.exposed(scene, camera.DEVICES[0], seed=11)
        seen[side] = picture[middle, middle].mean(axis=(0, 2)).std()
    assert seen[512] > 10
    assert seen[1024] > 0.9 * seen[512]


@pytest.mark.parametrize("name", SURFACES)
def test_grounds_fill_their_frame_with_light_and_relief(name):
    frame = Frame(96, 128, 0.25)
    below = ground(name, frame, 3)
    assert below.matter.shape == below.relief.shape == (96, 128, 4)
    assert (below.matter[..., 3] == 1).all()
    assert 0 <= below.matter[..., :3].min() <= below.matter[..., :3].max() < 1.5
    assert below.matter[..., :3].std() > 1e-3
    assert np.abs(below.relief[..., :2]).max() <= 1.1
    np.testing.assert_array_equal(below.matter, ground(name, frame, 3).matter)
    assert not np.array_equal(below.matter, ground(name, frame, 4).matter)


# Items and shots


@pytest.mark.parametrize("product", CATALOGUE, ids=lambda product: product.name)
def test_items_of_a_product_and_shots_of_an_item_both_differ(product):
    """Two items in the same light differ by their matter; two shots of an item differ by pose and light."""
    shot = _genuine()[product.name]
    item = draw_shot(shot, CONFIG).image.astype(int)
    other_item = draw_shot(replace(shot, item_id=f"{shot.item_id}-other"), CONFIG).image
    other_shot = draw_shot(replace(shot, seed=shot.seed + 1), CONFIG).image
    assert np.abs(item - other_item).mean() > 1.0
    assert np.abs(item - other_shot).mean() > np.abs(item - other_item).mean()
