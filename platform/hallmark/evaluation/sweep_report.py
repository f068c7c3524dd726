"""Writes a sweep as one self-contained HTML page, with its tables and figures as files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from hallmark.config import to_yaml
from hallmark.data.manifest import write_whole
from hallmark.errors import OutputError
from hallmark.evaluation import sweep_rows
from hallmark.evaluation.canvas import to_png, to_svg
from hallmark.evaluation.report import render
from hallmark.evaluation.rows import Section
from hallmark.evaluation.sweep_charts import response
from hallmark.evaluation.sweep_course_charts import contender_dots, importance_bars, learning_curves
from hallmark.evaluation.sweep_figures import SweepFigures, sweep_figures
from hallmark.evaluation.tables import markdown_table, write_atomically
from hallmark.tuning.result import SweepResult

_CHARTS: dict[str, Callable[[SweepFigures], Figure]] = {
    "response": response,
    "contenders": contender_dots,
    "learning": learning_curves,
    "importance": importance_bars,
}


def headline(figures: SweepFigures) -> list[list[str]]:
    """The main figures as [name, value, interval, counts] texts, for the terminal."""
    return sweep_rows.headline_rows(figures)


def write_sweep(result: SweepResult, figures: SweepFigures | None = None) -> Path:
    """Write sweep.html and sweep.json, `tables/<name>.csv` and `.md`, and `figures/<name>.png` into the sweep's folder.

    In sweep.json, `figures` and `config` are the same whenever the same sweep is run again; what a clock measured is in
    `timings` alone.

    Args:
        result: of a sweep that came to its end.
        figures: of it, where they were measured already.

    Returns:
        The path of sweep.html.

    Raises:
        DataError: what was said of photographs cannot be read.
        OutputError: a file cannot be written.
    """
    told = figures or sweep_figures(result)
    timings = _timings(result)
    charts = {name: draw(told) for name, draw in _CHARTS.items() if name != "importance" or told.importance}
    _write_tables(result.out / "tables", told)
    for name, figure in charts.items():
        _write_png(result.out / "figures" / f"{name}.png", figure)
    content = {
        "figures": told.model_dump(mode="json") | {"words": told.margin.words},
        "config": result.config.model_dump(mode="json", exclude={"out"}),
        "timings": timings,
    }
    write_atomically(result.out / "sweep.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    inline = {name: Markup(to_svg(figure, name, f"chart: {name}")) for name, figure in charts.items()}
    return write_atomically(result.out / "sweep.html", _page(result, told, timings, inline))


def _page(result: SweepResult, told: SweepFigures, timings: dict[str, Any], charts: dict[str, Markup]) -> str:
    return render(
        "sweep.html.jinja",
        title=sweep_rows.title_of(told),
        figures=told,
        charts=charts,
        winner=sweep_rows.winner_sentence(told),
        margin=sweep_rows.margin_sentence(told),
        headline=headline(told),
        contenders=sweep_rows.contender_section(told),
        levels=sweep_rows.level_section(told),
        stops=sweep_rows.stop_section(told),
        importance=sweep_rows.importance_section(told),
        trials=sweep_rows.trial_section(told),
        timings=timings,
        config=result.config,
        settings=to_yaml(result.config),
        command=f"python jobs/train_{result.config.method}.py --config {result.out / 'winner.yaml'}",
    )


def _timings(result: SweepResult) -> dict[str, Any]:
    """Seconds of all trainings, and what they cost where a price is known."""
    choice = [trial for one in result.contenders for trial in one.trials]
    search, chosen = (sum(trial.seconds for trial in trials) for trials in (result.search, choice))
    price = result.config.price_per_hour
    return {
        "search_seconds": search,
        "choice_seconds": chosen,
        "cost": None if price is None else (search + chosen) / 3600 * price,
        "seconds_by_trial": {trial.name: trial.seconds for trial in [*result.search, *choice]},
    }


def _write_tables(folder: Path, told: SweepFigures) -> None:
    made: list[tuple[Section, str]] = [
        (sweep_rows.trial_section(told), sweep_rows.trials_csv(told)),
        (sweep_rows.contender_section(told), sweep_rows.contenders_csv(told)),
        (sweep_rows.stop_section(told), sweep_rows.stops_csv(told)),
    ]
    for section, text in made:
        flat = [[cell.replace("\n", " ") for cell in row] for row in section.rows]
        lines = [f"# {section.title}", "", *markdown_table(section.columns, flat), "", section.note]
        write_atomically(folder / f"{section.key}.md", "\n".join(lines).rstrip() + "\n")
        write_atomically(folder / f"{section.key}.csv", text)


def _write_png(path: Path, figure: Figure) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(to_png(figure)))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); wanted a folder with room to write") from None
