"""References told by their number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hallmark.gallery.store import Reference
from hallmark.types import Authenticity


@pytest.fixture(scope="session")
def enrolled_as(make_described) -> Callable[..., Reference]:
    """A reference whose image_id, descriptor and surface come from its number."""

    def make(number: int, product: str = "a", authenticity: Authenticity = Authenticity.GENUINE, **told) -> Reference:
        descriptor = np.random.default_rng(number).normal(size=8)
        image_id = f"{number:024x}{0:040x}"
        surface = told.pop("surface", f"surface{number}".encode())
        described = make_described(image_id, descriptor / np.linalg.norm(descriptor), surface=surface)
        names = {"part": "whole", "item_id": f"item{number}", "thumbnail": f"jpeg{number}".encode()}
        return Reference(described, product, authenticity=authenticity, **{**names, **told})

    return make
