"""MGFEN: what the vote is made of, what each loss teaches, where it looks, and what is reported of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hallmark.config import validate
from hallmark.errors import ConfigError
from hallmark.methods.mgfen import MGFEN, MGFENConfig, shrunk
from hallmark.types import Backdrop, Batch

BACKBONE = {"name": "test_resnet", "pretrained": False, "group_norm": True}
LOSSES = {"consistency": 0.5, "adjust_prior": False, "start": 0.1}


def config(**changes: Any) -> MGFENConfig:
    given = {
        "backbone": BACKBONE,
        "global_px": 64,
        "pyramid": {"channels": 8},
        "windows": {"crop_px": 32},
        "losses": LOSSES,
        **changes,
    }
    return validate(MGFENConfig, given, "tiny")


def make(seed: int = 0, **changes: Any) -> MGFEN:
    torch.manual_seed(seed)
    return MGFEN(config(**changes), 2)


def batch(size: int = 6, side: int = 96, ignored: int = 0) -> Batch:
    product, genuine = torch.arange(size) % 2, torch.arange(size) % 3 == 0
    classes = 2 * product + genuine
    classes[:ignored] = -1
    return {
        "images": torch.randn(size, 3, side, side, generator=torch.Generator().manual_seed(1)),
        "product": product,
        "genuine": genuine,
        "class_index": classes,
        "identity": classes,
        "backdrop": torch.tensor([Backdrop.KEPT, Backdrop.REPLACED, Backdrop.KEPT, Backdrop.NO_MASK] * 2)[:size],
    }


def test_the_total_is_the_weighted_sum_of_the_terms_that_are_on():
    losses = make().training_loss(batch())
    assert losses.weights == {"global": 1.0, "local": 1.0, "vote": 0.5, "activation": 0.5, "consistency": 0.5}
    wanted = sum(losses.weights[name] * term for name, term in losses.terms.items())
    torch.testing.assert_close(losses.total, wanted)
    off = make(losses={"local": 0.0, "vote": 0.0, "activation": 0.0, "consistency": 0.0}).training_loss(batch())
    assert set(off.terms) == {"global"}


def test_the_vote_is_that_of_one_network_on_the_image_and_its_crops():
    method, images = make().eval(), batch()["images"]
    with torch.inference_mode():
        told = method.classify(images)
        small = shrunk(images, 64)
        p = 0.5 * method.head(method.backbone(small)[-1].mean(dim=(2, 3)))[0].softmax(dim=1)
        for image in range(6):
            for window, weight in zip(told.attended.windows[image], told.attended.weights[image], strict=True):
                x0, y0, x1, y1 = (window * 96).round().int().tolist()
                part = images[image, None, :, y0:y1, x0:x1]
                fine = F.interpolate(part, size=(64, 64), mode="bilinear", align_corners=False)
                pooled = method.backbone(F.avg_pool2d(fine, 2))[-1].mean(dim=(2, 3))
                p[image] += 0.5 * weight * method.head(pooled)[0][0].softmax(dim=0)
    # A crop may see the pixel beyond its edge, the part cut out cannot.
    torch.testing.assert_close(told.logits.exp(), p, rtol=0, atol=0.02)
    torch.testing.assert_close(told.logits.exp().sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("weights", ["heat", "mean"])
@pytest.mark.parametrize("pyramid", [{"channels": 8}, None])
def test_where_it_looked_keeps_to_its_contract(pyramid, weights):
    method = make(pyramid=pyramid, windows={"crop_px": 32, "weights": weights}).eval()
    with torch.inference_mode():
        attended = method.classify(batch()["images"]).attended
    assert attended.heat.dtype == attended.windows.dtype == attended.weights.dtype == torch.float32
    assert attended.heat.ndim == 3
    assert 0 <= float(attended.heat.min()) <= float(attended.heat.max()) <= 1
    assert attended.windows.shape == (6, 4, 4)
    assert 0 <= float(attended.windows.min()) <= float(attended.windows.max()) <= 1
    assert (attended.windows[..., :2] < attended.windows[..., 2:]).all()
    assert (attended.weights >= 0).all()
    torch.testing.assert_close(attended.weights.sum(dim=1), torch.ones(6))
    if weights == "mean":
        torch.testing.assert_close(attended.weights, torch.full((6, 4), 0.25))


def test_the_vote_and_the_activation_teach_the_heat():
    method = make()
    for name, taught in (("vote", True), ("activation", True), ("local", False), ("global", False)):
        method.zero_grad(set_to_none=True)
        method.training_loss(batch()).terms[name].backward()
        slopes = [weight.grad for weight in method.heat.parameters()]
        assert any(slope is not None and slope.any() for slope in slopes) == taught


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pyramid": None},
        {"windows": None},
        {"windows": {"crop_px": 32, "weights": "mean"}},
        {"losses": {"vote": 0.0, "activation": 0.0}},
        {"global_share": 0.0},
    ],
)
def test_every_parameter_has_a_gradient_whatever_is_on(changes, progress):
    method = make(**changes)
    method.training_loss(batch(), progress=progress).total.backward()
    slopes = {name: weight.grad for name, weight in method.named_parameters()}
    assert [name for name, slope in slopes.items() if slope is None or not slope.isfinite().all()] == []


def test_the_global_loss_stands_alone_before_the_start():
    method = make()
    assert set(method.training_loss(batch(), progress=0.09).terms) == {"global"}
    assert set(method.training_loss(batch(), progress=0.1).terms) == {
        "global",
        "local",
        "vote",
        "activation",
        "consistency",
    }


def test_the_heat_is_drawn_to_nothing_on_a_background():
    method, given = make(), batch()
    whole = method.training_loss({**given, "foreground": torch.ones(6, 64, 64)}).terms["activation"]
    half = torch.ones(6, 64, 64)
    half[..., :32] = 0
    nothing = method.training_loss({**given, "foreground": 0 * half}).terms["activation"]
    assert float(nothing.detach()) == 0.0
    assert float(method.training_loss({**given, "foreground": half}).terms["activation"].detach()) != float(
        whole.detach()
    )


def test_the_heat_is_drawn_to_nothing_on_padding():
    method, given = make(), batch()
    upper = torch.zeros(6, 96, 96, dtype=torch.bool)
    upper[:, :48] = True
    half = torch.zeros(6, 64, 64)
    half[:, :32] = 1
    padded, known = (method.training_loss({**given, **more}).terms["activation"].detach()
                     for more in ({"content": upper}, {"foreground": half}))  # fmt: skip
    torch.testing.assert_close(padded, known)
    both = {"content": upper, "foreground": 1 - half}
    assert float(method.training_loss({**given, **both}).terms["activation"].detach()) == 0.0


def test_every_loss_reaches_the_features_that_the_head_reads():
    losses = make().training_loss(batch())
    assert losses.features.shape == (6, 5, 96)
    assert losses.aside == {"activation"}
    for name, term in losses.terms.items():
        (slope,) = torch.autograd.grad(term, losses.features, retain_graph=True, allow_unused=True)
        assert (slope is None or not slope.any()) == (name in losses.aside)


def test_only_pairs_on_two_backgrounds_are_held_alike():
    """Rows 0 and 1 differ in background; of 2 and 3 nobody knows a foreground; 4 and 5 differ."""
    method, given = make(), batch()
    wanted = method.training_loss(given).terms["consistency"].detach()
    with torch.no_grad():
        log_p = method.classify(given["images"]).logits
        first, second = log_p[[0, 4]], log_p[[1, 5]]
        told = ((first.exp() - second.exp()) * (first - second)).sum() / 4
    torch.testing.assert_close(wanted, told)
    nothing = {**given, "backdrop": torch.zeros(6, dtype=torch.int64)}
    assert float(method.training_loss(nothing).terms["consistency"].detach()) == 0.0


def test_photographs_without_a_class_teach_nothing():
    method = make(losses={"consistency": 0.0})
    method.training_loss(batch(ignored=6)).total.backward()
    assert not any(weight.grad.any() for weight in method.parameters())


def test_without_windows_it_is_a_plain_classifier():
    method = make(windows=None).eval()
    with torch.inference_mode():
        told = method.classify(batch()["images"])
    assert told.attended is None
    assert method.pyramid is None
    assert told.logits.shape == (6, 4)
    assert told.features.shape == (6, 96)


@pytest.mark.parametrize("native", [True, False])
def test_windows_are_cut_from_the_native_pixels_where_they_are_asked_for(native):
    """An image that was shrunk before says the same only to windows of the shrunken one."""
    method, images = make(windows={"crop_px": 32, "native": native}).eval(), batch(side=192)["images"]
    with torch.inference_mode():
        given, before = (method.classify(one).logits for one in (images, shrunk(images, 64)))
    assert torch.equal(given, before) != native


def test_an_embedding_is_of_unit_norm_with_no_cues():
    method = make(hidden=16).eval()
    with torch.inference_mode():
        told, embedding = method.classify(batch()["images"]), method.embed(batch()["images"])
    torch.testing.assert_close(embedding.descriptor.norm(dim=1), torch.ones(6))
    assert embedding.descriptor.shape == (6, 16)
    assert embedding.local.shape[1] == 0
    torch.testing.assert_close(embedding.class_logits, told.logits)


def test_the_prior_is_for_training_alone():
    torch.manual_seed(0)
    method = MGFEN(config(losses={}), 2, torch.tensor([0.7, 0.1, 0.1, 0.1])).eval()
    alike = make(losses={}).eval()
    images = batch()["images"]
    assert "log_prior" not in method.state_dict()
    with torch.inference_mode():
        torch.testing.assert_close(method.classify(images).logits, alike.classify(images).logits)
        assert float(method.training_loss(batch()).total) != float(alike.training_loss(batch()).total)


def test_flat_heat_and_missing_foregrounds_are_alarming():
    method = make()
    for weight in method.heat.parameters():
        torch.nn.init.zeros_(weight)
    diagnostics = method.training_loss(batch()).diagnostics
    assert float(diagnostics["heat_spread"].max()) < 1e-6
    assert float(diagnostics["heat_entropy"].min()) == pytest.approx(1.0, abs=1e-4)
    (told,) = MGFEN.alarms({"heat_spread": 0.0})
    assert told.startswith("flat heat map")
    (told,) = MGFEN.alarms({"heat_spread": 0.2, "backdrop_bare": 0.25})
    assert told.startswith("no foreground: in 25 % of the batches")
    assert MGFEN.alarms({"heat_spread": 0.2, "backdrop_bare": 0.0}) == []
    assert MGFEN.alarms({}) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_share": 1.5}, r"global_share: found 1\.5; .*less than or equal to 1"),
        ({"losses": {"vote": -1}}, r"losses\.vote: found -1; .*greater than or equal to 0"),
        ({"windows": {"count": 0}}, r"windows.*count: found 0"),
        ({"windows": {"sides": [1.5]}}, r"windows.*sides\.0: found 1\.5"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes, said):
    with pytest.raises(ConfigError, match=said):
        config(**changes)
