"""What the tests of this folder share."""

from __future__ import annotations

import asyncio
import socket

import pytest


@pytest.fixture
def half_sent(monkeypatch):
    """Small socket buffers: a server can only be a little ahead of its reader."""
    make = asyncio.selector_events._SelectorSocketTransport.__init__

    def small(self, loop, sock, *args, **kwargs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        make(self, loop, sock, *args, **kwargs)

    monkeypatch.setattr(asyncio.selector_events._SelectorSocketTransport, "__init__", small)
