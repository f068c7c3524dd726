"""Roles: whole groups, every role in every stratum, no dependence on order, few moves when the set grows."""

from __future__ import annotations

from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.config import load_config, validate
from hallmark.data.splits import (
    SplitConfig,
    assign_roles,
    count_roles,
    digest,
    group_labels,
    quotas,
    split_hash,
    thin_strata,
)
from hallmark.errors import ConfigError
from hallmark.types import Role

COLUMNS = ("image_id", "product", "part", "authenticity", "item_id", "role")
ALL = {"train", "val", "test"}


def _table(rows: list[dict]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name, "") for row in rows], pa.string()) for name in COLUMNS})


def _rows(counts: dict[tuple[str, str, str], int], shots: int = 2) -> list[dict]:
    """`counts` items in each (product, part, authenticity), each photographed `shots` times."""
    rows = []
    for place, number in counts.items():
        for item in range(number):
            name = "/".join((*place, f"{item:03d}"))
            row = dict(zip(("product", "part", "authenticity"), place, strict=True), item_id=name)
            rows += [{**row, "image_id": f"{name}#{shot}"} for shot in range(shots)]
    return rows


_PLACES = st.tuples(
    st.sampled_from(["bag", "tin", "cup"]),
    st.sampled_from(["whole", "tag"]),
    st.sampled_from(["genuine", "counterfeit"]),
)
_COUNTS = st.dictionaries(st.one_of(_PLACES, st.just(("", "", "unrelated"))), st.integers(1, 12), max_size=6)


@settings(max_examples=80, deadline=None)
@given(counts=_COUNTS, shots=st.integers(1, 3), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_no_group_crosses_and_order_is_of_no_matter(counts, shots, seed, data):
    rows, config = _rows(counts, shots), SplitConfig(seed=seed)
    clusters = [data.draw(st.integers(0, max(1, len(rows) // 2))) for _ in rows]
    roles = assign_roles(_table(rows), config, clusters)
    assert len(roles) == len(rows)
    assert set(roles) <= ALL
    for key in ([row["item_id"] for row in rows], clusters):
        held = defaultdict(set)
        for group, role in zip(key, roles, strict=True):
            held[group].add(role)
        assert all(len(found) == 1 for found in held.values())
    order = data.draw(st.permutations(range(len(rows))))
    renamed = [1000 - clusters[index] for index in order]
    shuffled = assign_roles(_table([rows[index] for index in order]), config, renamed)
    assert shuffled == [roles[index] for index in order]


@settings(max_examples=60, deadline=None)
@given(counts=_COUNTS, shots=st.integers(1, 3), seed=st.integers(0, 1000))
def test_every_stratum_has_its_quota_of_items(counts, shots, seed):
    rows, config = _rows(counts, shots), SplitConfig(seed=seed)
    roles = assign_roles(_table(rows), config)
    items = defaultdict(dict)
    for row, role in zip(rows, roles, strict=True):
        items[row["product"], row["part"], row["authenticity"]][row["item_id"]] = role
    for place, number in counts.items():
        found = Counter(items[place].values())
        assert found == Counter({role.value: count for role, count in quotas(number, config).items() if count})
        if number >= 3:
            assert set(found) == ALL


@settings(max_examples=200, deadline=None)
@given(number=st.integers(0, 500), val=st.floats(0.02, 0.33), test=st.floats(0.02, 0.33))
def test_quotas(number, val, test):
    config = SplitConfig(ratio=(1 - val - test, val, test))
    found = quotas(number, config)
    assert sum(found.values()) == number
    assert found[Role.TRAIN] >= max(found[Role.VAL], found[Role.TEST])
    if number >= 3:
        assert min(found.values()) >= 1
        for role, share in ((Role.VAL, val), (Role.TEST, test)):
            assert abs(found[role] - number * share) <= 1
    else:
        wanted = {0: (0, 0, 0), 1: (1, 0, 0), 2: (1, 0, 1)}[number]
        assert tuple(found[role] for role in (Role.TRAIN, Role.VAL, Role.TEST)) == wanted


@settings(max_examples=100, deadline=None)
@given(number=st.integers(0, 500), val=st.floats(0.02, 0.5))
def test_quotas_without_a_test(number, val):
    found = quotas(number, SplitConfig(ratio=(1 - val, val, 0.01)), tested=False)
    assert found[Role.TRAIN] + found[Role.VAL] == number
    assert found[Role.TEST] == 0
    assert found[Role.TRAIN] >= found[Role.VAL] >= min(1, number // 2)
    assert abs(found[Role.VAL] - number * val) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_new_item_moves_few_old_ones(seed):
    place, config = ("bag", "whole", "genuine"), SplitConfig(seed=seed)
    before = _rows({place: 60}, shots=1)
    after = _rows({place: 61}, shots=1)
    old = assign_roles(_table(before), config)
    new = assign_roles(_table(after), config)[:60]
    assert sum(one != other for one, other in zip(old, new, strict=True)) <= 3


def test_other_products_change_nothing():
    counts = {("bag", "whole", "genuine"): 9}
    alone = assign_roles(_table(_rows(counts)), SplitConfig())
    with_more = assign_roles(_table(_rows({**counts, ("tin", "whole", "genuine"): 7})), SplitConfig())
    assert with_more[: len(alone)] == alone


def test_seeds_give_different_splits_and_one_seed_the_same():
    table = _table(_rows({("bag", "whole", "genuine"): 20}))
    splits = {tuple(assign_roles(table, SplitConfig(seed=seed))) for seed in range(8)}
    assert len(splits) > 4
    assert assign_roles(table, SplitConfig(seed=3)) == assign_roles(table, SplitConfig(seed=3))


def test_a_group_over_two_strata_stays_whole():
    rows = _rows({("bag", "whole", "genuine"): 6, ("tin", "whole", "genuine"): 6}, shots=1)
    clusters = list(range(12))
    clusters[6] = clusters[0]
    roles = assign_roles(_table(rows), SplitConfig(), clusters)
    assert roles[0] == roles[6]
    # The group counts for bag, its first stratum; tin deals out the five that are left.
    assert Counter(roles[:6]) == {role.value: n for role, n in quotas(6, SplitConfig()).items()}
    assert Counter(roles[7:]) == {role.value: n for role, n in quotas(5, SplitConfig()).items()}


def test_empty_item_ids_are_no_group():
    rows = [{**row, "item_id": ""} for row in _rows({("bag", "whole", "genuine"): 9}, shots=1)]
    assert set(assign_roles(_table(rows), SplitConfig())) == ALL


def test_roles_given_are_kept_counted_and_passed_on():
    rows = _rows({("bag", "whole", "genuine"): 10})
    for index in (0, 4):
        rows[index]["role"] = "test"
    rows[2]["role"] = "reference"
    roles = assign_roles(_table(rows), SplitConfig())
    assert roles[0] == roles[1] == roles[4] == roles[5] == "test"
    assert roles[2] == roles[3] == "reference"
    # The reference is no part of the shares: nine items are left, two of them for test already.
    wanted = {role.value: 2 * count for role, count in quotas(9, SplitConfig()).items()} | {"reference": 2}
    assert Counter(roles) == wanted


def test_nothing_to_split():
    assert assign_roles(_table([]), SplitConfig()) == []


@pytest.mark.parametrize(
    ("settings_given", "named"),
    [
        ({"ratio": "3:4:4"}, "ratio is 3:4:4; wanted train not below"),
        ({"ratio": [8, 0, 2]}, "ratio is 8:0:2; wanted each part above 0"),
        ({"ratio": "8:1"}, "ratio"),
        ({"ratio": "8:1:x"}, "'8:1:x'; .*such as 8:1:1"),
        ({"ratio": "inf:1:1"}, "ratio"),
        ({"ratio": 7}, "ratio is 0:0:7"),
        ({"ratio": True}, "ratio"),
        ({"seed": -1}, "seed"),
        ({"ratoi": "8:1:1"}, "did you mean 'ratio'"),
    ],
)
def test_wrong_shares_are_named(settings_given, named):
    with pytest.raises(ConfigError, match=named):
        validate(SplitConfig, settings_given, "splits")


@pytest.mark.parametrize("text", ["8:1:1", "7:2:1", "80:10:10", "0.6:0.2:0.2", "[8, 1, 1]", "'8:1:1'"])
def test_a_ratio_is_read_as_written(text):
    """On the command line a value is read as YAML, which takes 8:1:1 for a number to the base 60."""
    wanted = tuple(float(part) for part in text.strip("[]'").replace(",", ":").split(":"))
    assert load_config(SplitConfig, overrides=[f"ratio={text}"]).ratio == wanted
    config = SplitConfig(ratio=(8, 1, 1))
    assert load_config(SplitConfig, overrides=[f"ratio={config.model_dump(mode='json')['ratio']}"]) == config


def test_groups_are_joined_through_items_group_ids_and_clusters():
    rows = [
        {"item_id": "a", "group_id": None},
        {"item_id": "a", "group_id": "g"},
        {"item_id": "b", "group_id": "g"},
        {"item_id": "c", "group_id": ""},
        {"item_id": "d"},
        {"item_id": "", "group_id": ""},
    ]
    label = group_labels(rows, [0, 1, 2, 3, 2, 4])
    assert label[0] == label[1] == label[2] == label[4]
    assert len(set(label)) == 3
    assert len(set(group_labels(rows))) == 4
    assert group_labels([]) == []


def test_counts_and_thin_strata():
    rows = [dict(row, role="train") for row in _rows({("bag", "whole", "genuine"): 2, ("", "", "unrelated"): 1})]
    rows[-1]["role"] = rows[-2]["role"] = "test"
    assert count_roles(rows) == {
        "bag/whole/genuine": {"train": {"photographs": 4, "items": 2}},
        "unrelated": {"test": {"photographs": 2, "items": 1}},
    }
    assert thin_strata(rows) == [
        "bag/whole/genuine: too few items (2); no photograph for val and test",
        "unrelated: too few items (1); no photograph for train and val",
    ]
    assert thin_strata([]) == []


def test_hashes():
    rows = _rows({("bag", "whole", "genuine"): 4})
    rows = [{**row, "role": "train"} for row in rows]
    plain = split_hash(_table(rows))
    assert len(plain) == 16
    assert int(plain, 16) >= 0
    assert split_hash(_table(rows[::-1])) == plain
    assert split_hash(_table([{**rows[0], "role": "test"}, *rows[1:]])) != plain
    assert split_hash(_table([{**row, "product": "other", "item_id": "x"} for row in rows])) == plain
    assert digest([("ab", "c")]) != digest([("a", "bc")])
