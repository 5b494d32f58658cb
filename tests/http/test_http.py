"""Messages as HTTP allows them (RFC 9110, RFC 9112); the wrong ones stand in test_http_faults."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.support.faults import UNKNOWN
from tests.support.raw import OFFSET_STREAM, chunked, kept, message
from tests.support.server import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Response, Tus

CHUNKS = {"Content-Length": None, "Transfer-Encoding": "chunked"}


@pytest.mark.clause("HTTP-01", "CLI-03", "CLI-05")
@pytest.mark.parametrize(
    "spell", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"]
)
def test_names_of_fields_have_no_case(tus: Tus, spell: Callable[[str], str]) -> None:
    fields = {"Host": tus.authority, "Tus-Resumable": "1.0.0"}

    def ask(method: str, target: str, more: dict[str, str], body: bytes = b"") -> Response:
        spelled = {spell(name): value for name, value in {**fields, **more}.items()}
        with tus.wire() as wire:
            wire.send(message(method, target, spelled, body))
            return wire.response(method)

    created = ask("POST", tus.path, {"Upload-Length": "3", "Upload-Metadata": ""})
    assert created.status == 201
    target = tus.target(created.get("Location") or "")
    patch = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "3"}
    assert ask("PATCH", target, patch, b"abc").status == 204
    assert ask("HEAD", target, {}).offset == 3


@pytest.mark.clause("HTTP-01", "CLI-05")
def test_requests_of_an_iphone_stay_tus_1(tus: Tus) -> None:
    system = {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"}
    spelled = {"Tus-Resumable": None, "TUS-Resumable": "1.0.0", **system}
    target = tus.create(5)
    answer = tus.patch(target, 0, b"hello", spelled)
    assert (answer.status, answer.offset, answer.interim) == (204, 5, ())
    assert answer.get("Tus-Resumable") == "1.0.0"
    assert tus.post({**spelled, "Upload-Length": "5"}).status == 201


@pytest.mark.clause("HTTP-03")
@pytest.mark.parametrize("value", ["   3  ", "\t3", "3\t \t"], ids=repr)
def test_blanks_around_a_value_do_not_count(tus: Tus, value: str) -> None:
    target = tus.create(10, body=b"abc")
    assert tus.patch(target, 3, b"d", {"Upload-Offset": value}).offset == 4


@pytest.mark.clause("HTTP-06", "HTTP-18")
def test_bytes_beyond_the_content_length_are_the_next_request(tus: Tus) -> None:
    target = tus.create(10)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"abcde") + tus.message("HEAD", target))
        assert wire.response("PATCH").offset == 5
        assert wire.response("HEAD").offset == 5
    smuggled = tus.create(5)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 5, b"fghij") + tus.message("DELETE", smuggled))
        assert wire.response("PATCH").offset == 10
        assert wire.response("DELETE").status == 204
    assert tus.content(target) == b"abcdefghij"


@pytest.mark.clause("HTTP-06", "HTTP-19")
def test_rubbish_beyond_the_content_length_is_no_upload_data(tus: Tus) -> None:
    target = tus.create(10)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"abcdeXXXXX", {"Content-Length": "5"}))
        answer = wire.response("PATCH")
        # The parser sees both at once, and may refuse both.
        assert (answer.status, answer.offset) in {(204, 5), (400, None)}
    assert tus.offset(target) == (answer.offset or 0)


@pytest.mark.clause("HTTP-07", "CORE-PATCH-19")
@pytest.mark.parametrize(
    "body",
    [
        b'b;name=value;other="quoted"\r\nhello world\r\n0;last\r\n\r\n',
        b"00000B\r\nhello world\r\n000\r\n\r\n",
        chunked(*[bytes([byte]) for byte in b"hello world"]),
        chunked(b"hello world", trailers=["X-Checked: 1"]),
    ],
    ids=["extensions", "zeros", "single bytes", "trailer"],
)
def test_chunked_bodies_are_read_exactly(tus: Tus, body: bytes) -> None:
    target = tus.create(11)
    with tus.wire() as wire:
        answer = tus.patch(target, 0, body, CHUNKS, wire=wire)
        assert answer.offset == 11
        assert tus.head(target, wire=kept(answer, wire)).offset == 11
    assert tus.content(target) == b"hello world"


@pytest.mark.clause("HTTP-07")
def test_chunks_may_arrive_in_any_pieces(tus: Tus) -> None:
    target = tus.create(11)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", CHUNKS))
        wire.trickle(chunked(b"hel", b"lo world"), pause=0.002)
        assert wire.response("PATCH").offset == 11
    assert tus.content(target) == b"hello world"


@pytest.mark.clause("HTTP-01", "HTTP-18")
def test_a_head_may_arrive_byte_by_byte(tus: Tus) -> None:
    target = tus.create(5)
    with tus.wire() as wire:
        wire.trickle(tus.append_message(target, 0, b"hello"), pause=0.0005)
        assert wire.response("PATCH").offset == 5


@pytest.mark.clause("HTTP-08", "CORE-PATCH-14")
def test_100_continue_comes_before_the_body_of_a_patch(tus: Tus) -> None:
    target = tus.create(5)
    fields = {"Expect": "100-continue", "Content-Length": "5"}
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", fields))
        assert wire.interim().status == 100
        assert wire.is_silent()
        wire.send(b"hello")
        answer = wire.response("PATCH")
        assert (answer.status, answer.offset, answer.interim) == (204, 5, ())
        assert tus.head(target, wire=wire).offset == 5


@pytest.mark.clause("HTTP-08")
def test_a_client_need_not_wait_for_100_continue(tus: Tus) -> None:
    target = tus.create(5)
    answer = tus.patch(target, 0, b"hello", {"Expect": "100-Continue"})
    assert (answer.status, answer.offset) == (204, 5)
    assert [interim.status for interim in answer.interim] in ([], [100])


@pytest.mark.clause("HTTP-08", "HTTP-19")
@pytest.mark.parametrize(
    ("offset", "fields", "status"),
    [
        (4, {}, 409),
        (3, {"Content-Length": "9"}, 413),
        (3, {"Content-Type": "text/plain"}, 415),
        (3, {"Upload-Checksum": "foo AAAA"}, 400),
        (3, {"Tus-Resumable": "0.1.0"}, 412),
    ],
    ids=["offset", "length", "type", "algorithm", "version"],
)
def test_a_refusal_of_a_patch_comes_instead_of_100_continue(
    tus: Tus, offset: int, fields: dict[str, str], status: int
) -> None:
    target = tus.create(10, body=b"abc")
    usual = {"Expect": "100-continue", "Content-Length": "5"}
    with tus.wire() as wire:
        wire.send(tus.append_message(target, offset, b"", {**usual, **fields}))
        answer = wire.response("PATCH")
    assert (answer.status, answer.interim) == (status, ())
    assert tus.offset(target) == 3


@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize("expectation", ["200-ok", "100-continue, other"])
def test_another_expectation_is_417(tus: Tus, expectation: str) -> None:
    target = tus.create(5)
    answer = tus.patch(target, 0, b"hello", {"Expect": expectation})
    assert answer.status == 417
    assert tus.offset(target) == 0


@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize("line", [b"POST /elsewhere", b"GET /healthz", b"CONNECT /files/"])
def test_an_expectation_that_is_no_text_is_417_beside_the_uploads_too(
    with_flags: Callable[..., Tus], line: bytes
) -> None:
    # What lies beside a mounted application is its host's affair.
    tus = with_flags(PROGRAM)
    with tus.wire() as wire:
        wire.send(line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: 1\xed2\r\n\r\n")
        answer = wire.response(line.split()[0].decode())
    assert answer.status == 417


@pytest.mark.clause("HTTP-10")
@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "close"])
def test_http_1_0_works(tus: Tus, *, keep_alive: bool) -> None:
    target = tus.create(10, body=b"abc")
    fields = {"Connection": "keep-alive"} if keep_alive else {}
    steps = [
        ("HEAD", target, {}, b""),
        ("PATCH", target, {"Upload-Offset": "3", "Content-Type": OFFSET_STREAM}, b"defghij"),
        ("GET", target, {}, b""),
        ("GET", tus.path + UNKNOWN, {}, b""),
    ]
    seen = []
    with tus.wire() as wire:
        for method, name, more, body in steps:
            own = wire if keep_alive else None
            answer = tus.request(
                method, name, {**fields, **more}, body, wire=own, version="HTTP/1.0"
            )
            assert "chunked" not in answer.listed("Transfer-Encoding")
            assert answer.interim == ()
            assert answer.version in {"HTTP/1.0", "HTTP/1.1"}
            seen.append((answer.status, answer.body[:3]))
            if keep_alive:
                assert not answer.closes
    assert seen == [(200, b""), (204, b""), (200, b"abc"), (404, b"upl")]


@pytest.mark.clause("HTTP-10")
def test_http_1_0_gets_no_100_continue(tus: Tus) -> None:
    target = tus.create(5)
    with tus.wire() as wire:
        fields = {"Expect": "100-continue", "Content-Length": "5"}
        head = tus.append_message(target, 0, b"", fields).replace(b"HTTP/1.1", b"HTTP/1.0")
        wire.send(head)
        assert wire.is_silent()
        wire.send(b"hello")
        assert wire.response("PATCH").interim == ()
    assert tus.offset(target) == 5


@pytest.mark.clause("HTTP-10")
def test_http_1_0_closes_when_nothing_else_was_asked(tus: Tus) -> None:
    with tus.wire() as wire:
        tus.request("OPTIONS", None, {}, wire=wire, version="HTTP/1.0")
        assert wire.is_closed()


@pytest.mark.clause("HTTP-11")
def test_a_target_in_absolute_form_works(tus: Tus) -> None:
    origin = f"http://{tus.authority}"
    created = tus.request("POST", origin + tus.path, {"Upload-Length": "5"})
    assert created.status == 201
    target = tus.target(created.get("Location") or "")
    assert tus.patch(origin + target, 0, b"hello").status == 204
    assert tus.head(origin + target).offset == 5


@pytest.mark.clause("HTTP-12")
def test_options_on_the_whole_server_is_answered(tus: Tus) -> None:
    assert tus.options("*").status in {200, 204, 404, 405}


@pytest.mark.clause("HTTP-13")
def test_a_slash_more_or_less_is_never_a_redirect(tus: Tus) -> None:
    for creation in (tus.path, tus.path.rstrip("/")):
        answer = tus.request("POST", creation, {"Upload-Length": "5"})
        assert answer.status == 201
        target = tus.target(answer.get("Location") or "")
        assert tus.offset(target) == 0
    target = tus.create(5)
    assert tus.head(target + "/").status in {200, 404}
    assert tus.patch(target + "/", 0, b"hello").status in {204, 404}
    assert tus.head(target + "//").status == 404


@pytest.mark.clause("HTTP-14")
def test_percent_encoding_reaches_the_same_upload(tus: Tus) -> None:
    target = tus.create(5)
    name = target.removeprefix(tus.path)
    encoded = "".join(f"%{ord(letter):02x}" for letter in name)
    assert tus.head(tus.path + encoded).offset == 0
    assert tus.patch(tus.path + f"%{ord(name[0]):02X}" + name[1:], 0, b"hello").status == 204


@pytest.mark.clause("HTTP-14", "HTTP-24")
@pytest.mark.parametrize(
    "suffix",
    [
        "%2e%2e/%2e%2e/etc/passwd",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "{name}%2f",
        "{name}%00",
        "{name}%zz",
        "%zz",
        "%",
        "{name}.meta",
        ".tusserver/store.json",
        "{fan}/{name}",
        "{fan}%2f{name}",
        "./{name}x",
        "%252e%252e",
        "{name}%0d%0aX-Evil:1",
        "%ff%fe",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE", "PATCH"])
def test_an_odd_path_is_404_or_400(tus: Tus, suffix: str, method: str) -> None:
    target = tus.upload(b"hello")
    name = target.removeprefix(tus.path)
    odd = tus.path + suffix.format(name=name, fan=name[:2])
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM} if method == "PATCH" else {}
    answer = tus.request(method, odd, fields)
    assert answer.status in {400, 404, 405, 414}
    assert answer.get("X-Evil") is None
    assert tus.offset(target) == 5


@pytest.mark.clause("HTTP-15")
def test_a_query_does_no_harm(tus: Tus) -> None:
    created = tus.request("POST", tus.path + "?token=a%20b&x", {"Upload-Length": "5"})
    assert created.status == 201
    assert "token" not in (created.get("Location") or "")
    target = tus.target(created.get("Location") or "") + "?token=a/../b&x=%2f"
    assert tus.patch(target, 0, b"hello").status == 204
    assert tus.offset(target) == 5
    assert tus.content(target) == b"hello"
    assert tus.delete(target).status == 204


@pytest.mark.clause("HTTP-17")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
def test_a_content_coding_is_415_and_nothing_is_unpacked(
    tus: Tus, coding: str, *, is_program: bool
) -> None:
    target = tus.create(100, body=b"abc")
    before = tus.snapshot(target)
    data = gzip.compress(b"x" * 50)
    answer = tus.patch(target, 3, data, {"Content-Encoding": coding})
    # A host's runner refuses codings by itself that it cannot unpack.
    assert answer.status in ({415} if is_program else {415, 400})
    assert tus.snapshot(target) == before


@pytest.mark.clause("HTTP-17")
def test_no_content_coding_is_fine_by_name(tus: Tus) -> None:
    target = tus.create(100)
    data = gzip.compress(b"x" * 50)
    answer = tus.patch(target, 0, data, {"Content-Encoding": "identity"})
    assert (answer.status, answer.offset) == (204, len(data))


@pytest.mark.clause("HTTP-18")
def test_pipelined_requests_are_answered_in_their_order(tus: Tus) -> None:
    target = tus.create(9)
    with tus.wire() as wire:
        wire.send(
            tus.append_message(target, 0, b"abc")
            + tus.message("HEAD", target)
            + tus.append_message(target, 3, b"def")
            + tus.message("HEAD", tus.path + UNKNOWN)
            + tus.append_message(target, 6, b"ghi")
            + tus.message("GET", target)
            + tus.message("OPTIONS", tus.path)
        )
        methods = ["PATCH", "HEAD", "PATCH", "HEAD", "PATCH", "GET", "OPTIONS"]
        answers = [wire.response(method) for method in methods]
    assert [answer.status for answer in answers] == [204, 200, 204, 404, 204, 200, 204]
    assert [answer.offset for answer in answers[:5]] == [3, 3, 6, None, 9]
    assert answers[5].body == b"abcdefghi"


@pytest.mark.clause("HTTP-25", "CORE-PATCH-16")
def test_bodies_may_be_larger_than_the_framework_allows(tus: Tus) -> None:
    data = bytes(range(256)) * 16 * 1024 * 2
    target = tus.upload(data)
    assert tus.content(target) == data


@pytest.mark.clause("HTTP-26")
def test_empty_bodies_one_after_the_other_do_not_stop_the_server(tus: Tus) -> None:
    target = tus.create(5)
    with tus.wire() as wire:
        for _ in range(4):
            assert tus.patch(target, 0, wire=wire).status == 204
        for _ in range(3):
            assert tus.post({"Upload-Length": "0"}, wire=wire).status == 201
    for _ in range(4):
        assert tus.patch(target, 0, chunked(), CHUNKS).status == 204
    assert tus.options().status == 204


@pytest.mark.clause("HTTP-26")
def test_a_patch_without_any_body_headers_is_an_empty_one(tus: Tus) -> None:
    target = tus.create(5)
    answer = tus.patch(target, 0, b"", {"Content-Length": None})
    assert (answer.status, answer.offset) == (204, 0)
