"""Writes an evaluation as one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field

from hallmark.config import Config, validate
from hallmark.evaluation import rows, wording
from hallmark.evaluation.charts import charts, thresholds_of
from hallmark.evaluation.examples import Example, choose, outcome_of, sheet_of, show
from hallmark.evaluation.metrics import TRUTHS, Estimate, Evaluation, Examined, Proportion
from hallmark.evaluation.tables import write_atomically
from hallmark.verdict.calibration import Calibration as FittedCalibration

__all__ = ["Example", "QuarantineEntry", "ReportMeta", "render", "write_report"]

_MAX_MISTAKES = 40
_MAX_QUARANTINE = 200


class QuarantineEntry(Config):
    """A photograph that could not be used."""

    uri: str = Field(description="where it lies")
    reason: str = Field(description="why it could not be used")


class ReportMeta(Config):
    """What the report tells beside the figures; all of it may be left out."""

    title: str = Field("Evaluation of authenticity verdicts", description="heading of the page")
    created: str = Field("", description="date and time, as it is to be shown")
    roles: dict[str, int] = Field({}, description="photographs of the manifest by role")
    seeds: dict[str, int] = Field({}, description="by what they are the seed of")
    hashes: dict[str, str] = Field({}, description="of the manifest, the split and the like, by name")
    calibration: dict[str, Any] = Field({}, description="the fields of calibration.json")
    quarantine: list[QuarantineEntry] | None = Field(None, description="unusable photographs; null: nobody looked")
    provenance: dict[str, Any] = Field({}, description="versions, commands, machines; mappings may be nested")
    limits: list[str] = Field([], description="sentences added to the limits")


@dataclass(frozen=True)
class _Card:
    label: str
    value: str
    counts: str
    interval: str


def write_report(
    out: Path,
    evaluation: Evaluation,
    examined: Sequence[Examined],
    training_records: Sequence[Mapping[str, Any]],
    pictures: Sequence[Example],
    meta: Mapping[str, Any],
) -> Path:
    """Write the report as one HTML file that loads nothing and runs no script.

    Args:
        out: the file; replaced as a whole.
        evaluation: what `evaluate_examined` gave for `examined`.
        examined: one entry a photograph.
        training_records: see `curves.training_curves`; `alarms`, a list of texts, is told too. Empty leaves the
            section out.
        pictures: photographs to show. Wrong ones come first, then inconclusive, then right ones; those beyond twelve
            go to a contact sheet.
        meta: the fields of `ReportMeta`.

    Raises:
        ConfigError: `meta` has an unknown key or a wrong value.
        DataError: a picture's bytes cannot be decoded; names the photograph.
        OutputError: the file cannot be written.
    """
    told = validate(ReportMeta, dict(meta), source="report meta")
    shown, sheet = choose(pictures)
    # False sorts first: wrong before left open.
    mistakes = sorted((one for one in examined if not one.is_right), key=lambda one: outcome_of(one) != "wrong")
    page = render(
        "report.html.jinja",
        meta=told,
        evaluation=evaluation,
        cards=_cards(evaluation),
        summary=wording.summary(evaluation),
        limits=[*wording.limits(evaluation, examined), *told.limits],
        counts=_counts(examined),
        truths=[str(truth) for truth in TRUTHS],
        examples=[show(example) for example in shown],
        sheet=sheet_of(sheet),
        charts=charts(evaluation, examined, training_records),
        alarms=_alarms(training_records),
        headline=rows.headline_rows(evaluation),
        sections=[*rows.sections(evaluation), *_breakdowns(evaluation)],
        mistakes=mistakes[:_MAX_MISTAKES],
        num_mistakes=len(mistakes),
        thresholds=thresholds_of(examined),
        calibration=_calibration(told.calibration),
        quarantine=(told.quarantine or [])[:_MAX_QUARANTINE],
        provenance=_provenance(evaluation, told),
        number=rows.number,
    )
    return write_atomically(out, page)


def render(template: str, **values: Any) -> str:
    """A page from one of this folder's templates; texts are escaped."""
    environment = Environment(
        loader=PackageLoader("hallmark.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _cards(evaluation: Evaluation) -> list[_Card]:
    shares: list[tuple[str, Proportion]] = [
        ("counterfeits caught", evaluation.counterfeit_positive.recall),
        ("counterfeits accepted as genuine", evaluation.counterfeits_accepted),
        ("genuine confirmed", evaluation.genuine_positive.recall),
        ("genuine called counterfeit", evaluation.genuine_accused),
        ("unrelated kept out", evaluation.rejection.unrelated_rejected),
        ("verdicts decided", evaluation.coverage),
    ]
    scores: list[tuple[str, Estimate]] = [
        ("F1, counterfeit positive", evaluation.counterfeit_positive.f1),
        ("AUROC, decision score", evaluation.auroc_decision),
    ]
    cards = [
        _Card(label, rows.percent(share.value), f"{share.k} of {share.n}", rows.interval(share))
        for label, share in shares
    ]
    return cards + [
        _Card(label, rows.number(score.value), wording.count(score.n, "photograph"), rows.interval(score))
        for label, score in scores
    ]


def _counts(examined: Sequence[Examined]) -> list[tuple[str, int, dict[str, int]]]:
    """Rows of product, items, and photographs by truth; unrelated photographs last."""
    names = sorted({photograph.product or "" for photograph in examined}, key=lambda name: (not name, name))
    counted = []
    for name in names:
        members = [photograph for photograph in examined if (photograph.product or "") == name]
        by_truth = {str(truth): sum(one.authenticity == truth for one in members) for truth in TRUTHS}
        counted.append((name or "(no product)", len({one.item_id for one in members}), by_truth))
    return counted


def _breakdowns(evaluation: Evaluation) -> list[rows.Section]:
    """The tables by product, part and source; by part only where there are several."""
    made = rows.breakdowns(evaluation)
    return [section for section in made if section.key != "part" or len(section.rows) > 1]


def _alarms(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What training warned of, as (when, what)."""
    told = []
    for record in records:
        clock = next((f"{name} {record[name]}" for name in ("step", "epoch") if name in record), "")
        told += [(clock, str(alarm)) for alarm in record.get("alarms") or []]
    return told


def _calibration(fields: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of name, value and meaning; the fields of a nested model follow one another."""
    described = {name: field.description or "" for name, field in FittedCalibration.model_fields.items()}
    told = []
    for name, value in fields.items():
        parts = _flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: _as_text(value)}
        meanings = [described.get(name, ""), *[""] * len(parts)]
        told += [(part, text or rows.NONE, said) for (part, text), said in zip(parts.items(), meanings, strict=False)]
    return told


def _provenance(evaluation: Evaluation, meta: ReportMeta) -> list[tuple[str, str]]:
    told = {
        "bundle_id": ", ".join(evaluation.bundle_ids),
        "gallery version": ", ".join(map(str, evaluation.gallery_versions)),
        "config hash": ", ".join(evaluation.config_hashes),
        **_flat(meta.hashes),
        **{f"seed, {name}": str(seed) for name, seed in meta.seeds.items()},
        "seed, bootstrap": f"{evaluation.seed} ({evaluation.resamples} resamples)",
        **_flat(meta.provenance),
    }
    return [(name, value or rows.NONE) for name, value in told.items()]


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _as_text(value)
    return flat


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(part) for part in value)
    return rows.NONE if value is None or value == {} else json.dumps(value, default=str)
