"""A hand-written script around curl, as administrators write it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import DRIVERS
from tests.support.content import KIB, MIB, assert_arrived, make_file
from tests.support.node import give_up
from tests.support.proxy import Proxy, seeded_cuts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import TusServer

SIZE = 8 * MIB + 5
BODIES = {"with its length": ["--data-binary", "@-"], "in chunks": ["-T", "-"]}


@pytest.fixture(autouse=True)
def curl() -> None:
    """Skip where there is no curl."""
    if shutil.which("curl") is None:
        give_up("no curl found; remedy: apt-get install curl")


def _upload(url: str, file: Path, body: list[str]) -> tuple[str, str]:
    command = ["sh", str(DRIVERS / "upload.sh"), url, str(file), *body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip(), done.stderr


@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_curl_uploads_and_is_told_to_continue(
    server: TusServer, tmp_path: Path, body: list[str]
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    url, talk = _upload(server.url, file, body)
    assert "Expect: 100-continue" in talk
    assert "100 Continue" in talk
    assert_arrived(url, SIZE)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_script_with_curl_resumes_after_every_cut(
    server: TusServer, tmp_path: Path, body: list[str]
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    cuts = seeded_cuts(3, count=20, mean=300 * KIB)
    with Proxy(server.port, cuts=cuts) as proxy:
        url, _ = _upload(proxy.url, file, body)
        assert proxy.cuts_made == 20
        assert_arrived(url, SIZE)
