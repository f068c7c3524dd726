"""HR and the background-only control: shares of heat, masks in the network's frame, and what is painted over."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.data.preprocess import Preprocessing
from hallmark.evaluation.heat_response import input_mask, painted_over, response_ratio, share_inside, whole_cam
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.methods.mgfen import MGFEN, MGFENConfig


def test_the_share_is_the_energy_inside_the_mask():
    heat, mask = torch.zeros(2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[:, :4] = True
    heat[0, 1, 1], heat[0, 6, 6] = 3.0, 1.0
    torch.testing.assert_close(share_inside(heat, mask), torch.tensor([0.75, 0.5], dtype=torch.float64))


@given(st.integers(0, 100), st.floats(0.1, 50))
def test_a_share_lies_in_its_range_whatever_the_heats_scale(seed, scale):
    rng = torch.Generator().manual_seed(seed)
    heat, mask = torch.rand(3, 5, 5, generator=rng), torch.rand(3, 20, 20, generator=rng) > 0.6
    share = share_inside(heat, mask)
    assert (share >= 0).all()
    assert (share <= 1).all()
    torch.testing.assert_close(share_inside(scale * heat, mask), share, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(share + share_inside(heat, ~mask), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-5)
    flat = share_inside(torch.ones(3, 5, 5), mask)
    torch.testing.assert_close(flat, mask.double().mean(dim=(1, 2)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fill", ["none", "white", "gray", "uniform", "random"])
def test_a_mask_lies_where_the_network_sees_the_product_and_never_on_padding(tmp_path: Path, fill: str):
    mask = np.zeros((40, 80), np.uint8)
    mask[10:30, 20:] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    config = Preprocessing(side_px=80, fill=fill)
    found = input_mask({"mask_uri": str(tmp_path / "mask.png"), "box": None}, config)
    rows, columns = (slice(20, 60), slice(20, 80)) if fill == "none" else (slice(30, 50), slice(20, 80))
    wanted = np.zeros((80, 80), bool)
    wanted[rows, columns] = True
    assert found.dtype == bool
    assert (found != wanted).mean() < 0.03
    if fill != "none":
        assert not found[:20].any()
        assert not found[60:].any()


def test_nothing_of_the_product_is_left_and_the_background_stays():
    images = torch.randn(2, 3, 50, 50, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 50, 50, dtype=torch.bool)
    masks[0, 10:30, 10:30], masks[1] = True, True
    painted = painted_over(images, masks)
    other = torch.where(masks[:, None], torch.full_like(images, 9.0), images)
    assert torch.equal(painted_over(other, masks), painted)
    product = painted[0, :, 9:31, 9:31]
    torch.testing.assert_close(product, product[:, :1, :1].expand_as(product))
    assert torch.equal(painted[0, :, 31:], images[0, :, 31:])
    assert not painted[1].any()


def test_grad_cam_of_a_linear_head_is_its_weights_on_the_features():
    torch.manual_seed(0)
    config = {
        "backbone": {"name": "test_resnet", "pretrained": False, "group_norm": True},
        "global_px": 64,
        "pyramid": {"channels": 8},
        "windows": {"crop_px": 32},
    }
    method = MGFEN(validate(MGFENConfig, config, "tiny"), 2).eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        last = method.backbone(images)[-1]
        told = method.head(last.mean(dim=(2, 3)))[0].argmax(dim=1)
        weights = method.head.classes.weight[told]
        wanted = torch.relu(torch.einsum("bc,bchw->bhw", weights, last)) / last[0, 0].numel()
    torch.testing.assert_close(whole_cam(method, images), wanted)
    assert all(weight.grad is None for weight in method.parameters())


def test_the_ratio_is_of_the_means():
    bootstrap = SeedBootstrap(np.array(list("aabbccdd")), np.array([0, 0, 0, 0, 1, 1, 1, 1]), 2, 0, 200)
    ratio = response_ratio([np.full(8, 0.6), np.full(8, 0.4)], [np.full(8, 0.2), np.full(8, 0.3)], bootstrap)
    assert ratio.value == pytest.approx(2.0)
    assert ratio.low <= 2.0 <= ratio.high
