"""Splits that hold out a source or a device: how a method fares on a counterfeiter or a camera it has never seen."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from hallmark.data.splits import SplitConfig, assign_roles, group_labels
from hallmark.errors import DataError
from hallmark.types import Authenticity, Role

HeldOutMode = Literal["leave_source_out", "leave_device_out"]
_COLUMN = {"leave_source_out": "source_id", "leave_device_out": "device_id"}


@dataclass(frozen=True)
class HeldOut:
    """A manifest with new roles, without the rows that may have none, and what a person should know."""

    table: pa.Table
    left_out: list[str]
    """Image_ids of the rows left out, sorted."""
    notices: list[str]


def folds(table: pa.Table, mode: HeldOutMode) -> list[str]:
    """What can be held out in turn, sorted: the sources of counterfeits, or the devices."""
    return sorted({row[_COLUMN[mode]] for row in table.to_pylist() if _counts(row, mode)})


def hold_out(table: pa.Table, mode: HeldOutMode, held_out: str, config: SplitConfig) -> HeldOut:
    """Split such that one source's counterfeits, or one device's photographs, are for the test alone.

    The held-out photographs have the role test. Of a group (see `group_labels`) that has any of them, photographs that
    must not be tested on, because another source's or device's, are left out: in train or val they would show the
    held-out items. Further groups are shared out by the ratio; those with counterfeits, where a source is held out,
    and all, where a device is, to train and val alone. Groups with a reference have the role reference as a whole.

    Args:
        table: manifest rows; roles other than reference are ignored.
        mode: what is held out.
        held_out: a source_id or device_id of `folds`.
        config: ratio and seed.

    Raises:
        DataError: `held_out` is not there, or leaves nothing to train on.
    """
    there = folds(table, mode)
    if held_out not in there:
        raise DataError(
            f"held_out: found {held_out!r}; wanted a {_COLUMN[mode]} of "
            f"{'counterfeits' if mode == 'leave_source_out' else 'photographs'}: {', '.join(there) or 'there is none'}"
        )
    rows = table.to_pylist()
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(group_labels(rows)):
        groups[label].append(index)
    roles = [""] * len(rows)
    shared: dict[bool, list[int]] = {True: [], False: []}
    for indices in groups.values():
        members = [rows[index] for index in indices]
        if any(row["role"] == Role.REFERENCE for row in members):
            _give(roles, indices, Role.REFERENCE)
        elif any(_is_held_out(row, mode, held_out) for row in members):
            _give(roles, [index for index in indices if _may_be_tested(rows[index], mode, held_out)], Role.TEST)
        else:
            shared[mode == "leave_source_out" and not any(map(_is_counterfeit, members))] += indices
    for tested, indices in shared.items():
        part = without_roles(table.take(pa.array(indices, pa.int64())))
        for index, role in zip(indices, assign_roles(part, config, tested=tested), strict=True):
            roles[index] = role
    if Role.TRAIN not in roles:
        raise DataError(f"held_out: nothing is left to train on without {held_out!r}; wanted other photographs too")
    return _outcome(table, rows, roles, mode, held_out)


def with_roles(table: pa.Table, roles: list[str]) -> pa.Table:
    """The rows with these roles."""
    position = table.schema.get_field_index("role")
    return table.set_column(position, table.schema.field(position), pa.array(roles, pa.string()))


def without_roles(table: pa.Table) -> pa.Table:
    """The rows with no role but `reference`."""
    return with_roles(table, [role if role == Role.REFERENCE else "" for role in table["role"].to_pylist()])


def _outcome(
    table: pa.Table, rows: list[dict[str, Any]], roles: list[str], mode: HeldOutMode, held_out: str
) -> HeldOut:
    left_out = sorted(row["image_id"] for row, role in zip(rows, roles, strict=True) if not role)
    notices = []
    if left_out:
        notices.append(
            f"{len(left_out)} photographs are left out: they show items of the held-out {held_out} and are of another "
            f"{_COLUMN[mode]}, so that neither train, val nor test may have them"
        )
    num_nameless = sum(not row[_COLUMN[mode]] for row in rows if mode == "leave_device_out" or _is_counterfeit(row))
    if num_nameless:
        notices.append(f"{num_nameless} photographs have no {_COLUMN[mode]}; taken as not of {held_out}")
    kept = pa.array([bool(role) for role in roles], pa.bool_())
    return HeldOut(with_roles(table, roles).filter(kept), left_out, notices)


def _counts(row: dict[str, Any], mode: HeldOutMode) -> bool:
    return bool(row[_COLUMN[mode]]) and (mode == "leave_device_out" or _is_counterfeit(row))


def _is_held_out(row: dict[str, Any], mode: HeldOutMode, held_out: str) -> bool:
    return _counts(row, mode) and row[_COLUMN[mode]] == held_out


def _may_be_tested(row: dict[str, Any], mode: HeldOutMode, held_out: str) -> bool:
    genuine_source = mode == "leave_source_out" and not _is_counterfeit(row)
    return genuine_source or _is_held_out(row, mode, held_out)


def _is_counterfeit(row: dict[str, Any]) -> bool:
    return row["authenticity"] == Authenticity.COUNTERFEIT


def _give(roles: list[str], indices: list[int], role: Role) -> None:
    for index in indices:
        roles[index] = role.value
