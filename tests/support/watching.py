"""The logs of servers, shown with the tests that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.server import TusServer

WATCHED = pytest.StashKey[list["TusServer"]]()


def watch(request: pytest.FixtureRequest, server: TusServer) -> TusServer:
    """Have the log of a server shown if the test that asks for it fails."""
    request.node.stash.setdefault(WATCHED, []).append(server)
    return server
