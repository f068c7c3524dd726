"""The audit of a set of photographs: what is in it, what is doubled, what is unfit, and what gives the label away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from hallmark.config import Config
from hallmark.data.auditing.controls import Control, ControlConfig, examine
from hallmark.data.auditing.facts import BACKGROUND, gather_evidence
from hallmark.data.auditing.findings import (
    LABELS,
    SEVERITIES,
    Finding,
    MeasuredSet,
    QualityConfig,
    control_findings,
    crossing_items,
    duplicate_findings,
    imbalance,
    privacy,
    unfit,
    unreadable,
)
from hallmark.data.auditing.measurement import Measured
from hallmark.data.duplicates import NearDuplicateConfig, find_near_duplicates
from hallmark.errors import DataError
from hallmark.types import Authenticity

COUNT_COLUMNS = ("product", "part", "authenticity", "source_id", "device_id", "role")


class AuditConfig(Config):
    """What the audit calls a finding."""

    duplicates: NearDuplicateConfig = Field(NearDuplicateConfig(), description="when two photographs are one picture")
    controls: ControlConfig = Field(ControlConfig(), description="when something gives the label away")
    quality: QualityConfig = Field(QualityConfig(), description="when a photograph is unfit")
    min_minority: float = Field(
        0.2, ge=0, le=0.5, description="share of the rarer label of a product below which it is called unbalanced"
    )


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Count(_Record):
    """Photographs and items of one combination of `COUNT_COLUMNS`; empty where the manifest says nothing."""

    product: str
    part: str
    authenticity: str
    source_id: str
    device_id: str
    role: str
    photographs: int
    items: int


class DuplicateGroup(_Record):
    """Photographs that are the same picture."""

    image_ids: tuple[str, ...]
    uris: tuple[str, ...]
    products: tuple[str, ...]
    authenticities: tuple[str, ...]
    items: tuple[str, ...]
    roles: tuple[str, ...]


class Audit(_Record):
    """The whole outcome; findings by severity."""

    photographs: int
    items: int
    findings: tuple[Finding, ...]
    counts: tuple[Count, ...]
    duplicate_groups: tuple[DuplicateGroup, ...]
    controls: tuple[Control, ...]
    controls_note: str = Field(description="how the controls were examined, or why not")
    spreads: dict[str, dict[str, tuple[float, ...]]] = Field(description="values by measure, then by authenticity")
    config: AuditConfig


def audit(table: pa.Table, measured: Sequence[Measured], config: AuditConfig | None = None) -> Audit:
    """Audit a manifest.

    Args:
        table: a manifest.
        measured: from `measure`, one for each row, in their order.
        config: None takes the defaults.

    Raises:
        DataError: there is not one measurement a row.
    """
    if table.num_rows != len(measured):
        raise DataError(
            f"found {len(measured)} measurements for {table.num_rows} rows of the manifest; wanted one a row"
        )
    config = config or AuditConfig()
    rows = table.to_pylist()
    photographs = _measured_set(rows, measured)
    groups = _duplicate_groups(photographs, config.duplicates)
    controls = _controls(photographs, config.controls)
    found = [
        *unreadable(photographs),
        *crossing_items(photographs),
        *duplicate_findings(photographs, groups),
        *control_findings(photographs, controls),
        *imbalance(photographs, config.min_minority),
        *unfit(photographs, config.quality),
        *privacy(photographs),
    ]
    return Audit(
        photographs=len(rows),
        items=len({row["item_id"] for row in rows}),
        findings=tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))),
        counts=_counts(rows),
        duplicate_groups=tuple(_as_group([rows[position] for position in group]) for group in groups),
        controls=tuple(controls),
        controls_note=_controls_note(controls, config.controls),
        spreads=_spreads(photographs),
        config=config,
    )


def _counts(rows: list[dict[str, Any]]) -> tuple[Count, ...]:
    items: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in rows:
        items[tuple(row[name] or "" for name in COUNT_COLUMNS)].append(row["item_id"])
    return tuple(
        Count(**dict(zip(COUNT_COLUMNS, key, strict=True)), photographs=len(found), items=len(set(found)))
        for key, found in sorted(items.items())
    )


def _duplicate_groups(photographs: MeasuredSet, config: NearDuplicateConfig) -> list[list[int]]:
    """Positions of the photographs of each group of two or more."""
    if not photographs.sound:
        return []
    thumbnails = np.stack([photographs.measured[position].thumbnail for position in photographs.sound])
    groups: dict[int, list[int]] = defaultdict(list)
    for position, cluster in zip(photographs.sound, find_near_duplicates(thumbnails, config).clusters, strict=True):
        groups[int(cluster)].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _as_group(rows: list[dict[str, Any]]) -> DuplicateGroup:
    def distinct(name: str) -> tuple[str, ...]:
        return tuple(sorted({row[name] or "" for row in rows}))

    return DuplicateGroup(
        image_ids=tuple(row["image_id"] for row in rows),
        uris=tuple(row["uri"] for row in rows),
        products=distinct("product"),
        authenticities=distinct("authenticity"),
        items=distinct("item_id"),
        roles=distinct("role"),
    )


def background_control(
    rows: list[dict[str, Any]], measured: Sequence[Measured], config: ControlConfig
) -> Control | None:
    """Whether what lies around the product gives the label away, examined by itself.

    Args:
        rows: of a manifest.
        measured: from `measure`, one for each row.
        config: of the control.

    Returns:
        None where too few items have both labels.
    """
    found = _controls(_measured_set(rows, measured), config, (BACKGROUND,))
    return found[0] if found else None


def _measured_set(rows: list[dict[str, Any]], measured: Sequence[Measured]) -> MeasuredSet:
    return MeasuredSet(rows, measured, [position for position, one in enumerate(measured) if one.width])


def _controls(photographs: MeasuredSet, config: ControlConfig, names: tuple[str, ...] | None = None) -> list[Control]:
    """All controls, or those of some names."""
    chosen = [position for position in photographs.sound if photographs.rows[position]["authenticity"] in LABELS]
    if not chosen:
        return []
    rows, measured = [photographs.rows[at] for at in chosen], [photographs.measured[at] for at in chosen]
    genuine = np.array([row["authenticity"] == Authenticity.GENUINE for row in rows])
    cells = [f"{row['product']}/{row['part']}" for row in rows]
    evidence = [one for one in gather_evidence(rows, measured) if names is None or one.name in names]
    return examine(evidence, genuine, cells, [row["item_id"] for row in rows], config)


def _controls_note(controls: list[Control], config: ControlConfig) -> str:
    if not controls:
        return (
            f"No product and part has {config.min_items} genuine and {config.min_items} counterfeit items, so nothing "
            "could be examined."
        )
    return (
        f"{controls[0].photographs} photographs of {controls[0].items} items, compared within product and part. "
        f"Looking at {len(controls)} controls at once would raise false alarms by chance, so each p value is the share "
        f"of {config.shuffles} label shuffles in which any of them stands out as much. One is flagged when p is below "
        f"{config.p_value:g} and its 95 % interval begins above {0.5 + config.margin:g}. The source is not examined: "
        "genuine and counterfeit articles have different makers by nature."
    )


_SPREADS: tuple[tuple[str, Callable[[Measured], float]], ...] = (
    ("shorter side, px", lambda one: min(one.width, one.height)),
    ("bits per pixel", lambda one: one.bits_per_pixel),
    ("brightness", lambda one: one.brightness),
    ("sharpness, log10", lambda one: float(np.log10(1 + one.sharpness))),
)


def _spreads(photographs: MeasuredSet) -> dict[str, dict[str, tuple[float, ...]]]:
    spreads: dict[str, dict[str, list[float]]] = {}
    for name, value in _SPREADS:
        by_label = spreads.setdefault(name, {})
        for position in photographs.sound:
            label = photographs.rows[position]["authenticity"]
            by_label.setdefault(label, []).append(float(f"{value(photographs.measured[position]):.4g}"))
    return {name: {label: tuple(found) for label, found in sorted(by.items())} for name, by in spreads.items()}
