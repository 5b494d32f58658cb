"""The settings of access: which contradict each other, and what a start with wrong ones says."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.auth.credentials import EC, RSA, SECRET, Bearer, pem, private_pem, token, write_keys
from tests.support.server import ROOT
from tests.support.waiting import eventually
from tusserver.commands.serve import greeting
from tusserver.config import load_settings
from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import TusServer

WRONG = {
    "two keys": (
        ["--jwt-secret", SECRET, "--jwt-jwks", "keys.json"],
        "--jwt-jwks: give one of jwt-secret, jwt-public-key and jwt-jwks",
    ),
    "an issuer without a key": (["--jwt-issuer", "x"], "--jwt-issuer: needs jwt-secret"),
    "an audience without a key": (["--jwt-audience", "x"], "--jwt-audience: needs jwt-secret"),
    "algorithms without a key": (["--jwt-algorithms", "RS256"], "--jwt-algorithms: needs"),
    "no algorithm": (
        ["--jwt-secret", SECRET, "--jwt-algorithms", "none"],
        "none of HS256, HS384",
    ),
    "a short secret": (["--jwt-secret", "hunter2hunter2"], "--jwt-secret: a secret has at least"),
    "a key as a secret": (
        ["--jwt-secret", private_pem(RSA).decode()],
        "--jwt-secret: that is a key: name its file in jwt-public-key",
    ),
    "a short secret of URLs": (["--url-secret", f"{SECRET},x"], "--url-secret: a secret has"),
    "a look without a list": (["--check-content"], "--check-content: needs allowed-types"),
    "a type that is none": (["--allowed-types", "image"], "not a media type"),
    "an ending that is none": (["--allowed-extensions", "a/b"], "not the ending of a file's name"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_of_access_is_told_without_its_secret(words, message):
    with pytest.raises(ConfigError) as caught:
        load_settings(words, {})
    error = caught.value
    told = f"--{error.key.removeprefix('--').replace('_', '-')}: {error.reason}"
    assert message in told
    for secret in (SECRET, "hunter2", "PRIVATE"):
        assert secret not in str(error) + str(error.value)


def test_secrets_are_not_shown():
    settings = load_settings(["--jwt-secret", SECRET, "--url-secret", SECRET], {})
    assert SECRET not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ([], "--data-binary"),
        (["--jwt-secret", SECRET], "OPTIONS"),
        (["--url-secret", SECRET], "OPTIONS"),
        (["--allowed-types", "image/*"], "OPTIONS"),
    ],
)
def test_the_line_to_try_it_with_needs_no_credential(words, verb):
    [*_, trial] = greeting(load_settings(words, {}), "127.0.0.1", 1080)
    assert verb in trial
    assert SECRET not in trial


@pytest.mark.parametrize("flag", ["--jwt-public-key", "--jwt-jwks"])
def test_the_program_does_not_start_with_a_key_that_it_cannot_read(flag, upload_dir):
    missing = str(upload_dir / "missing")
    words = [sys.executable, "-m", "tusserver", "--upload-dir", str(upload_dir), "--port=0"]
    done = subprocess.run(
        [*words, flag, missing], cwd=ROOT, capture_output=True, text=True, timeout=15, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"tusserver: {flag}={missing}: cannot be read: No"
    )
    assert "Traceback" not in done.stderr


def test_the_program_verifies_by_a_public_key(
    make_server: Callable[..., TusServer], tmp_path: Path
):
    path = tmp_path / "key.pem"
    path.write_bytes(pem(RSA))
    server = make_server("--jwt-public-key", str(path), "--jwt-audience", "uploads")
    tus = Bearer(server.url, token(key=RSA, algorithm="RS256", aud="uploads"))
    assert tus.content(tus.upload(b"hello")) == b"hello"
    for other in (
        token(key=RSA, algorithm="RS256", aud="mail"),
        token(key=RSA, algorithm="RS256"),
        token(aud="uploads"),
        token(key=EC, algorithm="ES256", aud="uploads"),
    ):
        assert Bearer(server.url, other).post({"Upload-Length": "1"}).status == 401


def test_the_program_verifies_by_a_key_set_that_changes(
    make_server: Callable[..., TusServer], tmp_path: Path
):
    path = tmp_path / "keys.json"
    write_keys(path, ("one", RSA, "RS256"))
    server = make_server("--jwt-jwks", str(path))
    old = Bearer(server.url, token(key=RSA, algorithm="RS256", headers={"kid": "one"}))
    new = Bearer(server.url, token(key=EC, algorithm="ES256", headers={"kid": "two"}))
    target = old.upload(b"hello")
    assert new.get(target).status == 401
    write_keys(path, ("two", EC, "ES256"))
    assert eventually(lambda: new.get(target).status == 200)
    assert old.get(target).status == 401
