"""Evidence made by hand, and labels that are drawn, photographed and described without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest

from hallmark.data.surface import SurfaceConfig, contrast, encode_surface
from hallmark.types import Authenticity, Candidate, Described, Details, Member, Quality, Retrieved
from hallmark.verdict.evidence import Evidence
from hallmark.verdict.matching import Matches
from hallmark.verdict.template import Template, VerificationConfig

EvidenceMaker = Callable[..., Evidence]


@pytest.fixture(scope="session")
def make_evidence() -> EvidenceMaker:
    """Evidence with what is named, no other, and a match score for each candidate."""

    def make(match_scores: tuple[float, ...] = (), **told: float | None) -> Evidence:
        num = len(match_scores)
        count = np.round(np.nan_to_num(np.array(match_scores), posinf=0, neginf=0) * 20).astype(np.int64)
        matches = Matches(np.array(match_scores, dtype=float), count, np.full((num, 20), -1), np.zeros((num, 20)))
        fields = dict.fromkeys(
            (
                "global_genuine",
                "global_counterfeit",
                "match_genuine",
                "match_counterfeit",
                "inlier_ratio",
                "cue_agreement",
                "cue_agreement_z",
                "cue_agreement_counterfeit",
                "surface_agreement",
                "surface_agreement_z",
                "surface_margin",
                "classifier_logit",
            )
        )
        return Evidence(**{**fields, **told}, matches=matches, residual_map=None, cue_pairs=[])

    return make


class Studio:
    """Draws labels, photographs them from slightly different places, and describes them as a network would.

    The local descriptors are histograms of gradients on a grid of 12 x 12.
    """

    side, tokens = 384, 12
    edit = (150, 270, 230, 350)
    """Where a counterfeit label differs, x0, y0, x1, y1 in px of the label."""

    def __init__(self) -> None:
        self._made: dict[str, Details] = {}

    def label(self, kind: str = "genuine", product: str = "a") -> np.ndarray:
        """(S, S) uint8; `counterfeit` and any other kind have another figure at the place of the edit."""
        image = np.full((self.side, self.side), 225, np.uint8)
        rng = np.random.default_rng(sum(map(ord, product)))
        if product != "a":  # nothing but leaves
            for _ in range(60):
                centre, axes = rng.integers(0, self.side, 2), rng.integers(4, 40, 2)
                grey, turn = int(rng.integers(20, 220)), float(rng.uniform(0, 180))
                cv2.ellipse(image, tuple(map(int, centre)), tuple(map(int, axes)), turn, 0, 360, grey, -1, cv2.LINE_AA)
            return image
        for row, word in enumerate(("HALLMARK", "No 48213", "FINE")):
            cv2.putText(image, word, (25, 75 + 75 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.9, 30, 4, cv2.LINE_AA)
        for _ in range(14):  # fibres, as many as there are in the paper
            start, end = rng.integers(255, 365, 2), rng.integers(255, 365, 2)
            cv2.line(image, tuple(map(int, start)), tuple(map(int, end)), int(rng.integers(30, 150)), 2, cv2.LINE_AA)
        cv2.circle(image, (85, 310), 42, 60, 4, cv2.LINE_AA)
        x0, y0, x1, y1 = self.edit
        image[y0:y1, x0:x1] = 225
        centre = ((x0 + x1) // 2, (y0 + y1) // 2)
        if kind == "genuine":
            cv2.circle(image, centre, 24, 40, 5, cv2.LINE_AA)
        elif kind == "counterfeit":
            cv2.line(image, (x0 + 14, y0 + 14), (x1 - 14, y1 - 14), 40, 5, cv2.LINE_AA)
            cv2.line(image, (x0 + 14, y1 - 14), (x1 - 14, y0 + 14), 40, 5, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x0 + 20, y0 + 14), (x1 - 20, y1 - 14), 40, 5, cv2.LINE_AA)
        return image

    def warp(self, seed: int, reach_px: float = 10.0) -> np.ndarray:
        """A small homography, px to px of the label."""
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * self.side
        moved = corners + np.random.default_rng(seed).uniform(-reach_px, reach_px, (4, 2))
        return cv2.getPerspectiveTransform(corners, moved.astype(np.float32))

    def shot(self, label: np.ndarray, seed: int) -> np.ndarray:
        """A photograph of a label: another view, another light, some noise."""
        rng = np.random.default_rng(seed + 1000)
        seen = cv2.warpPerspective(label, self.warp(seed), (self.side, self.side), borderMode=cv2.BORDER_REPLICATE)
        lit = seen * rng.uniform(0.85, 1.0) + rng.normal(0, 2, seen.shape)
        return np.clip(lit, 0, 255).astype(np.uint8)

    def details(self, image: np.ndarray, image_id: str) -> Details:
        """What verification compares of an (S, S) uint8 image."""
        across, down = np.meshgrid(*[(np.arange(self.tokens) + 0.5) / self.tokens] * 2)
        positions = np.stack([across.ravel(), down.ravel()], axis=1).astype(np.float32)
        # Mirrored beyond the border, or descriptors would tell how near to it they are.
        wide = cv2.copyMakeBorder(image, 96, 96, 96, 96, cv2.BORDER_REFLECT_101)
        keypoints = [cv2.KeyPoint(float(x), float(y), 30, 0) for x, y in positions * self.side + 96]
        local = cv2.SIFT_create().compute(wide, keypoints)[1]
        local = local / np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-9)
        colours = np.repeat(image[:, :, None], 3, axis=2)
        config = SurfaceConfig()
        texture = contrast(colours, positions, 1 / self.tokens) >= config.least_contrast
        return Details(
            image_id=image_id,
            local=local.astype(np.float16),
            positions=positions,
            weights=texture.astype(np.float16),
            stride=1 / self.tokens,
            frame=np.array([1, 0, 1, 0], np.float32),
            surface=encode_surface(colours, config),
        )

    def photographed(self, kind: str, seed: int, product: str = "a") -> Details:
        """Details of a shot of a label; made once."""
        name = f"{product}-{kind}-{seed}"
        if name not in self._made:
            self._made[name] = self.details(self.shot(self.label(kind, product), seed), name)
        return self._made[name]

    def member(self, kind: str, seed: int, item: str | None = None, product: str = "a") -> Member:
        """A shot of a label, enrolled."""
        details = self.photographed(kind, seed, product)
        return Member(f"ref-{details.image_id}", item or f"item-{details.image_id}", details)

    @staticmethod
    def described(details: Details) -> Described:
        """A query with these details."""
        quality = Quality(width=384, height=384, sharpness=1, brightness=0.5, clipped=0)
        return Described(details.image_id, np.ones(1, np.float32), details, quality)

    @staticmethod
    def retrieved(genuine: Sequence[Member], counterfeit: Sequence[Member] = (), similarity: float = 0.8) -> Retrieved:
        """These members as candidates, all equally near; their rows count genuine ones first."""
        sides = [(one, Authenticity.GENUINE) for one in genuine] + [(o, Authenticity.COUNTERFEIT) for o in counterfeit]
        told = tuple(
            Candidate(row, one.reference_id, one.details.image_id, "a", "whole", side, similarity)
            for row, (one, side) in enumerate(sides)
        )
        return Retrieved("a", "whole", similarity if told else None, told, 1)


@pytest.fixture(scope="session")
def studio() -> Studio:
    return Studio()


@pytest.fixture(scope="session")
def genuine(studio: Studio) -> list[Member]:
    """Six items, one photograph of each."""
    return [studio.member("genuine", seed) for seed in range(6)]


@pytest.fixture(scope="session")
def counterfeit(studio: Studio) -> list[Member]:
    """One photograph."""
    return [studio.member("counterfeit", 50)]


@pytest.fixture(scope="session")
def template(genuine: list[Member], counterfeit: list[Member]) -> Template:
    """All of them, registered."""
    return Template(genuine, counterfeit, "homography", VerificationConfig())
