"""Checks of Upload-Metadata (tus 1.0.0, Creation)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from conformance.check import check, expect, expect_status
from conformance.evidence import (
    expect_content,
    expect_offset,
    finish,
    location,
    pairs,
    state,
)
from conformance.wire import WireError

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Response

CREATION = ("creation",)


def b64(value: bytes | str) -> str:
    """Encode a value as Upload-Metadata wants it."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def post(tus: Target, metadata: str, length: int = 1) -> Response:
    """Ask for an upload with metadata."""
    return tus.post(fields={"Upload-Length": str(length), "Upload-Metadata": metadata})


def told(tus: Target, url: str) -> str | None:
    """Give Upload-Metadata as HEAD tells it."""
    return state(tus, url).get("Upload-Metadata")


@check("META-01", needs=CREATION)
def metadata_come_back_with_their_values(tus: Target) -> None:
    """HEAD tells every key with its value: at first, half way and at the end."""
    sent = f"filename {b64('world_domination_plan.pdf')},zeta {b64('z')},alpha {b64('a')}"
    sent += f",size {b64('10')},relativePath {b64('ordner/Ærøskøbing 日本.txt')}"
    url = location(tus, post(tus, sent, 10))
    expect(
        sorted(pairs(told(tus, url))) == sorted(pairs(sent)),
        "expected all pairs right after creation",
    )
    expect_status(tus.append(url, 0, b"01234"), 204)
    expect(
        sorted(pairs(told(tus, url))) == sorted(pairs(sent)),
        "expected all pairs after half the data",
    )
    finish(tus, url, b"0123456789", 5)
    expect(sorted(pairs(told(tus, url))) == sorted(pairs(sent)), "expected all pairs at the end")


@check("META-01", needs=CREATION)
def metadata_come_back_byte_for_byte(tus: Target) -> None:
    """HEAD tells Upload-Metadata exactly as it was sent, in the same order."""
    for sent in (
        f"filename {b64('d.pdf')},is_confidential",
        f"zeta {b64('z')},alpha {b64('a')},Mitte {b64('m')},beta {b64('b')},B {b64('B')}",
        f"filename {b64('a' * 300)}",
        "x-y_z.1~!#$%&'*+^`| " + b64("odd key"),
    ):
        url = location(tus, post(tus, sent))
        got = told(tus, url)
        expect(got == sent, f"expected Upload-Metadata: {sent}, got {got}")


@check("META-01", "CRE-12", needs=CREATION)
def metadata_belong_to_one_upload(tus: Target) -> None:
    """Two uploads with metadata of their own do not mix them up."""
    first = location(tus, post(tus, f"name {b64('first')}"))
    second = location(tus, post(tus, f"name {b64('second')}"))
    bare = tus.create(1)
    expect(
        pairs(told(tus, first)) == [("name", b64("first"))],
        "expected the first upload's own metadata",
    )
    expect(
        pairs(told(tus, second)) == [("name", b64("second"))],
        "expected the second one's own metadata",
    )
    expect(not told(tus, bare), "expected no metadata at an upload that has none")


@check("META-02", needs=CREATION)
def no_metadata_no_header(tus: Target) -> None:
    """An upload without metadata has no Upload-Metadata, or an empty one."""
    got = told(tus, tus.create(1, {"Upload-Metadata": None}))
    expect(not got, f"expected no Upload-Metadata, got {got}")


def _tolerated(tus: Target, bad: str, what: str) -> None:
    """Expect 4xx, or 201 with what is well-formed in it unharmed."""
    good = f"good {b64('unharmed')}"
    for metadata in (bad, f"{good},{bad}", f"{bad},{good}"):
        response = post(tus, metadata)
        if response.status != 201:
            clean = 400 <= response.status < 500
            expect(clean, f"expected {what} refused with 4xx or ignored, got {response.status}")
            continue
        url = location(tus, response)
        got = told(tus, url)
        if "good" in metadata:
            kept = pairs(good)[0] in pairs(got)
            expect(
                kept,
                f"expected the well-formed pair kept where the other one is ignored, got {got}",
            )
        finish(tus, url, b"x", 0)


@check("META-03", needs=CREATION)
def bad_keys_are_refused_or_ignored(tus: Target) -> None:
    """Keys that are empty or hold a blank do not harm the upload, nor other pairs."""
    for bad in (f" {b64('no key')}", f"a b {b64('two words')}", "a b c"):
        _tolerated(tus, bad, f"the key in {bad!r}")
    response = post(tus, ",")
    expect(
        response.status < 500, f"expected a lone comma refused or ignored, got {response.status}"
    )


@check("META-04", needs=CREATION)
def keys_beyond_ascii_do_no_harm(tus: Target) -> None:
    """A key that is not ASCII is refused or accepted, and never breaks the server."""
    response = post(tus, f"ключ {b64('value')}")
    expect(response.status < 500, f"expected 400 or 201, got {response.status}")
    if response.status == 201:
        finish(tus, location(tus, response), b"x", 0)


@check("META-05", needs=CREATION)
def bad_values_are_refused_or_ignored(tus: Target) -> None:
    """Values that are no Base64 do not harm the upload, nor other pairs."""
    for bad in ("k !!!", "k YQ", "k YQ=", "k -_-_", "k Y", "k ====", "k YQ==YQ=="):
        _tolerated(tus, bad, f"the value in {bad!r}")


@check("META-06", needs=CREATION)
def values_may_be_empty(tus: Target) -> None:
    """A key may stand alone, with or without a blank behind it."""
    for metadata in (f"a,b {b64('b')}", f"a ,b {b64('b')}", f"b {b64('b')},a", "a"):
        url = location(tus, post(tus, metadata))
        got = pairs(told(tus, url))
        expect(
            ("a", "") in got, f"expected the key without value of {metadata!r} in HEAD, got {got}"
        )
        if "b " in metadata:
            expect(
                ("b", b64("b")) in got, f"expected the other key of {metadata!r} in HEAD, got {got}"
            )


@check("META-07", needs=CREATION)
def keys_that_occur_twice_do_no_harm(tus: Target) -> None:
    """The same key twice is refused, or one upload comes of it."""
    response = post(tus, f"k {b64('a')},k {b64('b')}")
    if response.status == 201:
        url = location(tus, response)
        values = {value for _, value in pairs(told(tus, url))}
        expect(
            values <= {b64("a"), b64("b")} and bool(values),
            f"expected a value that was sent: {values}",
        )
    else:
        expect(400 <= response.status < 500, f"expected 4xx or 201, got {response.status}")


HOSTILE = (
    b"a\r\nX-Evil: 1",
    b"a\nX-Evil: 1\n\n<script>alert(1)</script>",
    b'"; filename="evil.html\r\nX-Evil: 1',
    b"../../../../../../etc/passwd",
    b"..\\..\\windows\\system32\\evil",
    b"nul\x00byte\x00",
    "\u202efdp.exe".encode(),
    b"a" * 4000,
    b"\xff\xfe\x80",
    b"",
    b".",
    b"/",
)


@check("META-08", needs=CREATION)
def decoded_values_make_no_headers(tus: Target) -> None:
    """Line breaks, quotes, paths and NULs in values reach neither headers nor file names."""
    for value in HOSTILE:
        names = ("filename", "name", "filetype", "type", "contentType")
        response = post(tus, ",".join(f"{name} {b64(value)}" for name in names), 4)
        if 400 <= response.status < 500:
            continue  # refused by content: the server's own right choice
        expect_status(response, 201)
        url = location(tus, response)
        _expect_clean(state(tus, url), value)
        finish(tus, url, b"data", 0)
        got = tus.get(url)
        expect(got.status < 500, f"expected a download in spite of {value!r}, got {got.status}")
        _expect_clean(got, value)


def _expect_clean(response: Response, value: bytes) -> None:
    expect(response.get("X-Evil") is None, f"expected no header made of the value {value!r}")
    for name, text in response.fields:
        dirty = any(ord(char) < 32 and char != "\t" for char in text)
        expect(not dirty, f"expected no control character in {name}, made of {value!r}")


@check("META-08", needs=CREATION)
def names_are_no_paths(tus: Target) -> None:
    """Two uploads with the same file name, or the name of the other one, stay apart."""
    one, two = b"the first", b"the other"
    first = location(tus, post(tus, f"filename {b64('same.bin')}", 9))
    finish(tus, first, one, 0)
    last = first.rstrip("/").rsplit("/", 1)[-1]
    for name in ("same.bin", last, f"../{last}"):
        response = post(tus, f"filename {b64(name)}", 9)
        if response.status == 201:
            finish(tus, location(tus, response), two, 0)
        expect_content(tus, first, one)


@check("META-09", needs=CREATION)
def blanks_around_commas_do_no_harm(tus: Target) -> None:
    """A blank behind or before the comma is no part of key or value."""
    for metadata in (f"a {b64('a')}, b {b64('b')}", f"a {b64('a')} ,b {b64('b')}"):
        url = location(tus, post(tus, metadata))
        got = pairs(told(tus, url))
        expect(
            got == [("a", b64("a")), ("b", b64("b"))],
            f"expected the pairs of {metadata!r}, got {got}",
        )


@check("META-10", needs=CREATION)
def empty_metadata_are_none(tus: Target) -> None:
    """An empty Upload-Metadata, as tus-py-client sends it, creates an upload without any."""
    url = location(tus, post(tus, ""))
    got = told(tus, url)
    expect(not got, f"expected no Upload-Metadata, got {got}")


@check("META-11", needs=CREATION)
def several_lines_are_one_list(tus: Target) -> None:
    """Pairs in two Upload-Metadata lines are joined by a comma (RFC 9110, section 5.3)."""
    lines = [f"a {b64('a')}", f"b {b64('b')}"]
    response = tus.post(fields={"Upload-Length": "1", "Upload-Metadata": lines})
    got = pairs(told(tus, location(tus, response)))
    expect(
        got == [("a", b64("a")), ("b", b64("b"))], f"expected the pairs of both lines, got {got}"
    )


@check("META-12", needs=CREATION)
def eight_kibibytes_of_metadata_work(tus: Target) -> None:
    """Metadata of 8 KiB are accepted and given back whole."""
    metadata = ",".join(f"key{number:02} {b64('v' * 750)}" for number in range(8))
    got = told(tus, location(tus, post(tus, metadata)))
    expect(got == metadata, f"expected all {len(metadata)} bytes, got {len(got or '')}")


@check("META-12", needs=CREATION)
def too_much_metadata_is_a_clean_refusal(tus: Target) -> None:
    """256 KiB of metadata are accepted whole or refused with 4xx, and the server lives on."""
    metadata = f"filename {b64(bytes(196_600))}"
    try:
        response = post(tus, metadata)
    except WireError:
        pass  # closed while the head was still on its way: refused, if not politely
    else:
        if response.status == 201:
            got = told(tus, location(tus, response))
            expect(got == metadata, f"expected all {len(metadata)} bytes, got {len(got or '')}")
        else:
            expect(400 <= response.status < 500, f"expected 400, 413 or 431, got {response.status}")
    expect_offset(tus, tus.create(1), 0, "of an upload after that")


@check("META-13", needs=CREATION)
def any_byte_may_stand_in_a_value(tus: Target) -> None:
    """All 256 bytes come back, in both orders, and with every padding."""
    every = bytes(range(256))
    for value in (
        every,
        every[::-1],
        every[:255],
        every[:254],
        b"\0",
        b"\xff\xff",
        b"\xfb\xef\xbe",
    ):
        sent = f"k {b64(value)}"
        got = pairs(told(tus, location(tus, post(tus, sent))))
        expect(got == [("k", b64(value))], f"expected Upload-Metadata with {sent[:40]}, got {got}")
