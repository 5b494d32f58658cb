"""The trailers of chunked bodies: followed beside aiohttp's parser, and safe to use."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.web.sites import HOST, chunk, drain, head, in_chunks, site, sized
from tusserver.body import BodyEnd
from tusserver.web.connection import can_trail, forget_tail, trailers_of
from tusserver.web.stream import StreamBody
from tusserver.web.trailers import MAX_HEAD, MAX_SECTION, Framing, Trailers

ANNOUNCED = "Trailer: Upload-Checksum, X-More"
CHECKSUM = b"Upload-Checksum: sha1 AAAA=\r\n"
MISLEADING = b"\r\n0\r\nUpload-Checksum: sha1 FALSE\r\n\r\n"


async def report(request: web.Request) -> web.Response:
    """Answer with what a body was, and its trailers."""
    body = StreamBody(request, idle_timeout=5)
    data = await drain(body)
    text = f"{len(data)} {body.end.name} {body.trailer('upload-CHECKSUM')} {body.trailer('X-More')}"
    return web.Response(text=text)


def whole(*chunks: bytes, fields: tuple[str, ...] = (ANNOUNCED,), section: bytes = CHECKSUM):
    return in_chunks(*fields) + b"".join(map(chunk, chunks)) + b"0\r\n" + section + b"\r\n"


@pytest.mark.clause("CHT-02")
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (whole(b"hello"), "5 COMPLETE sha1 AAAA= None"),
        (whole(), "0 COMPLETE sha1 AAAA= None"),
        (whole(b"hello", section=CHECKSUM + b"X-More:  a b \r\n"), "5 COMPLETE sha1 AAAA= a b"),
        (whole(b"hello", section=b""), "5 COMPLETE None None"),
        (whole(b"hello", section=b"X-More: 1\r\nx-more: 2\r\n"), "5 COMPLETE None 1,2"),
        (whole(b"hello", fields=()), "5 COMPLETE None None"),
        (whole(b"hello", fields=("Trailer: X-More",)), "5 COMPLETE None None"),
        (
            whole(b"hello", fields=("trailer:X-More", "TRAILER: ,upload-checksum ,")),
            "5 COMPLETE sha1 AAAA= None",
        ),
        (whole(b"hello", MISLEADING, b"x"), f"{6 + len(MISLEADING)} COMPLETE sha1 AAAA= None"),
        (whole(MISLEADING, section=b""), f"{len(MISLEADING)} COMPLETE None None"),
        (
            in_chunks(ANNOUNCED)
            + chunk(b"hello", b';a=b;c="0"')
            + b"000;last\r\n"
            + CHECKSUM
            + b"\r\n",
            "5 COMPLETE sha1 AAAA= None",
        ),
    ],
    ids=[
        "one",
        "empty body",
        "two fields",
        "no section",
        "repeated",
        "not announced",
        "another announced",
        "several announcements",
        "misleading body",
        "misleading body without trailer",
        "extensions",
    ],
)
@pytest.mark.parametrize("split", ["at once", "byte by byte", "in the middle"])
async def test_announced_trailers_are_found_however_they_arrive(message, expected, split):
    async with site(handler=report) as it:
        client = await it.connect()
        size = {"at once": len(message), "byte by byte": 1, "in the middle": len(message) // 2 + 1}
        step = size[split]
        pieces = [message[at : at + step] for at in range(0, len(message), step)]
        await client.send(*pieces, pause=0.0005 if step == 1 else 0.005)
        assert (await client.answer())[2] == expected


@pytest.mark.clause("CHT-02")
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "one by one"])
async def test_each_request_of_a_connection_has_its_own_trailers(*, together: bool):
    messages = {
        whole(b"a", section=b"Upload-Checksum: sha1 1\r\n"): "1 COMPLETE sha1 1 None",
        sized(3) + b"abc": "3 COMPLETE None None",
        whole(b"bc", section=b"Upload-Checksum: sha1 2\r\n"): "2 COMPLETE sha1 2 None",
        head(method="GET"): "0 COMPLETE None None",
        whole(b"def", fields=()): "3 COMPLETE None None",
        b"\r\n" + whole(b"d" * 70_000): "70000 COMPLETE sha1 AAAA= None",
    }
    async with site(handler=report) as it:
        client = await it.connect()
        if together:
            await client.send(b"".join(messages))
        for message, expected in messages.items():
            if not together:
                await client.send(message)
            assert (await client.answer())[2] == expected


@pytest.mark.clause("CHT-02")
async def test_a_trailer_behind_a_body_that_waited_for_its_reader_is_found():
    async with site() as it:
        client = await it.connect()
        data = bytes(65_536)
        body_of = whole(*[data] * 40, section=b"X-More: end\r\n") + head(method="GET") * 3
        sending = asyncio.create_task(client.send(body_of))
        body = await it.body()
        await asyncio.sleep(0.05)
        assert body.trailer("X-More") is None
        assert len(await drain(body)) == 40 * 65_536
        assert body.trailer("X-More") == "end"
        it.may_answer.set()
        await sending
        assert (await client.answer())[2] == "complete"


@pytest.mark.clause("CHT-07")
async def test_forbidden_fields_can_neither_be_announced_nor_change_the_request():
    names = ("Upload-Length", "Upload-Offset", "Authorization")
    section = b"".join(f"{name}: 7\r\n".encode() for name in names)
    async with site() as it:
        client = await it.connect()
        announced = f"Trailer: {', '.join(names)}, X-More"
        await client.send(whole(b"abc", fields=(announced,), section=b"X-More: 1\r\n" + section))
        body = await it.body()
        assert await drain(body) == b"abc"
        assert [body.trailer(name) for name in names] == [None] * 3
        assert body.trailer("X-More") == "1"
        assert "Upload-Offset" not in it.requests[0].headers


@pytest.mark.clause("CHT-07")
@pytest.mark.parametrize("field", ["Content-Length: 7", "Transfer-Encoding: x", "Host: b"])
async def test_a_field_that_frames_or_routes_ends_the_connection_and_is_never_merged(field: str):
    async with site() as it:
        client, body = await it.upload(in_chunks(ANNOUNCED) + chunk(b"abc"))
        await client.send(f"0\r\n{field}\r\nX-More: 1\r\n\r\n".encode() + sized(2) + b"ok")
        assert await drain(body) == b"abc"
        assert body.end in {BodyEnd.COMPLETE, BodyEnd.MALFORMED}
        it.may_answer.set()
        await client.answer()
        # What the field would make of the head that follows is not tried out.
        assert await client.rest() == b""
        assert [request.headers["Host"] for request in it.requests] == ["a"]


@pytest.mark.clause("CHT-07")
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "one by one"])
@pytest.mark.parametrize("announced", [(ANNOUNCED,), ()], ids=["announced", "not announced"])
@pytest.mark.parametrize(
    "following", [head("X-A: 1", method="GET"), head("X-A: 1", "Upgrade: h2c"), sized(0, "X-A: 1")]
)
async def test_no_trailer_becomes_a_header_of_the_next_request(
    announced: tuple[str, ...], following: bytes, *, together: bool
):
    first = whole(b"abc", fields=announced, section=b"X-More: 1\r\nUpload-Offset: 7\r\n")
    async with site() as it:
        client = await it.connect()
        await client.send(first + following if together else first)
        assert await drain(await it.body()) == b"abc"
        it.may_answer.set()
        await client.answer()
        if not together:
            await client.send(following)
        if b"Upgrade" in following and together:
            # What is not followed is not served behind other requests.
            assert await client.rest() == b""
            return
        await client.answer()
        names = [name for name in it.requests[1].headers if name != "Content-Length"]
        assert names == [
            n.decode() for n, _ in it.requests[1].raw_headers if n != b"Content-Length"
        ]
        assert set(names) <= {"Host", "X-A", "Upgrade"}
        assert it.requests[1].headers["X-A"] == "1"


@pytest.mark.clause("CHT-01")
async def test_a_hosts_own_runner_has_no_trailers():
    async with site(HOST) as it:
        _, body = await it.upload(whole(b"abc"))
        assert not can_trail(it.requests[0])
        assert trailers_of(it.requests[0]) is None
        forget_tail(it.requests[0])
        assert await drain(body) == b"abc"
        assert body.trailer("Upload-Checksum") is None


async def test_forgotten_trailers_are_not_kept():
    async with site() as it:
        client, body = await it.upload(in_chunks(ANNOUNCED) + chunk(b"abc"))
        assert can_trail(it.requests[0])
        forget_tail(it.requests[0])
        await client.send(b"0\r\n" + CHECKSUM + b"\r\n")
        assert await drain(body) == b"abc"
        assert body.trailer("Upload-Checksum") is None


async def test_a_broken_off_section_is_no_trailer():
    async with site() as it:
        client, body = await it.upload(in_chunks(ANNOUNCED) + chunk(b"abc"))
        await client.send(b"0\r\n" + CHECKSUM)
        client.half_close()
        assert await drain(body) == b"abc"
        assert body.end is BodyEnd.DISCONNECTED
        assert body.trailer("Upload-Checksum") is None


async def test_a_section_that_is_too_long_is_no_trailer_and_ends_the_connection():
    async with site() as it:
        client = await it.connect()
        long = b"X-More: " + b"x" * MAX_SECTION + b"\r\n"
        await client.send(whole(b"abc", section=CHECKSUM + long) + head(method="GET"))
        body = await it.body()
        assert await drain(body) == b"abc"
        assert (body.end, body.trailer("Upload-Checksum")) == (BodyEnd.COMPLETE, None)
        it.may_answer.set()
        assert (await client.answer())[1]["connection"] == "close"
        assert await client.rest() == b""
        assert len(it.requests) == 1


async def test_a_trailer_that_was_counted_otherwise_than_parsed_is_not_used():
    async with site() as it:
        _, body = await it.upload(whole(b"abc"))
        assert await drain(body) == b"abc"
        assert body.trailer("Upload-Checksum") == "sha1 AAAA="
        trailers_of(it.requests[0]).body_length += 1
        assert body.trailer("Upload-Checksum") is None


# --- the framing by itself

names = st.sampled_from(["upload-checksum", "x-more", "x-other", "te", "upload-offset"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
noise = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([MISLEADING, b"0\r\n\r\n", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", CHECKSUM]),
    ),
    max_size=4,
).map(b"".join)


@st.composite
def messages(draw) -> tuple[bytes, dict[str, str] | None, int]:
    """Make a message; give it, the trailers it announced and sent, and its body's length."""
    kind = draw(st.sampled_from(["none", "sized", "chunked"]))
    blank = draw(st.sampled_from([b"", b"\r\n"]))
    if kind == "none":
        return blank + head("X-A: 0", method="GET"), None, 0
    if kind == "sized":
        data = draw(noise)
        return blank + sized(len(data), "TE: trailers") + data, None, len(data)
    announced = draw(st.sets(names))
    sent = draw(st.lists(st.tuples(names, values), max_size=3))
    extension = draw(st.sampled_from([b"", b";a", b';a="b;0"', b" ;x=1"]))
    pieces = [piece for piece in draw(st.lists(noise, max_size=4)) if piece]
    text = in_chunks(*([f"Trailer: {', '.join(sorted(announced))}"] if announced else []))
    text += b"".join(chunk(piece, extension) for piece in pieces) + b"00" + extension + b"\r\n"
    text += b"".join(f"{name.title()}: {value}\r\n".encode() for name, value in sent) + b"\r\n"
    expected: dict[str, str] = {}
    for name, value in sent:
        if name in announced - {"te", "upload-offset"}:
            expected[name] = f"{expected[name]},{value}" if name in expected else value
    return blank + text, expected if announced else None, sum(map(len, pieces))


@given(st.data(), st.lists(messages(), min_size=1, max_size=5))
def test_the_framing_of_any_messages_is_followed_through_any_pieces(data, sent):
    stream = b"".join(text for text, _, _ in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12), label="cuts"))
    framing = Framing()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        framing.feed(stream[start:end])
    assert not framing.lost
    for _, expected, length in sent:
        trailers, fields = framing.next()
        assert fields >= 1
        if expected is None:
            assert trailers.get("upload-checksum") is None
            continue
        assert trailers.complete
        assert trailers.body_length == length
        for name in ("upload-checksum", "x-more", "x-other", "te", "upload-offset"):
            assert trailers.get(name) == expected.get(name)
    assert framing.next() is None
    assert framing._partial == b""


@pytest.mark.parametrize("name", ["Host", "CONNECTION", "User-Agent", "Upgrade"])
def test_a_trailer_that_is_read_in_heads_ends_the_following_behind_its_message(name: str):
    framing = Framing()
    framing.feed(whole(b"abc", fields=("Trailer: X-More",), section=b"X-More: 1\r\n"))
    assert not framing.lost
    section = f"X-More: 2\r\n{name}: a\r\nX-Other: 3\r\n".encode()
    framing.feed(whole(b"abc", fields=("Trailer: X-More",), section=section))
    assert framing.lost
    assert [framing.next().trailers.get("X-More") for _ in range(2)] == ["1", "2"]


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_the_framing_never_raises(pieces):
    framing = Framing()
    framing.feed(in_chunks(ANNOUNCED))
    for piece in pieces:
        framing.feed(piece)
    assert len(framing._partial) <= 400


@pytest.mark.parametrize(
    "text",
    [
        head("Upgrade: websocket"),
        head(method="CONNECT"),
        head("Content-Length: 5", "Content-Length: 5"),
        head("Content-Length: +5"),
        head("Content-Length: 5", "Transfer-Encoding: chunked"),
        head("Transfer-Encoding: gzip, chunked"),
        head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        in_chunks() + b"5_0\r\n",
        in_chunks() + b"\r\n",
        in_chunks(ANNOUNCED) + b"0\r\nno colon\r\n\r\n",
        in_chunks(ANNOUNCED) + b"0\r\nX-More : 1\r\n\r\n",
        in_chunks() + b"1;" + b"x" * MAX_SECTION,
        b"x" * (MAX_HEAD + 1),
    ],
    ids=[
        "upgrade",
        "tunnel",
        "two lengths",
        "signed length",
        "length and chunks",
        "two codings",
        "chunked twice",
        "chunk size",
        "no chunk size",
        "no field",
        "blank before the colon",
        "long extension",
        "long head",
    ],
)
def test_what_is_not_understood_ends_the_following_of_a_connection(text: bytes):
    framing = Framing()
    framing.feed(text)
    assert framing.lost
    framing.feed(whole(b"abc"))
    while (message := framing.next()) is not None:
        assert message.trailers is None or message.trailers.get("Upload-Checksum") is None


def test_bodies_are_skipped_without_being_kept():
    framing = Framing()
    framing.feed(sized(10**8) + b"x")
    for _ in range(100):
        framing.feed(bytes(100_000))
    assert framing._partial == b""
    framing.feed(bytes(10**8 - 1 - 100 * 100_000) + whole(b"abc"))
    assert framing.next().trailers.get("x-more") is None
    assert framing.next().trailers.get("upload-checksum") == "sha1 AAAA="


def test_trailers_are_not_read_before_their_section_is_whole():
    trailers = Trailers(frozenset({"x-more"}))
    assert trailers.get("x-more") is None
    assert not trailers.fill(b"X-More: 1\r\nbad line")
    assert trailers.get("x-more") is None
