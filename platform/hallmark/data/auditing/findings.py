"""What a person should know about a set of photographs: one generator a kind of finding."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hallmark.config import Config
from hallmark.data.auditing.controls import Control
from hallmark.data.auditing.facts import BACKGROUND
from hallmark.data.auditing.measurement import Measured
from hallmark.types import Authenticity

Severity = Literal["error", "warning", "note"]
"""error: figures measured on this set would be wrong; warning: a person should look; note: good to know."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
LABELS = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)


class QualityConfig(Config):
    """Below what a photograph is called unfit."""

    min_side_px: int = Field(128, ge=1, le=10_000, description="shorter side, px (1 to 10 000)")
    min_sharpness: float = Field(
        0.1, ge=0, le=1, description="sharpness, as a share of the median of its product and part (0 to 1)"
    )
    max_clipped: float = Field(
        0.5, gt=0, le=1, description="share of pixels that are black, or that are white (0 to 1)"
    )
    min_contrast: float = Field(0.04, ge=0, le=0.5, description="standard deviation of luminance, full scale = 1")
    max_border: float = Field(0.3, gt=0, le=1, description="share of the area that is a frame of one colour (0 to 1)")


class Finding(BaseModel):
    """One thing that a person should know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: Severity
    code: str = Field(description="what kind of finding it is; stable, for programs")
    sentence: str
    k: int = Field(ge=0, description="how many are affected")
    n: int = Field(ge=0, description="of how many")
    image_ids: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeasuredSet:
    """Manifest rows beside their measurements; `sound` are positions of those that could be decoded."""

    rows: list[dict[str, Any]]
    measured: Sequence[Measured]
    sound: list[int]

    def where(self, keep: Callable[[Measured], bool]) -> list[int]:
        return [position for position in self.sound if keep(self.measured[position])]


def _finding(severity: Severity, code: str, sentence: str, rows: Iterable[dict[str, Any]], n: int) -> Finding:
    rows = list(rows)
    ids, uris = tuple(row["image_id"] for row in rows), tuple(row["uri"] for row in rows)
    return Finding(severity=severity, code=code, sentence=sentence, k=len(rows), n=n, image_ids=ids, uris=uris)


def unreadable(photographs: MeasuredSet) -> Iterator[Finding]:
    """Photographs and masks that cannot be used."""
    total = len(photographs.rows)
    reasons: dict[str, list[int]] = defaultdict(list)
    for position, one in enumerate(photographs.measured):
        if one.reason:
            reasons[one.reason].append(position)
    for reason, positions in sorted(reasons.items()):
        detail = photographs.measured[positions[0]].detail
        thing = "masks cannot be used" if reason == "mask" else f"photographs cannot be used ({reason})"
        sentence = f"{len(positions)} of {total} {thing}; the first: {detail}"
        severity: Severity = "warning" if reason == "mask" else "error"
        yield _finding(severity, f"unusable_{reason}", sentence, (photographs.rows[at] for at in positions), total)


def crossing_items(photographs: MeasuredSet) -> Iterator[Finding]:
    """Items with photographs in several roles or under both labels."""
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in photographs.rows:
        members[row["item_id"]].append(row)
    for field, code in (("role", "item_crosses_roles"), ("authenticity", "item_crosses_authenticities")):
        crossing = [rows for rows in members.values() if len({row[field] for row in rows}) > 1]
        if crossing:
            sentence = (
                f"{len(crossing)} of {len(members)} items have photographs of more than one {field}; "
                f"the first is {crossing[0][0]['item_id']}"
            )
            found = _finding("error", code, sentence, (row for rows in crossing for row in rows), len(members))
            yield found.model_copy(update={"k": len(crossing)})


def duplicate_findings(photographs: MeasuredSet, groups: list[list[int]]) -> Iterator[Finding]:
    """Near-duplicates, and what each kind of crossing means."""
    if not groups:
        return
    total = len(groups)
    doubled = sum(map(len, groups))
    sentence = f"{doubled} of {len(photographs.rows)} photographs are near-duplicates of another, in {total} groups"
    yield _finding("note", "near_duplicates", sentence, _rows_of(photographs, groups), len(photographs.rows))
    crossings: tuple[tuple[str, Severity, str], ...] = (
        ("role", "error", "lie in more than one role: what is tested on was trained on"),
        ("authenticity", "error", "have more than one authenticity: one of the labels is wrong"),
        ("product", "warning", "have more than one product: one of the names is wrong, or the products look the same"),
        ("item_id", "note", "have more than one item: the same item under two names, or a photograph used twice"),
    )
    for field, severity, meaning in crossings:
        crossing = [group for group in groups if len({photographs.rows[position][field] for position in group}) > 1]
        if crossing:
            code = f"near_duplicates_cross_{field}"
            sentence = f"{len(crossing)} of {total} groups of near-duplicates {meaning}"
            found = _finding(severity, code, sentence, _rows_of(photographs, crossing), total)
            yield found.model_copy(update={"k": len(crossing)})


def _rows_of(photographs: MeasuredSet, groups: list[list[int]]) -> Iterator[dict[str, Any]]:
    return (photographs.rows[position] for group in groups for position in group)


def imbalance(photographs: MeasuredSet, min_minority: float) -> Iterator[Finding]:
    """Products with one label only, or with few photographs of one."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in photographs.rows:
        if row["authenticity"] in LABELS:
            counts[row["product"]][row["authenticity"]] += 1
    lacking = [name for name, found in sorted(counts.items()) if len(found) < len(LABELS)]
    skewed = [
        name
        for name, found in sorted(counts.items())
        if name not in lacking and min(found.values()) < min_minority * found.total()
    ]
    for names, code, meaning in (
        (lacking, "one_label_only", "have photographs of one label only: nothing can be told apart there"),
        (skewed, "unbalanced", f"have less than {100 * min_minority:g} % photographs of their rarer label"),
    ):
        if names:
            told = "; ".join(f"{name} ({_both(counts[name])})" for name in names[:5]) + (
                "; …" if len(names) > 5 else ""
            )
            sentence = f"{len(names)} of {len(counts)} products {meaning}: {told}"
            yield _finding("warning", code, sentence, (), len(counts)).model_copy(update={"k": len(names)})


def _both(counts: Counter[str]) -> str:
    return " and ".join(f"{counts[label]} {label}" for label in LABELS)


def unfit(photographs: MeasuredSet, config: QualityConfig) -> Iterator[Finding]:
    """Photographs that are too small, blurred, badly exposed, flat or framed."""
    medians = _median_sharpness(photographs)

    def blurred(position: int) -> bool:
        row = photographs.rows[position]
        least = config.min_sharpness * medians[row["product"], row["part"]]
        return photographs.measured[position].sharpness < least

    kinds = (
        ("small", photographs.where(lambda one: min(one.width, one.height) < config.min_side_px),
         f"have a side shorter than {config.min_side_px} px"),
        ("blurred", [position for position in photographs.sound if blurred(position)],
         f"are blurred: less than {100 * config.min_sharpness:g} % as sharp as the median of their product and part"),
        ("dark", photographs.where(lambda one: one.dark > config.max_clipped),
         f"are black in more than {100 * config.max_clipped:g} % of their pixels"),
        ("bright", photographs.where(lambda one: one.bright > config.max_clipped),
         f"are white in more than {100 * config.max_clipped:g} % of their pixels"),
        ("flat", photographs.where(lambda one: one.contrast < config.min_contrast),
         f"have next to no contrast (below {config.min_contrast:g})"),
        ("framed", photographs.where(lambda one: one.border.share > config.max_border),
         f"are framed: one colour fills more than {100 * config.max_border:g} % of the area, as in a screenshot"),
    )  # fmt: skip
    total = len(photographs.sound)
    for code, positions, meaning in kinds:
        if positions:
            sentence = f"{len(positions)} of {total} photographs {meaning}"
            yield _finding("warning", code, sentence, (photographs.rows[at] for at in positions), total)


def _median_sharpness(photographs: MeasuredSet) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for position in photographs.sound:
        row = photographs.rows[position]
        values[row["product"], row["part"]].append(photographs.measured[position].sharpness)
    return {place: float(np.median(found)) for place, found in values.items()}


def privacy(photographs: MeasuredSet) -> Iterator[Finding]:
    """Photographs that carry a position."""
    placed = photographs.where(lambda one: one.exif.has_position)
    if placed:
        total = len(photographs.sound)
        sentence = (
            f"{len(placed)} of {total} photographs tell where they were taken (GPS); remove it before sharing them"
        )
        yield _finding("note", "gps", sentence, (photographs.rows[at] for at in placed), total)


def control_findings(photographs: MeasuredSet, controls: Sequence[Control]) -> Iterator[Finding]:
    """The controls that give the label away."""
    unmarked = sum(not row["box"] and not row["mask_uri"] for row in photographs.rows)
    stand_in = (
        f"; {unmarked} of {len(photographs.rows)} photographs have neither box nor mask, so their outer 10 % stood in "
        "for the background and may show the product"
    )
    for control in controls:
        if control.gives_away:
            sentence = (
                f"{control.name} gives the label away: from it alone ({control.meaning}) a genuine photograph is told "
                f"from a counterfeit of its product with AUROC {control.auroc:.3f} (95 % interval {control.low:.3f} to "
                f"{control.high:.3f}, corrected p {control.p_value:.3f}, {control.photographs} photographs); a network "
                f"may learn this instead of the product{stand_in if control.name == BACKGROUND and unmarked else ''}"
            )
            yield Finding(
                severity="error",
                code=f"gives_away_{control.name.replace(' ', '_').lower()}",
                sentence=sentence,
                k=1,
                n=len(controls),
            )
    if not controls:
        sentence = (
            "what gives the label away could not be examined: no product and part has enough items of both labels"
        )
        yield Finding(severity="note", code="controls_not_examined", sentence=sentence, k=0, n=0)
