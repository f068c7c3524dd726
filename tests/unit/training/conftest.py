"""Photographs to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.data.manifest import ImportConfig, assemble, inspect_listed, list_photographs, write_import
from hallmark.data.synthetic import DrawConfig, draw_set


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 drawn photographs of two products."""
    drawn, folder = tmp_path_factory.mktemp("drawn"), tmp_path_factory.mktemp("manifest")
    table = draw_set(DrawConfig(size="smoke", side_px=96, products=2, shots_per_item=1, difficulty=0.2), drawn)
    config = ImportConfig(source=str(table), out=str(folder))
    listing = list_photographs(config.source)
    inspected = [inspect_listed(one, limits=config.limits) for one in listing.photographs]
    write_import(assemble(listing, inspected, config), config.out)
    return folder / "manifest.parquet"
