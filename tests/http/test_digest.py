"""Digests of whole files as clients see them, over restarts, processes and both state stores."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.server import MOUNTED, PROGRAM
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import TusServer

DIGEST = ("--digest", "sha-256")
DATA = random.Random(8).randbytes(3_000_000)
STREAM = {"Content-Type": OFFSET_STREAM}


def told(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def said(data: bytes) -> dict[str, str]:
    value = base64.b64encode(hashlib.sha256(data).hexdigest().encode()).decode()
    return {"Upload-Metadata": f"sha256 {value}"}


@pytest.fixture(params=[PROGRAM, MOUNTED])
def tus(request: pytest.FixtureRequest, with_flags: Callable[..., Tus]) -> Tus:
    return with_flags(request.param, *DIGEST, "--cors-origins", "https://page.example")


def test_head_and_get_of_a_finished_upload_tell_its_digest(tus):
    target = tus.create(len(DATA), {"Origin": "https://page.example"})
    assert tus.patch(target, 0, DATA[:1_000_000]).status == 204
    assert tus.head(target).get("Repr-Digest") is None
    assert tus.patch(target, 1_000_000, DATA[1_000_000:]).status == 204
    assert tus.head(target).get("Repr-Digest") == told(DATA)
    whole = tus.get(target, {"Origin": "https://page.example"})
    assert whole.get("Repr-Digest") == told(DATA)
    assert "repr-digest" in whole.listed("Access-Control-Expose-Headers")
    some = tus.get(target, {"Range": "bytes=5-9"})
    assert (some.status, some.body, some.get("Repr-Digest")) == (206, DATA[5:10], told(DATA))


def test_a_chunked_body_with_a_checksum_in_its_trailer_is_hashed_too(tus):
    data = DATA[:300_000]
    checksum = base64.b64encode(hashlib.sha512(data).digest()).decode()
    fields = {
        "Content-Length": None,
        "Transfer-Encoding": "chunked",
        "Trailer": "Upload-Checksum",
        **STREAM,
    }
    if "checksum-trailer" not in tus.extensions:
        fields.pop("Trailer")
    target = tus.create(len(data))
    body = chunked(data[:5], data[5:], trailers=[f"Upload-Checksum: sha512 {checksum}"])
    assert tus.request("PATCH", target, {"Upload-Offset": "0", **fields}, body).status == 204
    assert tus.head(target).get("Repr-Digest") == told(data)


def test_an_empty_upload_and_one_made_with_its_bytes_have_theirs(tus):
    assert tus.head(tus.create(0)).get("Repr-Digest") == told(b"")
    assert tus.head(tus.create(5, body=b"bytes")).get("Repr-Digest") == told(b"bytes")


def test_a_final_upload_has_the_digest_of_what_it_was_made_of(tus):
    parts = [tus.upload(piece, {"Upload-Concat": "partial"}) for piece in (DATA[:10], DATA[10:])]
    assert tus.head(parts[0]).get("Repr-Digest") is None
    final = tus.post({"Upload-Concat": f"final;{' '.join(parts)}", "Content-Length": "0"})
    target = tus.target(final.get("Location"))
    assert eventually(lambda: tus.head(target).get("Repr-Digest") == told(DATA))
    assert tus.get(target).get("Repr-Digest") == told(DATA)


def test_a_file_that_is_not_what_its_metadata_says_is_gone(tus):
    target = tus.create(5, said(b"bytes"))
    assert tus.patch(target, 0, b"by").status == 204
    refused = tus.patch(target, 2, b"ter")
    assert (refused.status, refused.code) == (460, "digest_mismatch")
    assert tus.head(target).status == 404
    made = tus.post({"Upload-Length": "5", **STREAM, **said(b"other")}, b"bytes")
    assert (made.status, made.code, made.get("Location")) == (460, "digest_mismatch", None)
    assert tus.head(tus.upload(b"bytes", said(b"bytes"))).get("Repr-Digest") == told(b"bytes")


def test_metadata_that_holds_no_digest_where_one_belongs_is_refused(tus):
    value = base64.b64encode(b"crc32 beef").decode()
    refused = tus.post({"Upload-Length": "5", "Upload-Metadata": f"checksum {value}"})
    assert (refused.status, refused.code) == (400, "header_invalid")
    assert "the value of checksum is no digest" in refused.body.decode()


def test_the_keys_can_be_named(with_flags):
    tus = with_flags(PROGRAM, *DIGEST, "--digest-metadata", "sum")
    assert tus.head(tus.upload(b"bytes", said(b"other"))).status == 200
    value = base64.b64encode(hashlib.sha512(b"other").digest()).decode()
    value = base64.b64encode(f"sha-512=:{value}:".encode()).decode()
    assert tus.post({"Upload-Length": "0", "Upload-Metadata": f"sum {value}"}).status == 460


def test_a_server_without_the_setting_tells_and_checks_nothing(with_flags):
    tus = with_flags(PROGRAM)
    target = tus.upload(b"bytes", said(b"other"))
    assert tus.head(target).get("Repr-Digest") is None
    assert tus.get(target).get("Repr-Digest") is None


@pytest.mark.parametrize(
    ("state_url", "right"), [("local", True), ("redis", False)], indirect=["state_url"]
)
def test_a_server_killed_in_the_middle_reads_what_it_had(make_server, state_url, right):
    server = make_server(*DIGEST, state=state_url)
    tus = Tus(server.url)
    target = tus.create(len(DATA), said(DATA if right else DATA[1:]))
    assert tus.patch(target, 0, DATA[:500_000]).status == 204
    with tus.wire() as wire:
        fields = {"Content-Length": str(len(DATA) - 500_000)}
        wire.send(tus.append_message(target, 500_000, DATA[500_000:2_000_000], fields))
        assert server.commits(target, 2_000_000)
        assert wire.is_silent(for_=0)
        server.kill()
    server.start()
    tus = Tus(server.url)
    offset = tus.offset(target)
    assert 500_000 < offset <= 2_000_000
    answer = tus.patch(target, offset, DATA[offset:])
    assert answer.status == (204 if right else 460)
    assert tus.head(target).get("Repr-Digest") == (told(DATA) if right else None)


def test_two_servers_take_turns(make_server, state_url):
    first = make_server(*DIGEST, state=state_url)
    second = make_server(*DIGEST, state=state_url, upload_dir=first.upload_dir)
    turns = [Tus(first.url), Tus(second.url)]
    target = turns[0].create(len(DATA), said(DATA))
    for number, start in enumerate(range(0, len(DATA), 400_000)):
        piece = DATA[start : start + 400_000]
        assert turns[number % 2].patch(target, start, piece).status == 204
    assert {tus.head(target).get("Repr-Digest") for tus in turns} == {told(DATA)}


def test_a_take_over_leaves_the_digest_right(make_server):
    server = make_server(*DIGEST)
    tus = Tus(server.url)
    target = tus.create(len(DATA))
    with tus.wire() as wire:
        fields = {"Content-Length": str(len(DATA))}
        wire.send(tus.append_message(target, 0, DATA[:700_001], fields))
        assert tus.settle(target, 700_001) == 700_001
        assert tus.patch(target, 700_001, DATA[700_001:]).status == 204
    assert tus.head(target).get("Repr-Digest") == told(DATA)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("first", [0, 1_000_000], ids=["while it comes", "at the end"])
def test_hashing_a_large_upload_keeps_nobody_waiting(
    make_server: Callable[..., TusServer], first: int
) -> None:
    """What another process received has to be read."""
    server = make_server("--digest", "sha-512")
    tus, size, block = Tus(server.url), 128_000_000, DATA[:1_000_000]
    target = tus.create(size)
    if first:
        other = make_server("--digest", "sha-512", upload_dir=server.upload_dir)
        assert Tus(other.url).patch(target, 0, block).status == 204
        other.close()
    before = server.rss()
    waits: list[float] = []
    done = threading.Event()

    def ask() -> None:
        small = tus.create(1)
        while not done.is_set():
            start = time.monotonic()
            tus.head(small)
            waits.append(time.monotonic() - start)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with tus.wire(timeout=40.0) as wire:
            wire.send(tus.append_message(target, first, b"", {"Content-Length": str(size - first)}))
            for _ in range(first, size, len(block)):
                wire.send(block)
            assert wire.response("PATCH").status == 204
    finally:
        done.set()
        asking.join()
    expected = hashlib.sha512()
    for _ in range(0, size, len(block)):
        expected.update(block)
    value = base64.b64encode(expected.digest()).decode()
    assert tus.head(target).get("Repr-Digest") == f"sha-512=:{value}:"
    assert server.rss() - before < 48 * 1024 * 1024
    assert sorted(waits)[len(waits) // 2] < 0.1
