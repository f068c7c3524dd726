"""The page of an analysis and the files beside it."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hallmark.config import validate
from hallmark.errors import OutputError
from hallmark.evaluation.analysis_report import Shown, headline, write_analysis
from hallmark.evaluation.attention_map import EnergyInside
from hallmark.evaluation.canvas import chart
from hallmark.evaluation.class_report import class_report
from hallmark.evaluation.feature_plane import Neighbourhood
from hallmark.evaluation.kag_analysis import KAGAnalysis, attention_shown, features_shown, gallery_shown
from hallmark.evaluation.kag_axes import KAGAnalysisConfig
from hallmark.evaluation.measures import Proportion
from hallmark.evaluation.outcomes import Answer, Outcome, answers_of
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.evaluation.variant_table import variant_table
from hallmark.evaluation.variants import Axis, Variant

NASTY = '<b>x</b> & "y" | \'=1'
PRODUCTS = [NASTY, "=cmd"]
PICTURES = ("scrambles", "features", "attention")


def trained(name: str, seeds: int, right: float) -> list[Outcome]:
    rng = np.random.default_rng(0)
    outcomes = []
    for seed in range(seeds):
        answers = [
            Answer(
                image_id=str(place),
                item_id=f"item{place}",
                truth=place % 4,
                told=place % 4 if rng.random() < right else (place + 1) % 4,
                log_odds=float(rng.normal()),
            )
            for place in range(24)
        ]
        settings = {"seed": seed, "products": PRODUCTS, "validation": {"accuracy": 0.5}}
        settings |= {"training_photographs": 8, "training_items": 8, "answers": answers}
        outcomes.append(Outcome(bundle_id=f"{name}{seed}", **settings))
    return outcomes


def analysis_of(seeds: int = 2) -> KAGAnalysis:
    config = validate(
        KAGAnalysisConfig,
        {"run": {"manifest": f"{NASTY}.parquet"}, "out": "o", "seeds": list(range(seeds)), "resamples": 100},
        "analysis",
    )
    base = trained("base", seeds, 0.5)
    answers = answers_of(base)
    report = class_report(
        answers, list(config.seeds), SeedBootstrap(answers.items, answers.truth % 2, seeds, 0, config.resamples)
    )
    tables = []
    for name, places in (("alpha", (0.5, 1.0)), ("backbone", (None, None))):
        variants = (Variant("own", position=places[0]), Variant(f"{name} {NASTY}", position=places[1]))
        axis = Axis(name, f"{name} {NASTY}", f"label {NASTY}", f"note {NASTY}", variants)
        outcomes = dict(zip(variants, (base, trained(name, seeds, 0.9)), strict=True))
        tables.append(variant_table(axis, outcomes, base, 100, 0))
    near = {"knn_accuracy": Proportion.of(3, 4), "components": 5}
    return KAGAnalysis(
        config=config,
        bundle_ids=[one.bundle_id for one in base],
        num_trainings=3 * seeds,
        classes=report,
        tables=tables,
        neighbourhoods={
            NASTY: Neighbourhood(silhouette=0.25, perplexity=9.0, **near),
            "few": Neighbourhood(silhouette=None, perplexity=None, **near),
        },
        energy={
            NASTY: EnergyInside(n=3, inside=0.875, content=0.5),
            "none": EnergyInside(n=0, inside=None, content=None),
        },
    )


def shown(analysis: KAGAnalysis) -> list[Shown]:
    figures = [chart(2, 2)[0] for _ in PICTURES]
    return [
        gallery_shown(figures[0]),
        features_shown(analysis.neighbourhoods, figures[1]),
        attention_shown(analysis.energy, figures[2]),
    ]


def written_to(out: Path, analysis: KAGAnalysis) -> Path:
    return write_analysis(out, f"Analyses of {NASTY}", analysis, shown(analysis), [f"limit {NASTY}"])


@pytest.fixture(scope="module")
def analysis() -> KAGAnalysis:
    return analysis_of()


@pytest.fixture(scope="module")
def written(analysis: KAGAnalysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("analysis") / "out"
    assert written_to(out, analysis) == out / "analysis.html"
    return out


class Seen(HTMLParser):
    """The elements of a page, the addresses it names, and its texts."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset", "xlink:href"):
                self.addresses.append(value or "")
            elif name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_loads_nothing_and_its_links_lead_somewhere(written: Path) -> None:
    page = (written / "analysis.html").read_text()
    seen = Seen(page)
    assert seen.addresses
    for address in seen.addresses:
        assert address.startswith("data:image/jpeg;base64,") or address[1:] in seen.ids, address[:80]
    assert len(set(seen.ids)) == len(seen.ids)
    assert seen.tags.isdisjoint({"script", "link", "iframe", "object", "embed"})
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page


def test_names_are_text_and_no_markup(written: Path) -> None:
    page = (written / "analysis.html").read_text()
    assert "b" not in Seen(page).tags
    assert f"{NASTY} counterfeit" in Seen(page).text
    for said in ("alpha", "note", "label", "limit", "Analyses of"):
        assert f"{said} {NASTY}" in Seen(page).text
    markdown = (written / "tables" / "classes.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    assert "<b>" not in "".join(rows)


def test_the_files_are_those_of_the_analysis(written: Path, analysis: KAGAnalysis) -> None:
    assert KAGAnalysis.model_validate_json((written / "analysis.json").read_text()) == analysis
    keys = ("classes", "alpha", "backbone")
    assert {path.name for path in (written / "figures").iterdir()} == {f"{name}.png" for name in (*keys, *PICTURES)}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (written / "figures").iterdir())
    assert {path.name for path in (written / "tables").iterdir()} == {
        f"{key}.{kind}" for key in keys for kind in ("json", "csv", "md")
    }
    whole = json.loads((written / "analysis.json").read_text())
    for key, own in zip(keys, [whole["classes"], *whole["tables"]], strict=True):
        assert json.loads((written / "tables" / f"{key}.json").read_text()) == own
        markdown = (written / "tables" / f"{key}.md").read_text()
        assert "24 test photographs of 24 items; seeds 0, 1, counts pooled over them." in markdown


def test_the_classes_csv_holds_every_number(written: Path, analysis: KAGAnalysis) -> None:
    with (written / "tables" / "classes.csv").open(newline="") as file:
        rows = {(row["class"], row["figure"]): row for row in csv.DictReader(file)}
    report = analysis.classes
    assert len(rows) == 4 * (3 + 4)
    for one, counts in zip(report.classes, report.confusion, strict=True):
        name = f"'{one.name}" if one.name.startswith("=") else one.name  # a spreadsheet would compute it
        for figure in ("precision", "recall", "f1"):
            own, row = getattr(one, figure), rows[name, figure]
            assert [float(row[part]) for part in ("value", "low", "high")] == [own.value, own.low, own.high]
            assert row["k"] == ("" if figure == "f1" else str(own.k))
            assert int(row["n"]) == own.n
        told = [int(rows[name, f"told {other.name}"]["value"]) for other in report.classes]
        assert told == counts


def test_the_headline_gives_counts_and_intervals(analysis: KAGAnalysis) -> None:
    rows = {name: cells for name, *cells in headline(analysis)}
    accuracy = analysis.classes.accuracy
    assert rows["product and authenticity right"][2] == f"{accuracy.k}/{accuracy.n}"
    assert rows["F1, macro over classes"][0] == f"{analysis.classes.f1_macro.value:.3f}"
    assert rows["F1, counterfeit"][0] == f"{analysis.classes.f1_counterfeit.value:.3f}"
    assert all(cells[1] != "—" for cells in rows.values())


def test_limits_say_how_many_trainings_there_were(written: Path, tmp_path: Path) -> None:
    one_seed = written_to(tmp_path, analysis_of(1).model_copy(update={"tables": []}))
    two, one = (" ".join(Seen(page.read_text()).text.split()) for page in (written / "analysis.html", one_seed))
    for text, own, other in ((two, "two", "one"), (one, "one", "two")):
        said = {"one": "trained with one seed only", "two": "pool the answers of 2 trainings"}
        assert said[own] in text
        assert said[other] not in text
    # Nothing is compared: there are no tables, and no links to them.
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {"classes"}
    assert {"#alpha", "#backbone"}.isdisjoint(Seen(one_seed.read_text()).addresses)


def test_the_same_analysis_is_written_the_same(written: Path, analysis: KAGAnalysis, tmp_path: Path) -> None:
    written_to(tmp_path, analysis)
    for file in written.rglob("*.*"):
        assert (tmp_path / file.relative_to(written)).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("taken", ["tables", "figures"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, analysis: KAGAnalysis, taken: str) -> None:
    (tmp_path / taken).write_text("")
    with pytest.raises(OutputError, match=taken):
        written_to(tmp_path, analysis)
