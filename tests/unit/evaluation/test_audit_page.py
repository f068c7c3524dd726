"""The audit as text, JSON and a page: whole, escaped, and without anything from outside."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hallmark.data.auditing.audit import Audit, AuditConfig, audit
from hallmark.data.auditing.controls import ControlConfig
from hallmark.data.auditing.measurement import measure
from hallmark.data.decode import DecodeLimits
from hallmark.data.manifest import MANIFEST_SCHEMA
from hallmark.errors import OutputError
from hallmark.evaluation.audit_page import audit_text, write_audit, write_audit_page

LIMITS = DecodeLimits()
HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m"
FAST = AuditConfig(controls=ControlConfig(shuffles=99, resamples=100, repeats=1))


@pytest.fixture
def audited(tmp_path: Path) -> tuple[Audit, pa.Table]:
    """Twenty-four photographs of two hostile products; counterfeits are larger files; one is doubled, one is blank."""
    rng = np.random.default_rng(0)
    rows, measured = [], []
    for number in range(24):
        label = "genuine" if number % 2 else "counterfeit"
        pixels = np.kron(rng.integers(30, 220, (8, 8, 3)), np.ones((20, 20, 1))).astype(np.uint8)
        if number == 5:
            pixels[:] = 255
        path = tmp_path / f"{number} <b>&.jpg"
        Image.fromarray(pixels).save(path, quality=60 if number % 2 else 98)
        if number == 7:
            path.write_bytes((tmp_path / "3 <b>&.jpg").read_bytes())
        data = path.read_bytes()
        if number == 9:
            path.unlink()
        one = measure(data, LIMITS)
        measured.append(one)
        place = {"product": HOSTILE if number < 16 else "plain", "part": "whole", "authenticity": label}
        seen = {"image_id": one.image_id, "width": one.width, "height": one.height}
        rows.append({"uri": str(path), "item_id": str(number), "role": "train", **place, **seen})
    table = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
    return audit(table, measured, FAST), table


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def _parse(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_page_is_self_contained_and_escaped(audited, tmp_path):
    found, table = audited
    out = write_audit_page(found, table, tmp_path / "out" / "audit.html", LIMITS)
    page = _parse(out)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "form"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/jpeg;base64,", "#")), (tag, name)
    html = out.read_text(encoding="utf-8")
    assert "<script>" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "<b>&.jpg" in "".join(page.text)
    assert "alert(1)" in "".join(page.text)


def test_page_shows_findings_pictures_and_what_cannot_be_read(audited, tmp_path):
    found, table = audited
    out = write_audit_page(found, table, tmp_path / "audit.html", LIMITS)
    text = "".join(_parse(out).text)
    for finding in found.findings:
        assert finding.sentence in text
    assert "2 photographs across 2 items" in text
    assert "cannot be read" in text
    assert {tag for tag, _ in _parse(out).tags} >= {"svg", "img", "details", "table"}
    codes = {finding.code for finding in found.findings}
    assert {"near_duplicates", "bright", "flat"} <= codes


def test_text_says_all_findings_and_cannot_steer_a_terminal(audited):
    found, _ = audited
    text = audit_text(found)
    assert all(line.isprintable() for line in text.splitlines())
    assert text.splitlines()[0].startswith("24 photographs of 24 items")
    assert sum(line.startswith(("ERROR", "WARNING", "NOTE")) for line in text.splitlines()) == len(found.findings)
    for control in found.controls:
        assert f"{control.auroc:.3f}" in text


def test_json_is_the_audit(audited, tmp_path):
    found, table = audited
    record, page = write_audit(found, table, tmp_path / "audited", LIMITS)
    assert (record.name, page.name) == ("audit.json", "audit.html")
    assert Audit.model_validate(json.loads(record.read_text())) == found


def test_nothing_to_audit(tmp_path):
    table = MANIFEST_SCHEMA.empty_table()
    found = audit(table, [])
    text = "".join(_parse(write_audit_page(found, table, tmp_path / "audit.html", LIMITS)).text)
    assert "None were found." in text
    assert "0 photographs" in audit_text(found)


def test_a_file_in_the_way(audited, tmp_path):
    found, table = audited
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken"):
        write_audit(found, table, tmp_path / "taken", LIMITS)
