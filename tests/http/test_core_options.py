from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.faults import UNKNOWN

if TYPE_CHECKING:
    from tests.support.raw import Tus

ALWAYS = {
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "concatenation",
    "concatenation-unfinished",
    "expiration",
    "termination",
}


@pytest.mark.clause("CORE-OPT-01", "CORE-OPT-06", "CORE-OPT-07")
@pytest.mark.parametrize("on", ["creation URL", "upload", "nothing"])
def test_options_tells_the_versions_everywhere_and_asks_for_no_credentials(
    tus: Tus, on: str
) -> None:
    target = {"creation URL": tus.path, "upload": tus.create(1), "nothing": tus.path + UNKNOWN}[on]
    answer = tus.options(target)
    assert answer.status == 204
    assert answer.get("Tus-Version") == "1.0.0"
    assert answer.body == b""


@pytest.mark.clause("CORE-OPT-02")
def test_extensions_are_a_comma_list_without_blanks(tus: Tus) -> None:
    extensions = tus.options().get("Tus-Extension") or ""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*(,[a-z]+(-[a-z]+)*)*", extensions)
    names = extensions.split(",")
    assert len(names) == len(set(names))


@pytest.mark.clause("CORE-OPT-02", "CRE-01", "DEF-01", "CWU-01", "EXP-01", "TER-01", "CAT-01")
def test_every_extension_that_works_is_announced(tus: Tus) -> None:
    assert tus.extensions - {"checksum-trailer"} == ALWAYS


@pytest.mark.clause("CORE-OPT-04")
def test_the_largest_size_is_not_told_where_there_is_none(tus: Tus) -> None:
    assert tus.options().get("Tus-Max-Size") is None


@pytest.mark.clause("CORE-OPT-04")
def test_the_largest_size_is_told(limited: Tus) -> None:
    assert limited.options().get("Tus-Max-Size") == "1000"


@pytest.mark.clause("CORE-OPT-05", "CHK-01")
def test_algorithms_are_announced_with_the_extension(tus: Tus) -> None:
    algorithms = (tus.options().get("Tus-Checksum-Algorithm") or "").split(",")
    assert {"sha1", "sha256", "sha512", "md5"} <= set(algorithms)
    assert all(re.fullmatch(r"[!-+\--@\[-~]+", name) for name in algorithms)


@pytest.mark.clause("CORE-OPT-01")
def test_options_does_not_read_a_body(tus: Tus) -> None:
    assert tus.options(None, {"Content-Length": "0"}).status == 204
