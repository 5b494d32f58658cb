"""What the server is made of: no secret in the tree, no package with a fault that is known here.

Both work without a network. What was published since stands in no tree: `pip-audit` asks for it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.initialize import from_plugin_classname
from detect_secrets.settings import transient_settings

from tests.support.docs import ROOT

ADVISORIES = tomllib.loads(Path(__file__).with_name("advisories.toml").read_text("utf-8"))
LINES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
NEEDED = {re.match(r"[A-Za-z0-9-]+", line)[0].lower(): line.partition(">=")[2] for line in LINES}
"""What is needed at run time, and the oldest version of each that is allowed."""
KINDS = [
    "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "DiscordBotTokenDetector",
    "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "MailchimpDetector",
    "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector",
    "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector",
    "TwilioKeyDetector",
]  # fmt: skip
"""Secrets that have a form of their own: what looks like one is one."""
MADE = {".svg", ".lock"}, {"package-lock.json", "results"}
"""Endings, and names of files or folders, of what programs write here: figures and digests."""


def found_in(*paths):
    """Name the secrets in these files."""
    found = SecretsCollection()
    with transient_settings({"plugins_used": [{"name": kind} for kind in KINDS]}):
        for path in paths:
            found.scan_file(str(path))
    return [f"{name}:{secret.line_number} {secret.type}" for name, secret in found]


def suspects(paths):
    """Give the files with anything that a kind of secret looks like: the rest needs no scan."""
    with transient_settings({"plugins_used": [{"name": kind} for kind in KINDS]}):
        looks = [look for kind in KINDS for look in from_plugin_classname(kind).denylist]
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        if any(look.search(text) for look in looks):
            yield path


def sources():
    """Give the files of the tree that somebody wrote."""
    left_out = {
        ".bench", ".git", ".hypothesis", ".test", ".venv", "__pycache__", "built", "node_modules",
    }  # fmt: skip
    for path in sorted(ROOT.rglob("*")):
        parts = set(path.relative_to(ROOT).parts)
        is_made = path.suffix in MADE[0] or parts & MADE[1]
        if path.is_file() and not (is_made or any(part in left_out for part in parts)):
            yield path


@pytest.mark.timeout(180)
def test_no_file_of_the_tree_holds_a_secret(monkeypatch):
    monkeypatch.chdir(ROOT)
    files = [path.relative_to(ROOT) for path in sources()]
    assert len(files) > 500
    assert found_in(*suspects(files)) == []


SECRETS = {
    "a key of AWS": "AKIA" + "QYLPMN5HFIQR7XYA",
    "a token of GitHub": "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a token of PyPI": "pypi-AgEIcHlwaS5vcmc" + "CJ" * 40,
    "a token of Slack": "xoxb-34532454-" + "e039d02840a0b9379c",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_would_be_found(tmp_path, secret):
    file = tmp_path / "settings.py"
    file.write_text(f'KEY = "{secret}"\n')
    assert found_in(*suspects([file]))


def numbers(text):
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def test_every_package_that_is_needed_was_looked_at():
    assert set(NEEDED) <= set(ADVISORIES["packages"])


@pytest.mark.parametrize("package", sorted(ADVISORIES["packages"]))
def test_no_package_that_is_installed_has_a_fault_that_is_known(package):
    faults = [
        advisory["id"]
        for advisory in ADVISORIES["packages"][package]
        if numbers(version(package)) < numbers(advisory["mended"])
    ]
    assert faults == [], f"{package} {version(package)} has these: install a newer one"


@pytest.mark.parametrize("package", sorted(NEEDED))
def test_no_version_that_is_allowed_has_a_fault_that_is_known(package):
    mended = [advisory["mended"] for advisory in ADVISORIES["packages"][package]]
    assert all(numbers(NEEDED[package]) >= numbers(version) for version in mended)


def test_the_packages_that_are_installed_fit_together():
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    broken = [line for line in done.stdout.splitlines() if line.split()[0].lower() in NEEDED]
    assert broken == []
