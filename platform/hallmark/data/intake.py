"""Photographs on their way into a manifest: cleaned of faults and copies, sorted into items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.data.decode import DecodeLimits
from hallmark.data.duplicates import NearDuplicateConfig, find_near_duplicates
from hallmark.data.inspection import Inspected
from hallmark.data.listing import Listed, Listing, Rejected
from hallmark.data.splits import SplitConfig
from hallmark.data.table import some
from hallmark.errors import DataError
from hallmark.types import Authenticity


class ImportConfig(Config):
    """What an import reads, what it refuses and how it splits."""

    source: str = Field(description="folder, .csv or .parquet; a path or any fsspec URI")
    out: str = Field(description="local folder that manifest.parquet and quarantine.parquet go to")
    limits: DecodeLimits = Field(DecodeLimits(), description="what a photograph may be")
    nodes: dict[str, str] = Field({}, description="labels of the nodes that inspect photographs; {}: any")
    incomplete: Literal["error", "skip"] = Field(
        "error", description="what happens to products that lack genuine or counterfeit items: stop, or leave them out"
    )
    min_items: int = Field(
        3, ge=1, le=1000, description="items wanted of each authenticity of a product (1 to 1000); 3 = one a role"
    )
    splits: SplitConfig = Field(SplitConfig(), description="shares of train, val and test")
    duplicates: NearDuplicateConfig = Field(
        NearDuplicateConfig(), description="when two photographs are one picture: they are one item, and never parted"
    )


@dataclass(frozen=True)
class Photograph:
    """What a photograph's source says, beside what opening it told."""

    listed: Listed
    inspected: Inspected

    @property
    def place(self) -> tuple[str, str, str]:
        return self.listed.product, self.listed.part, self.listed.authenticity

    @property
    def order(self) -> tuple[str, ...]:
        return (*self.place, self.listed.item_id, self.listed.uri)


def sound(listing: Listing, inspected: Sequence[Inspected]) -> tuple[list[Photograph], list[Rejected]]:
    """Part the photographs that can be used, in a fixed order, from the files that cannot.

    The detail of a fault begins with the row and column of the table where there is one.
    """
    photographs = []
    faults = list(listing.rejected)
    for entry, opened in zip(listing.photographs, inspected, strict=True):
        seen = opened if opened.reason else _held_against(entry, opened)
        if seen.reason:
            place = f"{entry.origin}, column {seen.column}: " if entry.origin else ""
            faults.append(Rejected(entry.uri, seen.reason, place + seen.detail))
        else:
            photographs.append(Photograph(entry, seen))
    return sorted(photographs, key=lambda photograph: photograph.order), faults


def _held_against(entry: Listed, seen: Inspected) -> Inspected:
    """Hold what a table says of a photograph against the photograph itself."""
    if entry.image_id and entry.image_id != seen.image_id:
        detail = f"found {entry.image_id}; wanted {seen.image_id}, the SHA-256 of {entry.uri}: another file lies there"
        return replace(seen, reason="image_id", detail=detail, column="image_id")
    if entry.box and (entry.box[2] > seen.width or entry.box[3] > seen.height):
        detail = f"found the box {entry.box}; wanted it within {seen.width} x {seen.height} px"
        return replace(seen, reason="box", detail=detail, column="box")
    return seen


def alike_products(photographs: Sequence[Photograph]) -> list[str]:
    """A notice for each set of product names that differ only in case or spaces; they stay different products."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for photograph in photographs:
        product = photograph.listed.product
        spellings["".join(product.split()).casefold()].add(product)
    return [
        f"products {', '.join(map(repr, sorted(names)))} are named alike but for case or spaces and are taken as "
        f"{len(names)} products; give them one name if they are one"
        for _, names in sorted(spellings.items())
        if len(names) > 1
    ]


def refuse_contradictions(photographs: Sequence[Photograph]) -> None:
    """Stop where the same bytes stand under two products or two authenticities.

    Raises:
        DataError: names both files of each such pair.
    """
    first: dict[str, Listed] = {}
    clashes = []
    for photograph in photographs:
        one, other = first.setdefault(photograph.inspected.image_id, photograph.listed), photograph.listed
        if (one.product, one.authenticity) != (other.product, other.authenticity):
            clashes.append(f"{_named(one)} and {_named(other)}")
    if clashes:
        raise DataError(
            f"the same photograph is under two labels: {some(clashes)}; remove each from where it does not belong"
        )


def without_copies(photographs: Sequence[Photograph]) -> tuple[list[Photograph], list[Rejected]]:
    """Keep the first of photographs with the same bytes."""
    kept: dict[str, Photograph] = {}
    faults = []
    for photograph in photographs:
        first = kept.setdefault(photograph.inspected.image_id, photograph)
        if first is not photograph:
            place = f"{photograph.listed.origin}, column uri: " if photograph.listed.origin else ""
            of = f"{first.listed.uri} ({first.listed.origin})" if first.listed.origin else first.listed.uri
            faults.append(Rejected(photograph.listed.uri, "duplicate", f"{place}duplicate of {of}"))
    return list(kept.values()), faults


def with_items(
    photographs: Sequence[Photograph], duplicates: NearDuplicateConfig
) -> tuple[list[Photograph], list[str]]:
    """Give every photograph an item_id that no other product or authenticity has.

    Returns:
        The photographs, sorted, and notices about given ids that had to be told apart.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    places: dict[tuple[str, str, str], list[Photograph]] = defaultdict(list)
    for photograph in photographs:
        places[photograph.place].append(photograph)
        owners[photograph.listed.item_id].add(_label(photograph.listed))
    shared = {item for item, labels in owners.items() if item and len(labels) > 1}
    items = []
    for place, members in places.items():
        names = _cluster_names(place, [each for each in members if not each.listed.item_id], duplicates, set(owners))
        for photograph in members:
            given = photograph.listed.item_id
            own = f"{_label(photograph.listed)}/{given}" if given in shared else given
            items.append(replace(photograph, listed=replace(photograph.listed, item_id=own or next(names))))
    notices = []
    if shared:
        names_shared = some(sorted(shared))
        notices.append(
            f"item_id {names_shared}: found under several products or authenticities; taken as different items"
        )
    return sorted(items, key=lambda photograph: photograph.order), notices


def complete(
    photographs: Sequence[Photograph], config: ImportConfig
) -> tuple[list[Photograph], list[Rejected], list[str]]:
    """Leave out, or refuse, the products that lack items of either authenticity.

    Raises:
        DataError: products are incomplete and `incomplete` is `error`; names each with its counts.
    """
    lacking, num_products = _lacking(photographs, config.min_items)
    if lacking and config.incomplete == "error":
        listed = "; ".join(f"{product}: {found} items" for product, found in lacking.items())
        raise DataError(
            f"{config.source}: {len(lacking)} of {num_products} products are incomplete: {listed}; wanted at least "
            f"{config.min_items} genuine and {config.min_items} counterfeit items of each (min_items; near-duplicates "
            "count as one item); add photographs, or leave these products out with --set incomplete=skip"
        )
    notices = [
        f"product {product} is left out: found {found} items; wanted {config.min_items} of each"
        for product, found in lacking.items()
    ]
    left_out = [photograph.listed for photograph in photographs if photograph.listed.product in lacking]
    faults = [
        Rejected(entry.uri, "incomplete product", f"{entry.product}: found {lacking[entry.product]} items")
        for entry in left_out
    ]
    kept = [photograph for photograph in photographs if photograph.listed.product not in lacking]
    return kept, faults, notices


def thumbnails_of(photographs: Sequence[Photograph]) -> np.ndarray:
    """(N, 64, 64) uint8."""
    return np.stack([photograph.inspected.thumbnail for photograph in photographs])


def _cluster_names(
    place: tuple[str, str, str], photographs: list[Photograph], duplicates: NearDuplicateConfig, taken: set[str]
) -> Iterator[str]:
    """A name for each photograph's near-duplicate cluster, numbered in the order of the photographs."""
    if not photographs:
        return
    prefix = "/".join(word for word in place if word)
    free = (name for name in (f"{prefix}/{number:04d}" for number in count()) if name not in taken)
    names: dict[int, str] = {}
    for cluster in find_near_duplicates(thumbnails_of(photographs), duplicates).clusters.tolist():
        if cluster not in names:
            names[cluster] = next(free)
        yield names[cluster]


def _lacking(photographs: Sequence[Photograph], min_items: int) -> tuple[dict[str, str], int]:
    """The counts, in words, of each product with too few items, and how many products there are."""
    items: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for photograph in photographs:
        if photograph.listed.authenticity != Authenticity.UNRELATED:
            items[photograph.listed.product][photograph.listed.authenticity].add(photograph.listed.item_id)
    wanted = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)
    lacking = {
        product: " and ".join(f"{len(found[label])} {label}" for label in wanted)
        for product, found in sorted(items.items())
        if min(len(found[label]) for label in wanted) < min_items
    }
    return lacking, len(items)


def _label(listed: Listed) -> str:
    return "/".join(word for word in (listed.product, listed.authenticity) if word)


def _named(listed: Listed) -> str:
    return f"{listed.uri} ({', '.join(filter(None, (_label(listed), listed.origin)))})"
