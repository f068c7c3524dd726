"""The figures of an evaluation as rows of text, the same for the terminal, markdown and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hallmark.evaluation.costs import REFERENCE_BYTES
from hallmark.evaluation.measures import Estimate, Figures, Proportion
from hallmark.evaluation.metrics import Evaluation, Group
from hallmark.evaluation.ranking import DEPTHS

NONE = "—"
"""Stands for a figure that is not defined."""

GROUP_COLUMNS = (
    "photographs",
    "items",
    "right",
    "genuine found",
    "counterfeits found",
    "decided",
    "product right",
    "AUROC",
)
"""Headings of `group_row`, after the group's own name."""

EVIDENCE = {
    "global_genuine": "global similarity to genuine references",
    "global_margin": "global margin, genuine minus counterfeit references",
    "match_genuine": "match score with genuine references",
    "match_margin": "match margin, genuine minus counterfeit references",
    "inlier_ratio": "inlier ratio",
    "cue_agreement": "cue agreement",
    "cue_agreement_z": "cue agreement, by location",
    "cue_agreement_margin": "cue agreement, margin",
    "surface_agreement": "surface agreement",
    "surface_agreement_z": "surface agreement, by location",
    "surface_margin": "surface, margin",
    "classifier_logit": "classifier, log odds of genuine",
    "decision": "decision score",
}
"""What the keys of `Evaluation.evidence` are called."""

CONFIDENCES = {
    "p_genuine": "p_genuine, its distance from one half",
    "global_similarity": "global similarity",
    "match_score": "match score",
    "inlier_ratio": "inlier ratio",
}
"""What the confidences of `Evaluation.risk_coverage` are called."""

Figure = Proportion | Estimate | float | None


@dataclass(frozen=True)
class Section:
    """One table: the first cell of a row is its name."""

    key: str
    title: str
    columns: Sequence[str]
    rows: list[list[str]]
    note: str


def headline_rows(evaluation: Evaluation) -> list[list[str]]:
    """The main figures as [name, value, interval, counts] texts."""
    fake, genuine, macro = evaluation.counterfeit_positive, evaluation.genuine_positive, evaluation.macro
    rejection, calibration = evaluation.rejection, evaluation.calibration
    figures: list[tuple[str, Figure, int]] = [
        ("accuracy, all in-domain photographs", evaluation.accuracy, 0),
        ("decided (genuine or counterfeit)", evaluation.coverage, 0),
        ("accuracy, decided photographs", evaluation.accuracy_decided, 0),
        ("counterfeits called genuine", evaluation.counterfeits_accepted, 0),
        ("genuine called counterfeit", evaluation.genuine_accused, 0),
        ("precision, counterfeit positive", fake.precision, 0),
        ("recall, counterfeit positive", fake.recall, 0),
        ("F1, counterfeit positive", fake.f1, 0),
        ("precision, genuine positive", genuine.precision, 0),
        ("recall, genuine positive", genuine.recall, 0),
        ("F1, genuine positive", genuine.f1, 0),
        ("precision, macro", macro.precision, macro.f1.n),
        ("recall, macro", macro.recall, macro.f1.n),
        ("F1, macro", macro.f1, 0),
        ("AUROC, decision score", evaluation.auroc_decision, 0),
        ("AUROC, global margin", evaluation.auroc_global_margin, 0),
        ("product named rightly", evaluation.product_accuracy, 0),
        ("product and authenticity told rightly", evaluation.class_accuracy, 0),
        ("unrelated called not_in_gallery", rejection.unrelated_rejected, 0),
        ("in-domain called not_in_gallery", rejection.in_domain_rejected, 0),
        ("counterfeit called not_in_gallery", rejection.counterfeit_rejected, 0),
        ("expected calibration error", calibration.expected_calibration_error, calibration.n),
    ]
    figures += [("area under the risk-coverage curve", evaluation.risk_coverage[0].area, 0)]
    return [[name, *figure_cells(figure, count)] for name, figure, count in figures]


def sections(evaluation: Evaluation) -> list[Section]:
    """The tables beside the headline, those that have rows."""
    made = (_retrieval, _rejection, _evidence, _abstention, _localisation, _times, _costs, _fused)
    return [section for section in (make(evaluation) for make in made) if section.rows]


def breakdowns(evaluation: Evaluation) -> list[Section]:
    """The main figures by product, part and source, those that have rows."""
    groups = (("product", evaluation.by_product), ("part", evaluation.by_part), ("source", evaluation.by_source))
    made = [Section(name, f"By {name}", [name, *GROUP_COLUMNS], list(map(group_row, own)), "") for name, own in groups]
    return [section for section in made if section.rows]


def figures_of(result: Figures, path: str = "") -> Iterator[tuple[str, Figure | int]]:
    """Every number of a result with its dotted name, in the order it is declared."""
    for name in type(result).model_fields:
        yield from _figures_at(f"{path}{name}", getattr(result, name))


def group_row(group: Group) -> list[str]:
    """A group's name and figures as texts, in the order of `GROUP_COLUMNS`."""
    shares = (group.accuracy, group.genuine_recall, group.counterfeit_recall, group.coverage, group.product_accuracy)
    counts = [f"{share.k}/{share.n}" if share.n else NONE for share in shares]
    return [group.name or "(not known)", str(group.photographs), str(group.items), *counts, number(group.auroc)]


def figure_cells(figure: Figure, count: int = 0) -> list[str]:
    """A figure as [value, interval, counts] texts; `count` is the n of a plain number."""
    if isinstance(figure, Proportion):
        return [percent(figure.value), interval(figure), f"{figure.k}/{figure.n}"]
    if isinstance(figure, Estimate):
        return [number(figure.value), interval(figure), f"n = {figure.n}"]
    return [number(figure), NONE, f"n = {count}"]


def share_cell(share: Proportion) -> str:
    """A share with counts and interval in one cell of two lines."""
    return f"{percent(share.value)} ({share.k}/{share.n},\n{interval(share)})" if share.n else NONE


def estimate_cell(estimate: Estimate) -> str:
    """A figure with its interval in one cell of two lines."""
    known = f"\n({interval(estimate)})" if estimate.low is not None else ""
    return number(estimate.value) + known


def number(value: float | None, digits: int = 3) -> str:
    """A figure with fixed decimals, or a dash."""
    return NONE if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal, or a dash."""
    return NONE if value is None else f"{100 * value:.1f} %"


def interval(figure: Proportion | Estimate, digits: int = 3) -> str:
    """The interval as text: percentages for a proportion, plain numbers for an estimate."""
    if figure.low is None or figure.high is None:
        return NONE
    if isinstance(figure, Proportion):
        return f"{100 * figure.low:.1f} to {100 * figure.high:.1f} %"
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def _retrieval(evaluation: Evaluation) -> Section:
    before, after, change = evaluation.retrieval_global, evaluation.retrieval_reranked, evaluation.reranking
    rows, note = [], ""
    if before is not None and after is not None and change is not None:
        for depth in DEPTHS:
            cells = [figure_cells(retrieval.recall[depth]) for retrieval in (before, after)]
            rows.append([f"Recall@{depth}", *cells[0][:2], *cells[1][:2], cells[0][2], cells[1][2]])
        cells = [figure_cells(retrieval.mean_average_precision) for retrieval in (before, after)]
        rows.append(["mean average precision", *cells[0][:2], *cells[1][:2], cells[0][2], cells[1][2]])
        p_value = f" (exact McNemar test, p {_at_least(change.p_value)})" if change.p_value is not None else ""
        note = (
            "Relevant is a reference of the same product and the same authenticity. Re-ranking changed mean average "
            f"precision by {_signed(change.gain.value)} (95 % interval {interval(change.gain)}); the first reference "
            f"became relevant for {change.won} queries and ceased to be for {change.lost}{p_value}."
        )
        if before.num_without_relevant:
            note += f" {before.num_without_relevant} had no relevant reference and count in no figure."
    columns = ["figure", "before", "95 % interval", "re-ranked", "95 % interval", "k/n before", "k/n re-ranked"]
    return Section("retrieval", "Retrieval, before and after re-ranking", columns, rows, note)


def _rejection(evaluation: Evaluation) -> Section:
    rows = []
    for rule in evaluation.rejection.rules if evaluation.rejection.unrelated_rejected.n else []:
        shares = (rule.at_frr_1, rule.at_frr_5, rule.fpr95, rule.counterfeit_at_frr_1, rule.counterfeit_at_frr_5)
        cells = [share_cell(share) for share in shares]
        rows.append([rule.rule, rule.kind or "all", *cells[:2], estimate_cell(rule.auroc), *cells[2:]])
    columns = [
        "rule",
        "unrelated photographs",
        "rejected at 1 %",
        "rejected at 5 %",
        "AUROC",
        "FPR95",
        "counterfeits rejected at 1 %",
        "at 5 %",
    ]
    note = (
        "At 1 % and 5 %: where at most that share of in-domain photographs, counterfeits among them, is rejected; the "
        "thresholds are read off these scores and are not those in use. Rule global: g+ alone. Rule verification: g+ "
        "and the inlier ratio, whichever ranks lower. FPR95: unrelated photographs let in where 95 % of in-domain ones "
        "are. In brackets 95 % intervals."
    )
    return Section("rejection", "Rejection of unrelated photographs", columns, rows, note)


def _evidence(evaluation: Evaluation) -> Section:
    rows = [
        [EVIDENCE.get(name, name.replace("_", " ")), *figure_cells(area)] for name, area in evaluation.evidence.items()
    ]
    note = "Genuine against counterfeit by each score alone, over the photographs that have it; 0.5 is chance."
    return Section("evidence", "Evidence by itself", ["evidence", "AUROC", "95 % interval", "counts"], rows, note)


def _abstention(evaluation: Evaluation) -> Section:
    rows = []
    for curve in evaluation.risk_coverage if evaluation.calibration.n else []:
        at = [next((p for p in curve.points if (p.coverage.value or 0) >= share), None) for share in (0.5, 0.8)]
        risks = [share_cell(point.risk) if point else NONE for point in [*at, curve.points[-1]]]
        rows.append([CONFIDENCES[curve.confidence], *figure_cells(curve.area)[:2], *risks, f"n = {curve.n}"])
    columns = ["the surest first, by", "area", "95 % interval", "errors at 50 %", "at 80 %", "with all", "counts"]
    note = (
        "Photographs are called genuine from p_genuine = 0.5 on and decided from the surest down. Area under the "
        "risk-coverage curve: lower is better. Errors are those among the surest 50 % and 80 % of in-domain "
        "photographs, and among all that were given a probability."
    )
    return Section("abstention", "Risk and coverage", columns, rows, note)


def _localisation(evaluation: Evaluation) -> Section:
    found, rows = evaluation.localisation, []
    note = ""
    if found is not None:
        rows.append(["concentration of the residual's energy in the edit, median", *figure_cells(found.concentration)])
        rows.append(["strongest cell at the edit", *figure_cells(found.peak_inside)])
        rows.append(["strongest cell at the edit, by chance", percent(found.peak_by_chance), NONE, NONE])
        note = (
            "Concentration: share of the residual map inside the mask of the true edit over the mask's share of the "
            f"photograph; 1 is chance. Of {found.photographs} counterfeits with a mask, {found.without_map} had no "
            f"map, {found.without_heat} a map of zeros, {found.without_edit} an empty mask, and {found.unreadable} a "
            "mask that could not be read."
        )
    columns = ["figure", "value", "95 % interval", "counts"]
    return Section("localisation", "Localisation of edits", columns, rows, note)


def _times(evaluation: Evaluation) -> Section:
    rows = []
    for stage, time in evaluation.timings.items():
        median, tail = time.median_ms, time.p95_ms
        cells = [number(median.value, 1), interval(median, 1), number(tail.value, 1), interval(tail, 1)]
        rows.append([stage, *cells, f"n = {median.n}"])
    columns = ["stage", "median, ms", "95 % interval", "95th percentile, ms", "95 % interval", "counts"]
    note = "As the verdicts timed themselves on the machine of this evaluation; benchmarks/ compares machines."
    return Section("times", "Time by stage", columns, rows, note)


def _costs(evaluation: Evaluation) -> Section:
    costs, rows = evaluation.costs, []
    if costs is not None:
        side = f"one photograph of {costs.side_px} x {costs.side_px} px"
        rows.append(["floating-point operations of the network", f"{costs.forward_flops / 1e9:.3f} GFLOP", side])
    if costs is not None and costs.bytes_per_reference is not None:
        limit = f"{REFERENCE_BYTES // 1024} KiB"
        kept = "within" if costs.bytes_per_reference <= REFERENCE_BYTES else "above"
        mean = f"mean of {costs.num_references} references; {kept} the {limit} a reference may take"
        rows.append(["size of a reference", f"{costs.bytes_per_reference / 1024:.1f} KiB", mean])
    note = "Matrix products, convolutions and attention; a multiplication and an addition count as two operations."
    return Section("costs", "Cost", ["figure", "value", "of"], rows, note)


def _fused(evaluation: Evaluation) -> Section:
    fused = evaluation.items_fused
    rows = [] if fused is None else [group_row(fused)]
    note = "All photographs of an item gave one verdict."
    return Section("items", "By item, photographs fused", ["group", *GROUP_COLUMNS], rows, note)


def _at_least(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.3f}"


def _figures_at(path: str, value: object) -> Iterator[tuple[str, Figure | int]]:
    if isinstance(value, Proportion | Estimate) or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield path, value
    elif isinstance(value, Figures):
        yield from figures_of(value, f"{path}.")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _figures_at(f"{path}.{key}", part)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _figures_at(f"{path}.{_label(part, place)}", part)


def _label(part: object, place: int) -> str:
    """What tells an entry of a list from the others."""
    rule, name = getattr(part, "rule", None), getattr(part, "name", getattr(part, "confidence", None))
    if rule is not None:
        return f"{rule}.{getattr(part, 'kind', None) or 'all'}"
    if isinstance(part, Group):
        return part.name or "(not known)"
    return name if isinstance(name, str) else str(place)
