"""The table of photographs: import, checks, quarantine, reading and writing."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from hallmark.data.duplicates import find_near_duplicates
from hallmark.data.inspection import Inspected, inspect_listed, inspect_photograph, inspect_uri
from hallmark.data.intake import (
    ImportConfig,
    Photograph,
    alike_products,
    complete,
    refuse_contradictions,
    sound,
    thumbnails_of,
    with_items,
    without_copies,
)
from hallmark.data.listing import LAYOUT, Listed, Listing, list_photographs, read_bytes
from hallmark.data.splits import assign_roles, digest, group_labels, thin_strata
from hallmark.data.table import some
from hallmark.errors import DataError, OutputError
from hallmark.types import Authenticity, Role

__all__ = [
    "MANIFEST_SCHEMA",
    "QUARANTINE_SCHEMA",
    "Assembled",
    "ImportConfig",
    "Inspected",
    "Listed",
    "Listing",
    "assemble",
    "earlier_manifest",
    "inspect_listed",
    "inspect_photograph",
    "inspect_uri",
    "list_photographs",
    "manifest_hash",
    "products",
    "read_bytes",
    "read_manifest",
    "rows_with",
    "write_import",
    "write_manifest",
    "write_whole",
]

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("authenticity", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string()),
        pa.field("source_id", pa.string()),
        pa.field("device_id", pa.string()),
        pa.field("box", pa.list_(pa.float32())),
        pa.field("mask_uri", pa.string()),
        pa.field("edit_mask_uri", pa.string()),
        pa.field("role", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)
QUARANTINE_SCHEMA = pa.schema([("uri", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


@dataclass(frozen=True)
class Assembled:
    """The outcome of an import: MANIFEST_SCHEMA, QUARANTINE_SCHEMA and what a person should know."""

    manifest: pa.Table
    quarantine: pa.Table
    notices: list[str]


def assemble(
    listing: Listing, inspected: Sequence[Inspected], config: ImportConfig, earlier: pa.Table | None = None
) -> Assembled:
    """Join what was listed and what was seen into a manifest with items and roles, and a quarantine.

    Photographs that are unsound, doubled or, where `incomplete` is `skip`, of incomplete products are quarantined. A
    missing item_id becomes the near-duplicate cluster within product, part and authenticity. `group_id` is the first
    item_id among those that near-duplicates join: what may not be parted by a split. The outcome does not depend on the
    order of the listing.

    Args:
        listing: from `list_photographs`.
        inspected: from `inspect_listed`, one for each of `listing.photographs`, in their order.
        config: what is refused and how it is split.
        earlier: a manifest whose photographs keep their roles, unless the listing gives them one. Where new photographs
            join groups of different roles, all take that of the first image_id.

    Raises:
        DataError: the same bytes have two products or authenticities, a product is incomplete, or nothing is left.
    """
    photographs, faults = sound(listing, inspected)
    refuse_contradictions(photographs)
    photographs, copies = without_copies(photographs)
    photographs, item_notices = with_items(photographs, config.duplicates)
    photographs, left_out, product_notices = complete(photographs, config)
    faults = sorted([*faults, *copies, *left_out], key=astuple)
    num_files = len(listing.photographs) + len(listing.rejected)
    if not photographs:
        found = f"; the first: {': '.join(astuple(faults[0]))}" if faults else ""
        raise DataError(f"{config.source}: none of {num_files} files can be used{found}; wanted {LAYOUT}")
    manifest, role_notices = _with_roles(photographs, config, earlier)
    quarantine = pa.Table.from_pylist([asdict(fault) for fault in faults], schema=QUARANTINE_SCHEMA)
    notices = [*alike_products(photographs), *item_notices, *product_notices, *role_notices]
    if faults:
        counts = ", ".join(f"{number} {reason}" for reason, number in sorted(Counter(f.reason for f in faults).items()))
        notices.append(f"{len(faults)} of {num_files} files are quarantined: {counts}")
    return Assembled(manifest, quarantine, notices)


def write_import(assembled: Assembled, out: str | Path) -> None:
    """Write manifest.parquet, quarantine.parquet and quarantine.csv; each appears whole, the manifest last.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    if "://" in str(out):
        raise OutputError(f"{out}: found a URI; wanted a local folder to write the manifest to")
    folder = Path(out)
    quarantine = assembled.quarantine
    try:
        folder.mkdir(parents=True, exist_ok=True)
        quote = pa_csv.WriteOptions(quoting_style="all_valid")
        write_whole(folder / "quarantine.csv", lambda file: pa_csv.write_csv(quarantine, file, quote))
        write_whole(folder / "quarantine.parquet", lambda file: pq.write_table(quarantine, file))
        write_manifest(assembled.manifest, folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); wanted a folder with write rights and space"
        ) from None


def write_manifest(table: pa.Table, folder: Path) -> None:
    """Write a folder's manifest.parquet; equal tables give equal bytes. Raises OSError."""
    write_whole(folder / "manifest.parquet", lambda file: pq.write_table(table, file))


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write under a temporary name beside the file, then take its place in one step. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def earlier_manifest(out: str | Path) -> pa.Table | None:
    """The manifest that an earlier import left in a local folder, or None.

    Raises:
        DataError: there is one, but it cannot be read.
    """
    path = Path(out) / "manifest.parquet"
    return read_manifest(path) if path.is_file() else None


def read_manifest(path: str | Path) -> pa.Table:
    """Read a manifest, or the manifest.parquet of a folder, as MANIFEST_SCHEMA; optional columns it lacks are null.

    Raises:
        DataError: the file is missing or unreadable, or a column is missing, of another type, or has a wrong value.
    """
    uri = str(Path(path) / "manifest.parquet") if Path(path).is_dir() else str(path)
    try:
        table = pq.read_table(pa.BufferReader(read_bytes(uri)))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{uri}: is not a readable Parquet file ({error}); run the import again") from None
    columns = []
    for field in MANIFEST_SCHEMA:
        if field.name not in table.column_names and field.nullable:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
            continue
        if field.name not in table.column_names:
            found = ", ".join(table.column_names)
            raise DataError(f"{uri}: column {field.name} is missing; found {found}; run the import again")
        columns.append(_checked_column(table[field.name], field, uri))
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def manifest_hash(table: pa.Table) -> str:
    """SHA-256 (first 16 hex digits) of what was trained on; independent of row order and of where files lie."""
    names = ("image_id", "product", "part", "authenticity", "item_id", "role")
    return digest(zip(*(table[name].to_pylist() for name in names), strict=True))


def rows_with(table: pa.Table, roles: Iterable[str], authenticities: Iterable[str]) -> pa.Table:
    """The rows whose role and authenticity are among those given, in their order."""
    of_role = pc.is_in(table["role"], pa.array([str(role) for role in roles], pa.string()))
    of_kind = pc.is_in(table["authenticity"], pa.array([str(kind) for kind in authenticities], pa.string()))
    return table.filter(pc.and_(of_role, of_kind))


def products(table: pa.Table) -> list[str]:
    """The products, sorted; unrelated photographs have none."""
    related = table.filter(pc.not_equal(table["authenticity"], Authenticity.UNRELATED.value))
    return sorted(pc.unique(related["product"]).to_pylist())


def _with_roles(
    photographs: Sequence[Photograph], config: ImportConfig, earlier: pa.Table | None
) -> tuple[pa.Table, list[str]]:
    rows = [_row(photograph) for photograph in photographs]
    clusters = find_near_duplicates(thumbnails_of(photographs), config.duplicates).clusters.tolist()
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row, label in zip(rows, group_labels(rows, clusters), strict=True):
        groups[label].append(row)
    for members in groups.values():
        group_id = min(row["item_id"] for row in members)
        for row in members:
            row["group_id"] = group_id
    if earlier is not None:
        _keep_roles(groups.values(), earlier)
    roles = assign_roles(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), config.splits)
    rows = [row | {"role": role} for row, role in zip(rows, roles, strict=True)]
    notices = [] if earlier is None else _compared(rows, earlier)
    crossing = _crossing(rows, clusters)
    if crossing:
        notices.append(f"the roles given put one item into several: {some(crossing)}; scores will flatter")
    return pa.Table.from_pylist(rows, MANIFEST_SCHEMA), [*notices, *thin_strata(rows)]


def _keep_roles(groups: Iterable[list[dict[str, Any]]], earlier: pa.Table) -> None:
    """Fill in the roles of an earlier manifest, in place: one for the whole of each group that was given none."""
    held = _roles_by_id(earlier)
    for members in groups:
        known = sorted(row["image_id"] for row in members if row["image_id"] in held)
        if known and not any(row["role"] for row in members):
            for row in members:
                row["role"] = held[known[0]]


def _compared(rows: Sequence[dict[str, Any]], earlier: pa.Table) -> list[str]:
    """Notices of what is new and what has moved since an earlier manifest."""
    held = _roles_by_id(earlier)
    known = [row for row in rows if row["image_id"] in held]
    num_moved = sum(row["role"] != held[row["image_id"]] for row in known)
    notices = [
        f"{len(known) - num_moved} photographs keep their roles of the earlier manifest, {len(rows) - len(known)} are "
        "new; `splits` is for the new ones (to split all anew, import to an empty folder or re-split the manifest)"
    ]
    if num_moved:
        notices.append(
            f"{num_moved} earlier photographs change their role: one was given, or new photographs show that they "
            "belong together; measure anew what was trained on the earlier manifest"
        )
    return notices


def _roles_by_id(table: pa.Table) -> dict[str, str]:
    return dict(zip(table["image_id"].to_pylist(), table["role"].to_pylist(), strict=True))


def _crossing(rows: Sequence[dict[str, Any]], clusters: Sequence[int]) -> list[str]:
    """The items and near-duplicate clusters that lie in several roles, with these roles."""
    held: dict[str, set[str]] = defaultdict(set)
    names: dict[int, str] = {}
    for row, cluster in zip(rows, clusters, strict=True):
        held[f"item {row['item_id']}"].add(row["role"])
        held[names.setdefault(cluster, f"near-duplicates of {row['uri']}")].add(row["role"])
    return [f"{name} ({', '.join(sorted(found))})" for name, found in held.items() if len(found) > 1]


def _row(photograph: Photograph) -> dict[str, Any]:
    listed, seen = photograph.listed, photograph.inspected
    given = {name: getattr(listed, name) for name in ("uri", "product", "part", "authenticity", "item_id", "role")}
    names = ("source_id", "device_id", "box", "mask_uri", "edit_mask_uri")
    optional = {name: getattr(listed, name) or None for name in names}
    return given | optional | {"image_id": seen.image_id, "width": int(seen.width), "height": int(seen.height)}


def _checked_column(column: pa.ChunkedArray, field: pa.Field, uri: str) -> pa.ChunkedArray:
    try:
        column = column.cast(field.type)
    except pa.ArrowException:
        raise DataError(f"{uri}, column {field.name}: found type {column.type}; wanted {field.type}") from None
    if not field.nullable and column.null_count:
        raise DataError(f"{uri}, column {field.name}: found {column.null_count} empty values; wanted none")
    wanted = {"authenticity": Authenticity, "role": Role}.get(field.name)
    if wanted is not None:
        strange = sorted(set(pc.unique(column).to_pylist()) - {word.value for word in wanted})
        if strange:
            words = ", ".join(word.value for word in wanted)
            raise DataError(f"{uri}, column {field.name}: found {strange[0]!r}; wanted one of {words}")
    return column
