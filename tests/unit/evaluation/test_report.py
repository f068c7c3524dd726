"""The report: one file that loads nothing, runs nothing and believes nobody's markup."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hallmark.errors import ConfigError, DataError, OutputError
from hallmark.evaluation.metrics import Evaluation, Examined, evaluate_examined
from hallmark.evaluation.report import Example, write_report
from hallmark.verdict.calibration import Calibration

Maker = Callable[..., Examined]
ATTACK = "<script>alert('x')</script>\"onload=\"y"
VOID = {"meta", "br", "img", "hr", "link", "input", "col"}


def picture(form: str = "PNG", colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), colour, dtype=np.uint8)).save(buffer, form)
    return buffer.getvalue()


class Page(HTMLParser):
    """Tags with their attributes and the visible text; complains of tags that do not close."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def assert_self_contained(html: str) -> Page:
    page = Page(html)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(names)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                assert value.startswith(("data:image/", "#")), (tag, name, value[:80])
                assert not value.startswith("#") or value[1:] in ids, value
    assert not re.search(r"https?:|//[a-z]|@import|javascript:", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html))
    assert all(match.startswith(("#", "data:")) for match in re.findall(r"url\(['\"]?([^)]+)", html))
    return page


@pytest.fixture(scope="module")
def evaluation(examined_set: list[Examined]) -> Evaluation:
    return evaluate_examined(examined_set, seed=11, resamples=30)


@pytest.fixture(scope="module")
def full(
    tmp_path_factory: pytest.TempPathFactory,
    examined_set: list[Examined],
    evaluation: Evaluation,
    calibration: Calibration,
) -> str:
    """A report with every section."""
    pictures = [Example(one, picture(), picture("JPEG"), f"example {n}") for n, one in enumerate(examined_set[:20])]
    records = [{"step": n, "epoch": n // 5, "loss": 1 / (n + 1), "local_triplet": 0.5} for n in range(20)]
    meta = {
        "title": "The title",
        "created": "2031-02-03",
        "roles": {"train": 12345, "test": 90},
        "seeds": {"training": 4242},
        "hashes": {"manifest": "feedbeef"},
        "calibration": calibration.model_dump(),
        "quarantine": [{"uri": "bad/one.jpg", "reason": "truncated"}],
        "provenance": {"versions": {"torch": "9.8.7"}},
        "limits": ["Only by daylight."],
    }
    out = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(out, evaluation, examined_set, records, pictures, meta).read_text(encoding="utf-8")


def test_the_report_is_one_file_without_script_or_outside_address(full: str) -> None:
    page = assert_self_contained(full)
    assert full.startswith("<!doctype html>") or full.startswith("<!DOCTYPE html>")
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert any("default-src 'none'" in policy for policy in policies)


def test_every_section_tells_what_it_was_given(full: str, evaluation: Evaluation) -> None:
    text = Page(full).text
    recall = evaluation.counterfeit_positive.recall
    for words in (
        "The title",
        "2031-02-03",
        f"{recall.k} of {recall.n}",
        "12345",
        "4242",
        "feedbeef",
        "bad/one.jpg",
        "truncated",
        "9.8.7",
        "Only by daylight.",
        "b" * 16,
        "c" * 16,
        "example 0",
        "0123456789abcdef",
    ):
        assert words in text, words


def test_every_picture_and_chart_can_be_read_aloud(full: str) -> None:
    page = Page(full)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 13  # twelve examples and the contact sheet of the rest
    assert all(one.get("alt") for one in pictures)
    assert len(charts) == 8
    assert all(one.get("role") == "img" and one.get("aria-label") for one in charts)


def test_a_residual_map_is_shown_under_its_photograph(tmp_path: Path, make_examined: Maker) -> None:
    heat = [[0.0, 1.0], [2.0, 0.0]]
    made = [make_examined(residual=residual) for residual in (None, [[0.0]], heat, heat)]
    examples = [Example(one, picture(), picture()) for one in made]
    examples[3] = replace(examples[3], edit_mask=np.eye(6, dtype=bool))
    out = write_report(tmp_path / "r.html", evaluate_examined(made, 0, 5), made, [], examples, {})
    told = [attributes["alt"] for tag, attributes in Page(out.read_text()).tags if tag == "img"]
    assert ["residual" in text for text in told] == [False, False, False, True, False, True]
    assert ["true edit" in text for text in told] == [False] * 5 + [True]


def test_alarms_of_the_training_are_told(tmp_path: Path) -> None:
    records = [{"epoch": 3, "loss": 1.0, "alarms": ["<b>dead</b> term", "collapse"]}, {"epoch": 4, "loss": 0.5}]
    evaluation = evaluate_examined([], 0, 5)
    text, quiet = (
        Page(write_report(tmp_path / "r.html", evaluation, [], told, [], {}).read_text()).text
        for told in (records, records[1:])
    )
    assert "epoch 3 <b>dead</b> term epoch 3 collapse" in text
    assert "None was recorded." in quiet


def test_wrong_verdicts_come_first(tmp_path: Path, make_examined: Maker) -> None:
    cases = [("genuine", "right one"), ("inconclusive", "open one"), ("counterfeit", "wrong one")]
    examples = [Example(make_examined(label=label), picture(), None, caption) for label, caption in cases]
    examined = [example.examined for example in examples]
    out = write_report(tmp_path / "r.html", evaluate_examined(examined, 0, 5), examined, [], examples, {})
    text = Page(out.read_text()).text
    assert text.index("wrong one") < text.index("open one") < text.index("right one")


def test_markup_in_what_users_supply_stays_text(tmp_path: Path, make_examined: Maker) -> None:
    wild = {"product": ATTACK, "item": ATTACK, "source": ATTACK, "part": ATTACK, "uri": ATTACK}
    examined = [
        make_examined("genuine", "counterfeit", **wild, decision=-0.5),
        make_examined("counterfeit", "counterfeit", **(wild | {"part": "other"}), decision=-0.4),
    ]
    meta = {
        "title": ATTACK,
        "created": ATTACK,
        "roles": {ATTACK: 1},
        "seeds": {ATTACK: 1},
        "hashes": {ATTACK: ATTACK},
        "calibration": {"objective": ATTACK, ATTACK: 1},
        "quarantine": [{"uri": ATTACK, "reason": ATTACK}],
        "provenance": {ATTACK: {ATTACK: ATTACK}},
        "limits": [ATTACK],
    }
    records = [{"step": 1, "loss": 0.5, ATTACK: 0.5}, {"step": 2, "loss": 0.4, ATTACK: 0.3}]
    pictures = [Example(one, picture(), picture(), ATTACK) for one in examined]
    evaluation = evaluate_examined(examined, seed=0, resamples=5)
    html = write_report(tmp_path / "r.html", evaluation, examined, records, pictures, meta).read_text()
    page = assert_self_contained(html)
    assert "<script" not in html.lower()
    assert page.text.count("<script>alert") >= 12


@pytest.mark.parametrize("count", [0, 1])
def test_a_set_of_next_to_nothing_still_has_a_report(tmp_path: Path, make_examined: Maker, count: int) -> None:
    examined = [make_examined("unrelated", "not_in_gallery", product=None, p=None, decision=None)][:count]
    evaluation = evaluate_examined(examined, seed=0, resamples=5)
    out = write_report(tmp_path / "r.html", evaluation, examined, [], [], {})
    page = assert_self_contained(out.read_text())
    assert f"{count} photograph" in page.text
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text.split()


def test_nothing_found_in_quarantine_differs_from_nobody_looked(tmp_path: Path) -> None:
    evaluation = evaluate_examined([], seed=0, resamples=5)
    pages = [
        Page(write_report(tmp_path / "r.html", evaluation, [], [], [], {"quarantine": told}).read_text()).text
        for told in (None, [])
    ]
    assert pages[0] != pages[1]


@pytest.mark.parametrize(
    ("meta", "key"),
    [({"titel": "x"}, "titel"), ({"seeds": {"a": "x"}}, r"seeds\.a"), ({"quarantine": [{"uri": "x"}]}, "reason")],
)
def test_a_wrong_key_of_meta_is_named(tmp_path: Path, meta: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        write_report(tmp_path / "r.html", evaluate_examined([], 0, 5), [], [], [], meta)
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize("broken", ["photograph", "reference"])
def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path, make_examined: Maker, broken: str) -> None:
    one = make_examined(uri="odd/one.jpg")
    parts = {"photograph": picture(), "reference": picture()} | {broken: b"\xff\xd8\xff no picture"}
    with pytest.raises(DataError, match=r"odd/one\.jpg: cannot be shown"):
        write_report(tmp_path / "r.html", evaluate_examined([one], 0, 5), [one], [], [Example(one, **parts)], {})


def test_the_report_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "deep" / "r.html"
    evaluation = evaluate_examined([], seed=0, resamples=5)
    write_report(out, evaluation, [], [], [], {"title": "old"})
    before = out.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"r\.html: cannot be written \(No space left"):
        write_report(out, evaluation, [], [], [], {"title": "new"})
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]
