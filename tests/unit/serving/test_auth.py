"""Bearer keys: what is stored, what opens the door, and what never does."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.errors import ConfigError, OutputError
from hallmark.serving.auth import (
    AuthenticationError,
    Detail,
    KeyRing,
    KeysUnreadableError,
    NotAllowedError,
    Scope,
    add_key,
    read_keys,
    revoke_key,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


def test_the_file_never_holds_the_secret(file):
    token = add_key(file, "shop", [Scope.VERIFY])
    secret = token.split("_", 2)[2]
    assert len(secret) >= 40
    assert secret not in file.read_text()
    assert token not in file.read_text()
    assert token.split("_")[1] == read_keys(file)[0].key_id
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_two_keys_of_one_name_differ_in_everything(file):
    tokens = {add_key(file, "shop", [Scope.VERIFY]) for _ in range(2)}
    first, second = read_keys(file)
    assert len(tokens) == 2
    assert first.key_id != second.key_id
    assert first.salt != second.salt
    assert first.hash != second.hash


def test_a_key_file_without_limits_is_still_read(file):
    token = add_key(file, "shop", [Scope.VERIFY])
    content = json.loads(file.read_text())
    for name in ("detail", "rate_per_minute", "daily_quota"):
        del content["keys"][0][name]
    file.write_text(json.dumps(content))
    key = KeyRing(file).check(token, Scope.VERIFY)
    assert (key.detail, key.rate_per_minute, key.daily_quota) == (Detail.FULL, None, None)
    other = KeyRing(file).check(add_key(file, "kiosk", [Scope.VERIFY], Detail.LABEL, 60, 1000), Scope.VERIFY)
    assert (other.detail, other.rate_per_minute, other.daily_quota) == (Detail.LABEL, 60, 1000)


def test_only_a_token_that_has_passed_is_recalled(file):
    ring, token = KeyRing(file), add_key(file, "shop", [Scope.VERIFY])
    assert ring.recall(token) is None
    key = ring.authenticate(token)
    assert ring.recall(token) == key
    assert ring.recall(token + "x") is None
    revoke_key(file, key.key_id)
    assert ring.recall(token) is None


@pytest.mark.parametrize(("limit", "value"), [("rate_per_minute", 0), ("daily_quota", -1), ("rate_per_minute", 2**40)])
def test_limits_that_make_no_sense_are_named(file, limit, value):
    with pytest.raises(ConfigError, match=limit):
        add_key(file, "shop", [Scope.VERIFY], **{limit: value})
    assert not file.exists()


@pytest.mark.parametrize(
    ("scopes", "asked", "allowed"),
    [
        ([Scope.VERIFY], Scope.VERIFY, True),
        ([Scope.ENROL], Scope.VERIFY, False),
        ([Scope.VERIFY], Scope.ENROL, False),
        ([Scope.VERIFY], Scope.ADMIN, False),
        ([Scope.ADMIN], Scope.ENROL, True),
        ([Scope.VERIFY, Scope.ENROL], Scope.ENROL, True),
    ],
)
def test_scopes(file, scopes, asked, allowed):
    ring, token = KeyRing(file), add_key(file, "shop", scopes)
    for _ in range(2):  # the second time from memory
        if allowed:
            assert ring.check(token, asked).name == "shop"
        else:
            with pytest.raises(NotAllowedError, match=f"no scope {asked}") as caught:
                ring.check(token, asked)
            assert token not in str(caught.value)


def test_keys_are_taken_up_and_dropped_while_in_use(file):
    ring = KeyRing(file)
    with pytest.raises(AuthenticationError):
        ring.check("anything", Scope.VERIFY)
    first = add_key(file, "first", [Scope.VERIFY])
    assert ring.check(first, Scope.VERIFY).name == "first"
    second = add_key(file, "second", [Scope.VERIFY])
    assert ring.check(second, Scope.VERIFY).name == "second"
    revoke_key(file, first.split("_")[1])
    with pytest.raises(AuthenticationError):
        ring.check(first, Scope.VERIFY)
    assert ring.check(second, Scope.VERIFY).name == "second"
    file.unlink()
    with pytest.raises(AuthenticationError):
        ring.check(second, Scope.VERIFY)


def test_a_wrong_secret_fails_before_and_after_a_right_one(file):
    ring, token = KeyRing(file), add_key(file, "shop", [Scope.VERIFY])
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    for tried in (wrong, token[:-1], token + "x", token.upper(), f" {token}", token.replace("hallmark", "other", 1)):
        with pytest.raises(AuthenticationError):
            ring.check(tried, Scope.VERIFY)
        assert ring.check(token, Scope.VERIFY)


@pytest.fixture(scope="module")
def ring(tmp_path_factory) -> KeyRing:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    add_key(file, "shop", [Scope.ADMIN])
    return KeyRing(file)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    token=st.one_of(
        st.none(),
        st.text(st.characters(), max_size=60),
        st.text("_", max_size=4).map(lambda dashes: f"hallmark{dashes}"),
        st.from_regex(r"hallmark_[0-9a-f]{12}_.{0,40}", fullmatch=True),
        st.just("\ud800"),
    )
)
def test_any_other_token_is_refused_and_nothing_else_happens(ring, token):
    with pytest.raises(AuthenticationError):
        ring.check(token, Scope.VERIFY)


def test_a_surrogate_in_the_secret_of_a_known_key_is_refused(file):
    token = add_key(file, "shop", [Scope.VERIFY])
    with pytest.raises(AuthenticationError):
        KeyRing(file).check(token[:-1] + "\ud800", Scope.VERIFY)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"keys": [{}]}', b'{"kez": []}', b"\xff\xfe", b'{"keys": [{"key_id": "no"}]}']
)
def test_a_damaged_file_lets_nobody_in_and_is_named(file, content, caplog):
    token = add_key(file, "shop", [Scope.VERIFY])
    ring = KeyRing(file)
    assert ring.check(token, Scope.VERIFY)
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"keys\.json: is no key file"):
        read_keys(file)
    with pytest.raises(ConfigError):
        add_key(file, "other", [Scope.VERIFY])
    assert file.read_bytes() == content
    with caplog.at_level(logging.ERROR), pytest.raises(KeysUnreadableError) as caught:
        ring.check(token, Scope.VERIFY)
    assert caught.value.http_status == 503
    assert str(file) not in str(caught.value)
    assert str(file) in caplog.text
    file.unlink()
    file.write_bytes(whole)
    assert ring.check(token, Scope.VERIFY)


def test_salts_that_are_no_hex_are_no_key_file(file):
    add_key(file, "shop", [Scope.VERIFY])
    content = json.loads(file.read_text())
    content["keys"][0]["salt"] = "abc"
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="is no key file"):
        read_keys(file)


@pytest.mark.parametrize(
    ("name", "scopes", "said"), [("", [Scope.VERIFY], "name"), ("x" * 81, [Scope.VERIFY], "name"), ("x", [], "scopes")]
)
def test_wrong_names_and_scopes_are_named(file, name, scopes, said):
    with pytest.raises(ConfigError, match=said):
        add_key(file, name, scopes)
    assert not file.exists()


def test_revoking_an_unknown_key_names_it(file):
    with pytest.raises(ConfigError, match="has no key 0123"):
        revoke_key(file, "0123")
    add_key(file, "shop", [Scope.VERIFY])
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="has no key 0123"):
        revoke_key(file, "0123")
    assert file.read_bytes() == before


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        add_key(tmp_path / "taken" / "keys.json", "shop", [Scope.VERIFY])
