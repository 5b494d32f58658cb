"""A hand-written script around curl, as administrators write it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import curl, need_curl
from tests.support.content import KIB, MIB, assert_arrived, make_file
from tests.support.proxy import Proxy, seeded_cuts

if TYPE_CHECKING:
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


def test_the_script_of_the_documentation_resumes_when_it_is_run_again(
    server: TusServer, tmp_path: Path
) -> None:
    need_curl()
    page = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
    found = re.search(r"^```sh\n(file=.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    script = found[1]
    file = make_file(tmp_path / "video.mp4", SIZE)
    with Proxy(server.port, cuts=seeded_cuts(4, count=3, mean=MIB), rate=16 * MIB) as proxy:
        assert script.count("http://127.0.0.1:1080/files/") == 1
        command = ["sh", "-c", script.replace("http://127.0.0.1:1080/files/", proxy.url)]
        first = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
        proxy.wait_until_forwarded(4 * MIB)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        url = (tmp_path / "video.mp4.url").read_text().strip()
        assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
        assert (tmp_path / "video.mp4.url").read_text().strip() == url
        assert proxy.cuts_made == 3
        assert proxy.forwarded - SIZE <= 4 * 512 * KIB
        assert_arrived(url, file.stat().st_size)
