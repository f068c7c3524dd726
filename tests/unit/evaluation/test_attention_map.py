"""Which places speak for the class that is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from hallmark.config import validate
from hallmark.data.preprocess import Preprocessing, normalise
from hallmark.evaluation.attention_map import (
    AttentionMap,
    attention_maps,
    draw_attention,
    energy_inside,
    grad_cam,
    over_pixels,
)
from hallmark.evaluation.canvas import to_png
from hallmark.methods.kag_mtln import KAGMTLN, KAGMTLNConfig
from hallmark.training.run import KAGRun


@pytest.fixture(scope="module")
def method() -> KAGMTLN:
    torch.manual_seed(0)
    config = {
        "backbone": {"name": "test_resnet", "pretrained": False, "stage": 3, "group_norm": True},
        "reduce": None,
        "hidden": 8,
        "dropout": 0.0,
    }
    return KAGMTLN(validate(KAGMTLNConfig, config, "tiny"), 2, auxiliary=False).eval()


def test_maps_against_plain_loops(method: KAGMTLN) -> None:
    images = torch.randn(3, 3, 64, 96)
    found, told = grad_cam(method, images)
    for place, image in enumerate(images):
        features = method.backbone(image[None]).detach().requires_grad_()
        logits = method.main_head(method.pyramid(features))[0][0]
        best = int(logits.argmax())
        assert int(told[place]) == best
        logits[best].backward()
        heat = torch.zeros(features.shape[2:])
        for channel in range(features.shape[1]):
            heat += features.grad[0, channel].mean() * features[0, channel].detach()
        torch.testing.assert_close(found[place], heat.clamp_min(0), atol=1e-5, rtol=1e-4)
    assert (found >= 0).all()


def test_nothing_is_left_behind(method: KAGMTLN) -> None:
    images = torch.randn(1, 3, 64, 64)
    method.zero_grad()
    with torch.inference_mode():
        before = method.classify(images).logits
    grad_cam(method, images)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert not method.backbone._forward_hooks
    with torch.inference_mode():
        assert torch.equal(method.classify(images).logits, before)


def test_padding_carries_no_heat_and_its_share_is_told() -> None:
    content = np.zeros((40, 40), dtype=bool)
    content[10:30] = True
    heat = torch.rand(5, 5) + 0.1
    one = over_pixels(np.zeros((40, 40, 3), np.uint8), content, heat, told=1)
    spread = F.interpolate(heat[None, None], size=(40, 40), mode="bilinear", align_corners=False)[0, 0].numpy()
    assert (one.heat[~content] == 0).all()
    assert one.heat.max() == pytest.approx(1.0)
    np.testing.assert_allclose(one.heat[content], spread[content] / spread[content].max(), atol=1e-5)
    assert one.inside == pytest.approx(spread[content].sum() / spread.sum(), rel=1e-5)


@pytest.mark.parametrize("fill", ["gray", "none"])
def test_photographs_that_are_not_square_have_maps_of_their_content(
    fill: str, tmp_path: Path, method: KAGMTLN, tiny_classifier_run: KAGRun
) -> None:
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(40, 80), (80, 40), (60, 60)]):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(tmp_path / f"{number}.png")
    rows = [
        {"image_id": str(number), "uri": str(tmp_path / f"{number}.png"), "box": None, "mask_uri": None}
        for number in range(3)
    ]
    preprocessing = Preprocessing(side_px=64, fill=fill)
    run = tiny_classifier_run.model_copy(update={"preprocessing": preprocessing})
    maps = attention_maps(method, run, pa.Table.from_pylist(rows))
    assert [one.pixels.shape for one in maps] == [(64, 64, 3)] * 3
    share = 1.0 if fill == "none" else 0.5
    assert [float(one.content.mean()) for one in maps] == [share, share, 1.0]
    assert all((one.heat[~one.content] == 0).all() for one in maps)
    pixels = torch.tensor(np.stack([one.pixels for one in maps]))
    with torch.inference_mode():
        logits = method.classify(normalise(pixels, preprocessing)).logits
    assert [one.told for one in maps] == logits.argmax(dim=1).tolist()
    assert energy_inside(maps).n == (0 if fill == "none" else sum(one.inside is not None for one in maps[:2]))


def test_a_map_of_nothing_has_no_energy() -> None:
    one = over_pixels(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), dtype=bool), torch.zeros(2, 2), told=0)
    assert one.inside is None
    assert not one.heat.any()


def attention(inside: float | None, share: float) -> AttentionMap:
    content = np.zeros((10, 10), dtype=bool)
    content[: int(10 * share)] = True
    return AttentionMap(np.zeros((10, 10, 3), np.uint8), content, np.zeros((10, 10), np.float32), 0, inside)


def test_energy_is_that_of_the_padded_photographs() -> None:
    told = energy_inside([attention(0.9, 0.5), attention(0.7, 0.3), attention(1.0, 1.0), attention(None, 0.5)])
    assert (told.n, told.inside, told.content) == (2, pytest.approx(0.8), pytest.approx(0.4))
    none = energy_inside([attention(1.0, 1.0)])
    assert (none.n, none.inside, none.content) == (0, None, None)


def test_maps_can_be_drawn() -> None:
    shown = [attention(0.9, 0.5), attention(0.7, 0.3)]
    figure = draw_attention(["a\ngenuine\ntold rightly", "b"], [("base", shown), ("without KAG", shown)])
    assert to_png(figure).startswith(b"\x89PNG")
