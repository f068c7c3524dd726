"""The page's files: nothing that its content security policy forbids, and nothing from elsewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from hallmark.serving.gateway import PAGE


def test_the_document_has_nothing_inline_and_loads_what_is_there() -> None:
    text = (PAGE / "index.html").read_text()
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    for name in re.findall(r'(?:href|src)="page/([^"]+)"', text):
        assert (PAGE / name).is_file(), name


def test_modules_import_what_is_there_and_call_nobody_else() -> None:
    for file in PAGE.glob("*.js"):
        text = file.read_text()
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert (PAGE / name).is_file(), f"{file.name}: {name}"
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage", text)
        assert set(re.findall(r'"(https?:[^"]+)"', text)) <= {"http://www.w3.org/2000/svg"}


def test_every_file_is_packaged(root: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["hallmark"]
    packaged = {file for pattern in patterns for file in PAGE.parents[1].glob(pattern)}
    assert {file for file in PAGE.iterdir() if file.is_file()} <= packaged
