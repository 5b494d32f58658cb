"""Uploads that are broken off, by whoever it may be, go on where they were."""

from __future__ import annotations

import os
import signal
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import FIN, RST, Cut, Proxy
from tests.uploader.conftest import content, wait_for

SIZE = 8_000_000
SLACK = 1_500_000
"""What may be sent twice: bytes on their way when it broke off, and heads of requests."""


@pytest.fixture
def server(make_server):
    return make_server()


def direct(url, server):
    """The URL of an upload past the proxy."""
    return f"http://127.0.0.1:{server.port}{urlsplit(url).path}"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_another_run_sends_only_the_rest(server, uploader, how):
    data = uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=8_000_000) as proxy:
        first = uploader.start("a.bin", "--to", proxy.url)
        proxy.wait_until_forwarded(SIZE // 2)
        first.send_signal(how)
        ended = uploader.ended(first)
        assert ended.returncode == (130 if how is signal.SIGINT else -9)
        assert ended.stdout == ""
        proxy.rate, before = None, proxy.forwarded
        done = uploader.run("a.bin", "--to", proxy.url)
        assert done.returncode == 0, done.stderr
        assert "goes on at byte" in done.stderr
        assert SIZE - before - SLACK < proxy.forwarded - before < SIZE - before + SLACK
        assert content(direct(done.stdout.strip(), server)) == data
    assert uploader.bookmarks() == []


@pytest.mark.parametrize("how", [FIN, RST])
def test_a_connection_that_breaks_is_made_again_and_only_the_rest_is_sent(server, uploader, how):
    data = uploader.file("a.bin", SIZE)
    cuts = [Cut(4_000_000, how), Cut(2_000_000, how)]
    with Proxy(server.port, cuts=cuts) as proxy:
        [url] = uploader.urls("a.bin", "--to", proxy.url)
        assert proxy.cuts_made == 2
        assert proxy.forwarded < SIZE + 2 * SLACK
        assert content(direct(url, server)) == data


def test_a_connection_that_falls_silent_is_given_up(server, uploader):
    data = uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=8_000_000) as proxy:
        process = uploader.start("a.bin", "--to", proxy.url, "--timeout", "1s")
        proxy.wait_until_forwarded(SIZE // 2)
        proxy.lose(client_notices=False)
        proxy.rate = None
        done = uploader.ended(process)
        assert "nothing moved for 1 s; tries again in" in done.stderr
        assert content(direct(done.stdout.strip(), server)) == data
        assert proxy.forwarded < SIZE + SLACK


def test_a_server_that_is_killed_and_comes_back_later_is_waited_for(server, uploader):
    data = uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=8_000_000) as proxy:
        process = uploader.start("a.bin", "--to", proxy.url)
        proxy.wait_until_forwarded(SIZE // 2)
        server.kill()
        proxy.rate = None
        server.start()
        done = uploader.ended(process)
        assert done.returncode == 0, done.stderr
        assert "tries again in" in done.stderr
        assert content(direct(done.stdout.strip(), server)) == data


def test_parts_are_resumed_too(server, uploader):
    data = uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=8_000_000) as proxy:
        first = uploader.start("a.bin", "--to", proxy.url, "--parallel=3")
        proxy.wait_until_forwarded(SIZE // 2)
        first.kill()
        uploader.ended(first)
        proxy.rate, before = None, proxy.forwarded
        done = uploader.run("a.bin", "--to", proxy.url, "--parallel=3")
        assert "goes on with an earlier upload in 3 parts" in done.stderr
        assert proxy.forwarded - before < SIZE - before + SLACK
        assert content(direct(done.stdout.strip(), server)) == data


def test_a_file_that_has_changed_is_sent_anew(server, uploader):
    uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=8_000_000) as proxy:
        first = uploader.start("a.bin", "--to", proxy.url)
        proxy.wait_until_forwarded(SIZE // 2)
        first.kill()
        uploader.ended(first)
        proxy.rate, before = None, proxy.forwarded
        data = uploader.file("a.bin", SIZE, seed=2)
        done = uploader.run("a.bin", "--to", proxy.url)
        assert "has changed since an earlier run: begins anew" in done.stderr
        assert proxy.forwarded - before >= SIZE
        assert content(direct(done.stdout.strip(), server)) == data


def test_a_file_that_changes_while_it_is_sent_fails(server, uploader):
    uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=4_000_000) as proxy:
        process = uploader.start("a.bin", "--to", proxy.url)
        proxy.wait_until_forwarded(SIZE // 4)
        os.utime(uploader.folder / "a.bin", (1, 1))
        done = uploader.ended(process)
    assert done.returncode == 1
    assert "a.bin: the file changed while it was sent" in done.stderr
    assert done.stdout == ""


def test_an_upload_that_the_server_lost_is_begun_anew(server, uploader):
    data = uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=8_000_000) as proxy:
        first = uploader.start("a.bin", "--to", proxy.url)
        proxy.wait_until_forwarded(SIZE // 2)
        first.kill()
        uploader.ended(first)
        proxy.rate = None
        server.kill()
        for path in server.upload_dir.glob("??/*"):
            path.unlink()
        server.start()
        done = uploader.run("a.bin", "--to", proxy.url)
        assert "the server no longer has the upload: begins anew" in done.stderr
        assert content(direct(done.stdout.strip(), server)) == data


def test_two_runs_do_not_take_the_upload_from_each_other(server, uploader):
    data = uploader.file("a.bin", SIZE)
    with Proxy(server.port, rate=3_000_000) as proxy:
        first = uploader.start("a.bin", "--to", proxy.url)
        wait_for(lambda: proxy.forwarded > SIZE // 4)
        second = uploader.run("a.bin", "--to", proxy.url)
        assert second.returncode == 75
        assert "another run is sending this file" in second.stderr
        assert content(direct(uploader.ended(first).stdout.strip(), server)) == data


def test_a_server_that_stays_away_is_given_up_and_status_75_says_so(server, uploader):
    uploader.file("a.bin", 1000)
    server.kill()
    done = uploader.run("a.bin", "a.bin", "--to", server.url, "--retry-for=1s")
    assert done.returncode == 75
    assert done.stderr.count("run it again to go on") == 2
