"""How much of a classifier's heat lies on the product, and what it still tells where the product is painted over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from hallmark.data.batches import to_images
from hallmark.data.foreground import read_mask
from hallmark.data.preprocess import Preprocessing, fit_mask
from hallmark.evaluation.attention_map import AttentionMap, over_pixels, weighted_channels
from hallmark.evaluation.class_report import mean_auroc
from hallmark.evaluation.measures import Estimate, Figures
from hallmark.evaluation.outcomes import Answers, log_odds_genuine, photographs
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.methods.mgfen import MGFEN, shrunk
from hallmark.training.bundle import Bundle

_GROWN = 0.02
"""By how much a mask grows before the product is painted over, share of the side: its edge would show its outline."""


@dataclass(frozen=True)
class Response:
    """What one bundle says of the N masked photographs it was asked about."""

    heat: np.ndarray
    """(N,) float64: share of the energy of the heat that windows are laid by, inside the mask."""
    cam: np.ndarray
    """(N,) float64: the same of the whole image's Grad-CAM."""
    area: np.ndarray
    """(N,) float64: the mask's share of the network input, what heat without preference has."""
    bare_log_odds: np.ndarray
    """(N,) float64: of genuine, with the product painted over."""
    maps: list[tuple[AttentionMap, AttentionMap]]
    """Heat and Grad-CAM of each photograph, where they were asked for."""


class HeatResponse(Figures):
    """Of one configuration over its seeds: HR and the background-only control, with intervals over items and seeds."""

    name: str
    heat: Estimate
    """HR of the heat that windows are laid by."""
    cam: Estimate
    """HR of Grad-CAM."""
    area: float
    auroc: Estimate
    """Of the log-odds of genuine, from the photograph as it is."""
    bare_auroc: Estimate
    """The same with the product painted over; 0.5 where the background tells nothing."""


def respond(bundle: Bundle, table: pa.Table, device: torch.device | str = "cpu", drawn: Sequence[int] = ()) -> Response:
    """Ask a bundle of MGFEN about photographs that have masks.

    Args:
        bundle: with windows.
        table: rows of a manifest, all with a mask.
        device: where it is asked.
        drawn: places of the photographs whose maps are kept.

    Raises:
        DecodeError, DataError: a photograph or mask cannot be read; names it.
    """
    method, config = bundle.build_method(device), bundle.run.preprocessing
    rows = table.select(["mask_uri", "box"]).to_pylist()
    heats, cams, areas, bare = [], [], [], []
    maps: dict[int, tuple[AttentionMap, AttentionMap]] = {}
    for batch in photographs(bundle.run, table):
        first = len(areas)
        images = to_images(batch, config, device)
        masks = np.stack([input_mask(row, config) for row in rows[first : first + len(images)]])
        inside = torch.from_numpy(masks)
        with torch.inference_mode():
            heat = method.classify(images).attended.heat.cpu()
            logits = method.classify(painted_over(images, inside.to(images.device))).logits
        cam = whole_cam(method, images).cpu()
        heats += share_inside(heat, inside).tolist()
        cams += share_inside(cam, inside).tolist()
        areas += masks.mean(axis=(1, 2)).tolist()
        bare += log_odds_genuine(logits.double()).tolist()
        everywhere = np.ones(masks.shape[1:], dtype=bool)
        for place in set(drawn) & set(range(first, len(areas))):
            pixels, own = batch["image"][place - first], place - first
            maps[place] = tuple(over_pixels(pixels, everywhere, one[own], -1) for one in (heat, cam))
    return Response(*map(np.array, (heats, cams, areas, bare)), [maps[place] for place in drawn])


def input_mask(row: dict, config: Preprocessing) -> np.ndarray:
    """(S, S) bool: a photograph's mask as the network input shows it; padding is outside.

    Args:
        row: `mask_uri` and `box` of a manifest's row.
        config: of the bundle.

    Raises:
        DataError: the mask cannot be read; names it.
    """
    return fit_mask(read_mask(row["mask_uri"]) > 127, config, row["box"])


def painted_over(images: Tensor, masks: Tensor) -> Tensor:
    """Images whose product, a little grown, has the mean colour of what lies around it.

    Args:
        images: (B, 3, S, S).
        masks: (B, S, S) bool.

    Returns:
        (B, 3, S, S); zeros where nothing lies around.
    """
    reach = max(1, round(_GROWN * images.shape[-1]))
    grown = F.max_pool2d(masks[:, None].float(), 2 * reach + 1, 1, reach)
    around = 1.0 - grown
    colour = (images * around).sum(dim=(2, 3), keepdim=True) / around.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
    return torch.where(grown > 0, colour, images)


def share_inside(heat: Tensor, masks: Tensor) -> Tensor:
    """Each map's energy inside the mask over all its energy, counted at the mask's size (energy-based pointing game).

    Args:
        heat: (N, h, w), not negative.
        masks: (N, S, S) bool.

    Returns:
        (N,) float64; the mask's share of the area for a map that is zero everywhere.
    """
    spread = F.interpolate(heat[:, None].float(), size=masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    inside, total = (spread * masks).sum(dim=(1, 2)).double(), spread.sum(dim=(1, 2)).double()
    return torch.where(total > 0, inside / total.clamp_min(1e-12), masks.double().mean(dim=(1, 2)))


def whole_cam(method: MGFEN, images: Tensor) -> Tensor:
    """Grad-CAM of the whole image's branch: the last stage, weighted by the likeliest class's mean gradient, and ReLU.

    Args:
        method: in evaluation mode.
        images: (B, 3, H, W).

    Returns:
        (B, h, w) float32, not negative.
    """
    with torch.no_grad():
        last = method.backbone(shrunk(images, method.config.global_px))[-1]
    last = last.detach().requires_grad_()
    with torch.enable_grad():
        logits = method.head(last.mean(dim=(2, 3)))[0]
        (gradient,) = torch.autograd.grad(logits.max(dim=1).values.sum(), last)
    return weighted_channels(last.detach(), gradient)


def heat_response(name: str, responses: Sequence[Response], answers: Answers, bootstrap: SeedBootstrap) -> HeatResponse:
    """Sum up a configuration's responses.

    Args:
        name: of the configuration.
        responses: one a seed, about the same photographs.
        answers: what the same bundles say of these photographs as they are.
        bootstrap: over these photographs and seeds.
    """
    bare = replace(answers, log_odds=np.stack([one.bare_log_odds for one in responses]))
    return HeatResponse(
        name=name,
        heat=mean_response([one.heat for one in responses], bootstrap),
        cam=mean_response([one.cam for one in responses], bootstrap),
        area=float(responses[0].area.mean()),
        auroc=bootstrap.estimate(lambda weights: mean_auroc(answers, weights)),
        bare_auroc=bootstrap.estimate(lambda weights: mean_auroc(bare, weights)),
    )


def response_ratio(above: Sequence[np.ndarray], below: Sequence[np.ndarray], bootstrap: SeedBootstrap) -> Estimate:
    """The ratio of two configurations' HR about the same photographs, one (N,) array a seed."""
    top, bottom = np.stack(above), np.stack(below)
    return bootstrap.estimate(lambda weights: float((weights * top).sum() / (weights * bottom).sum()))


def mean_response(shares: Sequence[np.ndarray], bootstrap: SeedBootstrap) -> Estimate:
    """HR, the mean share over photographs and seeds, one (N,) array a seed."""
    values = np.stack(shares)
    return bootstrap.estimate(lambda weights: float((weights * values).sum() / weights.sum()))
