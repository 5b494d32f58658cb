"""`pytest conformance --tus-url URL`: each check of the suite as a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.runner import chosen_checks
from conformance.target import Settings, Target

if TYPE_CHECKING:
    from conformance.check import Check

_TARGET = pytest.StashKey[Target]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the URL of the server."""
    group = parser.getgroup("tus conformance")
    group.addoption("--tus-url", help="creation URL of the tus server to check")
    group.addoption("--tus-only", default="", help="beginnings of requirement ids")
    group.addoption("--tus-profile", default="all", help="tus1, http, clients, policy or all")
    group.addoption("--tus-header", action="append", default=[], help="'NAME: VALUE'")
    group.addoption("--tus-insecure", action="store_true", help="take any certificate")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every check."""
    if "tus_check" in metafunc.fixturenames:
        config = metafunc.config
        wanted = chosen_checks(config.getoption("--tus-only"), config.getoption("--tus-profile"))
        metafunc.parametrize("tus_check", wanted, ids=[one.name for one in wanted])


@pytest.fixture
def tus_check(request: pytest.FixtureRequest) -> Check:
    """One check, by the parameters above."""
    one: Check = request.param
    return one


@pytest.fixture
def tus_target(request: pytest.FixtureRequest) -> Target:
    """The server that is checked, asked once for what it announces."""
    config = request.config
    url = config.getoption("--tus-url")
    if url is None:
        pytest.skip("give the creation URL of a server: pytest conformance --tus-url URL")
    if _TARGET not in config.stash:
        given = (text.partition(":") for text in config.getoption("--tus-header"))
        headers = {name.strip(): value.strip() for name, _, value in given}
        insecure = config.getoption("--tus-insecure")
        config.stash[_TARGET] = Target(url, Settings(headers=headers, is_insecure=insecure))
    return config.stash[_TARGET]
