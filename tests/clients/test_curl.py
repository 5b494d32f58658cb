"""A hand-written script around curl, as administrators write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.clients import curl
from tests.support.content import KIB, MIB, assert_arrived, make_file
from tests.support.proxy import Proxy, seeded_cuts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import TusServer

SIZE = 8 * MIB + 5
BODIES = {"with its length": ["--data-binary", "@-"], "in chunks": ["-T", "-"]}
CUTS = 20


@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_curl_uploads_and_is_told_to_continue(
    server: TusServer, tmp_path: Path, body: list[str]
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    with curl(server.url, file, body=body) as run:
        run.finish()
        assert "Expect: 100-continue" in run.errors
        assert "100 Continue" in run.errors
        assert_arrived(run.url, SIZE)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_script_with_curl_resumes_after_every_cut(
    server: TusServer, tmp_path: Path, body: list[str]
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    cuts = seeded_cuts(3, count=CUTS, mean=300 * KIB)
    with Proxy(server.port, cuts=cuts) as proxy, curl(proxy.url, file, body=body) as run:
        run.finish()
        assert proxy.cuts_made == CUTS
        # What a reset threw away unread, once a cut.
        assert proxy.forwarded - SIZE <= CUTS * 512 * KIB
        assert_arrived(run.url, SIZE)
