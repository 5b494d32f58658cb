"""Bodies from the socket: how a connection and its receiver part, whatever happens meanwhile."""

from __future__ import annotations

import pytest

from tusserver.body import ALGORITHMS, Tap


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_lies_in_the_shared_buffer_can_be_hashed(algorithm: str):
    buffer = bytearray(b"hello world, and what another body left")
    tap, expected = Tap(algorithm), ALGORITHMS[algorithm]()
    tap.update(memoryview(buffer)[:5])
    tap.update(memoryview(buffer)[5:11])
    expected.update(b"hello world")
    assert tap.matches(algorithm, expected.digest())
