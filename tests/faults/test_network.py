"""Networks and clients that fail, flood and dawdle: nobody else suffers, and nothing is lost."""

from __future__ import annotations

import resource
import statistics
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from tests.faults.clients import Crowd, Upload
from tests.support.proxy import FIN, RST, Proxy
from tests.support.raw import Tus, WireError
from tests.support.waiting import eventually

KIB = 1024
MIB = 1024 * KIB
PIECE = 100 * KIB


def begin(upload, wire, size):
    """Begin a PATCH that says it brings all that is missing, and send `size` bytes of it."""
    length = {"Content-Length": str(len(upload.data) - upload.told)}
    data = upload.data[upload.told : upload.told + size]
    wire.send(upload.tus.append_message(upload.target, upload.told, data, length))


def is_served(tus):
    """Tell whether a client that comes now is answered as it should be."""
    try:
        return tus.options().status in {200, 204}
    except (OSError, WireError):
        return False


# --- connections that break ------------------------------------------------------------------


WAYS = {"local, one process": 1, "local, three": 3, "redis, three": 3}


@pytest.fixture(params=WAYS)
def tuses(request, make_server, upload_dir):
    """Give the processes of one store."""
    redis = "redis" in request.param and request.getfixturevalue("redis_server").url
    servers = [
        make_server(upload_dir=upload_dir, state=redis or "local")
        for _ in range(WAYS[request.param])
    ]
    return [Tus(server.url) for server in servers]


def test_half_open_connections_are_taken_over(tuses, dice, amount, figures):
    """The client is back on another connection, perhaps at another process; the old one is open."""
    asked, sent_on = [], []
    for turn in range(amount(5, 300)):
        upload = Upload(tuses[0], dice.randbytes(256 * KIB))
        with upload.tus.wire() as silent:
            begin(upload, silent, 128 * KIB)
            assert silent.is_silent(for_=0.05)
            upload.tus = tuses[(turn + 1) % len(tuses)]
            began = time.monotonic()
            assert upload.offset() <= 128 * KIB
            asked.append(time.monotonic() - began)
            began = time.monotonic()
            upload.complete()
            sent_on.append(time.monotonic() - began)
    for what, seconds in (("HEAD", asked), ("the rest", sent_on)):
        figures[f"{what}: median seconds"] = round(statistics.median(seconds), 3)
        figures[f"{what}: longest"] = round(max(seconds), 3)
    figures["take-overs"] = len(asked)


@pytest.mark.parametrize("how", [FIN, RST])
def test_connections_that_end_in_mid_body(make_server, dice, amount, figures, how):
    tus = Tus(make_server().url)
    upload = Upload(tus, dice.randbytes(2 * MIB))
    cuts = 0
    for _ in range(amount(8, 500)):
        if upload.told > MIB:
            upload.complete()
            upload = Upload(tus, upload.data)
        before, size = upload.told, dice.randrange(1, 200 * KIB)
        wire = tus.wire()
        begin(upload, wire, size)
        if how == RST:
            wire.reset()  # What waits in buffers may be lost with it.
        else:
            wire.close()
        cuts += 1
        assert before <= upload.offset() <= before + size
        if how == FIN:
            assert eventually(lambda u=upload, end=before + size: u.offset() == end)
    upload.complete()
    figures |= {"cuts": cuts}


def test_a_proxy_that_is_cut_again_and_again(make_server, dice, amount, figures):
    server = make_server()
    rounds = amount(6, 300)
    with Proxy(server.port, rate=8 * MIB) as proxy:
        with Crowd(Tus(proxy.url), [dice.randbytes(MIB) for _ in range(3)], size=MIB) as crowd:
            cuts = 0
            for turn in range(rounds):
                time.sleep(dice.uniform(0.1, 0.3))
                cuts += proxy.lose() if turn % 3 == 0 else proxy.cut_all(dice.choice((FIN, RST)))
        assert crowd.finished
        figures |= {"connections cut": cuts, "uploads": len(crowd.finished)}
    for upload in crowd.finished:
        upload.tus = Tus(server.url)
        upload.check()


# --- clients that dawdle ---------------------------------------------------------------------


def test_bodies_of_a_few_bytes_a_second_end_by_themselves(make_server, dice, amount, figures):
    """Silence ends a body, slowness does not; and it costs the others nothing."""
    server = make_server("--body-timeout=5s", "--max-open=none")
    tus = Tus(server.url)
    count, pause = amount(100, 1000), amount(1, 4) / 4
    size = amount(24, 60)
    uploads = [Upload(tus, dice.randbytes(size)) for _ in range(count)]
    with ExitStack() as stack:
        wires = [stack.enter_context(tus.wire()) for _ in uploads]
        for upload, wire in zip(uploads, wires, strict=True):
            begin(upload, wire, 1)
        for place in range(1, size):
            time.sleep(pause)
            for upload, wire in zip(uploads, wires, strict=True):
                wire.send(upload.data[place : place + 1])
            if place % 8 == 0:
                Upload(tus, dice.randbytes(PIECE)).complete()
        for wire in wires:
            assert wire.response("PATCH").status == 204
    for upload in uploads:
        upload.check()
    figures |= {"bodies": count, "bytes a second": 1 / pause}


def test_thousands_of_idle_connections(make_server, dice, amount, figures):
    count = amount(1000, 5000)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * count + 400:
        pytest.skip(f"needs {3 * count + 400} open files; remedy: ulimit -Hn 20000")
    server = make_server("--keepalive-timeout=8s")
    tus = Tus(server.url)
    Upload(tus, dice.randbytes(MIB)).complete()
    before = server.rss()
    with raised_limit(hard), ExitStack() as stack:
        wires = [stack.enter_context(tus.wire(timeout=30)) for _ in range(count)]
        for wire in wires[-100:]:  # The others have never said anything.
            assert tus.request("OPTIONS", wire=wire).status in {200, 204}
        Upload(tus, dice.randbytes(MIB)).complete(size=PIECE)
        each = (server.rss() - before) / count
        assert each < 64 * KIB
        assert all(wire.is_closed(within=60.0) for wire in wires)
    Upload(tus, dice.randbytes(MIB)).complete()
    figures |= {"connections": count, "KiB each": round(each / KIB, 1)}


class raised_limit:  # noqa: N801 - used like a function
    """Let this process open as many files as it may."""

    def __init__(self, most):
        self._most = most

    def __enter__(self):
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._most, self._most))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)


def test_a_client_that_never_reads_its_answers_costs_little_memory(make_server, dice):
    """It sends one request after the other into a connection, and reads nothing at all."""
    server = make_server("--send-timeout=3s")
    tus = Tus(server.url)
    upload = Upload(tus, dice.randbytes(MIB))
    ask = tus.message("HEAD", upload.target) * 200
    before = server.rss()
    with tus.wire() as wire:
        wire.socket.settimeout(0.5)
        with suppress(OSError):
            for _ in range(2000):
                wire.socket.sendall(ask)
        assert server.rss() - before < 32 * MIB
        upload.complete()
        assert eventually(lambda: not _is_open(wire), within=15.0)
    assert is_served(tus)


def _is_open(wire):
    """Tell whether the server still takes anything."""
    try:
        wire.socket.send(b"x")
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


# --- floods of heads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "count"),
    [(b"X-%d: x\r\n", 100_000), (b"X-%d: " + b"x" * 4000 + b"\r\n", 10_000)],
    ids=["many", "many and long"],
)
def test_a_head_of_many_fields_is_refused(make_server, dice, line, count):
    server = make_server()
    tus = Tus(server.url)
    before = server.rss()
    with tus.wire() as wire:
        wire.send(b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\n")
        with suppress(OSError):
            for number in range(count):
                wire.send(line % number)
            wire.send(b"\r\n")
        with suppress(OSError, WireError):
            assert 400 <= wire.response().status < 500
    assert server.rss() - before < 32 * MIB
    Upload(tus, dice.randbytes(PIECE)).complete()


def test_a_field_without_an_end_is_refused(make_server, dice):
    server = make_server()
    tus = Tus(server.url)
    before = server.rss()
    with tus.wire() as wire:
        wire.send(b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nX: ")
        sent = wire.flood(64 * MIB, piece=b"x" * 65536)
        assert sent < 16 * MIB
        with suppress(OSError, WireError):
            assert 400 <= wire.response().status < 500
    assert server.rss() - before < 32 * MIB
    Upload(tus, dice.randbytes(PIECE)).complete()


def test_many_connections_that_send_half_a_head(make_server, dice, amount, figures):
    count = amount(500, 3000)
    server = make_server("--head-timeout=5s")
    tus = Tus(server.url)
    before = server.rss()
    with ExitStack() as stack:
        wires = [stack.enter_context(tus.wire(timeout=60)) for _ in range(count)]
        for wire in wires:
            wire.send(b"POST /files/ HTTP/1.1\r\nHost: x\r\nUpload-Meta")
        done = threading.Event()
        others = threading.Thread(
            target=lambda: (Upload(tus, dice.randbytes(MIB)).complete(size=PIECE), done.set())
        )
        others.start()
        for wire in wires:
            assert wire.response().status == 408
        others.join(60)
        assert done.is_set()
    assert (server.rss() - before) / count < 64 * KIB
    figures |= {"halves": count}
