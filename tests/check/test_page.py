"""The deployment page says what `check` finds, and shows what the tests run."""

from __future__ import annotations

import re

from tests.support.proxies import DEPLOY, PACKAGES, documented
from tests.support.server import ROOT

CHECK = ROOT / "tusserver" / "check"
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_every_finding_about_a_proxy_is_explained_and_nothing_else():
    sources = [(CHECK / f"{name}.py").read_text() for name in ("proxy", "visit", "streaming")]
    patterns = (r'\b(?:error|warning|make)\(\s*"([a-z_]+)",', r'\("(lost_[a-z_]+)",')
    found = {code for text in sources for pattern in patterns for code in re.findall(pattern, text)}
    rows = PAGE.partition("| code |")[2].partition("\n\n")[0].splitlines()[2:]
    told = {code for row in rows for code in re.findall("`([a-z_]+)`", row.split("|")[1])}
    assert told == found


def test_the_page_names_every_file_of_settings_that_the_tests_run():
    for program in PACKAGES:
        assert "tusserver --trusted-proxies 127.0.0.1" in documented(program)
    for file in DEPLOY.iterdir():
        if file.suffix in {".conf", ".cfg"} or file.name == "Caddyfile":
            assert f"(deploy/{file.name})" in PAGE
