"""The keys that verify tokens: what is taken, what is refused, and files that change."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec

from tests.auth.credentials import (
    EC,
    ED,
    OTHER,
    RSA,
    SECRET,
    WEAK,
    bearing,
    pem,
    private_pem,
    token,
    write_keys,
)
from tusserver.auth.jwks import FixedKey, KeyFile, public_key, secret_key
from tusserver.auth.jwt import JwtAuthorizer
from tusserver.errors import ConfigError, Unauthenticated

if TYPE_CHECKING:
    from pathlib import Path

ANY = frozenset()
P384 = ec.generate_private_key(ec.SECP384R1())
KINDS = {"RS256": RSA, "PS512": RSA, "ES256": EC, "ES384": P384, "EdDSA": ED}


async def owner(keys, text: str) -> str | None:
    return (await JwtAuthorizer(keys).authorize(bearing(text))).owner


@pytest.mark.parametrize(("algorithm", "key"), KINDS.items(), ids=KINDS)
async def test_a_public_key_verifies_by_the_algorithms_of_its_kind(tmp_path, algorithm, key):
    path = tmp_path / "key.pem"
    path.write_bytes(pem(key))
    keys = FixedKey(public_key(path, ANY))
    assert await owner(keys, token(key=key, algorithm=algorithm)) == "alice"
    with pytest.raises(Unauthenticated):
        await owner(keys, token())


def test_a_secret_verifies_by_the_algorithms_it_is_long_enough_for():
    assert secret_key("x" * 32, ANY).algorithms == {"HS256"}
    assert secret_key("x" * 64, ANY).algorithms == {"HS256", "HS384", "HS512"}
    with pytest.raises(ConfigError, match="cannot verify any of jwt-algorithms; it can HS256"):
        secret_key("x" * 32, frozenset({"HS512", "RS256"}))


def test_algorithms_can_be_narrowed(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(pem(RSA))
    assert public_key(path, frozenset({"PS256", "ES256"})).algorithms == {"PS256"}


BAD_FILES = {
    "missing": (None, "cannot be read: No such file or directory"),
    "no key": (b"hello", "is not a public key in PEM"),
    "private": (private_pem(RSA), "is a private key"),
    "weak": (pem(WEAK), "is too weak"),
    "of a kind that signs no tokens": (
        pem(dsa.generate_private_key(2048)),
        "of a kind that signs no tokens",
    ),
    "endless": (b"x" * 1_048_577, "is larger than"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_public_key_is_a_wrong_setting(tmp_path, data, reason):
    path = tmp_path / "key.pem"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=reason):
        public_key(path, ANY)


# --- key sets -----------------------------------------------------------------------------


async def test_a_key_set_verifies_by_the_key_that_a_token_names(tmp_path: Path):
    path = tmp_path / "keys.json"
    write_keys(path, ("one", RSA, "RS256"), ("two", EC, "ES256"), ("three", ED, "EdDSA"))
    keys = KeyFile(path, allowed=ANY)
    for name, key, algorithm in (
        ("one", RSA, "RS256"),
        ("two", EC, "ES256"),
        ("three", ED, "EdDSA"),
    ):
        named = token(key=key, algorithm=algorithm, headers={"kid": name})
        assert await owner(keys, named) == "alice"
        assert await owner(keys, token(key=key, algorithm=algorithm)) == "alice"
    with pytest.raises(Unauthenticated):
        await owner(keys, token(key=RSA, algorithm="RS256", headers={"kid": "two"}))
    with pytest.raises(Unauthenticated):
        await owner(keys, token(key=RSA, algorithm="RS256", headers={"kid": "four"}))


async def test_the_right_reason_is_told_whatever_other_keys_find(tmp_path: Path):
    path = tmp_path / "keys.json"
    write_keys(path, ("one", RSA, "RS256"), ("two", EC, "ES256"))
    with pytest.raises(Unauthenticated, match="has expired"):
        await owner(KeyFile(path, allowed=ANY), token(key=RSA, algorithm="RS256", exp=1))


async def test_a_key_set_is_read_again_when_it_changes(tmp_path: Path):
    path = tmp_path / "keys.json"
    write_keys(path, ("one", RSA, "RS256"))
    moment = [0.0]
    keys = KeyFile(path, allowed=ANY, monotonic=lambda: moment[0])
    proving = JwtAuthorizer(keys)
    old = bearing(token(key=RSA, algorithm="RS256", headers={"kid": "one"}))
    new = bearing(token(key=EC, algorithm="ES256", headers={"kid": "two"}))
    assert (await proving.authorize(old)).owner == "alice"
    write_keys(path, ("two", EC, "ES256"))
    with pytest.raises(Unauthenticated):
        await proving.authorize(new)
    moment[0] = 1.5
    assert (await proving.authorize(new)).owner == "alice"
    # What was verified by the old key is not remembered any more.
    with pytest.raises(Unauthenticated):
        await proving.authorize(old)


@pytest.mark.parametrize("spoilt", [b"", b"{", b'{"keys": []}', None])
async def test_a_key_set_that_cannot_be_read_again_leaves_the_old_keys(tmp_path, caplog, spoilt):
    path = tmp_path / "keys.json"
    write_keys(path, ("one", RSA, "RS256"))
    moment = [0.0]
    keys = KeyFile(path, allowed=ANY, monotonic=lambda: moment[0])
    if spoilt is None:
        path.unlink()
    else:
        path.write_bytes(spoilt)
    moment[0] = 1.5
    with caplog.at_level(logging.ERROR):
        assert await owner(keys, token(key=RSA, algorithm="RS256")) == "alice"
    assert "the keys read before stay in use" in caplog.text


BAD_SETS = {
    "no JSON": "{",
    "a list": "[]",
    "no keys": '{"keys": []}',
    "nested without an end": "[" * 100_000,
    "of a key for encryption": None,
    "of a weak key": None,
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_a_key_set_without_a_usable_key_is_a_wrong_setting(tmp_path, name):
    path = tmp_path / "keys.json"
    text = BAD_SETS[name]
    if text is None:
        write_keys(path, ("one", WEAK if "weak" in name else RSA, "RS256"))
        if "weak" not in name:
            listed = json.loads(path.read_text())
            listed["keys"][0]["use"] = "enc"
            path.write_text(json.dumps(listed))
    else:
        path.write_text(text)
    with pytest.raises(ConfigError, match="jwt_jwks"):
        KeyFile(path, allowed=ANY)


async def test_the_algorithm_of_a_listed_key_and_of_the_settings_both_bind(tmp_path: Path):
    path = tmp_path / "keys.json"
    write_keys(path, ("one", RSA, "RS256"))
    listed = json.loads(path.read_text())
    listed["keys"][0]["alg"] = "RS512"
    path.write_text(json.dumps(listed))
    assert await owner(KeyFile(path, allowed=ANY), token(key=RSA, algorithm="RS512")) == "alice"
    with pytest.raises(Unauthenticated):
        await owner(KeyFile(path, allowed=ANY), token(key=RSA, algorithm="RS256"))
    with pytest.raises(ConfigError, match="holds no key that may verify"):
        KeyFile(path, allowed=frozenset({"RS256"}))


async def test_a_secret_in_a_key_set_verifies_too(tmp_path: Path):
    path = tmp_path / "keys.json"
    write_keys(path, ("s", SECRET, "HS256"))
    assert await owner(KeyFile(path, allowed=ANY), token()) == "alice"
    with pytest.raises(Unauthenticated):
        await owner(KeyFile(path, allowed=ANY), token(key=OTHER))
