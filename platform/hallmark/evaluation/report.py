"""Writes an evaluation as one self-contained HTML page."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image
from pydantic import Field

from hallmark.config import Config, validate
from hallmark.data.decode import DecodeLimits, decode
from hallmark.errors import DataError, DecodeError
from hallmark.evaluation import figures, tables, wording
from hallmark.evaluation.metrics import TRUTHS, Estimate, Evaluation, Examined, Proportion
from hallmark.types import Scores, VerdictLabel
from hallmark.verdict.calibration import Calibration as FittedCalibration

_MAX_EXAMPLES, _MAX_NOT_RIGHT = 12, 8
"""Examples drawn with their matched cues, and how many of these may be other than right."""

_MAX_MISTAKES = 40
_MAX_QUARANTINE = 200
_PICTURE_PX = 560
_LIMITS = DecodeLimits(max_bytes=2**30, max_pixels=150_000_000, min_side_px=1)
"""As wide as they go: the run's own limits were held when the verdict was given."""


@dataclass(frozen=True)
class Example:
    """A photograph to show: encoded bytes of it and of its nearest reference, where there is one."""

    examined: Examined
    photograph: bytes
    reference: bytes | None
    caption: str = ""


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


@dataclass(frozen=True)
class _Shown:
    examined: Examined
    outcome: str
    picture: str
    alternative: str
    caption: str
    facts: list[tuple[str, str]]


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
        training_records: see `figures.training_curves`; empty leaves the section out.
        pictures: photographs to show. Wrong ones come first, then inconclusive, then right ones; those beyond twelve
            go to a contact sheet.
        meta: the fields of `ReportMeta`.

    Raises:
        ConfigError: `meta` has an unknown key or a wrong value.
        DataError: a picture's bytes cannot be decoded; names the photograph.
        OutputError: the file cannot be written.
    """
    told = validate(ReportMeta, dict(meta), source="report meta")
    shown, sheet = _choose(pictures)
    # False sorts first: wrong before left open.
    mistakes = sorted((one for one in examined if not one.is_right), key=lambda one: _outcome(one) != "wrong")
    template = resources.files("hallmark.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(
        meta=told,
        evaluation=evaluation,
        cards=_cards(evaluation),
        summary=wording.summary(evaluation),
        limits=[*wording.limits(evaluation, examined), *told.limits],
        counts=_counts(examined),
        truths=[str(truth) for truth in TRUTHS],
        examples=[_show(example) for example in shown],
        sheet=_contact_sheet(sheet),
        charts=_charts(evaluation, examined, training_records),
        headline=tables.headline_rows(evaluation),
        group_columns=tables.GROUP_COLUMNS,
        breakdowns=_breakdowns(evaluation),
        mistakes=mistakes[:_MAX_MISTAKES],
        num_mistakes=len(mistakes),
        thresholds=_thresholds(examined),
        calibration=_calibration(told.calibration),
        quarantine=(told.quarantine or [])[:_MAX_QUARANTINE],
        provenance=_provenance(evaluation, told),
        number=tables.number,
    )
    return tables.write_atomically(out, page)


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
        _Card(label, tables.percent(share.value), f"{share.k} of {share.n}", tables.interval(share))
        for label, share in shares
    ]
    return cards + [
        _Card(label, tables.number(score.value), wording.count(score.n, "photograph"), tables.interval(score))
        for label, score in scores
    ]


def _counts(examined: Sequence[Examined]) -> list[tuple[str, int, dict[str, int]]]:
    """Rows of product, items, and photographs by truth; unrelated photographs last."""
    names = sorted({photograph.product or "" for photograph in examined}, key=lambda name: (not name, name))
    rows = []
    for name in names:
        members = [photograph for photograph in examined if (photograph.product or "") == name]
        by_truth = {str(truth): sum(one.authenticity == truth for one in members) for truth in TRUTHS}
        rows.append((name or "(no product)", len({one.item_id for one in members}), by_truth))
    return rows


def _outcome(photograph: Examined) -> str:
    if photograph.is_right:
        return "right"
    return "left open" if photograph.verdict.verdict == VerdictLabel.INCONCLUSIVE else "wrong"


def _choose(pictures: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """The examples to draw, wrong ones first, and the rest."""
    ranked = {outcome: _mixed(pictures, outcome) for outcome in ("wrong", "left open", "right")}
    others = ranked["wrong"] + ranked["left open"]
    if len(pictures) <= _MAX_EXAMPLES:
        return others + ranked["right"], []
    num_others = min(len(others), max(_MAX_NOT_RIGHT, _MAX_EXAMPLES - len(ranked["right"])))
    num_right = _MAX_EXAMPLES - num_others
    return others[:num_others] + ranked["right"][:num_right], others[num_others:] + ranked["right"][num_right:]


def _mixed(pictures: Sequence[Example], outcome: str) -> list[Example]:
    """The examples of one outcome, truths taking turns."""
    chosen = [example for example in pictures if _outcome(example.examined) == outcome]
    seen: Counter[str] = Counter()
    turns = []
    for example in chosen:
        turns.append(seen[example.examined.authenticity])
        seen[example.examined.authenticity] += 1
    return [chosen[position] for position in sorted(range(len(chosen)), key=turns.__getitem__)]


def _show(example: Example) -> _Shown:
    photograph, verdict = example.examined, example.examined.verdict
    query = _decode(example.photograph, photograph.uri)
    reference = None if example.reference is None else _decode(example.reference, f"reference of {photograph.uri}")
    drawn = figures.to_jpeg(figures.draw_matches(query, reference, verdict.cue_pairs))
    scores, nearest = verdict.scores, verdict.references[0] if verdict.references else None
    facts = [
        ("p_genuine", tables.number(verdict.p_genuine)),
        ("decision score", tables.number(scores.decision)),
        ("global similarity", f"{scores.global_similarity:.3f} (in gallery from {scores.threshold_global:.3f})"),
        ("product found", verdict.product or tables.NONE),
        ("true product", photograph.product or tables.NONE),
        ("nearest reference", f"{nearest.reference_id} ({nearest.authenticity})" if nearest else tables.NONE),
    ]
    compared = "beside its nearest reference" if reference is not None else "without a reference"
    alternative = f"{photograph.uri} {compared}, {wording.count(len(verdict.cue_pairs), 'matched cue')}"
    return _Shown(photograph, _outcome(photograph), _data_uri(drawn), alternative, example.caption, facts)


def _contact_sheet(pictures: Sequence[Example]) -> str | None:
    if not pictures:
        return None
    tiles = []
    for example in pictures:
        photograph = example.examined
        caption = "right" if photograph.is_right else f"truth: {photograph.authenticity}"
        picture = _decode(example.photograph, photograph.uri, _PICTURE_PX // 2)
        tiles.append(figures.Tile(picture, photograph.verdict.verdict, caption))
    return _data_uri(figures.to_jpeg(figures.contact_sheet(tiles, columns=min(6, len(tiles)))))


def _decode(data: bytes, uri: str, side: int = _PICTURE_PX) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright as the verdict saw it, shrunk to at most `side` px."""
    try:
        picture = Image.fromarray(decode(data, _LIMITS))
    except DecodeError as error:
        raise DataError(f"{uri}: cannot be shown in the report: {error}") from None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _charts(
    evaluation: Evaluation, examined: Sequence[Examined], training_records: Sequence[Mapping[str, Any]]
) -> dict[str, Markup]:
    """Inline SVG by name; `to_svg` escapes what users supply."""
    decision = {
        str(truth): [
            one.verdict.scores.decision
            for one in examined
            if one.authenticity == truth and one.verdict.scores.decision is not None
        ]
        for truth in TRUTHS[:2]
    }
    similarity = {
        str(truth): [one.verdict.scores.global_similarity for one in examined if one.authenticity == truth]
        for truth in TRUTHS
    }
    unique = {name: values[0] for name, values in _thresholds(examined).items() if len(values) == 1}
    names = {"threshold_counterfeit": "counterfeit below", "threshold_genuine": "genuine from"}
    lines = {names[name]: unique[name] for name in names if name in unique}
    if len(set(lines.values())) == 1:
        lines = {"threshold": next(iter(lines.values()))}
    gate = {"in gallery from": unique["threshold_global"]} if "threshold_global" in unique else {}
    aurocs = {"decision score": evaluation.auroc_decision, "global margin": evaluation.auroc_global_margin}
    drawn = {
        "scores": figures.score_histogram(decision, "decision score (higher = more genuine)", lines),
        "similarity": figures.score_histogram(similarity, "global similarity g+ (higher = more alike)", gate),
        "confusion": figures.confusion_matrix(evaluation),
        "roc": figures.roc(examined, aurocs),
        "reliability": figures.reliability_diagram(evaluation.calibration),
    }
    if training_records:
        drawn["training"] = figures.training_curves(training_records)
    return {name: Markup(figures.to_svg(figure, name, f"chart: {name}")) for name, figure in drawn.items()}


def _thresholds(examined: Sequence[Examined]) -> dict[str, list[float]]:
    """The distinct values each threshold had over the verdicts."""
    names = [name for name in Scores.model_fields if name.startswith("threshold_")]
    return {name: sorted({getattr(one.verdict.scores, name) for one in examined}) for name in names}


def _breakdowns(evaluation: Evaluation) -> list[tuple[str, list[list[str]]]]:
    groups = [("product", evaluation.by_product), ("source", evaluation.by_source)]
    if len(evaluation.by_part) > 1:
        groups.insert(1, ("part", evaluation.by_part))
    return [(name, [tables.group_row(group) for group in members]) for name, members in groups]


def _calibration(fields: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of name, value and meaning."""
    described = {name: field.description or "" for name, field in FittedCalibration.model_fields.items()}
    return [(name, _as_text(value), described.get(name, "")) for name, value in fields.items()]


def _provenance(evaluation: Evaluation, meta: ReportMeta) -> list[tuple[str, str]]:
    rows = {
        "bundle_id": ", ".join(evaluation.bundle_ids),
        "gallery version": ", ".join(map(str, evaluation.gallery_versions)),
        "config hash": ", ".join(evaluation.config_hashes),
        **_flat(meta.hashes),
        **{f"seed, {name}": str(seed) for name, seed in meta.seeds.items()},
        "seed, bootstrap": f"{evaluation.seed} ({evaluation.resamples} resamples)",
        **_flat(meta.provenance),
    }
    return [(name, value or tables.NONE) for name, value in rows.items()]


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    rows: dict[str, str] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = _as_text(value)
    return rows


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(part) for part in value)
    return json.dumps(value, default=str)
