"""The import on real photographs, where the development set lies beside the checkout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hallmark.data.decode import DecodeLimits
from hallmark.data.manifest import ImportConfig, assemble, inspect_uri, list_photographs
from hallmark.errors import DataError

pytestmark = pytest.mark.photographs


@pytest.fixture(scope="module")
def labels(root: Path) -> Path:
    folder = root.parent / "shared" / "data" / "cdp_labels"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: the development photographs are not part of the project")
    return folder


def _assembled(folder: Path, **settings):
    listing = list_photographs(str(folder))
    inspected = [inspect_uri(photograph.uri, DecodeLimits()) for photograph in listing.photographs]
    return assemble(listing, inspected, ImportConfig(source=str(folder), out="out", **settings))


def test_products_of_one_authenticity_are_named(labels):
    with pytest.raises(DataError, match="decade") as refused:
        _assembled(labels)
    assert "nuance" in str(refused.value)
    assert "incomplete=skip" in str(refused.value)


def test_complete_products_are_split_and_the_others_listed(labels):
    assembled = _assembled(labels, incomplete="skip")
    manifest, quarantine = assembled.manifest.to_pylist(), assembled.quarantine.to_pylist()
    assert len(manifest) + len(quarantine) == 145
    assert {row["reason"] for row in quarantine} == {"incomplete product"}
    roles = Counter((row["product"], row["authenticity"], row["role"]) for row in manifest)
    places = {(product, authenticity) for product, authenticity, _ in roles}
    assert len(places) == 18
    assert all(roles[(*place, role)] >= 1 for place in places for role in ("train", "val", "test"))
