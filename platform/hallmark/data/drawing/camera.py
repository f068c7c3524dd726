"""Photographs a drawn surface: light, shadow, lens, sensor and device."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from hallmark.data.drawing.noise import stream
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface

SUPERSAMPLE = 1.25
MAX_SHIFT = 14.0
"""units; the furthest that a shot moves a point of the product"""
_LUT = 128
_BEYOND = cv2.BORDER_REFLECT_101
"""what a strap or cord looks like beyond the canvas: repeating the last row would smear its grain into lines"""


@dataclass(frozen=True)
class Device:
    """A simulated phone."""

    name: str
    white_balance: tuple[float, float, float]
    """gain of red, green, blue"""
    sharpening: float
    contrast: float
    quality: tuple[int, int]
    """lowest and highest JPEG quality"""


DEVICES = (
    Device("phone-a", (1.00, 1.00, 1.00), 0.35, 1.00, (82, 95)),
    Device("phone-b", (1.05, 1.00, 0.93), 0.15, 1.06, (76, 92)),
    Device("phone-c", (0.95, 1.00, 1.06), 0.60, 0.96, (70, 88)),
)


@dataclass(frozen=True)
class Light:
    """Where the light of a shot comes from. Angles in radians; azimuth clockwise from the right."""

    azimuth: float
    height: float
    softness: float
    warmth: float
    room: tuple[float, ...]
    """turn of the surroundings that metal mirrors, and places of two soft boxes"""

    @classmethod
    def of_shot(cls, seed: int) -> Light:
        """Draw a light at the upper side of the table."""
        rng = stream(seed, "light")
        return cls(
            azimuth=float(rng.uniform(-0.92 * np.pi, -0.08 * np.pi)),
            height=float(rng.uniform(0.72, 1.08)),
            softness=float(rng.uniform(0.7, 1.3)),
            warmth=float(rng.normal(0, 0.02)),
            room=tuple(float(v) for v in rng.uniform(-1, 1, 5)),
        )

    @property
    def direction(self) -> np.ndarray:
        """(3,) unit vector towards the light."""
        flat = np.cos(self.height)
        return np.array([flat * np.cos(self.azimuth), flat * np.sin(self.azimuth), np.sin(self.height)])


def light_table(light: Light, sharpness: float) -> np.ndarray:
    """What the light does to each normal: (128, 128, 4) float32 over the normal's x and y from -1 to 1.

    Channels: diffuse light (1 on a level surface), highlight, satin metal, mirror metal.
    """
    nx, ny = np.meshgrid(*[np.linspace(-1, 1, _LUT, dtype=np.float32)] * 2)
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0.0025, 1))
    lx, ly, lz = light.direction
    lambert = np.clip(nx * lx + ny * ly + nz * lz + 0.12, 0, None)
    # The table throws light back up at what faces it.
    bounce = 0.22 * np.clip(ny, 0, None) ** 2
    diffuse = 0.30 + 0.12 * nz - 0.10 * ny + bounce + 0.62 * lambert
    level = 0.42 + 0.62 * (lz + 0.12)
    half = light.direction + np.array([0, 0, 1])
    half /= np.linalg.norm(half)
    away = (nx - half[0]) ** 2 + (ny - half[1]) ** 2
    tight, wide = 0.05 + 0.10 * (1 - sharpness) * light.softness, 0.30 * light.softness
    highlight = np.exp(-away / (2 * tight**2)) * (0.5 + 1.6 * sharpness) + 0.22 * np.exp(-away / (2 * wide**2))
    mirror = _room(light, nx, ny, nz)
    satin = cv2.GaussianBlur(mirror, (0, 0), 7)
    mirror = cv2.GaussianBlur(mirror, (0, 0), 0.8 + 2.2 * (1 - sharpness))
    return np.dstack([diffuse / level, highlight, satin, mirror]).astype(np.float32)


def _room(light: Light, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray) -> np.ndarray:
    """The surroundings seen by reflection: dark below, bright above, the lamp and two soft boxes."""
    rx, ry, rz = 2 * nx * nz, 2 * ny * nz, 2 * nz * nz - 1
    turn = 0.4 * light.room[0]
    ry, rx = ry * np.cos(turn) - rx * np.sin(turn), ry * np.sin(turn) + rx * np.cos(turn)
    picture = 0.34 - 0.30 * ry + 0.10 * np.sin(5 * rx + 3 * light.room[1])
    picture = picture * (0.30 + 0.70 * np.clip((rz + 0.45) / 0.6, 0, 1))
    boxes = [(light.direction[0], light.direction[1], 0.34, 1.7), (0.75 + 0.1 * light.room[2], 0.1, 0.16, 0.9)]
    boxes += [(-0.72, 0.25 + 0.2 * light.room[3], 0.20, 0.6), (0.1 * light.room[4], -0.12, 0.30, 0.35)]
    for x, y, half, power in boxes:
        inside = np.clip(8 * (half - np.maximum(np.abs(rx - x), 0.8 * np.abs(ry - y))), 0, 1)
        picture = picture + power * inside
    return np.clip(picture, 0.03, None).astype(np.float32)


def homography(seed: int, frame: Frame) -> np.ndarray:
    """The shot's view: (3, 3) from product px to photograph px; no corner moves more than MAX_SHIFT units."""
    rng = stream(seed, "view")
    width, height = frame.width, frame.height
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    middle = corners.mean(axis=0)
    turn = np.deg2rad(rng.uniform(-1.4, 1.4))
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = (corners - middle) @ spin.T * rng.uniform(0.98, 1.02) + middle
    moved = moved + (rng.uniform(-6, 6, 2) + rng.uniform(-4, 4, (4, 2))) * frame.unit
    limit = MAX_SHIFT * frame.unit
    moved = corners + np.clip(moved - corners, -limit, limit)
    return cv2.getPerspectiveTransform(corners, moved.astype(np.float32))


def ground_frame(frame: Frame) -> Frame:
    """The coarser canvas that the ground is drawn on: it lies below the plane of focus."""
    height, width = (max(1, round(length / SUPERSAMPLE)) for length in frame.shape)
    return Frame(height, width, max(height, width) / 512)


def lit(
    surface: Surface, ground: Surface, view: np.ndarray, frame: Frame, side: tuple[int, int], seed: int
) -> np.ndarray:
    """The scene in linear light: the surface seen through `view`, on the ground, with its shadow.

    Args:
        ground: drawn on `ground_frame(frame)`.
        view: (3, 3) homography from the surface to the photograph, both in px of `frame`.
        side: (height, width) px of the photograph.

    Returns:
        (height, width, 3) float32.
    """
    light = Light.of_shot(seed)
    size = (frame.width, frame.height)
    matter = cv2.warpPerspective(surface.matter, view, size, borderMode=_BEYOND)
    relief = cv2.warpPerspective(surface.relief, view, size, borderMode=_BEYOND)
    picture = _shaded(matter, relief, light, surface.sharpness, frame)
    outline = matter[..., 3:]
    if outline.min() < 0.999:
        below = _shaded(ground.matter, ground.relief, light, ground.sharpness, ground_frame(frame))
        below = cv2.resize(below, size, interpolation=cv2.INTER_LINEAR)
        below *= _shadow(matter[..., 3], light, surface.thickness, frame)[..., None]
        picture -= below
        picture *= outline
        picture += below
    picture = cv2.resize(picture, (side[1], side[0]), interpolation=cv2.INTER_AREA)
    picture *= _falloff(side, light, stream(seed, "falloff"))[..., None]
    picture *= np.array([1 + light.warmth, 1, 1 - light.warmth], np.float32)
    return picture


def seen(plane: np.ndarray, view: np.ndarray, frame: Frame, side: tuple[int, int]) -> np.ndarray:
    """A plane of the product (H, W) float32 as it lies in the photograph of `lit`: (height, width) float32."""
    warped = cv2.warpPerspective(plane, view, (frame.width, frame.height), borderMode=_BEYOND)
    return cv2.resize(warped, (side[1], side[0]), interpolation=cv2.INTER_AREA)


def _shaded(matter: np.ndarray, relief: np.ndarray, light: Light, sharpness: float, frame: Frame) -> np.ndarray:
    table = light_table(light, sharpness)
    x, y = frame.axes()
    wide, high = frame.size
    # The light and the eye are near: the same slope mirrors another part of the room across the picture.
    near_x = 0.16 * (x / wide - 0.5) + 0.05 * light.room[2]
    near_y = 0.16 * (y / high - 0.5) + 0.05 * light.room[3]
    scale = np.float32((_LUT - 1) / 2)
    map_x = ((relief[..., 0] + near_x) * scale + scale).astype(np.float32)
    map_y = ((relief[..., 1] + near_y) * scale + scale).astype(np.float32)
    found = cv2.remap(table, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gloss, metal = relief[..., 2], relief[..., 3]
    mirror = found[..., 2] + (found[..., 3] - found[..., 2]) * np.float32(0.25 + 0.7 * sharpness)
    body = found[..., 0] + metal * (mirror - found[..., 0])
    picture = matter[..., :3] * body[..., None]
    picture += (gloss * (1 - metal) * found[..., 1])[..., None]
    return picture


def _shadow(outline: np.ndarray, light: Light, thickness: float, frame: Frame) -> np.ndarray:
    """Light left on the ground beside the thing, 0 to 1: a tight contact shadow and a soft cast one."""
    quarter = cv2.resize(outline, (frame.width // 4, frame.height // 4), interpolation=cv2.INTER_AREA)
    unit = frame.unit / 4
    reach = thickness * unit / np.tan(light.height)
    shift = np.array([[1, 0, -light.direction[0] * reach * 1.6], [0, 1, -light.direction[1] * reach * 1.6]])
    moved = cv2.warpAffine(quarter, shift, (quarter.shape[1], quarter.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    cast = cv2.GaussianBlur(moved, (0, 0), max(0.7, thickness * unit * 0.45 * light.softness))
    contact = cv2.GaussianBlur(quarter, (0, 0), max(0.7, 2.5 * unit))
    wide = cv2.GaussianBlur(quarter, (0, 0), max(1.0, 14 * unit))
    left = (1 - 0.62 * cast) * (1 - 0.38 * contact) * (1 - 0.22 * wide)
    return cv2.resize(left, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR)


def _falloff(side: tuple[int, int], light: Light, rng: np.random.Generator) -> np.ndarray:
    x = np.linspace(-1, 1, side[1], dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, side[0], dtype=np.float32)[:, None]
    slope = rng.uniform(0.05, 0.20)
    plane = 1 + slope * (light.direction[0] * x + light.direction[1] * y)
    vignette = 1 - rng.uniform(0.10, 0.22) * (x * x + y * y) / 2 * 1.2
    return (plane * vignette).astype(np.float32)


def exposed(scene: np.ndarray, device: Device, seed: int) -> np.ndarray:
    """The photograph that the device makes of a linear scene: (H, W, 3) uint8.

    Lens blur and depth of field, tone curve, gamma, white balance, sharpening and sensor noise.
    """
    rng = stream(seed, "sensor")
    side = scene.shape[:2]
    unit = max(side) / 512
    # The lens resolves the sensor's pixels: a larger photograph shows finer detail, not a wider blur.
    crisp = float(np.clip(unit, 0.25, 1.0))
    picture = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.4, 1.0) * crisp)
    picture = _focused(picture, rng, unit)
    picture *= np.asarray(device.white_balance, np.float32) * np.float32(rng.uniform(1.0, 1.22))
    picture = _tone(picture, rng.uniform(0.8, 1.25), device.contrast)
    if device.sharpening:
        soft = cv2.GaussianBlur(picture, (0, 0), max(0.5, 1.2 * crisp))
        picture = cv2.addWeighted(picture, 1 + device.sharpening, soft, -device.sharpening, 0)
    picture += _sensor_noise(side, rng)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _sensor_noise(side: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise of 3 grey levels: mostly in brightness, and coarser in colour as demosaicing leaves it."""
    bright = rng.standard_normal((*side, 1), dtype=np.float32)
    coarse = rng.standard_normal((side[0] // 2 + 1, side[1] // 2 + 1, 3), dtype=np.float32)
    return 2.6 * bright + cv2.resize(2.3 * coarse, (side[1], side[0]), interpolation=cv2.INTER_LINEAR)


def _focused(picture: np.ndarray, rng: np.random.Generator, unit: float) -> np.ndarray:
    """Blend towards a blurred copy away from the plane of focus, which lies across the picture."""
    height, width = picture.shape[:2]
    heading, middle = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.15)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    away = np.abs(np.cos(heading) * x + np.sin(heading) * y - middle)
    weight = np.clip((away - 0.55) * 1.3, 0, 1)[..., None]
    small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(0.5, 0.75 * unit))
    blurred = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture + (blurred - picture) * weight


def _tone(picture: np.ndarray, gamma: float, contrast: float) -> np.ndarray:
    """Linear light to 0..255 sRGB-like values with a soft shoulder; `gamma` > 1 darkens."""
    light = np.linspace(0, 4, 4097, dtype=np.float64)
    shoulder = np.where(light < 0.6, light, 0.6 + 0.4 * (1 - np.exp(-(light - 0.6) / 0.4)))
    value = shoulder ** (gamma / 2.2)
    value = np.clip(0.5 + (value - 0.5) * contrast, 0, 1)
    index = np.clip(picture * 1024, 0, 4096).astype(np.uint16)
    return (value * 255).astype(np.float32)[index]


def encoded(photograph: np.ndarray, device: Device, seed: int) -> bytes:
    """The photograph as the device's JPEG."""
    low, high = device.quality
    quality = int(stream(seed, "jpeg").integers(low, high + 1))
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, format="JPEG", quality=quality, subsampling=0 if quality > 88 else 2)
    return buffer.getvalue()
