"""The choice of the dialect."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tusserver.protocol.dialect import choose_dialect
from tusserver.protocol.messages import Head
from tusserver.protocol.tus1 import Tus1


@pytest.mark.clause("CLI-05")
@pytest.mark.parametrize(
    "fields",
    [
        {"Tus-Resumable": "1.0.0"},
        {"Tus-Resumable": "1.0.0", "Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8"},
        {"Tus-Resumable": "9.9.9"},
        {},
    ],
    ids=["tus", "tus-from-ios", "another-version", "neither"],
)
def test_a_request_is_spoken_in_tus_1(fields):
    head = Head(method="PATCH", segment=None, headers=CIMultiDict(fields.items()))
    assert isinstance(choose_dialect(head), Tus1)
