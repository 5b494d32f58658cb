"""The clients, and the ways in which each of them uploads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import tus_java, tus_js, tuspy
from tests.support.watching import watch
from tests.support.ways import WAYS, open_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.clients import ClientRun
    from tests.support.ways import Way

CLIENTS = {
    "tus-js-client": tus_js,
    "tuspy": tuspy,
    "tuspy-async": partial(tuspy, asynchronous=True),
    "tus-java-client": tus_java,
}


@pytest.fixture(params=CLIENTS)
def upload(request: pytest.FixtureRequest) -> Callable[..., ClientRun]:
    """Start a client with its defaults: `upload(endpoint, file, **its own options)`."""
    return CLIENTS[request.param]


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def module_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Start what stands between client and disk, for the tests of a module."""
    with open_way(*request.param) as way:
        yield way


@pytest.fixture
def way(request: pytest.FixtureRequest, module_way: Way) -> Way:
    """The same, with the server's log shown if the test fails."""
    watch(request, module_way.server)
    return module_way
