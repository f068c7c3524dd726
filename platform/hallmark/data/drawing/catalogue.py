"""The drawn products and the counterfeits of each: designs, and recipes of one or two small edits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from hallmark.data.drawing.leather_tag import LeatherTag
from hallmark.data.drawing.lettering import Lettering
from hallmark.data.drawing.metal_buckle import MetalBuckle
from hallmark.data.drawing.noise import Textures
from hallmark.data.drawing.pack import Pack
from hallmark.data.drawing.produce import Produce
from hallmark.data.drawing.round_label import RoundLabel
from hallmark.data.drawing.shapes import Frame
from hallmark.data.drawing.surface import Surface
from hallmark.data.drawing.woven_label import WovenLabel


class Design(Protocol):
    """What the catalogue asks of a kind of product."""

    PART: str
    size: tuple[int, int]

    def planes(self, frame: Frame) -> dict[str, np.ndarray]:
        """What every item of the design shares."""

    def surface(self, frame: Frame, planes: dict[str, np.ndarray], textures: Textures) -> Surface:
        """One item."""


@dataclass(frozen=True)
class Edit:
    """One change that a counterfeiter's tools make to a design.

    Attributes:
        field: the design's field, dotted for a field of its lettering.
        grow: share that the value grows by at difficulty 1.
        shift: what is added to the value at difficulty 1; a pair shifts a pair.
        whole: the change cannot be scaled (a missing point of a star).
    """

    field: str
    grow: float = 0.0
    shift: float | tuple[float, float] = 0.0
    whole: bool = False

    def applied(self, design: Any, difficulty: float) -> Any:
        """The design with this edit; 1 / difficulty scales it."""
        scale = 1.0 if self.whole else 1.0 / difficulty
        name, _, rest = self.field.partition(".")
        value = getattr(design, name)
        if rest:
            inner = Edit(rest, self.grow, self.shift, self.whole)
            return replace(design, **{name: inner.applied(value, difficulty)})
        if isinstance(value, tuple):
            moved = tuple(v + scale * s for v, s in zip(value, np.broadcast_to(self.shift, len(value)), strict=True))
            return replace(design, **{name: tuple(float(v) for v in moved)})
        changed = value * (1 + scale * self.grow) + scale * self.shift
        return replace(design, **{name: round(changed) if isinstance(value, int) else float(changed)})


@dataclass(frozen=True)
class Product:
    """A drawn product: its name, its genuine design, and what each counterfeit source gets wrong."""

    name: str
    design: Design
    recipes: tuple[tuple[Edit, ...], ...]

    def made_by(self, source: int | None, difficulty: float) -> Design:
        """The design as the maker (None) or counterfeit source number `source` makes it."""
        design = self.design
        for edit in self.recipes[source] if source is not None else ():
            design = edit.applied(design, difficulty)
        return design


_LEATHER = (
    (Edit("brand.glyph_scale", grow=0.09), Edit("stitch_pitch", grow=0.05)),
    (Edit("brand.spacing", shift=0.9),),
    (Edit("ring_radius", grow=0.12), Edit("brand.cut", shift=1.0, whole=True)),
)
_BUCKLE = (
    (Edit("brand.weight", shift=0.9), Edit("slot_angle", shift=14.0)),
    (Edit("brand.glyph_scale", grow=0.10), Edit("star_tips", shift=1.0, whole=True)),
    (Edit("ring_radius", grow=0.16), Edit("left.spacing", shift=0.9)),
)
_ROUND = (
    (Edit("upper.spacing", shift=0.9), Edit("guilloche_waves", grow=0.09)),
    (Edit("ink_hue", shift=8.0), Edit("lower.spacing", shift=0.9)),
    (Edit("crest.glyph_scale", grow=0.08), Edit("leaves", shift=-1.0, whole=True)),
)
_WOVEN = (
    (Edit("brand.glyph_scale", grow=0.10), Edit("mark_shift", shift=(0.0, 5.0))),
    (Edit("brand.spacing", shift=1.2), Edit("rule_stroke", grow=0.5)),
    (Edit("yarn_hue", shift=8.0), Edit("stitch_pitch", grow=0.08)),
)
_PACK = (
    (Edit("dot_pitch", grow=0.15),),
    (Edit("brand.glyph_scale", grow=0.09), Edit("seal_shift", shift=(-4.0, 3.0))),
    (Edit("ink_hue", shift=8.0), Edit("kind.spacing", shift=0.9)),
)
_PRODUCE = (
    (Edit("brand.glyph_scale", grow=0.10), Edit("ring_stroke", shift=0.7)),
    (Edit("pore_radius", grow=0.30), Edit("brand.spacing", shift=0.9)),
    (Edit("ring_radius", grow=0.08), Edit("calyx_tips", shift=-1.0, whole=True)),
)


def _leather(brand: str, motto: str, serial: str, monogram: str, font: str, **look: Any) -> LeatherTag:
    return LeatherTag(
        brand=Lettering(brand, font, 27, 5.0, glyph=2),
        motto=Lettering(motto, "roman-bold", 11, 2.2),
        serial=Lettering(serial, "didone-italic", 14, 1.0, 0.5),
        monogram=Lettering(monogram, font, 38),
        **look,
    )


def _buckle(brand: str, left: str, right: str, font: str, **look: Any) -> MetalBuckle:
    return MetalBuckle(
        brand=Lettering(brand, font, 23, 4.0, glyph=3),
        left=Lettering(left, "sans", 11, 1.6),
        right=Lettering(right, "sans", 11, 1.6),
        **look,
    )


def _round(upper: str, lower: str, crest: str, year: str, font: str, **look: Any) -> RoundLabel:
    return RoundLabel(
        upper=Lettering(upper, font, 25, 4.0, glyph=2),
        lower=Lettering(lower, "roman", 18, 3.0),
        crest=Lettering(crest, font, 62),
        year=Lettering(year, "roman-italic", 17, 2.0),
        **look,
    )


def _woven(brand: str, motto: str, font: str, **look: Any) -> WovenLabel:
    look = {"cap": 46.0, "motto_cap": 13.0, **look}
    cap, motto_cap = look.pop("cap"), look.pop("motto_cap")
    return WovenLabel(
        brand=Lettering(brand, font, cap, 5.0, 0.6, glyph=2),
        motto=Lettering(motto, "sans-bold", motto_cap, 3.2),
        **look,
    )


def _pack(brand: str, kind: str, small: tuple[str, ...], font: str, **look: Any) -> Pack:
    return Pack(
        brand=Lettering(brand, font, 33, 6.0, 0.6, glyph=1),
        kind=Lettering(kind, "roman", 10, 1.6),
        small=tuple(Lettering(line, "sans-bold", 9.0, 0.9) for line in small),
        **look,
    )


def _produce(brand: str, origin: str, font: str, **look: Any) -> Produce:
    return Produce(
        brand=Lettering(brand, font, 13.5, 0.8, 0.4, glyph=0), origin=Lettering(origin, "sans-bold", 9.5, 1.8), **look
    )


CATALOGUE: tuple[Product, ...] = (
    Product("aurelle-leather-tag", _leather("AURELLE", "MAISON FONDÉE 1911", "Nr. 0417", "A", "roman-bold"), _LEATHER),
    Product("corvane-metal-buckle", _buckle("CORVANE", "ACIER", "316 L", "roman-bold"), _BUCKLE),
    Product(
        "mirelune-round-label",
        _round("DOMAINE MIRELUNE", "RÉCOLTE ROYALE", "M", "1887", "roman-bold"),
        _ROUND,
    ),
    Product("tessaly-woven-label", _woven("Tessaly", "ATELIER DE COUTURE", "didone-bold"), _WOVEN),
    Product(
        "halvorn-tea-pack",
        _pack("HALVORN", "HIGHLAND TEA · FIRST FLUSH · 125 g", ("LOT 2207-B", "EST. 1934"), "roman-bold"),
        _PACK,
    ),
    Product("solenne-mandarin", _produce("SOLENNE", "ORIGINE", "sans-bold"), _PRODUCE),
    Product(
        "belisar-leather-tag",
        _leather(
            "BELISAR",
            "SEWN BY HAND 1958",
            "Nr. 1182",
            "B",
            "slab",
            hide="#23262e",
            thread="#c9923e",
            foil=True,
            stitch_pitch=12.5,
            stitch_width=3.8,
        ),
        (_LEATHER[0], (Edit("foil_hue", shift=8.0), Edit("serial.spacing", shift=0.9)), _LEATHER[2]),
    ),
    Product(
        "kestrane-metal-buckle",
        _buckle("KESTRANE", "SOLID", "BRASS", "roman-bold", alloy="#d9b25e", strap="#7a4526", corner=84.0, bevel=15.0),
        _BUCKLE,
    ),
    Product(
        "quillane-round-label",
        _round(
            "QUILLANE HONEY",
            "MOUNTAIN FLOWERS",
            "Q",
            "No 12",
            "slab-bold",
            paper="#f6efe0",
            ink="#6b2d12",
            second_ink="#1d4a63",
            guilloche_waves=32,
            guilloche_depth=8.0,
            scallops=64,
            leaves=7,
            star_tips=6,
        ),
        _ROUND,
    ),
    Product(
        "brisaine-woven-label",
        _woven(
            "BRISAINE",
            "PURE WOOL",
            "slab-bold",
            ground="#efe8d8",
            yarn="#7c1f2a",
            cap=30.0,
            motto_cap=11.0,
            size=(512, 128),
            half=(226.0, 46.0),
            brand_y=56.0,
            motto_y=87.0,
            rule_inset=10.0,
            mark_radius=6.0,
            thread_pitch=2.0,
            rule_stroke=2.4,
        ),
        _WOVEN,
    ),
    Product(
        "domarre-cocoa-pack",
        _pack(
            "DOMARRE",
            "COCOA POWDER · DOUBLE ROAST · 250 g",
            ("BATCH 0931", "SEALED"),
            "slab-bold",
            board="#3a1f1a",
            text_ink="#ead9bd",
            sky=("#8fc1c9", "#f1e3c2"),
            hills=("#c98f4e", "#a8632f", "#7a3d22", "#4a2017"),
            sun="#f2d36b",
            picture_seed=8,
            seal_rays=28,
            foil="#e2b795",
        ),
        _PACK,
    ),
    Product(
        "orvanne-apple",
        _produce(
            "ORVANNE",
            "VERGER 7",
            "roman-bold",
            skin="#b3261c",
            blush="#7d1014",
            etched="#e8b48a",
            speck="#f2c478",
            pore_pitch=17.0,
            pore_radius=1.5,
            pore_depth=0.0,
            speck_strength=0.6,
            streaks=0.35,
            stem=True,
        ),
        (_PRODUCE[0], (Edit("pore_radius", grow=0.35),), (_PRODUCE[2][0], Edit("calyx_radius", grow=0.25))),
    ),
)
