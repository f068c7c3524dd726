"""Where things lie: nothing shadows the standard library, no registry is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".cfg", ".jinja", ".json", ".sh", ""}
REGISTRIES = re.compile(
    "|".join(["py" + "pi", "python" + "hosted", "conda" + r"\.anaconda", "down" + r"load\.pytorch"])
)


def tracked() -> list[Path]:
    """The checkout's files as git has them, or as they lie where git is not there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    rooms = ("platform", "jobs", "serve_configs", "tests")
    return [
        file for room in rooms for file in (ROOT / room).rglob("*") if file.is_file() and "__pycache__" not in str(file)
    ]


def test_the_source_root_is_no_package():
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert [entry.name for entry in (ROOT / "platform").iterdir() if entry.suffix == ".py"] == []


@pytest.mark.parametrize("path", [None, "platform"])
def test_the_standard_librarys_platform_still_works(path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(ROOT / path)
    code = "import platform; print(platform.python_version())"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == ".".join(map(str, sys.version_info[:3]))


def test_every_room_is_a_package():
    package = ROOT / "platform" / "hallmark"
    folders = {file.parent for file in package.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_no_top_level_module_is_named_like_the_standard_librarys():
    names = [file.stem for room in ("jobs", "platform") for file in (ROOT / room).glob("*.py")]
    names += [entry.name for entry in (ROOT / "platform").iterdir() if (entry / "__init__.py").is_file()]
    assert names
    assert set(names) & set(sys.stdlib_module_names) == set()


def test_no_catch_all_modules():
    banned = {"utils.py", "helpers.py", "common.py", "parser.py", "misc.py"}
    assert [str(file) for file in tracked() if file.name in banned] == []


def test_no_registry_is_named():
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in tracked()
        if file.suffix in TEXT and file.name != "LICENSE"
        for match in [REGISTRIES.search(file.read_text(errors="replace").lower())]
        if match
    ]
    assert found == []


def test_presets_and_the_report_travel_with_the_package():
    settings = (ROOT / "pyproject.toml").read_text()
    assert "presets/*/*.yaml" in settings
    assert "evaluation/*.jinja" in settings
