"""Writes an audit as text for the terminal, as JSON, and as one self-contained HTML page."""

from __future__ import annotations

import base64
import functools
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image
from pydantic import Field

from hallmark.config import Config
from hallmark.data.auditing.audit import COUNT_COLUMNS, Audit, AuditConfig, audit
from hallmark.data.auditing.controls import Control
from hallmark.data.auditing.findings import LABELS, Finding
from hallmark.data.auditing.measurement import Measured
from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.listing import read_bytes
from hallmark.data.manifest import read_manifest
from hallmark.errors import DataError, DecodeError
from hallmark.evaluation import figures
from hallmark.evaluation.canvas import COLOURS, INK, MUTED, canvas, styled
from hallmark.evaluation.tables import write_atomically

_Row = dict[str, Any]
_Preview = Callable[[str], str]

_PICTURE_PX = 150
_MAX_GROUPS, _MAX_IN_GROUP = 12, 6
_MAX_UNFIT = 12
_MAX_PLACES, _SAMPLES = 24, 6
_MAX_NAMED, _MAX_COUNTS = 20, 200
_UNFIT = ("small", "blurred", "dark", "bright", "flat", "framed")
"""Codes of the findings whose photographs are shown."""


@dataclass(frozen=True)
class _Picture:
    source: str
    """A data URI; empty where the photograph cannot be read."""
    uri: str
    label: str
    caption: str


@dataclass(frozen=True)
class _Sheet:
    title: str
    pictures: list[_Picture]


class CheckConfig(Config):
    """Which manifest is audited, and how strictly."""

    manifest: str = Field(description="path of manifest.parquet")
    out: str = Field(description="local folder for audit.html and audit.json")
    limits: DecodeLimits = DecodeLimits()
    nodes: dict[str, str] = Field({}, description="labels of the nodes that measure photographs; {}: any")
    audit: AuditConfig = AuditConfig()


Measure = Callable[[pa.Table, DecodeLimits, Mapping[str, str]], list[Measured]]
"""Measures the photographs of a manifest's rows, in order: on the cluster or in this process."""


def check(config: CheckConfig, measure: Measure) -> tuple[Audit, Path]:
    """Audit a manifest and write what is found.

    Returns:
        The audit and the path of its page.

    Raises:
        DataError: the manifest cannot be read; OutputError: the folder cannot be written.
    """
    table = read_manifest(config.manifest)
    found = audit(table, measure(table, config.limits, config.nodes), config.audit)
    _, page = write_audit(found, table, Path(config.out), config.limits)
    return found, page


def audit_text(audit: Audit) -> str:
    """The findings and the controls as lines for the terminal, without control characters."""
    lines = [f"{audit.photographs} photographs of {audit.items} items; {_severities(audit)}"]
    lines += [f"{finding.severity.upper():8}{finding.sentence}" for finding in audit.findings]
    if audit.controls:
        width = max(len(control.name) for control in audit.controls)
        header = f"{'what may give the label away':{max(width, 28)}}  AUROC  95 % interval      p"
        lines += ["", header]
        for control in audit.controls:
            mark = "  gives the label away" if control.gives_away else ""
            lines.append(
                f"{control.name:{max(width, 28)}}  {control.auroc:.3f}  {control.low:.3f} to {control.high:.3f} "
                f" {control.p_value:.3f}{mark}"
            )
    lines += ["", audit.controls_note]
    return "\n".join(_printable(line) for line in lines)


def write_audit(audit: Audit, table: pa.Table, out: Path, limits: DecodeLimits) -> tuple[Path, Path]:
    """Write audit.json and audit.html into a folder, which is made where missing.

    Raises:
        OutputError: a file cannot be written.
    """
    page = write_audit_page(audit, table, out / "audit.html", limits)
    return write_atomically(out / "audit.json", audit.model_dump_json(indent=1) + "\n"), page


def write_audit_page(audit: Audit, table: pa.Table, out: Path, limits: DecodeLimits) -> Path:
    """Write the audit as one HTML file that loads nothing and runs no script.

    Args:
        audit: of `table`.
        table: the manifest; the photographs that are shown are read from its URIs, and those that cannot be are named.
        out: the file; replaced as a whole.
        limits: what a photograph may be.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = table.select(["uri", "product", "part", "authenticity", "role", "item_id"]).to_pylist()
    by_uri = {row["uri"]: row for row in rows}
    preview = functools.cache(lambda uri: _preview(uri, limits))
    template = resources.files("hallmark.evaluation").joinpath("audit.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(
        audit=audit,
        severities=_severities(audit),
        max_named=_MAX_NAMED,
        count_columns=COUNT_COLUMNS,
        counts=audit.counts[:_MAX_COUNTS],
        controls_chart=_svg(_controls_chart(audit.controls), "controls") if audit.controls else None,
        spreads=_spread_charts(audit.spreads),
        groups=_group_sheets(audit, by_uri, preview),
        unfit=_unfit_sheets(audit.findings, by_uri, preview),
        samples=_sample_sheets(rows, preview),
    )
    return write_atomically(out, page)


def _severities(audit: Audit) -> str:
    counts = {
        word: sum(finding.severity == word for finding in audit.findings) for word in ("error", "warning", "note")
    }
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for word, number in counts.items())


def _svg(figure: Figure, name: str) -> Markup:
    return Markup(figures.to_svg(figure, name, f"chart: {name}"))


@styled
def _controls_chart(controls: Sequence[Control]) -> Figure:
    """AUROC of every control with its interval; those that give the label away are filled and named so."""
    figure = canvas(9.4, 0.38 * len(controls) + 1.0)
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle="--")
    for position, control in enumerate(controls):
        colour = COLOURS["counterfeit"] if control.gives_away else INK
        axes.plot([control.low, control.high], [position, position], color=colour, linewidth=1.6)
        fill = colour if control.gives_away else "white"
        axes.plot(control.auroc, position, "o", color=colour, markerfacecolor=fill, markersize=6.5)
        text = f"{control.auroc:.3f}" + ("  gives the label away" if control.gives_away else "")
        axes.text(1.02, position, text, va="center", color=colour, transform=axes.get_yaxis_transform())
    axes.set(xlim=(0.28, 1.01), ylim=(len(controls) - 0.4, -0.6), xlabel="AUROC within product and part; 0.5 = chance")
    axes.set_yticks(range(len(controls)), [control.name for control in controls])
    axes.grid(axis="y", visible=False)
    return figure


def _spread_charts(spreads: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Markup]:
    charts = []
    for number, (name, groups) in enumerate(spreads.items()):
        known = {label: values for label, values in groups.items() if label in COLOURS}
        charts.append(_svg(figures.score_histogram(known, name), f"spread{number}"))
    return charts


def _group_sheets(audit: Audit, by_uri: Mapping[str, _Row], preview: _Preview) -> list[_Sheet]:
    """Near-duplicate groups; those that cross roles or labels first."""
    ranked = sorted(
        audit.duplicate_groups,
        key=lambda group: (-len(group.roles), -len(group.authenticities), -len(group.products), -len(group.items)),
    )
    sheets = []
    for group in ranked[:_MAX_GROUPS]:
        crossed = [
            f"{len(names)} {word}"
            for word, names in (
                ("roles", group.roles),
                ("authenticities", group.authenticities),
                ("products", group.products),
                ("items", group.items),
            )
            if len(names) > 1
        ]
        title = f"{len(group.uris)} photographs" + (f" across {', '.join(crossed)}" if crossed else " of one item")
        sheets.append(_Sheet(title, _pictures(group.uris[:_MAX_IN_GROUP], by_uri, preview)))
    return sheets


def _unfit_sheets(findings: Iterable[Finding], by_uri: Mapping[str, _Row], preview: _Preview) -> list[_Sheet]:
    return [
        _Sheet(finding.sentence, _pictures(finding.uris[:_MAX_UNFIT], by_uri, preview))
        for finding in findings
        if finding.code in _UNFIT
    ]


def _sample_sheets(rows: Sequence[_Row], preview: _Preview) -> list[_Sheet]:
    """Photographs of different items, evenly taken, for each product, part and label."""
    places: dict[tuple[str, ...], dict[str, _Row]] = defaultdict(dict)
    for row in rows:
        if row["authenticity"] in LABELS:
            places[row["product"], row["part"], row["authenticity"]].setdefault(row["item_id"], row)
    sheets = []
    ordered = sorted(places, key=lambda place: (*place[:2], LABELS.index(place[2])))
    for place in ordered[:_MAX_PLACES]:
        found = list(places[place].values())
        step = max(1, len(found) // _SAMPLES)
        chosen = found[::step][:_SAMPLES]
        pictures = _pictures([row["uri"] for row in chosen], {row["uri"]: row for row in chosen}, preview)
        sheets.append(_Sheet(" · ".join(place), pictures))
    return sheets


def _pictures(uris: Sequence[str], by_uri: Mapping[str, _Row], preview: _Preview) -> list[_Picture]:
    pictures = []
    for uri in uris:
        row = by_uri[uri]
        pictures.append(_Picture(preview(uri), uri, row["authenticity"], f"{row['product']} · {row['role']}"))
    return pictures


def _preview(uri: str, limits: DecodeLimits) -> str:
    try:
        picture = Image.fromarray(decode(read_bytes(uri, limits.max_bytes), limits))
    except (DataError, DecodeError):
        return ""
    picture.thumbnail((_PICTURE_PX, _PICTURE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _printable(text: str) -> str:
    """The text without control characters, which could steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
