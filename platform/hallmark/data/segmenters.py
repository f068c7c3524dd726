"""Segmenters that need no training: likeness to a masked reference, and the first principal component."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from hallmark.data.foreground import Foreground, ForegroundConfig, Reference, judged
from hallmark.errors import ConfigError, WeightsError

Features = Callable[[Tensor], Tensor]
"""(3, side, side) float32 RGB in [0, 1] -> (C, h, w)."""
_SPECK = 0.1
"""A piece of less than this share of the largest piece's area is no part of the product."""


def build_features(config: ForegroundConfig) -> Features:
    """A timm network's feature map as a function, frozen."""
    if not timm.is_model(config.features):
        raise ConfigError(f"foreground.features: found {config.features!r}; wanted a timm model with feature maps")
    if isinstance(config.pretrained, str) and not Path(config.pretrained).is_file():
        raise WeightsError(f"foreground.pretrained: found {config.pretrained!r}; wanted an existing .safetensors file")
    model = _created(config).eval().requires_grad_(False)
    mean = torch.tensor(model.default_cfg["mean"])[:, None, None]
    std = torch.tensor(model.default_cfg["std"])[:, None, None]

    def features(image: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(((image - mean) / std)[None])[-1][0].float()

    return features


def _created(config: ForegroundConfig) -> torch.nn.Module:
    options: dict[str, object] = {"features_only": True, "out_indices": (config.stage,)}
    if isinstance(config.pretrained, str):
        options["pretrained_cfg_overlay"] = {"file": config.pretrained}
    module = timm.models.model_entrypoint(config.features).__module__
    if module.rsplit(".", 1)[-1] in {"vision_transformer", "deit", "eva"}:
        options["img_size"] = config.side_px
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same in every worker
        try:
            return timm.create_model(config.features, pretrained=bool(config.pretrained), **options)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"foreground.features {config.features!r}: its weights could not be loaded ({_first_line(error)}). One "
                "of three things mends it: give the machine access to the model hub (or a filled hub cache); set "
                "foreground.pretrained to the path of a .safetensors file; or set foreground.pretrained to false"
            ) from None
        except (RuntimeError, ValueError, IndexError, AssertionError, AttributeError) as error:
            raise ConfigError(
                f"foreground.features: {config.features!r} gives no feature map {config.stage} at side_px "
                f"{config.side_px} ({_first_line(error)}); wanted a network with feature maps and a stage that it has"
            ) from None


def channel_weights(features: Tensor, mask: Tensor) -> Tensor:
    """Mask-guided channel attention, alpha_c = sigmoid(sum(M·F^c) / sum(M)) (MGFEN eq. 1, divided by the mask's area).

    Args:
        features: (C, h, w) float32.
        mask: (h, w) float32 in [0, 1], not all zero.

    Returns:
        (C,) in (0, 1).
    """
    return torch.sigmoid(masked_mean(features, mask))


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """(C, h, w) averaged over the mask (h, w), as (C,)."""
    return (features * mask).sum(dim=(1, 2)) / mask.sum().clamp_min(1e-6)


def medoid(descriptors: Tensor) -> int:
    """The row of (N, C) whose cosines to all the rows sum highest; the first of equals."""
    unit = F.normalize(descriptors, dim=1)
    return int((unit @ unit.T).sum(dim=1).argmax())


class Prototype:
    """Likeness to the masked mean of the medoid reference, thresholded and refined along edges of colour.

    Colour (CIELAB) stands beside the network's channels. Both are centred and scaled by their spread over the
    reference: untrained or rectified features all point one way, and their cosines would say nothing.
    """

    def __init__(self, config: ForegroundConfig, references: Sequence[Reference]):
        self.config, self.features = config, build_features(config)
        maps = [self._described(squared(reference.image, config.side_px)) for reference in references]
        masks = [
            mask_on_grid(reference.mask, *described.shape[1:])
            for reference, described in zip(references, maps, strict=True)
        ]
        means = torch.stack([masked_mean(described, mask) for described, mask in zip(maps, masks, strict=True)])
        chosen = medoid(means - torch.stack([described.mean(dim=(1, 2)) for described in maps]).mean(dim=0))
        flat = maps[chosen].flatten(1)
        self.centre = flat.mean(dim=1)[:, None, None]
        self.spread = flat.std(dim=1).clamp_min(1e-4)[:, None, None]
        self.weights = channel_weights(maps[chosen], masks[chosen])[:, None, None]
        self.target = masked_mean(self._weighted(maps[chosen]), masks[chosen])

    def segment(self, image: np.ndarray) -> Foreground:
        square = squared(image, self.config.side_px)
        cosine = F.cosine_similarity(self._weighted(self._described(square)), self.target[:, None, None], dim=0).numpy()
        side = self.config.side_px
        similarity = cv2.resize(cosine, (side, side), interpolation=cv2.INTER_LINEAR)
        levels = _stretched(similarity)
        _, likely = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        return judged(restored(refined(square, whole(likely > 0)), image), self.config, float(cosine.max()))

    def _described(self, square: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(square).permute(2, 0, 1).float() / 255
        mapped = self.features(tensor)
        lab = cv2.cvtColor(square.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) / 100
        colour = cv2.resize(lab, mapped.shape[:0:-1], interpolation=cv2.INTER_AREA)
        # Colour weighs as much as the network: its three channels are repeated to a third of the whole.
        repeats = max(1, mapped.shape[0] // 6)
        return torch.cat([mapped, torch.from_numpy(colour).permute(2, 0, 1).repeat(repeats, 1, 1)])

    def _weighted(self, described: Tensor) -> Tensor:
        return self.weights * (described - self.centre) / self.spread


class PrincipalComponent:
    """First principal component of the patch features, turned so that the middle of the photograph is kept."""

    def __init__(self, config: ForegroundConfig):
        self.config, self.features = config, build_features(config)

    def segment(self, image: np.ndarray) -> Foreground:
        square = squared(image, self.config.side_px)
        mapped = self.features(torch.from_numpy(square).permute(2, 0, 1).float() / 255)
        height, width = mapped.shape[1:]
        tokens = mapped.flatten(1).T.double()
        tokens = tokens - tokens.mean(dim=0)
        _, vectors = torch.linalg.eigh(tokens.T @ tokens)
        scores = _stretched((tokens @ vectors[:, -1]).reshape(height, width).float().numpy())
        _, kept = cv2.threshold(scores, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        middle = (slice(round(0.2 * height), round(0.8 * height)), slice(round(0.2 * width), round(0.8 * width)))
        # An eigenvector has no sign: begin with the one under which the middle stands out.
        if kept[middle].mean() < kept.mean():
            kept = 1 - kept
        if kept[middle].mean() < 0.35:
            kept = 1 - kept
        block = np.ones((3, 3), np.uint8)
        kept = cv2.morphologyEx(cv2.dilate(kept, block), cv2.MORPH_CLOSE, block)
        return judged(restored(whole(kept > 0).astype(np.float32), image), self.config)


def squared(image: np.ndarray, side_px: int) -> np.ndarray:
    """(H, W, 3) uint8 stretched to (side, side, 3)."""
    return cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA)


def restored(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A float32 mask brought to the photograph's size."""
    return np.clip(cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def mask_on_grid(mask: np.ndarray, height: int, width: int) -> Tensor:
    """(H, W) mask as (height, width) float32: the share of each cell that it covers."""
    inside = (mask if mask.dtype == bool else mask > 127).astype(np.float32)
    return torch.from_numpy(cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA))


def refined(image: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """GrabCut from a first guess: (H, W, 3) uint8 and (H, W) bool -> (H, W) float32 of 0 and 1."""
    if likely.all() or not likely.any():
        return likely.astype(np.float32)
    labels = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    cv2.setRNGSeed(0)  # the mixtures start from random centres
    cv2.grabCut(image, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    cut = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return whole(cut if cut.any() else likely).astype(np.float32)


def whole(mask: np.ndarray) -> np.ndarray:
    """A (H, W) bool mask without holes and specks: print of another colour lies on the product, not beside it."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(outline) for outline in outlines]
    kept = [outline for outline, area in zip(outlines, areas, strict=True) if area >= _SPECK * max(areas)]
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, kept, -1, 1, cv2.FILLED)
    return filled > 0


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
