"""The clients, and the ways in which each of them uploads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import tus_java, tus_js, tuspy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clients import ClientRun

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
