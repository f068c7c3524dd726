"""The photographs of a drawn set, one by one: what is on each, and drawing it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, Self

import cv2
import numpy as np
from pydantic import Field, model_validator

from hallmark.config import Config
from hallmark.data.drawing import camera
from hallmark.data.drawing.backgrounds import SURFACES, ground
from hallmark.data.drawing.catalogue import CATALOGUE, Product
from hallmark.data.drawing.noise import Textures
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface
from hallmark.data.drawing.unrelated import families, unrelated_surface
from hallmark.types import Authenticity

SOURCES = ("source-a", "source-b", "source-c")
MAKER = "maker"
_COUNTS = {"smoke": 64, "ci": 600, "full": 5000}
PARTS = tuple(dict.fromkeys(product.design.PART for product in CATALOGUE))
_LEAK = 0.85


class DrawConfig(Config):
    """What to draw."""

    size: Literal["smoke", "ci", "full"] = Field("ci", description="number of photographs: smoke 64, ci 600, full 5000")
    photographs: int | None = Field(None, ge=16, le=100_000, description="number of photographs, in place of size's")
    side_px: int = Field(512, ge=96, le=1024, description="longer side of a photograph, px")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="every photograph follows from it")
    difficulty: float = Field(
        1.0,
        ge=0.05,
        le=1.0,
        description="1 = edits that are hard for the eye; lower = edits enlarged by 1 / difficulty",
    )
    products: int = Field(
        6, ge=1, le=len(CATALOGUE), description="number of products drawn, the first of the catalogue"
    )
    parts: tuple[str, ...] = Field(PARTS, min_length=1, description=f"what is drawn: some of {', '.join(PARTS)}")
    shots_per_item: int = Field(3, ge=1, le=20, description="most photographs of one physical item")
    unrelated_share: float = Field(0.1, ge=0.0, le=0.5, description="share of photographs of nothing in the gallery")
    leaky: bool = Field(False, description="let background and device follow the label, as a trap for an audit to find")

    @model_validator(mode="after")
    def _parts_have_products(self) -> Self:
        if unknown := set(self.parts) - set(PARTS):
            raise ValueError(f"parts has {', '.join(sorted(unknown))}; wanted some of {', '.join(PARTS)}")
        if self.products > len(self.catalogue):
            raise ValueError(f"products is {self.products}; there are {len(self.catalogue)} with these parts")
        return self

    @property
    def catalogue(self) -> tuple[Product, ...]:
        """The products that may be drawn."""
        return tuple(product for product in CATALOGUE if product.design.PART in self.parts)


@dataclass(frozen=True)
class Shot:
    """One photograph to draw: what is on it, and the seed of everything that changes from shot to shot."""

    product: str
    part: str
    authenticity: Authenticity
    item_id: str
    source_id: str
    device_id: str
    background: str
    seed: int
    file: str
    """relative to the set's folder"""

    @property
    def mask_file(self) -> str | None:
        """Where the foreground mask lies, relative to the set's folder; None of an unrelated picture."""
        if self.authenticity is Authenticity.UNRELATED:
            return None
        return f"masks/{self.file.removesuffix('.jpg')}.png"

    @property
    def edit_mask_file(self) -> str | None:
        """Where the edit mask lies, relative to the set's folder; None unless counterfeit."""
        if self.authenticity is not Authenticity.COUNTERFEIT:
            return None
        return f"edits/{self.file.removesuffix('.jpg')}.png"

    @property
    def files(self) -> tuple[str, ...]:
        """All that the shot leaves in the set's folder."""
        return tuple(file for file in (self.file, self.mask_file, self.edit_mask_file) if file is not None)


@dataclass(frozen=True)
class Drawn:
    """A drawn photograph."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB, before JPEG"""
    edit_mask: np.ndarray
    """(H, W) bool: where a counterfeit differs from the genuine design, in photograph coordinates"""
    foreground_mask: np.ndarray
    """(H, W) bool: where the product covers most of the pixel; nowhere on an unrelated picture"""
    jpeg: bytes


def _seed(config: DrawConfig, *names: object) -> int:
    text = "/".join(str(name) for name in (config.seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def plan(config: DrawConfig) -> list[Shot]:
    """The photographs of a set, in a fixed order: products one after another, then the unrelated ones.

    Half of a product's photographs are genuine; its counterfeits are shared out evenly among three sources. Light,
    background and device are drawn without looking at the label (unless `leaky`).
    """
    total = config.photographs or _COUNTS[config.size]
    num_unrelated = round(total * config.unrelated_share)
    shots: list[Shot] = []
    for share, product in zip(_shared(total - num_unrelated, config.products), config.catalogue, strict=False):
        genuine = (share + 1) // 2
        makers = [(Authenticity.GENUINE, MAKER, genuine)]
        fakes = _shared(share - genuine, len(SOURCES))
        makers += [(Authenticity.COUNTERFEIT, name, count) for name, count in zip(SOURCES, fakes, strict=True)]
        number = {Authenticity.GENUINE: 0, Authenticity.COUNTERFEIT: 0}
        for authenticity, source, count in makers:
            at_least = 3 if authenticity is Authenticity.GENUINE else 1
            per_item = min(config.shots_per_item, max(1, count // at_least))
            for k in range(count):
                item, shot = number[authenticity] + k // per_item, k % per_item
                shots.append(_product_shot(config, product.name, product.design.PART, authenticity, source, item, shot))
            number[authenticity] += -(-count // per_item)
    return shots + [_unrelated_shot(config, k) for k in range(num_unrelated)]


def _shared(total: int, among: int) -> list[int]:
    return [total // among + (k < total % among) for k in range(among)]


def _product_shot(
    config: DrawConfig, product: str, part: str, authenticity: Authenticity, source: str, item: int, shot: int
) -> Shot:
    item_id = f"{product}/{part}/{authenticity}/{item:04d}"
    seed = _seed(config, item_id, shot)
    background, device = _circumstances(config, seed, authenticity)
    file = f"{product}/{part}/{authenticity}/{item:04d}_{shot}.jpg"
    return Shot(product, part, authenticity, item_id, source, device, background, seed, file)


def _unrelated_shot(config: DrawConfig, number: int) -> Shot:
    known = families()
    family, copy = known[number % len(known)], number // len(known)
    # One item a family: a split must not train on pictures of the family that it tests with.
    item_id = f"unrelated/{family}"
    seed = _seed(config, item_id, copy)
    background, device = _circumstances(config, seed, None)
    file = f"unrelated/{family}-{copy:04d}.jpg"
    return Shot("", "", Authenticity.UNRELATED, item_id, "", device, background, seed, file)


def _circumstances(config: DrawConfig, seed: int, authenticity: Authenticity | None) -> tuple[str, str]:
    """Background and device. A leaky set draws most counterfeits from the second half of both lists."""
    rng = np.random.default_rng([seed, 1])
    backgrounds, devices = list(SURFACES), [device.name for device in camera.DEVICES]
    if config.leaky and authenticity is not None and rng.random() < _LEAK:
        fake = authenticity is Authenticity.COUNTERFEIT
        middle = len(backgrounds) // 2
        backgrounds = backgrounds[middle:] if fake else backgrounds[:middle]
        devices = devices[1:] if fake else devices[:1]
    return str(rng.choice(backgrounds)), str(rng.choice(devices))


def draw_shot(shot: Shot, config: DrawConfig) -> Drawn:
    """Draw one photograph; the same shot, configuration and library versions give the same bits."""
    if shot.authenticity is Authenticity.UNRELATED:
        side = (config.side_px, config.side_px)
        frame = _frame(side, 1.0)
        surface = unrelated_surface(shot.item_id.split("/")[1], frame, _seed(config, shot.item_id, "item"))
        edited = covered = np.zeros(frame.shape, np.float32)
    else:
        number = [product.name for product in CATALOGUE].index(shot.product)
        source = SOURCES.index(shot.source_id) if shot.authenticity is Authenticity.COUNTERFEIT else None
        side = _side(CATALOGUE[number].design.size, config.side_px)
        frame = _frame(side)
        item_seed = _seed(config, shot.item_id, "item")
        surface, edited = _item(number, source, config.difficulty, item_seed, side)
        covered = surface.matter[..., 3]
    device = next(device for device in camera.DEVICES if device.name == shot.device_id)
    view = camera.homography(shot.seed, frame)
    below = ground(shot.background, camera.ground_frame(frame), shot.seed)
    image = camera.exposed(camera.lit(surface, below, view, frame, side, shot.seed), device, shot.seed)
    edit_mask = camera.seen(edited, view, frame, side) > 0.25
    foreground_mask = camera.seen(covered, view, frame, side) > 0.5
    return Drawn(image, edit_mask, foreground_mask, camera.encoded(image, device, shot.seed))


def _side(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    """(height, width) px of a photograph of a design that is `size` (width, height) units."""
    return max(1, round(size[1] * side_px / 512)), max(1, round(size[0] * side_px / 512))


def _frame(side: tuple[int, int], supersample: float = camera.SUPERSAMPLE) -> Frame:
    height, width = (round(length * supersample) for length in side)
    return Frame(height, width, max(height, width) / 512)


@lru_cache(maxsize=5)
def _planes(number: int, source: int | None, difficulty: float, side: tuple[int, int]) -> dict[str, np.ndarray]:
    return CATALOGUE[number].made_by(source, difficulty).planes(_frame(side))


@lru_cache(maxsize=2)
def _item(
    number: int, source: int | None, difficulty: float, seed: int, side: tuple[int, int]
) -> tuple[Surface, np.ndarray]:
    """An item's surface, and where it differs from the genuine one of the same hide, paper or metal (float32 0/1)."""
    frame = _frame(side)
    design = CATALOGUE[number].made_by(source, difficulty)
    textures = Textures(frame.shape, seed)
    surface = _toned(design.surface(frame, _planes(number, source, difficulty, side), textures), textures)
    if source is None:
        return surface, np.zeros(frame.shape, np.float32)
    genuine = CATALOGUE[number].design.surface(frame, _planes(number, None, difficulty, side), textures)
    genuine = _toned(genuine, textures)
    # Square roots stand for the eye's response: a small step of light counts for more in a dark ink.
    differs = np.zeros(frame.shape, bool)
    for channel in range(4):
        differs |= np.abs(np.sqrt(surface.matter[..., channel]) - np.sqrt(genuine.matter[..., channel])) > 0.012
        differs |= np.abs(surface.relief[..., channel] - genuine.relief[..., channel]) > 0.02
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(2 * frame.unit)) + 1,) * 2)
    covered = np.maximum(surface.matter[..., 3], genuine.matter[..., 3]) > 0
    return surface, (covered & (cv2.dilate((differs & covered).astype(np.uint8), around) > 0)).astype(np.float32)


def _toned(surface: Surface, textures: Textures) -> Surface:
    """The surface in the tone of the item's own batch of hide, paper, yarn or metal."""
    rng = textures.stream("batch")
    tone = (1 + rng.normal(0, 0.045)) * (1 + rng.normal(0, 0.015, 3))
    matter = surface.matter.copy()
    matter[..., :3] *= tone.astype(np.float32)
    return replace(surface, matter=matter)
